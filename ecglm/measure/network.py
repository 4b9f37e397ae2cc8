"""The boundary network: for each beat and lead, how likely each wave's onset, peak and offset lies where.

Three convolutions and two dense layers, 150 thousand weights, learnt by `benchmarks/train_delineator.py` from
LUDB (Kalyakulina et al. 2020, per-lead marks by cardiologists), simulated ECGs with their truth, and PTB-XL's
atrial fibrillation, which has no P waves. Here it runs in NumPy.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import NamedTuple

import numpy as np

from ecglm.measure.windows import BEFORE, ZOOM_AFTER, ZOOM_BEFORE, typical
from ecglm.measure.working import COARSE

KINDS = ("P", "QRS", "T")
RANGES = ((0, 64), (30, 92), (56, 152))
"""Samples of the window between which the marks of P, QRS and T are looked for."""
CHANNELS = 3
CENTRE = 0.375
"""Samples of 8 ms between a mark and the middle of its block: blocks are counted from R rounded down."""
_CHUNK = 256  # windows at a time: what they need stays in the processor's cache
_STRIDE = 2  # of the convolutions
_NEAR = np.arange(-3, 4)  # samples of 8 ms around the most likely one
_SIZES = np.repeat([high - low for low, high in RANGES], 3)
_STARTS = np.cumsum(_SIZES) - _SIZES  # of each mark's likelihoods among the outputs
_LOWEST = np.repeat([low for low, _ in RANGES], 3)


class View(NamedTuple):
    """Beats as the network sees them, in three channels, of which neighbours share two.

    Args:
        own: (beats, leads, samples) the beats.
        typical: (groups, leads, samples) the median beat of each group of neighbours.
        size: (groups, samples) the size of that over the leads.
    """

    own: np.ndarray
    typical: np.ndarray
    size: np.ndarray

    def channels(self, group: np.ndarray) -> np.ndarray:
        """(beats, leads, 3, samples), as the network is trained."""
        size = np.broadcast_to(self.size[group, None], self.own.shape)
        return np.stack([self.own, self.typical[group], size], axis=2)


def relative(wide: np.ndarray, close: np.ndarray, group: np.ndarray, usable: np.ndarray) -> tuple[View, View]:
    """Windows as multiples of a twentieth of the QRS height: after `arcsinh` P is seen beside R.

    Args:
        wide: (beats, leads, WIDTH) mV at 125 Hz.
        close: (beats, leads, closer) mV at 250 Hz.
        group: (beats,) as of `windows.groups`.
        usable: (leads,).
    """
    usual = [typical(windows, group) for windows in (wide, close)]
    qrs = usual[0][:, :, BEFORE - 10 : BEFORE + 12]
    height = np.maximum(qrs.max(2) - qrs.min(2), np.float32(1e-3))
    scale = (20 / height)[:, :, None]
    views = []
    for own, median in zip((wide, close), usual, strict=True):
        median *= scale
        part = median[:, usable]
        size = np.sqrt(np.einsum("glw,glw->gw", part, part) / part.shape[1])
        views.append(View(own * scale[group], median, size))
    return views[0], views[1]


def run(wide: View, close: View, group: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """Read the windows.

    Args:
        wide: of `relative`.
        close: of `relative`.
        group: (beats,) as of `windows.groups`.
        scalars: (beats, 2) s to the beat before and the beat after.

    Returns:
        (beats · leads, outputs): log-likelihoods, up to a constant, of onset, peak and offset of P, QRS and T
        at the samples of their range, then three log-odds that the wave is there.
    """
    w = _weights()
    # the first layers are sums over the channels, and what neighbours share is read once
    first = _first(wide.typical, w["c1_typical"]) + _first(wide.size, w["c1_size"])[:, None]
    first += np.tile(w["c1_bias"], first.shape[2] // len(w["c1_bias"]))
    second = np.arcsinh(close.typical) @ w["d1_typical"] + (np.arcsinh(close.size) @ w["d1_size"])[:, None]
    second += w["d1_bias"]
    step = max(_CHUNK // wide.own.shape[1], 1)
    chunks = [slice(i, i + step) for i in range(0, len(group), step)]
    parts = [
        _forward(wide.own[k], close.own[k], scalars[k], first[group[k]], second[group[k]]) for k in chunks
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def place(out: np.ndarray) -> np.ndarray:
    """Where the marks lie: (windows, 3 kinds, 3) samples at 500 Hz from R, from what `run` gives."""
    rows = len(out)
    best = np.empty((rows, len(_SIZES)), int)
    for kind, (low, high) in enumerate(RANGES):
        marks = slice(3 * kind, 3 * kind + 3)
        part = out[:, _STARTS[marks.start] :][:, : 3 * (high - low)]
        best[:, marks] = part.reshape(rows, 3, high - low).argmax(2)
    index = np.minimum(np.maximum(best[..., None] + _NEAR, 0), _SIZES[:, None] - 1)
    near = out.ravel().take(index + (np.arange(rows)[:, None] * out.shape[1] + _STARTS)[..., None])
    weight = np.exp(near - near[..., 3:4])
    centre = (weight * index).sum(2) / weight.sum(2)
    return ((centre + (_LOWEST - BEFORE + CENTRE)) * COARSE).reshape(rows, len(RANGES), 3)


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    packed = pkgutil.get_data("ecglm.measure", "boundaries.npz")
    assert packed is not None, "the weights are shipped with the package"
    with np.load(BytesIO(packed)) as stored:
        return arrange(stored)


def arrange(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights as `run` needs them, from those that are stored: the shared channels apart, in float32."""
    w = {name: np.asarray(stored[name], np.float32) for name in stored}
    convolved = len(w["d1"]) - CHANNELS * (ZOOM_BEFORE + ZOOM_AFTER)
    c1 = w["c1"].reshape(-1, CHANNELS, w["c1"].shape[1])
    d1 = w["d1"][convolved:].reshape(-1, CHANNELS, w["d1"].shape[1])
    w["d1_own"] = np.concatenate([w["d1"][:convolved], d1[:, 0], w["d1_scalars"]])
    w["out"] = np.concatenate([w["out"], w["out_bias"][None]])
    for channel, name in enumerate(("own", "typical", "size")):
        w[f"c1_{name}"] = np.ascontiguousarray(c1[:, channel])
        if channel:
            w[f"d1_{name}"] = np.ascontiguousarray(d1[:, channel])
    return w


def _forward(
    wide: np.ndarray, close: np.ndarray, scalars: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """(beats · leads, outputs) of some beats; `first` and `second` are what the shared channels add."""
    w = _weights()
    first += _first(wide, w["c1_own"])
    beats, leads, _ = first.shape
    h = first.reshape(beats * leads, -1, len(w["c1_bias"]))
    for name in ("c2", "c3"):
        kernel = w[name]
        padded, inside = _padded(h.shape, len(kernel) // h.shape[2])
        np.maximum(h, 0, out=inside)
        h = _convolve(padded, kernel)
        flat = h.reshape(len(h), -1)
        flat += np.tile(w[f"{name}_bias"], h.shape[1])
    x = np.empty((beats, leads, len(w["d1_own"])), np.float32)
    convolved = h.shape[1] * h.shape[2]
    np.maximum(h.reshape(beats, leads, -1), 0, out=x[..., :convolved])
    np.arcsinh(close, out=x[..., convolved : -scalars.shape[1]])
    x[..., -scalars.shape[1] :] = scalars[:, None]
    second += x @ w["d1_own"]
    hidden = np.ones((beats * leads, second.shape[2] + 1), np.float32)
    np.maximum(second.reshape(beats * leads, -1), 0, out=hidden[:, :-1])
    out: np.ndarray = hidden @ w["out"]
    return out


def _first(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One channel's share of the first convolution: (…, samples) → (…, steps · channels out)."""
    padded, inside = _padded((x.size // x.shape[-1], x.shape[-1], 1), len(kernel))
    np.arcsinh(x.reshape(inside.shape), out=inside)
    return _convolve(padded, kernel).reshape(*x.shape[:-1], -1)


def _padded(shape: tuple[int, ...], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for (windows, samples, channels) with zeros before and after, and the part to be filled."""
    n, samples, channels = shape
    half = width // 2
    padded = np.empty((n, samples + 2 * half, channels), np.float32)
    padded[:, :half] = padded[:, half + samples :] = 0
    return padded, padded[:, half : half + samples]


def _convolve(padded: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(windows, samples with padding, channels in) → (windows, steps, channels out)."""
    n, length, channels = padded.shape
    steps = (length - len(kernel) // channels) // _STRIDE + 1
    s0, s1, s2 = padded.strides
    columns = np.lib.stride_tricks.as_strided(
        padded, (n, steps, len(kernel)), (s0, s1 * _STRIDE, s2), writeable=False
    )
    return (columns.reshape(n * steps, len(kernel)) @ kernel).reshape(n, steps, -1)
