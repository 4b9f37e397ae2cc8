"""What a page says around its traces: title, person, measurements above the grid; scale and notice below."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from ecglm.ecg import ECG, LEADS_12
from ecglm.image.drawing import BoxMM, Colour, Drawing, Text
from ecglm.image.layouts import Colours
from ecglm.image.raster import text_width

NOTICE = (
    "Research use only; not a medical device. "
    "Any automatic reading of this page is a draft for a qualified clinician."
)
HEADER = 20.0  # mm, room for the title and two lines of text above the grid
FOOTER = 7.0  # mm, room for speed, gain and notice below the grid

_TITLE, _BODY, _SMALL, _LEAST = 4.6, 3.2, 2.4, 2.0  # mm, sizes of the texts
_LINE_HEIGHT = 4.6  # mm
_HINTED = 1.09  # times its width that a text may take once its letters are fitted to dots
_MAX_LINES = 8  # below the title
_NOT_IN_FONT = str.maketrans(
    {"–": "-", "—": "-", "×": "x", "ß": "ss", "µ": "u", "≥": ">=", "≤": "<=", "…": "..."}
)


def header_height(lines: Sequence[str]) -> float:
    """Room that the header needs above the grid, mm."""
    return HEADER + _LINE_HEIGHT * max(0, len(lines) - 2)


def header_lines(
    ecg: ECG, header: str | Sequence[str] | None, measurements: Any, names_others: bool
) -> list[str]:
    """The lines below the title: measurements, what the caller adds, leads that are not drawn."""
    lines = [] if measurements is None else [_measured(measurements)]
    lines += map(str, header or []) if isinstance(header, list | tuple | None) else [str(header)]
    others = [name for name in ecg.leads if name not in LEADS_12]
    if others and names_others:
        lines.append(f"not drawn: {', '.join(others)}")
    if len(lines) > _MAX_LINES:
        left_out = len(lines) - _MAX_LINES + 1
        lines = [*lines[: _MAX_LINES - 1], f"and {left_out} more lines"]
    return lines


def write_margins(
    drawing: Drawing,
    box: BoxMM,
    scheme: Colours,
    title: str,
    person: str,
    lines: Sequence[str],
    footer: str,
) -> None:
    """Add the margins' texts to a drawing.

    Args:
        drawing: the page.
        box: left edge, baseline's reference above (the page's top), right edge, and where the footer begins.
        scheme: colours.
        title: the first line.
        person: age and sex, at the right of the title.
        lines: further lines of the header.
        footer: the line below the grid; `NOTICE` stands at its right.
    """
    left, top, right, foot = box
    room, font = right - left, drawing.font

    def write(
        x: float, y: float, text: str, size: float, colour: Colour, anchor: str = "ls", less: float = 0
    ) -> None:
        fitting = _fit(printable(text, font), size, room - less, font)
        drawing.texts.append(Text(x, y, fitting, size, colour, anchor))

    write(left, top + 7.5, title, _TITLE, scheme.ink, less=_beside(person, _BODY, font))
    if person:
        write(right, top + 7.5, person, _BODY, scheme.ink, "rs")
    for number, text in enumerate(lines):
        write(left, top + 12.4 + _LINE_HEIGHT * number, text, _BODY, scheme.ink)
    beside = _beside(NOTICE, _SMALL, font)
    size = _BODY * min(1.0, (room - beside) / _width(printable(footer, font), _BODY, font))
    write(left, foot + 4.4, footer, max(size, _LEAST), scheme.ink, less=beside)
    write(right, foot + 4.4, NOTICE, _SMALL, scheme.faint, "rs")


def person_of(ecg: ECG) -> str:
    """Age and sex, as far as they are known."""
    age, sex = ecg.metadata.get("age"), ecg.metadata.get("sex")
    parts = [f"{age:g} years" if isinstance(age, int | float) and math.isfinite(age) else "", str(sex or "")]
    return ", ".join(part for part in parts if part)


def printable(text: str, font: str | None = None) -> str:
    """What Pillow's own font has: accents are dropped, other unknown characters become a question mark."""
    if font is not None:
        return " ".join(text.split())
    plain = unicodedata.normalize("NFKD", text.translate(_NOT_IN_FONT))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join("".join(char if char.isascii() or char == "°" else "?" for char in plain).split())


def _measured(measurements: Any) -> str:
    """What a cardiograph prints in its header, marked as a draft."""
    if not (hasattr(measurements, "heart_rate") or hasattr(measurements, "r_peaks")):
        got = type(measurements).__name__
        raise ValueError(f"measurements must be what `ecglm.measure` gives, got {got}")
    parts = []
    for label, name, unit in (
        ("rate", "heart_rate", " bpm"),
        ("PR", "pr", " ms"),
        ("QRS", "qrs", " ms"),
        ("QT", "qt", " ms"),
        ("QTc", "qtc", " ms"),
        ("axis", "axis", "°"),
    ):
        value = getattr(measurements, name, None)
        if value is not None and math.isfinite(value):
            parts.append(f"{label} {value:.0f}{unit}")
    return " | ".join([*(parts or ["nothing could be measured"]), "unconfirmed draft, measured by ecglm"])


def _beside(text: str, size: float, font: str | None) -> float:
    """Room that a text at the right takes from one at the left, mm."""
    return _width(printable(text, font), size, font) + 4 if text else 0.0


def _width(text: str, size: float, font: str | None) -> float:
    """What a text takes at most, mm."""
    return text_width(text, 64.0, font) * size / 64 * _HINTED


def _fit(text: str, size: float, room: float, font: str | None) -> str:
    """The text, or as much of it as has room, mm."""
    if _width(text, size, font) <= room + 1e-6:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _width(text[:middle] + " ...", size, font) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low] + " ..."
