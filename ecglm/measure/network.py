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

from ecglm.measure.windows import BEFORE, WIDTH, typical
from ecglm.measure.working import COARSE

KINDS = ("P", "QRS", "T")
RANGES = ((0, 64), (30, 92), (56, 152))
"""Samples of the window between which the marks of P, QRS and T are looked for."""
CHANNELS = 3
CENTRE = 0.375
"""Samples of 8 ms between a mark and the middle of its block: blocks are counted from R rounded down."""
_CHUNK = 256  # windows at a time: what they need stays in the processor's cache
_CONVOLUTIONS = ("c1", "c2", "c3")
_BESIDE = (4, 3, 2)  # samples that the kernel of each sees on either side of its middle
_NEAR = np.arange(-8, 9)  # samples of 8 ms around the most likely one
_SIZES = np.repeat([high - low for low, high in RANGES], 3)
_STARTS = np.cumsum(_SIZES) - _SIZES  # of each mark's likelihoods among the outputs
_LOWEST = np.repeat([low for low, _ in RANGES], 3)


class View(NamedTuple):
    """Beats as the network sees them, in three channels.

    Args:
        own: (beats, leads, samples) the beats.
        typical: (groups, leads, samples) the median beat of each group of neighbours.
        size: (beats, samples) how large the leads are together.
    """

    own: np.ndarray
    typical: np.ndarray
    size: np.ndarray

    def channels(self, group: np.ndarray) -> np.ndarray:
        """(beats, leads, 3, samples), as the network is trained."""
        size = np.broadcast_to(self.size[:, None], self.own.shape)
        return np.stack([self.own, self.typical[group], size], axis=2)

    def write(self, out: np.ndarray, beats: slice, group: np.ndarray) -> None:
        """Some of the beats to (samples, 3, beats · leads), as the network is run on them."""
        own = np.arcsinh(self.own[beats])
        out = out.reshape(*out.shape[:2], *own.shape[:2])
        out[:, 0] = own.transpose(2, 0, 1)
        out[:, 1] = np.arcsinh(self.typical).transpose(2, 0, 1)[:, group[beats]]
        out[:, 2] = np.arcsinh(self.size[beats]).T[:, :, None]


def relative(wide: np.ndarray, close: np.ndarray, group: np.ndarray, usable: np.ndarray) -> tuple[View, View]:
    """Windows as multiples of a twentieth of the QRS height: after `arcsinh` P is seen beside R.

    Args:
        wide: (beats, leads, WIDTH) mV at 125 Hz.
        close: (beats, leads, closer) mV at 250 Hz.
        group: (beats,) as of `windows.groups`.
        usable: (leads,).
    """
    both = np.concatenate([wide, close], axis=2)
    usual = typical(both, group)
    qrs = usual[:, :, BEFORE - 10 : BEFORE + 12]
    height = np.maximum(qrs.max(2) - qrs.min(2), np.float32(1e-3))
    scale = (20 / height)[:, :, None]
    own, usual = both * scale[group], usual * scale
    first, second = slice(WIDTH), slice(WIDTH, None)
    # the beat's own: a P wave that moves from beat to beat is in no typical beat, and too small in one lead
    size = _size(own[:, usable, first])
    return (
        View(own[..., first], usual[..., first], size),
        View(own[..., second], usual[..., second], _size(usual[:, usable, second])[group]),
    )


def _size(windows: np.ndarray) -> np.ndarray:
    """(…, samples) root mean square over the leads of (…, leads, samples)."""
    size: np.ndarray = np.sqrt(np.einsum("nlw,nlw->nw", windows, windows) / windows.shape[1])
    return size


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
    step = max(_CHUNK // wide.own.shape[1], 1)
    chunks = [slice(i, i + step) for i in range(0, len(group), step)]
    parts = [_forward(wide, close, group, scalars, k) for k in chunks]
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
    weight = np.exp(near - near[..., 8:9])
    centre = np.einsum("rmk,rmk->rm", weight, index.astype(np.float32)) / np.einsum("rmk->rm", weight)
    return ((centre + (_LOWEST - BEFORE + CENTRE)) * COARSE).reshape(rows, len(RANGES), 3)


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    packed = pkgutil.get_data("ecglm.measure", "boundaries.npz")
    assert packed is not None, "the weights are shipped with the package"
    with np.load(BytesIO(packed)) as stored:
        return arrange(stored)


def arrange(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights as `run` needs them, from those that are stored: float32, and from the left of what they weigh.

    max(u + bias, 0) = max(u, −bias) + bias: the first term is worked on, with −bias as its floor, and the
    second goes into the next layer's bias.
    """
    w = {name: np.asarray(stored[name], np.float32) for name in stored}
    layers = {}
    above = np.zeros(CHANNELS, np.float32)
    for name in _CONVOLUTIONS:
        layers[name] = np.ascontiguousarray(w[name].T)
        above = w[f"{name}_bias"] + np.resize(above, len(w[name])) @ w[name]
        layers[f"{name}_floor"] = -above[:, None]
    convolved = (WIDTH + 7) // 8 * len(above)
    bias = w["d1_bias"] + np.resize(above, convolved) @ w["d1"][:convolved]
    layers["d1"] = np.ascontiguousarray(np.concatenate([w["d1"], w["d1_scalars"], bias[None]]).T)
    layers["out"] = np.concatenate([w["out"], w["out_bias"][None]])
    return layers


def _forward(wide: View, close: View, group: np.ndarray, scalars: np.ndarray, beats: slice) -> np.ndarray:
    """(beats · leads, outputs) of some beats; arguments as of `run`.

    The windows come last throughout: so every step of a convolution is a product with a part of its input
    that needs no copy, and each layer writes to where the next one reads.
    """
    w = _weights()
    leads, scalars = wide.own.shape[1], scalars[beats]
    n = len(scalars) * leads
    x = np.zeros((WIDTH + 2 * _BESIDE[0], CHANNELS, n), np.float32)
    wide.write(x[_BESIDE[0] : -_BESIDE[0]], beats, group)
    for name, beside in zip(_CONVOLUTIONS, (*_BESIDE[1:], 0), strict=True):
        x = _convolve(x, w[name], w[f"{name}_floor"], beside)
    closer = np.empty((close.own.shape[2], CHANNELS, n), np.float32)
    close.write(closer, beats, group)
    one = np.ones((1, n), np.float32)
    parts = [x.reshape(-1, n), closer.reshape(-1, n), scalars.T.repeat(leads, axis=1), one]
    hidden = w["d1"] @ np.concatenate(parts)
    out: np.ndarray = np.concatenate([np.maximum(hidden, 0), one]).T @ w["out"]
    return out


def _convolve(x: np.ndarray, kernel: np.ndarray, floor: np.ndarray, beside: int) -> np.ndarray:
    """(samples, channels in, windows) → (samples / 2, channels out, windows), with what stands beside them.

    Args:
        x: what is convolved.
        kernel: (channels out, width · channels in).
        floor: (channels out, 1) of the result; it stands beside it, too.
        beside: samples of it before and after the result.
    """
    samples, channels, n = x.shape
    number = (samples - kernel.shape[1] // channels) // 2 + 1
    s0, s1, s2 = x.strides
    parts = np.ndarray((number, kernel.shape[1], n), np.float32, x, strides=(2 * s0, s1, s2))
    out = np.empty((number + 2 * beside, len(kernel), n), np.float32)
    inside = out[beside : beside + number]
    out[:beside] = out[beside + number :] = floor
    np.matmul(kernel, parts, out=inside)
    np.maximum(inside, floor, out=inside)
    return out
