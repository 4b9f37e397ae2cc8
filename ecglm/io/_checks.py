"""What looks wrong with a recording that could be read: implausible millivolts, leads that contradict each
other, swapped limb cables. Sentences come back; no sample is changed.

The bounds are quantiles of PTB-XL, the coefficients are fitted by `benchmarks/lead_swaps.py`; how often each
check is right stands in docs/experiments.md.
"""

from __future__ import annotations

import numpy as np

from ecglm.ecg import ECG, LEADS_12

EIGHT_LEADS = ("I", "II", *LEADS_12[6:])
_EQUATIONS = {  # each lead by I and II
    "III": (-1.0, 1.0, "I + III is not II"),
    "aVR": (-0.5, -0.5, "aVR is not -(I + II)/2"),
    "aVL": (1.0, -0.5, "aVL is not I - II/2"),
    "aVF": (-0.5, 1.0, "aVF is not II - I/2"),
}
_ALGEBRA_TOLERANCE = 0.15  # of the limb leads' mean size; see docs/experiments.md
# mV in 20 ms. Of twelve leads 99.8 % of PTB-XL's records lie in 0.38 to 2.5, of single leads in 0.14 to 4.8.
_TWELVE_BOUNDS, _FEW_BOUNDS = (0.3, 3.0), (0.1, 6.0)
_WINDOW, _BLOCK, _STEP = 20.0, 2.0, 0.02  # seconds: looked at, one figure each, over which a slope is taken


def steep_parts(signal: np.ndarray, sampling_rate: float) -> np.ndarray:
    """(leads, samples) mV per 20 ms: what changes within 20 ms, which is the QRS, in at most 20 s.

    Baseline, gain offsets and most of P and T fall out.
    """
    step = max(1, round(_STEP * sampling_rate))
    signal = signal[:, : round(_WINDOW * sampling_rate)]
    return signal[:, step:] - signal[:, :-step]


def cable_figures(cov: np.ndarray) -> np.ndarray:
    """(21,) figures that tell how the limb leads lie to the chest leads, from the (8, 8) covariance of the steep
    parts of I, II, V1 … V6: the correlations of I, II and III with V1 … V6, and the sizes of I, II and III.
    """
    limb = np.zeros((3, 8))
    limb[0, 0] = limb[1, 1] = limb[2, 1] = 1
    limb[2, 0] = -1
    size = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", limb, cov, limb), 1e-12))
    chest = np.sqrt(np.maximum(np.diag(cov)[2:], 1e-12))
    correlations = (limb @ cov[:, 2:]) / size[:, None] / chest
    return np.concatenate([correlations.ravel(), size / np.sqrt((size**2).sum())])


CABLES: dict[str, tuple[float, ...]] = {
    "RA and LA": (
        -2.03,
        4.72, -2.71, 0.01, -0.66, -2.49, -1.24,
        3.59, -3.81, -0.40, 1.37, -1.25, -1.59,
        -1.89, 2.22, 0.35, -0.71, 0.27, 2.02,
        -0.62, 4.55, -0.76,
    ),
    "RA and LL": (
        -1.97,
        0.09, 0.61, -0.31, -1.22, -0.50, -1.49,
        1.33, -1.34, -1.36, 0.42, -0.55, -3.88,
        1.43, -0.12, -0.38, -0.91, -1.39, -0.79,
        4.36, 2.00, -3.40,
    ),
    "RA, LA and LL in turn": (
        -1.92,
        4.25, -3.31, -0.01, 1.14, -2.18, -0.89,
        4.42, -3.35, -0.32, -0.46, -1.53, -1.79,
        -1.61, 1.87, -1.40, -0.02, -0.46, -2.76,
        4.35, -0.75, -0.65,
    ),
    "RA, LL and LA in turn": (
        -2.06,
        1.87, -1.02, -0.78, 0.15, -1.44, -3.06,
        -0.65, 0.19, -0.74, -1.01, 0.48, -2.24,
        -4.67, 3.87, -0.42, 0.10, 1.22, 0.19,
        2.28, 4.56, -3.44,
    ),
}  # fmt: skip
"""Offset and slopes of the log odds of an exchange against none; from `benchmarks/lead_swaps.py`."""
_CABLES_THRESHOLD = 2.0  # calls 0.4 % of PTB-XL's records exchanged, and finds 98 % of exchanges


def exchanged_cables(cov: np.ndarray) -> str | None:
    """Which limb cables a covariance of steep parts (I, II, V1 … V6) says are exchanged; None where none."""
    figures = cable_figures(cov)
    scores = {name: float(row[0] + figures @ np.array(row[1:])) for name, row in CABLES.items()}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > _CABLES_THRESHOLD else None


def check(signal: np.ndarray, sampling_rate: float, leads: tuple[str, ...]) -> list[str]:
    """What looks wrong, in sentences.

    Args:
        signal: (leads, samples) mV, ECG leads only.
        sampling_rate: Hz.
        leads: their names.
    """
    steep = steep_parts(signal, sampling_rate)
    if steep.shape[1] < sampling_rate or not len(leads):  # less than a second says nothing
        return []
    square = steep @ steep.T
    if not np.isfinite(square).all():
        steep = np.nan_to_num(steep, nan=0.0, posinf=0.0, neginf=0.0)
        square = steep @ steep.T
    cov = square.astype(np.float64) / steep.shape[1]
    live = np.diag(cov) > 0
    if not live.any():
        return ["every lead is flat"]
    found = [f"{', '.join(np.array(leads)[~live])} flat"] if not live.all() else []
    found += _amplitude(steep[live], sampling_rate)
    found += _ranges(signal[live])
    of = {name: row for row, name in enumerate(leads) if live[row]}
    limb = [name for name in LEADS_12[:6] if name in of]
    contradicting = _limb_algebra(cov[np.ix_([of[name] for name in limb], [of[name] for name in limb])], limb)
    found += contradicting
    if not contradicting and of.keys() >= set(EIGHT_LEADS):
        rows = [of[name] for name in EIGHT_LEADS]
        cables = exchanged_cables(cov[np.ix_(rows, rows)])
        if cables:
            found.append(
                f"the limb leads lie to the chest leads as if cables were exchanged, most likely {cables} "
                "(or the heart lies on the right)"
            )
    return found


def _amplitude(steep: np.ndarray, sampling_rate: float) -> list[str]:
    """The steepest 20 ms of each 2 s, median over time and leads: a QRS of 1 mV has about 1 mV."""
    length = round(_BLOCK * sampling_rate)
    blocks = max(steep.shape[1] // length, 1)
    size = np.abs(steep[:, : blocks * length]).reshape(len(steep), blocks, -1).max(axis=2)
    typical = float(np.median(size))
    low, high = _TWELVE_BOUNDS if len(steep) > 3 else _FEW_BOUNDS
    if low <= typical <= high:
        return []
    return [
        f"implausible amplitude: the QRS rises by {typical:.2g} mV in 20 ms, in scaled ECGs by {low:g} to "
        f"{high:g} mV; the file's gain or unit is probably wrong (unit= overrides it)"
    ]


def _ranges(signal: np.ndarray) -> list[str]:
    """Leads of equal range, as LUDB's: each was scaled by itself."""
    if len(signal) < 3:
        return []
    ranges = np.nanmax(signal, axis=1) - np.nanmin(signal, axis=1)
    if np.ptp(ranges) > 0.002 * ranges.mean():
        return []
    return [
        f"every lead has the same range, {ranges.mean():.3g} mV: each was scaled by itself, so the amplitudes "
        "are no millivolts"
    ]


def _limb_algebra(cov: np.ndarray, limb: list[str]) -> list[str]:
    """Einthoven's and Goldberger's equations among the limb leads that are there; (n, n) covariance."""
    if not {"I", "II"} <= set(limb) or len(limb) < 3:
        return []
    worst = _contradictions(cov, limb)
    if not worst:
        return []
    size = len(limb)
    changes: dict[str, np.ndarray] = {}
    for row in range(size):
        turned = np.eye(size)
        turned[row, row] = -1
        changes[f"{limb[row]} is upside down"] = turned
        for other in range(row):
            swapped = np.eye(size)[[{row: other, other: row}.get(each, each) for each in range(size)]]
            changes[f"{limb[other]} and {limb[row]} are exchanged"] = swapped
    remedies = [
        name for name, change in changes.items() if not _contradictions(change @ cov @ change.T, limb)
    ]
    fits = f"; they agree if {' or '.join(remedies[:3])}" if remedies else ""
    return [f"the limb leads contradict each other: {', '.join(worst)}{fits}"]


def _contradictions(cov: np.ndarray, limb: list[str]) -> list[str]:
    size = float(np.sqrt(np.mean(np.diag(cov))))
    found = []
    for name, (of_one, of_two, equation) in _EQUATIONS.items():
        if name in limb:
            weights = np.zeros(len(limb))
            weights[limb.index("I")], weights[limb.index("II")], weights[limb.index(name)] = (
                of_one,
                of_two,
                -1,
            )
            residual = float(np.sqrt(max(weights @ cov @ weights, 0)))
            if residual > _ALGEBRA_TOLERANCE * size:
                found.append(equation)
    return found
