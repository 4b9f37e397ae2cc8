"""A recording on ECG paper, in true millimetres.

Paper speed, gain, grid and calibration pulse follow the AHA/ACCF/HRS recommendations for the standardization
of the electrocardiogram, part I (Kligfield et al. 2007, doi:10.1161/CIRCULATIONAHA.106.180200): 25 mm/s,
10 mm/mV, lines every 1 mm and stronger ones every 5 mm, a pulse of 1 mV that lasts 200 ms.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ecglm.ecg import ECG, LEADS_12

NOTICE = (
    "Research use only; not a medical device. "
    "Any automatic reading of this page is a draft for a qualified clinician."
)

_PAPER, _THIN, _STRONG, _INK, _FAINT = (
    (255, 253, 250),
    (250, 218, 213),
    (238, 165, 157),
    (20, 20, 32),
    (130, 105, 105),
)
_LINE = 0.28  # mm, thickness of a trace: about that of a cardiograph's thermal print
_GRID_LINES = ((1, 0.12, _THIN), (5, 0.20, _STRONG))  # every so many mm, thickness in mm, colour
_MARGIN = 5  # mm, white border of the page
_HEADER = 20  # mm, room for the lines of text above the grid
_FOOTER = 7  # mm, room for speed, gain and notice below the grid
_PADDING = 5  # mm of grid above the first row and below the last
_BESIDE_PULSE = 4  # mm left and right of the calibration pulse, the outer 2 of them empty
_TEXT_WIDTH = 200  # mm that the lines in the margins need
_MAX_SECONDS = 10.0  # of a recording on one page, as on a cardiograph's
_SUPERSAMPLING = 3  # traces are drawn this many times larger and averaged down
_FAR = 10_000  # mm; what lies further off the page is drawn there
_MAX_PIXELS = 60_000_000  # of a page; A4 at 600 dots per inch has 35 million
_NOT_IN_FONT = str.maketrans(
    {"–": "-", "—": "-", "×": "x", "ß": "ss", "µ": "u", "≥": ">=", "≤": "<=", "…": "..."}
)


@dataclass(frozen=True)
class Layout:
    """Where the leads stand on the page.

    Args:
        rows: the leads of each row, one after the other in time; a single lead has the whole row.
        row_height: mm of grid for each row.
    """

    rows: tuple[tuple[str, ...], ...]
    row_height: int


_THREE_BY_FOUR = tuple(LEADS_12[row::3] for row in range(3))
LAYOUTS = {
    "3x4": Layout(_THREE_BY_FOUR, row_height=45),
    "3x4+1": Layout((*_THREE_BY_FOUR, ("II",)), row_height=40),
    "6x2": Layout(tuple(LEADS_12[row::6] for row in range(6)), row_height=28),
    "12x1": Layout(tuple((lead,) for lead in LEADS_12), row_height=20),
}
"""Each lead stands in one place; "3x4+1" adds a strip of lead II. At 25 mm/s all but "12x1" fit on A4."""


def render(
    ecg: ECG,
    layout: str = "3x4+1",
    *,
    dpi: float = 150,
    speed: float = 25.0,
    gain: float = 10.0,
    start: float = 0.0,
    title: str | None = None,
    header: str | Sequence[str] | None = None,
) -> Image.Image:
    """Draw a recording on ECG paper.

    Up to 10 s are shown from `start` on. Nothing is filtered; each lead is only moved by its median, since an
    offset means nothing in an AC-coupled recording. Unknown samples (NaN) are gaps. The page says which
    seconds it shows, which leads are missing, and which traces leave the grid and are cut off at its edge.

    Args:
        ecg: the recording; leads beyond the standard twelve are named in the header instead of drawn.
        layout: one of `LAYOUTS`: "3x4", "3x4+1", "6x2", "12x1".
        dpi: dots per inch, 50 to 600; `page.save(path, dpi=page.info["dpi"])` keeps the true size.
        speed: paper speed, mm/s.
        gain: mm/mV.
        start: first second shown.
        title: first line of the header; the recording's name if None.
        header: further lines of the header, for example measurements.

    Returns:
        The page, RGB; its width grows with `speed`.

    Raises:
        ValueError: if an argument is outside its range, or none of the twelve leads is there after `start`.
    """
    plan = _check(ecg, layout, dpi, speed, gain, start)
    seconds = min(_MAX_SECONDS, ecg.duration - start)
    first = round(start * ecg.sampling_rate)
    shown = ecg.signal[:, first : first + max(1, round(seconds * ecg.sampling_rate))]
    paper = _Paper(
        dpi=dpi,
        gutter=5 * math.ceil((0.2 * speed + 2 * _BESIDE_PULSE) / 5),
        traces=5 * math.ceil(max(seconds * speed, _TEXT_WIDTH) / 5),
        height=5 * math.ceil((len(plan.rows) * plan.row_height + 2 * _PADDING) / 5),
    )
    if paper.size[0] * paper.size[1] > _MAX_PIXELS:
        raise ValueError(
            f"{paper.size[0]} x {paper.size[1]} dots are too many; lower dpi={dpi} or speed={speed:g}"
        )

    page = _blank(paper).copy()
    draw = ImageDraw.Draw(page)
    lines, labels = _traces(ecg, shown, plan, paper, speed, gain)
    page.paste(_INK, mask=_ink(paper, lines))
    for x, y, text, present in labels:
        draw.text(
            paper.dots(x, y),
            text,
            font=_font(paper.scale(3.6)),
            fill=_INK if present else _FAINT,
            anchor="ls",
        )
    _write_margins(draw, paper, ecg, start, seconds, speed, gain, title, header)
    page.info["dpi"] = (dpi, dpi)
    return page


def _check(ecg: ECG, layout: str, dpi: float, speed: float, gain: float, start: float) -> Layout:
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    for name, value, low, high in (("dpi", dpi, 50, 600), ("speed", speed, 5, 200), ("gain", gain, 1, 100)):
        if not low <= value <= high:
            raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
    if not set(LEADS_12) & set(ecg.leads):
        raise ValueError(
            f"{ecg.name} has none of the leads that a page shows ({' '.join(LEADS_12)}); "
            f"it has {', '.join(ecg.leads)}. Rename them if they are standard leads under other names."
        )
    if not 0 <= start or round(start * ecg.sampling_rate) >= ecg.num_samples:
        raise ValueError(f"start={start:g} s lies outside {ecg.name}, which lasts {ecg.duration:g} s")
    return LAYOUTS[layout]


@dataclass(frozen=True)
class _Paper:
    """Millimetres to dots. The origin is the grid's upper left corner; y grows downwards."""

    dpi: float
    gutter: int  # left of the traces, for the calibration pulse
    traces: int
    height: int

    @property
    def width(self) -> int:
        return self.gutter + self.traces

    def scale(self, length: float) -> float:
        return length * self.dpi / 25.4

    def dots(self, x: float, y: float) -> tuple[float, float]:
        return self.scale(x + _MARGIN), self.scale(y + _HEADER)

    @property
    def size(self) -> tuple[int, int]:
        return round(self.scale(self.width + 2 * _MARGIN)), round(self.scale(self.height + _HEADER + _FOOTER))


_Polyline = np.ndarray  # (points, 2), mm from the grid's upper left corner
_Label = tuple[float, float, str, bool]  # x, y in mm; text; whether the lead has samples


def _traces(
    ecg: ECG, shown: np.ndarray, plan: Layout, paper: _Paper, speed: float, gain: float
) -> tuple[list[_Polyline], list[_Label]]:
    """Everything drawn in ink on the grid: pulses, traces, and the names of the leads."""
    lines: list[_Polyline] = []
    labels: list[_Label] = []
    num_samples = shown.shape[1]
    time = paper.gutter + np.arange(num_samples) / ecg.sampling_rate * speed
    for row, leads in enumerate(plan.rows):
        zero = _PADDING + (row + 0.5) * plan.row_height
        lines.append(_calibration(zero, speed, gain))
        edges = [round(k * num_samples / len(leads)) for k in range(len(leads) + 1)]
        for name, first, last in zip(leads, edges, edges[1:], strict=False):
            trace = shown[ecg.leads.index(name)] if name in ecg.leads else np.full(num_samples, np.nan)
            known = np.isfinite(trace)
            visible = known[first:last].any()
            note = "" if visible else " no signal" if name in ecg.leads else " not recorded"
            if not note:
                centred = trace.astype(np.float64) - np.median(trace[known])
                y = np.clip(zero - centred[first:last] * gain, -_FAR, _FAR)
                if (y < 0).any() or (y > paper.height).any():
                    note = " cut off"
                points = np.stack([time[first:last], y], axis=1)
                breaks = np.flatnonzero(np.diff(known[first:last].astype(int))) + 1
                lines += [part for part in np.split(points, breaks) if len(part) and np.isfinite(part).all()]
            x = time[first] if first < num_samples else time[-1]
            if first:  # the marks where one lead ends and the next begins
                lines += [np.array([[x, zero + y], [x, zero + y + 2]]) for y in (-4, 2)]
            # A trace that fills its row would run through its name, so that stands below the pulse.
            place = (1.0, zero + 5) if len(leads) == 1 else (x + 1, zero - 0.5 * plan.row_height + 5)
            labels.append((*place, name + note, visible))
    return lines, labels


def _calibration(zero: float, speed: float, gain: float) -> _Polyline:
    """The pulse of 1 mV and 200 ms."""
    x, width = _BESIDE_PULSE, 0.2 * speed
    top = zero - gain
    return np.array(
        [[x - 2, zero], [x, zero], [x, top], [x + width, top], [x + width, zero], [x + width + 2, zero]]
    )


def _ink(paper: _Paper, lines: list[_Polyline]) -> Image.Image:
    """How much ink lies on each dot of the page, inside the grid only."""
    factor = _SUPERSAMPLING
    left, top = (round(value) for value in paper.dots(0, 0))
    width, height = round(paper.scale(paper.width)), round(paper.scale(paper.height))
    large = Image.new("L", (width * factor, height * factor))
    draw = ImageDraw.Draw(large)
    thickness = max(factor, round(paper.scale(_LINE) * factor))
    for line in lines:
        dots = (line * paper.scale(1) * factor).ravel().tolist()
        if len(dots) == 2:  # a single known sample between unknown ones
            dots += [dots[0] + 1, dots[1]]
        draw.line(dots, fill=255, width=thickness)
    mask = Image.new("L", paper.size)
    mask.paste(large.reduce(factor), (left, top))
    return mask


@lru_cache(maxsize=4)
def _blank(paper: _Paper) -> Image.Image:
    """The page with its grid."""
    width, height = round(paper.scale(paper.width)), round(paper.scale(paper.height))
    grid = np.full((height, width, 3), _PAPER, dtype=np.float32)
    for step, thickness, colour in _GRID_LINES:
        across = _coverage(width, paper.scale(step), max(1.0, paper.scale(thickness)))
        down = _coverage(height, paper.scale(step), max(1.0, paper.scale(thickness)))
        cover = np.maximum(down[:, None], across[None, :])[..., None]
        grid = grid * (1 - cover) + np.array(colour, dtype=np.float32) * cover
    page = Image.new("RGB", paper.size, (255, 255, 255))
    left, top = paper.dots(0, 0)
    page.paste(Image.fromarray(grid.round().astype(np.uint8)), (round(left), round(top)))
    return page


def _coverage(length: int, step: float, thickness: float) -> np.ndarray:
    """Share of each of `length` dots that lines every `step` dots cover: (length,), 0 to 1."""
    edges = np.arange(length + 1, dtype=np.float64)
    centres = np.arange(0, length + step, step)[:, None]
    overlap = np.clip(edges, centres - thickness / 2, centres + thickness / 2)
    return np.diff(overlap, axis=1).sum(axis=0).clip(0, 1)


@lru_cache(maxsize=16)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _printable(text: str) -> str:
    """What Pillow's own font has: accents are dropped, other unknown characters become a question mark."""
    plain = unicodedata.normalize("NFKD", text.translate(_NOT_IN_FONT))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join(plain.encode("ascii", "replace").decode().split())


def _write_margins(
    draw: ImageDraw.ImageDraw,
    paper: _Paper,
    ecg: ECG,
    start: float,
    seconds: float,
    speed: float,
    gain: float,
    title: str | None,
    header: str | Sequence[str] | None,
) -> None:
    def write(x: float, y: float, text: str, size: float, colour: tuple[int, int, int], anchor: str) -> None:
        font, room = _font(paper.scale(size)), paper.scale(paper.width)
        text = _printable(text)
        if draw.textlength(text, font=font) > room:
            while text and draw.textlength(text + " ...", font=font) > room:
                text = text[:-1]
            text += " ..."
        draw.text(paper.dots(x, y), text, font=font, fill=colour, anchor=anchor)

    write(0, 4 - _HEADER, ecg.name if title is None else title, 4.6, _INK, "lt")
    further = [header] if isinstance(header, str) else list(header or [])
    others = [name for name in ecg.leads if name not in LEADS_12]
    if others:
        further.append(f"not drawn: {', '.join(others)}")
    for number, text in enumerate(further[:2]):
        write(0, 9.8 + 4.6 * number - _HEADER, text, 3.2, _INK, "lt")
    write(paper.width, 4.6 - _HEADER, _person(ecg), 3.2, _INK, "rt")
    scale = f"{speed:g} mm/s | {gain:g} mm/mV"
    span = f"{start:g} to {start + seconds:.4g} s of {ecg.duration:.4g} s | {ecg.sampling_rate:g} Hz"
    write(0, paper.height + 2, f"{scale} | {span} | drawn unfiltered", 3.2, _INK, "lt")
    write(paper.width, paper.height + 2.2, NOTICE, 2.4, _FAINT, "rt")


def _person(ecg: ECG) -> str:
    age, sex = ecg.metadata.get("age"), ecg.metadata.get("sex")
    parts = [f"{age:g} years" if isinstance(age, int | float) and math.isfinite(age) else "", str(sex or "")]
    return ", ".join(part for part in parts if part)
