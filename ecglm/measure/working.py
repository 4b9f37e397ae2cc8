"""The signal as it is worked on: one rate, no gaps, no wander, and leads without an ECG set aside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ecglm.preprocessing import FLAT, fill_missing, resample

RATE = 500
"""Hz at which everything is measured: 2 ms, the step of the standards for diagnostic recorders."""
COARSE = 4
"""Samples of the working signal averaged into one where beats and boundaries are looked for: 125 Hz."""
_WANDER_STEP = 20  # samples of the working signal per sample of the wander, 25 Hz
_TABLE = 400  # samples of the wander, 16 s: the longest for which it is a product with a matrix
_SPIKES_PER_SECOND = 0.2  # fewer are artefacts: 17 of 238 PTB-XL records without a pacemaker have one or two
_SPIKE = 0.04  # mV, mean over the leads: the smallest step of a pacemaker's spike


@dataclass(frozen=True)
class Working:
    """A recording made ready.

    Args:
        fine: (leads, samples) float32 mV at `RATE`, wander and pacing spikes removed; zero where unusable.
        coarse: (leads, samples / `COARSE`) block means of `fine`.
        usable: (leads,) whether the lead carries anything.
        spikes: samples of `fine` at which a pacemaker fired.
        factor: samples of the given recording per sample of `fine`.
    """

    fine: np.ndarray
    coarse: np.ndarray
    usable: np.ndarray
    spikes: np.ndarray
    factor: float


def prepare(signal: np.ndarray, sampling_rate: float) -> Working:
    """Make a recording ready to be measured.

    Args:
        signal: (leads, samples) mV; NaN where unknown.
        sampling_rate: Hz.
    """
    num_samples = signal.shape[1]
    if num_samples < 2:
        signal = np.zeros((len(signal), 2), np.float32)
    known = np.isfinite(signal)
    complete = known.all()
    usable = (np.ones(len(signal), bool)) if complete else known.mean(1) > 0.5
    filled = signal if complete else fill_missing(signal)
    spread = filled.max(1) - filled.min(1)
    usable = usable & (spread > FLAT)
    if not usable.all():
        filled = np.where(usable[:, None], filled, np.float32(0))
    fine = _at_working_rate(filled, sampling_rate)
    fine, spikes = _without_spikes(fine)
    fine = fine - _wander(fine)
    coarse = _block_mean(fine, COARSE)
    return Working(fine, coarse, usable, spikes, sampling_rate / RATE)


def _at_working_rate(signal: np.ndarray, rate: float) -> np.ndarray:
    if rate == RATE:
        return signal
    if rate > 2 * RATE:  # boxcars first: cheap, and the polyphase filter has less to do
        factor = int(rate // RATE)
        signal, rate = _block_mean(signal, factor), rate / factor
    return resample(signal, rate, RATE)


def _block_mean(signal: np.ndarray, width: int) -> np.ndarray:
    blocks = max(signal.shape[1] // width, 1)
    if signal.shape[1] < width:
        return signal.mean(1, keepdims=True)
    parts = signal[:, : blocks * width].reshape(len(signal), blocks, width)
    return np.einsum("lbw->lb", parts) * np.float32(1 / width)


def _wander(signal: np.ndarray) -> np.ndarray:
    """What lies below about 0.5 Hz, without delay; it starts and ends as the signal does."""
    slow = _block_mean(signal, _WANDER_STEP).astype(np.float64)
    length = slow.shape[1]
    if length <= 12:
        slow = np.repeat(np.median(slow, axis=1, keepdims=True), length, axis=1)
    elif length <= _TABLE:
        slow = slow @ _smoother(length)
    else:
        slow = _smooth(slow)
    # back to the working rate: straight lines between the blocks' centres
    step = np.diff(slow, axis=1, append=slow[:, -1:])
    ramp = (np.arange(_WANDER_STEP) / _WANDER_STEP).astype(np.float32)
    half = _WANDER_STEP // 2
    lines = slow.astype(np.float32)[:, :, None] + step.astype(np.float32)[:, :, None] * ramp
    lines = lines.reshape(len(signal), -1)
    out = np.empty_like(signal, dtype=np.float32)
    half = min(half, signal.shape[1])
    out[:, :half] = lines[:, :1]
    rest = min(signal.shape[1] - half, lines.shape[1])
    out[:, half : half + rest] = lines[:, :rest]
    out[:, half + rest :] = lines[:, -1:]
    return out


def _without_spikes(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the spikes of a pacemaker, at most 8 ms wide, and draw a line under them.

    A spike leaves the line between its feet in one step and comes back to it; the top of an R wave has left
    it by little within 4 ms, and gradually.
    """
    n = signal.shape[1]
    if n < RATE:
        return signal, np.empty(0, int)
    step = np.einsum("ln->n", np.abs(signal[:, 1:] - signal[:, :-1]))
    least = max(_SPIKE * len(signal), 6 * float(np.partition(step, len(step) // 2)[len(step) // 2]))
    at = np.flatnonzero(step > least) + 1
    at = at[(at >= 2) & (at < n - 3)]
    if len(at) == 0:
        return signal, np.empty(0, int)
    before, after = signal[:, at - 2], signal[:, at + 3]
    height = np.abs(signal[:, at] - (before + after) / 2).sum(0)
    at = at[(height > least) & (step[at - 1] > 0.6 * height) & (height > 2 * np.abs(after - before).sum(0))]
    at = at[np.diff(at, prepend=-100) > 5]
    if len(at) < max(3, _SPIKES_PER_SECOND * n / RATE):
        return signal, np.empty(0, int)
    signal = signal.copy()
    line = np.linspace(0, 1, 6, dtype=np.float32)
    index = at[:, None] + np.arange(-2, 4)
    before, after = signal[:, at - 2, None], signal[:, at + 3, None]
    signal[:, index] = before + line * (after - before)
    return signal, at


def _smooth(slow: np.ndarray) -> np.ndarray:
    from scipy.signal import sosfiltfilt

    padlen = min(60, slow.shape[1] - 1)
    smooth: np.ndarray = sosfiltfilt(_low_pass(), slow, axis=1, padtype="odd", padlen=padlen)
    return smooth


@lru_cache(maxsize=4)
def _smoother(length: int) -> np.ndarray:
    """The filter is linear: for a length met often it is a matrix, faster than the recursion."""
    return _smooth(np.eye(length))


@lru_cache(maxsize=1)
def _low_pass() -> np.ndarray:
    from scipy.signal import butter

    sections: np.ndarray = butter(2, 0.5, "lowpass", fs=RATE / _WANDER_STEP, output="sos")
    return sections
