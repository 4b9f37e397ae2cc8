"""The page: true millimetres, every lead once, gaps where samples are unknown, and honest margins."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ecglm import simulate
from ecglm.ecg import ECG, LEADS_12
from ecglm.image import COLOURS, LAYOUTS, draw_page, render
from ecglm.image.frame import MARGIN
from ecglm.image.margins import HEADER, printable

RATE = 500
GUTTER = 15  # mm at 25 mm/s


def flat(seconds: float = 10.0, leads: tuple[str, ...] = LEADS_12, **metadata) -> ECG:
    return ECG(np.zeros((len(leads), round(seconds * RATE))), RATE, leads, metadata)


def beats(ecg: ECG) -> SimpleNamespace:
    """As much of the measurements as median beats need."""
    return SimpleNamespace(r_peaks=ecg.metadata["truth"]["r_peaks"])


def ink(page) -> np.ndarray:
    """Where the page is dark: (height, width) bool; the grid's reds are not."""
    return np.asarray(page.convert("RGB")).max(axis=2) < 110


@pytest.mark.parametrize("dpi, speed, gain", [(150, 25, 10), (100, 50, 5), (254, 12.5, 20)])
def test_lengths_are_true_millimetres(dpi, speed, gain):
    ecg = flat()
    for second in (2, 7):
        ecg.signal[1, second * RATE : second * RATE + 5] = 1.0
    ecg.signal[1, 4 * RATE : 4 * RATE + 5] = -0.5
    page = render(ecg, "12x1", dpi=dpi, speed=speed, gain=gain)
    per_mm = dpi / 25.4
    assert page.info["dpi"] == (dpi, dpi)
    changed = ink(page) & ~ink(render(flat(), "12x1", dpi=dpi, speed=speed, gain=gain))
    rows, columns = np.nonzero(changed)
    gutter = {12.5: 15, 25: 15, 50: 20}[speed]
    start = (MARGIN + gutter) * per_mm
    up_first, up_last = start + 2 * speed * per_mm, start + (7 + 4 / RATE) * speed * per_mm
    assert columns.min() == pytest.approx(up_first, abs=0.35 * per_mm + 1)
    assert columns.max() == pytest.approx(up_last, abs=0.35 * per_mm + 1)
    assert rows.max() - rows.min() == pytest.approx(1.5 * gain * per_mm, abs=0.35 * per_mm + 1)


def test_the_calibration_pulse_is_one_millivolt_and_200_ms():
    page = render(flat(), "3x4", dpi=254)  # 10 dots per millimetre
    grid = ink(page)[int(HEADER) * 10 : int(HEADER + 45) * 10, int(MARGIN) * 10 : int(MARGIN + GUTTER) * 10]
    rows, columns = np.nonzero(grid)
    assert rows.max() - rows.min() == pytest.approx(100, abs=4)
    tops = columns[rows < rows.min() + 2]
    assert tops.max() - tops.min() == pytest.approx(50, abs=4)


def test_grid_lines_are_where_the_millimetres_are():
    page = np.asarray(render(flat(), "3x4", dpi=254)).astype(int)
    row = page[int(HEADER) * 10 + 15, int(MARGIN) * 10 : int(MARGIN + 100) * 10]
    redness = row[:, 0] - row[:, 2]
    strong = np.flatnonzero(redness > 50)
    assert {round(at / 10) % 5 for at in strong} == {0}
    assert len({round(at / 10) for at in strong}) in (20, 21)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if LAYOUTS[name].kind == "leads"])
def test_each_lead_stands_in_one_place(layout):
    """A spike train in one lead changes that lead's cell only; a rhythm strip shows its lead once more."""
    blank = ink(render(flat(), layout, dpi=60))
    seen = np.zeros_like(blank, dtype=int)
    for row in range(12):
        ecg = flat()
        ecg.signal[row, 20::50] = 0.6
        changed = ink(render(ecg, layout, dpi=60)) & ~blank
        assert changed.any(), f"{LEADS_12[row]} is not drawn"
        seen += changed
    assert seen.max() == 1, "two leads are drawn in one place"
    names = [name for row in LAYOUTS[layout].rows for name in row]
    assert sorted(names) == sorted(LEADS_12)
    assert LAYOUTS[layout].rhythm == {"1": ("II",), "3": ("V1", "II", "V5")}.get(layout[4:], ())


def test_leads_are_found_by_name_not_by_place():
    rng = np.random.default_rng(0)
    ecg = ECG(rng.normal(size=(12, 2500)).cumsum(axis=1) * 0.01, RATE)
    shuffled = ecg.select([LEADS_12[k] for k in rng.permutation(12)])
    assert render(ecg, dpi=60).tobytes() == render(shuffled, dpi=60).tobytes()


def test_unknown_samples_are_gaps():
    ecg = flat()
    ecg.signal[1, 4 * RATE : 6 * RATE] = np.nan
    page = ink(render(ecg, "12x1", dpi=254))
    band = page[
        int(HEADER) * 10 + 300 : int(HEADER) * 10 + 500, int(MARGIN + GUTTER) * 10 :
    ]  # the row of lead II
    drawn = np.flatnonzero(band.any(axis=0)) / 250  # seconds at 25 mm/s
    assert not ((drawn > 4.02) & (drawn < 5.98)).any()
    assert ((drawn > 3.9) & (drawn < 3.98)).any() and ((drawn > 6.02) & (drawn < 6.1)).any()


def test_a_missing_lead_is_left_blank_and_said():
    without = tuple(name for name in LEADS_12 if name != "V4")
    partial, full = render(flat(leads=without), "12x1", dpi=100), render(flat(), "12x1", dpi=100)
    first = round((HEADER + 10 + 9 * 20 + 8) / 25.4 * 100)  # 8 mm into the row of V4
    assert ink(full)[first : first + 16, 700:].any() and not ink(partial)[first : first + 16, 700:].any()
    assert partial.tobytes() != full.tobytes()


def test_margins_say_what_was_drawn():
    leads = (*LEADS_12[:11], "RESP")
    ecg = flat(30, leads, record_id="r1", age=61.0, sex="female")
    ecg.signal[2] = np.nan
    ecg.signal[1, 5100:5200] = 90.0
    drawn = draw_page(ecg, speed=50, gain=5, start=10, header="PR 160 ms", dpi=60)
    page = "\n".join(text for text, _ in drawn.geometry.text_boxes)
    for part in (
        "r1",
        "61 years, female",
        "PR 160 ms",
        "50 mm/s | 5 mm/mV | 10 to 20 s of 30 s | 500 Hz",
        "not a medical device",
        "draft",
        "III no signal",
        "V6 not recorded",
        "II cut off",
        "not drawn: RESP",
    ):
        assert part in page, part


@pytest.mark.parametrize("paper, size", [("a4", (297.0, 210.0)), ("letter", (279.4, 215.9))])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_paper_has_its_size_and_all_rows(layout, paper, size):
    ecg = simulate("normal", seed=1)
    page = draw_page(ecg, layout, paper=paper, dpi=60, measurements=beats(ecg))
    assert page.geometry.size == tuple(round(edge * 60 / 25.4) for edge in size)
    x0, y0, x1, y1 = page.drawing.grid.box
    for key, (left, top, right, bottom) in page.geometry.lead_boxes.items():
        assert x0 < left * 25.4 / 60 and right * 25.4 / 60 <= x1 + 0.3, key
        assert y0 - 0.3 < top * 25.4 / 60 and bottom * 25.4 / 60 < y1 + 0.3, key
    assert draw_page(ecg, layout, paper="letter", dpi=200, measurements=beats(ecg)).image.shape == (
        1700,
        2200,
        3,
    )


def test_narrow_paper_shows_fewer_seconds_and_says_so():
    page = draw_page(flat(), paper="a4", speed=50, dpi=60)
    assert any("0 to 5.3 s of 10 s" in text for text, _ in page.geometry.text_boxes)


def test_the_grid_is_true_to_half_a_percent():
    """100 mm between strong lines, both ways, at a resolution that no millimetre divides."""
    page = draw_page(flat(), "3x4", dpi=137)
    dark = 255 - page.image[..., 2].astype(float)
    for axis, edge in ((0, MARGIN), (1, HEADER)):
        # Between traces and names only the grid lies; lines along the other axis raise all alike.
        profile = (
            dark[round(21 * 137 / 25.4) : round(28 * 137 / 25.4)].mean(axis=0)
            if axis == 0
            else (dark[:, round(90 * 137 / 25.4) : round(97 * 137 / 25.4)].mean(axis=1))
        )
        places = []
        for line in (edge + 15, edge + 115):
            around = np.arange(round((line - 0.5) * 137 / 25.4), round((line + 0.5) * 137 / 25.4))
            weight = profile[around] - profile[around].min()
            places.append(((around + 0.5) * weight).sum() / weight.sum())
        assert places[1] - places[0] == pytest.approx(100 * 137 / 25.4, rel=0.005)


def test_cabrera_turns_avr_upside_down():
    ecg = flat()
    ecg.signal[3, 20::50] = 0.6
    page = draw_page(ecg, "12x1", order="cabrera")
    tops = [page.geometry.lead_boxes[lead][1] for lead in ("aVL", "I", "-aVR", "II", "aVF", "III", "V1")]
    assert tops == sorted(tops) and "aVR" not in page.geometry.traces
    (line,) = page.geometry.traces["-aVR"]
    assert line[20, 1] > line[21, 1], "a positive aVR points down"


def test_a_strip_goes_on_from_line_to_line():
    page = draw_page(flat(30.0), "strip", dpi=60)
    assert list(page.geometry.traces) == ["II", "II/10s", "II/20s"]
    seconds = [
        matrix[0, :2] @ page.geometry.traces[key][0][0] + matrix[0, 2]
        for key, matrix in page.geometry.to_signal.items()
    ]
    assert seconds == pytest.approx([0, 10, 20])
    one = draw_page(flat(12.5, leads=("MLII",)), "strip", dpi=60)
    assert list(one.geometry.traces) == ["MLII", "MLII/10s"]
    long = draw_page(flat(1800.0, leads=("I",)), "strip", dpi=30, start=60)
    assert len(long.geometry.traces) == 12
    assert any("60 to 180 s of 1800 s" in text for text, _ in long.geometry.text_boxes)


def test_one_lead_leaves_the_others_blank():
    page = draw_page(flat(leads=("I",)), dpi=60)
    assert list(page.geometry.traces) == ["I"]
    assert len(page.notes) == 12 and all("not recorded" in note for note in page.notes)


def test_what_leaves_its_row_too_far_is_cut_and_said():
    ecg = flat()
    ecg.signal[5, 2000:2010] = 50.0
    ecg.signal[1] += 3 * np.sin(np.arange(5000) / 40)
    page = draw_page(ecg, "12x1", gain=20, dpi=60)
    assert sorted(page.notes) == ["II cut off", "aVF cut off"]
    for key in ("II", "aVF"):
        y = np.concatenate(page.geometry.traces[key])[:, 1] * 25.4 / 60
        assert np.ptp(y) <= 60 + 1e-6, "30 mm up and down"
    assert len(page.geometry.traces["aVF"]) == 2


def test_median_beats_are_medians():
    ecg = simulate("normal", seed=4, noise=False)
    page = draw_page(ecg, "median", measurements=beats(ecg), dpi=100)
    assert sorted(page.geometry.traces) == sorted(LEADS_12)
    peaks = ecg.metadata["truth"]["r_peaks"][1:-1]
    (line,) = page.geometry.traces["V5"]
    seconds, values = page.geometry.to_signal["V5"][:, :2] @ line.T + page.geometry.to_signal["V5"][:, 2:]
    samples = np.round(seconds * RATE).astype(int)
    truth = np.median([ecg.lead("V5")[peak + samples] for peak in peaks], axis=0)
    assert np.abs(values - truth).max() < 0.06
    with pytest.raises(ValueError, match="no whole beat"):
        draw_page(ecg, "median", measurements=SimpleNamespace(r_peaks=[3]))


def test_pacing_spikes_are_marked():
    ecg = simulate("pacing_ventricular", seed=2)
    spikes = len(ecg.metadata["truth"]["spikes"])
    with_marks, without = draw_page(ecg, dpi=60), draw_page(ecg, dpi=60, pacing=())
    assert len(with_marks.drawing.strokes) - len(without.drawing.strokes) == spikes
    assert any("pacing spikes" in text for text, _ in with_marks.geometry.text_boxes)
    assert not any("pacing spikes" in text for text, _ in without.geometry.text_boxes)


def test_measurements_are_printed_as_a_draft():
    measured = SimpleNamespace(
        heart_rate=71.4, pr=None, qrs=98, qt=float("nan"), qtc=410, axis=-30, r_peaks=[]
    )
    page = draw_page(flat(), measurements=measured, dpi=60)
    (line,) = [text for text, _ in page.geometry.text_boxes if "QRS" in text]
    assert line == "rate 71 bpm | QRS 98 ms | QTc 410 ms | axis -30° | unconfirmed draft, measured by ecglm"


@pytest.mark.parametrize("colours", COLOURS)
def test_colours_are_those_of_the_scheme(colours):
    page = draw_page(flat(), "strip", colours=colours, dpi=254)
    found = {tuple(colour) for colour in page.image[440:500].reshape(-1, 3).tolist()}
    assert COLOURS[colours].ink in found and COLOURS[colours].strong in found


def test_overlays_colour_what_they_should():
    ecg = flat()
    waves = [
        SimpleNamespace(lead="II", kind="QRS", onset=500, peak=510, offset=550),
        SimpleNamespace(lead=None, kind="T", onset=None, peak=None, offset=None),
    ]
    saliency = np.zeros(ecg.signal.shape)
    saliency[1, 3000:3100] = -2.0
    plain = draw_page(ecg, "12x1", dpi=100)
    page = draw_page(ecg, "12x1", dpi=100, overlay=[SimpleNamespace(waves=waves), saliency])
    grid = slice(round(HEADER / 25.4 * 100) + 1, None)
    changed = np.argwhere((page.image != plain.image).any(axis=2)[grid])[:, 1]
    seconds = (changed + 0.5) * 25.4 / 100 / 25 - (MARGIN + GUTTER) / 25
    assert ((abs(seconds - 1.05) < 0.07) | (abs(seconds - 6.1) < 0.12)).all()
    assert (abs(seconds - 1.05) < 0.07).any() and (abs(seconds - 6.1) < 0.12).any()
    framed = draw_page(ecg, "12x1", dpi=100, overlay=plain.geometry.lead_boxes)
    assert (framed.image != plain.image).any()
    for wrong, message in ((np.zeros((3, 3)), "shape"), ("waves", "must be measurements")):
        with pytest.raises(ValueError, match=message):
            draw_page(ecg, overlay=wrong)


def test_short_record_fills_all_columns():
    ecg = flat(2.0)
    ecg.signal[9:, 25::100] = 0.5
    page = ink(render(ecg, "3x4", dpi=60))
    assert (page & ~ink(render(flat(2.0), "3x4", dpi=60))).any()


def test_offset_moves_no_trace():
    ecg = flat()
    ecg.signal[:, 20::50] = 0.4
    raised = ECG(ecg.signal + 7.0, RATE)
    different = ink(render(ecg, dpi=60)) ^ ink(render(raised, dpi=60))
    assert different.mean() < 1e-4  # float32 rounding of the offset only


def test_the_gallery_shows_every_layout():
    docs = Path(__file__).resolve().parent.parent / "docs"
    text = (docs / "gallery.md").read_text(encoding="utf-8")
    pictures = [docs / name for name in re.findall(r"\]\((gallery/[^)]+)\)", text)]
    assert all(f"### {layout}\n" in text for layout in LAYOUTS)
    assert sorted(pictures) == sorted((docs / "gallery").iterdir())
    assert max(picture.stat().st_size for picture in pictures) <= 200_000


def test_text_outside_the_font_is_spelt_out():
    assert printable("Müller – 0.05 ≥ µV 心") == "Muller - 0.05 >= uV ?"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layout": "5x5"}, "3x4, 3x4\\+1, 3x4\\+3, 6x2"),
        ({"dpi": 0}, "dpi must lie between"),
        ({"dpi": 1200}, "dpi must lie between 20 and 600"),
        ({"dpi": "high"}, "dpi must lie between 20 and 600, got high"),
        ({"speed": 0}, "speed must lie between"),
        ({"gain": float("nan")}, "gain must lie between"),
        ({"order": "reversed"}, "standard, cabrera"),
        ({"timing": "parallel"}, "consecutive, simultaneous"),
        ({"paper": "a0"}, "unknown paper 'a0'; choose one of a4, letter"),
        ({"colours": "mauve"}, "red, blue"),
        ({"line_width": 0}, "line_width must lie"),
        ({"font": "/nowhere.ttf"}, "no font file"),
        ({"rhythm": "V9"}, "no lead V9"),
        ({"leads": ["I"]}, "for layout 'strip' only"),
        ({"layout": "strip", "leads": ["V9"]}, "no lead V9"),
        ({"layout": "strip", "rhythm": ["I"]}, "leads="),
        ({"rhythm": 5}, "rhythm must name leads, got 5"),
        ({"rhythm": ["II", "V1", "II"]}, "rhythm names II more than once"),
        ({"start": 10}, "start=10 s lies outside"),
        ({"start": "x"}, "start must be a number of seconds, got 'x'"),
        ({"pacing": ["x"]}, "pacing must hold numbers of samples"),
        ({"pacing": 3}, "pacing must hold numbers of samples, got 3"),
        ({"measurements": "x"}, "measurements must be what `ecglm.measure` gives, got str"),
        ({"overlay": {"a": (0, 0, 1)}}, "box of 'a' must be x0, y0, x1, y1"),
        ({"overlay": {"a": (5, 5, 1, 1)}}, "box of 'a' must be x0, y0, x1, y1"),
        ({"dpi": 600, "speed": 200}, "too many"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        render(flat(), **arguments)
    assert "\n" not in str(error.value)


def test_what_is_no_ecg_is_refused():
    with pytest.raises(ValueError, match="drawn of an ECG, as `ecglm.read` gives it; got ndarray"):
        draw_page(flat().signal)


def test_a_lead_by_itself_is_one_strip():
    assert list(draw_page(flat(), "strip", leads="II", dpi=40).geometry.traces) == ["II"]


def test_a_record_without_standard_leads_is_refused():
    with pytest.raises(ValueError, match="none of the leads"):
        render(flat(leads=("RESP",)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_to_draw_is_said_in_one_line(layout):
    for ecg in (ECG(np.zeros((12, 0)), RATE), ECG(np.zeros((0, 100)), RATE, ())):
        with pytest.raises(ValueError, match="nothing to draw"):
            draw_page(ecg, layout)
    unknown = ECG(np.full((12, 5000), np.nan), RATE)
    if layout == "median":
        with pytest.raises(ValueError, match="no whole beat"):
            draw_page(unknown, layout, measurements=SimpleNamespace(r_peaks=[]))
    else:
        page = draw_page(unknown, layout, dpi=40)
        assert not page.geometry.traces and all("no signal" in note for note in page.notes)


def test_a_pulse_does_not_run_into_the_one_above():
    drawn = {}
    for gain in (10, 20):
        strokes = draw_page(flat(), "12x1", gain=gain, dpi=60).drawing.strokes
        pulses = [
            stroke.points[:, 1] for stroke in strokes if stroke.trace is None and len(stroke.points) == 6
        ]
        drawn[gain] = len(pulses)
        assert all(round(np.ptp(y), 6) == gain for y in pulses)
        assert all(below.min() > above.max() for above, below in zip(pulses, pulses[1:], strict=False))
    assert drawn == {10: 12, 20: 6}


def test_a_name_stands_beside_a_trace_that_is_cut():
    ecg = flat()
    ecg.signal[9, 300:320] = 9.0
    texts = {text: box for text, box in draw_page(ecg, "12x1", dpi=254).geometry.text_boxes}
    traces = (MARGIN + GUTTER) * 10
    assert texts["V4"][2] < traces and texts["cut off"][2] < traces
    assert texts["V4"][3] < texts["cut off"][1] < texts["V5"][1]


def test_a_name_makes_way_for_the_traces_of_other_rows():
    ecg = flat()
    quiet = draw_page(ecg, "3x4", dpi=254)
    ecg.signal[0, 50:150] = -2.8  # lead I runs down to where the name of lead II stood
    page = draw_page(ecg, "3x4", dpi=254)
    before, after = (dict(each.geometry.text_boxes)["II"] for each in (quiet, page))
    assert before != after
    x0, y0, x1, y1 = after
    for lines in page.geometry.traces.values():
        for line in lines:
            inside = (line[:, 0] > x0) & (line[:, 0] < x1) & (line[:, 1] > y0) & (line[:, 1] < y1)
            assert not inside.any()


@pytest.mark.parametrize("dpi", [60, 72, 100, 130])
@pytest.mark.parametrize("layout", ["median", "3x4+1"])
def test_the_footer_ends_before_the_notice(layout, dpi):
    ecg = simulate("pacing_ventricular", seed=2)
    *_, (footer, left), (_, right) = draw_page(ecg, layout, dpi=dpi, measurements=None).geometry.text_boxes
    assert footer.startswith("25 mm/s | 10 mm/mV") and "drawn unfiltered" in footer
    assert left[2] < right[0]
