"""What looks wrong with a recording that could be read: implausible millivolts, leads that contradict each
other, exchanged electrodes. Sentences come back; no sample is changed.

The bounds are quantiles of PTB-XL, the coefficients are fitted by `benchmarks/lead_swaps.py`; how often each
check is right stands in docs/experiments.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np

from ecglm.ecg import (
    ECG,
    LEADS_12,
    STEEP_SECONDS,
    amplitude_doubts,
    limb_lead_errors,
    names_that_fit,
    steep_parts,
)

EIGHT_LEADS = ("I", "II", *LEADS_12[6:])
_EQUATIONS = {  # each lead by I and II
    "III": (-1.0, 1.0, "I + III is not II"),
    "aVR": (-0.5, -0.5, "aVR is not -(I + II)/2"),
    "aVL": (1.0, -0.5, "aVL is not I - II/2"),
    "aVF": (-0.5, 1.0, "aVF is not II - I/2"),
}
_ALGEBRA_TOLERANCE = 0.1  # of the largest lead; see docs/experiments.md
_LEAST_SLOPES = 250  # 2 s


def cable_figures(products: Sequence[Sequence[float]]) -> list[float]:
    """The 21 figures that tell how the limb leads lie to the chest leads.

    From the 8 x 8 products of the steep parts of I, II, V1 … V6: the correlations of I, II and III with each
    of V1 … V6, and the sizes of I, II and III as shares.
    """
    one, two = products[0], products[1]
    sizes = [math.sqrt(max(each, 1e-12)) for each in (one[0], two[1], one[0] + two[1] - 2 * one[1])]
    chest = [math.sqrt(max(products[lead][lead], 1e-12)) for lead in range(2, 8)]
    figures = [one[lead] / (sizes[0] * chest[lead - 2]) for lead in range(2, 8)]
    figures += [two[lead] / (sizes[1] * chest[lead - 2]) for lead in range(2, 8)]
    figures += [(two[lead] - one[lead]) / (sizes[2] * chest[lead - 2]) for lead in range(2, 8)]
    whole = math.hypot(*sizes)
    return figures + [size / whole for size in sizes]


CABLES: dict[str, tuple[float, ...]] = {
    "RA and LA": (
        -1.96,
        4.75, -2.76, 0.05, -0.68, -2.47, -1.25,
        3.60, -3.82, -0.42, 1.39, -1.28, -1.60,
        -1.87, 2.22, 0.34, -0.70, 0.30, 2.01,
        -0.71, 4.53, -0.79,
    ),
    "RA and LL": (
        -1.89,
        0.15, 0.55, -0.30, -1.24, -0.47, -1.48,
        1.32, -1.33, -1.36, 0.44, -0.57, -3.87,
        1.44, -0.13, -0.38, -0.93, -1.37, -0.79,
        4.33, 1.98, -3.48,
    ),
    "RA, LA and LL in turn": (
        -1.91,
        4.28, -3.35, -0.01, 1.15, -2.18, -0.91,
        4.44, -3.37, -0.31, -0.47, -1.53, -1.79,
        -1.62, 1.88, -1.41, -0.02, -0.48, -2.76,
        4.36, -0.77, -0.67,
    ),
    "RA, LL and LA in turn": (
        -1.94,
        1.89, -1.05, -0.75, 0.15, -1.44, -3.07,
        -0.61, 0.15, -0.75, -1.01, 0.47, -2.22,
        -4.66, 3.88, -0.44, 0.13, 1.22, 0.18,
        2.17, 4.52, -3.51,
    ),
}  # fmt: skip
"""Offset and slopes of the log odds of an exchange against none; from `benchmarks/lead_swaps.py`."""
_CABLES_THRESHOLD = 1.0  # suspects 1 % of PTB-XL's records, and 98 to 99 % of exchanges
_LOOKED_AT = 120.0  # seconds; where `assess_quality` looks for exchanges


def suspects_cables(products: Sequence[Sequence[float]]) -> bool:
    """Whether the products of the steep parts of I, II, V1 … V6 look like exchanged limb cables.

    It costs a hundredth of the look at the beats that `assess_quality` takes, which has the last word.
    """
    figures = cable_figures(products)
    return any(
        offset + sum(map(mul, slopes, figures)) > _CABLES_THRESHOLD for offset, *slopes in CABLES.values()
    )


def _exchanged(ecg: ECG) -> list[str]:
    from ecglm.measure.quality import assess_quality
    from ecglm.measure.swaps import describe

    name = assess_quality(ecg.crop(0, _LOOKED_AT) if ecg.duration > _LOOKED_AT else ecg).exchanged
    return [describe(name)] if name else []


def check(ecg: ECG) -> list[str]:
    """What looks wrong with an ECG in mV, in sentences; every row must be a lead."""
    leads, rate = ecg.leads, ecg.sampling_rate
    if ecg.num_samples < rate or not leads:  # less than a second says nothing
        return []
    signal = ecg.signal
    if all(each != each for each in signal[:, 0].tolist()):  # the monitor ran before the electrodes were on
        signal = signal[:, np.argmin(np.isnan(signal).all(axis=0)) :]
        if np.isnan(signal[:, 0]).all():
            return ["no sample of any lead is known"]
    steep = steep_parts(signal, rate)
    if not steep.size:
        return []
    products = (steep @ steep.T / steep.shape[1]).tolist()
    sizes = [products[row][row] for row in range(len(leads))]
    known = steep
    if not math.isfinite(sum(sizes)):
        steep = np.nan_to_num(steep, nan=0.0, posinf=0.0, neginf=0.0)
        products = (steep @ steep.T / steep.shape[1]).tolist()
        sizes = [products[row][row] for row in range(len(leads))]
    row = {name: number for number, name in enumerate(leads) if sizes[number] > 0}
    if not row:
        return ["every lead is flat"]
    found = []
    if len(row) < len(leads):
        longer = signal.shape[1] > STEEP_SECONDS * rate
        for number, name in enumerate(leads):
            if name not in row:
                what = "unknown" if np.isnan(known[number]).all() else "flat"
                found.append(f"lead {name} is {what}" + f" for the first {STEEP_SECONDS:g} s" * longer)
        steep = steep[list(row.values())]
    found += amplitude_doubts(steep) + _ranges(ecg.signal)
    contradicting = _limb_leads(ecg, products, row)
    found += contradicting
    if not contradicting and all(name in row for name in EIGHT_LEADS):
        rows = [row[name] for name in EIGHT_LEADS]
        eight = [[products[one][other] for other in rows] for one in rows]
        if known is not steep:  # by what all eight know, if that is 2 s at least: no page of four columns
            known = known[rows]
            known = known[:, np.isfinite(known).all(axis=0)]
            eight = (known @ known.T).tolist() if known.shape[1] >= _LEAST_SLOPES else []
        if eight and suspects_cables(eight):
            found += _exchanged(ecg)
    return found


def _ranges(signal: np.ndarray) -> list[str]:
    """Leads of equal range, as LUDB's: each was scaled by itself."""
    first = np.inf
    for number, lead in enumerate(signal):
        size = lead.max() - lead.min()
        if number == 0:
            first = size
        elif not abs(size - first) <= 0.002 * first:  # also where a sample is unknown
            return []
    if len(signal) < 3:
        return []
    return [
        f"every lead has the same range, {first:.3g} mV: each was scaled by itself, so the amplitudes are no "
        "millivolts"
    ]


def _limb_leads(ecg: ECG, products: list[list[float]], row: dict[str, int]) -> list[str]:
    """Einthoven's and Goldberger's equations.

    First of the steep parts, which costs little and knows no offsets; where these break them, of the samples.
    """
    if not _broken(products, row):
        return []
    broken = {name: error for name, error in limb_lead_errors(ecg).items() if error > _ALGEBRA_TOLERANCE}
    if not broken:
        return []
    equations = ", ".join(_EQUATIONS[name][2] for name in broken)
    fits = names_that_fit(ecg)
    remedy = f"; they agree if {', '.join(f'{was} is {now}' for was, now in fits.items())}" if fits else ""
    if not fits or len(fits) > 2:  # one lead upside down is likelier than two exchanges
        limb = [name for name in row if name in LEADS_12[:6]]
        turned = [name for name in limb if not _broken(_upside_down(products, row[name]), row)]
        remedy = f"; they agree if {turned[0]} is upside down" if len(turned) == 1 else remedy
    return [f"the limb leads contradict each other: {equations}{remedy}"]


def _upside_down(products: list[list[float]], row: int) -> list[list[float]]:
    """The products as they would be with the sign of one lead turned."""
    return [
        [-value if (one == row) != (other == row) else value for other, value in enumerate(values)]
        for one, values in enumerate(products)
    ]


def _broken(products: list[list[float]], row: dict[str, int]) -> bool:
    """Whether an equation leaves over more than the tolerance allows, by the leads' products."""
    if "I" not in row or "II" not in row:
        return False
    of_one, of_two = products[row["I"]], products[row["II"]]
    one, two, both = of_one[row["I"]], of_two[row["II"]], of_one[row["II"]]
    for name, (a, b, _) in _EQUATIONS.items():
        if name in row:
            this = row[name]
            own = products[this][this]
            left_over = (
                a * a * one + b * b * two + own + 2 * (a * b * both - a * of_one[this] - b * of_two[this])
            )
            if left_over > _ALGEBRA_TOLERANCE**2 * max(one, two, own):
                return True
    return False
