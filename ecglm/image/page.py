"""A recording laid out on ECG paper, in true millimetres.

Paper speed, gain, grid and calibration pulse follow the AHA/ACCF/HRS recommendations for the standardization
of the electrocardiogram, part I (Kligfield et al. 2007, doi:10.1161/CIRCULATIONAHA.106.180200): 25 mm/s,
10 mm/mV, lines every 1 mm and stronger ones every 5 mm, a pulse of 1 mV that lasts 200 ms.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, LEADS_12
from ecglm.image.drawing import BoxMM, Drawing, Grid, Stroke, Text
from ecglm.image.geometry import Box, Geometry
from ecglm.image.layouts import COLOURS, PAPERS, Colours, Layout, plan
from ecglm.image.raster import rasterise, size_in_dots, text_width

NOTICE = (
    "Research use only; not a medical device. "
    "Any automatic reading of this page is a draft for a qualified clinician."
)
MARGIN = 5.0  # mm, white border of a page of natural size
HEADER = 20.0  # mm, room for the title and two lines of text above the grid
FOOTER = 7.0  # mm, room for speed, gain and notice below the grid

_GRID = ((1.0, 0.12), (5.0, 0.20))  # every so many mm, thickness in mm
_PADDING = 5  # mm of grid above the first row and below the last
_BESIDE_PULSE = 4  # mm left and right of the calibration pulse, the outer 2 of them empty
_TEXT_WIDTH = 200  # mm that the lines in the margins need
_LINE_HEIGHT = 4.6  # mm, of the header's further lines
_MAX_HEADER_LINES = 8
_MAX_SECONDS = 10.0  # of a recording side by side, as on a cardiograph's page
_MAX_STRIPS = 12  # lines of the layout "strip"
_MAX_PIXELS = 60_000_000  # of a page; A4 at 600 dots per inch has 35 million
_REACH = 1.5  # row heights, or 30 mm, that a trace may leave its baseline by
_MEDIAN_BEFORE, _MEDIAN_AFTER = 0.35, 0.55  # s around the R peak
_NOT_IN_FONT = str.maketrans(
    {"–": "-", "—": "-", "×": "x", "ß": "ss", "µ": "u", "≥": ">=", "≤": "<=", "…": "...", "°": " deg"}
)


@dataclass(frozen=True)
class Page:
    """A drawn page.

    Args:
        image: (height, width, 3) uint8.
        geometry: where everything stands on it.
        drawing: its layers in mm, from which it can be drawn again.
        notes: what the page says about itself: missing and cut traces.
    """

    image: np.ndarray
    geometry: Geometry
    drawing: Drawing
    notes: tuple[str, ...] = ()


def draw_page(
    ecg: ECG,
    layout: str = "3x4+1",
    *,
    order: str = "standard",
    timing: str = "consecutive",
    rhythm: str | Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    dpi: float = 150,
    speed: float = 25.0,
    gain: float = 10.0,
    start: float = 0.0,
    paper: str | None = None,
    colours: str = "red",
    grid: bool = True,
    line_width: float = 0.28,
    font: str | Path | None = None,
    title: str | None = None,
    header: str | Sequence[str] | None = None,
    measurements: Any = None,
    pacing: Sequence[int] | None = None,
) -> Page:
    """Draw a recording on ECG paper, and say where everything stands.

    Up to 10 s are shown from `start` on; fewer where `paper` is too narrow for them at `speed`. Nothing is
    filtered; each lead is only moved by its median, since an offset means nothing in an AC-coupled recording
    (`Geometry.to_signal` gives it back). Unknown samples (NaN) are gaps. The page says which seconds it
    shows, which leads are missing, and which traces are cut off because they run too far out of their row.

    Args:
        ecg: the recording; leads beyond the standard twelve are named in the header instead of drawn, but in
            the layout "strip".
        layout: one of `LAYOUTS`.
        order: of the limb leads, "standard" or "cabrera" (aVL I -aVR II aVF III).
        timing: "consecutive": each column goes on where the one before ends; "simultaneous": all columns
            show the same seconds.
        rhythm: leads of the rhythm strips, instead of the layout's.
        leads: for the layout "strip": which.
        dpi: dots per inch, 20 to 600.
        speed: paper speed, mm/s.
        gain: mm/mV.
        start: first second shown.
        paper: "a4" or "letter", landscape; None: as large as the page needs to be.
        colours: one of `COLOURS`.
        grid: False for plain paper.
        line_width: of the traces, mm; 0.28 is about that of a cardiograph's thermal print.
        font: a TrueType or OpenType file; None for the free one that Pillow brings (Aileron, CC0).
        title: first line of the header; the recording's name if None.
        header: further lines of the header.
        measurements: what `ecglm.measure` gives: printed in the header as a draft; its R peaks make the
            median beats.
        pacing: samples of `ecg` with a pacing spike, marked below the rows; None: those that a simulated
            recording knows.

    Returns:
        The page; `size` of its geometry is its width and height in dots.

    Raises:
        ValueError: if an argument is outside its range, or none of the leads is there after `start`.
    """
    _check(ecg, layout, timing, dpi, speed, gain, start, paper, colours, line_width)
    chosen = plan(layout, order, rhythm, leads, ecg.leads)
    if chosen.kind != "strip" and not set(LEADS_12) & set(ecg.leads):
        raise ValueError(
            f"{ecg.name} has none of the leads that a page shows ({' '.join(LEADS_12)}); "
            f"it has {', '.join(ecg.leads)}. Rename them if they are standard leads under other names, "
            "or draw them with layout='strip'."
        )
    lines = _header_lines(ecg, chosen, header, measurements)
    frame = _frame(ecg, chosen, paper, speed, start, len(lines))
    cells = _cells(ecg, chosen, frame, speed, start, timing, measurements)
    scheme, scale = COLOURS[colours], dpi / 25.4
    ruling = tuple(
        (step, width, colour)
        for (step, width), colour in zip(_GRID, (scheme.thin, scheme.strong), strict=True)
    )
    drawing = Drawing(
        size=frame.size,
        paper=(255, 255, 255),
        grid=Grid(frame.grid, scheme.paper if grid else (255, 255, 255), ruling if grid else ()),
        font=None if font is None else str(font),
    )
    width, height = size_in_dots(drawing, dpi)
    if width * height > _MAX_PIXELS:
        raise ValueError(f"{width} x {height} dots are too many; lower dpi={dpi:g} or speed={speed:g}")

    for zero in frame.zeros:
        drawing.strokes.append(Stroke(_pulse(frame.grid[0], zero, speed, gain), line_width, scheme.ink))
    notes = []
    to_signal: dict[str, np.ndarray] = {}
    for cell in cells:
        note = _draw_cell(drawing, frame, cell, ecg.sampling_rate, speed, gain, line_width, scheme)
        notes += [f"{cell.label} {note}"] if note else []
        if not cell.missing:
            to_signal[cell.key] = np.array(
                [
                    [1 / (scale * speed), 0, cell.seconds - cell.x / speed],
                    [0, -1 / (scale * gain), cell.level + cell.zero / gain],
                ]
            )
    if pacing is None:
        pacing = ecg.metadata.get("truth", {}).get("spikes", ())
    marked = chosen.kind != "beats" and _mark_spikes(
        drawing, frame, cells, ecg.sampling_rate, pacing, speed, line_width, scheme
    )
    _write_margins(drawing, frame, ecg, title, lines, start, speed, gain, scheme, bool(marked))

    image, text_boxes = rasterise(drawing, dpi)
    traces: dict[str, list[np.ndarray]] = {}
    for stroke in drawing.strokes:
        if stroke.trace is not None:
            traces.setdefault(stroke.trace, []).append(stroke.points * scale)
    geometry = Geometry(
        dpi=dpi,
        size=(width, height),
        lead_boxes={key: _box_around(parts, line_width * scale / 2) for key, parts in traces.items()},
        text_boxes=text_boxes,
        traces=traces,
        to_mm=np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]]),
        to_signal={key: matrix for key, matrix in to_signal.items() if key in traces},
    )
    return Page(image, geometry, drawing, tuple(notes))


def _check(
    ecg: ECG,
    layout: str,
    timing: str,
    dpi: float,
    speed: float,
    gain: float,
    start: float,
    paper: str | None,
    colours: str,
    line_width: float,
) -> None:
    for name, value, low, high in (
        ("dpi", dpi, 20, 600),
        ("speed", speed, 5, 200),
        ("gain", gain, 1, 100),
        ("line_width", line_width, 0.05, 2),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
    for name, word, known in (
        ("timing", timing, ("consecutive", "simultaneous")),
        ("paper", paper, (None, *PAPERS)),
        ("colours", colours, tuple(COLOURS)),
    ):
        if word not in known:
            raise ValueError(f"unknown {name} {word!r}; choose one of {', '.join(map(str, known))}")
    if not 0 <= start or round(start * ecg.sampling_rate) >= ecg.num_samples:
        raise ValueError(f"start={start:g} s lies outside {ecg.name}, which lasts {ecg.duration:g} s")


@dataclass(frozen=True)
class _Frame:
    """Where the parts of the page stand, mm."""

    size: tuple[float, float]
    grid: BoxMM
    left: float  # of the first sample
    zeros: tuple[float, ...]  # the rows' baselines
    row_height: float
    seconds: float  # side by side on the page
    lines: int  # of each lead of the layout "strip"


def _frame(
    ecg: ECG, chosen: Layout, paper: str | None, speed: float, start: float, header_lines: int
) -> _Frame:
    """Fit the rows into the paper, or the page around the rows."""
    remaining = ecg.duration - start
    seconds = min(_MAX_SECONDS, remaining)
    gutter = 5 * math.ceil((0.2 * speed + 2 * _BESIDE_PULSE) / 5)
    header = HEADER + _LINE_HEIGHT * max(0, header_lines - 2)
    needed = 4 * _beat_pitch(speed) if chosen.kind == "beats" else 0
    if paper is None:
        traces = 5 * math.ceil(max(seconds * speed, needed, _TEXT_WIDTH) / 5)
        width = gutter + traces + 2 * MARGIN
    else:
        width = PAPERS[paper][0]
        traces = 5 * math.floor((width - 2 * MARGIN) / 5) - gutter
        if needed > traces:
            raise ValueError(f"median beats at speed={speed:g} do not fit on {paper}; lower speed")
        if seconds * speed > traces:
            seconds = math.floor(10 * traces / speed) / 10
    lines = 1
    if chosen.kind == "strip":
        if len(chosen.rows) > _MAX_STRIPS:
            raise ValueError(f"{len(chosen.rows)} leads are too many for strips; name up to {_MAX_STRIPS}")
        lines = min(math.ceil(round(remaining / seconds, 6)), max(1, _MAX_STRIPS // len(chosen.rows)))
    rows = len(chosen.rows) * lines + len(chosen.rhythm)
    if paper is None:
        row_height: float = chosen.row_height
        height = 5 * math.ceil((rows * row_height + 2 * _PADDING) / 5)
        page_height = header + height + FOOTER
    else:
        page_height = PAPERS[paper][1]
        height = 5 * math.floor((page_height - header - FOOTER) / 5)
        row_height = min(math.floor((height - 2 * _PADDING) / rows), 2 * chosen.row_height)
    slack = 0 if paper is None else round((height - 2 * _PADDING - rows * row_height) / 2)
    x = (width - gutter - traces) / 2
    return _Frame(
        size=(width, page_height),
        grid=(x, header, x + gutter + traces, header + height),
        left=x + gutter,
        zeros=tuple(header + _PADDING + slack + (row + 0.5) * row_height for row in range(rows)),
        row_height=row_height,
        seconds=seconds,
        lines=lines,
    )


def _beat_pitch(speed: float) -> int:
    """From one median beat to the next, mm."""
    return 5 * math.ceil(((_MEDIAN_BEFORE + _MEDIAN_AFTER) * speed + 10) / 5)


@dataclass(frozen=True)
class _Cell:
    """One stretch of one lead in its place."""

    key: str
    label: str
    x: float  # mm of the first value
    zero: float  # mm of the baseline
    values: np.ndarray  # (samples,) mV
    first: int  # sample of the first value
    seconds: float  # of the first value
    level: float  # mV at the baseline
    wide: bool  # has a row of its own
    missing: str  # why there is nothing to draw


def _cells(
    ecg: ECG, chosen: Layout, frame: _Frame, speed: float, start: float, timing: str, measurements: Any
) -> list[_Cell]:
    rate = ecg.sampling_rate
    begin, count = round(start * rate), max(1, round(frame.seconds * rate))
    cells = []

    def add(name: str, key: str, x: float, zero: float, first: int, number: int, wide: bool) -> None:
        lead, sign = name.removeprefix("-"), -1.0 if name.startswith("-") else 1.0
        recorded = lead in ecg.leads
        whole = ecg.lead(lead).astype(np.float64) * sign if recorded else np.full(ecg.num_samples, np.nan)
        values = whole[first : first + number]
        level = _median(whole[begin : begin + count * frame.lines])
        missing = "" if np.isfinite(values).any() else "no signal" if recorded else "not recorded"
        cells.append(_Cell(key, name, x, zero, values, first, first / rate, level, wide, missing))

    if chosen.kind == "strip":
        zeros = iter(frame.zeros)
        for (name,) in chosen.rows:
            for line in range(frame.lines):
                first = begin + line * count
                key = f"{name}/{first / rate:g}s" if line else name
                add(name, key, frame.left, next(zeros), first, count, True)
        return cells
    if chosen.kind == "beats":
        beats, before = _median_beats(ecg, begin, measurements)
        for row, zero in zip(chosen.rows, frame.zeros, strict=False):
            for column, name in enumerate(row):
                lead, sign = name.removeprefix("-"), -1.0 if name.startswith("-") else 1.0
                values = beats[ecg.leads.index(lead)] * sign if lead in ecg.leads else np.array([np.nan])
                missing = "" if np.isfinite(values).any() else "no beat"
                x = frame.left + column * _beat_pitch(speed)
                level = _median(values)
                cells.append(_Cell(name, name, x, zero, values, 0, -before / rate, level, False, missing))
    else:
        for row, zero in zip(chosen.rows, frame.zeros, strict=False):
            edges = [round(k * count / len(row)) for k in range(len(row) + 1)]
            for name, first, last in zip(row, edges, edges[1:], strict=False):
                shown = begin + (first if timing == "consecutive" else 0)
                add(name, name, frame.left + first / rate * speed, zero, shown, last - first, len(row) == 1)
    for name, zero in zip(chosen.rhythm, frame.zeros[len(chosen.rows) :], strict=True):
        add(name, f"{name}/rhythm", frame.left, zero, begin, count, True)
    return cells


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _median_beats(ecg: ECG, begin: int, measurements: Any) -> tuple[np.ndarray, int]:
    """The median over beats of each lead, (leads, samples) mV, and the samples before the R peak."""
    if measurements is None:
        from ecglm.measure import measure

        measurements = measure(ecg)
    before, after = (round(span * ecg.sampling_rate) for span in (_MEDIAN_BEFORE, _MEDIAN_AFTER))
    peaks = [p for p in measurements.r_peaks if p - max(before, begin) >= 0 and p + after <= ecg.num_samples]
    if not peaks:
        raise ValueError(f"no whole beat was found in {ecg.name}, so there is no median beat to draw")
    beats = np.stack([ecg.signal[:, peak - before : peak + after] for peak in map(int, peaks)])
    known = np.isfinite(beats).any(axis=0)
    return np.where(known, np.nanmedian(np.where(known, beats, 0.0), axis=0), np.nan), before


def _draw_cell(
    drawing: Drawing,
    frame: _Frame,
    cell: _Cell,
    rate: float,
    speed: float,
    gain: float,
    line_width: float,
    scheme: Colours,
) -> str:
    """The trace, its marks and its name; what is wrong with it comes back."""
    note = cell.missing
    if not note:
        reach = max(30.0, _REACH * frame.row_height)
        top, bottom = max(frame.grid[1], cell.zero - reach), min(frame.grid[3], cell.zero + reach)
        x = cell.x + np.arange(len(cell.values)) / rate * speed
        points = np.stack([x, cell.zero - (cell.values - cell.level) * gain], axis=1)
        known = np.isfinite(cell.values)
        for part in np.split(points, np.flatnonzero(np.diff(known)) + 1):
            if not np.isfinite(part[0, 1]):
                continue
            pieces = _within(part, top, bottom)
            note = note if len(pieces) == 1 and pieces[0] is part else "cut off"
            drawing.strokes.extend(Stroke(piece, line_width, scheme.ink, cell.key) for piece in pieces)
    if cell.x > frame.left and cell.level == cell.level:  # where one lead ends and the next begins
        for y in (-4, 2):
            mark = np.array([[cell.x, cell.zero + y], [cell.x, cell.zero + y + 2]])
            drawing.strokes.append(Stroke(mark, line_width, scheme.ink))
    # A trace that fills its row would run through its name, so that stands below the pulse.
    if cell.wide:
        place = frame.grid[0] + 1, cell.zero + 5
    else:
        place = cell.x + 1, cell.zero - 0.5 * frame.row_height + 5
    label = f"{cell.label} {note}" if note else cell.label
    drawing.texts.append(Text(*place, label, 3.6, scheme.faint if cell.missing else scheme.ink))
    return note


def _within(points: np.ndarray, top: float, bottom: float) -> list[np.ndarray]:
    """The parts of a line between two heights, cut where it crosses them."""
    y = points[:, 1]
    if y.min() >= top and y.max() <= bottom:
        return [points]
    pieces: list[list[np.ndarray]] = []
    previous: np.ndarray | None = None
    for here, there in zip(points, points[1:], strict=False):
        rise = there[1] - here[1]
        crossings = [0.0, 1.0] if rise == 0 else sorted(((top - here[1]) / rise, (bottom - here[1]) / rise))
        enter, leave = max(0.0, crossings[0]), min(1.0, crossings[1])
        if enter >= leave or (rise == 0 and not top <= here[1] <= bottom):
            previous = None
            continue
        if previous is None or enter > 0:
            pieces.append([here + enter * (there - here)])
        pieces[-1].append(there if leave == 1 else here + leave * (there - here))
        previous = there if leave == 1 else None
    return [np.array(piece) for piece in pieces]


def _pulse(left: float, zero: float, speed: float, gain: float) -> np.ndarray:
    """The pulse of 1 mV and 200 ms."""
    x, width, top = left + _BESIDE_PULSE, 0.2 * speed, zero - gain
    return np.array(
        [[x - 2, zero], [x, zero], [x, top], [x + width, top], [x + width, zero], [x + width + 2, zero]]
    )


def _mark_spikes(
    drawing: Drawing,
    frame: _Frame,
    cells: list[_Cell],
    rate: float,
    pacing: Sequence[int],
    speed: float,
    line_width: float,
    scheme: Colours,
) -> int:
    """A short upright mark below the trace for every pacing spike; their number comes back."""
    number = 0
    for cell in cells:
        for spike in pacing:
            at = int(spike) - cell.first
            if 0 <= at < len(cell.values) and not cell.missing:
                x, y = (
                    cell.x + at / rate * speed,
                    min(cell.zero + 0.5 * frame.row_height, frame.grid[3]) - 0.5,
                )
                drawing.strokes.append(Stroke(np.array([[x, y - 3], [x, y]]), line_width, scheme.ink))
                number += 1
    return number


def _box_around(parts: list[np.ndarray], pad: float) -> Box:
    points = np.concatenate(parts)
    (x0, y0), (x1, y1) = points.min(axis=0) - pad, points.max(axis=0) + pad
    return float(x0), float(y0), float(x1), float(y1)


def _header_lines(
    ecg: ECG, chosen: Layout, header: str | Sequence[str] | None, measurements: Any
) -> list[str]:
    lines = [] if measurements is None else [_measured(measurements)]
    lines += [header] if isinstance(header, str) else list(header or [])
    others = [name for name in ecg.leads if name not in LEADS_12]
    if others and chosen.kind != "strip":
        lines.append(f"not drawn: {', '.join(others)}")
    if len(lines) > _MAX_HEADER_LINES:
        left_out = len(lines) - _MAX_HEADER_LINES + 1
        lines = [*lines[: _MAX_HEADER_LINES - 1], f"and {left_out} more lines"]
    return lines


def _measured(measurements: Any) -> str:
    """What a cardiograph prints in its header, marked as a draft."""

    def say(name: str, unit: str) -> str | None:
        value = getattr(measurements, name, None)
        return None if value is None or not math.isfinite(value) else f"{value:.0f} {unit}"

    parts = [
        f"{label} {value}"
        for label, value in (
            ("rate", say("heart_rate", "bpm")),
            ("PR", say("pr", "ms")),
            ("QRS", say("qrs", "ms")),
            ("QT", say("qt", "ms")),
            ("QTc", say("qtc", "ms")),
            ("axis", say("axis", "deg")),
        )
        if value
    ]
    return " | ".join([*(parts or ["nothing could be measured"]), "unconfirmed draft, measured by ecglm"])


def _write_margins(
    drawing: Drawing,
    frame: _Frame,
    ecg: ECG,
    title: str | None,
    lines: list[str],
    start: float,
    speed: float,
    gain: float,
    scheme: Colours,
    spikes: bool,
) -> None:
    """Title, person and lines above the grid; speed, gain, span and notice below it."""
    left, header, right, foot = frame.grid
    top = 0.0
    room = right - left
    person = _person(ecg)

    def write(x: float, y: float, text: str, size: float, anchor: str, less: float = 0.0) -> None:
        text = _printable(text, drawing.font)
        colour = scheme.faint if text == NOTICE else scheme.ink
        drawing.texts.append(Text(x, y, _fit(text, size, room - less, drawing.font), size, colour, anchor))

    beside = _width(_printable(person, drawing.font), 3.2, drawing.font) + 4 if person else 0.0
    write(left, top + 4, ecg.name if title is None else title, 4.6, "lt", beside)
    if person:
        write(right, top + 4.6, person, 3.2, "rt")
    for number, text in enumerate(lines):
        write(left, top + 9.8 + _LINE_HEIGHT * number, text, 3.2, "lt")
    stop = min(ecg.duration, start + frame.seconds * frame.lines)
    said = [
        f"{speed:g} mm/s | {gain:g} mm/mV",
        f"{start:g} to {stop:.4g} s of {ecg.duration:.4g} s | {ecg.sampling_rate:g} Hz",
        "drawn unfiltered",
        *(["marks below: pacing spikes"] if spikes else []),
    ]
    write(left, foot + 2, " | ".join(said), 3.2, "lt", _width(NOTICE, 2.4, drawing.font) + 3)
    write(right, foot + 2.2, NOTICE, 2.4, "rt")


def _width(text: str, size: float, font: str | None) -> float:
    """What a text takes, mm."""
    return text_width(text, 64.0, font) * size / 64


def _fit(text: str, size: float, room: float, font: str | None) -> str:
    """The text, or as much of it as has room, mm."""
    if _width(text, size, font) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if _width(text[:middle] + " ...", size, font) <= room else (low, middle - 1)
        )
    return text[:low] + " ..."


def _printable(text: str, font: str | None = None) -> str:
    """What Pillow's own font has: accents are dropped, other unknown characters become a question mark."""
    if font is not None:
        return " ".join(text.split())
    plain = unicodedata.normalize("NFKD", text.translate(_NOT_IN_FONT))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join(plain.encode("ascii", "replace").decode().split())


def _person(ecg: ECG) -> str:
    age, sex = ecg.metadata.get("age"), ecg.metadata.get("sex")
    parts = [f"{age:g} years" if isinstance(age, int | float) and math.isfinite(age) else "", str(sex or "")]
    return ", ".join(part for part in parts if part)
