"""The rasteriser: coverage against a brute-force pen, and ink exactly where the geometry says."""

import numpy as np
import pytest

from ecglm import simulate
from ecglm.ecg import ECG, LEADS_12
from ecglm.image import LAYOUTS, draw_page
from ecglm.image.raster import cover

RATE = 500


def distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """From each point to a polyline."""
    nearest = np.full(len(points), np.inf)
    for start, end in zip(line, line[1:] if len(line) > 1 else line, strict=False):
        along = end - start
        share = ((points - start) @ along / max(along @ along, 1e-12)).clip(0, 1)[:, None]
        nearest = np.minimum(nearest, np.linalg.norm(points - start - share * along, axis=1))
    return nearest


def brute_force(line: np.ndarray, width: float, size: tuple[int, int], finer: int = 8) -> np.ndarray:
    """Coverage by asking finer x finer points in every dot."""
    columns, rows = size
    x = (np.arange(columns * finer) + 0.5) / finer
    y = (np.arange(rows * finer) + 0.5) / finer
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    inside = (distance(points, line) <= width / 2).reshape(rows, finer, columns, finer)
    return inside.mean(axis=(1, 3))


def as_mask(lines: list[np.ndarray], width: float, size: tuple[int, int], **options) -> np.ndarray:
    index, coverage = cover(lines, width, size, **options)
    mask = np.zeros(size[0] * size[1], np.float32)
    np.maximum.at(mask, index, coverage)
    return mask.reshape(size[1], size[0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1.0, 2.2, 5.0])
def test_coverage_is_that_of_a_round_pen(seed, width):
    rng = np.random.default_rng(seed)
    wave = np.stack([np.sort(rng.uniform(-3, 43, 60)), rng.uniform(-4, 34, 60)], axis=1)[::3]
    turning = rng.uniform(-3, 40, (5, 2))  # turns back in x
    for line in (wave, turning):
        mask, truth = as_mask([line], width, (40, 30)), brute_force(line, width, (40, 30))
        assert np.abs(mask - truth).mean() < 0.03
        assert np.abs(mask - truth).max() < 0.5  # only at a bend sharper than a dot
        assert mask.sum() == pytest.approx(truth.sum(), rel=0.06)


def test_level_and_upright_lines_are_exact_and_dots_are_dots():
    level = as_mask([np.array([[2.0, 5.0], [18.0, 5.0]])], 2.0, (20, 10))
    assert np.allclose(level[3:8, 5:15].mean(axis=1), [0, 1, 1, 0, 0])
    upright = as_mask([np.array([[5.0, 2.0], [5.0, 8.0]])], 2.0, (20, 10))
    assert upright[4, 3:7].sum() == pytest.approx(2, abs=0.26)
    dot = as_mask([np.array([[10.0, 5.0]])], 4.0, (20, 10))
    assert dot.sum() == pytest.approx(np.pi * 4, rel=0.1)
    assert as_mask([np.array([[-50.0, 5.0], [-40.0, 5.0]])], 2.0, (20, 10)).sum() == 0
    assert as_mask([], 2.0, (20, 10)).sum() == 0
    pale = as_mask([np.array([[2.0, 5.5], [18.0, 5.5]])], 0.4, (20, 10))
    assert pale.max() == pytest.approx(0.4)


def test_far_away_points_cost_nothing():
    mask = as_mask([np.array([[0.0, 5.0], [1e7, 5.0]])], 2.0, (20, 10))
    assert np.allclose(mask[4:6], 1)


@pytest.mark.parametrize("dpi", [96, 200])
@pytest.mark.parametrize("layout", ["3x4+3", "12x1", "strip"])
def test_ink_is_where_the_geometry_says(layout, dpi):
    """Every known point has ink within a dot, and there is none a dot off the lines."""
    page = draw_page(simulate("lbbb", seed=3), layout, dpi=dpi, grid=False, colours="black_and_white")
    inked = page.image.min(axis=2) < 160
    height, width = inked.shape
    for lines in page.geometry.traces.values():
        for line in lines:
            x, y = np.floor(line).astype(int).T
            near = np.zeros(len(line), bool)
            for dx in (-1, 0, 1):
                for dy in (-1, 0, 1):
                    near |= inked[(y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)]
            assert near.all()
    strokes = [stroke.points * dpi / 25.4 for stroke in page.drawing.strokes]
    allowed = as_mask(strokes, 0.28 * dpi / 25.4 + 2.0, (width, height)) > 0
    for _, (x0, y0, x1, y1) in page.geometry.text_boxes:
        allowed[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert not (inked & ~allowed).any()


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if LAYOUTS[name].kind != "beats"])
@pytest.mark.parametrize("timing", ["consecutive", "simultaneous"])
def test_the_geometry_gives_the_samples_back(layout, timing):
    rng = np.random.default_rng(1)
    ecg = ECG(rng.normal(0, 0.4, (12, 14 * RATE)) + 3.0, RATE)
    page = draw_page(ecg, layout, timing=timing, order="cabrera", start=2, speed=50, gain=5, dpi=90)
    assert page.geometry.traces.keys() == page.geometry.to_signal.keys() == page.geometry.lead_boxes.keys()
    shown: dict[str, list[float]] = {}
    for key, lines in page.geometry.traces.items():
        lead, sign = key.split("/")[0].removeprefix("-"), -1 if key.startswith("-") else 1
        matrix = page.geometry.to_signal[key]
        for line in lines:
            seconds, values = matrix[:, :2] @ line.T + matrix[:, 2:]
            samples = np.round(seconds * RATE).astype(int)
            assert np.allclose(samples, seconds * RATE, atol=1e-6)
            assert np.allclose(values * sign, ecg.lead(lead)[samples], atol=1e-5)
            shown.setdefault(key, []).extend((seconds[0], seconds[-1]))
    if LAYOUTS[layout].kind == "leads":
        columns = max(len(row) for row in LAYOUTS[layout].rows)
        first = {round(span[0], 1) for key, span in shown.items() if "/" not in key}
        assert len(first) == (columns if timing == "consecutive" else 1)
        main = [key.removeprefix("-") for key in shown if "/" not in key]
        assert sorted(main) == sorted(LEADS_12), "each lead once in the main block"


def test_boxes_are_those_of_trace_and_ink():
    page = draw_page(simulate("normal", seed=1), "6x2", dpi=100)
    for key, (x0, y0, x1, y1) in page.geometry.lead_boxes.items():
        points = np.concatenate(page.geometry.traces[key])
        assert x0 < points[:, 0].min() and points[:, 0].max() < x1
        assert y0 < points[:, 1].min() and points[:, 1].max() < y1
    said = [text for text, _ in page.geometry.text_boxes]
    assert set(LEADS_12) <= set(said)
    text, (x0, y0, x1, y1) = page.geometry.text_boxes[said.index("aVR")]
    assert (page.image[int(y0) : int(y1), int(x0) : int(x1)].min(axis=2) < 110).any()


@pytest.mark.parametrize("tag", ["r200_c4", "r200_c4_nopulse", "r100_c4"])
def test_places_are_those_of_ecg_image_kit(ecg_image_fixtures, tag):
    """The layout in which the kit's leads are in order: every sample within 0.02 dots, lead by lead."""
    with np.load(ecg_image_fixtures / "geometry_io.npz") as numbers:
        ecg = ECG(numbers["signal_mV"].T, float(numbers["fs"]))
        order = [str(name) for name in numbers[f"{tag}/order"]]
        pixels = np.split(numbers[f"{tag}/plotted_pixels"], np.cumsum(numbers[f"{tag}/plotted_lengths"])[:-1])
    dpi = 100 if tag.startswith("r100") else 200
    page = draw_page(ecg, "3x4+1", paper="ecg-image-kit", dpi=dpi, line_width=0.26)
    assert page.geometry.size == (11 * dpi, 8.5 * dpi)
    pulse = 0.2 * 25 * dpi / 25.4  # without a pulse the kit begins that much further left
    for number, (lead, kit) in enumerate(zip(order, pixels, strict=True)):
        key = f"{lead}/rhythm" if number == 12 else lead
        ours = np.concatenate(page.geometry.traces[key])
        centred = np.median(ecg.lead(lead)) * 10 * dpi / 25.4  # the kit leaves a lead's offset in
        assert np.abs(ours[:, 0] - kit[:, 1] - (pulse if "nopulse" in tag else 0)).max() < 0.02
        assert np.abs(ours[:, 1] - centred - kit[:, 0]).max() < 0.02
