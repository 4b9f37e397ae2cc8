"""A corpus of simulated ECGs: conditions that occur together, and none so rare that a model misses it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecglm.ecg import ECG
from ecglm.simulate.conditions import BENIGN, CONDITIONS, conflict
from ecglm.simulate.simulator import simulate

# How often a condition leads, relative to the others: PTB-XL's order of frequencies, flattened so that one
# in a thousand records
# of the hospital is one in a hundred here.
_WEIGHTS = {
    "normal": 0,
    "sinus_bradycardia": 3,
    "sinus_tachycardia": 3,
    "sinus_arrhythmia": 3,
    "afib": 7,
    "flutter": 2,
    "svt": 1.5,
    "pac": 4,
    "pvc": 5,
    "bigeminy": 1.5,
    "trigeminy": 1.2,
    "first_degree_av_block": 4,
    "mobitz1": 1.5,
    "mobitz2": 1.2,
    "complete_av_block": 1.5,
    "wpw": 2,
    "lbbb": 4,
    "ilbbb": 2,
    "rbbb": 4,
    "irbbb": 5,
    "ivcd": 3,
    "lafb": 5,
    "lpfb": 2,
    "lvh": 5,
    "lvh_strain": 5,
    "rvh": 2,
    "lae": 2.5,
    "rae": 1.5,
    "stemi_anterior": 2,
    "stemi_inferior": 2,
    "stemi_lateral": 1.5,
    "old_mi_anteroseptal": 6,
    "old_mi_anterior": 3,
    "old_mi_anterolateral": 2,
    "old_mi_lateral": 2,
    "old_mi_inferior": 7,
    "old_mi_inferolateral": 2.5,
    "st_depression": 3,
    "st_depression_anterolateral": 2.5,
    "st_depression_anteroseptal": 1.5,
    "st_depression_inferior": 2,
    "t_inversion_anterior": 2,
    "t_inversion_anterolateral": 2.5,
    "t_inversion_inferior": 2,
    "t_inversion_lateral": 2,
    "nonspecific_t": 6,
    "low_t": 3,
    "digitalis": 1.5,
    "long_qt": 2.5,
    "low_voltage": 2,
    "pacing_ventricular": 2,
    "pacing_atrial": 1,
    "pacing_dual": 1.2,
}
_NORMAL_SHARE = 0.32


def draw_conditions(rng: np.random.Generator) -> list[str]:
    """Conditions of one record: normal, or one that leads and up to three that go with it."""
    if rng.random() < _NORMAL_SHARE:
        chosen = ["normal"]
        if rng.random() < 0.22:
            chosen.append(str(rng.choice(["sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"])))
        return chosen
    names = [name for name in CONDITIONS if name != "normal"]
    weights = np.array([_WEIGHTS[name] for name in names])
    wanted = 1 + int(rng.choice(4, p=[0.42, 0.33, 0.18, 0.07]))
    chosen = []
    for name in rng.choice(names, size=12, p=weights / weights.sum()):
        if len(chosen) < wanted and all(
            name != other and conflict(str(name), other) is None for other in chosen
        ):
            chosen.append(str(name))
    return ["normal", *chosen] if set(chosen) <= BENIGN else chosen


def _age_for(chosen: list[str], rng: np.random.Generator) -> float:
    """Disease comes with age: PTB-XL's normal ECGs have a median age of 53, infarcts and blocks of 70."""
    mean, spread = (53, 17) if set(chosen) <= BENIGN | {"irbbb", "wpw"} else (68, 14)
    return float(round(np.clip(mean + spread * rng.standard_normal(), 18, 95)))


def simulate_corpus(num_records: int, seed: int = 0, **options) -> Iterator[ECG]:
    """Many ECGs in a realistic mixture; record `i` depends on `seed` and `i` only.

    Args:
        num_records: how many.
        seed: of the corpus; two corpora of different seeds share no patient.
        options: passed to `simulate`: `sampling_rate`, `duration`, `noise`.
    """
    for i in range(num_records):
        rng = np.random.default_rng([seed, i])
        chosen = draw_conditions(rng)
        age = _age_for(chosen, rng)
        ecg = simulate(chosen, int(rng.integers(2**62)), age=age, **options)
        ecg.metadata["record_id"] = f"sim-{seed}-{i}"
        ecg.metadata["patient_id"] = f"sim-{seed}-{i}"
        yield ecg
