"""16-bit counts of a lead, as EDF and DICOM store them: the finest round step that holds every value."""

from __future__ import annotations

import math

import numpy as np

from ecglm.ecg import ECG

LARGEST_COUNT = 32767
UNKNOWN_COUNT = -32768
"""Stands where a sample is unknown; no known value is written so."""
_FINEST = 1e-4  # mV; the noise of any electrode is larger


def refuse_empty(ecg: ECG) -> None:
    """Of every format that is written.

    Raises:
        ValueError: if there is no sample.
    """
    if ecg.signal.size == 0:
        raise ValueError(f"{ecg.name} has no samples; there is nothing to write")


def to_counts(values: np.ndarray, finest: float = _FINEST) -> tuple[np.ndarray, float]:
    """Counts and the size of one.

    Args:
        values: (samples,), NaN where unknown, in any unit.
        finest: the smallest step, in that unit.

    Returns:
        (samples,) int16, `UNKNOWN_COUNT` where unknown; and the step: 1, 2 or 5 times a power of ten, 0.5 µV
        for ±10 mV.

    Raises:
        ValueError: if a value is infinite.
    """
    if np.isinf(values).any():
        raise ValueError("the signal holds infinite values, which no file can state; remove them first")
    known = np.isfinite(values)
    largest = float(np.abs(values[known], dtype=np.float64).max(initial=0.0))
    step = max(_round_up(largest / LARGEST_COUNT), finest)
    counts = np.full(values.shape, UNKNOWN_COUNT, np.int16)
    # A quotient that is LARGEST_COUNT and a rounding error must not run over.
    counts[known] = np.clip(np.rint(values[known].astype(np.float64) / step), -LARGEST_COUNT, LARGEST_COUNT)
    return counts, step


def _round_up(step: float) -> float:
    """The next of … 0.1, 0.2, 0.5, 1, 2, 5 … from `step` on."""
    if not step:
        return 0.0
    exponent = math.floor(math.log10(step))
    for factor, power in ((1, exponent), (2, exponent), (5, exponent), (10, exponent)):
        candidate = float(f"{factor}e{power}")
        if candidate >= step * (1 - 1e-9):
            return candidate
    return float(f"2e{exponent + 1}")
