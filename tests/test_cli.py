"""The command line as a person meets it: one line and exit 2 for bad input, JSON alone on stdout."""

import contextlib
import io
import json
import os
import sys
from typing import NamedTuple

import numpy as np
import pytest

from ecglm import cli, simulate
from ecglm.io import read, write
from ecglm.pipelines import embed
from ecglm.train import run as train


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def ecglm(*arguments, cwd=None) -> Done:
    """Run the command in this process: starting another costs seconds of imports each time."""
    out, err = io.StringIO(), io.StringIO()
    argv, folder = sys.argv, os.getcwd()
    sys.argv = ["ecglm", *map(str, arguments)]
    os.chdir(cwd or folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = argv
        os.chdir(folder)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    write(simulate("afib", seed=1), folder / "one")
    return folder / "one"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train("merl/pretrain_small", out=tmp_path_factory.mktemp("models") / "small", tiny=True)


def test_ls_is_json_and_knows_what_is_shipped():
    listing = json.loads(ecglm("ls", "--json").stdout)
    assert listing["recipes"]["merl/pretrain"]["system"] == "merl"
    assert "merl/pretrain" in listing["systems"]["merl"]["recipes"]
    assert "classification/ptbxl_super" in listing["benchmarks"]


def test_cp_copies_once(tmp_path):
    assert ecglm("cp", "merl/pretrain", cwd=tmp_path).returncode == 0
    again = ecglm("cp", "merl/pretrain", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr == "ecglm: pretrain.yaml exists already; name another file\n"
    astray = ecglm("cp", "merl/pretrain", "none/mine.yaml", cwd=tmp_path)
    assert astray.returncode == 2 and astray.stderr.startswith("ecglm: there is no folder none to write")


def test_classify_prints_one_document(record, model):
    done = ecglm(
        "classify", record, "--model", model, "--prompt", "atrial fibrillation", "-p", "normal", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["record"] == str(record)
    assert {score["prompt"] for score in document["scores"]} == {"atrial fibrillation", "normal"}
    assert all(0 <= score["score"] <= 1 for score in document["scores"])
    assert document["kind"] == "probability"
    assert "not a medical device" in document["notice"]


def test_bad_input_is_one_line_and_exit_2(record, model, tmp_path):
    (tmp_path / "cut.hea").write_bytes(record.with_suffix(".hea").read_bytes().replace(b"one", b"cut"))
    (tmp_path / "cut.dat").write_bytes(record.with_suffix(".dat").read_bytes()[:999])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "config.json").write_text('{"model_type": "gpt2"}')
    prompt = ("--prompt", "normal")
    cases = [
        (("classify", tmp_path / "none", "-m", model, *prompt), "none"),
        (("classify", tmp_path / "cut", "-m", model, *prompt), "cut"),
        (("classify", tmp_path / "picture.png", "-m", model, *prompt), "picture.png"),
        (("classify", record, "-m", tmp_path, *prompt), "config.json"),
        (("classify", record, "-m", tmp_path / "gpt", *prompt), "gpt2"),
        (("classify", record, "-m", model), "--prompt"),
        (("report", record, "-m", model), "writes no text"),
        (("embed", record, "-m", model, "-o", tmp_path / "nowhere" / "e.npz"), "there is no folder"),
        (("render", record, "-o", tmp_path / "nowhere" / "page.png"), "there is no folder"),
        (("classify", record, "-m", model, "--prompt", ""), "has no text"),
        (("demo", "--out", tmp_path / "cut.dat" / "demo"), "cut.dat"),  # an OSError of no special kind
        (("train", "merl/pretrain_small"), "data.root"),
        (("train", "merl/pretrain_small", "data.root=/nowhere"), "/nowhere"),
        (("eval", "classification/ptbxl_super", "-m", model), "data.root"),
    ]
    for arguments, named in cases:
        done = ecglm(*arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert named in done.stderr, (arguments, done.stderr)
        assert done.stderr.startswith("ecglm: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_flagged_leads_go_to_stderr_and_json(model, tmp_path):
    ecg = simulate("normal", seed=2)
    signal = ecg.signal.copy()
    signal[2, :500] = float("nan")
    write(type(ecg)(signal, ecg.sampling_rate, ecg.leads), tmp_path / "gap")
    done = ecglm("classify", tmp_path / "gap", "-m", model, "--prompt", "normal", "--json")
    assert "lead III: 10.0% of the samples are missing" in done.stderr
    assert any("lead III" in warning for warning in json.loads(done.stdout)["warnings"])


def test_measure_prints_one_document(record):
    document = json.loads(ecglm("measure", record, "--json").stdout)
    assert document["heart_rate_bpm"] > 0
    assert "not a medical device" in document["notice"]
    assert document["quality"]["record"] == "acceptable"
    assert {"lead", "kind", "onset_samples", "peak_samples", "offset_samples"} <= set(document["waves"][0])
    assert len(json.loads(ecglm("measure", record, record, "--json").stdout)) == 2
    grounding = json.loads(ecglm("measure", record, "--grounding").stdout)
    assert len(grounding["leads"]["V1"]) == 14


def test_measure_prints_rows(record):
    header, *rows = ecglm("measure", record, record, "--csv").stdout.splitlines()
    assert header.startswith("record,") and "qtc_bazett_ms" in header
    assert len(rows) == 2
    beats = ecglm("measure", record, "--csv", "--beats").stdout.splitlines()
    assert beats[0].startswith("record,beat,r_peak_sample")
    assert len(beats) > 5


def test_measure_goes_on_after_a_file_that_cannot_be_read(record, tmp_path):
    done = ecglm("measure", record, tmp_path / "nothing", "--csv")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2
    assert "nothing" in done.stderr and done.stderr.splitlines()[-1].endswith("1 of 2 files cannot be read")
    done = ecglm("measure", record, tmp_path / "nothing", "--json")
    assert [document["record"] for document in json.loads(done.stdout)] == [record.name]


def test_measure_takes_folders_and_what_a_file_does_not_say(tmp_path):
    np.save(tmp_path / "plain.npy", simulate("normal", 3).signal[:2] * 1000)
    hints = ("--sampling-rate", "500", "--unit", "uV", "--leads", "I II")
    done = ecglm("measure", tmp_path, "--json", *hints)
    assert list(json.loads(done.stdout)["leads"]) == ["I", "II"]
    refused = ecglm("measure", tmp_path / "plain.npy")
    assert refused.returncode == 2 and "sampling_rate" in refused.stderr


def test_measure_prints_a_table(record):
    done = ecglm("measure", record)
    assert "Heart rate" in done.stdout and "1/min" in done.stdout and "quality acceptable" in done.stdout
    assert "not a medical device" in done.stderr


@pytest.mark.parametrize("options", [("--csv", "--json"), ("--beats",), ("--csv", "--grounding")])
def test_measure_refuses_contradictions(record, options):
    done = ecglm("measure", record, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_what_a_file_does_not_say_is_said_to_every_command(record, model, tmp_path):
    ecg = read(record)
    np.save(tmp_path / "bare.npy", np.stack([ecg.signal * 1000] * 2))
    bare, two = tmp_path / "bare.npy", tmp_path / "two.npz"
    hints = ("--sampling-rate", 500, "--unit", "uV", "--leads", " ".join(ecg.leads), "--index", 1)
    for command in (
        ("render", bare, "-o", tmp_path / "page.png"),
        ("classify", bare, "-m", model, "-p", "normal", "--json"),
        ("embed", bare, "-m", model, "-o", two),
    ):
        refused = ecglm(*command)
        assert refused.returncode == 2 and "index=" in refused.stderr
        done = ecglm(*command, *hints)
        assert done.returncode == 0, done.stderr
    assert ecglm("embed", record, "-m", model, "-o", tmp_path / "one.npz").returncode == 0
    with np.load(two) as ours, np.load(tmp_path / "one.npz") as theirs:
        np.testing.assert_allclose(ours["features"], theirs["features"], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="unit say how to read a file; .* is read already"):
        embed([ecg], model, unit="uV")


def test_render_writes_a_page_in_the_format_of_its_suffix(record, tmp_path):
    options = (
        "--layout",
        "3x4+3",
        "--paper",
        "a4",
        "--rhythm",
        "V1",
        "--rhythm",
        "II",
        "--measured",
        "--waves",
    )
    for suffix, begin in (("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        page = tmp_path / f"page.{suffix}"
        assert ecglm("render", record, "-o", page, *(options if suffix == "pdf" else ())).returncode == 0
        assert page.read_bytes().startswith(begin)
    for arguments, named in (
        (("-o", tmp_path / "other.bmp"), ".pdf"),
        (("-o", tmp_path / "other.png", "--dpi", "0"), "dpi must lie"),
        (("-o", tmp_path / "other.png", "--layout", "2x6"), "unknown layout"),
        (("-o", tmp_path / "other.png", "--defects", "Fog"), "unknown defect 'Fog'"),
        (
            ("-o", tmp_path / "other.png", "--defects", "light", "--seed", "-1"),
            "seed must be a whole number of 0 or more",
        ),
        (("-o", tmp_path / "other.svg", "--defects", "Creases"), "save it as .png or .jpg"),
    ):
        done = ecglm("render", record, *arguments)
        assert done.returncode == 2 and named in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("other*"))
    spoilt = [tmp_path / f"spoilt{seed}.png" for seed in (1, 1, 2)]
    drawn = []
    for page, seed in zip(spoilt, (1, 1, 2), strict=True):
        arguments = ("--defects", "Creases:0.5+Shadow", "--seed", seed, "--dpi", 50)
        assert ecglm("render", record, "-o", page, *arguments).returncode == 0
        drawn.append(page.read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
