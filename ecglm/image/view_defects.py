"""How the sheet lies and is lit: turned, tilted, bent, cut; shadows, lamps and displays."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageChops

from ecglm.image.geometry import Bend, Homography
from ecglm.image.raster import as_array
from ecglm.image.stages import Defect, Lamp, cloud, rise

_CAMERA = 1.6  # of the page's diagonal, distance of the camera from a bent sheet
_TINTS = {"warm": (1.0, 0.91, 0.76), "cool": (0.82, 0.92, 1.0), "green": (0.91, 1.0, 0.86)}


@dataclass(frozen=True, kw_only=True)
class Rotation(Defect):
    """A sheet laid askew on the scanner; the whole of it stays on the picture.

    Args:
        strength: share of the angle.
        degrees: clockwise; None: up to 6 either way by chance.
    """

    degrees: float | None = None

    limits: ClassVar = {"degrees": (-180, 180)}

    def place(self, size: tuple[int, int], dpi: float, rng: np.random.Generator) -> Homography:
        """Turn about the middle."""
        degrees = rng.choice((-1, 1)) * rng.uniform(1, 6) if self.degrees is None else self.degrees
        turn = np.radians(degrees * self.strength)
        c, s = np.cos(turn), np.sin(turn)
        x, y = size[0] / 2, size[1] / 2
        return Homography(np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [0, 0, 1]]))


@dataclass(frozen=True, kw_only=True)
class Perspective(Defect):
    """A sheet seen from the side.

    Args:
        strength: share of the shift.
        shift: how far each corner moves by chance, as share of the page's width and height, at most.
    """

    shift: float = 0.08

    limits: ClassVar = {"shift": (0, 0.3)}

    def place(self, size: tuple[int, int], dpi: float, rng: np.random.Generator) -> Homography:
        """Move the corners."""
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        inwards = 1 - 2 * corners
        moved = corners + inwards * rng.uniform(0.15, 1, (4, 2)) * self.shift * self.strength
        edges = np.array(size, float)
        return Homography(homography_of(corners * edges, moved * edges))


@dataclass(frozen=True, kw_only=True)
class Curvature(Defect):
    """A sheet that does not lie flat: bulging, sagging or curling up on one side.

    Args:
        strength: share of the height.
        height: mm, by which it leaves the table.
        degrees: direction across the bulge, 0 for one whose ridge runs from top to bottom; None: about 0 or
            90 by chance.
    """

    height: float = 22.0
    degrees: float | None = None

    limits: ClassVar = {"height": (0, 40), "degrees": (-180, 180)}

    def place(self, size: tuple[int, int], dpi: float, rng: np.random.Generator) -> Bend:
        """Bend it."""
        by_chance = rng.choice((0.0, 90.0), p=(0.65, 0.35)) + rng.normal(0, 6)
        turn = np.radians(by_chance if self.degrees is None else self.degrees)
        kind = rng.choice(("bulge", "curl", "wave"), p=(0.45, 0.35, 0.2))
        phase, side = rng.uniform(-0.25, 0.25), rng.choice((-1, 1))
        c, s = abs(np.cos(turn)), abs(np.sin(turn))
        half = (c * size[0] + s * size[1]) / 2
        flat = np.linspace(-half, half, 2001)
        share = side * flat / half
        if kind == "bulge":
            profile = np.cos((share - phase) * np.pi / 2) ** 2
        elif kind == "curl":
            profile = ((share - phase).clip(0, None) / (1 - phase)) ** 2
        else:
            profile = 0.4 + 0.4 * np.sin((share + phase) * np.pi)
        z = profile * self.height * self.strength * dpi / 25.4
        flattened = np.sqrt((1 - np.gradient(z, flat) ** 2).clip(0.05, None))
        along = np.concatenate([[0], np.cumsum((flattened[1:] + flattened[:-1]) / 2 * np.diff(flat))])
        along -= np.interp(0, flat, along)
        scale = 1 / (1 - z / (_CAMERA * np.hypot(*size)))
        seen = along * scale
        # Beyond the sheet the table goes on, so that every dot of the picture has its place.
        far = 4 * np.hypot(*size)
        flat = np.concatenate([[flat[0] - far], flat, [flat[-1] + far]])
        seen = np.concatenate([[seen[0] - far], seen, [seen[-1] + far]])
        scale = np.concatenate([scale[:1], scale, scale[-1:]])
        assert (np.diff(seen) > 0).all(), "the sheet hides part of itself"
        return Bend(np.array(size) / 2, np.array([np.cos(turn), np.sin(turn)]), flat, seen, scale)


@dataclass(frozen=True, kw_only=True)
class Crop(Defect):
    """A picture that does not show all of the page.

    Args:
        strength: share of what is cut off.
        share: of width and height cut off each side by chance, at most.
    """

    share: float = 0.08

    limits: ClassVar = {"share": (0, 0.4)}

    def cut(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """The box that is left: whole dots."""
        left, top, right, bottom = rng.uniform(0.1, 1, 4) * self.share * self.strength
        x0, y0 = int(np.ceil(left * size[0])), int(np.ceil(top * size[1]))
        return x0, y0, size[0] - int(np.ceil(right * size[0])), size[1] - int(np.ceil(bottom * size[1]))


@dataclass(frozen=True, kw_only=True)
class Shadow(Defect):
    """The shadow of a head, a hand or a telephone.

    Args:
        strength: share of the depth.
        depth: share of the light that is lost in its middle.
        softness: mm, over which it fades out.
    """

    depth: float = 0.5
    softness: float = 45.0

    limits: ClassVar = {"depth": (0, 1), "softness": (1, 200)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Cast it."""
        x, y = lamp.picture
        width, height = lamp.size
        soft = self.softness * lamp.per_mm
        turn = rng.uniform(0, 2 * np.pi)
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        dx, dy = x - width / 2, y - height / 2
        along, across = c * dx + s * dy, c * dy - s * dx
        edge = (abs(c) * width + abs(s) * height) / 2 * rng.uniform(0.05, 0.6)
        if rng.random() < 0.5:  # something long leans in
            off = along - edge + 0.08 * width * np.sin(across / width * 4 + rng.uniform(0, 6))
        else:  # something round
            r = np.float32(rng.uniform(0.35, 0.6) * width)
            off = r - np.hypot(along - edge - r, (across - rng.uniform(-0.3, 0.3) * height) * 0.8)
        lamp.dim(1 - np.float32(self.strength * self.depth) * rise(off, soft))


@dataclass(frozen=True, kw_only=True)
class UnevenLight(Defect):
    """A lamp at one side, and a lens that sees less at its corners.

    Args:
        strength: share of the depth.
        depth: share of the light that is lost at the far side.
    """

    depth: float = 0.5

    limits: ClassVar = {"depth": (0, 1)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Let it fall off."""
        x, y = lamp.picture
        width, height = lamp.size
        turn = rng.uniform(0, 2 * np.pi)
        u, v = x / width - 0.5, y / height - 0.5
        far = 0.5 + (u * np.cos(turn) + v * np.sin(turn)) / (abs(np.cos(turn)) + abs(np.sin(turn)))
        corner = (u**2 + v**2) * 2
        lamp.dim(
            (1 - self.strength * self.depth * (0.8 * far**1.3 + 0.35 * corner).clip(0, 1)).astype(np.float32)
        )


@dataclass(frozen=True, kw_only=True)
class ColourCast(Defect):
    """Light that is not white.

    Args:
        strength: how much of it.
        tint: "warm" (a bulb), "cool" (shade), "green" (tubes); None: by chance.
    """

    tint: str | None = None

    choices: ClassVar = {"tint": (None, *_TINTS)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Filter it."""
        tint = np.array(_TINTS[self.tint or str(rng.choice(list(_TINTS)))], np.float32)
        lamp.dim((1 - np.float32(self.strength) * (1 - tint))[None, None])


@dataclass(frozen=True, kw_only=True)
class Moire(Defect):
    """Bands where the paper's grid or a display beats against the camera's.

    Args:
        strength: share of the depth.
        depth: share of the light that the bands take.
        period: mm from one band to the next.
    """

    depth: float = 0.16
    period: float = 8.0

    limits: ClassVar = {"depth": (0, 1), "period": (3, 100)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Beat."""
        x, y = lamp.picture / (self.period * lamp.per_mm)
        turn, bow = rng.uniform(0, np.pi), rng.uniform(0.004, 0.012) * rng.choice((-1, 1))
        mx, my = x - rng.uniform(0, 30), y - rng.uniform(0, 20)
        bands = x * np.cos(turn) + y * np.sin(turn) + bow * (mx**2 + my**2)
        bands = 2 * np.pi * (bands + 0.5 * cloud(lamp.shape, 3, rng))
        patchy = 0.4 + 0.6 * cloud(lamp.shape, 3, rng)
        waves = [0.5 + 0.5 * np.cos(bands + shift) for shift in (0, 0.8, 1.6)]
        share = self.strength * self.depth * patchy[..., None] * np.stack(waves, axis=-1)
        lamp.dim((1 - share).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Screen(Defect):
    """A page photographed from a display: the display's stripes and lines, its blue, a lamp's reflection.

    Args:
        strength: of all three.
        pitch: mm between the display's pixels, as large as they appear on the page.
    """

    pitch: float = 0.31

    limits: ClassVar = {"pitch": (0.1, 2)}

    def light(self, lamp: Lamp, rng: np.random.Generator) -> None:
        """Make it blue."""
        lamp.dim((1 - np.float32(self.strength) * np.array([0.14, 0.06, 0.0], np.float32))[None, None])

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Lay the stripes and the reflection over it."""
        pitch = self.pitch * dpi / 25.4
        # Phases in 256ths of a turn wrap around by themselves; stripes closer than the dots give true moiré.
        tilt = rng.normal(0, 0.02)
        height, width = picture.shape[:2]
        x, y = (np.arange(edge) * (256 / pitch) for edge in (width, height))
        across = np.add.outer(np.round(-tilt * y), np.round(x)).astype(np.int64).astype(np.uint8)
        down = np.add.outer(np.round(y), np.round(tilt * x)).astype(np.int64).astype(np.uint8)
        turn = np.arange(256) / 256 * 2 * np.pi
        stripes = Image.fromarray(across)
        # A camera's dot sees their mean: of stripes as narrow as dots little is left but rainbows.
        depth = 0.3 * self.strength * max(0.15, float(np.sinc(1 / pitch)) if pitch > 1 else 0)
        channels = []
        for channel in range(3):
            wave = 255 * (1 - depth * (0.5 - 0.5 * np.cos(turn - channel * 2 * np.pi / 3)))
            channels.append(stripes.point(np.round(wave).astype(int).tolist()))
        wave = 255 * (1 - 0.8 * depth * (0.5 - 0.5 * np.cos(turn)) ** 2)
        lines = Image.fromarray(down).point(np.round(wave).astype(int).tolist())
        seen = ImageChops.multiply(Image.fromarray(picture), Image.merge("RGB", channels))
        seen = ImageChops.multiply(seen, Image.merge("RGB", (lines, lines, lines)))
        small = 64, 48
        u, v = np.meshgrid(np.linspace(0, 1, small[0]), np.linspace(0, 1, small[1]))
        off = np.hypot(
            (u - rng.uniform(0.1, 0.9)) / rng.uniform(0.15, 0.4), (v - rng.uniform(0.1, 0.9)) / 0.3
        )
        glare = Image.fromarray(np.round(255 * 0.4 * self.strength * np.exp(-(off**2))).astype(np.uint8))
        seen.paste((255, 255, 255), mask=glare.resize(seen.size, Image.Resampling.BICUBIC))
        return as_array(seen)


def homography_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The (3, 3) matrix that takes four points, (4, 2), to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(before, after, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1).reshape(3, 3)
