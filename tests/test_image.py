"""The page: true millimetres, every lead once, gaps where samples are unknown, and honest margins."""

import numpy as np
import pytest

from ecglm.ecg import ECG, LEADS_12
from ecglm.image import LAYOUTS, draw_page, render
from ecglm.image.page import HEADER, MARGIN, _printable

RATE = 500
GUTTER = 15  # mm at 25 mm/s


def flat(seconds: float = 10.0, leads: tuple[str, ...] = LEADS_12, **metadata) -> ECG:
    return ECG(np.zeros((len(leads), round(seconds * RATE))), RATE, leads, metadata)


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
        int(HEADER) * 10 + 250 : int(HEADER) * 10 + 450, int(MARGIN + GUTTER) * 10 :
    ]  # the row of lead II
    drawn = np.flatnonzero(band.any(axis=0)) / 250  # seconds at 25 mm/s
    assert not ((drawn > 4.02) & (drawn < 5.98)).any()
    assert ((drawn > 3.9) & (drawn < 3.98)).any() and ((drawn > 6.02) & (drawn < 6.1)).any()


def test_a_missing_lead_is_left_blank_and_said():
    without = tuple(name for name in LEADS_12 if name != "V4")
    partial, full = render(flat(leads=without), "12x1", dpi=100), render(flat(), "12x1", dpi=100)
    first = round((HEADER + 5 + 9 * 20 + 8) / 25.4 * 100)  # 8 mm into the row of V4
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


def test_text_outside_the_font_is_spelt_out():
    assert _printable("Müller – 0.05 ≥ µV 心") == "Muller - 0.05 >= uV ?"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layout": "5x5"}, "3x4, 3x4\\+1, 3x4\\+3, 6x2"),
        ({"dpi": 0}, "dpi must lie between"),
        ({"dpi": 1200}, "dpi must lie between 20 and 600"),
        ({"speed": 0}, "speed must lie between"),
        ({"gain": float("nan")}, "gain must lie between"),
        ({"start": 10}, "start=10 s lies outside"),
        ({"dpi": 600, "speed": 200}, "too many"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        render(flat(), **arguments)
    assert "\n" not in str(error.value)


def test_a_record_without_standard_leads_is_refused():
    with pytest.raises(ValueError, match="none of the leads"):
        render(flat(leads=("RESP",)))
