"""Where each row, lead and sample stands on the paper, in millimetres, and which samples are shown."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecglm.ecg import ECG
from ecglm.image.drawing import BoxMM
from ecglm.image.layouts import KIT_PAPER, PAPERS, Layout
from ecglm.image.margins import FOOTER

MARGIN = 5.0  # mm, white border of a page of natural size

_BEFORE_PULSE, _AFTER_PULSE = 7, 3  # mm of grid left of the calibration pulse, for names, and right
_ABOVE, _BELOW = 10, 5  # mm of grid above the first row, whose peaks have no row to run into, and below
_TEXT_WIDTH = 200  # mm that the lines in the margins need
_MAX_SECONDS = 10.0  # of a recording side by side, as on a cardiograph's page
_MAX_STRIPS = 12  # lines of the layout "strip"
_MIN_ROW = 5  # mm
_MEDIAN_BEFORE, _MEDIAN_AFTER = 0.35, 0.55  # s around the R peak


@dataclass(frozen=True)
class Frame:
    """Where the parts of the page stand, mm.

    Args:
        size: of the page.
        grid: the ruled box.
        pulse: x at which the calibration pulse rises.
        left: x of the first sample.
        zeros: y of the rows' baselines.
        row_height: from one row to the next.
        seconds: side by side on the page.
        lines: of each lead of the layout "strip".
        speed: paper speed, mm/s.
        gain: mm/mV.
    """

    size: tuple[float, float]
    grid: BoxMM
    pulse: float
    left: float
    zeros: tuple[float, ...]
    row_height: float
    seconds: float
    lines: int
    speed: float
    gain: float


@dataclass(frozen=True)
class Cell:
    """One stretch of one lead in its place.

    Args:
        key: of the trace in `Geometry`.
        label: the name printed beside it.
        lead: the recording's lead.
        x: mm of the first value.
        zero: mm of the baseline.
        values: (samples,) mV as drawn.
        rate: samples per second.
        first: sample of the recording that the first value is; None for a median beat.
        seconds: time of the first value, from the recording's start or the R peak.
        level: mV at the baseline.
        wide: whether it has a row of its own.
        missing: why there is nothing to draw.
    """

    key: str
    label: str
    lead: str
    x: float
    zero: float
    values: np.ndarray
    rate: float
    first: int | None
    seconds: float
    level: float
    wide: bool
    missing: str

    def points(self, frame: Frame) -> np.ndarray:
        """Where the values stand: (samples, 2) mm."""
        x = self.x + np.arange(len(self.values)) * (frame.speed / self.rate)
        return np.stack([x, self.zero - (self.values - self.level) * frame.gain], axis=1)

    def to_signal(self, frame: Frame, scale: float) -> np.ndarray:
        """The (2, 3) affine map from dots, `scale` to the mm, to seconds and mV."""
        return np.array(
            [
                [1 / (scale * frame.speed), 0, self.seconds - self.x / frame.speed],
                [0, -1 / (scale * frame.gain), self.level + self.zero / frame.gain],
            ]
        )

    def lane(self, frame: Frame) -> BoxMM:
        """The cell's share of the grid."""
        half = frame.row_height / 2
        right = self.x + len(self.values) * (frame.speed / self.rate)
        return self.x, max(frame.grid[1], self.zero - half), right, min(frame.grid[3], self.zero + half)


def fit_frame(
    ecg: ECG, chosen: Layout, paper: str | None, speed: float, gain: float, start: float, header: float
) -> Frame:
    """Fit the rows into the paper, or the page around the rows.

    Raises:
        ValueError: if they do not fit.
    """
    remaining = ecg.duration - start
    seconds = min(_MAX_SECONDS, remaining)
    gutter: float = 5 * math.ceil((_BEFORE_PULSE + 0.2 * speed + _AFTER_PULSE) / 5)
    needed = len(chosen.rows[0]) * _least_pitch(speed) if chosen.kind == "beats" else 0
    if paper is None:
        shown = 0.0 if needed and not chosen.rhythm else seconds * speed
        traces: float = 5 * math.ceil(max(shown, needed, _TEXT_WIDTH) / 5)
        width = gutter + traces + 2 * MARGIN
    else:
        width = PAPERS[paper][0]
        if paper == KIT_PAPER:
            gutter = _KIT_GAP + 0.2 * speed
            traces = width - gutter
        else:
            traces = 5 * math.floor((width - 2 * MARGIN) / 5) - gutter
        if needed > traces:
            raise ValueError(f"median beats at speed={speed:g} do not fit on {paper} paper; lower speed")
        if seconds * speed > traces:
            seconds = math.floor(10 * traces / speed) / 10
    lines = 1
    if chosen.kind == "strip":
        if len(chosen.rows) > _MAX_STRIPS:
            raise ValueError(f"{len(chosen.rows)} leads are too many for strips; name up to {_MAX_STRIPS}")
        lines = min(math.ceil(round(remaining / seconds, 6)), max(1, _MAX_STRIPS // len(chosen.rows)))
    rows = len(chosen.rows) * lines + len(chosen.rhythm)
    if paper == KIT_PAPER:
        return _kit_frame(chosen, rows, gutter, seconds, lines, speed, gain)

    slack = 0
    if paper is None:
        row_height: float = chosen.row_height
        height = 5 * math.ceil((rows * row_height + _ABOVE + _BELOW) / 5)
        page_height = header + height + FOOTER
    else:
        page_height = PAPERS[paper][1]
        height = 5 * math.floor((page_height - header - FOOTER) / 5)
        row_height = min(math.floor((height - _ABOVE - _BELOW) / rows), 2 * chosen.row_height)
        slack = round((height - _ABOVE - _BELOW - rows * row_height) / 2)
        if row_height < _MIN_ROW:
            raise ValueError(f"{rows} rows do not fit on {paper} paper; draw fewer, or with a shorter header")
    x = (width - gutter - traces) / 2
    return Frame(
        size=(width, page_height),
        grid=(x, header, x + gutter + traces, header + height),
        pulse=x + _BEFORE_PULSE,
        left=x + gutter,
        zeros=tuple(header + _ABOVE + slack + (row + 0.5) * row_height for row in range(rows)),
        row_height=row_height,
        seconds=seconds,
        lines=lines,
        speed=speed,
        gain=gain,
    )


_KIT_GAP = 10.0  # mm, 0.4 s at 25 mm/s


def _kit_frame(
    chosen: Layout, rows: int, gutter: float, seconds: float, lines: int, speed: float, gain: float
) -> Frame:
    """Where ecg-image-kit puts its rows (Shivashankara et al. 2024, doi:10.1088/1361-6579/ad4954).

    The page is all grid. With h the page's height over the rows and two, the lowest row of the main block
    lies 1.5 h above the page's lower edge, the others h above each other, and the strip h / 2 + 3 mm.
    """
    width, height = PAPERS[KIT_PAPER]
    row_height = height / (rows + 2)
    main = rows - len(chosen.rhythm)
    zeros = [height - (1.5 + row) * row_height for row in reversed(range(main))]
    if len(chosen.rhythm) > 1:
        raise ValueError(f"{KIT_PAPER} pages have one rhythm strip at most; got {', '.join(chosen.rhythm)}")
    zeros += [height - row_height / 2 - 3] * len(chosen.rhythm)
    return Frame(
        size=(width, height),
        grid=(0.0, 0.0, width, height),
        pulse=_KIT_GAP,
        left=gutter,
        zeros=tuple(zeros),
        row_height=row_height,
        seconds=seconds,
        lines=lines,
        speed=speed,
        gain=gain,
    )


def place_cells(
    ecg: ECG, chosen: Layout, frame: Frame, start: float, timing: str, measurements: Any
) -> list[Cell]:
    """Every lead of the layout in its place.

    Raises:
        ValueError: if median beats are asked for and no whole beat is found.
    """
    rate = ecg.sampling_rate
    begin, count = round(start * rate), max(1, round(frame.seconds * rate))
    shown = slice(begin, begin + count * frame.lines)
    levels: dict[str, float] = {}  # a lead of the main block may come again as a strip
    cells = []

    def add(name: str, key: str, x: float, zero: float, first: int, number: int, wide: bool) -> None:
        lead, sign = _drawn_lead(name)
        recorded = lead in ecg.leads
        if lead not in levels:
            levels[lead] = _median(ecg.lead(lead)[shown]) if recorded else 0.0
        values = ecg.lead(lead)[first : first + number] if recorded else np.full(number, np.nan)
        missing = "" if np.isfinite(values).any() else "no signal" if recorded else "not recorded"
        values = values.astype(np.float64) * sign
        level = levels[lead] * sign
        cells.append(Cell(key, name, lead, x, zero, values, rate, first, first / rate, level, wide, missing))

    if chosen.kind == "strip":
        places = [(name, line) for (name,) in chosen.rows for line in range(frame.lines)]
        for (name, line), zero in zip(places, frame.zeros, strict=True):
            first = begin + line * count
            add(name, f"{name}/{first / rate:g}s" if line else name, frame.left, zero, first, count, True)
    elif chosen.kind == "beats":
        cells += _beat_cells(ecg, chosen, frame, begin, measurements)
    else:
        for row, zero in zip(chosen.rows, frame.zeros, strict=False):
            edges = [round(k * count / len(row)) for k in range(len(row) + 1)]
            for name, first, last in zip(row, edges, edges[1:], strict=False):
                from_ = begin + (first if timing == "consecutive" else 0)
                x = frame.left + first / rate * frame.speed
                add(name, name, x, zero, from_, last - first, len(row) == 1)
    strips = frame.zeros[len(frame.zeros) - len(chosen.rhythm) :]
    for name, zero in zip(chosen.rhythm, strips, strict=True):
        add(name, f"{name}/rhythm", frame.left, zero, begin, count, True)
    return cells


def _beat_cells(ecg: ECG, chosen: Layout, frame: Frame, begin: int, measurements: Any) -> list[Cell]:
    beats, before = _median_beats(ecg, begin, measurements)
    rate, cells = ecg.sampling_rate, []
    pitch = 5 * math.floor((frame.grid[2] - frame.left) / len(chosen.rows[0]) / 5)
    for row, zero in zip(chosen.rows, frame.zeros, strict=False):
        for column, name in enumerate(row):
            lead, sign = _drawn_lead(name)
            values = beats[ecg.leads.index(lead)] * sign if lead in ecg.leads else np.full(1, np.nan)
            missing = (
                "" if np.isfinite(values).any() else "no signal" if lead in ecg.leads else "not recorded"
            )
            x = frame.left + column * pitch
            level = _median(values)
            cells.append(
                Cell(name, name, lead, x, zero, values, rate, None, -before / rate, level, False, missing)
            )
    return cells


def _median_beats(ecg: ECG, begin: int, measurements: Any) -> tuple[np.ndarray, int]:
    """The median over beats of each lead, (leads, samples) mV, and the samples before the R peak."""
    if measurements is None:
        from ecglm.measure import measure

        measurements = measure(ecg)
    before, after = (round(span * ecg.sampling_rate) for span in (_MEDIAN_BEFORE, _MEDIAN_AFTER))
    peaks = [int(peak) for peak in measurements.r_peaks]
    peaks = [peak for peak in peaks if begin <= peak - before and peak + after <= ecg.num_samples]
    if not peaks:
        raise ValueError(f"no whole beat was found in {ecg.name}, so there is no median beat to draw")
    beats = np.stack([ecg.signal[:, peak - before : peak + after] for peak in peaks]).astype(np.float64)
    unknown = np.isnan(beats).all(axis=0)
    beats[:, unknown] = 0.0
    return np.where(unknown, np.nan, np.nanmedian(beats, axis=0)), before


def _least_pitch(speed: float) -> int:
    """From one median beat to the next where they stand close together, mm."""
    return 5 * math.ceil(((_MEDIAN_BEFORE + _MEDIAN_AFTER) * speed + 10) / 5)


def _drawn_lead(name: str) -> tuple[str, float]:
    """The recording's lead behind a name on the page, and its sign there."""
    return name.removeprefix("-"), -1.0 if name.startswith("-") else 1.0


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0
