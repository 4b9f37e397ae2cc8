"""Where the beats are: R peaks from all leads together."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ecglm.measure.middle import middle
from ecglm.measure.working import COARSE, RATE, Working

_HZ = RATE / COARSE
_REFRACTORY = round(0.2 * _HZ)
_BLOCK = round(4.0 * _HZ)  # the leads are weighed anew in each
_CONTRAST = (
    0.65  # of the median of all samples over a tall peak: 0.83 and more in fibrillation, 0.55 at most else
)
_LEAST = 0.03  # mV: mean rectified 6–22 Hz signal over 80 ms, below which there is no QRS (asystole)


def find_beats(working: Working) -> np.ndarray:
    """R peaks in samples of `working.fine`, in order; empty where there is no beat."""
    coarse = working.coarse[working.usable]
    if len(coarse) == 0 or coarse.shape[1] < round(0.5 * _HZ):
        return np.empty(0, int)
    band = _band(coarse)
    envelope = _smooth(np.abs(band), round(0.08 * _HZ))
    activity, size = _together(envelope)
    peaks = _pick(activity, size)
    if len(peaks) == 0:
        return np.empty(0, int)
    return _on_the_peak(band, peaks)


def _band(coarse: np.ndarray) -> np.ndarray:
    """The 6–22 Hz of QRS complexes without delay: Butterworth, second order, forwards and backwards.

    By Fourier transform, in half the time of the recursion; the ends are continued point-symmetrically.
    """
    from scipy.fft import irfft, rfft

    n = coarse.shape[1]
    pad = min(round(_HZ), n - 1)
    start = 2 * coarse[:, :1] - coarse[:, pad:0:-1]
    end = 2 * coarse[:, -1:] - coarse[:, -2 : -pad - 2 : -1]
    longer = np.concatenate([start, coarse, end], axis=1)
    length, response = _response(longer.shape[1])
    return irfft(rfft(longer, length) * response, length)[:, pad : pad + n]


@lru_cache(maxsize=8)
def _response(least: int) -> tuple[int, np.ndarray]:
    from scipy.fft import next_fast_len
    from scipy.signal import butter, sosfreqz

    length = next_fast_len(least, real=True)
    sections = butter(2, [6, 22], "bandpass", fs=_HZ, output="sos")
    _, gain = sosfreqz(sections, np.fft.rfftfreq(length, 1 / _HZ), fs=_HZ)
    return length, np.square(np.abs(gain)).astype(np.float32)


def _smooth(x: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average of each row; the ends see fewer samples."""
    n, before = x.shape[1], width // 2
    padded = np.zeros((len(x), n + width - 1), x.dtype)
    padded[:, before : before + n] = x
    total = padded[:, :n].copy()
    for shift in range(1, width):
        total += padded[:, shift : shift + n]
    at = np.arange(n)
    number = np.minimum(at + width - before, n) - np.maximum(at - before, 0)
    total /= number.astype(x.dtype)
    return total


def _together(envelope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One trace of QRS activity from the leads', and its size in mV.

    In every block a lead counts by how far its peaks stand out of its middle, so that a noisy lead is
    outvoted.
    """
    num_leads, n = envelope.shape
    blocks = max(round(n / _BLOCK), 1)
    edges = np.arange(blocks + 1) * n // blocks
    centres = (edges[1:] + edges[:-1]) / 2
    scale = np.empty((num_leads, blocks))
    weight = np.empty((num_leads, blocks))
    for b in range(blocks):
        wide = slice(max(edges[b] - _BLOCK // 2, 0), edges[b + 1] + _BLOCK // 2)
        part = np.sort(envelope[:, wide][:, ::2], axis=1)
        length = part.shape[1]
        top, usual = part[:, int(0.96 * (length - 1))], part[:, length // 2]
        scale[:, b] = top + 1e-6
        contrast = top / (usual + 0.15 * top + 1e-6)  # at most 6.7
        weight[:, b] = np.maximum(contrast - 1.2, 0.05) ** 2
    weight /= weight.sum(0)
    size_blocks = (weight * scale).sum(0)
    factor = (weight / scale).astype(np.float32)
    t = np.arange(n)
    block = np.interp(t, centres, np.arange(blocks))  # and from one to the next a bit of both
    activity = np.zeros(n)
    for b in range(blocks):
        near = slice(int(centres[b - 1]) if b else 0, int(centres[b + 1]) + 1 if b + 1 < blocks else n)
        activity[near] += factor[:, b] @ envelope[:, near] * np.maximum(1 - np.abs(block[near] - b), 0)
    return activity, np.interp(t, centres, size_blocks)


def _pick(activity: np.ndarray, size: np.ndarray) -> np.ndarray:
    from scipy.signal import find_peaks

    found, _ = find_peaks(activity, distance=_REFRACTORY)
    # a QRS cut by the start or the end of the recording has its peak on the edge or none
    found = found[activity[found] * size[found] > _LEAST]
    found = found[_stands_out(activity, found)]
    if len(found) == 0:
        return found
    height = activity[found]
    level = _level(found, height, len(activity))
    chosen = height > 0.38 * level
    keep = np.flatnonzero(chosen).tolist()
    keep = _without_t(found, height, keep)
    keep = _search_back(found, height, level, keep)
    return found[keep]


def _stands_out(activity: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Which candidates belong to a stretch where something stands out: there is always activity in
    ventricular fibrillation and in noise, between QRS complexes there is little.
    """
    blocks = max(round(len(activity) / (10 * _HZ)), 1)
    edges = np.arange(blocks + 1) * len(activity) // blocks
    block = np.searchsorted(edges, found, "right") - 1
    keep = np.ones(len(found), bool)
    for b in range(blocks):
        inside = block == b
        if inside.any():
            heights = activity[found[inside]]
            tall = middle(heights[heights > 0.38 * heights.max()])
            keep[inside] = middle(activity[edges[b] : edges[b + 1]]) < _CONTRAST * tall
    return keep


def _level(found: np.ndarray, height: np.ndarray, n: int) -> np.ndarray:
    """Height of a typical QRS around each candidate: the median of the tallest of each 1.5 s, over 9 s."""
    width = round(1.5 * _HZ)
    reach = 3
    rows = np.arange(max(-(-n // width), 1))
    tallest = np.full(len(rows) + 2 * reach, np.nan)
    which = found // width
    order = np.argsort(height, kind="stable")
    tallest[which[order] + reach] = height[order]
    ordered = np.sort(tallest[rows[:, None] + np.arange(2 * reach + 1)], axis=1)  # the unknown comes last
    number = np.maximum(np.isfinite(ordered).sum(1), 1)
    median = (ordered[rows, (number - 1) // 2] + ordered[rows, number // 2]) / 2
    return median[which]


def _without_t(found: np.ndarray, height: np.ndarray, keep: list[int]) -> list[int]:
    """Drop what follows a QRS within 360 ms and is less than half as steep: a T wave (Pan and Tompkins)."""
    out: list[int] = []
    for k in keep:
        if out and found[k] - found[out[-1]] < 0.36 * _HZ:
            previous = out[-1]
            if height[k] < 0.5 * height[previous]:
                continue
            if height[previous] < 0.5 * height[k]:
                before = found[out[-2]] if len(out) > 1 else -(10**9)
                if found[k] - before > 0.36 * _HZ:
                    out[-1] = k
                    continue
        out.append(k)
    return out


def _search_back(found: np.ndarray, height: np.ndarray, level: np.ndarray, keep: list[int]) -> list[int]:
    """Look again, with a lower bar, where a pause is longer than 1.6 times the usual interval."""
    if len(keep) < 3:
        return keep
    at = found[keep]
    gaps = at[1:] - at[:-1]
    if gaps.max() <= 1.6 * gaps.min():
        return keep
    around = np.arange(len(gaps))[:, None] + np.arange(-4, 5)
    usual = middle(gaps[np.minimum(np.maximum(around, 0), len(gaps) - 1)], axis=1)
    extra: list[int] = []
    for i in np.flatnonzero(gaps > 1.6 * usual):
        a, b = at[i] + round(0.36 * _HZ), at[i + 1] - round(0.28 * _HZ)
        inside = np.flatnonzero((found > a) & (found < b))
        if len(inside):
            best = inside[np.argmax(height[inside])]
            if height[best] > 0.22 * level[best]:
                extra.append(int(best))
    return sorted([*keep, *extra])


def _on_the_peak(band: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Move each to the largest deflection of the leads together, within 80 ms."""
    reach = round(0.08 * _HZ)
    power = np.square(band)
    # leads by their own size, so that one tall lead does not decide alone
    together = 1 / (power.mean(1) + np.float32(1e-18)) @ power
    index = peaks[:, None] + np.arange(-reach, reach + 1)
    index = np.minimum(np.maximum(index, 0), band.shape[1] - 1)
    best = index[np.arange(len(peaks)), together[index].argmax(1)]
    return best * COARSE + COARSE // 2
