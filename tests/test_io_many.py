"""Many files: folders, RECORDS lists, conversion that goes on where it stopped; the commands for files."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from ecglm import ECG, ECGFileError, read, simulate, write
from ecglm.cli import app
from ecglm.io import convert_files, inspect, read_many
from ecglm.io.many import sources


@pytest.fixture
def folder(tmp_path):
    """Two WFDB records, a CSV and an NPZ in folders, beside files that are no recordings."""
    root = tmp_path / "in"
    (root / "b").mkdir(parents=True)
    for seed, name in enumerate(("a.hea", "b/c.npz", "b/d.csv", "b/e.hea")):
        write(simulate("normal", seed=seed).crop(0, 2), root / name)
    (root / "notes.txt").write_text("not an ECG")
    (root / "labels.csv").write_text("record,label\na,NORM\n")
    (root / "a.atr").write_bytes(b"\x01\x02")
    (root / "page.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


def names(found) -> list[str]:
    return [each.path.relative_to(each.root).as_posix() for each in found]


def run(*arguments) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    error = f"{type(result.exception).__name__}: {result.exception}" if result.exception else ""
    return result.exit_code, result.stdout, error


def test_a_folder_gives_each_recording_once(folder):
    assert names(sources(folder)) == ["a.hea", "b/c.npz", "b/d.csv", "b/e.hea"]
    assert [ecg.num_samples for ecg in read_many(folder)] == [1000] * 4
    assert names(sources([folder / "a", folder / "b"])) == ["a.hea", "c.npz", "d.csv", "e.hea"]
    with pytest.raises(FileNotFoundError):
        list(read_many(folder / "gone"))


def test_another_format_beside_a_wfdb_record_of_its_name_is_a_recording(folder, tmp_path):
    write(read(folder / "a"), folder / "a.xml")
    write(read(folder / "a"), folder / "a.csv")  # tables beside a record tell of it
    assert names(sources(folder)) == ["a.hea", "a.xml", "b/c.npz", "b/d.csv", "b/e.hea"]
    done = convert_files(folder, tmp_path / "out", "edf")
    assert len(done.written) == 4 and "a.xml would overwrite" in done.failed[0][1]


def test_a_records_list_decides(folder):
    (folder / "RECORDS").write_text("b/e\nb/gone\na\n")
    assert names(sources(folder)) == ["b/e.hea", "b/gone", "a.hea"]
    failed = []
    found = list(
        read_many(folder, on_error=lambda source, error: failed.append((source.path.name, str(error))))
    )
    assert len(found) == 2 and failed[0][0] == "gone" and "no recording" in failed[0][1]
    with pytest.raises(ECGFileError, match="list of records; read them with ecglm.io.read_many"):
        read(folder / "RECORDS")
    with pytest.raises(FileNotFoundError, match="gone"):
        list(read_many(folder))
    for line in ("../secret", "/etc/passwd", "b/../../secret"):
        (folder / "RECORDS-bad").write_text(line)
        with pytest.raises(ECGFileError, match="only what lies in its own folder"):
            list(read_many(folder / "RECORDS-bad"))


def test_segments_are_read_with_their_record_only(folder):
    (folder / "b/whole.hea").write_text("whole/1 12 500 1000\ne 1000\n")
    assert "b/e.hea" not in names(sources(folder)) and "b/whole.hea" in names(sources(folder))


def test_conversion_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (folder / "b/broken.npz").write_bytes(b"PK\x03\x04signal.npy")
    done = convert_files(folder, out, "csv")
    assert sorted(path.relative_to(out).as_posix() for path in done.written) == [
        "a.csv",
        "b/c.csv",
        "b/d.csv",
        "b/e.csv",
    ]
    assert len(done.failed) == 1 and "broken NPZ" in done.failed[0][1]
    for ecg, again in zip(read_many(folder / "b/c.npz"), read_many(out / "b/c.csv"), strict=True):
        np.testing.assert_allclose(again.signal, ecg.signal, atol=1e-6)
    (out / "b/d.csv").unlink()
    before = (out / "a.csv").stat().st_mtime_ns
    done = convert_files(folder, out, "csv")
    assert [path.name for path in done.written] == ["d.csv"] and len(done.skipped) == 3
    assert (out / "a.csv").stat().st_mtime_ns == before
    assert len(convert_files(folder, out, "csv", overwrite=True).written) == 4


def test_what_killed_runs_left_half_written_is_removed_and_what_others_write_is_not(folder, tmp_path):
    out = tmp_path / "out"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f".a.csv.{ended.pid}", f".b.csv.{os.getppid()}", ".c.csv.bak", f".d.txt.{ended.pid}"):
        out.mkdir(exist_ok=True)
        (out / name).write_text("half")
    convert_files(folder, out, "csv")
    hidden = sorted(path.name for path in out.iterdir() if path.name.startswith("."))
    assert hidden == sorted([f".b.csv.{os.getppid()}", ".c.csv.bak", f".d.txt.{ended.pid}"])


def test_a_conversion_that_is_broken_off_says_how_it_goes_on(folder, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ecglm.io.many.write", interrupted)
    result = CliRunner().invoke(
        app, ["convert-file", str(folder), "-o", str(tmp_path / "out"), "--to", "edf"]
    )
    assert result.exit_code == 130 and "the same command goes on where it stopped" in result.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_no_source_is_overwritten_by_itself(folder):
    write(read(folder / "a"), folder / "one.edf")
    before = (folder / "one.edf").read_bytes()
    done = convert_files(folder / "one.edf", folder, "edf", overwrite=True)
    assert not done.written and "would overwrite itself" in done.failed[0][1]
    code, _, error = run("convert-file", folder / "one.edf", "-o", folder / "one.edf", "--overwrite")
    assert code and "would overwrite itself" in error and (folder / "one.edf").read_bytes() == before


def test_two_sources_of_one_name_do_not_overwrite_each_other(folder, tmp_path):
    write(simulate("normal", seed=9).crop(0, 2), folder / "b/c.csv")
    done = convert_files(folder, tmp_path / "out", "wfdb")
    assert len(done.written) == 4 and "would overwrite" in done.failed[0][1]


def test_inspect_says_what_a_file_is(folder):
    found = inspect(folder / "a")
    assert found["format"] == "WFDB" and found["sampling_rate"] == 500 and found["duration"] == 2
    assert [lead["name"] for lead in found["leads"]][:2] == ["I", "II"]
    ecg = read(folder / "a")
    assert found["leads"][0]["highest"] == pytest.approx(float(ecg.lead("I").max()), abs=1e-6)
    checksums = {each["name"]: each["sha256"] for each in found["files"]}
    assert checksums == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("a.hea", "a.dat")
    }
    json.dumps(found)


def test_inspect_on_the_command_line(folder):
    code, out, _ = run("inspect", folder / "b/c.npz", "--json")
    assert code == 0 and json.loads(out)["format"] == "NumPy"
    code, out, error = run("inspect", folder / "a", folder / "notes.txt")
    assert "12 leads" in out and "cannot be read" in out and "1 of 2 files cannot be read" in error
    np.save(folder / "raw.npy", np.zeros((2, 5)))
    _, _, error = run("inspect", folder / "raw.npy")
    assert "ECGFileError" in error and "sampling_rate=" in error
    code, out, _ = run(
        "inspect", folder / "raw.npy", "--sampling-rate", 500, "--unit", "uV", "--leads", "I II"
    )
    assert code == 0 and "leads I II, as given" in out and "unit uV, as given" in out


def test_inspect_takes_folders_and_names_the_format_wherever_the_file_is(folder, monkeypatch):
    monkeypatch.chdir(folder / "b")
    assert [inspect(name)["format"] for name in ("c.npz", "d.csv", "e", "e.dat")] == [
        *("NumPy", "CSV", "WFDB", "WFDB")
    ]
    np.savez(folder / "many.npz", signal=np.ones((2, 1, 5)), fs=5, unit="mV", leads=["II"])
    code, out, _ = run("inspect", folder, "--json")
    found = json.loads(out)
    assert code == 0 and [each["format"] for each in found] == ["WFDB", *["NumPy"] * 3, "CSV", "WFDB"]
    assert [each.get("index") for each in found] == [None, 0, 1, None, None, None]


@pytest.mark.parametrize("command", ["inspect", "convert-file", "deidentify"])
def test_a_folder_without_recordings_is_said(tmp_path, command):
    more = {"inspect": (), "convert-file": ("-o", tmp_path / "out", "--to", "csv")}
    _, _, error = run(command, tmp_path, *more.get(command, ("-o", tmp_path / "out")))
    assert "ValueError: there is no recording in" in error and not (tmp_path / "out").exists()


def test_convert_file_on_the_command_line(folder, tmp_path):
    code, out, _ = run("convert-file", folder, "-o", tmp_path / "npz", "--to", "npz")
    assert code == 0 and "4 written, 0 failed" in out
    code, out, _ = run("convert-file", folder, "-o", tmp_path / "npz", "--to", "npz", "--json")
    assert code == 0 and len(json.loads(out)["skipped"]) == 4
    code, _, _ = run("convert-file", folder / "a", "-o", tmp_path / "one.csv", "--start", 0.5, "--stop", 1)
    assert code == 0 and read(tmp_path / "one.csv").num_samples == 250
    for arguments, message in (
        (("-o", tmp_path / "one.csv"), "exists already"),
        (("-o", tmp_path / "x.mp3"), "no format that is written"),
        (("-o", tmp_path / "dir"), "--to is missing"),
        (("-o", tmp_path / "dir", "--to", "mp3"), "no format 'mp3'"),
    ):
        _, _, error = run("convert-file", folder / "a", *arguments)
        assert "ValueError" in error and message in error
    (folder / "bad.npz").write_bytes(b"PK\x03\x04signal.npy")
    code, out, error = run("convert-file", folder, "-o", tmp_path / "again", "--to", "csv")
    assert code != 0 and "4 written, 1 failed" in out and "1 of 5 files were not converted" in error


def test_a_median_beat_and_arrays_in_the_metadata_become_json(tmp_path):
    beat = ECG(np.zeros((1, 3)), 500, ("I",))
    metadata = {"device": {"median_beats": beat, "measurements": {"qrs": np.float32(90)}}, "x": np.arange(2)}
    path = write(ECG(np.ones((1, 5)), 500, ("I",), metadata), tmp_path / "a.npz")
    kept = read(path).metadata
    assert kept["device"]["median_beats"].signal.tolist() == [[0, 0, 0]]
    assert kept["device"]["measurements"] == {"qrs": 90} and kept["x"] == [0, 1]


@pytest.mark.parametrize("name", ["a", "a.hea", "a.dat"])
def test_the_format_is_named_whichever_file_of_a_record_is_given(folder, name):
    assert inspect(folder / name)["format"] == "WFDB"
