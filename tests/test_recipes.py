"""Every shipped recipe: parsed strictly, stated fully, and run for two steps at toy size."""

import json

import pytest
import yaml
from transformers import AutoModel, AutoProcessor

from ecglm.assets import asset, list_statements
from ecglm.io import write
from ecglm.models import SYSTEMS
from ecglm.simulate import simulate_corpus
from ecglm.train import default_out, load_recipe, run

RECIPES = list_statements("training")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_strict_and_says_how_to_run_it(name):
    load_recipe(name)
    text = asset(f"training/{name}.yaml").read_text(encoding="utf-8")
    assert f"ecglm train {name}" in text, "the head comment holds the command"


@pytest.mark.parametrize("name", RECIPES)
def test_smoke(name, tmp_path):
    out = run(name, out=tmp_path / "model", tiny=True)
    model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
    assert model.config.architectures == [load_recipe(name).architecture]
    assert processor.feature_extractor.num_samples > 0
    assert (out / "recipe.yaml").is_file()
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
    ],
)
def test_typos_are_refused_by_name_before_anything_is_written(overrides, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        run("merl/pretrain", [*overrides, "data.root=/nowhere"], out=tmp_path / "model")
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
    with pytest.raises(ValueError, match="is not empty; give another --out"):
        run("merl/pretrain", out=tmp_path / "model", tiny=True)
    assert (tmp_path / "model" / "keep.txt").read_text() == "mine"


def test_resume_needs_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        run("merl/pretrain", out=tmp_path / "model", tiny=True, resume=True)


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
    system = SYSTEMS[load_recipe(name).system]
    overrides = [
        "data.name=mimic_iv_ecg",
        f"data.root={mimic}",
        "processor.tokenizer={train: sentencepiece, vocab_size: 512}",
        *(f"model.{key}={json.dumps(value)}" for key, value in system.tiny.items()),
        *(f"processor.{key}={json.dumps(value)}" for key, value in system.tiny_processor.items()),
        "trainer.max_steps=1",
        "trainer.per_device_train_batch_size=4",
        "trainer.use_cpu=true",
    ]
    out = run(name, overrides, out=tmp_path / "model")
    assert "mimic_iv_ecg" in (out / "recipe.yaml").read_text(encoding="utf-8")
