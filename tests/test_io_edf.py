"""EDF, EDF+ and BDF: files made byte by byte, real ones, hostile ones, and what is written."""

import time
import tracemalloc

import edfio
import numpy as np
import pytest
from standard_files import edf_file, tal

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write


def leads(counts: np.ndarray, names=("ECG I", "ECG II"), **more) -> list[dict]:
    return [
        {"label": name, "unit": "uV", "low": -16384, "high": 16383.5, "counts": counts[k]} | more
        for k, name in enumerate(names)
    ]


@pytest.fixture
def counts() -> np.ndarray:
    """(2, 4 records, 250 samples) counts of 0.5 uV."""
    signal = simulate("normal", 3, duration=10).signal[:2, :1000]
    return np.rint(signal * 2000).astype(np.int64).reshape(2, 4, 250)


def saved(tmp_path, content: bytes, name: str = "a.edf"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_plain_edf(tmp_path, counts):
    content = edf_file(
        leads(counts, prefilter="HP:0.05Hz LP:150Hz N:50Hz"), patient="MCH 0234567 Haagse Harry"
    )
    ecg = read(saved(tmp_path, content))
    assert (ecg.leads, ecg.sampling_rate) == (("I", "II"), 250)
    np.testing.assert_allclose(ecg.signal, counts.reshape(2, -1) * 5e-4, atol=1e-6)
    assert ecg.metadata["acquired"] == "2020-03-02T10:11:12"
    assert ecg.metadata["filters"] == {"low": 0.05, "high": 150, "notch": 50}
    assert "Haagse" not in str(ecg.metadata)
    kept = read(tmp_path / "a.edf", keep_identity=True).metadata["identity"]
    assert kept["patient"] == "MCH 0234567 Haagse Harry"


def test_bdf_of_24_bits_with_its_status_channel(tmp_path):
    generator = np.random.default_rng(0)
    counts = generator.integers(-(2**23), 2**23, (2, 3, 100))
    counts[0, 0, :3] = -(2**23), 2**23 - 1, -1
    channels = leads(counts, low=-262144, high=262143)
    channels.append(
        {"label": "Status", "unit": "Boolean", "low": -8388608, "high": 8388607, "counts": counts[1]}
    )
    ecg = read(saved(tmp_path, edf_file(channels, bdf=True), "a.bdf"))
    gain = (262143 + 262144) / (2**24 - 1)
    exact = ((counts[:2].reshape(2, -1) + 2**23) * gain - 262144) / 1e3
    np.testing.assert_allclose(ecg.signal[:2], exact, rtol=3e-7, atol=3e-5)
    assert ecg.leads == ("I", "II", "Status")
    assert ecg.metadata["units"] == {"Status": "Boolean"}
    np.testing.assert_allclose(ecg.signal[2], counts[1].ravel(), atol=1)


def test_a_size_of_a_count_goes_before_the_range_that_the_header_states(tmp_path, counts):
    path = saved(tmp_path, edf_file(leads(counts, high=99999)))
    np.testing.assert_allclose(read(path, unit="0.5 uV").signal, counts.reshape(2, -1) * 5e-4, atol=1e-6)


def test_a_channel_without_unit_that_is_no_ecg_is_kept(tmp_path, counts):
    channels = [*leads(counts), {"label": "Marker", "unit": "", "low": 0, "high": 1, "counts": counts[0]}]
    ecg = read(saved(tmp_path, edf_file(channels)))
    assert ecg.leads == ("I", "II", "Marker") and ecg.metadata["units"] == {"Marker": "nu"}
    assert ecg.metadata["warnings"] == ["Marker is no ECG; kept as it is: the file gives it no unit"]
    for suffix in (".hea", ".csv", ".npz", ".edf"):
        again = read(write(ecg, tmp_path / f"again{suffix}"))
        np.testing.assert_allclose(again.signal, ecg.signal, atol=1e-3)
    with pytest.raises(ECGFileError, match="states no unit"):
        read(saved(tmp_path, edf_file(leads(counts, unit="") + channels[2:])))


def test_other_rates_and_units_are_said(tmp_path, counts):
    channels = leads(counts)
    channels.append({"label": "Resp", "unit": "uV", "counts": counts[0, :, :25]})
    channels.append({"label": "SpO2", "unit": "%", "low": 0, "high": 100, "counts": counts[0]})
    channels.append({"label": "Flow", "unit": "l/s", "low": 0, "high": 0, "counts": counts[0]})
    ecg = read(saved(tmp_path, edf_file(channels)))
    assert ecg.leads == ("I", "II", "SpO2") and ecg.metadata["units"] == {"SpO2": "%"}
    said = " ".join(ecg.metadata["warnings"])
    assert "Resp is left out: it has 25 Hz" in said and "Flow is left out" in said


def test_edf_plus_patient_and_annotations(tmp_path, counts):
    moments = [[tal(f"+{k}")] for k in range(4)]
    moments[1] += [tal("+1.5", "Couplet", "Größe", duration="0.25")]
    content = edf_file(
        leads(counts),
        patient="MCH-0234567 F 02-MAY-1951 Haagse_Harriet",
        recording="Startdate 02-MAR-2020 EMG561 BK/JOP Holter_7",
        reserved="EDF+C",
        moments=moments,
    )
    ecg = read(saved(tmp_path, content), keep_identity=True)
    assert (ecg.metadata["age"], ecg.metadata["sex"]) == (68, "female")
    assert ecg.metadata["device"] == {"model": "Holter 7"}
    assert ecg.metadata["annotations"] == [
        {"onset": 1.5, "duration": 0.25, "text": "Couplet"},
        {"onset": 1.5, "duration": 0.25, "text": "Größe"},
    ]
    assert ecg.metadata["identity"] == {
        "patient_id": "MCH-0234567",
        "name": "Haagse Harriet",
        "investigation": "EMG561",
        "technician": "BK/JOP",
        "birth_date": "1951-05-02",
    }
    assert "Haagse" not in str(read(tmp_path / "a.edf").metadata)


def test_edf_plus_d_has_gaps(tmp_path, counts):
    moments = [[tal(f"+{at}")] for at in (0.5, 1.5, 4.5, 5.5)]
    ecg = read(saved(tmp_path, edf_file(leads(counts), reserved="EDF+D", moments=moments)))
    assert ecg.num_samples == 6 * 250
    assert np.isnan(ecg.signal[:, 500:1000]).all() and np.isfinite(ecg.signal[:, 1000:]).all()
    np.testing.assert_allclose(ecg.signal[0, 1000:], counts[0, 2:].ravel() * 5e-4, atol=1e-6)
    assert any("2 s between its records are unknown" in each for each in ecg.metadata["warnings"])
    part = read(tmp_path / "a.edf", start=3.5, stop=4.5)
    np.testing.assert_array_equal(part.signal, ecg.signal[:, 875:1125])


@pytest.mark.parametrize("moments", [(0, 0.5, 1, 1.5), (0, 1, 2, 1e9), (3, 2, 1, 0)])
def test_edf_plus_d_of_impossible_moments_is_refused(tmp_path, counts, moments):
    content = edf_file(leads(counts), reserved="EDF+D", moments=[[tal(f"+{at:.1f}")] for at in moments])
    with pytest.raises(ECGFileError, match="overlap, or lie over 24 h"):
        read(saved(tmp_path, content))


def test_a_span_reads_its_records_only(tmp_path, counts):
    long = np.tile(counts, (1, 500, 1))  # 2000 s
    path = saved(tmp_path, edf_file(leads(long)))
    whole = read(path)
    tracemalloc.start()
    part = read(path, start=1000.5, stop=1002.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(part.signal, whole.signal[:, 250125:250525])
    assert peak < 1e6
    with pytest.raises(ECGFileError, match="lasts 2000 s"):
        read(path, start=1, stop=2001)


def test_an_unclosed_file_reads_with_a_warning(tmp_path, counts):
    ecg = read(saved(tmp_path, edf_file(leads(counts), records=-1)))
    assert ecg.num_samples == 1000
    assert any("number of records is -1" in each for each in ecg.metadata["warnings"])


def test_inverted_polarity_is_kept(tmp_path, counts):
    ecg = read(saved(tmp_path, edf_file(leads(counts, low=16384, high=-16383.5))))
    np.testing.assert_allclose(ecg.signal, -counts.reshape(2, -1) * 5e-4, atol=1e-6)


def test_what_the_header_does_not_state_is_asked_for(tmp_path, counts):
    path = saved(tmp_path, edf_file(leads(counts, unit=""), duration="0"))
    with pytest.raises(
        ECGFileError, match=r"states no sampling rate, no unit; pass sampling_rate= \(Hz\), unit="
    ):
        read(path)
    ecg = read(path, sampling_rate=250, unit="uV")
    np.testing.assert_allclose(ecg.signal, counts.reshape(2, -1) * 5e-4, atol=1e-6)
    flat = saved(tmp_path, edf_file(leads(counts, low=0, high=0)), "flat.edf")
    with pytest.raises(ECGFileError, match="gives no scale; pass unit="):
        read(flat)
    np.testing.assert_allclose(read(flat, unit="0.5 uV").signal, ecg.signal, atol=1e-6)


def patched(content: bytes, at: int, field: str, width: int = 8) -> bytes:
    return content[:at] + field.encode().ljust(width) + content[at + width :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:100], "ends within its header"),
        (lambda content: content[:300], "ends within its header"),
        (lambda content: content[:-700], "claims 4 records .* pass allow_truncated=True"),
        (lambda content: patched(content, 236, "99999999"), "claims 99999999 records"),
        (lambda content: patched(content, 236, "-7"), "claims -7 records"),
        (lambda content: patched(content, 236, "0"), "holds no records"),
        (lambda content: patched(content, 252, "9999", 4), "claims 9999 signals"),
        (lambda content: patched(content, 252, "0", 4), "claims 0 signals"),
        (lambda content: patched(content, 252, "-1", 4), "claims -1 signals"),
        (lambda content: patched(content, 244, "nan"), "no number"),
        (lambda content: patched(content, 244, "-1"), "must not be negative"),
        (lambda content: patched(content, 244, "1_0"), "no number"),
        (lambda content: patched(content, 256 + 2 * 216, "-250"), "claims -250 samples"),
        (lambda content: patched(content, 256 + 2 * 216, "99999999"), "ends within record 1"),
        (lambda content: patched(content, 256 + 2 * 216, "1e999"), "no number"),
        (lambda content: patched(content, 256 + 2 * 104, "inf"), "no number"),
        (lambda content: patched(content, 256 + 2 * 120, "32767"), "gives no scale"),
    ],
)
def test_hostile_edf_is_refused_in_one_line(tmp_path, counts, change, words):
    path = saved(tmp_path, change(edf_file(leads(counts))))
    began = time.perf_counter()
    with pytest.raises(ECGFileError, match=words) as caught:
        read(path)
    assert time.perf_counter() - began < 1
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_kept_on_demand(tmp_path, counts):
    path = saved(tmp_path, edf_file(leads(counts))[:-700])
    ecg = read(path, allow_truncated=True)
    assert ecg.num_samples == 750
    assert any("3 of 4 records are there" in each for each in ecg.metadata["warnings"])


def test_annotations_alone_are_no_ecg(tmp_path):
    content = edf_file([], moments=[[tal("+0"), tal("+1", "Nothing")]], reserved="EDF+C", duration="0")
    with pytest.raises(ECGFileError, match="annotations only"):
        read(saved(tmp_path, content))


def test_edf_samples(io_samples):
    ecg = read(io_samples / "edf" / "test_generator.edf", leads=["II", *(f"x{k}" for k in range(10))])
    theirs = edfio.read_edf(io_samples / "edf" / "test_generator.edf")
    assert ecg.num_samples == 120_000
    for row, signal in zip(ecg.signal, theirs.signals, strict=True):
        np.testing.assert_allclose(row, signal.data / 1e3, atol=1e-6)
    eeg = read(io_samples / "edf" / "test_utf8.edf")
    assert eeg.metadata["annotations"][2]["text"] == "中文测试八个字"
    assert len(eeg.metadata["annotations"]) == len(
        edfio.read_edf(io_samples / "edf" / "test_utf8.edf").annotations
    )
    np.testing.assert_allclose(
        eeg.signal[0], edfio.read_edf(io_samples / "edf" / "test_utf8.edf").signals[0].data / 1e3, atol=1e-6
    )
    padded = read(io_samples / "cardio_tests" / "sample.edf")
    assert padded.num_samples == 9000 and "padding" in padded.metadata["warnings"][0]


@pytest.mark.parametrize(
    ("rate", "num_samples"),
    [(500, 5000), (500, 4999), (360, 3601), (257.3, 2573), (128.5, 1000), (333.25, 5003)],
)
def test_written_and_read_back_by_us_and_by_edfio(tmp_path, rate, num_samples):
    generator = np.random.default_rng(1)
    signal = generator.uniform(-10, 10, (12, num_samples)).astype(np.float32)
    signal[3, 10:20] = signal[5] = signal[7, -3:] = np.nan
    told = {
        "age": 56, "sex": "female", "report": "Sinus rhythm. Größe", "acquired": "2020-01-02T03:04:05",
        "filters": {"low": 0.05, "high": 150.0},
    }  # fmt: skip
    path = write(ECG(signal, rate, LEADS_12, told), tmp_path / "a.edf")
    ecg = read(path)
    assert (ecg.leads, ecg.sampling_rate) == (LEADS_12, rate)
    np.testing.assert_array_equal(np.isnan(ecg.signal), np.isnan(signal))
    assert np.nanmax(np.abs(ecg.signal - signal)) <= 2.51e-4  # half of 0.5 uV
    assert {key: ecg.metadata[key] for key in told} == told
    assert "annotations" not in ecg.metadata
    theirs = edfio.read_edf(path)
    assert [each.label for each in theirs.signals] == [f"ECG {lead}" for lead in LEADS_12]
    for row, each in zip(np.nan_to_num(ecg.signal), theirs.signals, strict=True):
        np.testing.assert_allclose(each.data[:num_samples] / 1e3, row, atol=1e-6)
        assert each.sampling_frequency == pytest.approx(rate)
    assert theirs.patient.sex == "F" and theirs.startdate.isoformat() == "2020-01-02"
    missing = [each.text for each in theirs.annotations if each.text.startswith("BAD_missing@@")]
    assert sorted(missing) == ["BAD_missing@@ECG V2", "BAD_missing@@ECG aVF", "BAD_missing@@ECG aVR"]


def test_rows_that_are_no_voltage_keep_their_unit(tmp_path):
    signal = np.stack([simulate("normal", 1).signal[1], np.linspace(90, 100, 5000, dtype=np.float32)])
    path = write(ECG(signal, 500, ("II", "SpO2"), {"units": {"SpO2": "%"}}), tmp_path / "a.edf")
    ecg = read(path)
    assert ecg.metadata["units"] == {"SpO2": "%"}
    np.testing.assert_allclose(ecg.signal, signal, atol=2.6e-3)
    assert np.abs(ecg.signal[0] - signal[0]).max() < 2.6e-4


def test_what_edf_cannot_hold_is_refused(tmp_path):
    good = simulate("normal", 1).select(["II"])
    with pytest.raises(ValueError, match="infinite"):
        write(ECG(np.full((1, 100), np.inf), 500, ("II",)), tmp_path / "a.edf")
    with pytest.raises(ValueError, match="16 ASCII"):
        write(ECG(good.signal, 500, ("a name that is too long",)), tmp_path / "a.edf")
    with pytest.raises(ValueError, match="resample"):
        write(ECG(good.signal, 1000 / np.pi, ("II",)), tmp_path / "a.edf")
    assert not list(tmp_path.iterdir())


def test_edf_is_known_by_its_date_without_a_suffix(tmp_path):
    source = write(simulate("normal", 1), tmp_path / "a.edf")
    (tmp_path / "named_by_no_suffix").write_bytes(source.read_bytes())
    assert read(tmp_path / "named_by_no_suffix").leads == read(source).leads


def test_a_damaged_field_is_not_repeated(tmp_path):
    path = write(simulate("normal", 1), tmp_path / "a.edf")
    path.write_bytes(patched(path.read_bytes(), 244, "Zyxwvut"))
    with pytest.raises(ECGFileError, match="duration of a record reads a word"):
        read(path)
