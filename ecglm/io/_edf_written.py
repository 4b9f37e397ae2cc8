"""Writing EDF+; `ecglm.io.edf` reads it.

Source: B. Kemp, J. Olivan, Clin. Neurophysiol. 114 (2003) 1755 (EDF+).
"""

from __future__ import annotations

import math
import os
from datetime import date, datetime, time
from fractions import Fraction
from pathlib import Path

import numpy as np

from ecglm.ecg import ECG, LEADS_12
from ecglm.io._common import written_aside
from ecglm.io._counts import LARGEST_COUNT, UNKNOWN_COUNT, refuse_empty, to_counts
from ecglm.io._finish import is_ecg_name

FILTER_NAMES = {"HP": "low", "LP": "high", "N": "notch"}
MISSING = "BAD_missing"  # as tools for EEG know it; behind "@@" stands the channel that it belongs to
REPORT = "Report: "


def write_edf(ecg: ECG, path: str | os.PathLike) -> Path:
    """Write EDF+ with steps of 0.1 to 0.5 µV (larger beyond ±16.38 mV).

    EDF knows no mark for an unknown sample: NaN is written as 0, and every such stretch is named by an
    annotation "BAD_missing@@LEAD", which `ecglm.read` turns into NaN again and other tools show. Of the
    metadata: age, sex, acquired, filters, and the report as an annotation. No identity is written.

    Args:
        ecg: the recording.
        path: the file.

    Returns:
        Its path.

    Raises:
        ValueError: if a value is infinite, a name longer than the format's 16 characters, or the sampling
            rate none that its 8 characters can state.
    """
    from edfio import Edf, EdfAnnotation, EdfSignal, Patient
    from edfio import Recording as EdfRecording

    path = Path(path)
    refuse_empty(ecg)
    per_record, duration = _record(ecg.num_samples, ecg.sampling_rate)
    filling = -ecg.num_samples % per_record
    labels = _labels(ecg)
    signals, notes = [], []
    for row, lead, label in zip(ecg.signal, ecg.leads, labels, strict=True):
        unit = ecg.metadata.get("units", {}).get(lead)
        counts, step = to_counts(row) if unit is None else to_counts(row, finest=1e-6)
        for begin, stop in _unknown_stretches(counts == UNKNOWN_COUNT):
            notes.append(
                EdfAnnotation(
                    begin / ecg.sampling_rate, (stop - begin) / ecg.sampling_rate, f"{MISSING}@@{label}"
                )
            )
        counts[counts == UNKNOWN_COUNT] = 0
        limit = round(LARGEST_COUNT * step * (1e3 if unit is None else 1.0), 7)
        signals.append(
            EdfSignal.from_digital(
                np.concatenate([counts, np.zeros(filling, np.int16)]),
                per_record / duration,
                label=label,
                physical_dimension="uV" if unit is None else _ascii(unit)[:8],
                physical_range=(-limit, limit),
                digital_range=(-LARGEST_COUNT, LARGEST_COUNT),
                prefiltering=_prefilter(ecg),
            )
        )
    if filling:
        notes.append(EdfAnnotation(ecg.duration, filling / ecg.sampling_rate, MISSING))
    report = ecg.metadata.get("report")
    if isinstance(report, str) and report.strip():
        notes.append(EdfAnnotation(0.0, None, REPORT + _clean(report)))
    day, moment = _moment(ecg)
    age = ecg.metadata.get("age")
    known_age = isinstance(age, (int, float)) and math.isfinite(age) and 0 <= age < 1000
    edf = Edf(
        signals,
        patient=Patient(
            sex={"male": "M", "female": "F"}.get(ecg.metadata.get("sex", ""), "X"),  # type: ignore[arg-type]
            additional=[f"Age_{age:g}"] if known_age else [],
        ),
        recording=EdfRecording(startdate=day),
        starttime=moment,
        data_record_duration=duration,
        annotations=notes,
    )
    with written_aside(path) as aside:
        edf.write(aside)
    return path


def _labels(ecg: ECG) -> list[str]:
    """The names as EDF+ spells them, e.g. "ECG V1"; those of other channels as they are."""
    labels = [
        f"ECG {lead}" if lead in LEADS_12 or (is_ecg_name(lead) and len(lead) < 5) else lead
        for lead in ecg.leads
    ]
    for label in labels:
        if len(label) > 16 or not label.isascii() or not label.isprintable():
            raise ValueError(
                f"EDF names a channel by at most 16 ASCII characters, not {label!r}; rename the lead"
            )
    return labels


def _record(num_samples: int, rate: float) -> tuple[int, float]:
    """Samples and seconds of a record: about 1 s, without filling up the last one where that can be."""
    exact = Fraction(rate).limit_denominator(100)  # longest record, s
    if not math.isclose(float(exact), rate, rel_tol=1e-9):
        raise ValueError(f"EDF cannot state a sampling rate of {rate!r} Hz; resample first")
    candidates = [
        (length, duration)
        for length in _divisors(num_samples)
        if len(text := f"{float(duration := length / exact):.10g}") <= 8 and Fraction(text) == duration
    ]
    if candidates:
        best = min(candidates, key=lambda each: abs(math.log(each[1])))
        if best[1] <= 30:
            return best[0], float(best[1])
    return exact.numerator, float(exact.denominator)


def _divisors(number: int) -> list[int]:
    small = [each for each in range(1, math.isqrt(number) + 1) if number % each == 0]
    return sorted({*small, *(number // each for each in small)})


def _unknown_stretches(unknown: np.ndarray) -> np.ndarray:
    """(stretches, 2): first sample, and the one behind the last."""
    edges = np.diff(np.concatenate([[False], unknown, [False]]).astype(np.int8))
    return np.flatnonzero(edges).reshape(-1, 2)


def _prefilter(ecg: ECG) -> str:
    filters = ecg.metadata.get("filters") or {}
    return " ".join(
        f"{name}:{filters[key]:g}Hz"
        for name, key in FILTER_NAMES.items()
        if isinstance(filters.get(key), (int, float))
    )


def _moment(ecg: ECG) -> tuple[date | None, time | None]:
    try:
        moment = datetime.fromisoformat(str(ecg.metadata.get("acquired")))
    except ValueError:
        return None, None
    # The header's years end in 2084; before 1985 only the field of EDF+ could state one, and tools differ.
    return (moment.date(), moment.time()) if 1985 <= moment.year < 2085 else (None, None)


def _clean(text: str) -> str:
    return "".join(char if char >= " " else " " for char in text)


def _ascii(text: str) -> str:
    return text.replace("µ", "u").replace("μ", "u").encode("ascii", "replace").decode()
