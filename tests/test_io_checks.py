"""What reading decides for every format: leads, units, rates, padding, and what it finds wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write
from ecglm.io._checks import check
from ecglm.io._common import Channel, Hints, Recording, counts_per_millivolt, millivolts
from ecglm.io._finish import finish, is_ecg_name
from ecglm.measure import assess_quality


@pytest.fixture(scope="module")
def normals() -> list[ECG]:
    return [simulate("normal", seed=seed) for seed in range(20)]


def recording(ecg: ECG, leads=None, unit="mV", rate=None, **more) -> Recording:
    channels = [
        Channel(name, values.copy(), unit)
        for name, values in zip(leads or ecg.leads, ecg.signal, strict=True)
    ]
    return Recording(Path("x.rec"), "test", channels, ecg.sampling_rate if rate is None else rate, **more)


def warnings(ecg: ECG) -> str:
    return " / ".join(ecg.metadata.get("warnings", []))


# ---------------------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("mV", 1), ("uV", 1e-3), ("µV", 1e-3), ("μV", 1e-3), ("nV", 1e-6), ("V", 1e3), ("microvolts", 1e-3)]
    + [("mv", 1), ("4.88 uV", 4.88e-3), ("1e-4 V", 0.1), ("mmHg", None), ("", None), (None, None)],
)  # fmt: skip
def test_units(unit, scale):
    assert millivolts(unit) == (None if scale is None else pytest.approx(scale))


def test_units_as_hints(normals):
    assert counts_per_millivolt("200(1024)/mV") == (1 / 200, 1024)
    assert counts_per_millivolt("5 uV") == (pytest.approx(5e-3), 0)
    for unit in ("mmHg", "0/mV", "", "-5 uV", "nan", 3):
        with pytest.raises(ValueError, match="is no voltage; give one of mV"):
            Hints(unit=unit)
    micro = ECG(normals[0].signal * 1000, 500)
    found = finish(recording(micro, unit="mV"), Hints(unit="uV"))
    np.testing.assert_allclose(found.signal, normals[0].signal, rtol=1e-6)
    assert found.metadata["assumed"] == ["unit uV, as given; the file says 'mV'"]


@pytest.mark.parametrize("factor", [1000, 0.001, 5, 0.2, 1 / 4.88, 10])
def test_a_wrong_gain_is_flagged_and_nothing_is_rescaled(normals, factor):
    flagged = 0
    for ecg in normals:
        found = finish(recording(ECG(ecg.signal * factor, 500)), Hints())
        np.testing.assert_allclose(found.signal, ecg.signal * factor, rtol=1e-5)
        flagged += "implausible amplitude" in warnings(found)
    assert flagged >= 0.9 * len(normals)


def test_unknown_stretches_do_not_make_a_wrong_gain(normals):
    signal = normals[0].signal.copy()
    signal[:, 1500:] = np.nan
    signal[3:, :1000] = np.nan
    assert not check(replace(normals[0], signal=signal))
    signal[5] = np.nan
    assert check(replace(normals[0], signal=signal)) == ["lead aVF is unknown"]


def test_a_page_of_four_columns_says_nothing_of_cables(normals):
    """Nor does a recording whose electrodes were put on late."""
    for ecg in normals:
        signal = ecg.signal.copy()
        for column in range(4):
            signal[3 * column : 3 * column + 3, : 1250 * column] = np.nan
            signal[3 * column : 3 * column + 3, 1250 * (column + 1) :] = np.nan
        signal[1] = ecg.signal[1]
        assert not check(replace(ecg, signal=signal))
        late = np.concatenate([np.full((12, 20_000), np.nan, np.float32), ecg.signal], axis=1)
        assert check(replace(ecg, signal=late)) == check(ecg)
    late[:] = np.nan
    assert check(replace(ecg, signal=late)) == ["no sample of any lead is known"]


def test_ecgs_in_true_millivolts_are_not_flagged(normals):
    assert sum("implausible" in warnings(finish(recording(ecg), Hints())) for ecg in normals) == 0


# ---------------------------------------------------------------------------- leads


@pytest.mark.parametrize(
    "names",
    [
        "I II III AVR AVL AVF V1 V2 V3 V4 V5 V6".split(),
        [f"MDC_ECG_LEAD_{name.upper()}" for name in LEADS_12],
        [f"Lead {name}" for name in LEADS_12],
        ["DI", "DII", "DIII", "avr", "avl", "avf", "C1", "C2", "C3", "C4", "C5", "C6"],
        [f"ECG {name}" for name in LEADS_12],
    ],
)
def test_names_become_standard(normals, names):
    assert finish(recording(normals[0], names), Hints()).leads == LEADS_12


def test_the_order_of_the_file_is_kept_by_name(normals):
    order = ("I", "II", "III", "aVR", "aVF", "aVL", *LEADS_12[6:])  # CinC 2011, MIMIC-IV-ECG
    found = finish(recording(normals[0].select(order)), Hints())
    assert found.leads == order and "contradict" not in warnings(found)
    np.testing.assert_array_equal(found.select(LEADS_12).signal, normals[0].signal)


def test_eight_leads_become_twelve_and_say_so(normals):
    found = finish(recording(normals[0].select(("I", "II", *LEADS_12[6:]))), Hints())
    assert found.leads == LEADS_12 and found.metadata["assumed"] == [
        "III, aVR, aVL, aVF derived from I and II"
    ]
    np.testing.assert_allclose(found.signal, normals[0].signal, atol=0.002)
    assert finish(recording(normals[0].select(("I", "II"))), Hints()).leads == ("I", "II")


def test_minus_avr_is_turned_and_mason_likar_is_noted(normals):
    turned = ECG(normals[0].signal * np.where(np.arange(12) == 3, -1, 1)[:, None], 500)
    names = ["-aVR" if name == "aVR" else name for name in LEADS_12]
    found = finish(recording(turned, names), Hints())
    assert found.leads == LEADS_12 and "−aVR" in " ".join(found.metadata["assumed"])
    np.testing.assert_array_equal(found.signal, normals[0].signal)
    names = [f"{name} (ML)" if k < 6 else name for k, name in enumerate(LEADS_12)]
    found = finish(recording(normals[0], names), Hints())
    assert found.leads == LEADS_12 and found.metadata["lead_placement"] == "Mason-Likar"


def test_channels_that_are_no_ecg_keep_their_names_and_units(normals):
    given = recording(normals[0].select(("I", "II", "V1")), ["MLII", "V5", "Resp"])
    given.channels[2].unit = "Ohm"
    found = finish(given, Hints())
    assert found.leads == ("MLII", "V5", "Resp") and found.metadata["units"] == {"Resp": "Ohm"}
    assert "Resp is no ECG; kept in its own unit, Ohm" in warnings(found)
    given = recording(normals[0].select(("I", "II")), ["EEG Fpz", "II"])
    assert "EEG Fpz is no ECG lead known by name" in warnings(finish(given, Hints()))
    for name in ("V3R", "V9", "X", "MLIII", "ECG1", "Holter 2", "CM5", "-aVR"):
        assert is_ecg_name(name), name
    for name in ("Resp", "ABP", "EEG Fpz", "SpO2", "Marker", "time"):
        assert not is_ecg_name(name), name


def test_channels_at_another_rate_are_left_out(normals):
    given = recording(normals[0].select(("I", "II")))
    given.channels.append(Channel("Resp", np.zeros(100), "Ohm", 10.0))
    found = finish(given, Hints())
    assert found.leads == ("I", "II") and "Resp is left out: it has 10 Hz" in warnings(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": -1.0}, "states a sampling rate of -1"),
        ({"leads": ["I"] * 12}, "two channels are named I; pass leads="),
        ({"unit": "mmHg"}, "lead I has the unit 'mmHg', which is no voltage"),
    ],
)
def test_what_cannot_be_an_ecg_is_refused(normals, change, message):
    with pytest.raises(ECGFileError, match=message):
        finish(recording(normals[0], **change), Hints())


def test_wrong_hints_are_refused(normals, tmp_path):
    for wrong in (
        {"sampling_rate": 0},
        {"sampling_rate": "x"},
        {"start": -1},
        {"start": 2, "stop": 1},
        {"index": -1},
        {"index": True},
        {"leads": 5},
    ):
        with pytest.raises(ValueError, match="must"):
            read(tmp_path, **wrong)
    with pytest.raises(ECGFileError, match="12 channels, leads= names 2"):
        finish(recording(normals[0]), Hints(leads="I II"))
    with pytest.raises(ECGFileError, match="lasts 10 s; start=9 and stop=11 name no part"):
        finish(recording(normals[0]), Hints(start=9, stop=11))
    assert finish(recording(normals[0]), Hints(start=2, stop=2.5)).num_samples == 250


# ---------------------------------------------------------------------------- what looks wrong


def test_padding_is_cut_and_said(normals):
    signal = normals[0].signal.copy()
    signal[:, :400] = 0
    signal[:, 4500:] = np.nan
    found = finish(recording(ECG(signal, 500)), Hints())
    assert found.num_samples == 4100 and "first 0.8 s and the last 1 s are cut" in warnings(found)
    np.testing.assert_array_equal(found.signal, signal[:, 400:4500])
    assert finish(recording(ECG(signal, 500), keep_padding=True), Hints()).num_samples == 5000
    flat = finish(recording(ECG(np.zeros((12, 5000)), 500)), Hints())
    assert flat.num_samples == 5000 and warnings(flat) == "every lead is flat"


@pytest.mark.parametrize(("one", "other"), [("aVL", "aVF"), ("I", "II"), ("II", "III"), ("aVR", "aVF")])
def test_misnamed_limb_leads_contradict_each_other(normals, one, other):
    names = [{one: other, other: one}.get(name, name) for name in LEADS_12]
    for ecg in normals[:5]:
        said = warnings(finish(recording(ecg, names), Hints()))
        assert "limb leads contradict" in said and f"{one} is {other}" in said


def test_a_lead_upside_down_and_leads_scaled_one_by_one(normals):
    for row in (0, 2, 3):
        signal = normals[0].signal.copy()
        signal[row] *= -1
        said = warnings(finish(recording(ECG(signal, 500)), Hints()))
        assert f"agree if {LEADS_12[row]} is upside down" in said
    scaled = normals[0].signal / np.ptp(normals[0].signal, axis=1, keepdims=True)
    said = warnings(finish(recording(ECG(scaled, 500)), Hints()))  # as LUDB is
    assert "every lead has the same range, 1 mV" in said and "contradict" in said


def test_exchanged_cables_are_found(normals):
    """RA and LA: I turned, II and III exchanged, aVR and aVL exchanged."""

    def swap(ecg: ECG) -> ECG:
        one, two, three, right, left, foot = ecg.signal[:6]
        return ECG(np.stack([-one, three, two, left, right, foot, *ecg.signal[6:]]), 500)

    found = sum("electrodes RA/" in " ".join(check(swap(ecg))) for ecg in normals)
    false = sum("electrodes" in " ".join(check(ecg)) for ecg in normals)
    assert found >= 18 and false <= 1, (found, false)


def test_reader_and_quality_name_the_same_exchange(normals):
    named = 0
    for ecg in normals:
        one, two, three, right, left, foot = ecg.signal[:6]
        exchanged = ECG(np.stack([-three, -two, -one, foot, left, right, *ecg.signal[6:]]), 500)  # RA and LL
        said = [sentence for sentence in check(exchanged) if sentence.startswith("electrodes")]
        assert not said or said[0] in assess_quality(exchanged).reasons
        named += len(said)
    assert named >= 16


def test_ptbxl_is_seldom_flagged(ptbxl_root):
    paths = sorted(ptbxl_root.glob("records500/*/*.hea"))[::10]
    flagged = [path.stem for path in paths if "warnings" in read(path).metadata]
    assert len(flagged) <= 0.02 * len(paths), flagged  # all 2,010: see docs/experiments.md


def test_a_unit_alone_is_that_of_counts_where_the_files_gain_makes_no_ecg(tmp_path):
    ecg = simulate("normal", 3, noise=False)
    header = write(ecg, tmp_path / "record.hea")
    right = header.read_text()
    for gain, plausible in (("1000", True), ("4880", False), ("100", False)):
        header.write_text(right.replace("1000(0)/mV", f"{gain}(0)/mV"))
        assert (gain in header.read_text()) and ("implausible" not in warnings(read(header))) is plausible
        found = read(header, unit="uV")
        np.testing.assert_allclose(found.signal, ecg.signal, atol=6e-4)
        assert any("a count is 1 uV" in said for said in found.metadata["assumed"])
    header.write_text(right.replace("1000(0)/mV", "1000000(0)/mV"))
    found = read(header, unit="V")  # the gain holds, in volts
    np.testing.assert_allclose(found.signal, ecg.signal, atol=6e-4)
    assert not any("a count" in said for said in found.metadata["assumed"])


def test_the_known_wrong_gains_are_flagged(data_root):
    for name in ("georgia/E00004", "georgia/E00008", "ptbxl/HR00599", "ptbxl/HR20715", "ptbdb/S0001"):
        ecg = read(data_root / "challenge-2021" / name)
        assert "implausible amplitude" in warnings(ecg), name
        unit = "V" if name.startswith("ptbdb") else "uV"
        assert "implausible" not in warnings(read(data_root / "challenge-2021" / name, unit=unit)), name
    pair = data_root / "io-samples/muse_xml_wfdb_pair_EGM/muse-sinus.hea"
    assert "implausible amplitude" in warnings(read(pair))
    for path in sorted((data_root / "ludb/data").glob("*.hea"))[::10]:
        assert "each was scaled by itself" in warnings(read(path)), path
