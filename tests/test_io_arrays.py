"""CSV, NumPy, MATLAB and HDF5: written by their own libraries, read by ours; hostile ones refused."""

import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from ecglm import ECG, LEADS_12, ECGFileError, read, simulate, write
from ecglm.io import read_many, tables

RATE = 500
HINTS = {"sampling_rate": RATE, "unit": "mV", "leads": LEADS_12}


@pytest.fixture(scope="module")
def ecg() -> ECG:
    return simulate("normal", seed=1).crop(0, 3)


def same(ecg: ECG, path: Path, atol: float = 1e-6, **hints) -> ECG:
    found = read(path, **hints)
    assert found.leads == ecg.leads and found.sampling_rate == ecg.sampling_rate
    np.testing.assert_allclose(found.signal, ecg.signal, atol=atol)
    return found


def table(ecg: ECG, rows=("I", "II"), form="{:.4f}", sep=",", number=None) -> str:
    lines = [[form.format(value) for value in each] for each in ecg.select(rows).signal.T]
    if number:
        lines = [[number(k), *line] for k, line in enumerate(lines)]
    return "\n".join(sep.join(line) for line in lines)


# ---------------------------------------------------------------------------- what we write


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_what_is_written_is_read_back(tmp_path, ecg, suffix):
    signal = np.concatenate([ecg.signal * 9, np.full((1, ecg.num_samples), np.nan), [np.arange(1500) / 10.0]])
    signal[2, 7] = np.nan
    known = {"age": 56.0, "sex": "female", "statements": ["sinus rhythm"], "units": {"ABP": "mmHg"}}
    known |= {"identity": {"name": "Jane Roe"}, "record_id": "r1", "acquired": "2020-01-01"}
    path = write(ECG(signal, RATE, (*LEADS_12, "V7", "ABP"), known), tmp_path / f"out{suffix}")
    found = read(path, keep_identity=True)
    assert found.leads == (*LEADS_12, "V7", "ABP") and found.sampling_rate == RATE
    np.testing.assert_allclose(found.signal, signal, atol=6e-7, rtol=1e-6)
    assert {key: found.metadata[key] for key in known if key != "identity"} == {
        key: value for key, value in known.items() if key != "identity"
    }
    assert b"Jane" not in path.read_bytes() and "identity" not in found.metadata
    write(ECG(signal, RATE, found.leads, known), path, identity=True)
    assert read(path, keep_identity=True).metadata["identity"] == {"name": "Jane Roe"}
    assert "identity" not in read(path).metadata


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path, ecg, suffix, monkeypatch):
    path = write(ecg, tmp_path / f"out{suffix}")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(ecg.crop(0, 1), path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name] and path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no folder"):
        write(ecg, tmp_path / "gone" / f"out{suffix}")


# ---------------------------------------------------------------------------- tables


def test_a_table_without_words_needs_all_hints(tmp_path, ecg):
    path = tmp_path / "raw.csv"
    path.write_text(table(ecg, LEADS_12, "{:.6f}"))
    with pytest.raises(
        ECGFileError, match=r"no sampling rate.*no unit.*names.*sampling_rate=.*unit=.*leads="
    ):
        read(path)
    for name in HINTS:
        with pytest.raises(ECGFileError, match=f"pass {name}="):
            read(path, **{key: value for key, value in HINTS.items() if key != name})
    found = same(ecg, path, **HINTS)
    assert any("as given" in sentence for sentence in found.metadata["assumed"])


@pytest.mark.parametrize(
    ("name", "head", "number", "form", "sep"),
    [
        ("seconds", "time,I (mV),II (mV)", lambda k: f"{k / RATE:.3f}", "{:.5f}", ","),
        ("milliseconds", "t [ms];I_uV;II_uV", lambda k: f"{2 * k}", "µV {:.2f}", ";"),
        (
            "physionet",
            "'Elapsed time','I','II'\n'hh:mm:ss.mmm','mV','mV'",
            lambda k: f"'0:{k / RATE:06.3f}'",
            "{:.5f}",
            ",",
        ),
        ("dates", "timestamp,I/mV,II/mV", lambda k: f"2020-01-01 00:00:{k / RATE:09.6f}", "{:.5f}", ","),
        ("comments", "# Sampling rate: 500 Hz\n# units = mV\nI\tII", None, "{:.5f}", "\t"),
        ("bars", "fs|500\nsample #|I (mV)|II (mV)", str, "{:.5f}", "|"),
        ("pandas", "# fs: 500\n# unit: mV\n,I,II", str, "{:.5f}", ","),
        ("counted", "# fs: 500\nsample #,I (mV),II (mV)", str, "{:.5f}", ","),
        ("blanks", "# fs: 500\n# unit: mV\nI II", None, "{:.5f}", " "),
    ],
)
def test_times_names_and_units_as_people_write_them(tmp_path, ecg, name, head, number, form, sep):
    scale = 1000 if "µV" in form else 1
    text = table(ECG(ecg.signal * scale, RATE), ("I", "II"), form.replace("µV ", ""), sep, number)
    if sep == ";":
        text = text.replace(".", ",")
    (tmp_path / f"{name}.txt").write_text(f"{head}\n{text}\n", encoding="utf-8")
    same(ecg.select(("I", "II")), tmp_path / f"{name}.txt", atol=1.1e-5)


def test_a_comma_at_the_end_of_each_line_and_a_preamble_without_signs(tmp_path, ecg):
    lines = "".join(",".join(f"{each:.6f}" for each in row) + ",\n" for row in ecg.signal.T)
    head = "Sampling rate: 500 Hz\nUnit: mV\nNote: none\n"
    (tmp_path / "a.csv").write_text(head + ",".join(LEADS_12) + ",\n" + lines)
    same(ecg, tmp_path / "a.csv", 1e-6)


def test_leads_in_rows_and_unknown_fields(tmp_path, ecg):
    path = tmp_path / "rows.csv"
    rows = [
        f"{name},{','.join(f'{v:.6f}' for v in values)}"
        for name, values in zip(ecg.leads, ecg.signal, strict=True)
    ]
    path.write_text("\n".join(rows))
    same(ecg, path, sampling_rate=RATE, unit="mV")
    lines = table(ecg).splitlines()
    lines[3] = ","
    lines[4] = "nan,NA"
    path.write_text("I,II\n" + "\n".join(lines))
    found = read(path, sampling_rate=RATE, unit="mV")
    assert np.isnan(found.signal[:, 3:5]).all() and not np.isnan(found.signal[:, 5:]).any()


@pytest.mark.parametrize("comma", [False, True])
def test_the_export_of_a_watch(tmp_path, ecg, comma):
    values = "\n".join(f"{value * 1000:.3f}" for value in ecg.lead("I"))
    text = (
        'Name,Jane Roe\nDate of Birth,"Jan 1, 1980"\nRecorded Date,2020-01-01 12:00:00 +0000\n'
        "Classification,Sinus Rhythm\nSymptoms,\nSoftware Version,1.90\n"
        'Device,"Watch6,2"\nSample Rate,500 hertz\n\n\nLead,Lead I\nUnit,µV\n\n'
    )
    german = {"Lead,Lead": "Ableitung,Ableitung", "Sample Rate,500 h": "Messrate,500 H", "Unit": "Einheit"}
    for word, other in german.items() if comma else ():
        text = text.replace(word, other)
    (tmp_path / "ecg.csv").write_text(
        text + (values.replace(".", ",") if comma else values), encoding="utf-8"
    )
    found = same(ecg.select(["I"]), tmp_path / "ecg.csv")
    assert found.metadata["device"]["statements"] == ["Sinus Rhythm"] and "Roe" not in json.dumps(
        found.metadata
    )
    assert read(tmp_path / "ecg.csv", keep_identity=True).metadata["identity"]["name"] == "Jane Roe"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,report\n1,normal ecg\n2,afib\n", "no table of numbers"),
        ("I,II\n1,2\n3\n4,5\n", "line 2 .* 1 fields where the first has 2"),
        ("I,II\n1,2\n3,x4\n", "line 2 .*a word, no number"),
        ("", "is empty"),
        ("\n" * 500, "in no format"),
        ("a,b\n" * 100_000, "no table of numbers"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path / "x.csv", sampling_rate=RATE, unit="mV")


# ---------------------------------------------------------------------------- arrays


def test_numpy_arrays_either_way_round_and_many(tmp_path, ecg):
    np.save(tmp_path / "a.npy", ecg.signal)
    same(ecg, tmp_path / "a.npy", **HINTS)
    np.save(tmp_path / "t.npy", np.asfortranarray((ecg.signal.T * 200 + 1024).round().astype(np.int16)))
    same(ecg, tmp_path / "t.npy", 0.0026, **HINTS | {"unit": "200(1024)/mV"})
    np.save(tmp_path / "one.npy", ecg.lead("II").astype(np.float64))
    same(ecg.select(["II"]), tmp_path / "one.npy", **HINTS | {"leads": "II"})
    np.save(tmp_path / "many.npy", np.stack([ecg.signal, 2 * ecg.signal]))
    with pytest.raises(ECGFileError, match=r"2 records; pass index= \(0 to 1\).*read_many"):
        read(tmp_path / "many.npy", **HINTS)
    with pytest.raises(ECGFileError, match="index=2 must be below"):
        read(tmp_path / "many.npy", index=2, **HINTS)
    both = list(read_many(tmp_path / "many.npy", **HINTS))
    assert [each.metadata["record_id"] for each in both] == ["many-0", "many-1"]
    np.testing.assert_allclose(both[1].signal, 2 * ecg.signal, rtol=1e-6)


def test_npz_with_usual_names(tmp_path, ecg):
    leads = np.array([name.upper() for name in ecg.leads])
    np.savez(tmp_path / "a.npz", data=ecg.signal.T * 1000, fs=RATE, units="uV", lead_names=leads, y=[1, 0])
    same(ecg, tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", first=ecg.signal, second=ecg.signal)
    with pytest.raises(ECGFileError, match="several arrays.*first 12x1500, second 12x1500"):
        read(tmp_path / "b.npz", **HINTS)


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_an_array_for_each_lead(tmp_path, ecg, kind):
    arrays = dict(reversed(list(zip(ecg.leads, ecg.signal, strict=True)))) | {"fs": RATE, "unit": "mV"}
    path = tmp_path / f"a.{kind}"
    np.savez(path, **arrays) if kind == "npz" else scipy.io.savemat(path, arrays)
    same(ecg, path)
    part = read(path, start=1, stop=2)
    np.testing.assert_allclose(part.signal, ecg.signal[:, 500:1000], rtol=1e-6)
    arrays["V1"] = arrays["V1"][:-1]
    np.savez(path, **arrays) if kind == "npz" else scipy.io.savemat(path, arrays)
    with pytest.raises(ECGFileError, match="several arrays"):
        read(path)


def test_gains_beside_counts(tmp_path, ecg):
    path, told = tmp_path / "a.npz", {"fs": RATE, "unit": "mV", "leads": list(LEADS_12)}
    counts = np.rint(ecg.signal * 200).astype(np.int16)
    np.savez(path, signal=counts + 5, adc_gain=[200] * 12, baseline=5, **told)
    assert "adc_gain per unit" in same(ecg, path, 0.0026).metadata["assumed"][0]
    np.savez(path, signal=counts, gain=200, **told)
    for hints in ({}, {"unit": "mV"}):
        with pytest.raises(ECGFileError, match="a gain of 200, but not whether .*pass unit='200/mV' or"):
            read(path, **hints)
    same(ecg, path, 0.0026, unit="200/mV")


def test_matlab_against_scipy(tmp_path, ecg):
    leads = np.array(LEADS_12, object)
    cases = {
        "plain": {"signal": ecg.signal.T, "fs": RATE, "unit": "mV", "leads": leads},
        "struct": {"ECG": {"data": ecg.signal.astype(np.float64), "age": 74, "sex": "Male"}, "fs": RATE},
    }
    for name, variables in cases.items():
        for packed in (False, True):
            scipy.io.savemat(tmp_path / f"{name}.mat", variables, do_compression=packed)
            found = same(ecg, tmp_path / f"{name}.mat", **({} if name == "plain" else HINTS))
    assert found.metadata["age"] == 74 and found.metadata["sex"] == "male"
    scipy.io.savemat(tmp_path / "four.mat", {"signal": ecg.signal.astype(float), "fs": 500.0}, format="4")
    same(ecg, tmp_path / "four.mat", unit="mV", leads=LEADS_12)
    head = struct.pack(">5i", 1000, *ecg.signal.shape, 0, 4) + b"val\0"  # of a machine that begins at the top
    (tmp_path / "turned.mat").write_bytes(head + ecg.signal.T.astype(">f8").tobytes())
    same(ecg, tmp_path / "turned.mat", unit="mV", leads=LEADS_12, sampling_rate=RATE)
    for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"):
        values = np.arange(2400).reshape(12, 200) % 100
        scipy.io.savemat(tmp_path / "k.mat", {"val": values.astype(kind)})
        np.testing.assert_array_equal(read(tmp_path / "k.mat", **HINTS).signal, values)
    with pytest.raises(ECGFileError, match=r"k\.hea is not beside it"):
        read(tmp_path / "k.mat")


def test_hdf5_layouts(tmp_path, ecg):
    h5py = pytest.importorskip("h5py", reason="the extra `formats` reads HDF5")
    with h5py.File(tmp_path / "code.h5", "w") as file:
        tracings = np.zeros((3, 4096, 12), np.float32)
        tracings[1, 1298:2798] = ecg.signal.T
        tracings[2, 48:-48] = np.linspace(0.1, 0.2, 4000)[:, None]
        file["tracings"], file["exam_id"] = tracings, [11, 22, 33]
    with pytest.raises(ECGFileError, match=r"3 records; pass index="):
        read(tmp_path / "code.h5")
    with pytest.raises(ECGFileError, match=r"CODE-15%.*pass unit='mV'"):
        read(tmp_path / "code.h5", index=1)
    found = read(tmp_path / "code.h5", index=1, unit="mV")
    assert found.sampling_rate == 400 and found.leads == LEADS_12 and found.metadata["record_id"] == "22"
    np.testing.assert_array_equal(found.signal, ecg.signal)
    assert "are cut" in found.metadata["warnings"][0] and "400 Hz" in found.metadata["assumed"][0]
    assert [each.num_samples for each in read_many(tmp_path / "code.h5", unit="mV")] == [4096, 1500, 4000]
    with h5py.File(tmp_path / "SPH1.h5", "w") as file:
        file["ecg"] = ecg.signal.astype(np.float16)
    assert "SPH documents" in same(ecg, tmp_path / "SPH1.h5", 1e-3).metadata["assumed"][0]
    with h5py.File(tmp_path / "own.h5", "w") as file:
        data = file.create_dataset("a/b/ecg", data=ecg.signal, compression="gzip", chunks=(12, 500))
        data.attrs["fs"], data.attrs["units"], data.attrs["leads"] = RATE, "mV", list(LEADS_12)
    same(ecg, tmp_path / "own.h5")
    with h5py.File(tmp_path / "leads.h5", "w") as file:
        file.attrs["sampling_rate"], file.attrs["unit"] = RATE, "mV"
        for name, values in reversed(list(zip(ecg.leads, ecg.signal, strict=True))):
            file[f"ecg/{name}"] = values
    same(ecg, tmp_path / "leads.h5")


def test_of_a_long_array_the_span_alone_is_read(tmp_path, ecg):
    """As many samples as are never read at once, in a file with a hole; rows or columns are leads."""
    span = dict(start=1e5 / RATE, stop=1e5 / RATE + 3)
    for name, shape in (("rows", (12, 30_000_000)), ("columns", (30_000_000, 12))):
        values = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, shape)
        (values if name == "rows" else values.T)[:, 100_000:101_500] = ecg.signal
        values.flush()
        same(ecg, tmp_path / f"{name}.npy", **HINTS, **span)
        with pytest.raises(ECGFileError, match="at most .* are read at once"):
            read(tmp_path / f"{name}.npy", **HINTS)


def test_hdf5_spans_of_every_layout(tmp_path, ecg):
    h5py = pytest.importorskip("h5py", reason="the extra `formats` reads HDF5")
    many = np.stack([ecg.signal * 0.9, ecg.signal])
    with h5py.File(tmp_path / "leads.h5", "w") as file:
        for name, values in zip(ecg.leads, ecg.signal, strict=True):
            file[f"ecg/{name}"] = values
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["signal"] = many
    with h5py.File(tmp_path / "matlab.h5", "w") as file:  # whose axes MATLAB 7.3 saves in reverse
        file["signal"] = many.T
        file["signal"].attrs["MATLAB_class"] = np.bytes_("single")
    for shape in ((1, -1), (-1, 1), (-1,)):
        with h5py.File(tmp_path / f"one{len(shape)}{shape[0]}.h5", "w") as file:
            file["signal"] = ecg.signal[1].reshape(shape)
    for path in sorted(tmp_path.iterdir()):
        one = path.stem.startswith("one")
        hints = HINTS | {"leads": "II"} if one else HINTS
        hints = hints | ({"index": 1} if path.stem in ("many", "matlab") else {})
        found = read(path, start=1, stop=2.5, **hints)
        expected = ecg.signal[1:2, 500:1250] if one else ecg.signal[:, 500:1250]
        np.testing.assert_array_equal(found.signal, expected, err_msg=path.name)


def test_hdf5_links_and_foreign_storage_are_not_followed(tmp_path, ecg):
    h5py = pytest.importorskip("h5py", reason="the extra `formats` reads HDF5")
    (tmp_path / "secret.bin").write_bytes(np.ones((12, 500)).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["ecg"] = ecg.signal
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["ecg"] = h5py.ExternalLink("other.h5", "ecg")
        file.create_dataset("data", (12, 500), external=[(str(tmp_path / "secret.bin"), 0, 48_000)])
    with pytest.raises(ECGFileError, match="no array that could be an ECG"):
        read(tmp_path / "x.h5", **HINTS)
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        group = file
        for _ in range(40):
            group = group.create_group("g")
    with pytest.raises(ECGFileError, match="too deep"):
        read(tmp_path / "deep.h5", **HINTS)


def test_hdf5_that_this_process_has_open(tmp_path, ecg):
    h5py = pytest.importorskip("h5py", reason="the extra `formats` reads HDF5")
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file.create_dataset("ecg", data=ecg.signal).attrs.update(fs=RATE, unit="mV", leads=list(ecg.leads))
    for locking in (None, False):
        with h5py.File(tmp_path / "r.h5", locking=locking):
            np.testing.assert_array_equal(read(tmp_path / "r.h5").signal, ecg.signal)


def test_hdf5_without_h5py_names_the_extra(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    code = f"import sys; sys.modules['h5py'] = None\nfrom ecglm import read\nread({str(tmp_path / 'a.h5')!r})"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert "ECGFileError" in done.stderr and "pip install h5py" in done.stderr


# ---------------------------------------------------------------------------- hostile


def bombs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Small files that announce or unpack to much."""
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    said = "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 80000000000), }"
    (folder / "huge.npy").write_bytes(head + said.ljust(117).encode() + b"\n" + bytes(64))
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("signal.npy", "w") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": (12, 2_000_000)}
            )
            for _ in range(96):
                file.write(bytes(1_000_000))
    inner = struct.pack("<2I", 14, 1 << 30) + bytes(1 << 20)
    packed = zlib.compress(inner, 9)
    mat = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<2I", 15, len(packed)) + packed
    (folder / "bomb.mat").write_bytes(mat)
    np.save(folder / "objects.npy", np.array([{"a": 1}, print], object), allow_pickle=True)
    np.savez(folder / "objects.npz", signal=np.array([{"a": 1}, print], object))
    found = {
        "huge.npy": "is truncated",
        "bomb.npz": "no ECG does",
        "bomb.mat": "at most 134,217,728 are unpacked",
        "objects.npy": "nothing is unpickled",
        "objects.npz": "nothing is unpickled",
    }
    return {name: (folder / name, message) for name, message in found.items()}


@pytest.mark.parametrize("name", ["huge.npy", "bomb.npz", "bomb.mat", "objects.npy", "objects.npz"])
def test_bombs_are_refused_at_once_and_unopened(tmp_path, name):
    path, message = bombs(tmp_path)[name]
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ECGFileError, match=message) as caught:
        read(path, **HINTS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - start < 1 and peak < 50_000_000 and "\n" not in str(caught.value)


def test_an_hdf5_file_that_announces_more_than_it_holds(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra `formats` reads HDF5")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("ecg", (12, 20_000_000), "f4", chunks=(1, 100_000), compression="gzip")
    with pytest.raises(ECGFileError, match="no ECG does"):
        read(tmp_path / "bomb.h5", **HINTS)


def test_truncation_anywhere_is_refused_or_read(tmp_path, ecg):
    """Every 64 bytes for a while, then every 1 %: an ECG or one line, nothing else."""
    files = [
        write(ecg, tmp_path / "a.npz"),
        write(ecg, tmp_path / "a.csv"),
        tmp_path / "a.npy",
        tmp_path / "a.mat",
    ]
    np.save(files[2], ecg.signal)
    scipy.io.savemat(files[3], {"val": ecg.signal, "fs": RATE})
    for path in files:
        whole = path.read_bytes()
        for size in [*range(0, 1024, 64), *range(1024, len(whole), len(whole) // 50)]:
            path.write_bytes(whole[:size])
            try:
                read(path, **HINTS)
            except ECGFileError as error:
                assert "\n" not in str(error)
        path.write_bytes(whole)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_saved_as_unicode_text(tmp_path, encoding):
    text = "time (s)\tI (mV)\tII (µV)\n" + "".join(f"{k / 500:.3f}\t0.{k}\t{k}\n" for k in range(10, 60))
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "a.txt").write_bytes((mark + text).encode(encoding))
    ecg = read(tmp_path / "a.txt")
    assert ecg.leads == ("I", "II") and ecg.sampling_rate == 500
    np.testing.assert_allclose(ecg.signal[:, 0], [0.1, 0.01], rtol=1e-6)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_tables_of_other_machines(tmp_path, encoding, end):
    lines = ["time (s);I [µV];II [µV]", *(f"{k / 500:.3f};{k},5;-{k}".replace(".", ",") for k in range(60))]
    (tmp_path / "a.csv").write_bytes(end.join(lines).encode(encoding))
    for hints in ({}, {"start": 0, "stop": 0.12}):
        ecg = read(tmp_path / "a.csv", **hints)
        assert ecg.leads == ("I", "II") and ecg.sampling_rate == 500 and ecg.num_samples == 60
        np.testing.assert_allclose(ecg.signal[:, 2], [0.0025, -0.002], rtol=1e-6)


def test_a_table_of_numpy_s(tmp_path, ecg):
    for title in (",".join(LEADS_12), ",".join(f"{name} (mV)" for name in LEADS_12), "by Jane, for II\nI,II"):
        columns = ecg.signal.T if title.count(",") > 2 else ecg.signal[:2].T
        np.savetxt(tmp_path / "a.csv", columns, delimiter=",", header=title)
        same(ecg.select(LEADS_12[: columns.shape[1]]), tmp_path / "a.csv", sampling_rate=RATE, unit="mV")


@pytest.mark.parametrize("header", [",I (mV),II (mV)\n", ""])
def test_a_first_column_of_moments_needs_no_name(tmp_path, ecg, header):
    lines = [
        f"2020-01-01 00:00:{k / 500:09.6f},{one:.6f},{two:.6f}\n"
        for k, (one, two) in enumerate(ecg.signal[:2].T)
    ]
    (tmp_path / "a.csv").write_text(header + "".join(lines))
    same(ecg.select(["I", "II"]), tmp_path / "a.csv", unit="mV", leads="I II")


def test_names_of_arrays_do_not_break_the_line_of_a_refusal(tmp_path):
    long = np.zeros(200)
    scipy.io.savemat(tmp_path / "a.mat", {"on_e": long, "two": long})
    content = (tmp_path / "a.mat").read_bytes()
    for old, new in ((b"on_e", b"on\ne"), (struct.pack("<II", 9, 1600), struct.pack("<II", 9, 160))):
        content = content.replace(old, new, 1)
        (tmp_path / "b.mat").write_bytes(content)
        with pytest.raises(ECGFileError, match="several arrays|a variable announces 200 values") as refused:
            read(tmp_path / "b.mat", **HINTS)
        assert "\n" not in str(refused.value)


def test_decimal_commas_in_quotes_and_of_a_lone_lead(tmp_path):
    values = [0.1, -0.25, 0.5, 0.5, 1.75] * 20
    fields = [f"{value}".replace(".", ",") for value in values]
    alone = {"sampling_rate": 500, "unit": "mV", "leads": "I"}
    for number, lines in enumerate(([f'"{each}"' for each in fields], fields, ["I", *fields])):
        (tmp_path / f"{number}.csv").write_text("\n".join(lines) + "\n")
        np.testing.assert_allclose(read(tmp_path / f"{number}.csv", **alone).signal, [values], rtol=1e-6)
    (tmp_path / "two.csv").write_text("".join(f'"{each}","7,5"\n' for each in fields))
    two = read(tmp_path / "two.csv", sampling_rate=500, unit="mV", leads="I II")
    np.testing.assert_allclose(two.signal, [values, [7.5] * 100], rtol=1e-6)
    (tmp_path / "counted.csv").write_text("".join(f"{k},{900 + k % 7}\n" for k in range(100)))
    counted = read(tmp_path / "counted.csv", **alone | {"unit": "uV"})
    np.testing.assert_allclose(counted.signal[0, :2], [0.9, 0.901], rtol=1e-6)


def test_of_a_cut_table_all_lines_but_the_last_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("I (mV),II (mV)\n" + "0.25,0.5\n" * 600 + "0.2")
    with pytest.raises(ECGFileError, match="line 601 of the numbers has 1 field"):
        read(tmp_path / "a.csv", sampling_rate=500)
    ecg = read(tmp_path / "a.csv", sampling_rate=500, allow_truncated=True)
    assert ecg.num_samples == 600 and "the last line, which does not end, is left out" in str(ecg.metadata)


def test_a_long_table_that_does_not_say_enough_is_refused_before_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("I,II\n" + "1,2\n" * 600_000)
    sizes, numbers = [], tables._numbers

    def noted(path, content, table):
        sizes.append(len(content))
        return numbers(path, content, table)

    monkeypatch.setattr(tables, "_numbers", noted)
    with pytest.raises(ECGFileError, match="no sampling rate, no unit"):
        read(tmp_path / "a.csv")
    assert max(sizes) < 1 << 20
    (tmp_path / "a.csv").write_text("1," * (3 << 20))
    with pytest.raises(ECGFileError, match="a line of over 4 MB"):
        read(tmp_path / "a.csv")


def test_a_line_of_words_above_two_lead_names_names_no_lead(tmp_path):
    (tmp_path / "a.csv").write_text("Physician,Zyxwvut\nSampling rate,500\nI,II\nmV,uV\n0.1,100\n0.2,200\n")
    ecg = read(tmp_path / "a.csv")
    assert ecg.leads == ("I", "II") and "Zyxwvut" not in str(ecg.metadata)
    np.testing.assert_allclose(ecg.signal, [[0.1, 0.2]] * 2)


def test_a_lead_in_one_long_line_is_read_without_pandas(tmp_path, monkeypatch):  # which takes 20 s for it
    monkeypatch.setattr("pandas.read_csv", None)
    values = np.arange(200_000) / 1000
    (tmp_path / "a.csv").write_text(",".join(map(str, values)) + "\n" + ",".join(["2"] * len(values)) + "\n")
    ecg = read(tmp_path / "a.csv", sampling_rate=500, unit="mV", leads="I II")
    np.testing.assert_allclose(ecg.signal[0], values, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "acquired"),
    [
        ("2020-01-02 03:04:05 +0100", "2020-01-02T03:04:05+01:00"),
        ("2020-01-02", "2020-01-02"),
        ("2020-01-02T03:04:05", "2020-01-02T03:04:05"),
        ("the day Zyxwvut came", None),
        ("\x1b[31m2020", None),
    ],
)
def test_the_time_of_a_table_is_a_time_or_left_out(tmp_path, text, acquired):
    (tmp_path / "a.csv").write_text(f"Recorded Date,{text}\nSample Rate,500\nLead,I\nUnit,mV\n" + "1\n2\n3\n")
    assert read(tmp_path / "a.csv").metadata.get("acquired") == acquired
