"""Exchanged electrodes: which exchange, undone, would make this ECG look more like an ECG.

Every exchange of electrodes turns the eight independent leads into known sums of themselves. Two small
networks score how well a typical beat fits its leads' names: as it is, and with each exchange undone. They
were trained on PTB-XL (folds 1 to 7) and simulated ECGs by `benchmarks/electrodes.py`, which writes
`swaps.npz`. The exchange of left arm and left leg is not reported: it looks like a healthy heart of another
axis.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np

from ecglm.measure.segments import around

_OFFSETS = np.arange(-72, 128, 4)  # samples at 250 Hz: -288 to +496 ms around a beat
_STEP = 16.0  # ms between them
_BASE, _QRS, _P = slice(11, 13), slice(13, 24), slice(3, 13)
_MEANS = np.zeros((50, 6), np.float32)  # both halves of the QRS, P four times, T in thirds
_MEANS[13:18, 0] = _MEANS[19:24, 1] = 1 / 5
_MEANS[_P, 2] = 4 / 10
_MEANS[range(25, 46), 3 + np.arange(21) // 7] = 1 / 7
_UPPER = np.triu_indices(8, 1)
_LIMBS = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]], np.float32)
_LEAST_LIMB, _LEAST_CHEST = 1.4, 2.2  # log odds; this and the next line chosen on 2,000 other simulated ECGs
_WIDE, _PER_MS = 144.0, 0.04  # ms of `_spread`, and the log odds that every one above asks for in addition
_TWO_CABLES = np.array([1.4, 1.4, 0, 0])  # log 4: two are exchanged more often than three turned in a circle


@dataclass(frozen=True)
class Swap:
    """An exchange of electrodes.

    Args:
        name: of the electrodes: "RA/LA", "V1/V2".
        matrix: (8, 8) from the leads I, II, V1 to V6 to what they would show.
        leads: that change.
        sign: by which a reader would notice.
    """

    name: str
    matrix: np.ndarray
    leads: tuple[str, ...]
    sign: str


def _limb(name: str, one: tuple[int, int], two: tuple[int, int], sign: str) -> Swap:
    matrix = np.eye(8)
    matrix[0, :2], matrix[1, :2] = one, two
    return Swap(name, matrix, ("I", "II", "III", "aVR", "aVL", "aVF"), sign)


def _chest(order: list[int], name: str) -> Swap:
    matrix = np.eye(8)
    matrix[2:] = np.eye(8)[[2 + k for k in order]]
    leads = tuple(f"V{place + 1}" for place, k in enumerate(order) if place != k)
    return Swap(name, matrix, leads, "the waves do not change in step from V1 to V6")


def _pairs() -> list[Swap]:
    swaps = []
    for first in range(6):
        for second in range(first + 1, min(first + 3, 6)):
            order = list(range(6))
            order[first], order[second] = second, first
            swaps.append(_chest(order, f"V{first + 1}/V{second + 1}"))
    return swaps


_NONE = Swap("none", np.eye(8), (), "")
_ARMS_LEG = _limb("LA/LL", (0, 1), (1, 0), "")
_RIGHT_ARM = [
    _limb(
        "RA/LA",
        (-1, 0),
        (-1, 1),
        "lead I is upside down, and aVR looks like aVL, or the heart lies on the right",
    ),
    _limb("RA/LL", (1, -1), (0, -1), "lead II is upside down, and aVR looks like aVF"),
    _limb("RA/LA/LL", (-1, 1), (-1, 0), "the limb leads are turned in a circle"),
    _limb("RA/LL/LA", (0, -1), (1, -1), "the limb leads are turned in a circle"),
]
_CHEST = [*_pairs(), _chest([5, 4, 3, 2, 1, 0], "V6 to V1")]
SWAPS = (_NONE, _ARMS_LEG, *_RIGHT_ARM, *_CHEST)
_UNDONE = np.linalg.inv(np.stack([swap.matrix for swap in SWAPS])).astype(np.float32)


def describe(name: str) -> str:
    """What is said of the exchange of this name."""
    sign = next(swap.sign for swap in SWAPS if swap.name == name)
    return f"electrodes {name} may be exchanged: {sign}"


def typical_beat(signal: np.ndarray, beats: np.ndarray) -> np.ndarray | None:
    """The median beat of the eight leads: (8, 50), every 16 ms, mV; None with fewer than two whole beats.

    Args:
        signal: (8, samples) at 250 Hz, I, II, V1 to V6.
        beats: samples, as of a `Segment`.
    """
    windows = around(signal, beats, _OFFSETS)
    if windows.shape[1] < 2:
        return None
    return np.partition(windows, windows.shape[1] // 2, axis=1)[:, windows.shape[1] // 2]


def undone(beats: np.ndarray) -> np.ndarray:
    """Each beat with each exchange of `SWAPS` undone: (beats, 8, 50) → (beats, swaps, 8, 50)."""
    return np.matmul(_UNDONE, beats[:, None])


def beat_features(beats: np.ndarray) -> np.ndarray:
    """What the networks read: (…, 8, 50) mV → (…, features), the same whatever the gain.

    Polarity, size and halves of the QRS, P and T of the twelve leads, and the correlations of the eight
    leads' QRS complexes.
    """
    limbs = np.matmul(_LIMBS, beats[..., :2, :])
    twelve = np.concatenate([limbs, beats[..., 2:, :]], axis=-2)
    twelve -= twelve[..., _BASE].mean(-1, keepdims=True)
    qrs = twelve[..., _QRS]
    power = np.einsum("...ls,...ls->...", qrs, qrs) / (qrs.shape[-2] * qrs.shape[-1])
    twelve /= np.sqrt(power)[..., None, None] + 1e-6
    upward = np.maximum(qrs, 0)
    power, up = (np.einsum("...s,...s->...", part, part) / part.shape[-1] for part in (qrs, upward))
    means = twelve @ _MEANS
    eight = qrs[..., [0, 1, *range(6, 12)], :]
    eight = eight - eight.mean(-1, keepdims=True)
    eight /= np.sqrt(np.einsum("...s,...s->...", eight, eight))[..., None] + 0.1
    parts = [
        np.sqrt(up) - np.sqrt(np.maximum(power - up, 0)),
        np.log(power + 0.003) / 2,
        *(means[..., part] for part in range(3)),
        means[..., 3:].reshape(*means.shape[:-2], -1),
        np.matmul(eight, np.swapaxes(eight, -1, -2))[..., _UPPER[0], _UPPER[1]],
    ]
    return np.concatenate(parts, axis=-1)


def find_swap(beats: list[np.ndarray]) -> Swap | None:
    """The exchange that undone makes the beats look more like an ECG; None if none is likely.

    Args:
        beats: typical beats (8, 50) of parts of one recording; their scores are averaged.
    """
    if not beats:
        return None
    stacked = np.stack(beats)
    scores = network_scores(beat_features(undone(stacked))).mean(0)
    limb, chest = evidence(scores) - np.array([_LEAST_LIMB, _LEAST_CHEST])
    if max(limb, chest) <= 0:
        return None
    wide = _PER_MS * max(0.0, float(_spread(stacked).mean()) - _WIDE)
    limb, chest = limb - wide, chest - wide
    if limb > 0 and limb >= chest:
        return _RIGHT_ARM[int(np.argmax(scores[2 : 2 + len(_RIGHT_ARM)] + _TWO_CABLES))]
    if chest > 0:
        return _CHEST[int(np.argmax(scores[-len(_CHEST) :]))]
    return None


def _spread(beats: np.ndarray) -> np.ndarray:
    """Over how many ms the slopes of the QRS are spread: (…, 8, 50) → (…); 85 in normal ECGs, 105 in right
    and 170 in left bundle branch block, 210 in ventricular pacing, whose leads have less to tell them apart.
    """
    slopes = np.abs(np.diff(beats, axis=-1))[..., 8:32]
    slopes = slopes / np.sqrt(np.square(slopes).sum(-1, keepdims=True) + 1e-9)
    together = slopes.mean(-2)
    share = together / (together.sum(-1, keepdims=True) + 1e-9)
    milliseconds: np.ndarray = _STEP / (np.square(share).sum(-1) + 1e-9)
    return milliseconds


def evidence(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log odds of an exchange that concerns the right arm, and of one among the chest electrodes.

    Args:
        scores: (…, swaps).
    """
    whole = np.logaddexp(scores[..., 0], scores[..., 1])
    limb = np.logaddexp.reduce(scores[..., 2 : 2 + len(_RIGHT_ARM)], axis=-1) - whole
    return limb, scores[..., -len(_CHEST) :].max(-1) - scores[..., 0]


@lru_cache(maxsize=1)
def _network() -> dict[str, np.ndarray]:
    data = pkgutil.get_data("ecglm.measure", "swaps.npz")
    assert data is not None, "swaps.npz is part of the package"
    with np.load(BytesIO(data), allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


def network_scores(features: np.ndarray) -> np.ndarray:
    """How well a beat fits its leads' names: (…, features) → (…), the mean of the two trained networks."""
    net = _network()
    x = features.reshape(-1, features.shape[-1])
    x = (x - net["mean"][:, None]) / net["deviation"][:, None]
    x = np.minimum(np.maximum(x, -4), 4)
    hidden = np.tanh(x @ net["inner"] + net["bias"][:, None])
    scores: np.ndarray = x @ net["direct"][..., None] + hidden @ net["outer"][..., None]
    return scores.mean(0).reshape(features.shape[:-1])
