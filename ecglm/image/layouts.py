"""What may stand on a page and where: layouts, orders of the leads, papers and colours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ecglm.ecg import LEADS_12, standard_lead
from ecglm.image.drawing import Colour


@dataclass(frozen=True)
class Layout:
    """Where the leads stand on the page.

    Args:
        rows: the leads of each row of the main block, from left to right.
        row_height: mm of grid for each row where the paper leaves the choice.
        rhythm: the leads of the strips below, each as long as the page.
        kind: "leads"; "beats" for each lead's median beat; "strip" for whole leads, line after line.
    """

    rows: tuple[tuple[str, ...], ...]
    row_height: int
    rhythm: tuple[str, ...] = ()
    kind: str = "leads"


_THREE_BY_FOUR = tuple(LEADS_12[row::3] for row in range(3))
LAYOUTS = {
    "3x4": Layout(_THREE_BY_FOUR, row_height=45),
    "3x4+1": Layout(_THREE_BY_FOUR, row_height=40, rhythm=("II",)),
    "3x4+3": Layout(_THREE_BY_FOUR, row_height=27, rhythm=("V1", "II", "V5")),
    "6x2": Layout(tuple(LEADS_12[row::6] for row in range(6)), row_height=27),
    "6x2+1": Layout(tuple(LEADS_12[row::6] for row in range(6)), row_height=23, rhythm=("II",)),
    "4x3": Layout(tuple(LEADS_12[3 * row : 3 * row + 3] for row in range(4)), row_height=40),
    "12x1": Layout(tuple((lead,) for lead in LEADS_12), row_height=20),
    "median": Layout(_THREE_BY_FOUR, row_height=45, kind="beats"),
    "strip": Layout((), row_height=40, kind="strip"),
}
"""Rows x columns of the main block; "+1" and "+3" add rhythm strips of lead II, of V1, II and V5.

"median" shows one beat of each lead, the median of all; "strip" shows one lead or several in lines of up to
10 s until the recording ends. At 25 mm/s all but "12x1" fit on A4 at their natural height.
"""

ORDERS = {
    "standard": dict(zip(LEADS_12, LEADS_12, strict=True)),
    "cabrera": dict(zip(LEADS_12[:6], ("aVL", "I", "-aVR", "II", "aVF", "III"), strict=True)),
}
"""Which lead stands where the standard order has which; in Cabrera's, aVR is drawn upside down as -aVR."""

KIT_PAPER = "ecg-image-kit"
PAPERS = {"a4": (297.0, 210.0), "letter": (279.4, 215.9), KIT_PAPER: (279.4, 215.9)}
"""Width and height of the papers, mm; that of ecg-image-kit has that kit's places for everything."""


@dataclass(frozen=True)
class Colours:
    """What a page is printed in: paper, thin and strong lines of the grid, ink, and quieter ink."""

    paper: Colour
    thin: Colour
    strong: Colour
    ink: Colour
    faint: Colour


COLOURS = {
    "red": Colours((255, 253, 250), (250, 218, 213), (238, 165, 157), (20, 20, 32), (130, 105, 105)),
    "blue": Colours((252, 253, 255), (211, 225, 245), (150, 180, 226), (16, 18, 28), (95, 108, 132)),
    "green": Colours((252, 254, 250), (210, 233, 212), (148, 199, 156), (16, 26, 20), (92, 116, 98)),
    "grey": Colours((253, 253, 253), (226, 226, 226), (184, 184, 184), (20, 20, 20), (115, 115, 115)),
    "ecg-image-kit": Colours((255, 255, 255), (254, 223, 219), (255, 0, 0), (30, 30, 30), (110, 110, 110)),
    "black_and_white": Colours((255, 255, 255), (205, 205, 205), (150, 150, 150), (0, 0, 0), (80, 80, 80)),
}


def plan(
    layout: str,
    order: str,
    rhythm: str | Sequence[str] | None,
    leads: str | Sequence[str] | None,
    having: Sequence[str],
) -> Layout:
    """The layout asked for, with the leads in the order asked for.

    Args:
        layout: a name of `LAYOUTS`.
        order: a name of `ORDERS`.
        rhythm: leads of the strips instead of the layout's own.
        leads: leads of the layout "strip"; by default lead II, or the recording's first.
        having: leads of the recording.

    Raises:
        ValueError: if a name is unknown, or given where it means nothing.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; choose one of {', '.join(ORDERS)}")
    chosen = LAYOUTS[layout]
    if chosen.kind == "strip":
        if rhythm is not None:
            raise ValueError("layout 'strip' has no rhythm strips besides; name its leads with leads=")
        names = _leads("leads", leads or ("II" if "II" in having else having[:1]))
        missing = [name for name in names if name not in having]
        if missing:
            raise ValueError(f"there is no lead {', '.join(missing)} to draw; there are {', '.join(having)}")
        return replace(chosen, rows=tuple((name,) for name in names))
    if leads is not None:
        raise ValueError(f"leads= chooses for layout 'strip' only; {layout!r} always shows the twelve")
    rows = tuple(tuple(ORDERS[order].get(name, name) for name in row) for row in chosen.rows)
    strips = chosen.rhythm
    if rhythm is not None:
        strips = tuple(_leads("rhythm", rhythm))
        unknown = [name for name in strips if name not in having]
        if unknown:
            raise ValueError(
                f"there is no lead {', '.join(unknown)} for the rhythm; there are {', '.join(having)}"
            )
    return replace(chosen, rows=rows, rhythm=strips)


def _leads(what: str, names: str | Sequence[str]) -> list[str]:
    """Names of leads as the recording has them; one may stand by itself."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"{what} must name leads, got {names!r}")
    found = [standard_lead(name) for name in listed]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise ValueError(f"{what} names {', '.join(twice)} more than once")
    return found
