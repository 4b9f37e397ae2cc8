"""Drawings to dots: anti-aliased lines, grids and texts in NumPy, a page in some 20 ms.

A line is drawn as what a round pen covers. Along a piece of the line that never turns back in x, the pen's
area over each thin upright slice is one interval, so the whole line is two rows of numbers, its upper and
its lower edge, and a dot's coverage is the mean overlap of its slices. That is exact for the heights and
true to a fraction of a dot for the widths, and its cost grows with the ink, not with the page.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ecglm.image.drawing import Colour, Drawing, Grid, Text
from ecglm.image.geometry import Box

STRIP = 64  # rows of dots that are copied at once
_AT_ONCE = 128  # lines; a page has some 60, but one of noise cut into thousands, which would take gigabytes
_SLICES = (3, 4, 5)  # of a dot, whichever suits the pen best


def rasterise(drawing: Drawing, dpi: float) -> np.ndarray:
    """Draw all layers: (height, width, 3) uint8."""
    scale = dpi / 25.4
    size = size_in_dots(drawing, dpi)
    image = background(drawing.grid, drawing.paper, size, scale).copy()
    for area in drawing.areas:
        x0, y0, x1, y1 = (round(edge * scale) for edge in area.box)
        part = image[max(y0, 0) : y1, max(x0, 0) : max(x1, x0 + 1)]
        part[...] = np.round(part + (np.array(area.colour, np.float32) - part) * area.opacity)
    pens: dict[tuple[float, Colour], list[np.ndarray]] = {}
    for stroke in drawing.strokes:
        pens.setdefault((stroke.width, stroke.colour), []).append(stroke.points * scale)
    for (width, colour), lines in pens.items():
        for first in range(0, len(lines), _AT_ONCE):
            paint(image, *cover(lines[first : first + _AT_ONCE], width * scale, size), colour)
    for text in drawing.texts:
        if text.text.strip():
            write(image, text, scale, drawing.font)
    return image


def text_boxes(drawing: Drawing, dpi: float) -> list[tuple[str, Box]]:
    """Each text of a drawing with the box around its ink, dots."""
    boxes: list[tuple[str, Box]] = []
    for text in drawing.texts:
        if text.text.strip():
            ink, x, y = _placed(text, dpi / 25.4, drawing.font)
            boxes.append((text.text, (float(x), float(y), float(x + ink.shape[1]), float(y + ink.shape[0]))))
    return boxes


def size_in_dots(drawing: Drawing, dpi: float) -> tuple[int, int]:
    """Width and height of the picture."""
    return round(drawing.size[0] * dpi / 25.4), round(drawing.size[1] * dpi / 25.4)


def cover(
    polylines: Sequence[np.ndarray], width: float, size: tuple[int, int], slices: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which dots a round pen covers that follows the polylines, and how much of each.

    Args:
        polylines: (points, 2) dots; what lies outside the picture is left out.
        width: of the pen, dots; a pen thinner than a dot is drawn one dot wide and paler.
        size: width and height of the picture.
        slices: how finely each column is divided, 3 to 5 by default; 1 does for lines that are nearly level.

    Returns:
        Flat indices (row * width + column) and their coverage, 0 to 1 float32. Where lines meet an index may
        come more than once; the largest coverage counts.
    """
    columns, rows = size
    radius, strength = max(width, 1.0) / 2, min(width, 1.0)
    if slices is None:  # an upright line is an odd number of slices wide
        slices = min(
            _SLICES, key=lambda number: abs(2 * radius * number - _odd(2 * radius * number)) / number
        )
    reach = (_odd(2 * radius * slices) - 1) // 2
    nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
    lines = [line if len(line) > 1 else line[[0, 0]] for line in polylines if len(line)]
    if not lines:
        return nothing

    # Segments, each turned to run from left to right; runs are stretches that kept one direction.
    start, end = np.concatenate([line[:-1] for line in lines]), np.concatenate([line[1:] for line in lines])
    number = np.repeat(np.arange(len(lines)), [len(line) - 1 for line in lines])
    leftwards = end[:, 0] < start[:, 0]
    low, high = -reach, columns * slices - 1 + reach
    x0, x1 = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    inside = (x1 * slices >= low) & (x0 * slices <= high + 1)
    if not inside.any():
        return nothing
    x0, x1, number, leftwards = x0[inside], x1[inside], number[inside], leftwards[inside]
    y0 = np.where(leftwards, end[inside, 1], start[inside, 1])
    y1 = np.where(leftwards, start[inside, 1], end[inside, 1])
    first = np.clip(np.floor(x0 * slices), low, high).astype(np.int64)
    last = np.clip(np.floor(x1 * slices), low, high).astype(np.int64)
    breaks = np.flatnonzero((np.diff(number) != 0) | (np.diff(leftwards) != 0)) + 1
    heads = np.concatenate([[0], breaks])

    # Every run gets a stretch of its own on one long axis of slices, aligned to whole dots.
    margin = slices * math.ceil(max(reach, 1) / slices)
    base = np.minimum.reduceat(first, heads) // slices * slices - margin
    length = (np.maximum.reduceat(last, heads) + margin - base) // slices * slices + slices
    offset = np.concatenate([[0], np.cumsum(length)])
    run = np.repeat(np.arange(len(heads)), np.diff(np.concatenate([heads, [len(first)]])))
    segment, step = _expand(last - first + 1)
    slice_ = first[segment] + step
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(x1 > x0, (y1 - y0) / (x1 - x0), 0.0)
    left, right, begin, rise = x0[segment], x1[segment], y0[segment], slope[segment]
    enter = begin + rise * (np.clip(slice_ / slices, left, right) - left)
    leave = begin + rise * (np.clip((slice_ + 1) / slices, left, right) - left)
    leave = np.where(right > left, leave, y1[segment])
    place = slice_ + (offset[:-1] - base)[run[segment]]
    upper = np.full(offset[-1], np.inf, np.float32)
    lower = np.full(offset[-1], -np.inf, np.float32)
    np.minimum.at(upper, place, np.minimum(enter, leave).astype(np.float32))
    np.maximum.at(lower, place, np.maximum(enter, leave).astype(np.float32))
    centre = (slice_ + 0.5) / slices
    middle = np.full(offset[-1], np.nan, np.float32)
    crossed = (left <= centre) & (centre <= right)
    middle[place[crossed]] = (begin + rise * (centre - left))[crossed]

    # The pen's edges: over a slice's own line, and where the line through its neighbours lifts them. Within a
    # slice the line's middle is so many slices off, its extremes up to half a slice further.
    top, bottom = np.full_like(upper, np.inf), np.full_like(lower, -np.inf)
    for shift in range(-reach, reach + 1):
        to = slice(max(0, -shift), len(top) - max(0, shift))
        source = slice(max(0, shift), len(top) - max(0, -shift))
        half = _half_chord(radius, abs(shift) / slices)
        further = _half_chord(radius, (abs(shift) + 0.5) / slices)
        np.fmin(top[to], middle[source] - half, out=top[to])
        np.fmax(bottom[to], middle[source] + half, out=bottom[to])
        np.minimum(top[to], upper[source] - further, out=top[to])
        np.maximum(bottom[to], lower[source] + further, out=bottom[to])

    top, bottom = top.reshape(-1, slices), bottom.reshape(-1, slices)
    column, _ = _expand(length // slices)
    column = (base // slices)[column] + _
    from_row = np.floor(top.min(axis=1)).clip(0, rows)
    to_row = np.ceil(bottom.max(axis=1)).clip(0, rows)
    keep = np.flatnonzero((to_row > from_row) & (column >= 0) & (column < columns))
    from_row, to_row = from_row[keep].astype(np.int64), to_row[keep].astype(np.int64)
    which, step = _expand(to_row - from_row)
    row = from_row[which] + step
    edge = row.astype(np.float32)
    coverage = np.zeros(len(row), np.float32)
    for part in range(slices):
        overlap = np.minimum(bottom[keep, part][which], edge + 1) - np.maximum(top[keep, part][which], edge)
        coverage += np.clip(overlap, 0, None)
    return row * columns + column[keep][which], coverage * np.float32(strength / slices)


def _half_chord(radius: float, off: float) -> np.float32:
    """Half of a circle's height so far off its centre."""
    return np.float32(math.sqrt(max(0.0, radius**2 - off**2)))


def _odd(value: float) -> int:
    """The odd whole number next to a value."""
    return 2 * round((value - 1) / 2) + 1


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts 2, 3: which entry (0 0 1 1 1), and how far into it (0 1 0 1 2)."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)


def paint(image: np.ndarray, index: np.ndarray, coverage: np.ndarray, colour: Colour) -> None:
    """Lay ink of one colour on a picture, in place; `index` and `coverage` as `cover` gives them."""
    dots = image.reshape(-1, image.shape[-1])
    most = np.zeros(len(dots), np.uint8)
    np.maximum.at(most, index, np.round(coverage * 255).astype(np.uint8))
    before = dots[index].astype(np.float32)
    share = most[index].astype(np.float32)[:, None] / 255
    dots[index] = np.round(before + (np.array(colour, np.float32) - before) * share)


def as_array(picture: Image.Image) -> np.ndarray:
    """The dots of a picture, (height, width, 3) uint8.

    In strips: for copies of whole pages the system would have to find fresh memory again and again.
    """
    width, height = picture.size
    array = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP):
        strip = picture.crop((0, top, width, min(top + STRIP, height)))
        array[top : top + STRIP] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return array


@lru_cache(maxsize=4)
def background(grid: Grid, paper: Colour, size: tuple[int, int], scale: float) -> np.ndarray:
    """The empty page, (height, width, 3) uint8; shared, so copy it before drawing."""
    x0, y0, x1, y1 = grid.box
    left, top, right, bottom = (round(edge * scale) for edge in grid.box)
    image = np.full((size[1], size[0], 3), paper, np.uint8)
    ruled = image[top:bottom, left:right]
    profiles = []
    for step, thickness, colour in grid.lines:
        width = max(1.0, thickness * scale)
        across = ruling(left, right, x0 * scale, x1 * scale, step * scale, width)
        down = ruling(top, bottom, y0 * scale, y1 * scale, step * scale, width)
        profiles.append((across.astype(np.float32), down.astype(np.float32), np.array(colour, np.float32)))
    # Rows between the level lines are all alike; the others go in blocks, which keeps the memory small.
    crossed = np.zeros(bottom - top, bool)
    for _, down, _ in profiles:
        crossed |= down > 0
    blocks = [
        np.flatnonzero(~crossed)[:1],
        *np.array_split(np.flatnonzero(crossed), 1 + crossed.sum() // 128),
    ]
    for rows in blocks:
        dots = np.full((len(rows), right - left, 3), grid.paper, np.float32)
        for across, down, ink in profiles:
            dots += np.maximum(down[rows, None], across)[..., None] * (ink - dots)
        ruled[rows] = np.round(dots)
    ruled[~crossed] = ruled[blocks[0]]
    image.flags.writeable = False
    return image


def ruling(first: int, last: int, begin: float, end: float, step: float, width: float) -> np.ndarray:
    """Share of the dots `first` to `last` that lines every `step` from `begin` to `end` cover: 0 to 1."""
    edges = np.arange(first, last + 1, dtype=np.float64)
    lines = np.arange(begin, end + step / 2, step)[:, None]
    overlap = np.clip(edges, lines - width / 2, lines + width / 2)
    return np.diff(overlap, axis=1).sum(axis=0).clip(0, 1)


def write(image: np.ndarray, text: Text, scale: float, font: str | None = None) -> None:
    """Write on a picture, in place."""
    ink, x, y = _placed(text, scale, font)
    height, width = ink.shape
    top, left = max(0, -y), max(0, -x)
    part = image[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
    share = ink[top : top + part.shape[0], left : left + part.shape[1], None].astype(np.float32) / 255
    part[...] = np.round(part + (np.array(text.colour, np.float32) - part) * share)


def _placed(text: Text, scale: float, font: str | None) -> tuple[np.ndarray, int, int]:
    """The ink of a text, and the column and row of its upper left dot."""
    ink, dx, dy = letters(text.text, text.size * scale, text.anchor, font)
    return ink, round(text.x * scale) + dx, round(text.y * scale) + dy


@lru_cache(maxsize=1024)
def letters(text: str, size: float, anchor: str, font: str | None = None) -> tuple[np.ndarray, int, int]:
    """The ink of a text, (height, width) uint8, and where its upper left dot stands from the anchor."""
    face = load_font(size, font)
    x0, y0, x1, y1 = (round(edge) for edge in face.getbbox(text, anchor=anchor))
    large = Image.new("L", (x1 - x0 + 2, y1 - y0 + 2))
    ImageDraw.Draw(large).text((1 - x0, 1 - y0), text, fill=255, font=face, anchor=anchor)
    box = large.getbbox() or (0, 0, 1, 1)
    return np.asarray(large.crop(box)), x0 - 1 + box[0], y0 - 1 + box[1]


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, font: str | None = None) -> float:
    """How far a text advances, dots."""
    return float(load_font(size, font).getlength(text))


@lru_cache(maxsize=64)
def load_font(size: float, font: str | None = None) -> ImageFont.FreeTypeFont:
    """A font at a size in dots.

    Raises:
        ValueError: if `font` is no TrueType or OpenType file.
    """
    if font is None:
        default = ImageFont.load_default(size=size)
        assert isinstance(default, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
        return default
    try:
        return ImageFont.truetype(font, size)
    except OSError as error:
        raise ValueError(f"font={font!r} is no font file that can be read; give a .ttf or .otf") from error
