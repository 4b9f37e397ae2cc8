"""One patient's heart: how each kind of beat looks in the eight independent leads.

Every wave is a few lobes of a heart vector in Frank's axes (X left, Y feet, Z back), in mV, seen through
Dower's matrix after the patient's own rotation, gains and electrode placement. The vectors follow the
textbook sequence of
activation (Durrer D et al., Circulation 1970;41:899-912; Surawicz & Knilans, Chou's Electrocardiography,
6th ed.): septum to the right
and front, apex and free wall to the left, base to the back. Amplitudes were set against medians of PTB-XL's
normal ECGs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecglm.simulate import waves
from ecglm.simulate.leads import CHEST, DOWER, axis_of, frontal, rotation, turn, twelve_leads, with_frontal
from ecglm.simulate.waves import Wave

Rows = list[tuple[float, ...]]

# QRS, ms at a duration of about 90: septum, apex and front, lateral and back wall, base
_NORMAL = [
    (20, 6.5, 6.0, 0, -0.10, 0.02, -0.27),
    (36, 7.0, 7.0, 0, 1.10, 0.62, -0.10),
    (47, 7.2, 7.5, 0, 0.42, 0.33, 0.95),
    (63, 7.0, 8.0, 0, -0.24, -0.12, 0.36),
]
_LAFB = [
    (19, 6.5, 6.5, 0, -0.05, 0.18, -0.25),
    (36, 7.0, 7.5, 0, 0.78, -0.15, 0.05),
    (51, 8.0, 8.5, 0, 0.25, -0.62, 0.75),
    (70, 8.5, 9.5, 0, -0.58, -0.32, 0.45),
]
_LPFB = [
    (19, 6.5, 6.5, 0, 0.18, -0.18, -0.22),
    (37, 7.0, 7.5, 0, 0.75, 0.60, -0.05),
    (49, 8.0, 8.5, 0, 0.05, 0.85, 0.70),
    (69, 8.5, 9.0, 0, -0.38, 0.32, 0.35),
]
# the septum is activated from the right, so nothing points to the right at first; the free wall is late: a
# notched plateau
_LBBB = [
    (26, 13.0, 13.0, 0, 0.20, 0.06, 0.10),
    (58, 14.0, 14.0, 4, 0.55, 0.10, 1.85),
    (98, 15.0, 16.0, 5, 0.72, -0.05, 1.65),
]
_RVH = [
    (20, 6.5, 6.5, 0, 0.02, -0.06, -0.30),
    (36, 7.0, 7.5, 0, 0.68, 0.50, -0.22),
    (51, 8.0, 9.0, 0, -0.30, 0.45, -0.60),
    (67, 8.5, 9.5, 0, -0.50, -0.05, 0.05),
]
# paced from the apex of the right ventricle: like left bundle branch block, but upwards and away from all
# chest leads
_PACED = [
    (28, 14.0, 15.0, 0, 0.30, -0.35, 0.20),
    (65, 18.0, 18.0, 5, 0.25, -0.75, 1.10),
    (105, 19.0, 19.0, 4, 0.10, -0.60, 1.05),
]


@dataclass(frozen=True)
class Patient:
    """What belongs to the patient and not to the condition.

    Args:
        age: years.
        female: sex.
        matrix: (8, 3) lead matrix: Dower's, turned and scaled for this torso and these electrode positions.
        size: QRS amplitude, 1 on average.
    """

    age: float
    female: bool
    matrix: np.ndarray
    size: float


def draw_patient(rng: np.random.Generator, age: float | None, sex: str | None) -> Patient:
    """A patient; age and sex are drawn where they are not given."""
    drawn_age = float(np.clip(rng.normal(60, 17), 18, 95))
    drawn_sex = rng.random() < 0.48  # both as in PTB-XL
    age = round(drawn_age) if age is None else float(age)
    female = bool(drawn_sex) if sex is None else sex == "female"
    turned = DOWER @ rotation(rng.normal(0, [10, 14, 6]))
    matrix = turned * (1 + 0.10 * rng.standard_normal((8, 3)))
    position = rng.standard_normal(6)
    position = 0.6 * position + 0.4 * np.roll(position, 1)  # neighbouring electrodes share an error
    chest = np.exp(0.10 * rng.standard_normal() + 0.17 * position)
    chest[0] *= 0.85  # Dower's V1 and limb leads are larger than PTB-XL's
    matrix[:2] *= 0.9
    matrix[CHEST] *= (chest * (0.85 if female else 1.0))[:, None]
    size = float(np.exp(0.20 * rng.standard_normal())) * float(np.clip(1.12 - 0.003 * (age - 30), 0.85, 1.2))
    return Patient(age, female, matrix, size)


def _jitter(rows: Sequence[tuple[float, ...]], rng: np.random.Generator, amount: float = 1.0) -> Rows:
    table = np.array(rows, dtype=float)
    table[:, 0] *= 1 + 0.03 * amount * rng.standard_normal(len(table))
    table[:, 1:3] *= np.exp(0.12 * amount * rng.standard_normal((len(table), 2)))
    length = np.linalg.norm(table[:, 4:], axis=1, keepdims=True)
    table[:, 4:] *= np.exp(0.16 * amount * rng.standard_normal((len(table), 1)))
    # the first forces vary most from heart to heart: the r of V1 spans 0.08 to 0.4 mV in PTB-XL's normals
    table[0, 4:] *= np.exp(0.30 * amount * rng.standard_normal())
    table[:, 4:] += 0.14 * amount * length * rng.standard_normal((len(table), 3))
    return [tuple(row) for row in table]


def _notches(rng: np.random.Generator, matrix: np.ndarray, strength: float, span: float) -> Wave:
    """Small sharp deviations, different in every lead: no QRS is smooth."""
    n = int(rng.integers(1, 4))
    timing = np.zeros((n, 4))
    timing[:, 0] = rng.uniform(0.25, 0.8, n) * span
    timing[:, 1:3] = rng.uniform(3, 6, (n, 1))
    vectors = strength * (rng.standard_normal((n, 3)) @ matrix.T + 0.4 * rng.standard_normal((n, 8)))
    return Wave(timing, vectors)


def place_axis(wave: Wave, axis: float, chest_share: float = 0.3, fixed: Wave | None = None) -> Wave:
    """Turn a QRS in the frontal plane until its net area, with `fixed` added, has this axis.

    The chest leads see the turn through their small Y components only, so they get a share of it in
    amplitude.
    """
    own = frontal(wave.area())
    rest = np.zeros(2) if fixed is None else frontal(fixed.area())
    total = 0.0
    for _ in range(12):
        x, y = turn(own, total) + rest
        missing = (axis - np.rad2deg(np.arctan2(y, x)) + 180) % 360 - 180
        if abs(missing) < 0.3:
            break
        total += missing
    whole = Wave(wave.timing, with_frontal(wave.vectors, turn(frontal(wave.vectors), total)))
    if fixed is not None:
        whole = whole + fixed
        missing = (axis - axis_of(whole.area()) + 180) % 360 - 180  # what `fixed` would not let through
        whole = Wave(whole.timing, with_frontal(whole.vectors, turn(frontal(whole.vectors), missing)))
    swing = np.deg2rad(np.clip(total * chest_share, -40, 40))
    vectors = whole.vectors.copy()
    vectors[:, 6:] *= np.cos(swing)  # a heart that turns away from the left is seen smaller in V5 and V6
    return Wave(whole.timing, vectors)


def fit_duration(wave: Wave, ms: float) -> Wave:
    """Stretch and shift a wave so that it begins at 0 and ends at `ms`."""
    on, _, off = wave.edges()
    return wave.shifted(-on).scaled(ms / (off - on))


def limb_swing(wave: Wave) -> float:
    """Largest peak-to-peak of the six limb leads, mV."""
    twelve = twelve_leads(wave.at(np.arange(-20.0, 260.0, 2.0)))
    return float(np.ptp(twelve[:6], axis=1).max())


def _fit_voltage(wave: Wave, chosen: set[str], rng: np.random.Generator) -> Wave:
    """Bring the voltage to where the condition's criteria want it, and keep the others off these criteria."""
    twelve = twelve_leads(wave.at(np.arange(-20.0, 260.0, 2.0)))
    limb, chest = np.ptp(twelve[:6], axis=1).max(), np.ptp(twelve[6:], axis=1).max()
    sokolow = -twelve[6].min() + max(twelve[10].max(), twelve[11].max())  # Sokolow & Lyon 1949: ≥ 3.5 mV
    gain = np.ones(8)
    if "low_voltage" in chosen:  # < 0.5 mV in all limb leads
        gain[:2] *= rng.uniform(0.28, 0.47) / limb
        # < 1 mV in the chest leads is the rest of the definition; PTB-XL codes by the limb leads alone
        gain[2:] *= (
            rng.uniform(0.55, 0.96) / chest if rng.random() < 0.5 else min(1.0, rng.uniform(1.1, 2.2) / chest)
        )
    elif chosen & {"lvh", "lvh_strain"}:
        wanted = 3.55 + rng.gamma(2.0, 0.32)
        gain[2:] *= max(wanted / sokolow, 0.8)
        gain[:2] *= np.clip(wanted / sokolow, 0.8, 1.4)
    else:
        gain[:2] *= max(1.0, rng.uniform(0.6, 0.75) / limb)
        gain[2:] *= max(1.0, rng.uniform(1.05, 1.25) / chest)
        if not chosen & {"lbbb", "wpw", "pacing_ventricular", "pacing_dual", "rvh", "rbbb"}:
            gain[2:] *= min(1.0, rng.uniform(2.9, 3.4) / sokolow)
    return Wave(wave.timing, wave.vectors * gain)


def _infarct(wave: Wave, chosen: set[str], rng: np.random.Generator) -> Wave:
    """Take the dead wall's forces out of the chest leads: Q waves, QS, lost R."""
    deep = {
        "old_mi_anteroseptal": [0.9, 1.0, 1.0, 0.6, 0.1, 0],
        "old_mi_anterior": [0.25, 0.85, 0.75, 0.45, 0.1, 0],
        "old_mi_anterolateral": [0, 0.3, 0.8, 1.0, 0.9, 0.7],
        "old_mi_lateral": [0, 0, 0, 0.1, 0.7, 0.9],
        "old_mi_inferolateral": [0, 0, 0, 0, 0.6, 0.8],
        "stemi_anterior": [0.1, 0.5, 0.6, 0.4, 0, 0],
    }
    vectors, timing = wave.vectors.copy(), wave.timing.copy()
    for name in chosen & deep.keys():
        weight = np.clip(np.array(deep[name]) * rng.uniform(0.75, 1.1), 0, 1)
        early, middle = vectors[0, CHEST], vectors[1, CHEST]
        start = -rng.uniform(0.1, 0.4, 6)
        if rng.random() < 0.4:  # poor R progression: a tiny r is left
            start = rng.uniform(0.0, 0.15, 6)
        vectors[0, CHEST] = early * (1 - weight) + weight * start
        vectors[2, CHEST] -= weight * rng.uniform(0.1, 0.45, 6)
        keep = rng.uniform(0.05, 0.45, 6)
        vectors[1, CHEST] = middle * (1 - weight) + weight * (keep * middle - rng.uniform(0.05, 0.45))
        timing[0, 1:3] *= 1 + 0.35 * weight.max()  # a Q wave of 40 ms
    return Wave(timing, vectors)


def _limb_q(chosen: set[str], rng: np.random.Generator) -> Wave | None:
    """The Q wave that an inferior or lateral scar writes into the limb leads, whatever the axis."""
    if chosen & {"old_mi_inferior", "old_mi_inferolateral"}:
        angle, depth = rng.normal(-88, 15), rng.uniform(0.22, 0.68)
    elif chosen & {"old_mi_lateral", "old_mi_anterolateral"}:
        angle, depth = rng.normal(150, 15), rng.uniform(0.3, 0.65)
    else:
        return None
    plane = depth * np.array([[np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]])
    timing = np.array([[rng.uniform(20, 25), rng.uniform(9, 11), rng.uniform(9, 12), 1.0]])
    return Wave(timing, with_frontal(np.zeros((1, 8)), plane))


def default_axis(chosen: set[str], patient: Patient, rng: np.random.Generator) -> float:
    """QRS axis by condition and age, degrees."""
    z = rng.standard_normal()
    if "lafb" in chosen:
        return float(np.clip(-58 + 9 * z, -85, -45))
    if "lpfb" in chosen:
        return float(np.clip(112 + 9 * z, 95, 140))
    if "rvh" in chosen:
        return float(np.clip(108 + 16 * z, 80, 150))
    if "lbbb" in chosen:
        return float(np.clip(0 + 33 * z, -75, 80))
    if chosen & {"old_mi_inferior", "old_mi_inferolateral"}:
        return float(np.clip(-15 + 27 * z, -65, 60))
    if chosen & {"old_mi_lateral", "old_mi_anterolateral"}:
        return float(np.clip(65 + 25 * z, 10, 110))
    if chosen & {"lvh", "lvh_strain"}:
        return float(np.clip(15 + 27 * z, -29, 85))
    mean = 58 - 0.70 * (patient.age - 20)  # the axis turns left with age (Rautaharju 2009)
    return float(np.clip(mean + 29 * z, -28, 88))


def default_qrs(chosen: set[str], patient: Patient, rng: np.random.Generator) -> float:
    """QRS duration by condition, ms (AHA/ACCF/HRS 2009: complete block from 120, incomplete below)."""
    z = rng.standard_normal()
    if chosen & {"pacing_ventricular", "pacing_dual"}:
        return float(np.clip(162 + 14 * z, 130, 205))
    if "lbbb" in chosen:
        return float(np.clip(148 + 12 * z, 126, 190))
    if "rbbb" in chosen:
        return float(np.clip(140 + 11 * z, 122, 175))
    if "wpw" in chosen:
        return float(np.clip(130 + 11 * z, 112, 165))
    if chosen & {"irbbb", "ilbbb"}:
        return float(np.clip(107 + 5 * z, 96, 119))
    if "ivcd" in chosen:
        return float(np.clip(120 + 7 * z, 110, 150))
    base = (88 if patient.female else 95) + (5 if chosen & {"lvh", "lvh_strain", "lafb", "lpfb"} else 0)
    return float(np.clip(base + 7 * z, 72, 109))


def ventricular_rows(chosen: set[str], rng: np.random.Generator) -> Rows:
    """The lobes of the conducted QRS before any patient sees it."""
    if "lbbb" in chosen:
        rows = _jitter(_LBBB, rng)
        if rng.random() < 0.6:  # a small r in V1 to V3 is as common as QS
            rows.append((22, 8, 8, 0, 0.02, 0.0, -rng.uniform(0.1, 0.4)))
        return rows
    if "rvh" in chosen:
        return _jitter(_RVH, rng)
    rows = _jitter(_LAFB if "lafb" in chosen else _LPFB if "lpfb" in chosen else _NORMAL, rng)
    if chosen & {"lvh", "lvh_strain"}:
        rows[1] = (*rows[1][:4], rows[1][4] * 1.2, rows[1][5], rows[1][6] + 0.15)
        rows[2] = (*rows[2][:4], rows[2][4] * 1.35, rows[2][5], rows[2][6] * 1.35)
    if "rbbb" in chosen:  # the right ventricle is activated last and unopposed: R' in V1, broad S in I and V6
        rows[2] = (*rows[2][:6], rows[2][6] * 0.4)
        rows[3] = (64, 9, 10, 0, *(0.3 * v for v in rows[3][4:]))
        strength = np.exp(0.22 * rng.standard_normal())
        right = np.array([-0.55, rng.normal(0.02, 0.15), -0.82]) * strength
        rows.append((92 + rng.normal(0, 4), 14, 18, 4, *right))
    elif "irbbb" in chosen:
        rows[2] = (*rows[2][:6], rows[2][6] * 0.75)
        rows[3] = (*rows[3][:4], *(0.4 * v for v in rows[3][4:]))
        right = np.array([-0.24, rng.normal(0.0, 0.1), -0.42]) * np.exp(0.35 * rng.standard_normal())
        rows.append((75 + rng.normal(0, 2), 8.5, 10, 0, *right))
    elif "ilbbb" in chosen:  # the septal q is lost and the upstroke slurred
        rows[0] = (20, 9, 9, 0, 0.18, 0.0, 0.08)
        rows[2] = (*rows[2][:4], rows[2][4] + 0.35, rows[2][5], rows[2][6] * 1.3)
    elif "ivcd" in chosen:
        rows.append((82 + rng.normal(0, 4), 13, 14, 0, *rng.normal([0.1, -0.05, 0.42], 0.22)))
    return rows


def conducted(
    chosen: set[str], patient: Patient, rng: np.random.Generator, axis: float | None, qrs: float | None
) -> Wave:
    """The QRS of the patient's own conduction, from 0 ms to its duration."""
    drawn_axis, drawn_qrs = default_axis(chosen, patient, rng), default_qrs(chosen, patient, rng)
    wave = waves.make(ventricular_rows(chosen, rng), patient.matrix)
    size = patient.size * (0.85 if chosen & {"rbbb", "lafb", "lpfb"} else 1.0)
    wave = Wave(wave.timing, wave.vectors * size)
    # the drawn axis is that of the left ventricle; the late lobe is added to it
    if axis is None and chosen & {"rbbb", "irbbb"}:
        late = Wave(wave.timing[-1:], wave.vectors[-1:])
        wave = place_axis(Wave(wave.timing[:-1], wave.vectors[:-1]), drawn_axis) + late
        drawn_axis = axis_of(wave.area())
    if "lbbb" in chosen:  # whatever the torso: away from V1, towards V6
        plateau = wave.vectors[1:3]
        plateau[:, 2] = np.minimum(plateau[:, 2], -rng.uniform(0.7, 1.2, 2) * size)
        plateau[:, 6] = np.maximum(plateau[:, 6], rng.uniform(0.0, 0.5, 2) * size)
        plateau[:, 7] = np.maximum(plateau[:, 7], rng.uniform(0.4, 0.9, 2) * size)
    wave = _infarct(wave, chosen, rng)
    scar = _limb_q(chosen, rng)
    if scar is not None:  # the septal lobe would write an r before the scar's Q
        wave.vectors[0, :2] *= 0.15
    if chosen & {"old_mi_inferior", "old_mi_inferolateral"}:  # the R of aVF shrinks with the wall
        plane = frontal(wave.vectors[1:2]) * np.array([1.0, rng.uniform(0.15, 0.9)])
        wave.vectors[1:2] = with_frontal(wave.vectors[1:2], plane)
    notched = 2.2 if "ivcd" in chosen else 1.0
    wave = wave + _notches(rng, patient.matrix, 0.035 * notched * patient.size, 90)
    if "wpw" in chosen:
        wave = _preexcited(wave, patient, rng)
    wave = place_axis(wave, drawn_axis if axis is None else axis, fixed=scar)
    wave = _fit_voltage(wave, chosen, rng)
    wave = fit_duration(wave, drawn_qrs if qrs is None else qrs)
    return place_axis(wave, drawn_axis if axis is None else axis, chest_share=0.0)


def _preexcited(wave: Wave, patient: Patient, rng: np.random.Generator) -> Wave:
    """A slow delta wave from the pathway's insertion, then the QRS (Arruda 1998: polarity by pathway)."""
    left_lateral, posteroseptal, right = (-0.15, 0.25, -0.45), (0.35, -0.35, -0.25), (0.40, -0.05, 0.10)
    x, y, z = (left_lateral, posteroseptal, right)[int(rng.choice(3, p=[0.45, 0.3, 0.25]))]
    delta = waves.make([(34, 17, 15, 3, x, y, z), (52, 14, 13, 0, 0.8 * x, 0.8 * y, 0.8 * z)], patient.matrix)
    grow = patient.size * rng.uniform(0.8, 1.4)
    return Wave(delta.timing, delta.vectors * grow) + wave.shifted(30)


def ectopic(patient: Patient, rng: np.random.Generator, kind: str) -> tuple[Wave, float]:
    """A ventricular beat of its own origin ("pvc", "escape" or "paced"), and its duration in ms."""
    if kind == "paced":
        rows = _jitter(_PACED, rng)
        axis, duration = rng.normal(-68, 16), 0.0
        if rng.random() < 0.2:  # lead in the outflow tract or on the septum
            axis = rng.normal(60, 25)
    elif rng.random() < 0.5:  # from the right ventricle: LBBB-like
        rows = _jitter(_LBBB, rng, 1.6)
        axis, duration = rng.choice([80.0, -50.0]) + 20 * rng.standard_normal(), rng.uniform(128, 170)
    else:  # from the left ventricle: RBBB-like, positive in V1
        base = [
            (30, 14, 15, 0, 0.10, 0.30, -0.70),
            (65, 17, 17, 4, -0.35, 0.45, -1.10),
            (100, 16, 18, 3, -0.65, 0.20, -0.30),
        ]
        rows = _jitter(base, rng, 1.6)
        axis, duration = rng.choice([-75.0, 105.0]) + 25 * rng.standard_normal(), rng.uniform(128, 170)
    wave = waves.make(rows, patient.matrix)
    grow = patient.size * rng.uniform(0.85, 1.35)
    wave = Wave(wave.timing, wave.vectors * grow) + _notches(rng, patient.matrix, 0.05, 120)
    wave = place_axis(wave, float(axis), chest_share=0.1)
    return fit_duration(wave, duration or 160.0), duration or 160.0


def p_wave(
    chosen: set[str], patient: Patient, rng: np.random.Generator, ectopic_focus: bool = False
) -> tuple[Wave, float]:
    """The P wave from 0 ms on and its duration: right atrium first (front, down), then left (back, left)."""
    right, left = np.array([0.055, 0.050, -0.050]), np.array([0.090, 0.035, 0.035])
    duration = float(np.clip(rng.normal(104, 10), 82, 119))
    if "lae" in chosen:  # > 120 ms, notched, deep terminal part in V1
        left = left * 1.5 + np.array([0, 0, 0.055])
        duration = float(rng.uniform(122, 146))
    if "rae" in chosen:  # > 0.25 mV in II
        right = right * np.array([2.2, 4.3, 2.6])
    size = np.exp(0.25 * rng.standard_normal()) if not chosen & {"rae"} else 1.0
    right, left = right * size, left * size
    right = right + 0.012 * rng.standard_normal(3)
    left = left + 0.012 * rng.standard_normal(3)
    if ectopic_focus:
        flip = np.array([rng.choice([1, -1]), rng.choice([1, -1]), 1]) * rng.uniform(0.6, 1.2, 3)
        right, left = right * flip, left * flip
    apart = 34 if "lae" in chosen else 24
    rows = [(40, 14, 15, 0, *right), (40 + apart, 15, 16, 0, *left)]
    matrix = patient.matrix.copy()
    matrix[3:] *= (
        0.5  # the atria lie high and behind: V2 to V6 see half of what a ventricular dipole would show
    )
    return fit_duration(waves.make(rows, matrix), duration), duration
