"""What happens to the sheet itself: pens, printers and stamps add ink; folding, coffee and years take it.

None of what is written says anything about the heart: a model must not learn its answers from the margins.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw

from ecglm.image.drawing import Colour, Stroke, Text
from ecglm.image.handwriting import CHARACTERS, ring, sign, write_by_hand
from ecglm.image.raster import load_font, text_width
from ecglm.image.redraw import Patch, Sheet
from ecglm.image.stages import Defect, Lamp, cloud, rise

_PENS: dict[str, Colour] = {"blue": (32, 52, 150), "black": (30, 30, 36), "red": (176, 28, 40)}
_STAMPS: dict[str, Colour] = {"violet": (96, 48, 140), "red": (186, 32, 44), "blue": (36, 70, 160)}
_REMARKS = (
    *("SEEN 14/3", "COPY", "TO FILE", "BED 4", "RM 12", "BP 140/85", "REPEAT 2 H", "NO. 2", "DR K.", "16:40"),
    *("WT 72", "WARD 7B", "OLD ECG?", "SENT 9:15", "PRE OP", "CLINIC 3", "2ND COPY", "12/11", "ON ADM."),
)
_PRINTED = (
    *("Page 1 of 1", "Copy", "Ward 7B   Bed 4", "Printed 14:32", "Form 2041-3", "Technician: 118"),
    *("Order no. 00417-22", "Scanned 09:51", "File in section 4", "Cardiology outpatients", "Room 12"),
)
_STAMPED = ("RECEIVED", "COPY", "FILED", "SCANNED", "CONFIDENTIAL", "REVIEWED", "ARCHIVE")
_STAMP_DOTS = 10  # per mm of a stamp's own picture


@dataclass(frozen=True, kw_only=True)
class Handwriting(Defect):
    """Remarks in block letters, a signature, a ring around something.

    Args:
        strength: how dark the pen is.
        remarks: what is written, of letters, digits and `?/-+.,:`; None: organisational remarks by chance.
        number: how many remarks, if by chance.
        size: mm, height of the letters.
        colour: of the pen, "blue", "black" or "red"; None: by chance.

    Raises:
        ValueError: if a remark has a character that the hand cannot write.
    """

    remarks: tuple[str, ...] | None = None
    number: int = 3
    size: float = 5.0
    colour: str | None = None

    limits: ClassVar = {"number": (1, 20), "size": (1, 30)}
    choices: ClassVar = {"colour": (None, *_PENS)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(remark.strip() for remark in self.remarks or ()):
            raise ValueError("Handwriting: a remark is empty")
        unknown = sorted(set("".join(self.remarks or ()).upper()) - CHARACTERS)
        if unknown:
            raise ValueError(
                f"Handwriting: no glyph for {' '.join(unknown)}; write letters, digits and ?/-+.,:"
            )

    def mark(self, sheet: Sheet, rng: np.random.Generator) -> None:
        """Write on it."""
        pen = _PENS[self.colour or str(rng.choice(list(_PENS), p=(0.6, 0.3, 0.1)))]
        paper = np.array(sheet.drawing.grid.paper)
        colour = _mix(paper, pen, self.strength)
        remarks = (
            self.remarks or rng.choice(_REMARKS, self.number, replace=self.number > len(_REMARKS)).tolist()
        )
        width, height = sheet.drawing.size
        lines = [write_by_hand(remark, self.size * rng.uniform(0.8, 1.25), rng) for remark in remarks]
        if self.remarks is None:
            lines.append(sign(2.2 * self.size, rng))
            lines.append(ring(rng.uniform(5, 9) * self.size, rng.uniform(3, 5) * self.size, rng))
        for strokes in lines:
            points = np.concatenate(strokes)
            (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
            x = rng.uniform(4, max(5, width - 4 - (x1 - x0))) - x0
            y = rng.uniform(4, max(5, height - 4 - (y1 - y0))) - y0
            turn = rng.normal(0, 0.05)
            c, s = np.cos(turn), np.sin(turn)
            for stroke in strokes:
                turned = stroke @ np.array([[c, s], [-s, c]]) + [x, y]
                sheet.drawing.strokes.insert(0, Stroke(turned, 0.45, colour))  # black stays black under it


@dataclass(frozen=True, kw_only=True)
class PrintedText(Defect):
    """Lines that a printer or a scanner has put on the page.

    Args:
        strength: how dark they are.
        lines: what is printed; None: office remarks by chance.
        number: how many, if by chance.
        size: mm, of the font.
    """

    lines: tuple[str, ...] | None = None
    number: int = 3
    size: float = 2.8

    limits: ClassVar = {"number": (1, 20), "size": (1, 20)}

    def mark(self, sheet: Sheet, rng: np.random.Generator) -> None:
        """Print on it."""
        colour = _mix(np.array(sheet.drawing.grid.paper), (40, 40, 40), self.strength)
        lines = self.lines or rng.choice(_PRINTED, self.number, replace=self.number > len(_PRINTED)).tolist()
        width, height = sheet.drawing.size
        for line in lines:
            long = text_width(line, self.size * 10, sheet.drawing.font) / 10
            x = rng.uniform(4, max(5, width - 4 - long))
            # Printers keep to the margins, mostly.
            band = rng.choice(3, p=(0.45, 0.45, 0.1))
            y = (rng.uniform(4, 14), height - rng.uniform(2, 6), rng.uniform(0.2, 0.8) * height)[band]
            sheet.drawing.texts.append(Text(x, y, line, self.size, colour))


@dataclass(frozen=True, kw_only=True)
class Stamp(Defect):
    """A rubber stamp, askew and unevenly inked.

    Args:
        strength: how much ink it leaves.
        text: what it says; None: an office word by chance.
        size: mm, its width.
        colour: "violet", "red" or "blue"; None: by chance.
    """

    text: str | None = None
    size: float = 38.0
    colour: str | None = None

    limits: ClassVar = {"size": (8, 120)}
    choices: ClassVar = {"colour": (None, *_STAMPS)}

    def mark(self, sheet: Sheet, rng: np.random.Generator) -> None:
        """Stamp it."""
        text = self.text or str(rng.choice(_STAMPED))
        colour = _STAMPS[self.colour or str(rng.choice(list(_STAMPS)))]
        day = f"{rng.integers(1, 29):02d} {rng.choice(('JAN', 'MAR', 'MAY', 'JUL', 'SEP', 'NOV'))}"
        wide = round(self.size * _STAMP_DOTS)
        high = round(0.42 * wide)
        picture = Image.new("L", (wide, high))
        draw = ImageDraw.Draw(picture)
        line = max(2, wide // 60)
        draw.rounded_rectangle((0, 0, wide - 1, high - 1), radius=high // 6, outline=255, width=line)
        size = min(0.42 * high, 0.84 * wide * 100 / text_width(text, 100, sheet.drawing.font))
        font = load_font(size, sheet.drawing.font)
        draw.text((wide / 2, 0.36 * high), text, fill=255, font=font, anchor="mm")
        small = load_font(0.2 * high, sheet.drawing.font)
        draw.text((wide / 2, 0.76 * high), day, fill=255, font=small, anchor="mm")
        dry = cloud((high, wide), 5, rng) * 0.75 + cloud((high, wide), 60, rng) * 0.45
        inked = np.asarray(picture) * (rise(0.9 - dry, 0.5) * 0.85 * self.strength)
        turn = rng.normal(0, 0.14)
        c, s = np.cos(turn) / _STAMP_DOTS, np.sin(turn) / _STAMP_DOTS
        width, height = sheet.drawing.size
        x = rng.uniform(5, max(6, width - 10 - self.size))
        y = rng.uniform(5, max(6, height - 10 - 0.5 * self.size))
        place = np.array([[c, -s, x], [s, c, y]])
        sheet.patches.append(Patch(np.round(inked).astype(np.uint8), place, colour, f"{text} {day}"))


@dataclass(frozen=True, kw_only=True)
class Stains(Defect):
    """Rings of a coffee cup and blots with a dark rim.

    Args:
        strength: how dark they are.
        number: how many.
        size: mm across.
    """

    number: int = 2
    size: float = 75.0

    limits: ClassVar = {"number": (1, 20), "size": (5, 200)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Absorb light, blue most."""
        x, y = lamp.page
        width, height = (edge.max() for edge in (x[lamp.on_page], y[lamp.on_page]))
        for _ in range(self.number):
            is_ring = rng.random() < 0.6
            at = rng.uniform(0.05, 0.95, 2) * (width, height)
            radius = self.size / 2 * rng.uniform(0.85, 1.0) * (1 if is_ring else rng.uniform(0.2, 0.6))
            waves = rng.normal(0, 1, (2, 6)) / np.arange(1, 7) ** (1.5 if is_ring else 1.1)
            dx, dy = x - at[0], y - at[1]
            angle = np.arctan2(dy, dx)
            ripple = sum(a * np.cos(k * angle) + b * np.sin(k * angle) for k, (a, b) in enumerate(waves.T, 1))
            off = np.hypot(dx, dy) - radius * (1 + (0.012 if is_ring else 0.13) * ripple)
            patchy = cloud(lamp.shape, 14, rng)
            inside = rise(-off, 1.2)
            rim = np.exp(-(((off + 0.6) / 0.55) ** 2))
            if is_ring:
                wide = np.exp(-(((off + 2.2) / 1.6) ** 2))
                dark = 0.05 * inside + (0.55 * rim + 0.3 * wide) * (0.15 + 0.85 * patchy)
            else:
                dark = inside * (0.2 + 0.16 * patchy) + 0.3 * rim * (0.4 + 0.6 * patchy)
            dark = self.strength * dark * lamp.on_page
            lamp.dim(1 - dark[..., None] * np.array([0.38, 0.62, 0.95], np.float32))


@dataclass(frozen=True, kw_only=True)
class Creases(Defect):
    """Folds across the whole sheet: the ink cracks along them, and each side takes the light differently.

    Args:
        strength: how sharp they are.
        number: how many; the first runs near the middle.
    """

    number: int = 2

    limits: ClassVar = {"number": (1, 20)}

    def _folds(
        self, size: tuple[float, float], rng: np.random.Generator
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """A point and the unit vector along each fold."""
        folds = []
        upright = rng.random() < 0.7
        for k in range(self.number):
            share = 0.5 if k < 2 else rng.uniform(0.1, 0.9)
            at = (share + rng.normal(0, 0.02)) * np.array(size)
            turn = rng.normal(0, 0.012 if k < 2 else 0.08) + (np.pi / 2 if upright else 0)
            folds.append((at, np.array([np.cos(turn), np.sin(turn)])))
            upright = not upright
        return folds

    def mark(self, sheet: Sheet, rng: np.random.Generator) -> None:
        """Crack the ink."""
        longest = sum(sheet.drawing.size)
        for at, along in self._folds(sheet.drawing.size, rng):
            steps = np.arange(-longest, longest, 2.0)
            line = at + steps[:, None] * along
            width, height = sheet.drawing.size
            here = (line >= 0).all(axis=1) & (line <= [width, height]).all(axis=1)
            line = line[here]
            line = line + rng.normal(0, 0.06, line.shape)
            for first in range(0, len(line) - 1, 4):
                share = self.strength * rng.uniform(0.25, 0.75)
                sheet.worn.append((line[first : first + 5], rng.uniform(0.15, 0.35), share))

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Shade both sides."""
        x, y = lamp.page
        size = float(x[lamp.on_page].max()), float(y[lamp.on_page].max())
        for at, along in self._folds(size, rng):
            off = (y - at[1]) * along[0] - (x - at[0]) * along[1]
            side = rng.choice((-1, 1))
            valley = np.exp(-((off / 0.7) ** 2))
            slope = np.exp(-np.abs(off) / 5) * rise(side * off, 1.2)
            far = np.exp(-np.abs(off) / 45) * rise(side * off, 1.2)
            dark = self.strength * (0.10 * valley + 0.10 * slope + 0.035 * far)
            lamp.dim(1 - dark * lamp.on_page)


@dataclass(frozen=True, kw_only=True)
class Wrinkles(Defect):
    """A sheet that was crumpled and smoothed out again: facets that take the light differently.

    Args:
        strength: how deep the facets are.
        size: mm, about how large.
    """

    size: float = 40.0

    limits: ClassVar = {"size": (5, 200)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Shade each facet by its slope."""
        x, y = lamp.page
        width, height = float(x[lamp.on_page].max()), float(y[lamp.on_page].max())
        slope = np.zeros(lamp.shape, np.float32)
        edges = np.zeros(lamp.shape, np.float32)
        lamp_angle = rng.uniform(0, 2 * np.pi)
        number = round(min(400, 9 * width * height / self.size**2))
        for _ in range(number):
            at = (rng.uniform(0, 1, 2) * (width, height)).astype(np.float32)
            turn = rng.uniform(0, np.pi)
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            reach = np.float32(self.size * rng.uniform(0.15, 0.7))
            depth = rng.uniform(0.3, 1) * np.cos(turn + np.pi / 2 - lamp_angle)
            phase, softness = np.float32(rng.uniform(0, 6)), rng.uniform(1.2, 4)
            rows, columns = _near(x, y, at, 2.2 * float(reach))
            dx, dy = x[rows, columns] - at[0], y[rows, columns] - at[1]
            off, along = c * dy - s * dx, c * dx + s * dy
            bow = off + np.float32(0.12) * reach * np.sin(along / reach * 2 + phase)
            near = np.exp(-((along / reach) ** 2) - (off / (np.float32(0.55) * reach)) ** 2)
            slope[rows, columns] += near * (rise(bow, softness) - 0.5) * np.float32(2 * depth)
            edges[rows, columns] += near * np.exp(-((bow / 0.5) ** 2)) * np.float32(0.5 * abs(depth))
        dark = (0.07 * (1 - np.clip(slope, -1.8, 1)) + 0.05 * edges) * self.strength
        lamp.dim(1 - dark.clip(0, 0.5) * lamp.on_page)


@dataclass(frozen=True, kw_only=True)
class ThermalFade(Defect):
    """Thermal paper after years: the ink goes grey in patches, the paper yellow.

    Args:
        strength: how much ink is gone.
        loss: share of the ink that is lost where most is.
    """

    loss: float = 0.75

    limits: ClassVar = {"loss": (0, 0.9)}

    def mark(self, sheet: Sheet, rng: np.random.Generator) -> None:
        """Take ink away."""
        width, height = sheet.drawing.size
        shape = max(2, round(height)), max(2, round(width))
        patchy = 0.45 + 0.55 * cloud(shape, 4, rng)
        left = 1 - self.strength * self.loss * patchy
        sheet.ink_left = left if sheet.ink_left is None else sheet.ink_left * left

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Yellow the paper."""
        patchy = 0.6 + 0.4 * cloud(lamp.shape, 4, rng)
        dark = self.strength * patchy * lamp.on_page
        lamp.dim(1 - dark[..., None] * np.array([0.03, 0.07, 0.17], np.float32))


def _near(x: np.ndarray, y: np.ndarray, at: np.ndarray, reach: float) -> tuple[slice, slice]:
    """Rows and columns that hold all places so near to a point."""
    near = (np.abs(x - at[0]) < reach) & (np.abs(y - at[1]) < reach)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _mix(paper: np.ndarray, ink: Colour, share: float) -> Colour:
    red, green, blue = np.round(paper + (np.array(ink) - paper) * share).astype(int).tolist()
    return red, green, blue
