"""Files of a page: true size in each format, lines as lines, texts as texts."""

import re
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
from PIL import Image

from ecglm import simulate
from ecglm.image import draw_page

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page():
    return draw_page(
        simulate("lbbb", seed=3),
        paper="a4",
        dpi=120,
        header="QRS (broad) \\ Müller",
        overlay={"box": (9, 9, 99, 99)},
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_dots_per_inch_are_written_and_pixels_kept(page, suffix, tmp_path):
    page.save(tmp_path / f"page{suffix}")
    with Image.open(tmp_path / f"page{suffix}") as picture:
        assert picture.info["dpi"] == pytest.approx(
            (120, 120), abs=0.02
        )  # PNG counts whole dots to the metre
        assert picture.size == page.geometry.size == (1403, 992)
        difference = np.abs(np.asarray(picture, int) - page.image)
    assert difference.max() == 0 if suffix == ".png" else difference.mean() < 4


def test_svg_is_in_millimetres_and_has_every_point(page, tmp_path):
    page.save(tmp_path / "page.svg")
    root = ElementTree.parse(tmp_path / "page.svg").getroot()
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("297mm", "210mm", "0 0 297 210")
    scale = 120 / 25.4
    for key, lines in page.geometry.traces.items():
        paths = [path for path in root.iter(f"{SVG}path") if path.get("data-trace") == key]
        assert len(paths) == len(lines)
        for path, line in zip(paths, lines, strict=True):
            points = np.array(re.findall(r"[-\d.]+", path.get("d")), float).reshape(-1, 2)
            assert np.allclose(points * scale, line, atol=0.001 * scale)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"I", "aVR", "V6", "sim-lbbb-3", "QRS (broad) \\ Muller"} <= set(texts)
    grid = [path for path in root.iter(f"{SVG}path") if "butt" in (path.get("style") or "")]
    assert [path.get("stroke-width") for path in grid] == ["0.12", "0.2"]


def test_pdf_is_one_page_of_true_size_with_its_font(page, tmp_path):
    page.save(tmp_path / "page.pdf")
    file = (tmp_path / "page.pdf").read_bytes()
    box = [float(number) for number in re.search(rb"/MediaBox \[([^\]]*)\]", file).group(1).split()]
    assert box == pytest.approx([0, 0, 297 / 25.4 * 72, 210 / 25.4 * 72], abs=1e-3)
    table = int(re.search(rb"startxref\n(\d+)", file).group(1))
    places = [int(place) for place in re.findall(rb"^(\d{10}) 00000 n", file[table:], re.MULTILINE)]
    for number, place in enumerate(places, 1):
        assert file[place:].startswith(b"%d 0 obj" % number)
    streams = [zlib.decompress(part) for part in re.findall(rb"stream\n(.*?)\nendstream", file, re.DOTALL)]
    content = streams[0].decode("cp1252")
    assert "(QRS \\(broad\\) \\\\ Muller) Tj" in content and "(aVR) Tj" in content
    assert streams[1][:4] == b"\x00\x01\x00\x00", "the font travels along"
    points = sum(len(stroke.points) for stroke in page.drawing.strokes)
    lines = content.split(" S\n")
    assert sum(line.count(" l") for line in lines[2:]) + len(page.drawing.strokes) == points


def near(ink: np.ndarray) -> np.ndarray:
    """Dots with ink within two dots."""
    for axis in (0, 1):
        ink = np.logical_or.reduce([np.roll(ink, shift, axis) for shift in (-2, -1, 0, 1, 2)])
    return ink


def test_pdf_looks_like_the_picture(tmp_path):
    pdfium = pytest.importorskip("pypdfium2", reason="install the extra 'pdf' to look at the PDF")
    page = draw_page(simulate("lbbb", seed=3), paper="a4", dpi=120, grid=False)
    page.save(tmp_path / "page.pdf")
    document = pdfium.PdfDocument(tmp_path / "page.pdf")
    # Traces, pulses and names; Pillow sets the margins' small print on whole dots, where it drifts.
    grid = slice(round(20 * 120 / 25.4), round(200 * 120 / 25.4))
    drawn = document[0].render(scale=120 / 72).to_numpy()[grid, : page.image.shape[1]].min(axis=2) < 128
    ours = page.image[grid].min(axis=2) < 128
    assert ours.sum() > 5000 and not (drawn & ~near(ours)).any() and not (ours & ~near(drawn)).any()
    assert "aVR" in document[0].get_textpage().get_text_range()


def test_a_lone_sample_is_a_dot_in_every_format(tmp_path):
    ecg = simulate("normal", seed=1)
    signal = ecg.signal.copy()
    signal[0, 100], signal[0, 102] = np.nan, np.nan
    page = draw_page(type(ecg)(signal, 500), "12x1")
    assert sorted(len(line) for line in page.geometry.traces["I"])[0] == 1
    for suffix in ("svg", "pdf"):
        page.save(tmp_path / f"page.{suffix}")


def test_another_suffix_is_refused_and_nothing_written(page, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \.png, \.jpg, \.jpeg, \.svg, \.pdf"):
        page.save(tmp_path / "page.bmp")
    assert not list(tmp_path.iterdir())
