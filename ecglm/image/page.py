"""A recording drawn on ECG paper, in true millimetres, with the place of everything on it.

Paper speed, gain, grid and calibration pulse follow the AHA/ACCF/HRS recommendations for the standardization
of the electrocardiogram, part I (Kligfield et al. 2007, doi:10.1161/CIRCULATIONAHA.106.180200): 25 mm/s,
10 mm/mV, lines every 1 mm and stronger ones every 5 mm, a pulse of 1 mV that lasts 200 ms.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecglm.ecg import ECG, LEADS_12
from ecglm.image.drawing import Drawing, Grid, Stroke, Text
from ecglm.image.frame import MARGIN, Cell, Frame, fit_frame, place_cells
from ecglm.image.geometry import Box, Geometry, between
from ecglm.image.layouts import COLOURS, KIT_PAPER, PAPERS, Colours, plan
from ecglm.image.margins import FOOTER, header_height, header_lines, person_of, printable, write_margins
from ecglm.image.overlay import lay_over
from ecglm.image.raster import rasterise, size_in_dots, text_boxes
from ecglm.image.vector import to_pdf, to_svg

_GRID = ((1.0, 0.12), (5.0, 0.20))  # every so many mm, thickness in mm
_WHITE = (255, 255, 255)
_MAX_PIXELS = 60_000_000  # of a page; A4 at 600 dots per inch has 35 million
_REACH, _LEAST_REACH = 1.5, 30.0  # row heights or mm, whichever is more, that a trace may leave its baseline
_LABEL, _BESIDE_LABEL = 3.6, 3.0  # mm, size of the leads' names; left of the pulse there is less room
_TIME, _CUT = 2.4, 2.0  # mm, size of the time at which a line begins, and of the note that it is cut
_NAME_WIDTH = 9.0  # mm from a trace's beginning that its name takes
_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg", ".pdf")


@dataclass(frozen=True)
class Page:
    """A drawn page.

    Args:
        geometry: where everything stands on its picture.
        drawing: its layers in mm, from which it can be drawn again.
        notes: what the page says about its traces: missing and cut ones.
        title: its first line.
        defects: what `spoil` did to it, in the order in which it happened.
        seed: of the chance in these.
        picture: (height, width, 3) uint8 of a spoilt page; None for one as its drawing says.
    """

    geometry: Geometry
    drawing: Drawing
    notes: tuple[str, ...] = ()
    title: str = ""
    defects: tuple[Any, ...] = ()
    seed: int = 0
    picture: np.ndarray | None = None

    @cached_property
    def image(self) -> np.ndarray:
        """The picture, (height, width, 3) uint8; a clean page is drawn when it is first asked for."""
        return rasterise(self.drawing, self.geometry.dpi) if self.picture is None else self.picture

    def save(self, path: str | Path) -> None:
        """Write the page to a file that prints at its true size: PNG, JPEG, SVG or PDF by the suffix.

        PNG and JPEG hold the dots of `image`, SVG and PDF the lines of `drawing`, which no defect reaches. A
        page seen askew has its true size in the middle.

        Raises:
            ValueError: if the suffix is another one, or a spoilt page shall become lines.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise ValueError(f"{path} must end in one of {', '.join(_SUFFIXES)}")
        if self.defects and suffix in (".svg", ".pdf"):
            raise ValueError(f"{path}: a spoilt page is a picture; save it as .png or .jpg")
        if suffix == ".svg":
            content = to_svg(self.drawing, self.title).encode("utf-8")
        elif suffix == ".pdf":
            content = to_pdf(self.drawing, self.title)
        else:
            flat = size_in_dots(self.drawing, self.geometry.dpi)
            per_inch = self.geometry.dpi * self.geometry.warp.scale(flat)
            file, dpi = io.BytesIO(), (per_inch, per_inch)
            picture = Image.fromarray(self.image)
            if suffix == ".png":
                picture.save(file, "PNG", dpi=dpi)
            else:
                picture.save(file, "JPEG", dpi=dpi, quality=92, subsampling=0)
            content = file.getvalue()
        path.write_bytes(content)


def draw_page(
    ecg: ECG,
    layout: str = "3x4+1",
    *,
    order: str = "standard",
    timing: str = "consecutive",
    rhythm: str | Sequence[str] | None = None,
    leads: str | Sequence[str] | None = None,
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
    overlay: Any = None,
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
        paper: "a4" or "letter", landscape; "ecg-image-kit": the places of that kit's pages, on which image
            models were trained; None: as large as the page needs to be.
        colours: one of `COLOURS`.
        grid: False for plain paper.
        line_width: of the traces, mm; 0.28 is about that of a cardiograph's thermal print.
        font: a TrueType or OpenType file; None for the free one that Pillow brings (Aileron, CC0).
        title: first line of the header; the recording's name if None.
        header: further lines of the header.
        measurements: what `ecglm.measure` gives: printed in the header as a draft; its R peaks make the
            median beats, which otherwise are measured.
        pacing: samples of `ecg` with a pacing spike, marked below the rows; None: those that a simulated
            recording knows.
        overlay: what was found, in colour: measurements with waves; an array (leads, samples) of saliency; a
            mapping of labels to boxes in dots; or a list of these.

    Returns:
        The page; `size` of its geometry is its width and height in dots.

    Raises:
        ValueError: if an argument is outside its range, or none of the leads is there after `start`.
    """
    _check(ecg, timing, dpi, speed, gain, start, paper, colours, line_width)
    chosen = plan(layout, order, rhythm, leads, ecg.leads)
    if chosen.kind != "strip" and not set(LEADS_12) & set(ecg.leads):
        raise ValueError(
            f"{ecg.name} has none of the leads that a page shows ({' '.join(LEADS_12)}); "
            f"it has {', '.join(ecg.leads)}. Rename them if they are standard leads under other names, "
            "or draw them with layout='strip'."
        )
    lines = header_lines(ecg, header, measurements, names_others=chosen.kind != "strip")
    frame = fit_frame(ecg, chosen, paper, speed, gain, start, header_height(lines))
    scheme = COLOURS[colours]
    strengths = zip(_GRID, (scheme.thin, scheme.strong), strict=True)
    ruling = tuple((step, width, colour) for (step, width), colour in strengths)
    drawing = Drawing(
        size=frame.size,
        paper=_WHITE,
        grid=Grid(frame.grid, scheme.paper if grid else _WHITE, ruling if grid else ()),
        font=None if font is None else str(font),
    )
    size = size_in_dots(drawing, dpi)
    if size[0] * size[1] > _MAX_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} dots are too many; lower dpi={dpi:g} or speed={speed:g}")

    pen = _Pen(drawing, frame, line_width, scheme, below=paper == KIT_PAPER)
    pen.pulses()
    cells = place_cells(ecg, chosen, frame, start, timing, measurements)
    notes = [f"{cell.label} {note}" for cell in cells if (note := pen.cell(cell, cells))]
    spikes = ecg.metadata.get("truth", {}).get("spikes", ()) if pacing is None else pacing
    listed = isinstance(spikes, Sequence | np.ndarray)
    if not listed or not all(isinstance(sample, Integral) for sample in spikes):
        raise ValueError(f"pacing must hold numbers of samples, got {pacing!r}")
    # Columns share their time with the strip below them, so one row of marks does for all of a page.
    marked = sum(
        pen.spikes(cell, spikes) for cell in cells if chosen.kind == "strip" or cell.zero == frame.zeros[-1]
    )
    title = ecg.name if title is None else str(title)
    stop = min(ecg.duration, start + frame.seconds * frame.lines)
    footer = [
        f"{speed:g} mm/s | {gain:g} mm/mV",
        ("median beats of " if chosen.kind == "beats" else "")
        + f"{start:g} to {stop:.4g} s of {ecg.duration:.4g} s | {ecg.sampling_rate:g} Hz",
        "drawn unfiltered",
        *(["marks below: pacing spikes"] if marked else []),
    ]
    left, _, right, foot = frame.grid
    width, height = frame.size
    inner = max(left, MARGIN), 0.0, min(right, width - MARGIN), min(foot, height - FOOTER)
    write_margins(drawing, inner, scheme, title, person_of(ecg), lines, " | ".join(footer))
    if overlay is not None:
        lay_over(drawing, frame, cells, ecg, overlay, scheme, dpi)

    geometry = _geometry(drawing, dpi, frame, cells)
    return Page(geometry, drawing, tuple(notes), printable(title, drawing.font))


def _check(
    ecg: ECG,
    timing: str,
    dpi: float,
    speed: float,
    gain: float,
    start: float,
    paper: str | None,
    colours: str,
    line_width: float,
) -> None:
    if not isinstance(ecg, ECG):
        raise ValueError(f"a page is drawn of an ECG, as `ecglm.read` gives it; got {type(ecg).__name__}")
    for name, value, low, high in (
        ("dpi", dpi, 20, 600),
        ("speed", speed, 5, 200),
        ("gain", gain, 1, 100),
        ("line_width", line_width, 0.05, 2),
    ):
        if not isinstance(value, Real) or not low <= value <= high:
            raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
    for name, word, known in (
        ("timing", timing, ("consecutive", "simultaneous")),
        ("paper", paper, tuple(PAPERS)),
        ("colours", colours, tuple(COLOURS)),
    ):
        if word not in known and (name, word) != ("paper", None):
            raise ValueError(f"unknown {name} {word!r}; choose one of {', '.join(map(str, known))}")
    if not ecg.num_leads or not ecg.num_samples:
        raise ValueError(
            f"{ecg.name} has {ecg.num_leads} leads of {ecg.num_samples} samples; nothing to draw"
        )
    if not isinstance(start, Real):
        raise ValueError(f"start must be a number of seconds, got {start!r}")
    if not 0 <= start or round(start * ecg.sampling_rate) >= ecg.num_samples:
        raise ValueError(f"start={start:g} s lies outside {ecg.name}, which lasts {ecg.duration:g} s")


@dataclass(frozen=True)
class _Pen:
    """Puts pulses, traces, names and marks on a drawing."""

    drawing: Drawing
    frame: Frame
    width: float
    scheme: Colours
    below: bool  # whether names stand below their traces

    def line(self, points: np.ndarray | list[list[float]], trace: str | None = None) -> None:
        self.drawing.strokes.append(Stroke(np.asarray(points), self.width, self.scheme.ink, trace))

    def pulses(self) -> None:
        """One before each row, but where it would run into the one above."""
        above = -math.inf
        for zero in self.frame.zeros:
            if zero - self.frame.gain > above:
                self.pulse(zero)
                above = zero

    def pulse(self, zero: float) -> None:
        """The calibration pulse of 1 mV and 200 ms."""
        x, top = self.frame.pulse, zero - self.frame.gain
        end = x + 0.2 * self.frame.speed
        foot = min(2.0, self.frame.left - end)
        self.line([[x - foot, zero], [x, zero], [x, top], [end, top], [end, zero], [end + foot, zero]])

    def cell(self, cell: Cell, cells: Sequence[Cell]) -> str:
        """A trace with its marks and its name among all; what is wrong with it comes back."""
        frame, note = self.frame, cell.missing
        if not note:
            reach = max(_LEAST_REACH, _REACH * frame.row_height)
            top, bottom = max(frame.grid[1], cell.zero - reach), min(frame.grid[3], cell.zero + reach)
            known = np.isfinite(cell.values)
            for part in np.split(cell.points(frame), np.flatnonzero(np.diff(known)) + 1):
                if np.isnan(part[0, 1]):
                    continue
                pieces = between(part, 1, top, bottom)
                note = note if len(pieces) == 1 and pieces[0] is part else "cut off"
                for piece in pieces:
                    self.line(piece, cell.key)
        if cell.x > frame.left and cell.first is not None:  # where one lead ends and the next begins
            for y in (-4, 2):
                self.line([[cell.x, cell.zero + y], [cell.x, cell.zero + y + 2]])
        # Left of the pulse where the trace fills its row; else where the fewest lines run.
        beside = cell.wide and not cell.missing and not self.below
        label = f"{cell.label} {note}" if note and not beside else cell.label
        colour = self.scheme.faint if cell.missing else self.scheme.ink
        margin = frame.grid[0] + 0.5
        place = (margin, cell.zero - 0.8) if beside else self._place_of_name(cell, cells)
        size = _BESIDE_LABEL if beside else _LABEL
        self.drawing.texts.append(Text(*place, printable(label, self.drawing.font), size, colour))
        if note and beside:
            self.drawing.texts.append(Text(margin, cell.zero + 3, note, _CUT, self.scheme.ink))
        if frame.lines > 1:  # a lead that goes on from line to line
            below = 6.0 if note and beside else 3.4
            at = f"{cell.seconds:g} s"
            self.drawing.texts.append(Text(margin, cell.zero + below, at, _TIME, self.scheme.ink))
        return note

    def _place_of_name(self, cell: Cell, cells: Sequence[Cell]) -> tuple[float, float]:
        """Above or below the trace's beginning, where the fewest lines run through the name."""
        if self.below:
            return cell.x, cell.zero + (8 if cell.key.endswith("/rhythm") else 7)
        frame = self.frame
        x, top, _, _ = cell.lane(frame)
        heights = (top + 5, cell.zero + 6, top + 9)  # not lower: it would seem to be the next row's name
        crossed = dict.fromkeys(heights, 0)
        for other in cells:
            if not other.missing:
                first = max(0, round((x - other.x) / frame.speed * other.rate))
                stop = max(0, round((x + _NAME_WIDTH - other.x) / frame.speed * other.rate))
                near = other.zero - (other.values[first:stop] - other.level) * frame.gain
                upper, lower = np.minimum(near[:-1], near[1:]), np.maximum(near[:-1], near[1:])
                for y in heights:
                    crossed[y] += int(((lower > y - _LABEL) & (upper < y + 1)).sum())
        return x + 1, min(heights, key=lambda y: crossed[y])

    def spikes(self, cell: Cell, samples: Sequence[int]) -> int:
        """A short upright mark at the foot of the lane for each pacing spike; their number comes back."""
        if cell.first is None or cell.missing:
            return 0
        y = cell.lane(self.frame)[3] - 0.5
        places = [int(sample) - cell.first for sample in samples]
        places = [place for place in places if 0 <= place < len(cell.values)]
        for place in places:
            x = cell.x + place / cell.rate * self.frame.speed
            self.line([[x, y - 3], [x, y]])
        return len(places)


def _geometry(drawing: Drawing, dpi: float, frame: Frame, cells: Sequence[Cell]) -> Geometry:
    scale = dpi / 25.4
    traces: dict[str, list[np.ndarray]] = {}
    boxes: dict[str, Box] = {}
    for stroke in drawing.strokes:
        if stroke.trace is not None:
            traces.setdefault(stroke.trace, []).append(stroke.points * scale)
            pad = stroke.width * scale / 2
            (x0, y0), (x1, y1) = traces[stroke.trace][-1].min(axis=0), traces[stroke.trace][-1].max(axis=0)
            box = boxes.get(stroke.trace, (np.inf, np.inf, -np.inf, -np.inf))
            boxes[stroke.trace] = (
                min(box[0], float(x0 - pad)),
                min(box[1], float(y0 - pad)),
                max(box[2], float(x1 + pad)),
                max(box[3], float(y1 + pad)),
            )
    return Geometry(
        dpi=dpi,
        size=size_in_dots(drawing, dpi),
        lead_boxes=boxes,
        text_boxes=text_boxes(drawing, dpi),
        traces=traces,
        to_mm=np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]]),
        to_signal={cell.key: cell.to_signal(frame, scale) for cell in cells if cell.key in traces},
    )
