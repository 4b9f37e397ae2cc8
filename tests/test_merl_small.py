"""What is peculiar to MERL-small; what every system must do is swept in test_models.py."""

import pytest
import torch

from ecglm.layers import SqueezeExcitationBlock
from ecglm.models._registry import SYSTEMS
from ecglm.models.merl_small import MERLSmallConfig, MERLSmallModel

TINY = SYSTEMS["merl_small"].tiny


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MERLSmallModel(MERLSmallConfig(**TINY)).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "input_values": torch.randn(4, 12, 200, generator=generator),
        "input_ids": torch.randint(4, 100, (3, 6), generator=generator),
        "attention_mask": torch.tensor([[1] * 6, [1] * 6, [1, 1, 1, 0, 0, 0]]),
        "targets": torch.tensor([[1.0, 0, 1], [0, 0.3, 0], [1, 1, 0], [0, 0, 0]]),
    }


def test_the_loss_is_the_mean_over_pairs(model, batch):
    output = model(**batch)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.logits_per_ecg, batch["targets"])
    torch.testing.assert_close(output.loss, expected)


def test_unknown_pairs_teach_nothing(model, batch):
    unknown = batch["targets"].clone()
    unknown[:, 1] = -1
    fewer = {name: batch[name][[0, 2]] for name in ("input_ids", "attention_mask")}
    fewer |= {"input_values": batch["input_values"], "targets": batch["targets"][:, [0, 2]]}
    torch.testing.assert_close(model(**batch | {"targets": unknown}).loss, model(**fewer).loss)
    assert model(**batch | {"targets": torch.full((4, 3), -1.0)}).loss == 0


def test_logits_start_at_the_configured_scale_and_bias(batch):
    model = MERLSmallModel(MERLSmallConfig(**TINY, initial_scale=5.0, initial_bias=-2.0)).eval()
    output = model(**batch)
    cosine = output.ecg_embeds @ output.text_embeds.T
    torch.testing.assert_close(output.logits_per_ecg, 5 * cosine - 2)


def test_probabilities_are_calibrated_and_saved(model, batch, tmp_path):
    logits = model(**batch).logits_per_ecg
    torch.testing.assert_close(model.probabilities(logits), torch.sigmoid(logits))
    model.config.calibration_scale, model.config.calibration_bias = 0.5, 1.0
    model.save_pretrained(tmp_path)
    again = MERLSmallModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.probabilities(logits), torch.sigmoid(0.5 * logits + 1))


def test_recordings_of_any_length_are_read(model):
    for num_samples in (100, 333, 1000):
        encoded = model.encode(torch.randn(2, 12, num_samples))
        assert encoded.pooler_output.shape == (2, model.config.hidden_size)


def test_a_text_scores_the_same_in_any_company(model, batch):
    """Padding to a longer neighbour must not move an embedding."""
    together = model.get_text_features(batch["input_ids"], batch["attention_mask"])[2]
    alone = model.get_text_features(batch["input_ids"][2:, :3], batch["attention_mask"][2:, :3])[0]
    torch.testing.assert_close(together, alone)


def test_tokenizers_pad_on_the_right(model_folder):
    from transformers import AutoProcessor

    assert AutoProcessor.from_pretrained(model_folder("merl_small")).tokenizer.padding_side == "right"


def test_a_frozen_text_encoder_stays_as_it_is(batch):
    model = MERLSmallModel(MERLSmallConfig(**TINY | {"freeze_text": True})).train()
    model(**batch).loss.backward()
    assert not model.text_model.training
    assert all(weight.grad is None for weight in model.text_model.parameters())
    assert all(weight.grad is not None for weight in model.text_projection.parameters())


def test_texts_of_a_frozen_encoder_are_encoded_once(batch, monkeypatch):
    model = MERLSmallModel(MERLSmallConfig(**TINY | {"freeze_text": True, "text_dropout": 0.0})).train()
    first = model.get_text_features(batch["input_ids"], batch["attention_mask"])
    monkeypatch.setattr(model.text_model, "forward", lambda **_: pytest.fail("encoded again"))
    torch.testing.assert_close(model.get_text_features(batch["input_ids"], batch["attention_mask"]), first)


def test_an_encoder_is_taken_over_and_nothing_else(model_folder):
    """`ecg_model` brings the encoder with its sizes; all other parts are the recipe's own."""
    folder = model_folder("merl_small")
    donor = MERLSmallModel.from_pretrained(folder)
    sizes = {"hidden_sizes": [4, 4, 4], "depths": [1, 1, 1], "projection_size": 8, "ecg_model": str(folder)}
    model = MERLSmallModel.build(MERLSmallConfig(**TINY | sizes))
    assert model.config.hidden_sizes == donor.config.hidden_sizes
    assert model.config.projection_size == 8
    for name, weight in model.ecg_encoder.state_dict().items():
        torch.testing.assert_close(weight, donor.ecg_encoder.state_dict()[name])
    assert not torch.equal(
        model.text_model.get_input_embeddings().weight[4:20],
        donor.text_model.get_input_embeddings().weight[4:20],
    )


def test_an_encoder_of_another_kind_or_preparation_is_refused(model_folder):
    from transformers import AutoProcessor

    with pytest.raises(ValueError, match=r"type ecglm_merl;.*type ecglm_merl_small"):
        MERLSmallModel.build(MERLSmallConfig(**TINY, ecg_model=str(model_folder("merl"))))
    folder = model_folder("merl_small")
    model = MERLSmallModel.build(MERLSmallConfig(**TINY, ecg_model=str(folder)))
    processor = AutoProcessor.from_pretrained(folder)
    model.adopt_processor(processor)
    processor.feature_extractor.sampling_rate = 123
    with pytest.raises(ValueError, match=r"prepared in another way.*sampling_rate"):
        model.adopt_processor(processor)


def test_wrong_shapes_are_named(model, batch):
    with pytest.raises(ValueError, match=r"12 leads.*\(2, 3, 100\)"):
        model.encode(torch.randn(2, 3, 100))
    with pytest.raises(ValueError, match=r"targets must be.*\(4, 3\).*\(4, 2\)"):
        model(**batch | {"targets": batch["targets"][:, :2]})
    with pytest.raises(ValueError, match="hidden_sizes and depths"):
        MERLSmallConfig(hidden_sizes=[8], depths=[1, 1])
    with pytest.raises(ValueError, match="odd"):
        MERLSmallConfig(kernel_size=4)


def test_the_block_keeps_every_sample_in_its_shortcut():
    block = SqueezeExcitationBlock(4, 6, kernel_size=5, stride=2).eval()
    assert block(torch.randn(2, 4, 33)).shape == (2, 6, 17)
    torch.nn.init.zeros_(block.bn2.weight)  # leaves the shortcut alone
    still, moved = torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)
    moved[..., 1] = 5.0  # a sample that a strided convolution of width 1 would skip
    assert not torch.allclose(block(still), block(moved))
