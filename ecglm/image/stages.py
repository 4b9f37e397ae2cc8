"""What a defect can reach: the sheet, how it lies, the light on it, the picture taken of it.

The stages follow one another as they do in life, so a shadow falls over the stain and noise lies on both.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from ecglm.image.geometry import Bend, Geometry, Homography, Warp
from ecglm.image.redraw import Sheet

_STEP = 0.5  # mm of the page per value of light, at most four dots
_LIT = 2  # dots of the picture that are multiplied with one value between these, at most
_ROWS = 32  # at once, so that they stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One way in which a page comes to harm; `spoil` applies it.

    A subclass overrides those of the four stages in which it does something. Whatever it draws by chance it
    draws from `rng`, never in a number that depends on `strength`, so that one seed at two strengths gives
    the same harm in two degrees.

    Args:
        strength: from 0, which changes nothing, to 1, which is as bad as the other parameters say.

    Raises:
        ValueError: if a parameter is outside its range.
    """

    strength: float = 1.0

    limits: ClassVar[dict[str, tuple[float, float]]] = {}
    choices: ClassVar[dict[str, tuple[str | None, ...]]] = {}

    def __post_init__(self) -> None:
        kinds = {part.name: part.type for part in fields(self)}
        for name, (low, high) in {"strength": (0, 1), **self.limits}.items():
            value = getattr(self, name)
            if value is None and kinds[name] not in (int, float):
                continue
            number: Any = Integral if kinds[name] is int else Real
            if not isinstance(value, number) or isinstance(value, bool) or not low <= value <= high:
                whole = "a whole number " if kinds[name] is int else ""
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {whole}between {low} and {high}, got {value!r}"
                )
        for name, known in self.choices.items():
            if getattr(self, name) not in known:
                words = ", ".join(map(repr, known))
                raise ValueError(
                    f"{type(self).__name__}: {name} must be one of {words}, got {getattr(self, name)!r}"
                )
        for name in set(kinds) - {"strength", *self.limits, *self.choices}:  # what is written
            value = getattr(self, name)
            if kinds[name] == str | None and not isinstance(value, str | None):
                raise ValueError(f"{type(self).__name__}: {name} must be a text, got {value!r}")
            if kinds[name] == tuple[str, ...] | None and not (
                value is None or isinstance(value, tuple) and all(isinstance(line, str) for line in value)
            ):
                raise ValueError(f"{type(self).__name__}: {name} must be a list of texts, got {value!r}")

    def mark(self, sheet: Sheet, rng: np.random.Generator) -> None:
        """Change the sheet: add ink, wear it off."""

    def place(self, size: tuple[int, int], dpi: float, rng: np.random.Generator) -> Homography | Bend | None:
        """How the sheet lies: a map of the page's dots. None where it lies as it did."""
        return None

    def light(self, lamp: "Lamp", rng: np.random.Generator) -> None:
        """Change the light that comes from each part of the picture."""

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Change the picture, (height, width, 3) uint8: blur, noise, files. `dpi` are its own."""
        return picture

    def settings(self) -> dict[str, object]:
        """Name and parameters, for labels."""
        return {
            "defect": type(self).__name__,
            **{part.name: getattr(self, part.name) for part in fields(self)},
        }


class Lamp:
    """How much of the light each part of the picture gives back, every half millimetre or every few dots.

    Args:
        size: width and height of the picture, dots.
        geometry: of the flat page.
        warp: from its dots to the picture's.
    """

    def __init__(self, size: tuple[int, int], geometry: Geometry, warp: Warp) -> None:
        self.size = size
        self.per_mm = geometry.dpi / 25.4
        self._step = min(4, max(1, round(_STEP * self.per_mm)))
        self.shape = -(-size[1] // self._step), -(-size[0] // self._step)
        self._geometry, self._warp = geometry, warp
        self._layers: list[np.ndarray] = []

    @cached_property
    def picture(self) -> np.ndarray:
        """Where the values stand on the picture: (2, rows, columns), x and y, dots."""
        rows, columns = self.shape
        x = (np.arange(columns, dtype=np.float32) + 0.5) * (self.size[0] / columns)
        y = (np.arange(rows, dtype=np.float32) + 0.5) * (self.size[1] / rows)
        return np.stack(np.meshgrid(x, y))

    @cached_property
    def page(self) -> np.ndarray:
        """Where they stand on the page: (2, rows, columns), x and y, mm."""
        there = self._warp.to_page(self.picture.reshape(2, -1).T)
        return (there.T.reshape(self.picture.shape) / self.per_mm).astype(np.float32)

    @cached_property
    def off_page(self) -> np.ndarray:
        """Whether they and their neighbours stand beside the page: (rows, columns)."""
        page = np.pad(self.on_page, 1)
        page = page[:-2] | page[1:-1] | page[2:]
        return ~(page[:, :-2] | page[:, 1:-1] | page[:, 2:])

    @cached_property
    def on_page(self) -> np.ndarray:
        """Whether they stand on the page at all: (rows, columns)."""
        width, height = self._geometry.size
        outline = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]], float)
        rows, columns = self.shape
        edge = self._warp.line_to_picture(outline) * [columns / self.size[0], rows / self.size[1]] - 0.5
        mask = Image.new("1", (columns, rows))
        ImageDraw.Draw(mask).polygon([tuple(point) for point in edge.tolist()], fill=1)
        return np.asarray(mask)

    def dim(self, share: np.ndarray) -> None:
        """Leave a share of the light, 0 to 1: (rows, columns) for grey, (rows, columns, 3) for a colour."""
        self._layers.append(np.broadcast_to(share, (*self.shape, *share.shape[2:])))

    def shine(self, image: np.ndarray) -> np.ndarray:
        """The picture, (height, width, 3) uint8, under this light."""
        if not self._layers:
            return image
        coloured = any(layer.ndim == 3 for layer in self._layers)
        share = np.ones((*self.shape, 3) if coloured else self.shape, np.float32)
        for layer in self._layers:
            share *= layer[..., None] if coloured and layer.ndim == 2 else layer
        coarse = Image.fromarray(np.round(share.clip(0, 1) * 255).astype(np.uint8))
        height, width = image.shape[:2]
        dots = min(_LIT, self._step)
        fine = np.asarray(coarse.resize((-(-width // dots), -(-height // dots)), Image.Resampling.BILINEAR))
        lit = np.empty_like(image)
        for first in range(0, height, _ROWS):
            rows = fine[first // dots : (first + _ROWS) // dots]
            light = np.repeat(rows, dots if coloured else 3 * dots, axis=1).reshape(len(rows), -1)
            light = light[:, : 3 * width].astype(np.uint16)
            light += 1  # of 256, so that full light changes nothing
            for row in range(dots):
                dark = image[first + row : first + _ROWS : dots].reshape(-1, 3 * width)
                dark = light[: len(dark)] * dark
                dark += 128
                dark >>= 8
                lit[first + row : first + _ROWS : dots] = dark.reshape(-1, width, 3)
        return lit


def cloud(shape: tuple[int, int], blobs: float, rng: np.random.Generator, octaves: int = 2) -> np.ndarray:
    """Smooth chance, (rows, columns) from 0 to 1, with so many blobs along the longer side."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        number = blobs * 2**octave
        cells = [max(2, round(number * edge / max(shape)) + 1) for edge in shape]
        chance = rng.random(cells, dtype=np.float32)
        smooth = Image.fromarray(chance).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) / 2**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def rise(value: np.ndarray, width: float) -> np.ndarray:
    """From 0 to 1 over a width around 0, smoothly."""
    t = (value / width + 0.5).clip(0, 1)
    return t * t * (3 - 2 * t)
