"""The demo deletes what an earlier one left, and nothing else."""

import pytest

from ecglm.demo import run_demo


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
