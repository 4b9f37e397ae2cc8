"""The demo deletes what an earlier one left and nothing else, and says how to go on."""

import os
from pathlib import Path

import pytest

from ecglm.demo import _print_next, run_demo


@pytest.mark.parametrize(
    "names", [["corpus/mine.csv"], ["model/weights"], ["corpus/manifest.json", "thesis.tex"]]
)
def test_a_folder_of_somebody_elses_is_left_alone(names, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious")
    with pytest.raises(ValueError, match="which no demo wrote; give another --out"):
        run_demo(tmp_path)
    assert all((tmp_path / name).read_text() == "precious" for name in names)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "demo").write_text("precious")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        run_demo(tmp_path / "demo")


def test_the_last_line_names_a_command_that_can_be_copied(tmp_path, monkeypatch, capsys):
    """`make demo` activates nothing: without `ecglm` on the path, the line names that of the environment."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "ecglm"):
        (tmp_path / "bin" / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    for path, command in (("", os.path.join("bin", "ecglm")), (str(tmp_path / "bin"), "ecglm")):
        monkeypatch.setenv("PATH", path)
        (tmp_path / "bin" / "ecglm").chmod(0o755)
        _print_next(Path("index.html"), Path("model"), Path("report_model"), Path("one"))
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"  {command} classify YOUR_RECORD --model model")
