"""Waves as sums of asymmetric, flat-topped Gaussian lobes: evaluation, and where a wave begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecglm.simulate.leads import INDEPENDENT_ROWS, twelve_leads

T_EDGE = 0.06  # the slow end of T is read earlier, near where the steepest tangent meets the baseline
EDGE = 0.03  # a wave begins and ends where its largest lead crosses this part of its peak: 30 µV of 1 mV


@dataclass(frozen=True)
class Wave:
    """One wave of one beat.

    Args:
        timing: (lobes, 4) ms from the wave's reference: centre, rising sigma, falling sigma, half width of
            the flat top.
        vectors: (lobes, 8) mV at the lobe's top in I, II, V1 to V6.
    """

    timing: np.ndarray
    vectors: np.ndarray

    def __add__(self, other: Wave) -> Wave:
        return Wave(
            np.concatenate([self.timing, other.timing]), np.concatenate([self.vectors, other.vectors])
        )

    def scaled(self, factor: float) -> Wave:
        """The same wave stretched in time."""
        return Wave(self.timing * factor, self.vectors)

    def shifted(self, ms: float) -> Wave:
        """The same wave, later by so many ms."""
        timing = self.timing.copy()
        timing[:, 0] += ms
        return Wave(timing, self.vectors)

    def at(self, ms: np.ndarray) -> np.ndarray:
        """(samples,) ms → (8, samples) mV."""
        return (self.vectors.T @ lobes(self.timing, ms)).astype(float)

    def area(self) -> np.ndarray:
        """Net area of each lead in mV·ms, exact: (8,)."""
        _, rise, fall, flat = self.timing.T
        return (np.sqrt(np.pi / 2) * (rise + fall) + 2 * flat) @ self.vectors

    def edges(self, edge: float = EDGE) -> tuple[float, float, float]:
        """Onset, peak (of the largest spatial magnitude) and offset in ms, by the `EDGE` rule."""
        centre, rise, fall, flat = self.timing.T
        start, stop = (centre - flat - 4 * rise).min(), (centre + flat + 4 * fall).max()
        ms = np.arange(np.floor(start), np.ceil(stop) + 1, 1.0 if stop - start < 300 else 2.0)
        twelve = twelve_leads(self.vectors.T).T.astype(np.float32)
        signal = twelve.T @ lobes(self.timing, ms)
        size = np.abs(signal).max(0)
        level = edge * size.max()
        above = np.flatnonzero(size >= level)
        first, last = above[0], above[-1]

        def cross(i: int, j: int) -> float:  # linear between the samples on both sides of the level
            if not 0 <= i < len(ms) or not 0 <= j < len(ms) or size[i] == size[j]:
                return float(ms[j])
            return float(ms[i] + (level - size[i]) / (size[j] - size[i]) * (ms[j] - ms[i]))

        peak = float(ms[int((signal[INDEPENDENT_ROWS] ** 2).sum(0).argmax())])
        return cross(first - 1, first), peak, cross(last + 1, last)


def lobes(timing: np.ndarray, ms: np.ndarray) -> np.ndarray:
    """Heights of lobes over time: (…, lobes, 4), (…, samples) → (…, lobes, samples) float32."""
    timing = timing.astype(np.float32)
    d = ms.astype(np.float32)[..., None, :] - timing[..., 0:1]
    inverse = np.where(d < 0, 1 / timing[..., 1:2], 1 / timing[..., 2:3])
    np.abs(d, out=d)
    d -= timing[..., 3:4]
    np.maximum(d, 0, out=d)
    d *= inverse
    d *= d
    d *= np.float32(-0.5)
    return np.exp(d, out=d)


def make(rows: Sequence[tuple[float, ...]], matrix: np.ndarray) -> Wave:
    """Lobes (centre, rising and falling sigma, flat, x, y, z; ms, Frank mV) seen through a lead matrix."""
    table = np.array(rows, dtype=float)
    return Wave(table[:, :4].copy(), table[:, 4:] @ matrix.T)
