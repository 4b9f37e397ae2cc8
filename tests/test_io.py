"""Reading and writing: hand-made records, `wfdb` as the oracle, and files that mean harm."""

import math
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import wfdb
from scipy.io import savemat
from standard_files import wfdb_bytes

from ecglm import ECG, LEADS_12, ECGFileError, read, write
from ecglm.io.deidentify import deidentify

LINES = "\n".join(f"rec.dat 16 1000/mV 16 0 0 0 0 {name}" for name in ("I", "II"))


def make(
    folder: Path, samples, lines: str, first: str | None = None, comments: str = "", name: str = "rec"
) -> Path:
    """A record with these digital samples (signals, samples) and header lines."""
    samples = np.asarray(samples, "<i2")
    first = first or f"{name} {len(samples)} 500 {samples.shape[1]}"
    (folder / f"{name}.hea").write_text(f"{first}\n{lines}\n{comments}")
    (folder / f"{name}.dat").write_bytes(samples.T.tobytes())
    return folder / name


def oracle(path: Path) -> np.ndarray:
    return wfdb.rdrecord(str(path)).p_signal.T.astype(np.float32)


# ---------------------------------------------------------------------------- values


def test_values_units_names_and_comments_of_a_hand_made_record(tmp_path):
    lines = "\n".join(
        (
            "rec.dat 16 1000/mV 16 0 100 0 0 MDC_ECG_LEAD_I",
            "rec.dat 16 2(10)/uV 16 0 0 0 0 AVR",
            "rec.dat 16 0.5/nV 16 0 0 0 0 v3",
            "rec.dat 16 4000/V 16 7 0 0 0 lead II",
        )
    )
    samples = [[100, -32768, 3], [10, 12, -32768], [1000, 2000, -1000], [7, 11, 3]]
    path = make(tmp_path, samples, lines, comments="#Age: 56\n# Sex: Female\n#Dx: 426783006,59118001\n")
    ecg = read(path)
    assert ecg.leads == ("I", "aVR", "V3", "II")
    assert ecg.sampling_rate == 500 and ecg.signal.dtype == np.float32
    expected = [[0.1, math.nan, 0.003], [0, 0.001, math.nan], [0.002, 0.004, -0.002], [0, 1, -1]]
    np.testing.assert_allclose(ecg.signal, expected, rtol=1e-6)
    assert ecg.metadata["age"] == 56 and ecg.metadata["sex"] == "female"
    assert ecg.metadata["dx"] == ["426783006", "59118001"]
    assert ecg.metadata["record_id"] == "rec"


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_a_record_is_found_by_its_name_or_one_of_its_files(tmp_path, suffix):
    make(tmp_path, [[1, 2], [3, 4]], LINES)
    assert read(f"{tmp_path}/rec{suffix}").num_samples == 2


@pytest.mark.parametrize(
    ("line", "age", "sex"),
    [
        ("#<age>: 71", 71, None),
        ("#Age: 47  Sex: M", 47, "male"),
        ("#Age: NaN", None, None),
        ("# sex: F", None, "female"),
        ("# age 71\n# sex FEMALE", 71, "female"),
        ("# 69 M 1085 1629 x1", 69, "male"),
        ("# middle age 71 of sex M", None, None),
        ("# infarct, age undetermined", None, None),
    ],
)
def test_age_and_sex_as_the_databases_write_them(tmp_path, line, age, sex):
    metadata = read(make(tmp_path, [[1, 2], [3, 4]], LINES, comments=line)).metadata
    assert metadata.get("age") == age and metadata.get("sex") == sex


def test_equal_to_wfdb_for_any_gain_and_baseline(tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.integers(-32768, 32768, (12, 999))
    gains = [1000, 200, 1, 3, 0.1, 1234.5678, 4880, 1760, 2130, 204.8, 1e-3, 16777217]
    baselines = [0, -20, 5, 32767, 0, 1, -32768, 0, 7, 0, 2**25 + 1, 3]
    lines = "\n".join(
        f"rec.dat 16 {gain}({base})/mV 16 0 0 0 0 {name}"
        for gain, base, name in zip(gains, baselines, LEADS_12, strict=True)
    )
    path = make(tmp_path, samples, lines)
    np.testing.assert_array_equal(read(path).signal, oracle(path))


def test_several_files_offsets_and_mat_files(tmp_path):
    lines = "a.dat 16 1000/mV 16 0 0 0 0 I\na.dat 16 1000/mV 16 0 0 0 0 II\nb.mat 16+24 500/mV 16 0 0 0 0 V1"
    (tmp_path / "rec.hea").write_text(f"rec 3 500 4\n{lines}\n")
    np.array([[1, 2], [3, 4], [5, 6], [7, 8]], "<i2").tofile(tmp_path / "a.dat")
    (tmp_path / "b.mat").write_bytes(b"x" * 24 + np.array([10, 20, 30, 40], "<i2").tobytes())
    np.testing.assert_allclose(
        read(tmp_path / "rec").signal * 1000, [[1, 3, 5, 7], [2, 4, 6, 8], [20, 40, 60, 80]]
    )
    np.testing.assert_array_equal(read(tmp_path / "rec").signal, oracle(tmp_path / "rec"))


def challenge_record(folder: Path, counts: np.ndarray, **options) -> Path:
    """A record of the Challenges, whose `.mat` was then saved anew by SciPy with these options."""
    line = "rec.mat 16+24 1000/mV 16 0 0 {} 0 {}"
    lines = [line.format(row.sum(dtype=np.int16), name) for row, name in zip(counts, LEADS_12, strict=False)]
    (folder / "rec.hea").write_text("\n".join((f"rec {len(counts)} 500 {counts.shape[1]}", *lines)))
    savemat(folder / "rec.mat", {"val": counts.astype(options.pop("dtype", "<i2"))}, **options)
    return folder / "rec"


COUNTS = np.random.default_rng(0).integers(-900, 900, (3, 1000)).astype(np.int16)
RESAVED = (
    {"format": "4"},  # as the Challenges have it
    {"do_compression": True},
    {"do_compression": False},
    {"do_compression": True, "dtype": float},  # as MATLAB loads counts of level 4
    {"format": "4", "dtype": float},
)


@pytest.mark.parametrize("options", RESAVED, ids=str)
def test_a_mat_file_of_a_record_that_was_saved_anew_reads_as_before(tmp_path, options):
    counts = COUNTS.copy()
    counts[1, 5] = -32768
    path = challenge_record(tmp_path, counts, **options)
    expected = np.where(counts == -32768, np.nan, counts / 1000).astype(np.float32)
    for ecg in (read(path), read(f"{path}.mat"), read(path, allow_truncated=True)):
        np.testing.assert_array_equal(ecg.signal, expected)
        assert not [each for each in ecg.metadata.get("warnings", []) if "checksum" in each]
    np.testing.assert_array_equal(read(path, start=0.5, stop=1).signal, expected[:, 250:500])
    head = struct.pack(">5i", 1030, *counts.shape, 0, 4) + b"val\0"  # of a machine that begins at the top
    Path(f"{path}.mat").write_bytes(head + counts.T.astype(">i2").tobytes())
    np.testing.assert_array_equal(read(path).signal, expected)


def test_a_mat_file_of_something_else_than_its_header_says_is_never_read_as_samples(tmp_path):
    path = challenge_record(tmp_path, COUNTS, do_compression=True)
    for values, what in ((COUNTS.T, "1000 x 3 values of int16"), (COUNTS / 7, "3 x 1000 values of float64")):
        savemat(f"{path}.mat", {"val": values}, do_compression=True)
        for hints in ({}, {"allow_truncated": True}):
            with pytest.raises(ECGFileError, match=f"MATLAB 5 to 7 with {what}, not the counts of 3 signals"):
                read(path, **hints)
    challenge_record(tmp_path, COUNTS, do_compression=True)
    content = bytearray(Path(f"{path}.mat").read_bytes())
    content[len(content) // 2] ^= 1
    Path(f"{path}.mat").write_bytes(content)
    with pytest.raises(ECGFileError, match="is a broken MATLAB file"):
        read(path, allow_truncated=True)
    Path(f"{path}.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF" + bytes(9000))
    with pytest.raises(ECGFileError, match="is MATLAB 7.3, not the plain array"):
        read(path, allow_truncated=True)


PEAKS = {"8": 100, "80": 120, "310": 500, "311": 500, "212": 2000, "24": 8_000_000, "32": 2_000_000_000}


def waves(form: str, leads: int = 3, length: int = 401) -> np.ndarray:
    """(samples, leads) integers that fill a format's range, one of them unknown where it knows such."""
    phases = np.arange(length)[:, None] / 20 + np.arange(leads)
    samples = np.rint(PEAKS.get(form, 32_000) * np.sin(phases)).astype(np.int64)
    unknown = {"80": -128, "212": -2048, "310": -512, "311": -512, "24": -(1 << 23), "32": -(1 << 31)}
    if form != "8":
        samples[7, 1] = unknown.get(form, -32768)
    return samples


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("form", ["8", "16", "24", "32", "61", "80", "160", "212", "310", "311"])
def test_every_signal_format_from_any_sample_on(tmp_path, form, offset):
    """Encoded here by the standard; cut within the groups of bytes that several samples share."""
    samples = waves(form)
    place = f"{form}+{offset}" if offset else form
    lines = [f"rec.dat {place} 400(3)/mV 16 0 {samples[0, k]} 0 0 {'I II V5'.split()[k]}" for k in range(3)]
    (tmp_path / "rec.hea").write_text("rec 3 250 401\n" + "\n".join(lines))
    (tmp_path / "rec.dat").write_bytes(b"\7" * offset + wfdb_bytes(form, samples))
    expected = ((samples - 3) / 400).T.astype(np.float32)
    if form != "8":
        expected[1, 7] = np.nan
    np.testing.assert_array_equal(read(tmp_path / "rec").signal, expected)
    for first, last in ((1, 401), (2, 9), (3, 400)):
        part = read(tmp_path / "rec", start=first / 250, stop=last / 250)
        np.testing.assert_array_equal(part.signal, expected[:, first:last])
    (tmp_path / "rec.dat").write_bytes((tmp_path / "rec.dat").read_bytes()[:-30])
    with pytest.raises(ECGFileError, match="truncated.*allow_truncated=True"):
        read(tmp_path / "rec")
    there = read(tmp_path / "rec", allow_truncated=True)
    np.testing.assert_array_equal(there.signal, expected[:, : there.num_samples])


@pytest.mark.parametrize(("form", "bits"), [("508", 8), ("516", 16), ("524", 24)])
def test_flac(tmp_path, form, bits):
    samples = np.rint(np.sin(np.arange(600) / 30)[:, None] * [100, 60]).astype("<i4")
    kind = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}[bits]
    soundfile.write(tmp_path / "rec.dat", samples << (32 - bits), 250, format="FLAC", subtype=kind)
    lines = "\n".join(f"rec.dat {form} 100/mV 16 0 0 0 0 {name}" for name in ("I", "II"))
    (tmp_path / "rec.hea").write_text(f"rec 2 250 600\n{lines}")
    np.testing.assert_allclose(read(tmp_path / "rec").signal, samples.T / 100, rtol=1e-6)
    part = read(tmp_path / "rec", start=1, stop=1.4)
    np.testing.assert_allclose(part.signal, samples[250:350].T / 100, rtol=1e-6)
    (tmp_path / "rec.hea").write_text(f"rec 2 250 601\n{lines}")
    with pytest.raises(ECGFileError, match="truncated: it holds 600 samples"):
        read(tmp_path / "rec")


def test_differences_run_on_within_a_frame(tmp_path):
    """Format 8 counts each sample from the one before it in its signal; `wfdb` agrees, of a whole record."""
    (tmp_path / "rec.hea").write_text(
        "rec 2 250 200\nrec.dat 8x2 100/mV 8 0 5 0 0 II\nrec.dat 8x2 100/mV 8 0 7 0 0 V5\n"
    )
    steps = np.rint(9 * np.sin(np.arange(800))).astype(np.int8)
    (tmp_path / "rec.dat").write_bytes(steps.tobytes())
    expected = [7 + np.cumsum(steps.reshape(200, 4)[:, 2:], dtype=int)]
    expected.insert(0, 5 + np.cumsum(steps.reshape(200, 4)[:, :2], dtype=int))
    ecg = read(tmp_path / "rec")
    np.testing.assert_allclose(ecg.signal, np.array(expected) / 100, rtol=1e-6)
    theirs = wfdb.rdrecord(str(tmp_path / "rec"), smooth_frames=False).e_p_signal
    np.testing.assert_allclose(ecg.signal, theirs, rtol=1e-6)
    np.testing.assert_array_equal(read(tmp_path / "rec", start=0.1, stop=0.5).signal, ecg.signal[:, 50:250])


def test_equal_to_wfdb_where_formats_mix_and_a_signal_is_skewed(tmp_path):
    lines = (
        "a.dat 212:3 400/mV 12 0 0 0 0 I",
        "a.dat 212 400/mV 12 0 0 0 0 II",
        "b.dat 16 400/mV 16 0 0 0 0 III",
        "b.dat 16 400/mV 16 0 0 0 0 V5",
    )
    (tmp_path / "rec.hea").write_text("rec 4 250 401\n" + "\n".join(lines))
    (tmp_path / "a.dat").write_bytes(wfdb_bytes("212", waves("212", 2)))
    (tmp_path / "b.dat").write_bytes(wfdb_bytes("16", waves("16", 2)))
    np.testing.assert_array_equal(read(tmp_path / "rec").signal, oracle(tmp_path / "rec"))


def test_a_signal_that_was_not_recorded_beside_others(tmp_path):
    """`wfdb` itself raises IndexError."""
    line = "rec.dat 212 400/mV 12 0 0 0 0"
    (tmp_path / "rec.hea").write_text(f"rec 3 250 401\n{line} I\n~ 0 200 12 0 0 0 0 PAP\n{line} II")
    (tmp_path / "rec.dat").write_bytes(wfdb_bytes("212", waves("212", 2)))
    ecg = read(tmp_path / "rec")
    assert ecg.leads == ("I", "II") and "PAP left out" in ecg.metadata["warnings"][0]
    np.testing.assert_allclose(ecg.signal[0], waves("212", 2)[:, 0] / 400, rtol=1e-6)


def test_segments_and_records_in_hand(tmp_path):
    for name, level in (("s1", 100), ("s2", 200)):
        make(
            tmp_path,
            np.full((2, 5), level),
            LINES.replace("rec.dat", f"{name}.dat"),
            f"{name} 2 500 5",
            name=name,
        )
    (tmp_path / "multi.hea").write_text("multi/2 2 500 10\ns1 5\ns2 5\n")
    ecg = read(tmp_path / "multi")
    np.testing.assert_allclose(ecg.lead("II"), [0.1] * 5 + [0.2] * 5)
    record = wfdb.rdrecord(str(tmp_path / "s1"))
    np.testing.assert_array_equal(read(record).signal, read(tmp_path / "s1").signal)
    assert read(wfdb.rdrecord(str(tmp_path / "s1"), physical=False)).signal[0, 0] == np.float32(0.1)


def part(path: Path, start: float, stop: float) -> tuple[np.ndarray, np.ndarray]:
    """The same part of a record, by us and by wfdb."""
    rate = wfdb.rdheader(str(path)).fs
    theirs = wfdb.rdrecord(str(path), sampfrom=round(start * rate), sampto=round(stop * rate)).p_signal
    return read(path, start=start, stop=stop).signal, theirs.T.astype(np.float32)


@pytest.mark.parametrize("form", ["16", "212", "80", "24"])
def test_a_part_is_read_without_the_rest(tmp_path, form):
    signal = np.sin(np.arange(2500) / 30)[:, None] * [[0.5, 0.3]]
    wfdb.wrsamp("rec", 250, ["mV", "mV"], ["I", "II"], signal, fmt=[form] * 2, write_dir=str(tmp_path))
    np.testing.assert_array_equal(*part(tmp_path / "rec", 2, 3.5))
    assert read(tmp_path / "rec", stop=1).num_samples == 250
    with pytest.raises(ECGFileError, match="lasts 10 s; start=9 and stop=12 name no part"):
        read(tmp_path / "rec", start=9, stop=12)


def test_a_record_too_long_to_read_at_once_is_read_in_parts(tmp_path):
    """25 hours of 12 leads; the file is sparse."""
    lines = "\n".join(f"rec.dat 16 1000/mV 16 0 0 0 0 {name}" for name in LEADS_12)
    (tmp_path / "rec.hea").write_text(f"rec 12 500 45000000\n{lines}\n")
    with (tmp_path / "rec.dat").open("wb") as file:
        file.truncate(45_000_000 * 24)
        file.seek(500 * 24 * 80_000)
        file.write(np.full(12 * 500, 250, "<i2").tobytes())
    with pytest.raises(ECGFileError, match="too many to read at once; pass start= and stop="):
        read(tmp_path / "rec")
    np.testing.assert_array_equal(read(tmp_path / "rec", start=80_000, stop=80_001).signal, 0.25)


def test_segments_of_several_layouts_and_gaps(tmp_path):
    """A layout header, segments that lack signals or have them in another order, and a gap; as MIMIC's."""
    make(
        tmp_path,
        [[100, 200], [1, 2]],
        "a.dat 16 1000/mV 16 0 0 0 0 II\na.dat 16 10/mmHg 16 0 0 0 0 ABP",
        name="a",
    )
    (tmp_path / "a.dat").write_bytes(np.array([[100, 1], [200, 2]], "<i2").tobytes())
    make(tmp_path, [[7, 8, 9]], "b.dat 16 1000/mV 16 0 0 0 0 V5", name="b")
    layout = "\n".join(
        f"~ 0 {unit} 0 0 0 0 0 {name}"
        for unit, name in (("1000/mV", "II"), ("10/mmHg", "ABP"), ("1000/mV", "V5"))
    )
    (tmp_path / "lay.hea").write_text(f"lay 3 500 0\n{layout}\n")
    (tmp_path / "multi.hea").write_text("multi/4 3 500 8\nlay 0\na 2\n~ 3\nb 3\n")
    ecg = read(tmp_path / "multi")
    nan = np.nan
    expected = [[0.1, 0.2, *[nan] * 6], [0.1, 0.2, *[nan] * 6], [*[nan] * 5, 0.007, 0.008, 0.009]]
    assert ecg.leads == ("II", "ABP", "V5") and ecg.metadata["units"] == {"ABP": "mmHg"}
    np.testing.assert_allclose(ecg.signal, expected, rtol=1e-6)
    np.testing.assert_array_equal(ecg.signal, oracle(tmp_path / "multi"))
    np.testing.assert_allclose(
        read(tmp_path / "multi", start=0.002, stop=0.012).signal, np.array(expected)[:, 1:6], rtol=1e-6
    )
    np.testing.assert_array_equal(read(wfdb.rdrecord(str(tmp_path / "multi"), m2s=False)).signal, ecg.signal)


def test_a_header_whose_lines_end_in_carriage_returns(tmp_path):
    path = make(tmp_path, [[1, 2], [3, 4]], LINES, comments="# Age: 56\n#Sex: M\n")
    header = (tmp_path / "rec.hea").read_bytes()
    for end in (b"\r", b"\r\n"):
        (tmp_path / "rec.hea").write_bytes(header.replace(b"\n", end))
        ecg = read(path)
        np.testing.assert_allclose(ecg.signal * 1000, [[1, 2], [3, 4]])
        assert (ecg.metadata["age"], ecg.metadata["sex"]) == (56, "male")
        done = deidentify(path, tmp_path / "out", f"a-{len(end)}")
        np.testing.assert_array_equal(read(done.path).signal, ecg.signal)


def test_signals_with_several_samples_per_frame_keep_their_rate(tmp_path):
    frames = np.array([[1, 2, 10], [3, 4, 20], [5, 6, 30]], "<i2")
    lines = "rec.dat 16x2 1000/mV 16 0 0 0 0 II\nrec.dat 16 10/Ohm 16 0 0 0 0 Resp"
    (tmp_path / "rec.hea").write_text(f"rec 2 250 3\n{lines}\n")
    (tmp_path / "rec.dat").write_bytes(frames.tobytes())
    ecg = read(tmp_path / "rec")
    assert ecg.sampling_rate == 500 and ecg.leads == ("II",)
    np.testing.assert_allclose(ecg.signal * 1000, [[1, 2, 3, 4, 5, 6]], rtol=1e-6)
    assert "Resp is left out: it has 250 Hz" in ecg.metadata["warnings"][0]
    for first, last in ((1, 2), (1, 5), (2, 6), (3, 4)):  # spans that cut a frame
        part = read(tmp_path / "rec", start=first / 500, stop=last / 500)
        np.testing.assert_array_equal(part.signal, ecg.signal[:, first:last])
    record = wfdb.rdrecord(str(tmp_path / "rec"), smooth_frames=False)
    np.testing.assert_array_equal(read(record).signal, ecg.signal)


def test_segments_with_several_samples_per_frame_as_those_of_mimic_4(tmp_path):
    """A layout that says how many, or does not; the ECG keeps its own rate in each segment."""
    for name, count in (("seg1", 30), ("seg2", 20)):
        ecg, resp = np.arange(4 * count).reshape(count, 4), np.full((count, 2), 7)
        (tmp_path / f"{name}.dat").write_bytes(np.hstack([ecg, resp]).astype("<i2").tobytes())
        lines = f"{name}.dat 16x4 100/mV 16 0 0 0 0 II\n{name}.dat 16x2 10/Ohm 16 0 0 0 0 Resp"
        (tmp_path / f"{name}.hea").write_text(f"{name} 2 62.4725/999.56 {count}\n{lines}")
    for many in ("x4", ""):
        layout = f"~ 0{many} 100/mV 16 0 0 0 0 II\n~ 0 10/Ohm 16 0 0 0 0 Resp\n~ 0 100/mV 16 0 0 0 0 V"
        (tmp_path / "lay.hea").write_text(f"lay 3 62.4725/999.56 0\n{layout}")
        (tmp_path / "rec.hea").write_text("rec/4 3 62.4725/999.56 60\nlay 0\nseg1 30\n~ 10\nseg2 20\n")
        ecg = read(tmp_path / "rec")
        assert ecg.sampling_rate == pytest.approx(249.89) and ecg.leads[0] == "II"
        expected = np.concatenate([np.arange(120), np.full(40, np.nan), np.arange(80)]) / 100
        np.testing.assert_allclose(ecg.lead("II"), expected, rtol=1e-6)
        for first, last in ((80, 180), (81, 179), (117, 162)):
            part = read(tmp_path / "rec", start=first / ecg.sampling_rate, stop=last / ecg.sampling_rate)
            np.testing.assert_allclose(part.lead("II"), expected[first:last], rtol=1e-6)
    assert any("Resp is left out: it has 124.945 Hz" in each for each in ecg.metadata["warnings"])


@pytest.mark.parametrize(
    ("first", "name", "acquired"),
    [
        ("A0001.mat 2 500 2 05-May-2020 14:50:55", "A0001", "2020-05-05T14:50:55"),
        ("records500/00000/00001_hr 2 500 2", "00001_hr", None),
        ("rec 2 500/1000(0) 2 9:05:07.5 29/04/2023", "rec", "2023-04-29T09:05:07.5"),
        ("rec 2 500 2 00:00:00 2023", "rec", None),
    ],
)
def test_headers_as_public_sets_write_them(tmp_path, first, name, acquired):
    ecg = read(make(tmp_path, [[1, 2], [3, 4]], LINES, first=first))
    assert ecg.metadata["record_id"] == name and ecg.metadata.get("acquired") == acquired
    np.testing.assert_allclose(ecg.signal * 1000, [[1, 2], [3, 4]], rtol=1e-6)


def test_a_header_that_says_too_little(tmp_path):
    path = make(tmp_path, [[1, 2], [3, 4]], LINES, first="rec 2")
    with pytest.raises(
        ECGFileError, match=r"no sampling rate; pass sampling_rate= \(WFDB's default is 250 Hz\)"
    ):
        read(path)
    assert read(path, sampling_rate=250).num_samples == 2
    path = make(tmp_path, [[1, 2], [3, 4]], "rec.dat 16 1000\nrec.dat 16 1000")
    with pytest.raises(ECGFileError, match="names of its 2 leads; pass leads="):
        read(path)
    assert read(path, leads="I II").leads == ("I", "II")


def test_patients_are_named_only_on_request(tmp_path):
    comments = "# Patient Name: Jane Roe\n#ID: 12345\n# DOB: 1960-02-03\n#Age: 56\n# resting ECG\n"
    path = make(tmp_path, [[1, 2], [3, 4]], LINES, comments=comments)
    assert "Roe" not in str(read(path).metadata) and "12345" not in str(read(path).metadata)
    metadata = read(path, keep_identity=True).metadata
    assert metadata["identity"] == {"name": "Jane Roe", "patient_id": "12345", "birth_date": "1960-02-03"}
    assert metadata["comments"] == ["Age: 56", "resting ECG"] and metadata["age"] == 56


def test_what_is_no_voltage_is_kept_in_its_unit_or_refused(tmp_path):
    lines = "rec.dat 16 1000/mV 16 0 0 0 0 II\nrec.dat 16 10/mmHg 16 0 0 0 0 ABP"
    ecg = read(make(tmp_path, [[1, 2], [3, 4]], lines))
    assert ecg.leads == ("II", "ABP") and ecg.metadata["units"] == {"ABP": "mmHg"}
    np.testing.assert_allclose(ecg.lead("ABP"), [0.3, 0.4])
    assert "ABP is no ECG" in ecg.metadata["warnings"][0]
    path = make(tmp_path, [[1, 2], [3, 4]], lines.replace("ABP", "V1"))
    with pytest.raises(ECGFileError, match="V1 has the unit 'mmHg'.*unit='mV'"):
        read(path)
    assert read(path, unit="uV").lead("V1")[0] == np.float32(3e-4)


def test_a_gain_of_zero_is_flagged(tmp_path):
    ecg = read(make(tmp_path, [[200, 400], [3, 4]], LINES.replace("1000/mV", "0", 1)))
    np.testing.assert_allclose(ecg.lead("I"), [1, 2])
    assert "I is uncalibrated" in ecg.metadata["warnings"][0] and "gain 200" in ecg.metadata["assumed"][0]


@pytest.mark.parametrize("gain", ["0", "7(5)/mV"])
def test_a_size_of_a_count_goes_before_the_header_s_gain(tmp_path, gain):
    lines = LINES.replace("1000/mV", gain) + "\nrec.dat 16 10/mmHg 16 0 0 0 0 ABP"
    path = make(tmp_path, [[205, 405], [3, 4], [30, 40]], lines)
    zero = 0 if gain == "0" else 5  # a size does not say where zero is, "200(5)/mV" does
    for given in (path, wfdb.rdrecord(str(path))):
        for unit, first in (("5 uV", 205 - zero), ("200/mV", 205 - zero), ("200(5)/mV", 200)):
            ecg = read(given, unit=unit)
            np.testing.assert_allclose(ecg.signal[0], [first / 200, first / 200 + 1], rtol=1e-6)
            assert ecg.signal[2].tolist() == [3, 4] and not str(ecg.metadata).count("uncalibrated")
    if gain == "0":
        np.testing.assert_allclose(read(path, unit="uV").signal[0], [0.205, 0.405], rtol=1e-6)


def test_a_size_of_a_count_holds_for_all_segments(tmp_path):
    for name, gain in (("a", 100), ("b", 1000)):
        make(tmp_path, [[100, 200]], f"{name}.dat 16 {gain}/mV 16 0 0 0 0 I", name=name)
    (tmp_path / "rec.hea").write_text("rec/2 1 500 4\na 2\nb 2\n")
    np.testing.assert_allclose(read(tmp_path / "rec", unit="10 uV").signal, [[1, 2, 1, 2]])


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_micro_sign_in_either_encoding(tmp_path, encoding):
    path = make(tmp_path, [[1, 2], [3, 4]], LINES)
    header = path.with_suffix(".hea")
    header.write_bytes(header.read_text().replace("1000/mV", "1/µV").encode(encoding))
    np.testing.assert_allclose(read(path).signal * 1000, [[1, 2], [3, 4]], rtol=1e-6)


def test_a_checksum_that_does_not_fit_is_flagged(tmp_path):
    ecg = read(make(tmp_path, [[1, 2], [3, 4]], LINES.replace("0 0 0 0 II", "0 0 3 0 II")))
    assert ecg.metadata["warnings"] == ["II: the checksum in the header does not fit the samples"]


def test_unreadable_characters_in_a_lead_name_are_dropped(tmp_path):
    make(tmp_path, [[1, 2], [3, 4]], LINES)
    header = (tmp_path / "rec.hea").read_bytes().replace(b" II", b" II\x00\xff")
    (tmp_path / "rec.hea").write_bytes(header)
    ecg = read(tmp_path / "rec")
    assert ecg.leads == ("I", "II") and "unreadable" in ecg.metadata["warnings"][0]


def test_equal_to_wfdb_on_ptbxl(ptbxl_root):
    for path in sorted(ptbxl_root.glob("records500/*/*.hea"))[::100]:
        ecg = read(path)
        assert ecg.leads == LEADS_12 and "warnings" not in ecg.metadata
        np.testing.assert_array_equal(ecg.signal, oracle(path.with_suffix("")))


# ---------------------------------------------------------------------------- hostile

SIX = "rec 2 500 3"


@pytest.mark.parametrize(
    ("first", "lines", "message"),
    [
        ("rec 2 500 100000000000", LINES, "truncated"),
        ("rec 2000000000 500 3", LINES, "at most 64"),
        ("rec 2 0 3", LINES, "must be above 0"),
        ("rec 2 -5 3", LINES, "must be above 0"),
        ("rec 2 nan 3", LINES, "must be above 0"),
        ("rec 2 500 4", LINES, "truncated"),
        ("rec 3 500 3", LINES, "cut short"),
        ("rec 2 500 99999999999999999999999", LINES, "no number of samples"),
        ("rec two 500 3", LINES, "no number of signals"),
        (SIX, LINES.replace("1000", "-1"), "gain"),
        (SIX, LINES.replace("1000", "1000(" + 400 * "9" + ")"), "beyond 32 bits"),
        (SIX, LINES.replace("1000", "1.0.0"), "cannot be parsed"),
        (SIX, LINES.replace("rec.dat 16", "rec.dat sixteen"), "cannot be parsed"),
        (SIX, LINES.replace("rec.dat 16", "rec.dat 17"), "does not define"),
        (SIX, LINES.replace("rec.dat 16", "rec.dat 516"), "no FLAC file"),
        ("rec 2 500 100000000000", LINES.replace("rec.dat 16", "rec.dat 516"), "too many"),
        (SIX, LINES.replace("rec.dat", "../secret.dat"), "only files in its own folder"),
        (SIX, LINES.replace("rec.dat", "/etc/passwd"), "only files in its own folder"),
        (SIX, LINES.replace("rec.dat", "link/secret.dat"), "lies outside"),
        (SIX, LINES.replace("rec.dat", "gone.dat"), "is not in"),
        (SIX, LINES.replace(" II", " I"), "two channels are named I"),
        (SIX, LINES.replace("dat 16", "dat 16x0"), "0 samples per frame"),
        (SIX, LINES.replace("dat 16", "dat 16:99999999999"), "a skew of 99999999999"),
        ("rec 0 500 3", "", "no signals"),
        ("rec/1 2 500 3", "rec 3", "names itself"),
        ("rec/1 2 500 3", "../x 3", "segment name"),
        ("rec/1 2 500 3", "gone 3", "is not in"),
        ("rec/2 2 500 900000000000", "~ 900000000000\n~ 3", "lies in a gap"),
        ("rec/2 2 500 900000000000", "layout 0\n~ 900000000000", "too many"),
        ("rec/1 2 500 3", "nest 3", "has segments itself"),
        ("\x89PNG\r\n", "", "no WFDB header"),
        ("", "", "no WFDB header"),
        ("hello world, this is a text", "", "no WFDB header"),
    ],
)
def test_a_hostile_header_is_refused_at_once(tmp_path, first, lines, message):
    secret = tmp_path / "secret.dat"
    secret.write_bytes(bytes(12))
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "nest.hea").write_text("nest/1 2 500 3\nrec 3\n")
    (folder / "layout.hea").write_text("layout 2 500 0\n~ 0 1000/mV 0 0 0 0 0 I\n~ 0 1000/mV 0 0 0 0 0 II\n")
    path = make(folder, [[1, 2, 3], [4, 5, 6]], lines, first=first)
    if not first:
        (folder / "rec.hea").write_text("")
    start = time.perf_counter()
    with pytest.raises(ECGFileError, match=message) as caught:
        read(path)
    assert time.perf_counter() - start < 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"x" * 50_000_000, b"rec 2 500 3\n" + b"y " * 20_000], ids=["50 MB", "40 kB line"]
)
def test_an_endless_header_is_refused_at_once(tmp_path, content):
    (tmp_path / "rec.hea").write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(ECGFileError, match="no header|no WFDB header"):
        read(tmp_path / "rec")
    assert time.perf_counter() - start < 1


def test_truncated_files_are_refused_or_kept_as_asked(tmp_path):
    path = make(tmp_path, [[1, 2, 3], [4, 5, 6]], LINES)
    with (tmp_path / "rec.dat").open("r+b") as file:
        file.truncate(9)
    with pytest.raises(ECGFileError, match="truncated: the header announces 3 samples, it holds 2"):
        read(path)
    ecg = read(path, allow_truncated=True)
    assert ecg.num_samples == 2 and "ends after 2 of 3" in ecg.metadata["warnings"][0]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"just a text", b""])
def test_a_foreign_file_is_named(tmp_path, content):
    (tmp_path / "page.png").write_bytes(content)
    with pytest.raises(ECGFileError, match="page.png is "):
        read(tmp_path / "page.png")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording at .*there is no .*gone\.hea"):
        read(tmp_path / "gone")
    (tmp_path / "half.dat").write_bytes(bytes(8))
    for name in ("half", "half.dat", "half.hea"):
        with pytest.raises(ECGFileError, match="its header .* is not; a .*record needs both"):
            read(tmp_path / name)
    with pytest.raises(ECGFileError, match="is a folder"):
        read(tmp_path)
    for name in ("a\x00b", ""):
        with pytest.raises(ECGFileError, match="is no file name"):
            read(name)
    with pytest.raises(ECGFileError, match="cannot be opened"):
        read("x" * 5000)
    with pytest.raises(ValueError, match="no hint fs; it takes sampling_rate, unit"):
        read(tmp_path / "gone", fs=3)
    with pytest.raises(ValueError, match="got list"):
        read([1, 2])
    os.mkfifo(tmp_path / "pipe.hea")
    with pytest.raises(ECGFileError, match="no regular file"):
        read(tmp_path / "pipe.hea")


# ---------------------------------------------------------------------------- writing


def test_what_is_written_is_read_back(tmp_path):
    rng = np.random.default_rng(1)
    signal = (rng.normal(0, 0.4, (12, 777)) * 1000).round() / 1000
    signal[3], signal[5, 7] = np.nan, np.nan
    known = {"age": 56.0, "sex": "female", "codes": ["NORM", "SR"], "report": "sinus rhythm.\nnormal\x00 ecg"}
    header = write(ECG(signal, 437.5, LEADS_12, known), tmp_path / "out")
    assert header == tmp_path / "out.hea" and sorted(p.name for p in tmp_path.iterdir()) == [
        "out.dat",
        "out.hea",
    ]
    ecg = read(header)
    np.testing.assert_array_equal(ecg.signal, oracle(tmp_path / "out"))
    np.testing.assert_allclose(ecg.signal, signal, atol=1e-6)
    assert ecg.sampling_rate == 437.5 and ecg.leads == LEADS_12
    read_back = {key: ecg.metadata[key] for key in known}
    assert read_back == known | {"report": "sinus rhythm. normal ecg"}


def test_large_values_get_a_smaller_gain_instead_of_being_cut(tmp_path):
    ecg = read(write(ECG(np.array([[40.0, -80.0], [0.001, 0.002]]), 500, ("I", "II")), tmp_path / "big"))
    np.testing.assert_allclose(ecg.lead("I"), [40, -80], rtol=1e-4)
    np.testing.assert_allclose(ecg.lead("II"), [0.001, 0.002], rtol=1e-6)


def test_writing_refuses_and_leaves_nothing(tmp_path):
    ecg = ECG(np.zeros((2, 5)), 500, ("I", "II"))
    with pytest.raises(ValueError, match="is no WFDB record name"):
        write(ecg, tmp_path / "a b")
    with pytest.raises(ValueError, match="names no format that is written"):
        write(ecg, tmp_path / "out.mp3")
    with pytest.raises(ValueError, match="infinite"):
        write(ECG(np.full((1, 5), np.inf), 500, ("I",)), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no folder"):
        write(ecg, tmp_path / "gone" / "out")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_record_alone(tmp_path, monkeypatch):
    old = ECG(np.ones((1, 5)), 500, ("I",))
    write(old, tmp_path / "out")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(ECG(np.zeros((1, 9)), 500, ("I",)), tmp_path / "out")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.dat", "out.hea"]
    np.testing.assert_array_equal(read(tmp_path / "out").signal, old.signal)


# ---------------------------- who it was


WHO = (
    "Name: Zyxwvut", "Patient: Zyxwvut", "Patient's name: Zyxwvut", "First name: Zyxwvut", "Surname=Zyxwvut",
    "Patient Number: Zyxwvut", "MRN: Zyxwvut", "Medical record number: Zyxwvut", "<id>: Zyxwvut",
    "Subject ID: Zyxwvut", "Birth date: Zyxwvut", "Address: Zyxwvut", "Telephone: Zyxwvut",
    "mrn Zyxwvut", "Patient name Zyxwvut", "subject id Zyxwvut", "DOB Zyxwvut",
    "Physician: Zyxwvut", "Referring physician: Zyxwvut", "Technician: Zyxwvut", "Hospital: Zyxwvut",
)  # fmt: skip


@pytest.mark.parametrize("line", WHO)
def test_a_comment_that_says_who_is_kept_on_request_only(tmp_path, line):
    comments = f"#Age: 60\n#{line}\n#Number of vessels: 1\n#Reason: Zyx\n"
    path = make(tmp_path, [[1, 2], [3, 4]], LINES, comments=comments)
    ecg = read(path)
    assert "Zyxwvut" not in str(ecg.metadata)
    assert ecg.metadata["comments"] == ["Age: 60", "Number of vessels: 1", "Reason: Zyx"]
    assert list(read(path, keep_identity=True).metadata["identity"].values()) == ["Zyxwvut"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.hea", "Zyxwvut 2 500 10"),
        ("b.hea", "Jane Zyxwvut\n"),
        ("c.hea", "c 1 Zyxwvut 10\nc.dat 16\n"),
        ("d.hea", "d 1 500 10\nd.dat Zyxwvut Jane\n"),
        ("e.csv", "I,II\n1,2\nZyxwvut,3\n"),
    ],
)
def test_a_refusal_does_not_repeat_words_of_the_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ECGFileError) as caught:
        read(tmp_path / name, sampling_rate=500, unit="mV")
    assert "Zyxwvut" not in str(caught.value) and "\n" not in str(caught.value)
