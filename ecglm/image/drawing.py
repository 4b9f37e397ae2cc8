"""A page as lines, texts and a grid in millimetres, before anything becomes a dot.

The origin is the page's upper left corner; x grows to the right, y downwards.
"""

from dataclasses import dataclass, field

import numpy as np

Colour = tuple[int, int, int]
BoxMM = tuple[float, float, float, float]  # x0, y0, x1, y1; mm


@dataclass(frozen=True)
class Grid:
    """The ruled part of the page.

    Args:
        box: where it is.
        paper: colour between the lines.
        lines: every so many mm, how thick in mm, in which colour; later ones lie on top. None: plain paper.
    """

    box: BoxMM
    paper: Colour
    lines: tuple[tuple[float, float, Colour], ...]


@dataclass(frozen=True)
class Stroke:
    """A line of ink.

    Args:
        points: (points, 2) mm; a single point is a dot.
        width: mm.
        colour: of the ink.
        trace: key of the trace in `Geometry` that it belongs to; None for pulses and marks.
    """

    points: np.ndarray
    width: float
    colour: Colour
    trace: str | None = None


@dataclass(frozen=True)
class Text:
    """A line of text.

    Args:
        x: mm of the anchor.
        y: mm of the anchor.
        text: printable characters.
        size: mm, of the font.
        colour: of the ink.
        anchor: Pillow's two letters, for example "ls": left end of the baseline.
    """

    x: float
    y: float
    text: str
    size: float
    colour: Colour
    anchor: str = "ls"


@dataclass(frozen=True)
class Area:
    """A coloured rectangle between grid and ink.

    Args:
        box: where it is.
        colour: of the paint.
        opacity: 0 to 1.
    """

    box: BoxMM
    colour: Colour
    opacity: float


@dataclass(frozen=True)
class Drawing:
    """All layers of a page, from the bottom up: paper, grid, areas, strokes, texts.

    Args:
        size: width and height, mm.
        paper: colour of the page around the grid.
        grid: the ruled part.
        areas: overlays under the ink.
        strokes: traces, pulses, marks.
        texts: names, header, footer.
        font: a TrueType file; None for the font that Pillow brings.
    """

    size: tuple[float, float]
    paper: Colour
    grid: Grid
    strokes: list[Stroke] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    font: str | None = None
