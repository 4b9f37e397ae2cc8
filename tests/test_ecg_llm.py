"""The language model that reads ECGs: cache, placeholders, loss mask, LoRA, and what `build` takes over."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    LlamaConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ecglm.collators import encode_chat
from ecglm.ecg import ECG
from ecglm.models import SYSTEMS
from ecglm.models.ecg_llm import ECGLLMConfig, ECGLLMForConditionalGeneration, ECGProjector
from ecglm.processors import ECGFeatureExtractor, ECGProcessor, train_tokenizer

TEXTS = ["Sinus rhythm. Normal ECG.", "Atrial fibrillation. Complete left bundle branch block."]


def new_processor() -> ECGProcessor:
    extractor = ECGFeatureExtractor(sampling_rate=100, duration=4)
    return ECGProcessor(extractor, train_tokenizer(TEXTS, 320), instruction="<ecg>\nReport this ECG.")


def new_config(**changes) -> ECGLLMConfig:
    return ECGLLMConfig(**(SYSTEMS["ecg_llm"].tiny | changes))


def new_model(seed: int = 0, **changes) -> tuple[ECGLLMForConditionalGeneration, ECGProcessor]:
    torch.manual_seed(seed)
    processor = new_processor()
    model = ECGLLMForConditionalGeneration.build(new_config(**changes))
    model.adopt_processor(processor)
    # Fresh weights repeat one token; larger ones make the texts of two recordings differ.
    with torch.no_grad():
        for weight in model.language_model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    return model.eval(), processor


def batch_of(processor: ECGProcessor, seed: int = 1) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    ecgs = [ECG(rng.normal(size=(12, 2000)), 500) for _ in range(2)]
    prompt = processor.chat([{"role": "user", "content": processor.instruction}], add_generation_prompt=True)
    return dict(processor(ecg=ecgs, text=[prompt, prompt], add_special_tokens=False))


@pytest.fixture(scope="module")
def ready():
    model, processor = new_model()
    return model, processor, batch_of(processor)


def generate(model, batch, **kwargs) -> torch.Tensor:
    # eos is forbidden so that twelve steps are compared
    return model.generate(**batch, max_new_tokens=12, min_new_tokens=12, do_sample=False, **kwargs)


def test_same_tokens_with_and_without_cache(ready):
    model, _, batch = ready
    cached = generate(model, batch, use_cache=True)
    assert torch.equal(cached, generate(model, batch, use_cache=False))
    assert len(cached[0].unique()) > 3  # not one token over and over


def test_recording_is_read_once_with_the_cache(ready, monkeypatch):
    model, _, batch = ready
    calls = []
    encode = model.ecg_model.encode
    monkeypatch.setattr(model.ecg_model, "encode", lambda values: calls.append(1) or encode(values))
    generate(model, batch)
    assert len(calls) == 1
    generate(model, batch, use_cache=False)
    assert len(calls) == 1 + 12


@pytest.mark.parametrize(
    "text_config",
    [
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4},
        {"model_type": "gemma2", "hidden_size": 32, "num_hidden_layers": 2, "head_dim": 8},
    ],
    ids=lambda given: given["model_type"],
)
def test_any_language_model_will_do(text_config):
    """Other names of the sizes, other attention. Nor may one write the placeholder, as this GPT-2 would."""
    model, processor = new_model(text_config=text_config | {"vocab_size": 512})
    batch = batch_of(processor)
    assert torch.equal(generate(model, batch, use_cache=True), generate(model, batch, use_cache=False))
    assert (model(**batch).logits - model(**batch_of(processor, seed=2)).logits).abs().max() > 1e-3
    model.train()(**batch, labels=batch["input_ids"]).loss.backward()
    assert model.projector.out.weight.grad.abs().sum() > 0


def test_text_depends_on_the_recording(ready):
    model, _, batch = ready
    other = batch | {"input_values": batch["input_values"].flip(0)}
    logits, swapped = (model(**each).logits[:, -1] for each in (batch, other))
    assert torch.allclose(logits, swapped.flip(0), atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_left_padding_changes_nothing(ready):
    model, processor, batch = ready
    pad = model.config.text_config.pad_token_id
    padded = {
        "input_values": batch["input_values"],
        "input_ids": torch.nn.functional.pad(batch["input_ids"], (5, 0), value=pad),
        "attention_mask": torch.nn.functional.pad(batch["attention_mask"], (5, 0), value=0),
    }
    new = generate(model, batch)[:, batch["input_ids"].shape[1] :]
    assert torch.equal(new, generate(model, padded)[:, padded["input_ids"].shape[1] :])


def test_placeholders_and_recordings_must_match(ready):
    model, _, batch = ready
    for broken in ({"input_values": None}, {"input_values": batch["input_values"][:1]}):
        with pytest.raises(ValueError, match="placeholders"):
            model(**(batch | broken))


def test_loss_is_taken_on_the_report_only(ready):
    model, processor, batch = ready
    ids, labels = encode_chat(
        processor,
        [{"role": "user", "content": processor.instruction}, {"role": "assistant", "content": TEXTS[0]}],
    )
    prompt = batch["input_ids"][0].tolist()
    assert ids[: len(prompt)] == prompt
    assert labels[: len(prompt)] == [-100] * len(prompt)
    assert processor.tokenizer.decode(labels[len(prompt) :]) == TEXTS[0] + "</s>"
    one = {"input_values": batch["input_values"][:1], "input_ids": torch.tensor([ids])}
    output = model(**one, labels=torch.tensor([labels]))
    logs = output.logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    expected = -logs.gather(1, torch.tensor(ids[len(prompt) :])[:, None]).mean()
    assert torch.allclose(output.loss, expected, atol=1e-5)
    halved = model(**one, labels=torch.tensor([labels]), num_items_in_batch=2 * (len(ids) - len(prompt)))
    assert torch.allclose(halved.loss, expected / 2, atol=1e-5)


def test_training_lowers_the_loss_and_reaches_encoder_and_projector():
    model, processor = new_model()
    batch = batch_of(processor)
    encoded = [
        encode_chat(
            processor,
            [
                {"role": "user", "content": processor.instruction},
                {"role": "assistant", "content": "Normal ECG."},
            ],
        )
    ] * 2
    batch |= {
        "input_ids": torch.tensor([ids for ids, _ in encoded]),
        "attention_mask": torch.ones(2, len(encoded[0][0]), dtype=torch.long),
        "labels": torch.tensor([labels for _, labels in encoded]),
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    model.train()
    for _ in range(4):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.projector.queries.grad.abs().sum() > 0
    assert model.ecg_model.ecg_encoder.conv1.weight.grad.abs().sum() > 0


def test_saved_folder_is_complete(ready, tmp_path):
    model, processor, batch = ready
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(AutoModelForImageTextToText.from_pretrained(tmp_path)) is type(model)
    assert torch.equal(generate(loaded.eval(), batch), generate(model, batch))
    assert (again.num_ecg_tokens, again.instruction) == (4, processor.instruction)
    messages = [{"role": "user", "content": "<ecg>"}]
    assert again.chat(messages, True) == processor.chat(messages, True)


def test_lora_adapter_reloads_and_merges(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model, processor = new_model()
    batch = batch_of(processor)
    model.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["projector"])
    )
    trainable = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert any("projector" in name for name in trainable)
    assert all("lora_" in name or "modules_to_save" in name for name in trainable)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if name in trainable:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    adapted.eval()
    logits = adapted(**batch).logits
    adapted.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()

    base = AutoModel.from_pretrained(tmp_path / "base")
    assert (base.eval()(**batch).logits - logits).abs().max() > 1e-2
    reloaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert torch.allclose(reloaded(**batch).logits, logits, atol=1e-5)
    assert torch.equal(generate(reloaded, batch), generate(adapted, batch))

    merged = reloaded.merge_and_unload()
    assert torch.allclose(merged(**batch).logits, logits, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    final = AutoModel.from_pretrained(tmp_path / "merged").eval()
    assert torch.allclose(final(**batch).logits, logits, atol=1e-4)


def test_build_takes_encoder_and_language_model_from_folders(tmp_path):
    donor = AutoModel.from_config(new_config().ecg_config)
    donor.save_pretrained(tmp_path / "encoder")
    new_processor().save_pretrained(tmp_path / "encoder")
    text_config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=100
    )
    language = AutoModelForCausalLM.from_config(text_config)
    language.save_pretrained(tmp_path / "language")
    config = new_config(
        ecg_model=str(tmp_path / "encoder"),
        text_model=str(tmp_path / "language"),
        ecg_config=None,
        text_config=None,
    )
    model = ECGLLMForConditionalGeneration.build(config)
    values = torch.randn(1, 12, 400)
    expected = donor.eval().encode(values).last_hidden_state
    assert torch.equal(model.eval().encode(values).last_hidden_state, expected)
    assert torch.equal(model.language_model.lm_head.weight, language.lm_head.weight)
    assert model.pretrained_parts == ("ecg_model.", "language_model.")

    processor = new_processor()
    processor.feature_extractor.low = 0.5
    with pytest.raises(ValueError, match="prepared in another way; .* low: None"):
        model.adopt_processor(processor)
    processor = new_processor()
    model.adopt_processor(processor)
    grown = model.language_model.get_input_embeddings().weight
    assert len(grown) == len(processor.tokenizer) == model.config.text_config.vocab_size
    assert torch.equal(grown[:100], language.get_input_embeddings().weight)


def test_build_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"ecg_model .*nowhere.* is neither a model folder"):
        ECGLLMForConditionalGeneration.build(new_config(ecg_model=str(tmp_path / "nowhere")))
    AutoModelForCausalLM.from_config(LlamaConfig(**SYSTEMS["ecg_llm"].tiny["text_config"])).save_pretrained(
        tmp_path
    )
    with pytest.raises(ValueError, match="'llama' cannot be the encoder"):
        ECGLLMForConditionalGeneration.build(new_config(ecg_model=str(tmp_path)))
    own, _ = new_model()
    own.save_pretrained(tmp_path / "own")
    with pytest.raises(ValueError, match="'ecglm_ecg_llm' cannot be the encoder"):
        ECGLLMForConditionalGeneration.build(new_config(ecg_model=str(tmp_path / "own")))
    with pytest.raises(ValueError, match="AutoModelForCausalLM knows none such"):
        ECGLLMForConditionalGeneration.build(new_config(text_model=str(tmp_path / "own")))


def test_build_refuses_a_folder_that_lacks_weights(tmp_path):
    donor = AutoModel.from_config(new_config().ecg_config)
    state = {name: value for name, value in donor.state_dict().items() if "conv1" not in name}
    donor.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"lack \d+ tensors, such as ecg_encoder"):
        ECGLLMForConditionalGeneration.build(new_config(ecg_model=str(tmp_path)))


def test_frozen_encoder_keeps_its_running_means():
    model, _ = new_model()
    model.train()
    assert model.ecg_model.training
    model.ecg_model.requires_grad_(False)
    model.train()
    assert not model.ecg_model.training and model.projector.training


@pytest.mark.parametrize("pooled_token", [False, True])
@pytest.mark.parametrize("pooling", ["adaptive", "queries"])
def test_projector_gives_the_asked_number_of_tokens(pooling, pooled_token):
    projector = ECGProjector(new_config(pooling=pooling, num_ecg_tokens=6, pooled_token=pooled_token)).eval()
    encoded = encoded_of(positions=25)
    tokens = projector(encoded)
    assert tokens.shape == (2, 6, 32)
    encoded.pooler_output = torch.randn(2, 16)
    moved = (projector(encoded) - tokens).abs().amax((0, 2)) > 1e-4
    assert moved.tolist() == [pooled_token] + [False] * 5


def encoded_of(positions: int) -> BaseModelOutputWithPooling:
    return BaseModelOutputWithPooling(
        last_hidden_state=torch.randn(2, positions, 16), pooler_output=torch.randn(2, 16)
    )


def test_refused_settings():
    with pytest.raises(ValueError, match="pooling must be one of"):
        new_config(pooling="mean")
    with pytest.raises(ValueError, match="num_ecg_tokens must be at least 2"):
        new_config(num_ecg_tokens=1)
    with pytest.raises(ValueError, match="model_type"):
        new_config(ecg_config={"model_type": "resnet_from_nowhere"})
    with pytest.raises(ValueError, match="25 positions"):
        ECGProjector(new_config(pooling="none"))(encoded_of(positions=25))


def test_lora_recipe_leaves_a_merged_model_and_its_adapter(tmp_path):
    from peft import PeftModel

    from ecglm.pipelines import load_model
    from ecglm.train import run

    lora = "lora={r: 4, target_modules: [q_proj, v_proj], modules_to_save: [projector]}"
    folder = run("ecg_llm/simulated", [lora, "trainer.learning_rate=0.05"], tmp_path / "model", tiny=True)
    merged, _ = load_model(folder, "generate")
    base = type(merged).build(merged.config)
    assert not torch.equal(base.projector.out.weight, merged.projector.out.weight)
    restored = PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload()
    assert torch.equal(restored.projector.out.weight, merged.projector.out.weight)
