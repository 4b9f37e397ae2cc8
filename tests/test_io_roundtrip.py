"""One ECG of ±10 mV in every format that is written: read back by us and by the format's own library."""

import json
from pathlib import Path

import edfio
import numpy as np
import pydicom
import pytest
import wfdb

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write
from ecglm.io import inspect

STEPS = {".hea": 1e-3, ".edf": 5e-4, ".dcm": 5e-4, ".xml": 1e-4, ".csv": 1e-6, ".npz": 0.0}  # mV


@pytest.fixture(scope="module")
def ecg() -> ECG:
    """A simulated ECG whose largest deflection is 10 mV, its metadata such as every format keeps."""
    found = simulate("normal", seed=4)
    signal = found.signal * (10 / np.abs(found.signal).max())
    return ECG(signal, found.sampling_rate, found.leads, {"age": 61.0, "sex": "male"})


def of_library(path: Path) -> tuple[np.ndarray, float, tuple[str, ...]] | None:
    """(leads, samples) mV, rate and names, by the library of the format, if there is one."""
    if path.suffix == ".hea":
        record = wfdb.rdrecord(str(path.with_suffix("")))
        assert set(record.units) == {"mV"}
        return record.p_signal.T, record.fs, tuple(record.sig_name)
    if path.suffix == ".edf":
        signals = edfio.read_edf(path).signals
        scale = [{"uV": 1e-3, "mV": 1.0}[each.physical_dimension] for each in signals]
        values = np.stack([each.data * factor for each, factor in zip(signals, scale, strict=True)])
        return (
            values,
            signals[0].sampling_frequency,
            tuple(each.label.removeprefix("ECG ") for each in signals),
        )
    if path.suffix == ".dcm":
        dataset = pydicom.dcmread(path)
        item = dataset.WaveformSequence[0]
        units = [each.ChannelSensitivityUnitsSequence[0].CodeValue for each in item.ChannelDefinitionSequence]
        scale = np.array([{"uV": 1e-3, "mV": 1.0}[unit] for unit in units])[:, None]
        names = tuple(each.ChannelSourceSequence[0].CodeMeaning for each in item.ChannelDefinitionSequence)
        return dataset.waveform_array(0).T * scale, float(item.SamplingFrequency), names
    return None


@pytest.mark.parametrize("suffix", STEPS)
def test_every_format_gives_the_ecg_back(tmp_path, ecg, suffix):
    path = write(ecg, tmp_path / f"out{suffix}")
    found = read(path)
    assert found.leads == LEADS_12 and found.sampling_rate == ecg.sampling_rate
    assert found.num_samples == ecg.num_samples and "units" not in found.metadata
    half = STEPS[suffix] / 2 + 1e-6  # and the rounding of float32
    assert np.abs(found.signal - ecg.signal).max() <= half
    assert found.metadata.get("age") == 61 and found.metadata.get("sex") == "male"
    theirs = of_library(path)
    if theirs:
        values, rate, names = theirs
        assert rate == ecg.sampling_rate and [name.split()[-1].lower() for name in names] == [
            name.lower() for name in LEADS_12
        ]
        assert np.abs(values - ecg.signal).max() <= half
    again = write(found, tmp_path / f"again{suffix}")  # what is read can be written, and loses nothing more
    np.testing.assert_allclose(read(again).signal, found.signal, atol=1e-6)
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("suffix", STEPS)
def test_an_unknown_lead_stays_unknown(tmp_path, ecg, suffix):
    signal = ecg.signal.copy()
    signal[4], signal[7, 100:150] = np.nan, np.nan
    found = read(write(ECG(signal, 500, LEADS_12), tmp_path / f"out{suffix}"))
    np.testing.assert_array_equal(np.isnan(found.signal), np.isnan(signal))


@pytest.mark.parametrize("suffix", STEPS)
def test_names_of_other_leads_stay_as_they_are(tmp_path, ecg, suffix):
    names = ("MLII", "X", "ECG", "V3R", "aVR2", "RESP") + ("Ableitung ä",) * (suffix != ".edf")
    signal = ecg.signal[: len(names), :1000]
    found = read(write(ECG(signal, 500, names), tmp_path / f"out{suffix}"))
    assert found.leads == names
    np.testing.assert_allclose(found.signal, signal, atol=STEPS[suffix] / 2 + 1e-6)


@pytest.mark.parametrize("suffix", STEPS)
def test_a_lone_lead_with_an_odd_name_and_unknown_samples(tmp_path, ecg, suffix):
    signal = ecg.signal[:1, :1000].copy()
    signal[0, 200:300] = np.nan
    name = "breast bone" if suffix == ".edf" else "Brust ä"
    found = read(write(ECG(signal, 500, (name,)), tmp_path / f"out{suffix}"))
    assert found.leads == (name,) and found.num_samples == 1000
    np.testing.assert_array_equal(np.isnan(found.signal), np.isnan(signal))
    np.testing.assert_allclose(found.signal, signal, atol=STEPS[suffix] / 2 + 1e-6)


@pytest.mark.parametrize("suffix", sorted(set(STEPS) - {".dcm", ".npz"}))
def test_a_recording_of_one_sample_or_a_slow_one_is_read(tmp_path, suffix):
    for rate in (0.5, 500):
        found = read(write(ECG(np.ones((2, 1)), rate, ("I", "II")), tmp_path / f"out{suffix}"))
        np.testing.assert_allclose(found.signal, 1, atol=1e-3)


@pytest.mark.parametrize("suffix", sorted(set(STEPS) - {".csv", ".npz"}))
def test_the_time_of_a_recording_is_kept(tmp_path, ecg, suffix):
    acquired = "2021-03-04T05:06:07"
    known = ECG(ecg.signal, 500, LEADS_12, {"acquired": acquired})
    path = write(known, tmp_path / f"out{suffix}")
    assert read(path).metadata["acquired"] == acquired
    if suffix == ".hea":
        assert wfdb.rdheader(str(path)[:-4]).base_datetime.isoformat() == acquired


@pytest.mark.parametrize("suffix", STEPS)
def test_a_span_is_that_of_the_whole(tmp_path, ecg, suffix):
    path = write(ecg, tmp_path / f"out{suffix}")
    part = read(path, start=1.5, stop=4)
    np.testing.assert_array_equal(part.signal, read(path).signal[:, 750:2000])
    with pytest.raises(ECGFileError, match="lasts 10 s; start=9 and stop=11 name no part"):
        read(path, start=9, stop=11)


def test_a_suffix_that_names_no_format_is_refused(tmp_path, ecg):
    with pytest.raises(
        ValueError, match=r"end it in \.hea \(or nothing\), \.edf, \.dcm, \.xml, \.csv or \.npz"
    ):
        write(ecg, tmp_path / "out.mp3")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".hea", ".edf", ".dcm", ".csv", ".npz"])
def test_rows_that_are_no_voltage_keep_their_unit(tmp_path, ecg, suffix):
    signal = np.vstack([ecg.signal[:2], 97 + np.sin(np.arange(5000))[None], np.cos(np.arange(5000))[None]])
    units = {"SpO2": "%", "Volume": "l"}
    path = write(ECG(signal, 500, ("I", "II", *units), {"units": units}), tmp_path / f"ecg{suffix}")
    found = read(path)
    assert found.leads == ("I", "II", *units) and found.metadata["units"] == units
    np.testing.assert_allclose(found.signal, signal, atol=0.003)
    if suffix == ".hea":
        assert wfdb.rdheader(str(path.with_suffix(""))).units == ["mV", "mV", "%", "l"]


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_csv_and_npz_keep_the_device_s_median_beats_however_large(tmp_path, ecg, suffix):
    beats = ECG(simulate("normal", seed=5).signal[:, :4000] * np.pi, 1000, LEADS_12)
    device = {"model": "el250", "measurements": {"qt": 368}, "median_beats": beats}
    path = write(ECG(ecg.signal, 500, LEADS_12, {"age": 42, "device": device}), tmp_path / f"ecg{suffix}")
    found = read(path).metadata
    assert found["age"] == 42 and found["device"]["measurements"] == {"qt": 368}
    kept = found["device"]["median_beats"]
    assert isinstance(kept, ECG) and kept.sampling_rate == 1000 and kept.leads == LEADS_12
    assert np.abs(kept.signal - beats.signal).max() <= 1e-6
    assert inspect(path)["metadata"]["device"]["median_beats"] == {
        "sampling_rate": 1000.0,
        "leads": list(LEADS_12),
        "num_samples": 4000,
    }


@pytest.mark.parametrize(
    "said",
    [
        {"assumed": 5, "warnings": "x", "identity": 1, "units": 1},
        {"device": "x", "filters": 3, "age": [1], "codes": 5, "dx": 5, "comments": 5, "annotations": 5},
        {"device": {"median_beats": {"sampling_rate": 0, "leads": ["I"], "signal": [[1]]}}},
        {"device": {"median_beats": 5}},
        ["age", 5],
    ],
)
def test_metadata_of_the_wrong_kind_is_left_out_and_said(tmp_path, ecg, said):
    path = write(ecg, tmp_path / "ecg.csv")
    lines = path.read_text().split("\n")
    place = next(number for number, line in enumerate(lines) if line.startswith("# ecglm: "))
    lines[place] = f"# ecglm: {json.dumps(said)}"
    path.write_text("\n".join(lines))
    found = read(path)
    assert found.metadata.get("device", {}) == {} and "age" not in found.metadata
    assert any("left out" in sentence for sentence in found.metadata["warnings"])
    for suffix in STEPS:
        read(write(found, tmp_path / f"again{suffix}"))
