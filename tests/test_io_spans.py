"""`read(path, start=, stop=)` of files of hours: the span's samples, without the memory of the rest."""

import struct
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from standard_files import channel, code, dicom_file, group

from ecglm import ECGFileError, read

RATE, LEADS = 250, ("I", "II", "V5")
NUM_SAMPLES = 2 * 3600 * RATE
FIRST, LAST = 3_000 * RATE, 3_010 * RATE
MAX_GROWTH = 2e6  # bytes; the samples of each file are 5 MB at least, as float32 22 MB


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """(samples, leads) int16, two hours."""
    return np.random.default_rng(0).integers(-2000, 2000, (NUM_SAMPLES, len(LEADS)), np.int16)


def span_of(path, **hints):
    """What is read of the span, and the most memory that it took."""
    read(path, start=0, stop=1, **hints)  # imports what it needs
    tracemalloc.start()
    ecg = read(path, start=FIRST / RATE, stop=LAST / RATE, **hints)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return ecg, peak


def dicom_group(counts: np.ndarray, order: str = "<", **more) -> bytes:
    numbers = {"I": 1, "II": 2, "V5": 7}
    channels = [
        channel(code(f"2:{numbers[lead]}", "MDC", lead, order), sensitivity="1", order=order)
        for lead in LEADS
    ]
    return group(counts, channels, rate=str(RATE), order=order, **more)


def _of_undefined_length(path) -> None:
    dataset = pydicom.dcmread(path)
    dataset["WaveformSequence"].is_undefined_length = True
    for item in dataset.WaveformSequence:
        item.is_undefined_length_sequence_item = True
    dataset.save_as(path)


def _implicit(path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=True, little_endian=True)


@pytest.mark.parametrize("form", ["explicit", "big endian", "undefined lengths", "implicit", "with beats"])
def test_dicom_reads_the_bytes_of_the_span(tmp_path, counts, form):
    path, order = tmp_path / "r.dcm", ">" if form == "big endian" else "<"
    groups = [dicom_group(counts, order)]
    if form == "with beats":
        groups.append(dicom_group(counts[:300], originality="DERIVED", label="MEDIAN BEAT"))
    syntax = {"syntax": ExplicitVRBigEndian} if order == ">" else {}
    path.write_bytes(dicom_file(groups, order=order, **syntax))
    {"undefined lengths": _of_undefined_length, "implicit": _implicit}.get(form, lambda _: None)(path)
    ecg, peak = span_of(path)
    assert (ecg.leads, ecg.sampling_rate) == (LEADS, RATE)
    np.testing.assert_allclose(ecg.signal, counts[FIRST:LAST].T * 1e-3, atol=1e-6)
    np.testing.assert_array_equal(ecg.signal, read(path).signal[:, FIRST:LAST])
    assert peak < MAX_GROWTH
    assert ("median_beats" in ecg.metadata.get("device", {})) == (form == "with beats")
    with pytest.raises(ECGFileError, match="lasts 7200 s; start=7199 and stop=7201 name no part"):
        read(path, start=7199, stop=7201)


def test_long_dicom_that_is_cut_or_holds_no_ecg_is_refused(tmp_path, counts):
    content = dicom_file([dicom_group(counts)])
    path = tmp_path / "r.dcm"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ECGFileError, match="but has 5,3..,... bytes of them; fetch it again"):
        read(path, start=0, stop=1)
    place = content.index(struct.pack("<HH", 0x5400, 0x0100))
    path.write_bytes(content[:place] + bytes(2 << 20))
    with pytest.raises(ECGFileError, match="with no waveform; such an object has one, so it ends early"):
        read(path, start=0, stop=1)
