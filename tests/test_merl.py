"""MERL against numbers that the authors' code computed, and what is peculiar to it."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ecglm.convert import convert, rename
from ecglm.models._registry import SYSTEMS
from ecglm.models.merl import ECG_ARCHITECTURES, MERLConfig, MERLModel

PARITY = dict(rtol=0, atol=1e-5)
TINY = SYSTEMS["merl"].tiny


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """A text encoder as narrow in layers, but as wide as MedCPT: the fixtures hold none."""
    folder = tmp_path_factory.mktemp("text_model")
    config = transformers.BertConfig(
        vocab_size=50, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(folder)
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] sinus rhythm normal ecg".split()
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def converted(fixture, folder, text_folder, **sizes):
    """The fixture's weights through `convert`, and the authors' numbers."""
    weights = load_file(fixture / "weights.safetensors")
    if "proj_t.0.weight" not in weights:  # the ViT's fixture leaves the text projection out
        width = len(weights["proj_e.4.weight"])
        weights |= {"proj_t.0.weight": torch.zeros(width, 768), "proj_t.0.bias": torch.zeros(width)}
        weights |= {"proj_t.2.weight": torch.zeros(width, width), "proj_t.2.bias": torch.zeros(width)}
    save_file(weights, folder / "authors.safetensors")
    overrides = [f"model.{name}={value}" for name, value in sizes.items()]
    overrides += [f"model.text_model={text_folder}", f"processor.tokenizer={text_folder}"]
    convert("merl", folder / "authors.safetensors", folder / "model", overrides)
    model = transformers.AutoModel.from_pretrained(folder / "model").eval()
    numbers = {name: torch.from_numpy(value) for name, value in np.load(fixture / "io.npz").items()}
    return model, numbers


@pytest.fixture(scope="module")
def resnet(merl_fixtures, text_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    return converted(merl_fixtures / "resnet_heads", folder, text_folder, num_samples=1000)


@pytest.fixture(scope="module")
def vit(merl_fixtures, text_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    return converted(merl_fixtures / "vit_small", folder, text_folder, num_attention_heads=3, head_size=16)


@torch.no_grad()
def test_resnet_equals_the_authors(resnet):
    model, numbers = resnet
    encoded = model.encode(numbers["ecg"])
    torch.testing.assert_close(encoded.last_hidden_state.transpose(1, 2), numbers["encoder_out"], **PARITY)
    embeds, view_input = model.ecg_head(encoded)
    torch.testing.assert_close(embeds, numbers["proj_ecg_emb_raw"], **PARITY)
    torch.testing.assert_close(view_input, numbers["avgpool_out"], **PARITY)
    for view, expected in zip(model.views, ("uma_emb1", "uma_emb2"), strict=True):
        torch.testing.assert_close(view(view_input), numbers[expected], **PARITY)
    torch.testing.assert_close(model.get_ecg_features(numbers["ecg"]), numbers["proj_ecg_emb"], **PARITY)
    texts = model.text_projection(numbers["text_pooler_in"])
    torch.testing.assert_close(texts, numbers["proj_text_emb_raw"], **PARITY)


@torch.no_grad()
def test_vit_equals_the_authors(vit):
    model, numbers = vit
    encoded = model.encode(numbers["ecg"])
    torch.testing.assert_close(encoded.last_hidden_state, numbers["block1_out"], **PARITY)
    torch.testing.assert_close(encoded.pooler_output, numbers["features"], **PARITY)
    embeds, view_input = model.ecg_head(encoded)
    torch.testing.assert_close(embeds, numbers["proj_e_out"], **PARITY)
    for view, expected in zip(model.views, ("uma_emb1", "uma_emb2"), strict=True):
        torch.testing.assert_close(view(view_input), numbers[expected], **PARITY)
    torch.testing.assert_close(model.get_ecg_features(numbers["ecg"]), numbers["proj_ecg_emb"], **PARITY)


@pytest.mark.parametrize(
    ("ecg_architecture", "published_parameters"),
    [("resnet18", 4_788_618), ("vit_tiny", 5_950_336)],
)
def test_published_size_has_the_authors_keys(merl_fixtures, ecg_architecture, published_parameters):
    published = json.loads(
        (merl_fixtures / f"default_keys_{ecg_architecture}_ckpt_without_lm.json").read_text()
    )
    shapes = {name: tuple(shape) for name, (shape, _) in published["keys"].items()}
    encoder = json.loads((merl_fixtures / f"default_keys_{ecg_architecture}_encoder.json").read_text())
    assert {f"ecg_encoder.{name}" for name in encoder["keys"]} <= set(shapes)
    sizes = MERLModel.original_config(shapes)
    assert sizes["ecg_architecture"] == ecg_architecture
    with torch.device("meta"):
        model = MERLModel(MERLConfig(**sizes))
    ours = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if not name.startswith("text_model.")
    }
    renamed, dropped = rename(shapes, SYSTEMS["merl"].original_keys)
    assert renamed == ours
    assert dropped == [name for name in shapes if name.startswith("ecg_encoder.linear.")]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(np.prod(shape) for name, shape in shapes.items() if not name.endswith(buffers))
    assert count == published["n_parameters"] == published_parameters


@pytest.mark.parametrize(
    ("ecg_architecture", "encoder_parameters"),  # spec of the published sizes; the ResNets' include `linear`
    [
        ("resnet18", 3_853_962),
        ("resnet50", 15_979_658),
        ("resnet101", 28_287_114),
        ("vit_tiny", 5_473_152),
        ("vit_base", 85_593_600),
    ],
)
def test_encoder_has_the_published_number_of_parameters(ecg_architecture, encoder_parameters):
    with torch.device("meta"):
        model = MERLModel(MERLConfig(**TINY | sizes_of(ecg_architecture)))
    width = model.config.hidden_size
    unused = 10 * width + 10 if ecg_architecture.startswith("resnet") else 0
    assert sum(p.numel() for p in model.ecg_encoder.parameters()) == encoder_parameters - unused


def sizes_of(ecg_architecture):
    return {
        "ecg_architecture": ecg_architecture,
        "hidden_size": None,
        "depths": None,
        **ECG_ARCHITECTURES[ecg_architecture],
    }


def pairs(batch=4, tokens=6):
    generator = torch.Generator().manual_seed(0)
    return {
        "input_values": torch.rand(batch, 12, 5000, generator=generator),
        "input_ids": torch.randint(1, 100, (batch, tokens), generator=generator),
        "attention_mask": torch.ones(batch, tokens, dtype=torch.long),
    }


@pytest.fixture(scope="module")
def tiny_vit():
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, head_size=8, intermediate_size=32
    )
    return MERLModel(MERLConfig(**TINY | {"ecg_architecture": "vit_tiny", "depths": None} | sizes))


def test_vit_trains_and_survives_saving(tiny_vit, tmp_path):
    output = tiny_vit.train()(**pairs())
    output.loss.backward()
    assert output.loss.item() == pytest.approx(sum(part.item() for part in output.loss_parts.values()))
    for name, parameter in tiny_vit.named_parameters():
        assert name.startswith("text_model.") or parameter.grad is not None, name
    tiny_vit.eval().save_pretrained(tmp_path)
    again = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**pairs()).loss, tiny_vit(**pairs()).loss)


def test_text_encoder_is_frozen_and_in_eval_mode_unless_asked_otherwise():
    model = MERLModel(MERLConfig(**TINY)).train()
    assert model.training and not model.text_model.training
    assert not any(parameter.requires_grad for parameter in model.text_model.parameters())
    original = MERLModel(MERLConfig(**TINY, frozen_text_dropout=True)).train()
    assert original.text_model.training
    trained = MERLModel(MERLConfig(**TINY, freeze_text=False)).train()
    assert trained.text_model.training
    assert all(parameter.requires_grad for parameter in trained.text_model.parameters())


def test_the_two_views_differ_by_dropout_alone():
    model = MERLModel(MERLConfig(**TINY)).train()
    model.views[1].load_state_dict(model.views[0].state_dict())
    batch = pairs()
    with_dropout = model(**batch).loss_parts["uma"]
    model.dropout.p = 0.0
    assert model(**batch).loss_parts["uma"] < with_dropout


def test_build_takes_the_text_encoder_from_a_folder_and_loading_needs_it_no_more(text_folder, tmp_path):
    config = MERLConfig(**TINY | {"text_model": str(text_folder), "text_config": None})
    model = MERLModel.build(config)
    source = transformers.AutoModel.from_pretrained(text_folder)
    for name, weight in source.state_dict().items():
        torch.testing.assert_close(model.text_model.state_dict()[name], weight, rtol=0, atol=0)
    model.config.text_model = "nowhere/to-be-found"
    model.save_pretrained(tmp_path)
    again = transformers.AutoModel.from_pretrained(tmp_path)
    assert again.config.text_config.vocab_size == 50


def test_a_text_encoder_without_the_pooler_that_is_read_is_refused(text_folder, tmp_path):
    """Many checkpoints bring none, and transformers would draw one at random."""
    transformers.BertModel.from_pretrained(text_folder, add_pooling_layer=False).save_pretrained(tmp_path)
    wanted = TINY | {"text_model": str(tmp_path), "text_config": None}
    with pytest.raises(ValueError, match="weights lack 2 tensors, such as pooler.dense.bias"):
        MERLModel.build(MERLConfig(**wanted | {"text_pooling": "pooler"}))
    MERLModel.build(MERLConfig(**wanted | {"text_pooling": "mean"}))


def test_an_unreachable_text_encoder_is_named_with_the_remedy():
    with pytest.raises(ValueError, match="'no/such-model' is no folder.*sentence-encoder"):
        MERLModel.build(MERLConfig(**TINY | {"text_model": "no/such-model"}))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_a_text(pooling):
    model = MERLModel(MERLConfig(**TINY, text_pooling=pooling)).eval()
    ids = torch.tensor([[5, 6, 7]])
    padded = torch.tensor([[5, 6, 7, 0, 0]])
    with torch.no_grad():
        torch.testing.assert_close(
            model.get_text_features(ids, torch.ones_like(ids)),
            model.get_text_features(padded, (padded > 0).long()),
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ecg_architecture": "resnet19"}, "ecg_architecture must be one of resnet18, .* got 'resnet19'"),
        (
            {"ecg_architecture": "vit_tiny", "num_samples": 4999},
            "num_samples must be a multiple of patch_size",
        ),
    ],
)
def test_config_refuses_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        MERLConfig(**arguments)


def test_input_of_another_length_is_refused():
    with pytest.raises(ValueError, match="12 leads, 5000 samples"):
        MERLModel(MERLConfig(**TINY)).encode(torch.zeros(1, 12, 1000))
