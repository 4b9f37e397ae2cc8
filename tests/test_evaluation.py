"""Metrics against scikit-learn and brute force; benchmarks run on a miniature PTB-XL with a tiny model."""

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecglm import io
from ecglm.assets import list_statements
from ecglm.ecg import ECG
from ecglm.evaluation import evaluate, load_benchmark, metrics
from ecglm.evaluation.report import another_patient, coded, nearest_rows

STATEMENTS = [  # code, description, diagnostic, form, rhythm, class, subclass
    ("NDT", "non-diagnostic T abnormalities", "1.0", "1.0", "", "STTC", "STTC"),
    ("NORM", "normal ECG", "1.0", "", "", "NORM", "NORM"),
    ("IMI", "inferior myocardial infarction", "1.0", "", "", "MI", "IMI"),
    ("LVH", "left ventricular hypertrophy", "1.0", "", "", "HYP", "LVH"),
    ("CRBBB", "complete right bundle branch block", "1.0", "", "", "CD", "CRBBB"),
    ("PVC", "ventricular premature complex", "", "1.0", "", "", ""),
    ("SR", "sinus rhythm", "", "", "1.0", "", ""),
    ("AFIB", "atrial fibrillation", "", "", "1.0", "", ""),
]
CODES = [
    ["NORM", "SR"],
    ["IMI", "SR"],
    ["LVH", "AFIB", "PVC"],
    ["NDT", "SR"],
    ["NORM", "AFIB"],
    ["PVC", "SR"],
]
WORDS = {row[0]: row[1] for row in STATEMENTS}


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """PTB-XL's layout with 36 records of 18 patients, folds 1, 2 and 8, no CRBBB."""
    root = tmp_path_factory.mktemp("ptb-xl")
    (root / "records500").mkdir()
    names = "code,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass".split(",")
    with open(root / "scp_statements.csv", "w", newline="") as file:
        csv.writer(file).writerows([["", *names[1:]], *STATEMENTS])
    generator = np.random.default_rng(0)
    columns = "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr".split(",")
    with open(root / "ptbxl_database.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for k in range(36):
            codes = CODES[k % len(CODES)]
            signal = 0.05 * generator.standard_normal((12, 5000))
            signal[k % len(CODES)] += np.sin(np.arange(5000) / 500 * 40 * np.pi)  # what a probe can learn
            path = f"records500/{k:05d}_hr"
            io.write(ECG(signal, 500), root / f"{path}.hea")
            scp = str(dict.fromkeys(codes, 100.0))
            report = ". ".join(WORDS[code] for code in codes)
            row = [k + 1, f"{k // 2}.0", 50, 1, report, scp, (1, 2, 8)[k // 6 % 3], path, path]
            writer.writerow(row)
    return root


# ------------------------------------------------------------------------------------------------- metrics


def test_auroc_equals_scikit_learn_with_and_without_ties():
    generator = np.random.default_rng(1)
    for scores in (generator.standard_normal(200), generator.integers(0, 6, 200).astype(float)):
        targets = generator.integers(0, 2, 200)
        assert metrics.auroc(scores, targets) == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    assert np.isnan(metrics.auroc(scores, np.zeros(200)))


def test_bootstrap_by_patient_equals_brute_force():
    generator = np.random.default_rng(2)
    patients = [str(name) for name in generator.integers(0, 15, 40)]
    scores, targets = generator.integers(0, 9, 40).astype(float), generator.integers(0, 2, 40)
    weights = metrics.patient_weights(patients, resamples=25, seed=3)
    owners = np.array(patients)
    for row, area in zip(weights, metrics.weighted_auroc(scores, targets, weights), strict=True):
        drawn = np.repeat(np.arange(40), row.astype(int))
        assert area == pytest.approx(roc_auc_score(targets[drawn], scores[drawn]), abs=1e-9)
        for name in set(patients):  # the recordings of a patient are drawn together
            assert len(set(row[owners == name])) == 1
        first = [np.flatnonzero(owners == name)[0] for name in set(patients)]
        assert row[first].sum() == len(set(patients))


def test_bootstrap_is_seeded_and_wider_for_fewer_patients():
    generator = np.random.default_rng(4)
    scores = generator.standard_normal((300, 3))
    targets = (scores + generator.standard_normal((300, 3)) > 0).astype(int)
    many, few = [str(k) for k in range(300)], [str(k // 10) for k in range(300)]
    repeated = np.repeat(np.arange(30), 10)
    wide = {}
    for name, (patients, rows) in {"many": (many, slice(None)), "few": (few, repeated)}.items():
        weights = metrics.patient_weights(patients, 500, seed=0)
        estimate, each = metrics.macro_auroc(scores[rows], targets[rows], weights)
        again, _ = metrics.macro_auroc(scores[rows], targets[rows], metrics.patient_weights(patients, 500, 0))
        assert estimate == again and estimate.low < estimate.value < estimate.high
        assert estimate.value == pytest.approx(np.mean([one.value for one in each]))
        wide[name] = estimate.high - estimate.low
    assert wide["few"] > 2 * wide["many"]


def test_f1_equals_scikit_learn():
    generator = np.random.default_rng(5)
    predicted, targets = generator.integers(0, 2, (2, 80, 4))
    weights = metrics.patient_weights([str(k) for k in range(80)], 50, 0)
    found = metrics.f1_scores(predicted, targets, weights)
    for name in ("macro", "micro"):
        estimate = found[f"{name}_f1"]
        assert estimate.value == pytest.approx(f1_score(targets, predicted, average=name))
        assert estimate.low < estimate.value < estimate.high


def test_f1_difference_is_paired():
    generator = np.random.default_rng(7)
    targets = generator.integers(0, 2, (60, 3))
    better, worse = targets ^ (generator.random((60, 3)) < 0.1), targets ^ (generator.random((60, 3)) < 0.3)
    weights = metrics.patient_weights([str(k) for k in range(60)], 200, 0)
    difference = metrics.f1_difference(better, worse, targets, weights)
    expected = f1_score(targets, better, average="macro") - f1_score(targets, worse, average="macro")
    assert difference.value == pytest.approx(expected) and difference.low > 0
    same = metrics.f1_difference(better, better, targets, weights)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_platt_recovers_the_scale_and_calibration_error_falls():
    generator = np.random.default_rng(6)
    logits = generator.normal(-1, 2, (4000, 1))
    targets = (generator.random((4000, 1)) < 1 / (1 + np.exp(-(0.5 * logits - 1)))).astype(int)
    scale, offset = metrics.fit_platt(logits, targets)
    assert (scale, offset) == pytest.approx((0.5, -1), abs=0.1)

    def error(a, b):
        return metrics.calibration_error(1 / (1 + np.exp(-(a * logits + b))), targets)[0]

    assert error(scale, offset) < 0.03 < error(1, 0)
    with pytest.raises(ValueError, match="true and false"):
        metrics.fit_platt(logits, np.ones_like(logits))


def test_calibration_error_of_known_bins():
    probabilities, targets = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[1, 0], [0, 0]])
    assert metrics.calibration_error(probabilities, targets)[0] == pytest.approx((0.4 * 2 + 0.1 * 2) / 4)
    doubled = metrics.calibration_error(probabilities, targets, np.array([[2.0, 0.0]]))[0]
    assert doubled == pytest.approx(0.1)


# ----------------------------------------------------------------------------------------------- protocols


def test_zero_shot_reports_interval_and_names_what_it_leaves_out(miniature, two_towers):
    result = evaluate(
        "classification/ptbxl_super", two_towers, {"data.root": str(miniature), "data.folds": [8]}
    )
    document = json.loads(json.dumps(result.to_dict()))
    assert document["mode"] == "zero_shot"
    macro = document["metrics"]["macro_auroc"]
    assert macro.keys() == {"value", "low", "high"} and macro["low"] <= macro["value"] <= macro["high"]
    assert document["n"] == 10 and document["patients"] == 6  # two of the twelve have a form statement only
    assert document["classes"] == ["NORM", "MI", "STTC", "HYP"]
    assert document["left_out"] == {"CD": "no positive"}
    assert document["settings"]["folds"] == [8]
    assert document["reference"][0]["source"].startswith("arXiv:2403.06659")
    assert "CD (no positive)" in str(result)


def test_recordings_that_the_model_has_learnt_from_are_counted(miniature, two_towers, tmp_path, caplog):
    """By its own recipe, and by that of the model that it went on from."""
    for name in ("first", "second"):
        shutil.copytree(two_towers, tmp_path / name)
    recipe = "init_from: {}\ndata: {{name: ptbxl, folds: {}, text: statements, root: {}}}\n"
    first, second = (tmp_path / name / "recipe.yaml" for name in ("first", "second"))
    first.write_text(recipe.format("null", "[8]", miniature / "."))
    second.write_text(recipe.format(tmp_path / "first", "[1]", miniature))
    for folds, judged in (([8], 10), ([2], 0), ([1], 10), ([1, 2, 8], 20)):
        overrides = {"data.root": str(miniature), "data.folds": folds}
        result = evaluate("classification/ptbxl_super", tmp_path / "second", overrides)
        assert result.settings["seen_in_training"] == judged
        assert (f"{judged} of them were in the model's training" in str(result)) == (judged > 0)
    assert "20 of the 30 recordings judged were in the model's training" in caplog.text
    result = evaluate("classification/ptbxl_super", two_towers, overrides)
    assert result.settings["seen_in_training"] == 0


def test_prompts_can_be_replaced(miniature, two_towers):
    def scores(prompts):
        overrides = ["data.root=" + str(miniature), "data.folds=[1, 2, 8]", f"prompts={prompts}"]
        return evaluate("classification/ptbxl_super", two_towers, overrides)

    sets = ["ckepe/ptbxl", "zero_shot/ptbxl_unseen", "zero_shot/ptbxl_names"]
    results = [scores(name) for name in sets]
    assert [result.settings["prompts"] for result in results] == sets
    assert [result.settings["combine"] for result in results] == ["noisy_or", "noisy_or", "mean"]


def test_probe_learns_from_the_folds_that_are_not_judged(miniature, two_towers):
    overrides = {"mode": "probe", "data.root": str(miniature), "data.folds": [8], "probe.splits": 3}
    result = evaluate("classification/ptbxl_super", two_towers, overrides)
    assert result.settings["train_folds"] == [1, 2] and result.settings["train_n"] == 20
    assert result.metrics["macro_auroc"].value > 0.95
    named = evaluate("classification/ptbxl_super", two_towers, overrides | {"data.train_folds": [2]})
    assert named.settings["train_folds"] == [2]
    with pytest.raises(ValueError, match="holds fold 8, which is judged"):
        evaluate("classification/ptbxl_super", two_towers, overrides | {"data.train_folds": [2, 8]})


def test_probe_refuses_a_patient_on_both_sides(miniature, two_towers, tmp_path):
    table = (miniature / "ptbxl_database.csv").read_text().replace("\n1,0.0,", "\n1,6.0,")
    for name in ("scp_statements.csv", "records500"):
        (tmp_path / name).symlink_to(miniature / name)
    (tmp_path / "ptbxl_database.csv").write_text(table)
    overrides = {"mode": "probe", "data.root": str(tmp_path), "data.folds": [8]}
    with pytest.raises(ValueError, match="1 patients have recordings in training and among those judged"):
        evaluate("classification/ptbxl_super", two_towers, overrides)


def test_an_empty_split_lists_the_folds_that_are_there(miniature, two_towers):
    with pytest.raises(ValueError, match=r"1, 2, 8"):
        evaluate("classification/ptbxl_super", two_towers, {"data.root": str(miniature)})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("moed=probe", "'moed'; did you mean 'mode'"),
        ("mode=probes", "zero_shot or probe"),
        ("data.fold=[8]", "'fold'; did you mean 'folds'"),
        ("data.name=ptb", "name must be one of"),
        ("bootstrap.resample=10", "'resample'; did you mean 'resamples'"),
        ("probe.splits=many", "splits must be a whole number; got 'many'"),
        ("prompts=ckepe/nothing", "'ckepe/nothing'"),
    ],
)
def test_bad_settings_are_refused_by_name(key, message, miniature, two_towers):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        overrides = ["data.root=" + str(miniature), "data.folds=[8]", key]
        evaluate("classification/ptbxl_super", two_towers, overrides)
    assert "\n" not in str(caught.value)


def test_an_own_benchmark_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("protocol: classification\ndata: {name: ptbxl}\nclasses: [NORM]\nprompts: x\ngroup: y\n")
    assert load_benchmark(path).name == "classification/mine"
    path.write_text("protocol: guesswork\n")
    with pytest.raises(ValueError, match="protocol is one of classification"):
        load_benchmark(path)
    path.write_text("protocol: classification\ndata: {name: ptbxl}\n")
    with pytest.raises(ValueError, match="lacks 'classes', 'prompts', 'group'"):
        load_benchmark(path)


# --------------------------------------------------------------------------------------------- draft reports


@pytest.fixture(scope="module")
def writer(model_folder):
    """A tiny model folder that writes texts."""
    pytest.importorskip("ecglm.report")
    return model_folder("ecg_llm")


def test_drafts_are_judged_beside_two_baselines(miniature, writer):
    overrides = {"data.root": str(miniature), "data.folds": [8], "min_positives": 3, "max_new_tokens": 4}
    result = evaluate("report/ptbxl", writer, overrides)
    assert result.classes == ["NORM", "PVC", "AFIB"]
    assert result.left_out["SR"] == "excluded" and result.left_out["IMI"] == "2 positive"
    assert result.settings["train_folds"] == [1, 2] and result.n == 12
    # every record called normal: four of twelve are, F1 = 2 * 4 / (2 * 4 + 8) for NORM and 0 for the others
    assert result.metrics["normal_macro_f1"].value == pytest.approx(0.5 / 3)
    drafts, nearest = result.metrics["macro_f1"].value, result.metrics["nearest_macro_f1"].value
    assert nearest > 0.7  # training recordings carry the same marks; the encoder is untrained
    assert result.metrics["macro_f1_minus_nearest"].value == pytest.approx(drafts - nearest)
    shuffled = evaluate("report/ptbxl", writer, overrides | {"mode": "shuffled"})
    assert shuffled.mode == "shuffled"
    assert shuffled.metrics["nearest_macro_f1"] == result.metrics["nearest_macro_f1"]
    with pytest.raises(ValueError, match="lower min_positives"):
        evaluate("report/ptbxl", writer, overrides | {"min_positives": 30})


def test_another_patient_is_another():
    patients = ["a", "a", "b", "c", "c", "c"]
    order = another_patient(patients, seed=0)
    assert all(patients[other] != own for own, other in zip(patients, order, strict=True))
    assert order == another_patient(patients, seed=0)
    with pytest.raises(ValueError, match="two patients"):
        another_patient(["a", "a"], seed=0)


def test_nearest_and_codes():
    training = np.array([[1.0, 0], [0, 1], [-1, -1]])
    assert nearest_rows(training * 3, training).tolist() == [0, 1, 2]
    assert coded([{"SR"}, [], ["AFIB", "SR"]], ["SR", "AFIB"]).tolist() == [[1, 0], [0, 0], [1, 1]]


# ------------------------------------------------------------------------------- every benchmark of the wing


@pytest.mark.parametrize("name", list_statements("eval"))
def test_every_benchmark_runs_in_miniature(name, miniature, two_towers, writer):
    benchmark = load_benchmark(name)
    overrides = {"bootstrap.resamples": 20}
    if benchmark.data["name"] == "ptbxl":
        overrides |= {"data.root": str(miniature), "data.folds": [1, 2]}
    else:
        overrides |= {"data.num_records": 24}
    if name.startswith("report/"):
        result = evaluate(name, writer, overrides | {"min_positives": 2, "max_new_tokens": 4})
    else:
        result = evaluate(name, two_towers, overrides)
    assert result.benchmark == name and result.n > 5
    assert all(0 <= estimate.value <= 1 or "minus" in key for key, estimate in result.metrics.items())
    json.dumps(result.to_dict())
