"""What a model or a measurement found, laid over the page: waves, saliency, boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecglm.ecg import ECG
from ecglm.image.drawing import Area, Colour, Drawing, Stroke, Text
from ecglm.image.frame import Cell, Frame
from ecglm.image.layouts import Colours

WAVES: dict[str, Colour] = {"P": (70, 130, 230), "QRS": (240, 150, 40), "T": (60, 170, 90)}
"""Colour of each kind of measured wave."""

_FOR, _AGAINST = (225, 60, 20), (30, 90, 220)  # colours of positive and negative saliency
_BOX: Colour = (200, 0, 120)
_BIN = 0.5  # mm, width of a stripe of saliency
_FAINTEST = 0.03  # of the strongest saliency; less is not painted


def lay_over(
    drawing: Drawing, frame: Frame, cells: Sequence[Cell], ecg: ECG, overlay: Any, scheme: Colours, dpi: float
) -> None:
    """Add overlays to a drawing.

    Args:
        drawing: the page.
        frame: where its parts stand.
        cells: where its leads stand.
        ecg: the recording.
        overlay: `Measurements` with waves; an array (leads, samples) of saliency; a mapping of labels to
            boxes in dots; or a list of these.
        scheme: colours.
        dpi: dots per inch that boxes are given in.

    Raises:
        ValueError: if it is none of these, or the array has another shape than the recording.
    """
    for one in overlay if isinstance(overlay, list | tuple) else [overlay]:
        if hasattr(one, "waves"):
            _waves(drawing, frame, cells, one.waves, scheme)
        elif isinstance(one, Mapping):
            _boxes(drawing, one, dpi)
        elif isinstance(one, np.ndarray):
            if one.shape != ecg.signal.shape:
                raise ValueError(
                    f"saliency must have the recording's shape {ecg.signal.shape}, got {one.shape}"
                )
            _saliency(drawing, frame, cells, ecg, one)
        else:
            raise ValueError(
                "overlay must be measurements, an array (leads, samples) of saliency, or a mapping of labels "
                f"to boxes; got {type(one).__name__}"
            )


def _waves(
    drawing: Drawing, frame: Frame, cells: Sequence[Cell], waves: Sequence[Any], scheme: Colours
) -> None:
    """A band behind each wave, in its own lead or, where it has none, in all."""
    for cell in cells:
        if cell.first is None or cell.missing:
            continue
        own = [wave for wave in waves if wave.lead == cell.lead]
        for wave in own or [wave for wave in waves if wave.lead is None]:
            if wave.kind not in WAVES or wave.onset is None or wave.offset is None:
                continue
            left, top, right, bottom = cell.lane(frame)
            begin, end = (
                cell.x + (sample - cell.first) / cell.rate * frame.speed
                for sample in (wave.onset, wave.offset)
            )
            begin, end = max(begin, left), min(end, right)
            if begin < end:
                drawing.areas.append(Area((begin, top + 4, end, bottom - 4), WAVES[wave.kind], 0.22))
    x, y = frame.grid[2], frame.grid[1] - 1.6
    for kind in reversed(WAVES):
        x -= 12
        drawing.areas.append(Area((x, y - 2.6, x + 3, y + 0.2), WAVES[kind], 0.5))
        drawing.texts.append(Text(x + 3.8, y, kind, 3.2, scheme.ink))


def _saliency(drawing: Drawing, frame: Frame, cells: Sequence[Cell], ecg: ECG, saliency: np.ndarray) -> None:
    """Stripes behind the trace, the stronger the more a stretch counts: red for, blue against."""
    strongest = float(np.nanmax(np.abs(saliency), initial=0.0))
    if strongest == 0:
        return
    for cell in cells:
        if cell.first is None or cell.missing:
            continue
        values = saliency[ecg.leads.index(cell.lead), cell.first : cell.first + len(cell.values)]
        _, top, right, bottom = cell.lane(frame)
        per_bin = max(1, round(_BIN * cell.rate / frame.speed))
        for at in range(0, len(values), per_bin):
            part = values[at : at + per_bin]
            part = part[np.isfinite(part)]
            share = float(part[np.abs(part).argmax()]) / strongest if len(part) else 0.0
            if abs(share) >= _FAINTEST:
                x = cell.x + at / cell.rate * frame.speed
                box = x, top + 2, min(right, x + per_bin / cell.rate * frame.speed), bottom - 2
                drawing.areas.append(Area(box, _FOR if share > 0 else _AGAINST, 0.6 * abs(share)))


def _boxes(drawing: Drawing, boxes: Mapping[str, Sequence[float]], dpi: float) -> None:
    for label, box in boxes.items():
        edges = np.asarray(box, float) if np.size(box) == 4 else np.zeros(4)
        x0, y0, x1, y1 = (edges.ravel() * 25.4 / dpi).tolist()
        if not (np.isfinite(edges).all() and x0 < x1 and y0 < y1):
            raise ValueError(f"the box of {label!r} must be x0, y0, x1, y1 with x0 < x1, y0 < y1; got {box}")
        outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
        drawing.strokes.append(Stroke(outline, 0.3, _BOX))
        drawing.texts.append(Text(x0, y0 - 0.6, str(label), 2.4, _BOX))
