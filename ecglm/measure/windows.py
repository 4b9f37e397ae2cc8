"""One window per beat and lead, at 125 Hz around R, as the boundary network and the averages see them."""

from __future__ import annotations

import numpy as np

from ecglm.measure.middle import middle
from ecglm.measure.working import COARSE, RATE, Working

BEFORE, AFTER = 60, 92
"""Samples of 8 ms before and after R: 480 ms hold a PR interval of 400 ms, 736 ms a QT interval of 650 ms."""
WIDTH = BEFORE + AFTER
ZOOM_BEFORE, ZOOM_AFTER = 28, 36
"""Samples of 4 ms before and after R of the closer look at the QRS: 112 and 144 ms."""
_GROUP = 16  # beats averaged together at most: in a long recording the shape drifts
_ALIKE = 0.9  # least correlation of beats of one shape, QRS and surroundings, all leads together
_QRS = slice(BEFORE - 12, BEFORE + 14)  # −96 to +112 ms around R


def gather(working: Working, r_peaks: np.ndarray) -> np.ndarray:
    """(beats, leads, WIDTH) mV, the middle value of each window taken away; the ends hold the last value."""
    windows = cut(working.coarse, r_peaks // COARSE - BEFORE, WIDTH)
    level = np.partition(windows[:, :, ::4], WIDTH // 8, axis=2)[:, :, WIDTH // 8, None]
    return windows - level


def gather_closer(working: Working, r_peaks: np.ndarray) -> np.ndarray:
    """(beats, leads, ZOOM_BEFORE + ZOOM_AFTER) mV at 250 Hz, the mean of each taken away."""
    windows = cut(working.half, r_peaks // 2 - ZOOM_BEFORE, ZOOM_BEFORE + ZOOM_AFTER)
    return windows - windows.mean(2, keepdims=True)


def cut(signal: np.ndarray, first: np.ndarray, width: int) -> np.ndarray:
    """(windows, leads, width) from these samples on; beyond its ends the signal holds the last value."""
    before = max(-int(first.min()), 0)
    after = max(int(first.max()) + width - signal.shape[1], 0)
    if before or after:
        ends = np.repeat(signal[:, :1], before, axis=1), np.repeat(signal[:, -1:], after, axis=1)
        signal = np.concatenate([ends[0], signal, ends[1]], axis=1)
    signal = np.ascontiguousarray(signal)
    shape = (signal.shape[1] - width + 1, len(signal), width)
    every = np.ndarray(shape, signal.dtype, signal, strides=(signal.strides[1], *signal.strides))
    return every[first + before]


def shapes(windows: np.ndarray) -> np.ndarray:
    """(beats,) number of the shape each beat has: 0 is the most frequent one, each stray one has its own."""
    beats = len(windows)
    part = windows[:, :, _QRS].reshape(beats, -1)
    part = part - part.mean(1, keepdims=True)
    power = np.einsum("bi,bi->b", part, part)
    part = part / np.sqrt(power[:, None] + 1e-12)
    least = _ALIKE * _share_of_signal(windows, power / part.shape[1])
    shape = np.full(beats, -1)
    left = np.arange(beats)
    number = 0
    while len(left):
        if number < 4 and len(left) > 1:
            template = middle(part[left])
            template /= np.linalg.norm(template) + 1e-9
            alike = part[left] @ template > least
            if not alike.any():
                best = int(np.argmax((part[left] @ part[left].T > least).sum(0)))
                alike = part[left] @ part[left[best]] > least
                alike[best] = True
            shape[left[alike]] = number
            left = left[~alike]
            number += 1
        else:
            shape[left] = np.arange(number, number + len(left))
            break
    counts = np.bincount(shape)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[shape]


def _share_of_signal(windows: np.ndarray, power: np.ndarray) -> float:
    """What the correlation of two beats of one shape is at best, noise being what it is: 0.2 to 1.

    White noise has a sixth of the power of its second difference; it is looked for outside the QRS.
    """
    bend = windows[:, :, :36:2] - (windows[:, :, 1:37:2] + windows[:, :, 2:38:2]) / 2
    noise = float(middle(np.einsum("bls,bls->b", bend, bend))) / bend[0].size / 1.5
    return float(np.sqrt(max(1 - noise / (float(middle(power)) + 1e-12), 0.04)))


def groups(shape: np.ndarray) -> np.ndarray:
    """(beats,) number of the group of up to 16 neighbours of one shape that each beat belongs to."""
    group = np.empty_like(shape)
    number = 0
    for members in (np.flatnonzero(shape == k) for k in range(int(shape.max()) + 1)):
        parts = -(-len(members) // _GROUP)
        group[members] = number + np.sort(np.arange(len(members)) % parts)
        number += parts
    return group


def typical(windows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The median window of each group: (groups, leads, WIDTH); the mean where there are no three."""
    if not group.any():
        return (middle(windows) if len(windows) > 2 else windows.mean(0))[None]
    parts = (windows[group == number] for number in range(int(group.max()) + 1))
    return np.stack([middle(part) if len(part) > 2 else part.mean(0) for part in parts])


def intervals(r_peaks: np.ndarray) -> np.ndarray:
    """(beats, 2) s to the beat before and the beat after; 1.5 where there is none, and at most 1.5."""
    rr = np.diff(r_peaks) / RATE
    out = np.full((len(r_peaks), 2), 1.5, np.float32)
    out[1:, 0], out[:-1, 1] = rr, rr
    return np.minimum(out, 1.5)
