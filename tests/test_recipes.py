"""Every shipped recipe: parsed strictly, stated fully, and run for two steps at toy size."""

import json
import logging

import pytest
import torch
import yaml
from transformers import AutoModel, AutoProcessor

from ecglm.assets import asset, list_statements
from ecglm.io import write
from ecglm.models import SYSTEMS
from ecglm.simulate import simulate_corpus
from ecglm.train import ECGTrainer, default_out, load_recipe, run

RECIPES = list_statements("training")


def toy(system: str) -> list[str]:
    """Settings that make any recipe of a system as small as its smoke version, without changing its data."""
    entry = SYSTEMS[system]
    return [
        "processor.tokenizer={train: sentencepiece, vocab_size: 512}",
        *(f"model.{key}={json.dumps(value)}" for key, value in entry.tiny.items()),
        *(f"processor.{key}={json.dumps(value)}" for key, value in entry.tiny_processor.items()),
        "trainer.max_steps=1",
        "trainer.per_device_train_batch_size=4",
        "trainer.use_cpu=true",
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_strict_and_says_how_to_run_it(name):
    load_recipe(name)
    text = asset(f"training/{name}.yaml").read_text(encoding="utf-8")
    assert f"ecglm train {name}" in text, "the head comment holds the command"


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_trains_and_leaves_a_model_folder(name, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    out = run(name, out=tmp_path / "model", tiny=True)
    assert not [entry for entry in caplog.messages if "tokens that differ from the model config" in entry]
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1, "who may read one file may read all"
    recipe = load_recipe(name)
    model, info = AutoModel.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert type(model) is SYSTEMS[recipe.system].models[recipe.architecture]
    assert AutoProcessor.from_pretrained(out).feature_extractor.num_samples > 0
    assert load_recipe(str(out / "recipe.yaml")).architecture == recipe.architecture
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"], "nothing else is left behind"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["trainer.learnin_rate=1"], "'trainer' has no key 'learnin_rate'; did you mean 'learning_rate'"),
        (["model.hidden_sise=1"], "'model' has no key 'hidden_sise'"),
        (["processor.samplingrate=1"], "'processor' has no key 'samplingrate'; did you mean 'sampling_rate'"),
        (["augment.mixpu={p: 1}"], "'augment' has no key 'mixpu'; did you mean 'mixup'"),
        (["modle.x=1"], "has no key 'modle'; did you mean 'model'"),
        (["system=mrel"], "no system 'mrel'"),
        (["status=done"], "status of recipe"),
        (["data.nmae=x"], "no option nmae"),
        (["architecture=MERL"], "merl has no architecture 'MERL'; it has MERLModel"),
        (["model.text_config={hiden_size: 8}"], "'model.text_config' has no key 'hiden_size'; did you mean"),
        (["model.text_config={hidden_size: x}"], "section 'model': .*'hidden_size' expected int"),
        (["model.dropout=much"], "section 'model': dropout must be a number; got 'much'"),
        (["trainer.learning_rate=fast"], "section 'trainer': learning_rate must be a number"),
        (["trainer.lr_scheduler_kwargs.foo=1"], "'trainer': lr_scheduler_kwargs: .*unexpected .*'foo'"),
        (["trainer=5"], "trainer must be keys with values; got 5"),
        (["freeze=text"], r"freeze must be a list \(text each\); got 'text'"),
        (["processor.fill=nothing"], "section 'processor': fill must be 'interpolate' or 'zero'"),
        (["data.folds=8"], r"corpus 'ptbxl': folds must be a list \(a whole number each\) or null; got 8"),
        (
            ["data={name: simulated, num_records: 8}", "augment.crop=7"],
            "augment.crop must lie between 0 and 1",
        ),
        (
            ["data={name: simulated, num_records: 3}", "trainer.dataloader_drop_last=true"],
            "3 recordings fill no batch of 4; lower trainer.per_device_train_batch_size",
        ),
        (["data={name: simulated, num_records: 8}", "processor.leads=[I, Q]"], "has no lead 'Q'"),
        (["data={name: simulated, num_records: 8}", "freeze=['(']"], r"freeze: '\(' is no regular expr"),
        (["trainer.per_device_train_batch_size=0"], "per_device_train_batch_size must be at least 1, got 0"),
        (["trainer.gradient_accumulation_steps=0"], "gradient_accumulation_steps must be at least 1, got 0"),
        (["trainer.num_train_epochs=0"], "nothing is trained in 0 epochs"),
    ],
)
def test_mistakes_are_refused_by_name_before_anything_is_written(overrides, complaint, tmp_path):
    if "simulated" in overrides[0]:
        overrides = [*overrides, *toy("merl")]
    else:
        overrides = [*overrides, "data.root=/nowhere"]
    with pytest.raises(ValueError, match=complaint):
        run("merl/pretrain", overrides, out=tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_misspelt_recipe_is_suggested():
    with pytest.raises(FileNotFoundError, match="did you mean 'merl/pretrain'"):
        load_recipe("merl/pretrian")


def test_a_recipe_of_ones_own_may_lie_anywhere(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(asset("training/merl/pretrain.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert load_recipe(str(file), ["trainer.learning_rate=2e-4"]).trainer["learning_rate"] == 2e-4
    assert default_out("merl/pretrain").as_posix() == "runs/merl-pretrain"


def test_an_output_folder_is_never_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "keep.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already; give another --out"):
        run("merl/pretrain", out=tmp_path / "model", tiny=True)
    assert (tmp_path / "model" / "keep.txt").read_text() == "mine"


def test_an_output_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cannot be made: .*file is a file; give another --out"):
        run("merl/pretrain", out=tmp_path / "file" / "model", tiny=True)


def test_repeats_are_said_to_be_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ecglm")
    data = ["data={name: simulated, num_records: 8, text: statements}", "data.repeat_rare=1"]
    run("merl/pretrain_small", [*data, *toy("merl_small")], out=tmp_path / "model")
    said = next(entry for entry in caplog.messages if entry.startswith("merl/pretrain_small: "))
    assert " recordings (repeats of rare codes counted), " in said
    assert int(said.split()[1]) > 8


def test_resume_needs_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        run("merl/pretrain", out=tmp_path / "model", tiny=True, resume=True)


@pytest.mark.parametrize(
    ("decay", "killed_in"),
    [("null", "training_step"), ("0.9", "training_step"), ("0.9", "_save_optimizer_and_scheduler")],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(decay, killed_in, tmp_path, monkeypatch):
    """Also one that was killed while it saved: the broken checkpoint is passed over."""
    settings = ["data={name: simulated, num_records: 8}", *toy("merl"), f"trainer.ema_decay={decay}"]
    settings += ["trainer.max_steps=4", "trainer.save_strategy=steps", "trainer.save_steps=1"]
    whole = run("merl/pretrain", settings, out=tmp_path / "whole")

    def kill(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    original = getattr(ECGTrainer, killed_in)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ECGTrainer, killed_in, kill)
        run("merl/pretrain", settings, out=tmp_path / "killed")
    assert [path.name for path in tmp_path.iterdir() if "killed" in path.name] == ["killed.checkpoints"]
    with pytest.raises(ValueError, match="is left from an unfinished run; use --resume"):
        run("merl/pretrain", settings, out=tmp_path / "killed")
    resumed = run("merl/pretrain", settings, out=tmp_path / "killed", resume=True)
    expected, got = (AutoModel.from_pretrained(folder).state_dict() for folder in (whole, resumed))
    for name, weight in expected.items():
        assert torch.equal(got[name], weight), name


def test_what_breaks_off_leaves_nothing_that_is_in_the_way(tmp_path, monkeypatch):
    """Before the first checkpoint there is nothing to resume, so the same command works again."""
    simulated = ["data={name: simulated, num_records: 8}", *toy("merl")]

    def broken_off(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ECGTrainer, "get_train_dataloader", broken_off)
        run("merl/pretrain", simulated, out=tmp_path / "model")
    assert not list(tmp_path.iterdir())
    run("merl/pretrain", simulated, out=tmp_path / "model")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny MERL of the `merl/pretrain` recipe."""
    out = tmp_path_factory.mktemp("trained") / "model"
    return run("merl/pretrain", ["data={name: simulated, num_records: 8}", *toy("merl")], out=out)


def test_training_goes_on_from_a_model_folder(trained, tmp_path):
    """`init_from`: its weights, processor and tokenizer; the recipe's numbers where they fit."""
    settings = [
        "data={name: simulated, num_records: 8, text: statements}",
        *toy("merl"),
        f"init_from={trained}",
    ]
    settings += ["model.temperature=0.5", "processor.max_text_length=9", "trainer.learning_rate=0"]
    out = run("merl/pretrain", settings, out=tmp_path / "model")
    before, after = AutoModel.from_pretrained(trained), AutoModel.from_pretrained(out)
    for name, weight in before.named_parameters():
        assert torch.equal(after.state_dict()[name], weight), name
    assert (before.config.temperature, after.config.temperature) == (0.07, 0.5)
    first, second = AutoProcessor.from_pretrained(trained), AutoProcessor.from_pretrained(out)
    assert second.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert second.max_text_length == 9


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("init_from=/nowhere", "/nowhere is no model folder"),
        ("model.hidden_size=16", "in the weights and .* by the configuration"),
        ("model.text_pooling=mean", "was trained with text_pooling: pooler; .* says mean"),
        ("processor.normalization=zscore", "was trained with normalization: minmax; .* says zscore"),
    ],
)
def test_a_model_that_the_recipe_contradicts_is_refused(override, complaint, trained, tmp_path):
    settings = ["data={name: simulated, num_records: 8}", *toy("merl"), f"init_from={trained}", override]
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        run("merl/pretrain", settings, out=tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_system_is_refused(trained, tmp_path):
    settings = ["data={name: simulated, num_records: 8}", *toy("merl_small"), f"init_from={trained}"]
    with pytest.raises(ValueError, match="holds MERLModel, and the recipe trains MERLSmallModel"):
        run("merl/pretrain_small", settings, out=tmp_path / "model")


def test_the_saved_recipe_is_the_one_that_ran(tmp_path):
    out = run("merl/pretrain", ["trainer.seed=7"], out=tmp_path / "model", tiny=True)
    stated = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
    assert stated["trainer"]["seed"] == 7
    assert stated["data"]["name"] == "simulated"


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    """Twelve studies of twelve patients in MIMIC-IV-ECG's layout."""
    root = tmp_path_factory.mktemp("mimic")
    studies = [(10_000_000 + number, number, f"files/s{number}/{number}") for number in range(12)]
    for (_, _, path), ecg in zip(studies, simulate_corpus(len(studies), seed=5), strict=True):
        (root / path).parent.mkdir(parents=True)
        write(ecg, root / path)
    rows = "".join(f"{subject},{study},{path}\n" for subject, study, path in studies)
    (root / "record_list.csv").write_text("subject_id,study_id,path\n" + rows)
    header = ",".join(["subject_id", "study_id", *(f"report_{index}" for index in range(18))])
    said = [f"{subject},{study},Sinus rhythm,Normal ECG" + "," * 16 for subject, study, _ in studies]
    (root / "machine_measurements.csv").write_text("\n".join([header, *said]) + "\n")
    return root


@pytest.mark.parametrize("name", ["merl/pretrain", "merl/pretrain_small", "merl/pretrain_small_reports"])
def test_pretraining_runs_on_mimic_iv_ecg(name, mimic, tmp_path):
    """By `data.name=mimic_iv_ecg`, as the head comments say; the model is tiny, the way there is real."""
    overrides = ["data.name=mimic_iv_ecg", f"data.root={mimic}", *toy(load_recipe(name).system)]
    out = run(name, overrides, out=tmp_path / "model")
    assert "mimic_iv_ecg" in (out / "recipe.yaml").read_text(encoding="utf-8")
