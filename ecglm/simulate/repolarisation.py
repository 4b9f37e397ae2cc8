"""ST segment, T and U wave of a beat: the patient's own, ischaemic, or secondary to an abnormal QRS."""

from __future__ import annotations

import numpy as np

from ecglm.simulate.heart import Patient
from ecglm.simulate.leads import CHEST, frontal, turn, with_frontal
from ecglm.simulate.waves import T_EDGE, Wave

# mV in the chest leads V1 to V6, and the frontal-plane vector as (degrees, mV), at unit severity
_T_INVERSION = {
    "t_inversion_anterior": ([-0.06, -0.25, -0.34, -0.28, -0.12, -0.03], (80, 0.08)),
    "t_inversion_anterolateral": ([0.02, -0.05, -0.20, -0.30, -0.26, -0.18], (165, 0.14)),
    "t_inversion_inferior": ([0.14, 0.28, 0.26, 0.16, 0.02, -0.08], (-82, 0.19)),
    "t_inversion_lateral": ([0.12, 0.28, 0.22, 0.02, -0.15, -0.18], (140, 0.17)),
}
_ST_DEPRESSION = {
    "st_depression": ([0.01, 0.0, -0.03, -0.08, -0.10, -0.08], (-125, 0.09)),
    "st_depression_anterolateral": ([0.03, -0.02, -0.09, -0.16, -0.16, -0.11], (-150, 0.11)),
    "st_depression_anteroseptal": ([-0.05, -0.14, -0.17, -0.12, -0.05, -0.01], (-120, 0.04)),
    "st_depression_inferior": ([0.04, 0.03, 0.0, -0.03, -0.06, -0.07], (-95, 0.14)),
}
# injury currents with their reciprocal images (Wagner et al., AHA/ACCF/HRS 2009, part VI)
_ST_ELEVATION = {
    "stemi_anterior": ([0.08, 0.24, 0.32, 0.26, 0.12, 0.03], (-45, 0.08)),
    "stemi_inferior": ([-0.02, -0.12, -0.10, -0.03, 0.03, 0.06], (106, 0.24)),
    "stemi_lateral": ([-0.07, -0.09, -0.03, 0.07, 0.17, 0.18], (-35, 0.19)),
}
_T_BY_LEAD = [0.65, 0.95, 0.75, 0.75, 0.90, 1.25]  # T is less dipolar than QRS: PTB-XL's medians over Dower's
_SCAR_T = {  # how much of the T wave over a scar turns over
    "old_mi_anteroseptal": ([0.5, 0.9, 0.9, 0.7, 0.3, 0.1], 0.0),
    "old_mi_anterior": ([0.2, 0.7, 1.0, 0.9, 0.6, 0.3], 0.0),
    "old_mi_anterolateral": ([0.0, 0.3, 0.8, 1.0, 1.0, 0.9], 0.6),
    "old_mi_lateral": ([0.0, 0.0, 0.0, 0.3, 0.8, 0.9], 0.6),
    "old_mi_inferior": ([0.0, 0.0, 0.0, 0.0, 0.1, 0.3], 0.7),
    "old_mi_inferolateral": ([0.0, 0.0, 0.0, 0.2, 0.8, 1.0], 0.8),
}


def _plane(angle: float, size: float) -> np.ndarray:
    return size * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])


def _profile(chest: list[float], angle: float, size: float, rng: np.random.Generator) -> np.ndarray:
    """A lead vector from chest amplitudes and a frontal vector, with the scatter of real territories."""
    eight = np.zeros(8)
    scatter = np.exp(0.25 * rng.standard_normal(6))
    eight[CHEST] = np.array(chest) * scatter + 0.015 * rng.standard_normal(6)
    return with_frontal(
        eight, _plane(angle + 13 * rng.standard_normal(), size * np.exp(0.25 * rng.standard_normal()))
    )


def _normal(patient: Patient, rng: np.random.Generator, axis: float) -> tuple[np.ndarray, np.ndarray]:
    """T and ST of a healthy heart: T points left and front, more so in young men (Surawicz 2003)."""
    youth = float(np.clip((55 - patient.age) / 35, 0, 1))
    if patient.female:
        t, st = np.array([0.37, 0.07, -0.23 - 0.04 * youth]), np.array([0.0, 0.0, -0.045])
    else:
        t, st = np.array([0.39, 0.06, -0.35 - 0.13 * youth]), np.array([0.01, 0.01, -0.065 - 0.04 * youth])
    t = t * np.exp(0.30 * rng.standard_normal()) + 0.06 * rng.standard_normal(3)
    st = st * rng.uniform(0.4, 1.6) + 0.010 * rng.standard_normal(3)
    t8, st8 = patient.matrix @ t, patient.matrix @ st
    t8[CHEST] *= _T_BY_LEAD
    plane = frontal(t8)
    angle = float(np.rad2deg(np.arctan2(plane[1], plane[0])))
    # the T axis follows the QRS axis halfway, and stays within 60 degrees of it
    wanted = np.clip(angle + 0.35 * (axis - angle), -10, 80)
    return with_frontal(t8, turn(plane, wanted - angle)), st8


def _invert(
    t8: np.ndarray, weight: list[float], limb: float, angle: float, rng: np.random.Generator
) -> np.ndarray:
    """T over a scar: flat to inverted where the weight is."""
    strength = rng.uniform(0.2, 1.7)  # from flattened to frankly inverted
    out = t8.copy()
    out[CHEST] *= 1 - strength * np.array(weight) * rng.uniform(0.7, 1.2, 6)
    if limb:
        plane = frontal(out)
        along = _plane(angle, 1.0)
        out = with_frontal(out, plane - strength * limb * max(plane @ along, 0.05) * along)
    return out


def repolarisation(
    chosen: set[str],
    patient: Patient,
    rng: np.random.Generator,
    qrs: Wave,
    qrs_ms: float,
    qt_ms: float,
    axis: float,
) -> tuple[Wave, Wave, Wave]:
    """ST segment, T wave and U wave (perhaps without lobes), in ms from the QRS onset; T ends at `qt_ms`."""
    t8, st8 = _normal(patient, rng, axis)
    area = qrs.area()
    symmetric = sagging = False
    if chosen & {
        "lbbb",
        "wpw",
        "ventricular",
    }:  # discordant to the net QRS, as measured on PTB-XL's CLBBB
        k = rng.uniform(0.75, 1.3)
        part = 0.55 if "wpw" in chosen else 1.0
        t8 = 0.35 * t8 - 0.0036 * k * part * area
        st8 = -0.0016 * k * part * area
    if "ilbbb" in chosen:
        t8, st8 = 0.7 * t8 - 0.002 * area, st8 - 0.0008 * area
    if "ivcd" in chosen:
        t8 = rng.uniform(0.4, 1.0) * t8 - 0.0012 * area
    if chosen & {"rbbb", "irbbb", "rvh"}:
        u = rng.uniform(0.6, 1.4) * (0.3 if "irbbb" in chosen else 1.0)
        t8[2:5] -= u * np.array([0.36, 0.42, 0.18])
        st8[2:5] -= u * np.array([0.07, 0.08, 0.03])
    if chosen & {"lafb", "lpfb"}:
        t8 = with_frontal(t8, turn(frontal(t8), 15 if "lafb" in chosen else -15))
    if "lvh" in chosen:
        t8, st8 = t8 * rng.uniform(0.6, 1.0) - 0.0008 * area, st8 - 0.0006 * area
    if "lvh_strain" in chosen:
        u = rng.uniform(0.5, 1.5)
        t8, st8 = 0.4 * t8 - 0.0042 * u * area, st8 - 0.0022 * u * area
        t8[6:] -= rng.uniform(0.02, 0.16)
        t8 = with_frontal(t8, frontal(t8) - rng.uniform(0.04, 0.13) * np.array([1.0, 0.15]))
    for name, (weight, limb) in _SCAR_T.items():
        if name in chosen:
            t8 = _invert(t8, weight, limb, 85.0 if "inf" in name else -20.0, rng)
            st8 = st8 + 0.04 * rng.uniform(0, 1.5) * np.concatenate([[0, 0], np.array(weight)])
    for name, (chest, (angle, size)) in _ST_ELEVATION.items():
        if name in chosen:
            u = float(np.clip(np.exp(0.3 * rng.standard_normal()), 0.7, 1.7))
            injury = _profile([u * v for v in chest], angle, u * size, rng)
            st8 = st8 + injury
            t8 = rng.uniform(0.4, 0.9) * t8 + rng.uniform(0.4, 1.2) * injury
            symmetric = True
    for name, (chest, (angle, size)) in _T_INVERSION.items():
        if name in chosen:
            u = float(np.exp(0.4 * rng.standard_normal()))
            t8 = 0.25 * t8 + _profile([u * v for v in chest], angle, u * size, rng)
            symmetric = True
    for name, (chest, (angle, size)) in _ST_DEPRESSION.items():
        if name in chosen:
            u = float(np.clip(np.exp(0.35 * rng.standard_normal()), 0.7, 2.5))
            depression = _profile([u * v for v in chest], angle, u * size, rng)
            st8 = st8 + depression
            t8 = rng.uniform(0.2, 0.8) * t8 + rng.uniform(-0.3, 0.7) * depression
    if "digitalis" in chosen:  # the ST segment sags against the QRS, T is small
        st8 = st8 - 0.0045 * rng.uniform(0.7, 1.5) * area
        t8 = rng.uniform(0.2, 0.6) * t8
        sagging = True
    if "nonspecific_t" in chosen:
        t8 = t8 * rng.uniform(-0.1, 0.62) + 0.035 * rng.standard_normal() * np.array(
            [1, 0.5, 0, 0.5, 1, 1, 1, 1]
        )
        t8 = t8 + 0.02 * rng.standard_normal(8)
    if "low_t" in chosen:
        t8 = t8 * rng.uniform(0.1, 0.3)
    if "low_voltage" in chosen:
        t8 = t8 * rng.uniform(0.35, 0.7)
    t8 = t8 + 0.05 * np.abs(t8) * rng.standard_normal(8)
    return _shape(chosen, rng, t8, st8, qrs_ms, qt_ms, symmetric, sagging)


def _shape(
    chosen: set[str],
    rng: np.random.Generator,
    t8: np.ndarray,
    st8: np.ndarray,
    qrs_ms: float,
    qt_ms: float,
    symmetric: bool,
    sagging: bool,
) -> tuple[Wave, Wave, Wave]:
    """Lobes in time: a plateau from J on, an asymmetric T that ends at QT, and perhaps a U wave."""
    span = qt_ms - qrs_ms
    fall = span * rng.uniform(0.105, 0.135)
    rise = fall * (rng.uniform(1.0, 1.15) if symmetric else rng.uniform(1.25, 1.75))
    if (
        "long_qt" in chosen and rng.random() < 0.4
    ):  # late, narrow T after a long ST segment (LQT3, hypocalcaemia)
        fall, rise = 0.75 * fall, 0.75 * rise
    rows, vectors = [(0.0, rise, fall, 0.0)], [t8]
    if rng.random() < (0.4 if "long_qt" in chosen else 0.12):  # a second hump
        rows.append((0.9 * fall, 0.6 * fall, 0.8 * fall, 0.0))
        vectors.append(rng.uniform(0.15, 0.4) * t8)
    elif rng.random() < 0.25:  # a vector that turns while it recovers: biphasic in some leads
        rows.append((-1.1 * rise, rise, rise, 0.0))
        vectors.append(rng.uniform(0.1, 0.35) * np.linalg.norm(t8) / 2 * rng.standard_normal(8))
    t_wave = Wave(np.array(rows), np.array(vectors))
    t_wave = t_wave.shifted(qt_ms - t_wave.edges(T_EDGE)[2])
    top = t_wave.timing[0, 0]
    start = qrs_ms - 3.0
    if sagging:
        st_rows = [((start + top) / 2, (top - start) / 3.2, (top - start) / 3.6, 0.0)]
    else:
        half = max((top - 0.6 * rise - start) / 2, 8.0)
        st_rows = [(start + half, 13.0, rise, half * 0.85)]
    u_rows, u_vectors = np.zeros((0, 4)), np.zeros((0, 8))
    if rng.random() < 0.25:
        u_rows = np.array([[qt_ms + rng.uniform(45, 75), 28.0, 32.0, 0.0]])
        u_vectors = (0.1 * np.abs(t8) * np.array([0.3, 0.5, 0.4, 1, 1, 0.8, 0.5, 0.4]))[None] + 0.005
    return Wave(np.array(st_rows), st8[None]), t_wave, Wave(u_rows, u_vectors)
