"""A saved folder at work: opening it, scoring texts, transformers' pipelines, and unusable input."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import pipeline

import ecglm.models  # noqa: F401  (registers the pipelines)
from ecglm import io
from ecglm.ecg import ECG, LEADS_12
from ecglm.models import SYSTEMS
from ecglm.pipelines import LabelScorer, classify, embed, load_model
from ecglm.prompts import groups_of, load_prompts

PROMPTS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]


def ecg(seed=0, **metadata):
    signal = np.random.default_rng(seed).standard_normal((12, 5000)) / 3
    return ECG(signal, 500, LEADS_12, {"record_id": f"r{seed}"} | metadata)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A WFDB record whose lead V3 is flat and whose V4 has a hole."""
    signal = ecg().signal.copy()
    signal[8], signal[9, 100:600] = 0, np.nan
    return str(io.write(replace(ecg(), signal=signal), tmp_path_factory.mktemp("wfdb") / "flat"))


@pytest.fixture(
    params=[name for name in SYSTEMS if hasattr(next(iter(SYSTEMS[name].models.values())), "similarity")]
)
def folder(request, model_folder):
    """Every system that scores texts."""
    return model_folder(request.param)


def test_classify_texts(folder, record):
    (result,) = classify([record], folder, prompts=PROMPTS)
    assert result["record"] == record
    assert sorted(score["label"] for score in result["scores"]) == PROMPTS
    assert all(score["label"] == score["prompt"] for score in result["scores"])
    values = [score["score"] for score in result["scores"]]
    assert values == sorted(values, reverse=True) and len(set(values)) == 3
    assert ["V3" in text for text in result["warnings"]].count(True) == 1
    assert ["V4" in text and "10.0%" in text for text in result["warnings"]].count(True) == 1
    json.dumps(result)


def test_scores_are_the_models_own(folder):
    model, processor = load_model(folder, "get_text_features")
    batch = processor(ecg=ecg(), text=PROMPTS)
    with torch.inference_mode():
        embeds = model.get_ecg_features(batch["input_values"])
        logits = model.similarity(
            embeds, model.get_text_features(batch["input_ids"], batch["attention_mask"])
        )
        expected = model.probabilities(logits)
    (result,) = classify([ecg()], folder, prompts=PROMPTS)
    assert result["kind"] == ("cosine" if expected is None else "probability")
    expected = logits if expected is None else expected
    found = {score["label"]: score["score"] for score in result["scores"]}
    assert [found[text] for text in PROMPTS] == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_classify_with_a_prompt_set(folder):
    (first,) = classify([ecg()], folder, prompt_set="ckepe/ptbxl")
    assert {score["label"] for score in first["scores"]} == {"NORM", "MI", "STTC", "CD", "HYP"}
    prompt_set = load_prompts("ckepe/ptbxl", "rhythm")
    (rhythm,) = classify([ecg()], folder, prompt_set="ckepe/ptbxl", group="rhythm")
    assert {score["label"] for score in rhythm["scores"]} == set(prompt_set.labels)
    for score in rhythm["scores"]:
        assert score["prompt"] in prompt_set.texts(score["label"])


def test_members_are_combined_as_the_prompt_set_says(folder):
    model, processor = load_model(folder, "get_text_features")
    with torch.inference_mode():
        embeds = model.get_ecg_features(processor(ecg=[ecg(1), ecg(2)])["input_values"])
    alone, _ = LabelScorer(model, processor, {text: [[text]] for text in PROMPTS})(embeds)
    both = {"any": [[PROMPTS[0], PROMPTS[1]], [PROMPTS[2]]], "one": [[PROMPTS[2]]]}
    for combine in ("noisy_or", "mean", "max"):
        scorer = LabelScorer(model, processor, both, combine)
        scores, best = scorer(embeds)
        assert np.allclose(scores[:, 1], alone[:, 2])
        assert best[:, 1].tolist() == [3, 3]  # the last text of four
        if scorer.kind == "probability":
            first, second = alone[:, :2].mean(1), alone[:, 2]
            expected = {
                "noisy_or": 1 - (1 - first) * (1 - second),
                "mean": (first + second) / 2,
                "max": np.maximum(first, second),
            }
            assert np.allclose(scores[:, 0], expected[combine])


def test_zero_shot_pipeline(folder, record):
    pipe = pipeline("zero-shot-ecg-classification", model=str(folder))
    one = pipe(record, candidate_labels=PROMPTS)
    (same,) = classify([record], folder, prompts=PROMPTS)
    assert [row["label"] for row in one] == [row["label"] for row in same["scores"]]
    assert [row["score"] for row in one] == pytest.approx([row["score"] for row in same["scores"]])
    assert one[0]["kind"] == same["kind"] and one[0]["warnings"] == same["warnings"]
    many = pipe([record, ecg(1), ecg(2)], candidate_labels=PROMPTS, batch_size=2)
    assert [row["score"] for row in many[0]] == pytest.approx([row["score"] for row in one], abs=1e-5)
    assert many[0][0]["warnings"] == one[0]["warnings"] and many[1][0]["warnings"] == []
    framed = pipe(ecg(1), candidate_labels=PROMPTS[0], hypothesis_template="the ECG shows {}")
    assert framed[0]["label"] == PROMPTS[0] and framed[0]["prompt"] == f"the ECG shows {PROMPTS[0]}"
    named = pipe(ecg(1), prompts="zero_shot/ptbxl_names")
    assert len(named) == len(
        load_prompts("zero_shot/ptbxl_names", groups_of("zero_shot/ptbxl_names")[0]).labels
    )


def test_feature_extraction_pipeline_and_embed_agree(folder):
    records = [ecg(k) for k in range(3)]
    features = pipeline("ecg-feature-extraction", model=str(folder))(records, batch_size=2)
    embedded = embed(records, folder)
    assert embedded["records"].tolist() == ["r0", "r1", "r2"]
    assert np.allclose(features, embedded["features"], atol=1e-5)
    assert np.allclose(np.linalg.norm(embedded["ecg_embeds"], axis=1), 1, atol=1e-5)


@pytest.mark.skipif("ecg_llm" not in SYSTEMS, reason="no system writes text")
def test_ecg_to_text_pipeline(model_folder, record):
    pipe = pipeline("ecg-to-text", model=str(model_folder("ecg_llm")))
    alone = [pipe(one, max_new_tokens=5) for one in (record, ecg(1), ecg(2))]
    assert all(isinstance(one["generated_text"], str) for one in alone)
    assert any("V3" in text for text in alone[0]["warnings"]) and alone[1]["warnings"] == []
    together = pipe([record, ecg(1), ecg(2)], max_new_tokens=5, batch_size=2)
    assert together == alone


# ----------------------------------------------------------------------------------- what cannot be used


def refusal(*arguments, **named):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        classify(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_recordings_that_cannot_be_used(two_towers, tmp_path):
    short = replace(ecg(), signal=ecg().signal[:, :1500])
    assert "lasts 3 s" in refusal([short], two_towers, prompts=PROMPTS)
    dead = replace(ecg(), signal=np.zeros((12, 5000), dtype=np.float32))
    assert "at least one usable lead" in refusal([dead], two_towers, prompts=PROMPTS)
    two = ecg().select(["V1", "V2"])
    assert "has no lead" in refusal([two], two_towers, prompts=PROMPTS)
    assert "nowhere" in refusal([tmp_path / "nowhere"], two_towers, prompts=PROMPTS)


def test_folders_that_cannot_be_used(two_towers, model_folder, tmp_path):
    assert "no model folder" in refusal([ecg()], tmp_path, prompts=PROMPTS)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "bert"}')
    assert "type 'bert', which ecglm does not know" in refusal([ecg()], foreign, prompts=PROMPTS)
    (foreign / "config.json").write_text("{")
    assert "is not JSON" in refusal([ecg()], foreign, prompts=PROMPTS)
    (foreign / "config.json").write_text("[1]")
    assert "is no mapping" in refusal([ecg()], foreign, prompts=PROMPTS)
    damaged = tmp_path / "damaged"
    shutil.copytree(two_towers, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be read (Error while deserializing" in refusal([ecg()], damaged, prompts=PROMPTS)
    weights.unlink()
    assert "there are no weights" in refusal([ecg()], damaged, prompts=PROMPTS)
    if "ecg_llm" in SYSTEMS:
        message = refusal([ecg()], model_folder("ecg_llm"), prompts=PROMPTS)
        assert "cannot score texts" in message and "two towers" in message
    with pytest.raises(ValueError, match="writes no text; give a report model"):
        load_model(two_towers, "generate")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("tokenizer.json", "{}", "the processor cannot be read"),
        ("processor_config.json", "{", "the processor cannot be read"),
        ("processor_config.json", None, "the processor cannot be read"),
        ("tokenizer.json", None, "the processor cannot be read"),
        ("tokenizer_config.json", None, "lacks tokenizer_config.json"),
        ("config.json", '"projection_size": 16->8', "in the weights and"),
        ("config.json", '"hidden_act": "gelu"->3', "cannot be read"),
    ],
)
def test_a_damaged_folder_is_one_line(two_towers, tmp_path, file, content, complaint):
    folder = tmp_path / "damaged"
    shutil.copytree(two_towers, folder)
    if content is None:
        (folder / file).unlink()
    elif "->" in content:
        old, new = content.split("->")
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, f"{old.split(':')[0]}: {new}"))
    else:
        (folder / file).write_text(content)
    message = refusal([ecg()], folder, prompts=PROMPTS)
    assert complaint in message and "damaged" in message and "\n" not in message


def test_a_tokenizer_without_words_is_refused(two_towers, tmp_path):
    """transformers makes BERT's of nothing, and every text would score the same."""
    folder = tmp_path / "wordless"
    shutil.copytree(two_towers, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert "lacks tokenizer.json or vocab.txt" in refusal([ecg()], folder, prompts=PROMPTS)
    with pytest.raises(FileNotFoundError, match="lacks tokenizer.json or vocab.txt"):
        pipeline("zero-shot-ecg-classification", model=str(folder))


@pytest.mark.skipif("ecg_llm" not in SYSTEMS, reason="no system writes text")
@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_report_model_that_lacks_a_file_is_one_line(model_folder, tmp_path, file):
    shutil.copytree(model_folder("ecg_llm"), tmp_path / "lacking")
    (tmp_path / "lacking" / file).unlink()
    with pytest.raises(ValueError, match=rf"lacks {file}\); train"):
        load_model(tmp_path / "lacking", "generate")


def test_a_tokenizer_of_another_model_is_refused(two_towers, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(two_towers, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] += [[f"more{number}", -9.0] for number in range(40_000)]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "do not belong together; train" in refusal([ecg()], folder, prompts=PROMPTS)


def test_weights_are_never_drawn_at_random(two_towers, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(two_towers, tmp_path / "cut")
    weights = load_file(two_towers / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, tmp_path / "cut" / "model.safetensors", {"format": "pt"})
    assert "weights lack 1 tensors" in refusal([ecg()], tmp_path / "cut", prompts=PROMPTS)


def test_questions_that_cannot_be_asked(two_towers):
    assert "has no text" in refusal([ecg()], two_towers, prompts=[" "])
    assert "give either texts" in refusal([ecg()], two_towers)
    assert "give either texts" in refusal([ecg()], two_towers, prompts=PROMPTS, prompt_set="ckepe/ptbxl")
    pipe = pipeline("zero-shot-ecg-classification", model=str(two_towers))
    with pytest.raises(ValueError, match="give candidate_labels"):
        pipe(ecg())
    with pytest.raises(ValueError, match="unknown argument candidate"):
        pipe(ecg(), candidate=PROMPTS)
    with pytest.raises(ValueError, match="must hold '{}'"):
        pipe(ecg(), candidate_labels=PROMPTS, hypothesis_template="an ECG")
