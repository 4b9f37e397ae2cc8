"""Sequences for grounded reports: fourteen values of every beat in every lead, as in GEM's training data.

GEM (Lan et al. 2025, arXiv 2503.06073) shows a language model these sequences beside the ECG. Its authors
name FeatureDB as their extractor, which measures one average beat, leaves the QRS out of QT and takes samples
for milliseconds; here every beat is measured by itself, by the definitions of docs/measurements.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecglm.ecg import ECG
from ecglm.measure.intervals import BASELINE, corrected_qt
from ecglm.measure.measurements import Measurements
from ecglm.measure.measuring import measure
from ecglm.measure.working import RATE, prepare

SEQUENCES = (
    "heart_rate_bpm",
    "rr_interval_1_ms",
    "rr_interval_2_ms",
    "p_amplitude_mv",
    "p_duration_ms",
    "pr_interval_ms",
    "qrs_amplitude_mv",
    "qrs_duration_ms",
    "t_amplitude_mv",
    "t_duration_ms",
    "st_duration_ms",
    "st_form",
    "qt_ms",
    "qtc_ms",
)
_MS = 1000 / RATE
_HORIZONTAL = 0.05  # mV: an ST segment that changes by less is horizontal (FeatureDB's limit)

Value = float | str | None


def grounding_sequences(ecg: ECG, measurements: Measurements | None = None) -> dict[str, Any]:
    """Fourteen sequences for each lead, one value for each beat, in the order of time.

    Args:
        ecg: the recording.
        measurements: of this recording; measured here if None.

    Returns:
        Plain JSON: `record`, `num_beats`, `r_peaks_seconds` and `leads`, where each lead has `SEQUENCES`:
        heart rate and QTc (Bazett) by the interval before the beat (of the first beat: after it); RR interval
        1 before and 2 after the beat; P amplitude against the level at P onset, signed; QRS amplitude, the
        height of R plus the depth of Q or S, the deeper; T amplitude against the level before the QRS,
        signed; ST duration from QRS offset to T onset and its form, "upslope", "declination" or "horizontal"
        (changes by less than 0.05 mV); PR and QT by the marks in this lead. None where a wave is absent in
        that lead, or the recording ends.
    """
    measurements = measure(ecg) if measurements is None else measurements
    working = prepare(ecg)
    beats = len(measurements.r_peaks)
    marks: dict[str, dict[str, list[tuple[int, int, int] | None]]] = {
        lead: {kind: [None] * beats for kind in ("P", "QRS", "T")} for lead in ecg.leads
    }
    for wave in measurements.waves:
        if wave.lead is not None:
            found = np.rint(np.array([wave.onset, wave.peak, wave.offset]) / working.factor).astype(int)
            on, peak, off = np.clip(found, 0, working.fine.shape[1] - 1).tolist()
            marks[wave.lead][wave.kind][wave.beat] = (on, peak, off)
    rr = [round(float(value), 1) for value in measurements.rr_series]
    before: list[float | None] = [None, *rr] if beats else []
    after: list[float | None] = [*rr, None] if beats else []
    leads = {}
    for row, lead in enumerate(ecg.leads):
        rows = [
            _beat(working.fine[row], marks[lead]["P"][k], marks[lead]["QRS"][k], marks[lead]["T"][k])
            for k in range(beats)
        ]
        for k, values in enumerate(rows):
            interval = before[k] or after[k]
            values |= {"rr_interval_1_ms": before[k], "rr_interval_2_ms": after[k]}
            if interval:
                values["heart_rate_bpm"] = round(60_000 / interval, 1)
                qt = values.get("qt_ms")
                if isinstance(qt, float):
                    values["qtc_ms"] = round(corrected_qt(qt, interval)["qtc_bazett"], 1)
        leads[lead] = {name: [values.get(name) for values in rows] for name in SEQUENCES}
    return {
        "record": ecg.name,
        "num_beats": beats,
        "r_peaks_seconds": [round(sample / ecg.sampling_rate, 3) for sample in measurements.r_peaks],
        "leads": leads,
    }


def sequence_text(values: Sequence[Value]) -> str:
    """A sequence as GEM writes it, comma-joined, "nan" where a value is missing.

    >>> sequence_text([92.0, None, 104.5])
    '92, nan, 104.5'
    """
    return ", ".join(
        "nan" if value is None else value if isinstance(value, str) else f"{value:g}" for value in values
    )


def gem_features(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The sequences of `grounding_sequences` as text, by "Lead I", "Lead II" …, to write into a prompt."""
    return {
        f"Lead {lead}": {name: sequence_text(values) for name, values in sequences.items()}
        for lead, sequences in document["leads"].items()
    }


def _beat(
    signal: np.ndarray,
    p: tuple[int, int, int] | None,
    qrs: tuple[int, int, int] | None,
    t: tuple[int, int, int] | None,
) -> dict[str, Value]:
    """What one beat shows in one lead; signal in mV at 500 Hz, marks in its samples."""
    values: dict[str, Value] = {}
    if p is not None:
        values["p_amplitude_mv"] = _height(signal, p[1], float(signal[max(p[0] - 5, 0) : p[0] + 1].mean()))
        values["p_duration_ms"] = (p[2] - p[0]) * _MS
    if qrs is None:
        return values
    level = float(signal[max(qrs[0] - BASELINE, 0) : qrs[0] + 1].mean())
    complex_ = signal[qrs[0] : qrs[2] + 1] - level
    values["qrs_amplitude_mv"] = round(float(max(complex_.max(), 0) - min(complex_.min(), 0)), 3)
    values["qrs_duration_ms"] = (qrs[2] - qrs[0]) * _MS
    if p is not None:
        values["pr_interval_ms"] = (qrs[0] - p[0]) * _MS
    if t is not None:
        values["t_amplitude_mv"] = _height(signal, t[1], level)
        values["t_duration_ms"] = (t[2] - t[0]) * _MS
        values["qt_ms"] = (t[2] - qrs[0]) * _MS
        if t[0] >= qrs[2]:
            values["st_duration_ms"] = (t[0] - qrs[2]) * _MS
            values["st_form"] = _form(signal[qrs[2] : t[0] + 1])
    return values


def _height(signal: np.ndarray, peak: int, level: float) -> float:
    """Of a wave of a single beat: the mean of 10 ms at its peak; a single extreme would be the noise's."""
    return round(float(signal[max(peak - 2, 0) : peak + 3].mean()) - level, 3)


def _form(segment: np.ndarray) -> str:
    """By the straight line through the ST segment: from its beginning to its end."""
    n = len(segment)
    if n < 3:
        return "horizontal"
    at = np.arange(n) - (n - 1) / 2
    change = float(at @ segment / (at @ at)) * (n - 1)
    return "horizontal" if abs(change) < _HORIZONTAL else "upslope" if change > 0 else "declination"
