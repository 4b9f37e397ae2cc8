"""The signal as it is worked on: one rate, no gaps, no wander, and leads without an ECG set aside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ecglm.ecg import ECG
from ecglm.preprocessing import FLAT, LARGEST, fill_missing, resample

RATE = 500
"""Hz at which everything is measured: 2 ms, the step of the standards for diagnostic recorders."""
COARSE = 4
"""Samples of the working signal averaged into one where beats and boundaries are looked for: 125 Hz."""
_WANDER_STEP = 20  # samples of the working signal per sample of the wander, 25 Hz
_TABLE = 400  # samples of the wander, 16 s: the longest for which it is a product with a matrix
_SPIKES_PER_SECOND = 0.2  # fewer are artefacts: 17 of 238 PTB-XL records without a pacemaker have one or two
_TALL = 0.6  # mV in 2 ms, mean over the leads: no heart is as fast
_SPIKE = 0.04  # mV, mean over the leads: the smallest step of a pacemaker's spike


@dataclass(frozen=True)
class Working:
    """A recording made ready.

    Args:
        fine: (leads, samples) float32 mV at `RATE`, wander and pacing spikes removed; zero where unusable.
        half: (leads, samples / 2) means of two samples of `fine`.
        coarse: (leads, samples / `COARSE`) block means of `fine`.
        usable: (leads,) whether the lead carries anything.
        spikes: samples of `fine` at which a pacemaker fired.
        factor: samples of the given recording per sample of `fine`.
    """

    fine: np.ndarray
    half: np.ndarray
    coarse: np.ndarray
    usable: np.ndarray
    spikes: np.ndarray
    factor: float


def prepare(ecg: ECG) -> Working:
    """Make a recording ready to be measured; rows that are no voltage (`metadata["units"]`) are unusable."""
    signal, sampling_rate = ecg.signal, ecg.sampling_rate
    if signal.shape[1] < 2:
        signal = np.zeros((len(signal), 2), np.float32)
    highest, lowest = signal.max(1), signal.min(1)
    units = ecg.metadata.get("units")
    if units or not ((highest < LARGEST) & (lowest > -LARGEST)).all():
        known = np.abs(signal) < LARGEST
        known[[name in (units or {}) for name in ecg.leads]] = False
        filled = fill_missing(np.where(known, signal, np.float32(np.nan)))
        usable = (known.mean(1) > 0.5) & (filled.max(1) - filled.min(1) > FLAT)
    else:
        filled, usable = signal, highest - lowest > FLAT
    if not usable.all():
        filled = np.where(usable[:, None], filled, np.float32(0))
    fine, spikes = _without_spikes(_at_working_rate(filled, sampling_rate))
    fine = _without_wander(fine)
    half = _block_mean(fine, 2)
    return Working(fine, half, _block_mean(half, COARSE // 2), usable, spikes, sampling_rate / RATE)


def _at_working_rate(signal: np.ndarray, rate: float) -> np.ndarray:
    if rate == RATE:
        return signal
    if rate > 2 * RATE:  # boxcars first: cheap, and the polyphase filter has less to do
        factor = int(rate // RATE)
        signal, rate = _block_mean(signal, factor), rate / factor
    return resample(signal, rate, RATE)


def _block_mean(signal: np.ndarray, width: int) -> np.ndarray:
    blocks = signal.shape[1] // width
    if not blocks:
        return signal.mean(1, keepdims=True)
    parts = signal[:, : blocks * width].reshape(len(signal), blocks, width)
    return parts @ np.full(width, 1 / width, np.float32)


def _without_wander(signal: np.ndarray) -> np.ndarray:
    """Take away what lies below about 0.5 Hz, without delay; it starts and ends as the signal does."""
    slow = _block_mean(signal, _WANDER_STEP)
    length = slow.shape[1]
    if length <= 12:
        slow = np.repeat(np.median(slow, axis=1, keepdims=True), length, axis=1)
    elif length <= _TABLE:
        slow = slow @ _smoother(length)
    else:
        slow = _smooth(slow).astype(np.float32)
    # back to the working rate: straight lines between the blocks' centres
    knots = np.concatenate([slow[:, :1], slow, slow[:, -1:], slow[:, -1:]], axis=1)
    share = (np.arange(_WANDER_STEP) / _WANDER_STEP).astype(np.float32)
    lines = np.stack([knots[:, :-1], knots[:, 1:]], axis=2) @ np.stack([1 - share, share])
    half = _WANDER_STEP // 2
    return signal - lines.reshape(len(signal), -1)[:, half : half + signal.shape[1]]


def _without_spikes(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the spikes of a pacemaker, and draw a line under them.

    A spike of at most 8 ms leaves the line between its feet in one step and comes back to it; the top of an R
    wave has left it by little within 4 ms, and gradually. A tall one may come back slowly, as the electrode
    discharges, but it starts from rest.
    """
    n = signal.shape[1]
    if n < RATE:
        return signal, np.empty(0, int)
    change = signal[:, 1:] - signal[:, :-1]
    step = np.ones(len(signal), np.float32) @ np.abs(change, out=change)
    at = np.flatnonzero(step[1 : n - 4] > _SPIKE * len(signal)) + 2
    before, after = signal[:, at - 2], signal[:, at + 3]
    height = np.abs(signal[:, at] - (before + after) / 2).sum(0)
    least = np.maximum(_SPIKE * len(signal), 2 * np.abs(after - before).sum(0))
    spiky = (height > least) & (step[at - 1] > 0.6 * height)
    at, height = at[spiky], height[spiky]
    fewest = max(3, _SPIKES_PER_SECOND * n / RATE)
    if len(at) >= fewest:  # rarely: what is usual takes long to know
        usual = np.partition(step, len(step) // 2)[len(step) // 2]
        at = at[np.minimum(step[at - 1], height) > 6 * usual]
        at = at[np.diff(at, prepend=-100) > 5]
    tall = _tall_spikes(signal, step)
    if len(at) < fewest and len(tall) < fewest:
        return signal, np.empty(0, int)
    if len(tall) < fewest:
        return _lines_under(signal, at, -2, 3), at
    at = at[np.abs(at[:, None] - tall).min(1) > 20]
    return _lines_under(_lines_under(signal, at, -2, 3), tall, -5, 8), np.sort(np.concatenate([at, tall]))


def _tall_spikes(signal: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Where the leads together leap as no heart does, from rest 6 ms before; `step` as in the caller."""
    at = np.flatnonzero(step[6:-9] > _TALL * len(signal)) + 6
    if not len(at):
        return at
    at = at[np.abs(signal[:, at - 3] - signal[:, at - 6]).sum(0) < 0.2 * step[at]]
    return at[np.diff(at, prepend=-100) > 20] + 1


def _lines_under(signal: np.ndarray, at: np.ndarray, first: int, last: int) -> np.ndarray:
    """Straight lines from `first` to `last` samples around each spike."""
    if not len(at):
        return signal
    signal = signal.copy()
    line = np.linspace(0, 1, last - first + 1, dtype=np.float32)
    before, after = signal[:, at + first, None], signal[:, at + last, None]
    signal[:, at[:, None] + np.arange(first, last + 1)] = before + line * (after - before)
    return signal


def _smooth(slow: np.ndarray) -> np.ndarray:
    from scipy.signal import sosfiltfilt

    padlen = min(60, slow.shape[1] - 1)
    smooth: np.ndarray = sosfiltfilt(_low_pass(), slow, axis=1, padtype="odd", padlen=padlen)
    return smooth


@lru_cache(maxsize=4)
def _smoother(length: int) -> np.ndarray:
    """The filter is linear: for a length met often it is a matrix, faster than the recursion."""
    return _smooth(np.eye(length)).astype(np.float32)


@lru_cache(maxsize=1)
def _low_pass() -> np.ndarray:
    from scipy.signal import butter

    sections: np.ndarray = butter(2, 0.5, "lowpass", fs=RATE / _WANDER_STEP, output="sos")
    return sections
