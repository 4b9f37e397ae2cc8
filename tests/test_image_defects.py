"""Defects: each does something, none at strength 0, and after any of them the labels are where the ink is."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from ecglm import simulate
from ecglm.ecg import ECG
from ecglm.image import DEFECTS, Page, draw_page, random_defects, spoil
from ecglm.image.defects import (
    JPEG,
    ColourCast,
    Creases,
    Crop,
    Curvature,
    Handwriting,
    LowResolution,
    Noise,
    Perspective,
    PrintedText,
    Rotation,
    Screen,
    Shadow,
    Stamp,
    UnevenLight,
    defects_of,
)
from ecglm.image.geometry import Homography, Warp
from ecglm.image.redraw import Sheet, redraw

SEEDS = range(20)
BENT = (Curvature, Perspective, Rotation, Crop)


@pytest.fixture(scope="module")
def page() -> Page:
    return draw_page(simulate("stemi_anterior", 3), "3x4+1", dpi=100)


@pytest.fixture(scope="module")
def plain() -> Page:
    """Without grid."""
    return draw_page(simulate("normal", 2), "3x4+1", dpi=110, grid=False)


@pytest.fixture(scope="module")
def traces_only(plain) -> Page:
    """Without grid, pulses and texts, so that what is dark is a trace."""
    strokes = [stroke for stroke in plain.drawing.strokes if stroke.trace is not None]
    drawing = replace(plain.drawing, strokes=strokes, texts=[])
    return replace(plain, drawing=drawing)


def without_traces(page: Page) -> Page:
    """The same page, its traces not yet drawn."""
    strokes = [stroke for stroke in page.drawing.strokes if stroke.trace is None]
    drawing = replace(page.drawing, strokes=strokes)
    geometry = replace(page.geometry, traces={}, lead_boxes={}, to_signal={})
    return replace(page, geometry=geometry, drawing=drawing)


def ink_of_traces(page: Page, defects, seed: int) -> tuple[Page, np.ndarray]:
    """The spoilt page, and where its traces darkened it: (height, width) levels."""
    spoilt, empty = spoil(page, defects, seed), spoil(without_traces(page), defects, seed)
    assert spoilt.image.shape == empty.image.shape
    return spoilt, empty.image.mean(axis=2) - spoilt.image.mean(axis=2)


def dots_of(lines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The dots through which polylines run, (height, width) bool."""
    seen = np.zeros(shape, bool)
    for line in lines:
        at = np.linspace(0, len(line) - 1, max(2, int(8 * np.abs(np.diff(line, axis=0)).sum())))
        x, y = (np.interp(at, np.arange(len(line)), line[:, k]) for k in (0, 1))
        column, row = (np.floor(v).astype(int).clip(0, n - 1) for v, n in ((x, shape[1]), (y, shape[0])))
        seen[row, column] = True
    return seen


def check_ink(page: Page, darker: np.ndarray, level: int) -> None:
    """Ink within a dot of every point of a trace, and none four dots off."""
    inked = darker > level
    lines = [line for lines in page.geometry.traces.values() for line in lines]
    traced = dots_of(lines, inked.shape)
    to_ink = distance_transform_edt(~inked)
    assert to_ink[traced].max() < 2, "a dot's centre to that of its diagonal neighbour is 1.42"
    to_trace = distance_transform_edt(~traced)
    assert to_trace[inked].max() < 4


@pytest.mark.parametrize("name", DEFECTS)
def test_each_changes_pixels_and_none_at_strength_0(page, name):
    spoilt = [spoil(page, [DEFECTS[name](strength=strength)], 4) for strength in (0, 0.4, 1)]
    assert np.array_equal(spoilt[0].image, page.image)
    assert spoilt[0].geometry is page.geometry
    for harm in spoilt[1:]:
        assert harm.image.shape != page.image.shape or not np.array_equal(harm.image, page.image)
        assert harm.image.dtype == np.uint8
        assert harm.image.shape == (harm.geometry.size[1], harm.geometry.size[0], 3)
    again = spoil(page, [DEFECTS[name]()], 4)
    assert np.array_equal(again.image, spoilt[2].image)


@pytest.mark.parametrize(
    "name", [name for name in DEFECTS if name not in ("FocusBlur", "JPEG", "LowResolution")]
)
def test_another_seed_is_another_harm(page, name):
    if name == "ColourCast":
        pictures = [spoil(page, [ColourCast()], seed).image for seed in range(8)]
    else:
        pictures = [spoil(page, [DEFECTS[name]()], seed).image for seed in (1, 2)]
    assert any(one.shape != pictures[0].shape or not np.array_equal(one, pictures[0]) for one in pictures[1:])


def test_redrawn_in_place_nothing_changes(page):
    """The second way of drawing gives the first one's dots."""
    geometry = page.geometry
    at_rest, laid = Warp(), Warp((Homography(np.eye(3)),))
    image, texts = redraw(Sheet(page.drawing), geometry.dpi, geometry.size, at_rest, geometry.size, (0, 0, 0))
    assert np.array_equal(image, page.image)
    assert texts == geometry.text_boxes
    image, texts = redraw(Sheet(page.drawing), geometry.dpi, geometry.size, laid, geometry.size, (0, 0, 0))
    off = np.abs(image.astype(int) - page.image)
    assert off.max() <= 8 and off.mean() < 0.5, "the grid's index has fewer levels than its colours"
    assert texts == geometry.text_boxes


@pytest.mark.parametrize("seed", SEEDS)
def test_ink_is_where_the_labels_are(traces_only, seed):
    rng = np.random.default_rng(seed)
    others = ("Handwriting", "PrintedText", "Stamp")  # they are ink themselves
    files = ("JPEG", "LowResolution")  # below
    defects = [
        DEFECTS[name](strength=rng.uniform(0.2, 1) * (0.5 if name.endswith("Blur") else 1))
        for name in rng.permutation([name for name in DEFECTS if name not in (*others, *files)])
    ]
    spoilt, darker = ink_of_traces(traces_only, defects, seed)
    check_ink(spoilt, darker, 8)


@pytest.mark.parametrize("seed", SEEDS)
def test_ink_is_where_the_labels_are_on_small_and_compressed_pictures(traces_only, seed):
    defects = [Rotation(), Perspective(), Curvature(), LowResolution(factor=1.3), JPEG(quality=70)]
    spoilt, darker = ink_of_traces(traces_only, defects, seed)
    check_ink(spoilt, darker, 48)  # paler is what compression leaves around ink


def test_added_ink_leaves_the_traces_where_they_are(plain):
    spoilt = spoil(plain, [Handwriting(), PrintedText(), Stamp()], 3)
    assert (spoilt.image <= plain.image.astype(int) + 24).all(), "black stays black"
    for key, lines in plain.geometry.traces.items():
        assert all(map(np.array_equal, lines, spoilt.geometry.traces[key]))
    assert len(spoilt.geometry.text_boxes) == len(plain.geometry.text_boxes) + 4


@pytest.mark.parametrize("seed", SEEDS)
def test_every_dot_knows_its_second_and_millivolt(plain, seed):
    ecg = simulate("normal", 2)
    rng = np.random.default_rng(seed)
    defects = [kind(strength=rng.uniform(0.2, 1)) for kind in (*BENT, LowResolution)]
    geometry = spoil(plain, defects, seed).geometry
    for key, lines in geometry.traces.items():
        seconds, mv = np.concatenate([geometry.signal(key, line) for line in lines]).T
        lead = ecg.lead(key.removesuffix("/rhythm"))
        expected = np.interp(seconds, np.arange(ecg.num_samples) / ecg.sampling_rate, lead)
        # Straight lines of a flat page are slightly bent ones on a bent page; labels are good to 1/20 mm.
        assert np.abs(mv - expected).max() < 0.005
    x = rng.uniform(0, 1, (50, 2)) * geometry.size
    assert geometry.warp.to_picture(geometry.warp.to_page(x)) == pytest.approx(x, abs=1e-3)


def test_homography_and_mesh_say_the_same(page):
    flat = spoil(page, [Perspective(), Rotation()], 2).geometry
    matrix = flat.warp.homography
    corner = matrix @ [100, 50, 1]
    assert flat.warp.to_picture(np.array([[100.0, 50.0]]))[0] == pytest.approx(corner[:2] / corner[2])
    bent = spoil(page, [Curvature(), Perspective()], 2).geometry
    assert bent.warp.homography is None
    mesh = bent.warp.mesh(bent.size, 20)
    assert mesh.shape[:2] == (-(-bent.size[1] // 20) + 1, -(-bent.size[0] // 20) + 1)
    assert bent.warp.to_picture(mesh[3:4, 5])[0] == pytest.approx([100, 60], abs=1e-3)
    assert np.array_equal(page.geometry.warp.homography, np.eye(3))


def test_boxes_hold_what_they_say(plain):
    spoilt = spoil(plain, [Rotation(degrees=9), Perspective(), PrintedText(), Stamp(), Crop(share=0.2)], 5)
    geometry = spoilt.geometry
    assert len(geometry.text_boxes) > 5
    dark = spoilt.image.min(axis=2) < 200
    for _, (x0, y0, x1, y1) in geometry.text_boxes:
        assert 0 <= x0 < x1 <= geometry.size[0] and 0 <= y0 < y1 <= geometry.size[1]
    title = dict(geometry.text_boxes)
    for name in ("aVF", "V2"):
        x0, y0, x1, y1 = map(int, title[name])
        assert dark[y0:y1, x0:x1].any()
    for key, (x0, y0, x1, y1) in geometry.lead_boxes.items():
        points = np.concatenate(geometry.traces[key])
        assert (points >= [x0 - 1e-6, y0 - 1e-6]).all() and (points <= [x1 + 1e-6, y1 + 1e-6]).all()
        assert 0 <= x0 and 0 <= y0 and x1 <= geometry.size[0] and y1 <= geometry.size[1]


def test_what_is_cut_off_has_no_label():
    page = draw_page(simulate("normal", 1), "3x4", dpi=80)
    geometry = spoil(page, [Crop(share=0.4)], 11).geometry
    assert set(geometry.traces) < set(page.geometry.traces)
    assert set(geometry.traces) == set(geometry.lead_boxes) == set(geometry.to_signal)
    assert len(geometry.text_boxes) < len(page.geometry.text_boxes)


def test_rotation_turns_by_its_angle_and_nothing_leaves(page):
    geometry = spoil(page, [Rotation(degrees=10)], 1).geometry
    width, height = page.geometry.size
    corners = geometry.warp.to_picture(np.array([[0, 0], [width, 0], [width, height], [0, height]], float))
    along = corners[1] - corners[0]
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(10)
    assert (corners >= -1e-6).all() and (corners <= np.array([width, height]) + 1e-6).all()


def test_noise_has_its_deviation(plain):
    image = spoil(plain, [ColourCast(tint="warm"), Noise(deviation=10)], 1).image[-4:, :, 2].astype(float)
    assert image.std() == pytest.approx(10, rel=0.05)


def test_the_order_of_the_list_does_not_matter_and_one_more_leaves_the_others(plain):
    chain = [Noise(strength=0.3), Shadow(), Rotation()]
    assert np.array_equal(spoil(plain, chain, 3).image, spoil(plain, chain[::-1], 3).image)
    more = spoil(plain, [*chain, Handwriting()], 3)
    assert np.array_equal(more.geometry.warp.homography, spoil(plain, chain, 3).geometry.warp.homography)
    assert [type(defect) for defect in more.defects] == [Handwriting, Rotation, Shadow, Noise]


def test_random_defects_are_seeded_and_grow_with_severity():
    assert random_defects(np.random.default_rng(5)) == random_defects(np.random.default_rng(5))
    assert all(random_defects(np.random.default_rng(seed), 0) == [] for seed in range(5))
    number = [
        sum(d.strength for seed in range(40) for d in random_defects(np.random.default_rng(seed), severity))
        for severity in (0.2, 0.5, 1)
    ]
    assert number[0] < number[1] < number[2]
    kinds = {type(d) for seed in range(200) for d in random_defects(np.random.default_rng(seed), 1)}
    assert kinds == set(DEFECTS.values())
    with pytest.raises(ValueError, match="severity must lie between 0 and 1, got 2"):
        random_defects(np.random.default_rng(0), 2)


def test_defects_in_words(page):
    """As recipes, command lines and labels hold them."""
    chain = [Rotation(degrees=-3, strength=0.5), Handwriting(remarks=("COPY",)), Noise()]
    assert defects_of("Rotation:0.5 + noise") == [Rotation(strength=0.5), Noise()]
    assert defects_of([chain[0], "Noise:1", {"defect": "Shadow", "depth": 0.2}])[2] == Shadow(depth=0.2)
    assert defects_of(json.loads(json.dumps([defect.settings() for defect in chain]))) == chain
    for nothing in ("none", 0, "0", [], "Noise:0"):
        assert spoil(page, nothing, 3) is page
    for severity in ("light", 0.25, "0.25", np.float32(0.25)):
        assert defects_of(severity, 7) == defects_of("light", 7) != defects_of("light", 8)
    spoilt = spoil(page, "heavy", 5)
    label = json.loads(json.dumps([defect.settings() for defect in spoilt.defects]))
    again = spoil(page, label, spoilt.seed)
    assert spoilt.defects and np.array_equal(again.image, spoilt.image)


def test_a_spoilt_page_is_saved_as_a_picture_of_its_size(page, tmp_path):
    small = spoil(page, [LowResolution(factor=2), Rotation(degrees=0)], 1)
    small.save(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.info["dpi"][0] == pytest.approx(50, abs=0.1)
    with pytest.raises(ValueError, match="a spoilt page is a picture; save it as .png or .jpg"):
        small.save(tmp_path / "page.pdf")


def test_pages_of_every_kind_can_be_spoilt():
    ecg = simulate("normal", 1)
    holes = ecg.signal.copy()
    holes[1, 500:900] = np.nan
    holes[4] = np.nan
    for page in (
        draw_page(ECG(holes, ecg.sampling_rate, ecg.leads), "6x2", dpi=40, colours="black_and_white"),
        draw_page(ecg, "strip", dpi=40, leads=["II"], overlay=np.gradient(ecg.signal, axis=1)),
        draw_page(ecg, "3x4", dpi=20, paper="ecg-image-kit"),
    ):
        spoilt = spoil(page, [kind() for kind in DEFECTS.values()], 1)
        assert set(spoilt.geometry.traces) <= set(page.geometry.traces)


def test_bad_input_is_one_clear_line(page):
    for make, message in (
        (lambda: Shadow(strength=1.5), "Shadow: strength must be between 0 and 1, got 1.5"),
        (lambda: Shadow(strength="much"), "Shadow: strength must be between 0 and 1, got 'much'"),
        (lambda: Shadow(strength=float("nan")), "Shadow: strength must be between 0 and 1, got nan"),
        (lambda: Creases(number=1.5), "Creases: number must be a whole number between 1 and 20, got 1.5"),
        (lambda: Stamp(text=5), "Stamp: text must be a text, got 5"),
        (lambda: PrintedText(lines="Copy"), "PrintedText: lines must be a list of texts, got 'Copy'"),
        (lambda: Rotation(degrees=500), "Rotation: degrees must be between -180 and 180, got 500"),
        (lambda: ColourCast(tint="pink"), "ColourCast: tint must be one of None, 'warm'"),
        (lambda: Handwriting(remarks=("naïve",)), "no glyph for Ï"),
        (lambda: Handwriting(remarks=("COPY", " ")), "a remark is empty"),
        (lambda: spoil(page, "light", seed=None), "seed must be a whole number of 0 or more, got None"),
        (lambda: spoil(page, [Shadow]), "unknown defect <class"),
        (lambda: spoil(page, "Shade"), "unknown defect 'Shade'; give none, light, .* of PrintedText"),
        (lambda: spoil(page, "Shadow:dark"), "'Shadow:dark': the strength must be a number from 0 to 1"),
        (lambda: spoil(page, 3), "severity must lie between 0 and 1, got 3"),
        (lambda: spoil(page, {"defect": "Shadow", "dpeth": 1}), "Shadow has no key 'dpeth'; did you mean"),
        (lambda: spoil(page, "light", seed=-1), "seed must be a whole number of 0 or more, got -1"),
        (lambda: spoil(spoil(page, [Screen()]), [UnevenLight()]), r"spoilt before \(Screen\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    assert spoil(page, []) is page
    assert spoil(spoil(page, [Creases()]), []).defects == (Creases(),)
