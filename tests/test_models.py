"""What every system must do, at toy size, with its own recipe, processor, collator and a few simulated ECGs.

The sweep is over the registry: a new system is tested as soon as it is registered. What is peculiar to one
system is tested in a file of its own.
"""

import copy

import pytest
import torch
import transformers

from ecglm import train
from ecglm.assets import list_statements
from ecglm.collators import COLLATORS
from ecglm.models import SYSTEMS
from ecglm.models._base import ECGTextModel

SCORES = ("logits_per_ecg", "logits")  # the output by which two models are compared


def recipes_of(system: str) -> list[str]:
    return [name for name in list_statements("training") if train.load_recipe(name).system == system]


@pytest.fixture(scope="module", params=sorted(SYSTEMS))
def system(request):
    return SYSTEMS[request.param]


@pytest.fixture(scope="module")
def job(system):
    """Model, processor, data and collator, built as training builds them."""
    recipes = recipes_of(system.name)
    assert recipes, f"{system.name}: no recipe under training/{system.name}/"
    torch.manual_seed(0)
    return train.build(train.smoke(train.load_recipe(recipes[0])))


@pytest.fixture(scope="module")
def batch(job):
    torch.manual_seed(0)
    return job.collator([job.dataset[index] for index in range(4)])


@pytest.fixture
def model(job):
    return copy.deepcopy(job.model)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def without_chance(collator):
    def collate(rows):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return collator(rows)

    return collate


def scores(model, batch):
    with torch.no_grad():
        output = model.eval()(**batch)
    return next(output[name] for name in SCORES if name in output)


def test_forward_returns_a_finite_loss_and_the_parts_that_add_up_to_it(model, batch):
    output = model.train()(**batch)
    assert output.loss.ndim == 0 and output.loss.isfinite()
    if parts := output.get("loss_parts"):
        torch.testing.assert_close(sum(parts.values()), output.loss)


def test_every_trainable_weight_gets_a_gradient(model, batch):
    model.train()(**batch).loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not idle, f"in no loss: {', '.join(idle)}; leave them out, or freeze them"


def test_loss_falls(model, batch):
    without_dropout(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


def test_accumulated_equal_batches_train_as_one(job, tmp_path):
    """Four times the same batch of 4, accumulated, is the step of one such batch, whatever the loss averages.

    A model whose `forward` makes Trainer believe in a token sum takes a step four times as long.
    """
    rows = [job.dataset[index] for index in range(4)]
    weights = []
    for steps in (1, 4):
        arguments = train.ECGTrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=steps,
            max_steps=1,
            optim="sgd",
            learning_rate=0.1,
            max_grad_norm=0.0,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
        )
        model = without_dropout(copy.deepcopy(job.model))
        train.ECGTrainer(
            model=model,
            args=arguments,
            train_dataset=rows * steps,
            data_collator=without_chance(job.collator),
        ).train()
        weights.append(dict(model.named_parameters()))
    one, four = weights
    start = dict(job.model.named_parameters())
    assert any(not torch.equal(one[name], start[name]) for name in start)
    for name in start:
        torch.testing.assert_close(four[name], one[name], rtol=1e-4, atol=1e-6)


def test_auto_classes_load_what_was_saved(system, job, model, batch, tmp_path):
    expected = scores(model, batch)
    model.save_pretrained(tmp_path)
    job.processor.save_pretrained(tmp_path)
    assert type(transformers.AutoConfig.from_pretrained(tmp_path)) is system.config
    assert type(transformers.AutoProcessor.from_pretrained(tmp_path)) is type(job.processor)
    auto_class = next(name for name, ours in system.auto.items() if ours is type(model))
    again = getattr(transformers, auto_class).from_pretrained(tmp_path)
    assert type(again) is type(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    torch.testing.assert_close(scores(again, batch), expected, rtol=0, atol=1e-6)


def test_scores_do_not_depend_on_the_neighbours_in_the_batch(model, batch):
    features = model.eval().encode(batch["input_values"])
    alone = model.encode(batch["input_values"][:1])
    torch.testing.assert_close(features.pooler_output[:1], alone.pooler_output, rtol=1e-4, atol=1e-5)
    assert features.last_hidden_state.ndim == 3
    assert features.pooler_output.shape == (4, features.last_hidden_state.shape[-1])


def test_batch_format_has_a_collator(system):
    for model_class in system.models.values():
        assert model_class.batch_format in COLLATORS


@torch.no_grad()
def test_two_towers_meet_in_one_space(model, batch):
    if not isinstance(model, ECGTextModel):
        pytest.skip("has one tower")
    model.eval()
    ecgs = model.get_ecg_features(batch["input_values"])
    texts = model.get_text_features(batch["input_ids"], batch["attention_mask"])
    for embeds in (ecgs, texts):
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(len(embeds)))
    logits = model.similarity(ecgs, texts)
    assert logits.shape == (len(ecgs), len(texts))
    torch.testing.assert_close(logits, scores(model, batch))
    probabilities = model.probabilities(logits)
    if probabilities is not None:
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
