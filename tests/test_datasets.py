"""Corpora: miniatures in their publishers' layouts with real WFDB files, and PTB-XL where it is at hand."""

import csv
import json
from collections import Counter

import numpy as np
import pytest

from ecglm import ECG, LEADS_12, ECGFileError, datasets, write
from ecglm.datasets import mimic_iv_ecg, ptbxl, simulated
from ecglm.datasets._rows import COLUMNS, encode_signal
from ecglm.text import join_machine_statements

STATEMENTS = """\
,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass,Statement Category
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC,x
NST_,non-specific ST changes,1.0,1.0,,STTC,NST_,x
1AVB,first degree AV block,1.0,,,CD,_AVB,x
IMI,inferior  myocardial infarction,1.0,,,MI,IMI,x
NORM,normal ECG,1.0,,,NORM,NORM,x
LVOLT,low QRS voltages,,1.0,,,,x
SR,sinus rhythm,,,1.0,,,x
"""
ROWS = [  # ecg_id, patient_id, age, sex, report, scp_codes, strat_fold
    ("1", "7.0", "56.0", "1", "sinusrhythmus normales ekg", "{'NORM': 100.0, 'SR': 0.0}", "1"),
    (
        "2",
        "8.0",
        "300.0",
        "0",
        "sinus rhythm. old inferior mi.",
        "{'IMI': 15.0, 'NST_': 0.0, 'SR': 0.0}",
        "8",
    ),
    ("3", "8.0", "", "0", "", "{'1AVB': 100.0, 'LVOLT': 0.0, 'UNKNOWN': 100.0}", "9"),
    ("4", "9.0", "40.0", "1", "trace only requested.", "{}", "10.0"),
]
COLUMN_NAMES = (
    "ecg_id",
    "patient_id",
    "age",
    "sex",
    "report",
    "scp_codes",
    "strat_fold",
    "filename_lr",
    "filename_hr",
)


def signal_of(number: int, num_samples: int) -> np.ndarray:
    """Whole microvolts, so that nothing is lost in the file."""
    return np.random.default_rng(number).integers(-2000, 2000, (12, num_samples)) / 1000


def write_csv(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def small_ptbxl(tmp_path):
    """Four records of PTB-XL's layout at 500 and 100 Hz."""
    root = tmp_path / "ptb-xl"
    lines = []
    for row in ROWS:
        names = []
        for rate, suffix in ((100, "lr"), (500, "hr")):
            folder = root / f"records{rate}" / "00000"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"records{rate}/00000/{int(row[0]):05d}_{suffix}"
            write(ECG(signal_of(int(row[0]), rate * 10), rate), root / name)
            names.append(name)
        lines.append((*row, *names))
    write_csv(root / "ptbxl_database.csv", COLUMN_NAMES, lines)
    (root / "scp_statements.csv").write_text(STATEMENTS)
    return root


# ---------------------------------------------------------------------------- ptb-xl


def test_ptbxl_common_columns_and_recordings(small_ptbxl):
    rows = datasets.load("ptbxl", small_ptbxl)
    assert tuple(rows.column_names) == COLUMNS
    assert rows["record_id"] == ["1", "2"] and rows["fold"] == [1, 8]
    assert (
        rows["age"] == [56.0, 90.0] and rows["sex"] == ["female", "male"] and rows["patient_id"] == ["7", "8"]
    )
    assert rows["texts"] == [["sinusrhythmus", "normales ekg"], ["sinus rhythm", "old inferior mi"]]
    assert rows["codes"] == [["NORM", "SR"], ["IMI", "NST_", "SR"]]
    ecg = datasets.read_row(rows[1])
    assert ecg.sampling_rate == 500 and ecg.leads == LEADS_12
    np.testing.assert_allclose(ecg.signal, signal_of(2, 5000), atol=1e-6)
    assert (ecg.metadata["patient_id"], ecg.metadata["sex"], ecg.metadata["record_id"]) == ("8", "male", "2")


@pytest.mark.parametrize(("split", "ids"), [("train", ["1", "2"]), ("validation", ["3"]), ("test", ["4"])])
def test_ptbxl_splits(small_ptbxl, split, ids):
    assert datasets.load("ptbxl", small_ptbxl, split)["record_id"] == ids


def test_ptbxl_at_100_hz(small_ptbxl):
    row = datasets.load("ptbxl", small_ptbxl, sampling_rate=100)[0]
    ecg = datasets.read_row(row)
    assert row["sampling_rate"] == ecg.sampling_rate == 100 and ecg.num_samples == 1000
    np.testing.assert_allclose(ecg.signal, signal_of(1, 1000), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("superclass", [["NORM"], ["MI", "STTC"], ["CD"], []]),
        ("subclass", [["NORM"], ["IMI", "NST"], ["AVB"], []]),
        ("form", [[], ["NST"], ["LVOLT"], []]),
        ("rhythm", [["SR"], ["SR"], [], []]),
        ("all", [["NORM", "SR"], ["NST", "IMI", "SR"], ["1AVB", "LVOLT"], []]),
    ],
)
def test_ptbxl_classes_count_whatever_the_likelihood(small_ptbxl, labels, expected):
    assert datasets.load("ptbxl", small_ptbxl, folds=range(1, 11), labels=labels)["labels"] == expected


def test_ptbxl_min_likelihood_judges_diagnoses_only(small_ptbxl):
    def labels(name):
        return datasets.load("ptbxl", small_ptbxl, folds=[8], labels=name, min_likelihood=50)["labels"][0]

    assert labels("superclass") == [] and labels("subclass") == []
    assert labels("form") == ["NST"] and labels("rhythm") == ["SR"] and labels("all") == ["NST", "SR"]


def test_ptbxl_texts(small_ptbxl, tmp_path, caplog):
    texts = datasets.load("ptbxl", small_ptbxl, text="statements")["texts"]
    assert texts == [
        ["normal ECG", "sinus rhythm"],
        ["inferior myocardial infarction", "non-specific ST changes", "sinus rhythm"],
    ]
    with pytest.raises(FileNotFoundError, match=r"no reports_en.csv in .*translations=FILE"):
        datasets.load("ptbxl", small_ptbxl, text="report_en")
    write_csv(
        tmp_path / "en.csv",
        ("ecg_id", "report_en"),
        [("1", "Sinus rhythm.Normal ECG."), ("3", "AV block"), ("2", "")],
    )
    rows = datasets.load("ptbxl", small_ptbxl, text="report_en", translations=tmp_path / "en.csv")
    assert rows["record_id"] == ["1"] and rows["texts"] == [["Sinus rhythm", "Normal ECG"]]
    assert rows["report"] == ["sinusrhythmus normales ekg"] and "1 of 2 records" in caplog.text
    with pytest.raises(ValueError, match="translates none of the 1 records"):
        datasets.load("ptbxl", small_ptbxl, "test", text="report_en", translations=tmp_path / "en.csv")


def test_reports_without_recordings(small_ptbxl):
    rows = ptbxl.load_reports(small_ptbxl / "ptbxl_database.csv", small_ptbxl, folds=[1, 9])
    assert (
        rows["record_id"] == ["1", "3"] and rows["path"] == ["", ""] and rows["labels"] == [["NORM"], ["CD"]]
    )
    with pytest.raises(ECGFileError, match="0 bytes of signal"):
        datasets.read_row(rows[0])


def test_ptbxl_only_needs_the_publishers_columns_and_says_so(small_ptbxl, tmp_path):
    with pytest.raises(ValueError, match=r"folds=\[5\]; folds present: \[1, 8, 9, 10\]"):
        datasets.load("ptbxl", small_ptbxl, folds=[5])
    with pytest.raises(ValueError, match="no split 'valid'"):
        datasets.load("ptbxl", small_ptbxl, "valid")
    with pytest.raises(ValueError, match="labels='super' is not known; choose one of superclass"):
        datasets.load("ptbxl", small_ptbxl, labels="super")
    with pytest.raises(ValueError, match="no option label; it takes folds, labels"):
        datasets.load("ptbxl", small_ptbxl, label="form")
    with pytest.raises(ValueError, match="needs its folder"):
        datasets.load("ptbxl")
    with pytest.raises(ValueError, match="no corpus 'ptb'; there are ptbxl"):
        datasets.load("ptb", small_ptbxl)
    with pytest.raises(FileNotFoundError, match="no folder .*expected PTB-XL as PhysioNet"):
        datasets.load("ptbxl", tmp_path / "gone")
    (small_ptbxl / "records100").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="no records100/"):
        datasets.load("ptbxl", small_ptbxl, sampling_rate=100)
    (small_ptbxl / "ptbxl_database.csv").write_text("ecg_id,age\n1,2\n")
    with pytest.raises(
        ValueError, match="has no column patient_id, sex, report, scp_codes, strat_fold, filename_hr"
    ):
        datasets.load("ptbxl", small_ptbxl)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("{'NORM': 100.0, 'SR': 0.0}", "NORM", "record 1: scp_codes must look like"),
        ("records500/00000/00001_hr", None, "breaks off in line 2; fetch it again"),
        ("10.0", "", "record 4 has no strat_fold"),
        ("300.0", "old", "record 2: age must be a number, got 'old'"),
        ("10.0", "ten", "record 4: strat_fold must be a number, got 'ten'"),
        ("sinusrhythmus", "\udcff", "is no readable CSV"),
    ],
)
def test_a_damaged_ptbxl_table_is_one_line(small_ptbxl, old, new, complaint):
    table = small_ptbxl / "ptbxl_database.csv"
    before, _, after = table.read_text().partition(old)
    assert after
    text = before.rstrip(",") if new is None else before + new + after
    table.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=complaint) as refused:
        datasets.load("ptbxl", small_ptbxl)
    assert "\n" not in str(refused.value)


def test_ptbxl_itself(ptbxl_root):
    rows = datasets.load("ptbxl", ptbxl_root)
    assert len(rows) == 2010 and sorted(set(rows["fold"])) == list(range(1, 9))
    sizes = {"superclass": 5, "subclass": 23, "form": 19, "rhythm": 12, "all": 71}
    counts = {}
    for labels, size in sizes.items():
        assert len(ptbxl.class_names(ptbxl_root, labels)) == size
        counts[labels] = Counter(
            name for row in datasets.load("ptbxl", ptbxl_root, labels=labels)["labels"] for name in row
        )
    assert counts["superclass"] == {"NORM": 919, "MI": 474, "STTC": 489, "CD": 408, "HYP": 249}
    assert (counts["subclass"]["AVB"], counts["form"]["NST"], counts["rhythm"]["SR"]) == (75, 76, 1520)
    ecg = datasets.read_row(rows[0])
    assert ecg.metadata["record_id"] == "43" and ecg.num_samples == 5000
    samples = np.fromfile(f"{rows[0]['path']}.dat", "<i2").reshape(5000, 12).T  # PTB-XL's gain is 1000 per mV
    assert encode_signal(ecg) == samples.tobytes()
    assert 0 < len(datasets.load("ptbxl", ptbxl_root, text="report_en")) < 2010


# ---------------------------------------------------------------------------- mimic

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture
def small_mimic(tmp_path):
    """60 studies of 30 patients, the first two with files; study 3 has no statements, study 4 two words."""
    root = tmp_path / "mimic"
    said, listed = [], []
    for study in range(60):
        subject = 10_000_000 + study // 2
        path = f"files/p1000/p{subject}/s{study}/{study}"
        listed.append((subject, study, study, "2180-07-23 08:44:00", path))
        texts = (
            ["Sinus rhythm", "", "  Normal EKG\t**"]
            if study not in (3, 4)
            else [["", ""], ["Sinus rhythm"]][study - 3]
        )
        said.append((subject, study, *texts, *[""] * (18 - len(texts))))
        if study < 2:
            (root / path).parent.mkdir(parents=True)
            write(ECG(signal_of(study, 5000), 500, MIMIC_LEADS), root / path)
    write_csv(root / "record_list.csv", ("subject_id", "study_id", "file_name", "ecg_time", "path"), listed)
    columns = ("subject_id", "study_id", *(f"report_{index}" for index in range(18)))
    write_csv(root / "machine_measurements.csv", columns, said[::-1])  # joined by study, not by line
    return root


def test_mimic_by_patient(small_mimic):
    parts = {split: datasets.load("mimic_iv_ecg", small_mimic, split) for split in datasets.SPLITS}
    assert sum(map(len, parts.values())) == 60
    patients = [set(part["patient_id"]) for part in parts.values()]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])
    again = datasets.load("mimic_iv_ecg", small_mimic, "test")
    assert again["record_id"] == parts["test"]["record_id"]
    other = datasets.load("mimic_iv_ecg", small_mimic, "test", seed=1)
    assert other["record_id"] != parts["test"]["record_id"]


def test_mimic_rows_and_lead_order(small_mimic):
    rows = [*datasets.load("mimic_iv_ecg", small_mimic), *datasets.load("mimic_iv_ecg", small_mimic, "test")]
    row = next(row for row in rows if row["record_id"] in "01")
    assert row["texts"] == [row["report"]] == ["sinus rhythm.   normal ecg ."]
    ecg = datasets.read_row(row)
    assert ecg.leads == MIMIC_LEADS
    np.testing.assert_allclose(ecg.lead("aVF"), signal_of(int(row["record_id"]), 5000)[4], atol=1e-6)
    silent = next(row for row in rows if row["record_id"] == "3")
    assert silent["texts"] == [] and silent["report"] == ""
    texts = datasets.load("mimic_iv_ecg", small_mimic, text="statements")["texts"]
    assert texts[-1] == ["sinus rhythm", "normal ekg"] or texts[-1] == ["Sinus rhythm", "Normal EKG"]


def test_mimic_as_merl_splits_it(small_mimic):
    options = {"min_words": 4, "split_by": "record"}
    train = datasets.load("mimic_iv_ecg", small_mimic, **options)
    validation = datasets.load("mimic_iv_ecg", small_mimic, "validation", **options)
    # 58 records have four words; the numbers are those of scikit-learn 1.9's
    # train_test_split(range(58), test_size=0.02, random_state=42).
    kept = [str(study) for study in range(60) if study not in (3, 4)]
    assert validation["record_id"] == [kept[0], kept[5]] and len(train) == 56
    assert train["record_id"][:5] == ["36", "15", "46", "54", "39"]
    with pytest.raises(ValueError, match="has no split 'test'"):
        datasets.load("mimic_iv_ecg", small_mimic, "test", split_by="record")
    with pytest.raises(ValueError, match="lower min_words"):
        datasets.load("mimic_iv_ecg", small_mimic, min_words=9)


def test_mimic_refuses_paths_that_lead_outside(small_mimic):
    write_csv(
        small_mimic / "record_list.csv", ("subject_id", "study_id", "path"), [(1, 1, "../../etc/passwd")]
    )
    with pytest.raises(ValueError, match="lies outside its folder"):
        datasets.load("mimic_iv_ecg", small_mimic)
    (small_mimic / "machine_measurements.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no machine_measurements.csv in .*expected MIMIC-IV-ECG"):
        datasets.load("mimic_iv_ecg", small_mimic)
    assert mimic_iv_ecg.TEXTS == ("report", "statements")


# ---------------------------------------------------------------------------- simulated


def test_simulated_is_seeded_and_splits_share_nothing():
    parts = [datasets.load("simulated", split=split, num_records=3) for split in datasets.SPLITS]
    parts.append(datasets.load("simulated", num_records=3, seed=1))
    signals = [signal for part in parts for signal in part["signal"]]
    assert len(set(signals)) == 12
    assert datasets.load("simulated", num_records=3)["signal"] == parts[0]["signal"]
    row = parts[0][0]
    ecg = datasets.read_row(row)
    assert ecg.leads == LEADS_12 and ecg.num_samples == 5000 and np.isfinite(ecg.signal).all()
    assert row["report"] and row["texts"] and row["codes"] and row["patient_id"] == row["record_id"]


def test_simulated_labels_follow_the_codes():
    rows = datasets.load("simulated", num_records=3, labels="all", text="statements")
    for row in rows:
        assert set(row["labels"]) == {code.strip("_") for code in row["codes"]}
        assert len(row["texts"]) == len(row["codes"])
    assert simulated.class_names() == ["NORM", "MI", "STTC", "CD", "HYP"]
    assert len(simulated.class_names("subclass")) == 23
    with pytest.raises(ValueError, match="has no folder"):
        datasets.load("simulated", "somewhere")


def test_classes_of_the_ontology_are_those_of_the_publisher(ptbxl_root):
    assert {
        code: (each.superclass, each.subclass, each.form, each.rhythm)
        for code, each in simulated.statements().items()
    } == {
        code: (each.superclass, each.subclass, each.form, each.rhythm)
        for code, each in ptbxl.statements(ptbxl_root).items()
    }


# ---------------------------------------------------------------------------- prepared


def test_prepared_holds_the_same_rows(small_ptbxl, tmp_path):
    out = datasets.prepare("ptbxl", small_ptbxl, tmp_path / "store", labels="form")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".store")]
    for split in datasets.SPLITS:
        original = datasets.load("ptbxl", small_ptbxl, split, labels="form")
        packed = datasets.load("prepared", out, split, cache_dir=tmp_path / "cache")
        assert packed.features == original.features
        same = [name for name in COLUMNS if name not in ("path", "signal", "leads")]
        for row, other in zip(original, packed, strict=True):
            assert {name: row[name] for name in same} == {name: other[name] for name in same}
            np.testing.assert_array_equal(datasets.read_row(row).signal, datasets.read_row(other).signal)
    some = datasets.load("prepared", out, folds=[8, 9], labels="form", cache_dir=tmp_path / "cache")
    assert some["record_id"] == ["2", "3"]
    with pytest.raises(ValueError, match="was made with labels='form', not 'rhythm'"):
        datasets.load("prepared", out, labels="rhythm")
    with pytest.raises(ValueError, match="was made with text='report', not 'statements'"):  # by default
        datasets.load("prepared", out, text="statements")
    with pytest.raises(ValueError, match=r"no record in folds \[5\]; present: train \(folds \[1, 8\]\)"):
        datasets.load("prepared", out, folds=[5])
    with pytest.raises(ValueError, match="is there already"):
        datasets.prepare("ptbxl", small_ptbxl, out)


def test_prepare_keeps_unknown_samples_and_other_leads(small_mimic, tmp_path):
    (tmp_path / "mimic" / "record_list.csv").write_text(
        "subject_id,study_id,path\n1,0,odd/odd\n2,1,odd/odd\n3,2,odd/odd\n"
    )
    (tmp_path / "mimic" / "odd").mkdir()
    signal = np.array([[0.5, np.nan, 33.0], [1e-3, -2.5, 0.0]])
    write(ECG(signal, 250, ("V2", "RESP")), small_mimic / "odd" / "odd")
    out = datasets.prepare("mimic_iv_ecg", small_mimic, tmp_path / "store", splits=["train"])
    ecg = datasets.read_row(datasets.load("prepared", out, cache_dir=tmp_path / "cache")[0])
    assert ecg.leads == ("V2", "RESP") and ecg.sampling_rate == 250
    np.testing.assert_allclose(ecg.signal, [[0.5, np.nan, 32.767], [1e-3, -2.5, 0.0]], atol=5e-4)
    assert json.loads((out / "manifest.json").read_text())["samples_cut"] == 1


def test_prepare_stops_at_an_unreadable_recording_or_lists_it(small_ptbxl, tmp_path):
    broken = small_ptbxl / "records500/00000/00002_hr.dat"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(ECGFileError, match="truncated.*skip_unreadable=True"):
        datasets.prepare("ptbxl", small_ptbxl, tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ptb-xl"]
    out = datasets.prepare("ptbxl", small_ptbxl, tmp_path / "store", skip_unreadable=True)
    manifest = json.loads((out / "manifest.json").read_text())
    assert [entry["record_id"] for entry in manifest["unreadable"]] == ["2"]
    assert manifest["splits"]["train"]["shards"][0]["records"] == 1


def test_a_damaged_store_is_refused(small_ptbxl, tmp_path):
    out = datasets.prepare("ptbxl", small_ptbxl, tmp_path / "store")
    shard = out / "train-00000.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="prepare the store anew"):
        datasets.load("prepared", out)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="lacks train-00000.parquet"):
        datasets.load("prepared", out)
    (out / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="is no manifest of format 1"):
        datasets.load("prepared", out)
    with pytest.raises(FileNotFoundError, match="is no prepared store"):
        datasets.load("prepared", small_ptbxl)


def test_a_row_whose_bytes_do_not_fit_is_refused():
    row = {"record_id": "x", "path": "", "signal": bytes(10), "leads": ["I", "II"], "sampling_rate": 500.0}
    with pytest.raises(ECGFileError, match="10 bytes of signal do not fit 2 leads"):
        datasets.read_row(row)
    assert join_machine_statements([]) == "empty"
