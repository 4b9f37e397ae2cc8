"""Intervals between beats, steadier than from R to R: beats of one shape are laid over each other.

The peak of a wide, notched or small QRS jumps with the noise by several milliseconds. Where the whole QRS
fits the middle one of its shape does not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ecglm.measure.middle import middle
from ecglm.measure.windows import cut
from ecglm.measure.working import Working

_BEFORE, _WIDTH = 14, 40  # samples at 250 Hz: −56 to +104 ms around R
_REACH = 10  # samples: 40 ms
_LAGS = 2 * _REACH + 1
_BEATS = 32  # whose middle stands for a shape


def aligned(working: Working, r_peaks: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(beats,) moments in samples of the working signal, not whole: R as all leads of the QRS say together.

    Within a shape they scatter around R without a shift in the middle. Beats without a second of their shape,
    or cut by the ends of the recording, keep their R.

    Args:
        working: the signal.
        r_peaks: (beats,) samples.
        shape: (beats,) number of each beat's QRS shape.
    """
    out = r_peaks.astype(float)
    leads = working.half[working.usable]
    first = r_peaks // 2 - _BEFORE - _REACH
    width = _WIDTH + 2 * _REACH
    inside = (first >= 0) & (first + width <= leads.shape[1])
    for number in range(int(shape.max()) + 1):
        members = np.flatnonzero((shape == number) & inside)
        if len(members) > 1:
            lags, found = _lags(cut(leads, first[members], width))
            moments = 2 * (r_peaks[members] // 2 + lags)
            shift = middle(r_peaks[members] - moments)
            out[members] = np.where(found, moments + shift, r_peaks[members])
    return (
        out if (out[1:] > out[:-1]).all() else r_peaks.astype(float)
    )  # in fibrillation one may pass the next


def _lags(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(beats,) samples by which the middle beat lies later in each window than it is cut, and whether it lies
    within reach; (beats, leads, samples) in.
    """
    windows = windows - windows.mean(2, keepdims=True)
    some = windows
    if len(some) > _BEATS:
        some = some[np.linspace(0, len(some) - 1, _BEATS).astype(int)]
    usual = (middle(some) if len(some) > 2 else some.mean(0))[:, _REACH:-_REACH]
    usual = usual - usual.mean(1, keepdims=True)
    shifted = np.zeros((*windows.shape[1:], _LAGS), windows.dtype)
    for lag in range(_LAGS):
        shifted[:, lag : lag + _WIDTH, lag] = usual
    product = windows.reshape(len(windows), -1) @ shifted.reshape(-1, _LAGS)
    power = np.square(windows).sum(1) @ _every() - np.square(windows @ _every()).sum(1) / _WIDTH
    likeness = product / np.sqrt(np.maximum(power, 1e-12))
    best = likeness.argmax(1)
    within = np.minimum(np.maximum(best, 1), _LAGS - 2)
    before, at, after = (likeness[np.arange(len(best)), within + k] for k in (-1, 0, 1))
    top = (before - after) / 2 / np.minimum(before - 2 * at + after, -1e-12)  # of the parabola through them
    return within - _REACH + np.minimum(np.maximum(top, -0.5), 0.5), best == within


@lru_cache(maxsize=1)
def _every() -> np.ndarray:
    """(samples, lags): one where a window of that lag has the sample."""
    later = np.arange(_WIDTH + 2 * _REACH)[:, None] - np.arange(_LAGS)
    return ((later >= 0) & (later < _WIDTH)).astype(np.float32)
