"""What lens, sensor and file do to a picture."""

import io
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from ecglm.image.raster import STRIP, as_array
from ecglm.image.stages import Defect


@dataclass(frozen=True, kw_only=True)
class FocusBlur(Defect):
    """A lens out of focus.

    Args:
        strength: share of the radius.
        radius: mm, standard deviation of the blur.
    """

    radius: float = 0.22

    limits: ClassVar = {"radius": (0, 3)}

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Blur it."""
        blur = ImageFilter.GaussianBlur(self.strength * self.radius * dpi / 25.4)
        return as_array(Image.fromarray(picture).filter(blur))


@dataclass(frozen=True, kw_only=True)
class MotionBlur(Defect):
    """A hand that moved; the middle of the movement is where things seem to stand.

    Args:
        strength: share of the length.
        length: mm, of the movement.
        degrees: its direction; None: by chance.
    """

    length: float = 0.7
    degrees: float | None = None

    limits: ClassVar = {"length": (0, 10), "degrees": (-180, 180)}

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Smear it."""
        by_chance = rng.uniform(0, 180)
        turn = np.radians(by_chance if self.degrees is None else self.degrees)
        length = self.strength * self.length * dpi / 25.4
        taps = _smear(length * np.cos(turn), length * np.sin(turn))
        height, width = picture.shape[:2]
        edge = max(abs(shift) for tap in taps for shift in tap)
        padded = np.pad(picture, ((edge, edge), (edge, edge), (0, 0)), mode="edge")
        total = np.full(picture.shape, 128, np.uint16)
        for (dx, dy), share in taps.items():
            part = padded[edge + dy : edge + dy + height, edge + dx : edge + dx + width]
            total += part * np.uint16(share)
        return (total >> 8).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class LowResolution(Defect):
    """A picture made smaller, as messengers and old cameras do; its size shrinks.

    Args:
        strength: share of the way from 1 to `factor`.
        factor: how many times smaller.
    """

    factor: float = 2.0

    limits: ClassVar = {"factor": (1, 8)}

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Shrink it."""
        factor = 1 + self.strength * (self.factor - 1)
        if factor == 1:
            return picture
        height, width = (max(1, min(edge - 1, round(edge / factor))) for edge in picture.shape[:2])
        return as_array(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True, kw_only=True)
class Noise(Defect):
    """A sensor short of light: every dot and colour by itself.

    Args:
        strength: share of the deviation.
        deviation: standard deviation of the noise, of 255.
    """

    deviation: float = 16.0

    limits: ClassVar = {"deviation": (0, 60)}

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Add it."""
        # Bytes of chance become noise by a table; Pillow adds fastest where each value is a dot by itself.
        width = picture.shape[1]
        bits = np.random.SFC64(int(rng.integers(2**63)))
        table = np.round(128 + self.strength * self.deviation * _normal_quantiles()).clip(0, 255)
        levels = table.astype(int).tolist()
        noisy = np.empty_like(picture)
        for top in range(0, len(picture), STRIP):
            strip = np.ascontiguousarray(picture[top : top + STRIP])
            chance = bits.random_raw(-(-strip.size // 8)).view(np.uint8)[: strip.size]
            values, noise = (
                Image.frombuffer("L", (3 * width, len(strip)), each, "raw", "L", 0, 1)
                for each in (strip, chance)
            )
            added = ImageChops.add(values, noise.point(levels), 1, -128)
            noisy[top : top + STRIP] = np.asarray(added).reshape(strip.shape)
        return noisy


@dataclass(frozen=True, kw_only=True)
class JPEG(Defect):
    """A file compressed too much, and read again.

    Args:
        strength: share of the way from quality 95 to `quality`.
        quality: of the file, 1 to 95.
    """

    quality: int = 25

    limits: ClassVar = {"quality": (1, 95)}

    def take(self, picture: np.ndarray, dpi: float, rng: np.random.Generator) -> np.ndarray:
        """Write and read it."""
        file = io.BytesIO()
        quality = round(95 + self.strength * (self.quality - 95))
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=2)
        return as_array(Image.open(file))


@lru_cache(maxsize=1)
def _normal_quantiles() -> np.ndarray:
    """256 values as often as a normal distribution has them, of variance 1."""
    normal = NormalDist()
    values = np.array([normal.inv_cdf((k + 0.5) / 256) for k in range(256)])
    return values / values.std()


def _smear(x: float, y: float) -> dict[tuple[int, int], int]:
    """Shifts (dx, dy) in dots along a movement, and their shares in 256ths, which sum up to 256."""
    number = 2 * int(np.ceil(2 * np.hypot(x, y))) + 1
    shares: dict[tuple[int, int], float] = {}
    for t in np.linspace(-0.5, 0.5, number):
        left, top = int(np.floor(t * x)), int(np.floor(t * y))
        u, v = t * x - left, t * y - top
        for dx, dy, share in (
            (0, 0, (1 - u) * (1 - v)),
            (1, 0, u * (1 - v)),
            (0, 1, (1 - u) * v),
            (1, 1, u * v),
        ):
            at = left + dx, top + dy
            shares[at] = shares.get(at, 0) + share / number
    taps = {at: round(256 * share) for at, share in shares.items()}
    taps[0, 0] += 256 - sum(taps.values())
    return {at: share for at, share in taps.items() if share}
