"""A corpus drawn as pages: whole shards, true labels, the same bytes however it is made."""

import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from ecglm import datasets, write
from ecglm.cli import app
from ecglm.datasets import pages
from ecglm.image import draw_page, spoil
from ecglm.simulate import simulate

SMALL = {"num_records": 5, "splits": ["train"], "records_per_shard": 2}
LOTS = {"layout": ["3x4+1", "12x1", "6x2"], "colours": ["red", "blue"], "dpi": 40}


def files_of(shard) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "pages"
    settings = SMALL | {"page": LOTS, "masks": True, "boxes": True, "traces": True, "seed": 3}
    return out, settings, pages.render_corpus("simulated", None, out, **settings)


def test_each_page_is_the_recording_drawn_as_its_label_says(drawn):
    out, _, done = drawn
    assert (done.written, done.skipped, done.failed) == (5, 0, [])
    rows = datasets.load("simulated", num_records=5)
    files = {}
    for shard in sorted(out.glob("*.tar")):
        files |= files_of(shard)
    assert sorted(files)[:3] == ["00000000.json", "00000000.mask.png", "00000000.png"] and len(files) == 15
    seen = set()
    for number, row in enumerate(rows):
        label = json.loads(files[f"{number:08d}.json"])
        page = draw_page(datasets.read_row(row), **label["page"])
        assert np.array_equal(picture(files[f"{number:08d}.png"]), page.image)
        for key in ("record_id", "report", "codes", "texts"):
            assert label[key] == row[key]
        assert label["size"] == [page.image.shape[1], page.image.shape[0]]
        for lead in label["leads"]:
            np.testing.assert_allclose(lead["box"], page.geometry.lead_boxes[lead["name"]], atol=0.006)
            for line, known in zip(lead["trace"], page.geometry.traces[lead["name"]], strict=True):
                np.testing.assert_allclose(line, known, atol=0.006)
        assert {each["text"] for each in label["page_texts"]} >= {"II", "V6"}
        seen.add((label["page"]["layout"], label["page"]["colours"]))
    assert len(seen) > 1


def test_masks_lie_on_the_ink_of_their_lead(drawn):
    out, _, _ = drawn
    files = files_of(out / "train-00000.tar")
    label = json.loads(files["00000000.json"])
    mask, page = picture(files["00000000.mask.png"]), picture(files["00000000.png"])
    assert mask.shape == page.shape[:2]
    assert set(np.unique(mask)) == set(range(len(label["leads"]) + 1))
    assert page[mask > 0].mean() < 160 < 220 < page[mask == 0].mean()  # at 40 dpi the pen is half a dot
    for number, lead in enumerate(label["leads"], start=1):
        y, x = np.nonzero(mask == number)
        x0, y0, x1, y1 = lead["box"]
        assert x0 - 1 <= x.min() and x.max() <= x1 and y0 - 1 <= y.min() and y.max() <= y1
        points = np.concatenate(lead["trace"])
        place = (points @ np.array(lead["to_signal"])[:, :2].T + np.array(lead["to_signal"])[:, 2])[:, 0]
        assert np.all(np.diff(place) > -1e-3) and place[0] >= -0.01


def test_boxes_are_coco_s(drawn):
    out, _, _ = drawn
    numbers = []
    for shard in sorted(out.glob("*.tar")):
        content = json.loads((out / f"{shard.stem}.coco.json").read_text())
        assert {each["file_name"] for each in content["images"]} < set(files_of(shard))
        known = {each["id"]: each["name"] for each in content["categories"]}
        for one in content["images"]:
            boxes = [each for each in content["annotations"] if each["image_id"] == one["id"]]
            main = [known[each["category_id"]] for each in boxes if not each["part"]]
            assert sorted(name for name in main if name != "text") == sorted(pages.LEADS_12)
            for each in boxes:
                x, y, width, height = each["bbox"]
                assert x >= 0 and y >= 0 and x + width <= one["width"] and y + height <= one["height"]
        numbers += [each["id"] for each in content["annotations"]]
    assert len(set(numbers)) == len(numbers) > 60


def test_a_broken_off_run_goes_on_and_makes_the_same_bytes_in_several_processes(drawn, tmp_path):
    whole, settings, _ = drawn
    out = tmp_path / "pages"
    pages.render_corpus("simulated", None, out, **settings)
    (out / "train-00000.tar").unlink()
    (out / "train-00002.tar").unlink()
    (out / ".train-00002.part").write_bytes(b"half")
    done = pages.render_corpus("simulated", None, out, **settings | {"num_workers": 2})
    assert (done.written, done.skipped) == (3, 2)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert pages.render_corpus("simulated", None, out, **settings).skipped == 5


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes where Linux has them")
def test_the_processes_of_a_killed_run_end_with_it(tmp_path):
    """Else they would go on to write the files that the next run writes."""
    code = "import sys; from ecglm.datasets.pages import render_corpus; render_corpus('simulated', None, "
    code += "sys.argv[1], num_records=400, splits=['train'], records_per_shard=4, num_workers=2)"

    def wait_until(true) -> None:
        deadline = time.monotonic() + 60
        while not true() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert true()

    out = tmp_path / "pages"
    with subprocess.Popen([sys.executable, "-c", code, out], stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: list(out.glob("*.tar")))
        own = Path(f"/proc/{run.pid}/task")
        children = " ".join((task / "children").read_text() for task in own.iterdir()).split()
        run.kill()
    assert len(children) >= 2
    wait_until(lambda: not any(Path(f"/proc/{child}/fd").is_dir() for child in children))


SPOILT = {"layout": ["3x4", "12x1"], "dpi": 60, "defects": ["none", "heavy", "Curvature+LowResolution:0.5"]}


def test_spoilt_pages_and_their_labels(tmp_path):
    """The same bytes in several processes and after a break; each label draws its page again."""
    settings = SMALL | {"page": SPOILT, "masks": True, "boxes": True, "traces": True, "copies": 2, "seed": 1}
    out = tmp_path / "pages"
    pages.render_corpus("simulated", None, out, **settings)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "train-00001.tar").unlink()
    pages.render_corpus("simulated", None, out, **settings | {"num_workers": 2})
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    rows = datasets.load("simulated", num_records=5)
    files = {}
    for shard in sorted(out.glob("*.tar")):
        files |= files_of(shard)
    bent = flat = 0
    for name in (name for name in files if name.endswith(".json")):
        label = json.loads(files[name])
        clean = draw_page(datasets.read_row(rows[int(name[:8])]), **label["page"])
        page = spoil(clean, label["defects"], label["seed"])
        assert np.array_equal(picture(files[name.replace(".json", ".png")]), page.image)
        bent, flat = bent + ("mesh" in label["to_flat"]), flat + ("homography" in label["to_flat"])
        mask = picture(files[name.replace(".json", ".mask.png")])
        assert mask.shape == page.image.shape[:2] == tuple(label["size"][::-1])
        for number, lead in enumerate(label["leads"], start=1):
            points = np.concatenate(lead["trace"])
            on_page = to_flat(label, points)
            np.testing.assert_allclose(on_page, page.geometry.warp.to_page(points), atol=0.05)
            x0, y0, x1, y1 = lead["box"]
            y, x = np.nonzero(mask == number)
            assert x0 - 1 <= x.min() and x.max() <= x1 and y0 - 1 <= y.min() and y.max() <= y1
            column, row = np.minimum(points, np.array(label["size"]) - 1).astype(int).T
            assert (mask[row, column] > 0).mean() > 0.9, "the ink is where the trace is"
    assert bent and flat


def to_flat(label, points):
    """Dots of the picture to dots of the flat page, from what the label says alone."""
    if "homography" in label["to_flat"]:
        moved = np.column_stack([points, np.ones(len(points))]) @ np.array(label["to_flat"]["homography"]).T
        return moved[:, :2] / moved[:, 2:]
    step, mesh = label["to_flat"]["step"], np.array(label["to_flat"]["mesh"])
    edges = [np.append(np.arange(0, edge, step), edge) for edge in label["size"]]
    return RegularGridInterpolator(edges[::-1], mesh)(points[:, ::-1])


def test_other_settings_do_not_mix(drawn):
    out, settings, _ = drawn
    with pytest.raises(ValueError, match=r"begun with other settings \(seed\)"):
        pages.render_corpus("simulated", None, out, **settings | {"seed": 4})
    with pytest.raises(ValueError, match=r"other settings \(options, records\)"):
        pages.render_corpus("simulated", None, out, **settings | {"num_records": 6})


def test_parquet_is_read_by_datasets(tmp_path):
    settings = SMALL | {"page": {"dpi": 40}, "format": "parquet", "image": "jpg", "masks": True, "copies": 2}
    done = pages.render_corpus("simulated", None, tmp_path / "pages", **settings)
    assert done.written == 10
    rows = load_dataset(
        "parquet",
        data_files=str(tmp_path / "pages" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert len(rows) == 10 and rows[1]["key"] == "00000000_1"
    assert rows[0]["image"].size == tuple(json.loads(rows[0]["label"])["size"]) == rows[0]["mask"].size


def test_what_cannot_be_read_is_left_out_and_said(ptbxl_like, tmp_path):
    root, broken = ptbxl_like
    out = tmp_path / "pages"
    command = ["render-corpus", "ptbxl", str(root), str(out), "page.dpi=30", "splits=[train]"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ValueError) and "1 recordings have no page" in str(result.exception)
    assert "1 pages written, 1 recordings failed" in result.stdout
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["complete"] and [each["record_id"] for each in manifest["failed"]] == [broken]
    assert manifest["shards"][0]["pages"] == 1


@pytest.fixture
def ptbxl_like(tmp_path):
    """Two recordings in PTB-XL's layout, the second without its samples."""
    root = tmp_path / "ptb-xl"
    (root / "records500").mkdir(parents=True)
    lines = ["ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr"]
    for number in (1, 2):
        write(simulate("normal", seed=number), root / "records500" / f"{number:05d}_hr")
        name = f"records500/{number:05d}_hr"
        lines.append(f"{number},{number},60,0,sinus rhythm,\"{{'NORM': 100.0}}\",1,{name},{name}")
    (root / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
    (root / "scp_statements.csv").write_text(
        ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "NORM,normal ECG,1.0,,,NORM,NORM\n"
    )
    (root / "records500" / "00002_hr.dat").unlink()
    return root, "2"


def test_where_nothing_can_be_drawn_nothing_is_left(tmp_path):
    out = tmp_path / "pages"
    with pytest.raises(ValueError, match="none of 5 recordings could be drawn; train-0-0: start=60 s lies"):
        pages.render_corpus("simulated", None, out, **SMALL, page={"start": 60})
    assert not out.exists()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"page": {"layout": ["3x4", "5x5"]}}, "unknown layout '5x5'"),
        ({"page": {"dpi": [100, 0]}}, "dpi must lie between 20 and 600, got 0"),
        ({"page": {"layuot": "3x4"}}, "no key 'layuot'; did you mean 'layout'"),
        ({"page": {"defects": ["light", "Creses"]}}, "unknown defect 'Creses'; give none, light"),
        ({"page": {"colours": []}}, "page.colours is an empty list"),
        ({"format": "zip"}, "format='zip' is not known"),
        ({"image": "bmp"}, "image='bmp' is not known"),
        ({"copies": 0}, "copies must be 1 or more"),
        ({"num_workers": 0}, "num_workers must be 1 or more"),
        ({"splits": ["dev"]}, "split='dev' is not known"),
        ({"splits": []}, "splits is empty"),
        ({"num_leads": 12}, "has no option num_leads"),
    ],
)
def test_settings_are_checked_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        pages.render_corpus("simulated", None, tmp_path / "pages", **{"num_records": 2, **settings})
    assert not (tmp_path / "pages").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    with pytest.raises(ValueError, match="is there already and holds no pages"):
        pages.render_corpus("simulated", None, tmp_path, num_records=1)
