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

from ecglm.measure.windows import BEFORE, WIDTH
from ecglm.measure.working import COARSE

KINDS = ("P", "QRS", "T")
RANGES = ((0, 64), (30, 92), (56, 152))
"""Samples of the window between which the marks of P, QRS and T are looked for."""
CHANNELS = 3
_CENTRE = 0.375  # samples of 8 ms from a block's number to its middle, as R is rounded down
_CHUNK = 256  # windows at a time: what they need stays in the processor's cache
_NEAR = np.arange(-3, 4)  # samples of 8 ms around the most likely one


def features(windows: np.ndarray, typical: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """What the network reads: (beats · leads, WIDTH, 3).

    This beat, its typical beat, and the size of the typical beat over the leads, each relative to the height
    of the QRS and compressed, so that P is seen beside R.
    """
    beats, leads, _ = windows.shape
    qrs = typical[:, :, BEFORE - 10 : BEFORE + 12]
    height = np.maximum(qrs.max(2) - qrs.min(2), np.float32(1e-3))
    out = np.empty((beats, leads, WIDTH, CHANNELS), np.float32)
    scale = (20 / height)[:, :, None]
    np.multiply(windows, scale, out=out[..., 0])
    relative = out[..., 1]
    np.multiply(typical, scale, out=relative)
    part = relative if usable.all() else relative[:, usable]
    size = np.einsum("blw,blw->bw", part, part) / max(part.shape[1], 1)
    out[..., 2] = np.sqrt(size)[:, None]
    np.arcsinh(out, out=out)
    return out.reshape(beats * leads, WIDTH, CHANNELS)


def run(inputs: np.ndarray, scalars: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Read the windows.

    Args:
        inputs: (windows, WIDTH, 3).
        scalars: (windows, 2) s to the beat before and the beat after.

    Returns:
        Log-likelihoods, up to a constant, of onset, peak and offset of P, QRS, T: three arrays (windows, 3,
        samples of the range); and (windows, 3) log-odds that the wave is there.
    """
    parts = [_forward(inputs[i : i + _CHUNK], scalars[i : i + _CHUNK]) for i in range(0, len(inputs), _CHUNK)]
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
    return (centre + (low - BEFORE + _CENTRE)) * COARSE


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    packed = pkgutil.get_data("ecglm.measure", "boundaries.npz")
    assert packed is not None, "the weights are shipped with the package"
    with np.load(BytesIO(packed)) as stored:
        return {name: np.ascontiguousarray(stored[name], np.float32) for name in stored.files}


def _forward(x: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    w = _weights()
    h = _convolve(x, w["c1"], w["c1_bias"], 9, 2)
    h = _convolve(h, w["c2"], w["c2_bias"], 7, 2)
    h = _convolve(h, w["c3"], w["c3_bias"], 5, 1)
    h = h.reshape(len(x), -1) @ w["d1"]
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
