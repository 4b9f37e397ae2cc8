"""The boundary network: for each beat and lead, how likely each wave's onset, peak and offset lies where.

Three convolutions and two dense layers, 150 thousand weights, learnt by `benchmarks/train_delineator.py` from
LUDB (Kalyakulina et al. 2020, per-lead marks by cardiologists), simulated ECGs with their truth, and PTB-XL's
atrial fibrillation, which has no P waves. Here it runs in NumPy.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from io import BytesIO

import numpy as np

from ecglm.measure.windows import BEFORE
from ecglm.measure.working import COARSE

KINDS = ("P", "QRS", "T")
RANGES = ((0, 64), (30, 92), (56, 152))
"""Samples of the window between which the marks of P, QRS and T are looked for."""
CHANNELS = 3
CENTRE = 0.375
"""Samples of 8 ms between a mark and the middle of its block: blocks are counted from R rounded down."""
_CHUNK = 256  # windows at a time: what they need stays in the processor's cache
_NEAR = np.arange(-3, 4)  # samples of 8 ms around the most likely one


def relative(
    wide: np.ndarray,
    wide_typical: np.ndarray,
    close: np.ndarray,
    close_typical: np.ndarray,
    usable: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Windows as multiples of a twentieth of the QRS height: after `arcsinh` P is seen beside R.

    Args:
        wide: (beats, leads, WIDTH) mV at 125 Hz, and its typical beats.
        wide_typical: as `wide`.
        close: (beats, leads, closer) mV at 250 Hz, and its typical beats.
        close_typical: as `close`.
        usable: (leads,).

    Returns:
        Two arrays (beats, leads, 3, samples): this beat, its typical beat, the size of that over the leads.
    """
    qrs = wide_typical[:, :, BEFORE - 10 : BEFORE + 12]
    height = np.maximum(qrs.max(2) - qrs.min(2), np.float32(1e-3))
    scale = (20 / height)[:, :, None]
    out = []
    for beat, typical in ((wide, wide_typical), (close, close_typical)):
        both = np.empty((*beat.shape[:2], CHANNELS, beat.shape[2]), np.float32)
        np.multiply(beat, scale, out=both[:, :, 0])
        np.multiply(typical, scale, out=both[:, :, 1])
        part = both[:, usable, 1]
        both[:, :, 2] = np.sqrt(np.einsum("blw,blw->bw", part, part) / part.shape[1])[:, None]
        out.append(both)
    return out[0], out[1]


def run(wide: np.ndarray, close: np.ndarray, scalars: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Read the windows.

    Args:
        wide: (windows, 3, WIDTH), of `relative`.
        close: (windows, 3, closer).
        scalars: (windows, 2) s to the beat before and the beat after.

    Returns:
        Log-likelihoods, up to a constant, of onset, peak and offset of P, QRS, T: three arrays (windows, 3,
        samples of the range); and (windows, 3) log-odds that the wave is there.
    """
    chunks = [slice(i, i + _CHUNK) for i in range(0, len(wide), _CHUNK)]
    parts = [_forward(wide[chunk], close[chunk], scalars[chunk]) for chunk in chunks]
    out = parts[0] if len(parts) == 1 else np.concatenate(parts)
    marks = []
    at = 0
    for low, high in RANGES:
        size = 3 * (high - low)
        marks.append(out[:, at : at + size].reshape(len(out), 3, high - low))
        at += size
    return marks, out[:, at:]


def place(likelihood: np.ndarray, kind: int) -> np.ndarray:
    """Where the marks lie: (…,) samples at 500 Hz from R, from (…, samples of the range)."""
    low, high = RANGES[kind]
    best = likelihood.argmax(-1)
    index = np.clip(best[..., None] + _NEAR, 0, high - low - 1)
    near = np.take_along_axis(likelihood, index, -1)
    weight = np.exp(near - near[..., 3:4])
    centre = np.einsum("...i,...i->...", weight, index) / weight.sum(-1)
    return (centre + (low - BEFORE + CENTRE)) * COARSE


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    packed = pkgutil.get_data("ecglm.measure", "boundaries.npz")
    assert packed is not None, "the weights are shipped with the package"
    with np.load(BytesIO(packed)) as stored:
        return {name: np.ascontiguousarray(stored[name], np.float32) for name in stored.files}


def _forward(wide: np.ndarray, close: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    w = _weights()
    h = np.arcsinh(wide).transpose(0, 2, 1)
    h = _convolve(h, w["c1"], w["c1_bias"], 9, 2)
    h = _convolve(h, w["c2"], w["c2_bias"], 7, 2)
    h = _convolve(h, w["c3"], w["c3_bias"], 5, 2)
    flat = np.empty((len(wide), len(w["d1"])), np.float32)
    split = h.shape[1] * h.shape[2]
    flat[:, :split] = h.reshape(len(wide), -1)
    np.arcsinh(close.transpose(0, 2, 1).reshape(len(wide), -1), out=flat[:, split:])
    h = flat @ w["d1"]
    h += scalars @ w["d1_scalars"]
    h += w["d1_bias"]
    np.maximum(h, 0, out=h)
    out: np.ndarray = h @ w["out"]
    out += w["out_bias"]
    return out


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, width: int, stride: int) -> np.ndarray:
    """(windows, samples, channels in) → (windows, samples / stride, channels out), rectified."""
    n, length, channels = x.shape
    half = width // 2
    padded = np.zeros((n, length + 2 * half, channels), np.float32)
    padded[:, half : half + length] = x
    steps = (length - 1) // stride + 1
    s0, s1, s2 = padded.strides
    columns = np.lib.stride_tricks.as_strided(
        padded, (n, steps, width * channels), (s0, s1 * stride, s2), writeable=False
    )
    out = columns.reshape(n * steps, width * channels) @ kernel
    out += bias
    np.maximum(out, 0, out=out)
    return out.reshape(n, steps, -1)
