"""DICOM waveforms: objects made byte by byte, a real one, hostile ones, and what is written."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
from standard_files import channel, code, dicom_file, element, group

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write

NUMBERS = dict(zip(LEADS_12, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))


def mdc(lead: str, order: str = "<") -> bytes:
    return code(f"2:{NUMBERS[lead]}", "MDC", f"Lead {lead}", order)


@pytest.fixture
def counts() -> np.ndarray:
    """(1000, 12) counts of 2.5 uV."""
    return np.rint(simulate("normal", 4).signal[:, :1000].T * 400).astype(np.int16)


def saved(tmp_path, content: bytes, name: str = "a.dcm"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def twelve(counts: np.ndarray, **more) -> bytes:
    order = more.get("order", "<")
    return group(counts, [channel(mdc(lead, order), order=order) for lead in LEADS_12], **more)


def test_twelve_leads_by_the_codes_of_mdc(tmp_path, counts):
    ecg = read(saved(tmp_path, dicom_file([twelve(counts)])))
    assert (ecg.leads, ecg.sampling_rate) == (LEADS_12, 500)
    np.testing.assert_allclose(ecg.signal, counts.T * 2.5e-3, atol=1e-6)
    part = read(tmp_path / "a.dcm", start=0.5, stop=1)
    np.testing.assert_array_equal(part.signal, ecg.signal[:, 250:500])
    bare = saved(tmp_path, dicom_file([twelve(counts)])[132:], "bare.dcm")  # without its preamble
    np.testing.assert_array_equal(read(bare).signal, ecg.signal)


def test_big_endian_and_deflated(tmp_path, counts):
    big = dicom_file([twelve(counts, order=">")], order=">", syntax="1.2.840.10008.1.2.2")
    np.testing.assert_allclose(read(saved(tmp_path, big)).signal, counts.T * 2.5e-3, atol=1e-6)
    plain = element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.9.1.1")
    plain += element(0x54000100, "SQ", [twelve(counts)])
    packed = zlib.compressobj(wbits=-15)
    body = packed.compress(plain) + packed.flush()
    deflated = dicom_file(None, syntax="1.2.840.10008.1.2.1.99", body=body)
    np.testing.assert_allclose(read(saved(tmp_path, deflated)).signal, counts.T * 2.5e-3, atol=1e-6)


def test_sensitivity_correction_baseline_unit_and_padding_of_each_channel(tmp_path, counts):
    counts = counts[:, :4].copy()
    counts[100:110, 1] = -32768
    channels = [
        channel(code("5.6.3-9-1", "SCPECG", "Lead I (Einthoven)"), sensitivity="1.25", correction="2"),
        channel(code("MDC_ECG_LEAD_II", "MDC", "Lead II"), sensitivity="0.0025", unit="mV", baseline="0.5"),
        channel(code("X", "99ABC", "Lead V1"), sensitivity="2500", unit="nV"),
        channel(None, label="Lead V2", sensitivity="2.5"),
    ]
    ecg = read(saved(tmp_path, dicom_file([group(counts, channels, padding=struct.pack("<h", -32768))])))
    assert ecg.leads == ("I", "II", "V1", "V2")
    exact = counts.T * 2.5e-3
    exact[1] += 0.5
    exact[1, 100:110] = np.nan
    np.testing.assert_allclose(ecg.signal, exact, atol=1e-6)


@pytest.mark.parametrize("kind", ["i1", "u1", "u2", "i4", "u4"])
def test_ambulatory_and_general_codings(tmp_path, kind):
    counts = np.random.default_rng(0).integers(0, 100, (600, 3)).astype(kind)
    channels = [channel(mdc(lead), sensitivity="20") for lead in ("I", "II", "V5")]
    storage = "1.2.840.10008.5.1.4.1.1.9.1.3"
    ecg = read(saved(tmp_path, dicom_file([group(counts, channels, rate="128")], storage=storage)))
    assert (ecg.leads, ecg.sampling_rate) == (("I", "II", "V5"), 128)
    assert ecg.metadata["source"].startswith("DICOM Ambulatory ECG")
    np.testing.assert_allclose(ecg.signal, counts.T * 0.02, atol=1e-6)


def test_a_page_of_four_columns_and_a_rhythm_strip_is_one_recording(tmp_path, counts):
    columns = [LEADS_12[k : k + 3] for k in range(0, 12, 3)]
    groups = [
        group(
            counts[250 * k : 250 * (k + 1), 3 * k : 3 * k + 3],
            [channel(mdc(lead)) for lead in leads],
            offset=str(500 * k),
        )
        for k, leads in enumerate(columns)
    ]
    groups.append(group(counts[:, 1:2], [channel(mdc("II"))], offset="0"))
    ecg = read(saved(tmp_path, dicom_file(groups)))
    assert (ecg.leads, ecg.num_samples) == (LEADS_12, 1000)
    exact = np.full((12, 1000), np.nan)
    for k in range(4):
        exact[3 * k : 3 * k + 3, 250 * k : 250 * (k + 1)] = (
            counts[250 * k : 250 * (k + 1), 3 * k : 3 * k + 3].T * 2.5e-3
        )
    exact[1] = counts[:, 1] * 2.5e-3
    np.testing.assert_allclose(ecg.signal, exact, atol=1e-6)
    third = read(tmp_path / "a.dcm", index=2)
    assert third.leads == ("V1", "V2", "V3")
    with pytest.raises(ECGFileError, match="holds 5 multiplex groups; index=5"):
        read(tmp_path / "a.dcm", index=5)


def test_groups_that_contradict_or_differ_in_rate_are_said(tmp_path, counts):
    other = counts.copy()
    other[:, 1] += 7
    strip = group(other[:, 1:2], [channel(mdc("II"))])
    slow = group(counts[:300, :1], [channel(mdc("I"))], rate="250", label="SLOW")
    ecg = read(saved(tmp_path, dicom_file([twelve(counts), strip, slow])))
    np.testing.assert_allclose(ecg.signal, counts.T * 2.5e-3, atol=1e-6)
    said = " ".join(ecg.metadata["warnings"])
    assert "II differs between multiplex groups" in said and "(SLOW) is left out: it has 250 Hz" in said


def test_patient_device_filters_statements_measurements_and_median_beats(tmp_path, counts):
    header = b"".join(
        [
            element(0x0008002A, "DT", "20130125105919"),
            element(0x00080070, "LO", "Maker"),
            element(0x00100010, "PN", "Doe^Jane"),
            element(0x00100020, "LO", "642341"),
            element(0x00100030, "DA", "19710123"),
            element(0x00100040, "CS", "F"),
            element(0x00101010, "AS", "041Y"),
            element(
                0x00400555, "SQ",
                [
                    element(0x0040A043, "SQ", [code("5.4.5-33-1", "SCPECG", "Electrode Placement")])
                    + element(0x0040A168, "SQ", [code("5.4.5-33-1-2", "SCPECG", "limb leads on torso")])
                ],
            ),
        ]
    )  # fmt: skip
    first = element(0x0040A0B0, "US", [1, 0])
    annotations = [
        first + element(0x00700006, "ST", "SINUS RHYTHM"),
        element(0x0040A043, "SQ", [code("x", "SCPECG", "PR Interval")]) + first
        + element(0x0040A30A, "DS", "161"),
        element(0x0040A043, "SQ", [code("x", "SCPECG", "P Axis")]) + first + element(0x0040A30A, "DS", "0"),
        element(0x0040A043, "SQ", [code("x", "SCPECG", "QT Interval")]) + first
        + element(0x0040A30A, "DS", "0"),
        element(0x0040A043, "SQ", [code("x", "SCPECG", "QRS Onset")]) + first
        + element(0x0040A130, "CS", "POINT") + element(0x0040A132, "UL", 251),
        element(0x0040A043, "SQ", [code("x", "SCPECG", "QRS Onset")])
        + element(0x0040A0B0, "US", [2, 0]) + element(0x0040A132, "UL", 100),
    ]  # fmt: skip
    filtered = element(0x003A0220, "DS", "0.05") + element(0x003A0221, "DS", "150")
    rhythm = group(counts, [channel(mdc(lead), more=filtered) for lead in LEADS_12])
    beats = twelve(counts[:400], label="MEDIAN BEAT", originality="DERIVED")
    path = saved(tmp_path, dicom_file([rhythm, beats], header=header, annotations=annotations))
    ecg = read(path)
    told = ecg.metadata
    assert (told["age"], told["sex"], told["acquired"]) == (41, "female", "2013-01-25T10:59:19")
    assert told["lead_placement"] == "Mason-Likar" and told["filters"] == {"low": 0.05, "high": 150}
    device = told["device"]
    assert device["manufacturer"] == "Maker" and device["statements"] == ["SINUS RHYTHM"]
    assert device["measurements"] == {"pr": 161, "p_axis": 0}
    np.testing.assert_allclose(device["median_beats"].signal, counts[:400].T * 2.5e-3, atol=1e-6)
    assert told["annotations"] == [{"onset": 0.5, "duration": None, "text": "QRS Onset"}]
    assert ecg.num_samples == 1000
    assert "Doe" not in str(told) and "642341" not in str(told)
    identity = read(path, keep_identity=True).metadata["identity"]
    assert identity == {"name": "Doe^Jane", "patient_id": "642341", "birth_date": "1971-01-23"}


def test_channels_without_a_sensitivity_are_asked_for(tmp_path, counts):
    channels = [channel(mdc("II"), sensitivity=None)]
    path = saved(tmp_path, dicom_file([group(counts[:, 1:2], channels)]))
    with pytest.raises(ECGFileError, match="states no unit; pass unit="):
        read(path)
    np.testing.assert_allclose(read(path, unit="2.5 uV").signal[0], counts[:, 1] * 2.5e-3, atol=1e-6)


def test_a_size_of_a_count_goes_before_the_sensitivity_and_skew_has_a_unit(tmp_path, counts):
    skewed = channel(mdc("II"), sensitivity="12.5", baseline="7") + element(0x003A0214, "DS", "0.002")
    path = saved(tmp_path, dicom_file([group(counts[:, 1:2], [skewed])]))
    np.testing.assert_allclose(read(path, unit="2.5 uV").signal[0], counts[:, 1] * 2.5e-3, atol=1e-6)
    assert "II was sampled 0.002 s later" in read(path).metadata["warnings"][0]


def bomb(size: int) -> bytes:
    packed = zlib.compressobj(9, wbits=-15)
    head = element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.9.1.1")
    body = packed.compress(head + struct.pack("<HH", 0x0009, 0x1001) + b"OB\0\0" + struct.pack("<I", size))
    for _ in range(size >> 20):
        body += packed.compress(bytes(1 << 20))
    return dicom_file(None, syntax="1.2.840.10008.1.2.1.99", body=body + packed.flush())


def deep(levels: int) -> bytes:
    """Sequences of undefined length, one in another."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    body = b"".join(
        struct.pack("<HH", 0x0040, 0xA730) + b"SQ\0\0" + struct.pack("<I", 0xFFFFFFFF) + item
        for _ in range(levels)
    )
    return dicom_file(None, body=body)


HOSTILE = {
    "a deflate bomb": (lambda counts: bomb(200 << 20), "grows beyond 32 MB"),
    "5000 sequences deep": (lambda counts: deep(5000), "too deep"),
    "no waveform": (lambda counts: dicom_file(None), "no waveform"),
    "no group": (lambda counts: dicom_file([]), "no waveform"),
    "cut off early": (
        lambda counts: dicom_file([twelve(counts)])[:260],
        "no waveform; .* ends early; fetch it again",
    ),
    "truncated": (lambda counts: dicom_file([twelve(counts)])[:-5000], "damaged|bytes of them"),
    "4 billion samples": (
        lambda counts: dicom_file([twelve(counts, samples=4_000_000_000)]),
        "but has 24,000 bytes",
    ),
    "more samples than bytes": (
        lambda counts: dicom_file([twelve(counts, samples=1001)]),
        "claims 1,001 samples of 12 channels, but has 24,000 bytes",
    ),
    "fewer definitions": (
        lambda counts: dicom_file([group(counts, [channel(mdc("I"))])]),
        "describes 1",
    ),
    "a rate of 0": (lambda counts: dicom_file([twelve(counts, rate="0")]), "above 0"),
    "no number as a rate": (lambda counts: dicom_file([twelve(counts, rate="abc")]), "sampling rate|damaged"),
    "a sensitivity beyond floats": (
        lambda counts: dicom_file([group(counts[:, :1], [channel(mdc("I"), sensitivity="1e99")])]),
        "would be 1e\\+99",
    ),
    "groups years apart": (
        lambda counts: dicom_file([twelve(counts), twelve(counts, offset="9e11")]),
        "too long to read",
    ),
    "a lead twice": (
        lambda counts: dicom_file([group(counts[:, :2], [channel(mdc("I")), channel(mdc("I"))])]),
        "two channels are named I",
    ),
    "a header only": (
        lambda counts: dicom_file(None)[:140],
        "ends within its header|no valid DICOM|no waveform",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_dicom_is_refused_in_one_line(tmp_path, counts, name):
    make, words = HOSTILE[name]
    path = saved(tmp_path, make(counts))
    began = time.process_time()
    tracemalloc.start()
    with pytest.raises(ECGFileError, match=words) as caught:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 2  # tracing doubles it
    assert peak < 200e6
    assert "\n" not in str(caught.value)


def test_dicom_sample(io_samples):
    path = io_samples / "dicom_ecg" / "anonymous_ecg.dcm"
    ecg = read(path)
    theirs = pydicom.dcmread(path)
    np.testing.assert_allclose(ecg.signal, theirs.waveform_array(0).T / 1e3, atol=1e-6)
    beats = ecg.metadata["device"]["median_beats"]
    np.testing.assert_allclose(beats.signal, theirs.waveform_array(1).T / 1e3, atol=1e-6)
    assert ecg.metadata["device"]["statements"] == ["RITMO SINUSALE", "ECG NORMALE"]
    assert ecg.metadata["device"]["measurements"]["qt"] == 368
    assert (ecg.metadata["age"], ecg.metadata["filters"]) == (42, {"low": 0.05, "high": 300})


@pytest.mark.parametrize(
    ("rate", "num_samples", "kind"),
    [(500, 5000, "12-lead"), (257.3, 2573, "12-lead"), (500, 20_000, "General"), (100, 1000, "Ambulatory")],
)
def test_written_and_read_back_by_us_and_by_pydicom(tmp_path, rate, num_samples, kind):
    signal = np.random.default_rng(2).uniform(-10, 10, (12, num_samples)).astype(np.float32)
    signal[3, 10:20] = signal[5] = np.nan
    told = {
        "age": 56, "sex": "female", "report": "Sinus rhythm. Größe " * 70 + "end", "filters": {"low": 0.05},
        "acquired": "2020-01-02T03:04:05",
    }  # fmt: skip
    path = write(ECG(signal, rate, LEADS_12, told), tmp_path / "a.dcm")
    ecg = read(path)
    assert (ecg.leads, ecg.sampling_rate) == (LEADS_12, rate)
    assert kind in ecg.metadata["source"]
    np.testing.assert_array_equal(np.isnan(ecg.signal), np.isnan(signal))
    assert np.nanmax(np.abs(ecg.signal - signal)) <= 2.51e-4  # half of 0.5 uV
    assert {key: ecg.metadata[key] for key in told} == told
    theirs = pydicom.dcmread(path)
    known = np.isfinite(signal)
    np.testing.assert_allclose((theirs.waveform_array(0).T / 1e3)[known], ecg.signal[known], atol=1e-6)
    assert theirs.WaveformSequence[0].SamplingFrequency == rate
    again = write(ECG(signal, rate, LEADS_12, told), tmp_path / "b.dcm")
    assert again.read_bytes() == path.read_bytes()


def test_what_dicom_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="DICOM holds up to 24 channels at 200 to 1000 Hz"):
        write(ECG(np.zeros((1, 100)), 2000, ("II",)), tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="infinite"):
        write(ECG(np.full((1, 100), np.inf), 500, ("II",)), tmp_path / "a.dcm")
    assert not list(tmp_path.iterdir())
