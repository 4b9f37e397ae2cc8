"""A drawing on a bent, turned or tilted sheet: drawn again in its new place, not resampled.

Traces are drawn from their warped lines, so they stay as sharp and as exact as on the flat page. The grid is
taken from one channel of an index that a palette then colours, at the nearest part of a dot: an eighth of the
work of resampling colours. Texts are resampled one by one.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from ecglm.image.drawing import Colour, Drawing
from ecglm.image.geometry import Box, Warp
from ecglm.image.raster import as_array, background, cover, letters, paint, ruling

_CELL = 64  # dots; within a cell of the lattice the map is taken as bilinear
_TEXT_CELL = 32
_PARTS, _FINE = (4, 2), 5.0  # of a dot, in which the grid is kept; fewer above so many dots per mm
_OFF_PAGE = 0  # in the grid's index


@dataclass(frozen=True)
class Patch:
    """A piece of ink that is no line: a stamp.

    Args:
        ink: (height, width) uint8.
        place: (2, 3) affine map from its dots to mm of the page.
        colour: of the ink.
        text: what it says.
    """

    ink: np.ndarray
    place: np.ndarray
    colour: Colour
    text: str


@dataclass
class Sheet:
    """A page's layers and what happened to the paper since.

    Args:
        drawing: the layers in mm; a copy that may be added to.
        patches: further ink.
        worn: lines, (points, 2) mm, along which the ink has gone, each with its width in mm and which share
            of the ink is lost.
        ink_left: which share of the ink is left, 0 to 1, over the picture in any coarse resolution.
    """

    drawing: Drawing
    patches: list[Patch] = field(default_factory=list)
    worn: list[tuple[np.ndarray, float, float]] = field(default_factory=list)
    ink_left: np.ndarray | None = None


def redraw(
    sheet: Sheet, dpi: float, page_size: tuple[int, int], warp: Warp, size: tuple[int, int], behind: Colour
) -> tuple[np.ndarray, list[tuple[str, Box]]]:
    """Draw all layers where the warp takes them.

    Args:
        sheet: the layers.
        dpi: dots per inch of the undistorted page.
        page_size: its width and height, dots.
        warp: from its dots to those of the picture.
        size: width and height of the picture, dots.
        behind: colour of what lies around the page.

    Returns:
        The picture, (height, width, 3) uint8, and each text that it shows with the box around its ink.
    """
    drawing, scale = sheet.drawing, dpi / 25.4
    image = _grid(drawing, scale, page_size, warp, size, behind)
    for area in drawing.areas:
        x0, y0, x1, y1 = area.box
        outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]) * scale
        mask = Image.new("L", size)
        corners = [tuple(point) for point in warp.line_to_picture(outline).tolist()]
        ImageDraw.Draw(mask).polygon(corners, fill=round(255 * area.opacity))
        picture = Image.fromarray(image)
        picture.paste(area.colour, mask=mask)
        image = np.array(picture)

    # Stamps lie under the lines: their ink never makes black lighter.
    stamped = []
    for patch in sheet.patches:
        place = patch.place * scale
        stamped.append((patch.text, _press(image, patch.ink, place, patch.colour, warp, None)))

    larger = warp.scale(page_size)
    pens: dict[tuple[float, Colour], list[np.ndarray]] = {}
    for stroke in drawing.strokes:
        line = warp.line_to_picture(stroke.points * scale)
        pens.setdefault((stroke.width, stroke.colour), []).append(line)
    for (width, colour), lines in pens.items():
        index, coverage = cover(lines, width * scale * larger, size)
        paint(image, index, _left(coverage, index, sheet.ink_left, size), colour)

    boxes = []
    for text in drawing.texts:
        if text.text.strip():
            ink, dx, dy = letters(text.text, text.size * scale, text.anchor, drawing.font)
            x, y = round(text.x * scale) + dx, round(text.y * scale) + dy
            place = np.array([[1.0, 0, x], [0, 1, y]])
            boxes.append((text.text, _press(image, ink, place, text.colour, warp, sheet.ink_left)))
    boxes += stamped

    for line, width, share in sheet.worn:
        index, coverage = cover([warp.line_to_picture(line * scale)], width * scale * larger, size)
        paint(image, index, coverage * np.float32(share), drawing.grid.paper)
    return image, [(text, box) for text, box in boxes if box is not None]


def warp_to(
    ink: Image.Image,
    to_ink: Warp,
    place: np.ndarray | None,
    box: Box,
    cell: int,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """Part of the picture, filled from a picture of the page in the mode "L"; 0 where there is no page.

    Args:
        ink: the picture of the page, or of a part of it.
        to_ink: whose `to_page` leads from the picture to the page.
        place: (2, 3) affine map from dots of `ink` to dots of the page; None where they are the same.
        box: which part of the picture.
        cell: dots of the lattice for a bent page; a flat one needs none.
        resample: Pillow's way.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    size = right - left, bottom - top
    flat = to_ink.homography
    if flat is not None:
        matrix = np.linalg.inv(flat) @ [[1, 0, left], [0, 1, top], [0, 0, 1]]
        if place is not None:
            matrix = np.linalg.solve(np.vstack([place, [0, 0, 1]]), matrix)
        tilt = tuple((matrix / matrix[2, 2]).ravel()[:8].tolist())
        return ink.transform(size, Image.Transform.PERSPECTIVE, tilt, resample)
    xs, ys = (np.append(np.arange(low, high, cell), high) for low, high in ((left, right), (top, bottom)))
    points = to_ink.to_page(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(float))
    if place is not None:
        points = np.linalg.solve(place[:, :2], (points - place[:, 2]).T).T
    at = points.reshape(len(ys), len(xs), 2)
    corners = np.concatenate([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], axis=-1)
    # Cells that see nothing of the page stay empty.
    reach = corners.reshape(*corners.shape[:2], 4, 2)
    seen = ((reach.max(axis=2) > 0) & (reach.min(axis=2) < np.array(ink.size))).all(axis=-1)
    across, down = (xs - left).tolist(), (ys - top).tolist()
    mesh = [
        ((across[column], down[row], across[column + 1], down[row + 1]), tuple(corners[row, column].tolist()))
        for row, column in np.argwhere(seen).tolist()
    ]
    return ink.transform(size, Image.Transform.MESH, mesh, resample)


def _grid(
    drawing: Drawing,
    scale: float,
    page_size: tuple[int, int],
    warp: Warp,
    size: tuple[int, int],
    behind: Colour,
) -> np.ndarray:
    """Paper and grid in their new place."""
    grid = drawing.grid
    if not warp.steps:
        return background(grid, drawing.paper, size, scale).copy()
    # From one level of the index to the next the palette runs straight: outside, lines, paper, white margin.
    inks = [behind, *(colour for *_, colour in reversed(grid.lines)), grid.paper, drawing.paper]
    levels = np.linspace(1, 255, len(inks) - 1).round().astype(int).tolist()
    thin_to_strong = levels[: len(grid.lines)][::-1]
    lines = tuple(
        (step, width, level) for (step, width, _), level in zip(grid.lines, thin_to_strong, strict=True)
    )
    parts = _PARTS[scale > _FINE]
    flat = _indexed(grid.box, lines, levels[-2], levels[-1], page_size, scale, parts)
    place = np.array([[1, 0, -0.5], [0, 1, -0.5]]) / parts
    picture = warp_to(flat, warp, place, (0, 0, *size), _CELL, Image.Resampling.NEAREST)
    colours = np.array(inks, float)
    palette = [np.interp(np.arange(256), levels, colours[1:, channel]) for channel in range(3)]
    table = np.round(np.stack(palette, axis=1)).astype(np.uint8)
    table[_OFF_PAGE] = behind
    picture.putpalette(table.ravel().tolist())
    return as_array(picture)


@lru_cache(maxsize=4)
def _indexed(
    box: Box,
    lines: tuple[tuple[float, float, int], ...],
    ruled: int,
    margin: int,
    size: tuple[int, int],
    scale: float,
    parts: int,
) -> Image.Image:
    """The empty page with levels for colours, in the mode "L", taken so many times a dot, an even number: the
    value in column i and row j is that of a whole dot around (i / parts, j / parts).
    """
    image = np.full((parts * size[1] + 1, parts * size[0] + 1), margin, np.uint8)
    left, top, right, bottom = (parts * round(edge * scale) for edge in box)
    fine = parts * scale
    profiles = []
    for step, thickness, level in lines:
        width = max(parts, thickness * fine)
        across = ruling(left, right, box[0] * fine, box[2] * fine, step * fine, width)
        down = ruling(top, bottom, box[1] * fine, box[3] * fine, step * fine, width)
        profiles.append((_whole(across, parts), _whole(down, parts), level))
    # Rows between the level lines are all alike.
    rows = np.zeros(bottom - top + 1, bool)
    for _, down, _ in profiles:
        rows |= down > 0
    part = image[top : bottom + 1, left : right + 1]
    for these in (np.flatnonzero(~rows)[:1], np.flatnonzero(rows)):
        dots = np.full((len(these), part.shape[1]), ruled, np.float32)
        for across, down, level in profiles:
            dots += np.maximum(down[these, None], across) * (np.float32(level) - dots)
        part[these] = np.round(dots)
    part[~rows] = part[np.flatnonzero(~rows)[:1]]
    return Image.fromarray(image)


def _whole(shares: np.ndarray, parts: int) -> np.ndarray:
    """From the shares of a dot's parts to those of whole dots around each edge between parts."""
    padded = np.pad(shares, parts // 2, mode="edge")
    return np.convolve(padded, np.full(parts, 1 / parts), mode="valid").astype(np.float32)


def _press(
    image: np.ndarray,
    ink: np.ndarray,
    place: np.ndarray,
    colour: Colour,
    warp: Warp,
    ink_left: np.ndarray | None,
) -> Box | None:
    """Lay a patch of ink on the picture, in place; the box around it comes back, None if it is outside."""
    ink = np.pad(ink, 1)
    place = np.column_stack([place[:, :2], place[:, 2] - place[:, :2].sum(axis=1)])
    height, width = ink.shape
    rows, columns = image.shape[:2]
    outline = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]], float)
    there = warp.line_to_picture(outline @ place[:, :2].T + place[:, 2])
    (x0, y0), (x1, y1) = np.floor(there.min(axis=0)).astype(int), np.ceil(there.max(axis=0)).astype(int)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, columns), min(y1, rows)
    if x0 >= x1 or y0 >= y1:
        return None
    pressed = warp_to(Image.fromarray(ink), warp, place, (x0, y0, x1, y1), _TEXT_CELL)
    inked = pressed.getbbox()
    if inked is None:
        return None
    row, column = np.nonzero(np.asarray(pressed))
    share = np.asarray(pressed)[row, column].astype(np.float32) / 255
    row, column = row + y0, column + x0
    if ink_left is not None:
        share *= _look_up(ink_left, row, column, (columns, rows))
    before = image[row, column].astype(np.float32)
    image[row, column] = np.round(before + (np.array(colour, np.float32) - before) * share[:, None])
    return float(x0 + inked[0]), float(y0 + inked[1]), float(x0 + inked[2]), float(y0 + inked[3])


def _left(
    coverage: np.ndarray, index: np.ndarray, ink_left: np.ndarray | None, size: tuple[int, int]
) -> np.ndarray:
    if ink_left is None:
        return coverage
    return coverage * _look_up(ink_left, index // size[0], index % size[0], size)


def _look_up(coarse: np.ndarray, row: np.ndarray, column: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values of a coarse picture at dots of the fine one."""
    rows, columns = coarse.shape
    return coarse[row * rows // size[1], column * columns // size[0]].astype(np.float32)
