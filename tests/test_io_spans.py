"""`read(path, start=, stop=)` of files of hours: the span's samples, without the memory of the rest."""

import struct
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from scipy.io import savemat
from standard_files import channel, code, dicom_file, edf_file, element, group, tal

from ecglm import ECGFileError, read, write

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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_npz_keeps_only_the_span(tmp_path, counts, packed, turned):
    said = {"fs": RATE, "unit": "uV", "leads": LEADS}
    save = np.savez_compressed if packed else np.savez
    values = counts if turned else np.ascontiguousarray(counts.T)
    for name, signal in (("c", values), ("fortran", np.asfortranarray(values))):
        save(tmp_path / f"{name}.npz", signal=signal, **said)
        ecg, peak = span_of(tmp_path / f"{name}.npz")
        np.testing.assert_allclose(ecg.signal, counts[FIRST:LAST].T * 1e-3, atol=1e-6)
        assert (ecg.leads, ecg.sampling_rate) == (LEADS, RATE)
        assert peak < MAX_GROWTH
        with pytest.raises(ECGFileError, match="lasts 7200 s; start=7199 and stop=7201 name no part"):
            read(tmp_path / f"{name}.npz", start=7199, stop=7201)


@pytest.mark.parametrize("packed", [False, True])
def test_one_of_many_long_records_in_npz(tmp_path, counts, packed):
    many = np.stack([counts.T, -counts.T])
    save = np.savez_compressed if packed else np.savez
    for name, signal in (("c", many), ("fortran", np.asfortranarray(many))):
        save(tmp_path / f"{name}.npz", signal=signal, fs=RATE, unit="uV", leads=LEADS)
        ecg, peak = span_of(tmp_path / f"{name}.npz", index=1)
        np.testing.assert_allclose(ecg.signal, -counts[FIRST:LAST].T * 1e-3, atol=1e-6)
        assert peak < MAX_GROWTH or (packed and name == "fortran")  # where records lie between each other


def test_a_long_packed_array_that_is_cut_or_without_a_rate_is_refused(tmp_path, counts):
    np.savez_compressed(tmp_path / "r.npz", signal=counts.T, unit="uV", leads=LEADS)
    for name, form in (("r.npz", "NPZ"), ("r.mat", "MATLAB")):
        path = tmp_path / name
        if form == "MATLAB":
            savemat(path, {"ecg": counts.T, "unit": "uV"}, do_compression=True)
        with pytest.raises(ECGFileError, match="states no sampling rate; pass sampling_rate="):
            read(path, start=1, stop=2)
        content = path.read_bytes()
        third, rubbish = len(content) // 3, np.random.default_rng(2).bytes(1 << 20)
        path.write_bytes(content[:third] + rubbish + content[third + len(rubbish) :])
        with pytest.raises(ECGFileError, match=f"is a broken {form} file"):
            read(path, start=7000, stop=7001, sampling_rate=RATE, leads=LEADS)


@pytest.mark.parametrize("form", ["plain", "packed", "turned and packed", "level 4", "big endian"])
def test_matlab_keeps_only_the_span(tmp_path, counts, form):
    path = tmp_path / "r.mat"
    values = counts if "turned" in form else counts.T
    known = {"ecg": values, "fs": float(RATE), "unit": "uV", "leads": "I,II,V5"}
    if form == "big endian":
        path.write_bytes(big_endian_level_5(counts.T))
    else:
        savemat(path, known, format="4" if form == "level 4" else "5", do_compression="packed" in form)
    hints = {"sampling_rate": RATE, "unit": "uV", "leads": LEADS} if form == "big endian" else {}
    ecg, peak = span_of(path, **hints)
    assert (ecg.leads, ecg.sampling_rate) == (LEADS, RATE)
    np.testing.assert_allclose(ecg.signal, counts[FIRST:LAST].T * 1e-3, atol=1e-6)
    assert peak < MAX_GROWTH
    with pytest.raises(ECGFileError, match="lasts 7200 s; start=7199 and stop=7201 name no part"):
        read(path, start=7199, stop=7201, **hints)


def table_of(counts: np.ndarray, *, time: str = "", blanks: bool = False, end: str = "\n") -> bytes:
    """A table of counts in uV; with times of `time` digits, or with blank lines and comments among it."""
    names = [*(["time"] if time else []), *(f"{lead} (uV)" for lead in LEADS)]
    rate = [] if time else [f"# sampling_rate: {RATE}"]
    lines = [",".join(map(str, row)) for row in counts.tolist()]
    if time:
        lines = [
            f"{clock(k / RATE) if time == 'clock' else format(k / RATE, time)},{line}"
            for k, line in enumerate(lines)
        ]
    if blanks:
        lines[100_000:100_000] = ["", "  ", "# lead V5 refitted"] * 3
    return end.join([*rate, ",".join(names), *lines, *([] if blanks else [""])]).encode()


def clock(seconds: float) -> str:
    return f"{int(seconds // 3600)}:{int(seconds // 60) % 60:02}:{seconds % 60:06.3f}"


TABLES = {
    "plain": {},
    "times": {"time": ".3f"},
    "clock": {"time": "clock"},
    "blank lines and comments": {"blanks": True},
    "lines of Windows": {"end": "\r\n"},
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_keep_only_the_lines_of_the_span(tmp_path, counts, form):
    path = tmp_path / "r.csv"
    counts = counts[: 3600 * RATE]
    path.write_bytes(table_of(counts, **TABLES[form]))
    ecg, peak = span_of(path)
    assert (ecg.leads, ecg.sampling_rate) == (LEADS, RATE)
    np.testing.assert_allclose(ecg.signal, counts[FIRST:LAST].T * 1e-3, atol=1e-6)
    assert peak < 6e6  # the numbers alone have 22 MB
    end = read(path, start=3599.5)
    np.testing.assert_allclose(end.signal, counts[-125:].T * 1e-3, atol=1e-6)
    for start, stop in ((3599, 3601), (3601, 3602), (1, 1.0001)):
        with pytest.raises(ECGFileError, match=f"lasts 3600 s; start={start} and stop={stop} name no part"):
            read(path, start=start, stop=stop)


def test_a_long_table_with_a_row_per_lead_or_in_utf_16_is_read_whole(tmp_path, counts):
    counts = counts[: 600 * RATE]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in counts.T.tolist()))
    hints = {"sampling_rate": RATE, "unit": "uV", "leads": LEADS}
    np.testing.assert_allclose(
        read(path, start=500, stop=510, **hints).signal, counts[500 * RATE : 510 * RATE].T * 1e-3
    )
    path.write_bytes(table_of(counts).decode().encode("utf-16"))
    np.testing.assert_allclose(
        read(path, start=500, stop=510).signal, counts[500 * RATE : 510 * RATE].T * 1e-3
    )


def test_a_long_table_whose_lines_change_is_refused_where_it_is_read(tmp_path, counts):
    content = table_of(counts[: 600 * RATE])
    path = tmp_path / "r.csv"
    path.write_bytes(content + b"1,2\n")
    assert read(path, start=599, stop=600).num_samples == RATE
    with pytest.raises(ECGFileError, match="has 2 fields"):
        read(path, start=599)
    path.write_bytes(content + b"1,2,Jane\n")
    with pytest.raises(ECGFileError, match="holds a word, no number"):
        read(path, start=599)
    path.write_bytes(content + b"1," * (2 << 20))
    with pytest.raises(ECGFileError, match="has a line of over 1 MB below shorter ones"):
        read(path, start=599)


@pytest.mark.parametrize("packed", [False, True])
def test_an_array_for_each_lead_keeps_only_the_span(tmp_path, counts, packed):
    leads = dict(zip(LEADS, np.ascontiguousarray(counts.T), strict=True)) | {"fs": float(RATE), "unit": "uV"}
    (np.savez_compressed if packed else np.savez)(tmp_path / "r.npz", **leads)
    savemat(tmp_path / "r.mat", leads, do_compression=packed)
    for name in ("r.npz", "r.mat"):
        ecg, peak = span_of(tmp_path / name)
        assert (ecg.leads, ecg.sampling_rate) == (LEADS, RATE)
        np.testing.assert_allclose(ecg.signal, counts[FIRST:LAST].T * 1e-3, atol=1e-6)
        assert peak < 2 * MAX_GROWTH  # NPZ arrays of up to 1 MB in all are unpacked at once


def big_endian_level_5(values: np.ndarray) -> bytes:
    """A MATLAB file of one int16 array `ecg`."""

    def tagged(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    data = values.astype(">i2").tobytes(order="F")
    array = tagged(6, struct.pack(">II", 10, 0)) + tagged(5, struct.pack(">ii", *values.shape))
    array += tagged(1, b"ecg") + tagged(3, data)
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + tagged(14, array)


# ---------------------------------------------------------------------------- annotations

MARKS = [
    (0.5, None, "early"),
    (1.8, 0.8, "across"),
    (2.2, None, "inside"),
    (2.9, 1.0, "on"),
    (3.5, None, "late"),
]
CUT = [
    {"onset": 0.0, "duration": 0.6, "text": "across"},
    {"onset": 0.2, "duration": None, "text": "inside"},
    {"onset": 0.9, "duration": 0.1, "text": "on"},
]


def edf_with_marks(counts: np.ndarray, reserved: str) -> bytes:
    moments = [[tal(f"+{k}")] for k in range(4)]
    for onset, duration, text in MARKS:  # in the record of the span, or the reader does not see it
        record = 2 if text == "across" else int(onset)
        moments[record].append(tal(f"+{onset}", text, duration=str(duration or "")))
    channels = [
        {"label": f"ECG {lead}", "unit": "uV", "low": -16384, "high": 16383.5, "counts": row}
        for lead, row in zip(LEADS, counts.T.reshape(3, 4, RATE), strict=True)
    ]
    return edf_file(channels, reserved=reserved, moments=moments)


def dicom_with_marks(counts: np.ndarray) -> bytes:
    marks = []
    for onset, duration, text in MARKS:
        places = [round(each * RATE) + 1 for each in (onset, onset + (duration or 0))][: 2 if duration else 1]
        kind = element(0x0040A130, "CS", "SEGMENT" if duration else "POINT")
        marks.append(
            element(0x00700006, "ST", text)
            + element(0x0040A0B0, "US", [1, 0])
            + kind
            + element(0x0040A132, "UL", places)
        )
    return dicom_file([dicom_group(counts)], annotations=marks)


@pytest.mark.parametrize("form", ["EDF+C", "EDF+D", "DICOM", ".csv", ".npz"])
def test_annotations_are_cut_to_the_span_and_counted_from_its_beginning(tmp_path, counts, form):
    counts = counts[: 4 * RATE].copy()
    counts[: 2 * RATE] = counts[0]  # as padding, which is kept where annotations count from the beginning
    made = dicom_with_marks(counts) if form == "DICOM" else edf_with_marks(counts, form)
    path = tmp_path / ("a.dcm" if form == "DICOM" else "a.edf")
    path.write_bytes(made)
    if form.startswith("."):
        path = write(read(path), tmp_path / f"a{form}")
    whole = read(path)
    assert whole.num_samples == 4 * RATE
    told = [(mark["onset"], mark["duration"], mark["text"]) for mark in whole.metadata["annotations"]]
    assert sorted(told) == MARKS
    part = read(path, start=2, stop=3)
    for ecg in (part, whole.crop(2, 3)):
        assert sorted(ecg.metadata["annotations"], key=lambda mark: mark["onset"]) == CUT
    np.testing.assert_array_equal(part.signal, whole.signal[:, 2 * RATE : 3 * RATE])
