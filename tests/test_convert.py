"""Converting authors' checkpoints: what comes over and what is refused. For parity see tests/test_merl.py."""

import pickle

import pytest
import torch
import transformers
from safetensors.torch import save_file

from ecglm.convert import convert, read_checkpoint, rename
from ecglm.models import SYSTEMS
from ecglm.models.merl import MERLConfig, MERLModel

# As in MERL's table, but inverted by hand for what a ResNet of one block per stage holds.
AUTHORS = {
    r"^ecg_encoder\.stages\.0\.": "ecg_encoder.layer1.",
    r"^ecg_encoder\.stages\.1\.": "ecg_encoder.layer2.",
    r"^ecg_encoder\.stages\.2\.": "ecg_encoder.layer3.",
    r"^ecg_encoder\.stages\.3\.": "ecg_encoder.layer4.",
    r"^ecg_head\.down\.": "downconv.",
    r"^ecg_head\.pooling\.positions$": "att_pool_head.positional_embedding",
    r"^ecg_head\.pooling\.query$": "att_pool_head.cls_token",
    r"^ecg_head\.pooling\.attention\.": "att_pool_head.mhsa.",
    r"^ecg_head\.pooling\.out\.": "att_pool_head.c_proj.",
    r"^views\.0\.": "linear1.",
    r"^views\.1\.": "linear2.",
    r"^text_model\.": "lm_model.",
    r"^text_projection\.": "proj_t.",
}


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """A tokenizer and an encoder of its vocabulary."""
    folder = tmp_path_factory.mktemp("text_model")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] sinus rhythm normal ecg".split()
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    transformers.BertModel(text_config()).save_pretrained(folder)
    return folder


def text_config():
    return transformers.BertConfig(
        vocab_size=9, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32
    )


@pytest.fixture(scope="module")
def original():
    """A small MERL, and the same weights under the authors' names with what only their files hold."""
    torch.manual_seed(0)
    tiny = SYSTEMS["merl"].tiny | {"text_config": text_config().to_dict()}
    model = MERLModel(MERLConfig(**tiny)).eval()
    weights, _ = rename(model.state_dict(), AUTHORS)
    weights |= {"ecg_encoder.linear.weight": torch.zeros(10, 32), "ecg_encoder.linear.bias": torch.zeros(10)}
    weights |= {"lm_model.embeddings.position_ids": torch.arange(512)}
    return model, weights


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_checkpoint_becomes_a_model_folder(original, text_folder, tmp_path, wrapped):
    model, weights = original
    if wrapped:
        weights = {"state_dict": {f"module.{name}": weight for name, weight in weights.items()}, "epoch": 20}
    torch.save(weights, tmp_path / "merl_ckpt.pth")
    result = convert(
        "merl", tmp_path / "merl_ckpt.pth", tmp_path / "model", [f"processor.tokenizer={text_folder}"]
    )
    assert len({path.stat().st_mode for path in (tmp_path / "model").iterdir()}) == 1
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "model")
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    assert processor.feature_extractor.leads[3:6] == ["aVR", "aVF", "aVL"]
    assert set(result.unused) == {
        "ecg_encoder.linear.weight",
        "ecg_encoder.linear.bias",
        "lm_model.embeddings.position_ids",
    }
    assert all(name in str(result) for name in result.unused)
    assert result.converted == len(model.state_dict()) and not result.elsewhere


def test_a_text_encoder_that_the_file_lacks_is_loaded_from_where_the_configuration_says(
    original, text_folder, tmp_path
):
    weights = {name: weight for name, weight in original[1].items() if not name.startswith("lm_model.")}
    save_file(weights, tmp_path / "merl.safetensors")
    overrides = [f"model.text_model={text_folder}", f"processor.tokenizer={text_folder}"]
    result = convert("merl", tmp_path / "merl.safetensors", tmp_path / "model", overrides)
    source = transformers.AutoModel.from_pretrained(text_folder).state_dict()
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "model").text_model.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in source.items())
    assert {name.split(".")[0] for name in result.elsewhere} == {"text_model"}
    assert "text_model" in str(result)


def test_every_missing_and_unexpected_key_is_named_and_nothing_is_written(original, text_folder, tmp_path):
    weights = dict(original[1])
    del weights["linear2.weight"], weights["downconv.bias"]
    weights["surprise.weight"] = torch.zeros(1)
    save_file(weights, tmp_path / "merl.safetensors")
    with pytest.raises(ValueError) as error:
        convert(
            "merl",
            tmp_path / "merl.safetensors",
            tmp_path / "model",
            [f"processor.tokenizer={text_folder}"],
        )
    for name in ("merl.safetensors", "missing: ", "ecg_head.down.bias", "views.1.weight", "surprise.weight"):
        assert name in str(error.value)
    assert not (tmp_path / "model").exists() and not list(tmp_path.glob("*.partial"))


def test_a_size_that_does_not_fit_is_named(original, text_folder, tmp_path):
    save_file(original[1], tmp_path / "merl.safetensors")
    overrides = [f"processor.tokenizer={text_folder}", "model.num_samples=1000"]
    with pytest.raises(ValueError, match=r"ecg_head.pooling.positions is \(1, 314, 16\), not \(1, 64, 16\)"):
        convert("merl", tmp_path / "merl.safetensors", tmp_path / "model", overrides)


def test_the_encoder_alone_is_refused_with_the_file_to_take(original, tmp_path):
    prefix = "ecg_encoder."
    encoder = {name.removeprefix(prefix): w for name, w in original[1].items() if name.startswith(prefix)}
    save_file(encoder, tmp_path / "res18_best_encoder.safetensors")
    with pytest.raises(ValueError, match="res18_best_encoder.safetensors: .*encoder alone.*_ckpt.pth"):
        convert("merl", tmp_path / "res18_best_encoder.safetensors", tmp_path / "model")


class Evil:
    def __reduce__(self):
        return print, ("code in a checkpoint ran",)


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "older.pth").write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))
    for name in ("evil.pth", "older.pth"):
        with pytest.raises(ValueError, match=f"{name} .*never run"):
            read_checkpoint(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors", "empty.pth", "empty.safetensors"])
def test_a_broken_file_is_named(tmp_path, name):
    content = b"" if name.startswith("empty") else b"PK\x03\x04 no checkpoint, but long enough to look at"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_checkpoint(tmp_path / name)


def test_a_file_without_named_tensors_is_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="list.pth holds no tensors by name"):
        read_checkpoint(tmp_path / "list.pth")


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no system 'mrl'; there are .*merl"):
        convert("mrl", tmp_path / "x.pth", tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no checkpoint .*x.pth"):
        convert("merl", tmp_path / "x.pth", tmp_path / "model")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        convert("merl", tmp_path / "x.pth", tmp_path / "model")


def test_rename_applies_rules_in_order_and_reports_what_it_leaves_out():
    table = {r"^module\.": "", r"^unused\.": None, r"^a\.(\d)": r"b.\1"}
    assert rename({"module.a.1": 1, "module.unused.x": 2, "c": 3}, table) == (
        {"b.1": 1, "c": 3},
        ["module.unused.x"],
    )
