"""`measure`: one ECG in, its `Measurements` out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ecglm.ecg import ECG
from ecglm.measure import intervals
from ecglm.measure.alignment import aligned
from ecglm.measure.beats import find_beats
from ecglm.measure.delineation import KINDS, Delineation, delineate
from ecglm.measure.measurements import MEDIAN_R, LeadMeasurements, Measurements, Wave
from ecglm.measure.middle import middle
from ecglm.measure.quality import NO_QRS, assess_quality
from ecglm.measure.working import RATE, Working, prepare

_MS = 1000 / RATE
_ALIKE_SHARE = (
    0.3  # of beats of the dominant shape: 0.46 at least in 252 PTB-XL records, 0.26 at most in noise
)
_MANY = 60  # beats: in longer recordings the shape may drift
_WAVE_SHARE = 0.5  # of the dominant beats: with fewer P waves there is no PR interval of the record
_NEARLY = 0.6  # of the beats of the most frequent shape: as many make a rival of it
_NARROWER = 20  # ms, of the QRS of a rival that is measured instead


def measure(ecg: ECG) -> Measurements:
    """Measure an ECG as a cardiograph does.

    Args:
        ecg: any leads, any length, any sampling rate from 100 Hz.

    Returns:
        Intervals, axes, amplitudes, waves, rhythm; definitions and sources stand in docs/measurements.md.
        What cannot be measured is None, and `reasons` says why: bad signals raise nothing.
    """
    working = prepare(ecg)
    spikes = tuple(_given(working.spikes, working, ecg.num_samples).tolist())
    quality = assess_quality(ecg)
    nothing: dict[str, Any] = {
        "sampling_rate": ecg.sampling_rate,
        "pacing_spikes": spikes,
        "leads": dict.fromkeys(ecg.leads, LeadMeasurements()),
        "quality": quality,
    }
    if not working.usable.any():
        in_part = np.isfinite(ecg.signal).any()
        why = "no lead carries a signal" + " for more than half of the time" * bool(in_part)
        return Measurements(**nothing, reasons={"heart_rate": why})
    r_peaks = find_beats(working)
    if len(r_peaks) == 0:
        short = ecg.duration < 1
        why = f"the recording lasts {ecg.duration:g} s" if short else "no QRS complex was found"
        return Measurements(**nothing, reasons={"heart_rate": why})
    if NO_QRS in quality.reasons:
        return Measurements(**nothing, reasons={"heart_rate": NO_QRS})
    waves = delineate(working, r_peaks)
    doubtful = quality.record != "acceptable"  # in a clean ECG, beats of many shapes are beats
    if doubtful and 4 <= len(r_peaks) <= _MANY and (waves.shape == 0).mean() < _ALIKE_SHARE:
        why = "no QRS complex was found: what stands out is too seldom twice alike"
        return Measurements(**nothing, reasons={"heart_rate": why})
    values, reasons = _record(ecg, working, _narrow_first(waves))
    return Measurements(**(nothing | values), reasons=reasons)


def _given(samples: np.ndarray, working: Working, num_samples: int) -> np.ndarray:
    """Samples of the working signal as samples of the given recording."""
    given = np.rint(samples * working.factor)
    return np.minimum(np.maximum(given, 0), max(num_samples - 1, 0)).astype(int)


def _narrow_first(waves: Delineation) -> Delineation:
    """Shape 0 is the most frequent; of several that are nearly as frequent, as in bigeminy, the narrowest."""
    counts = np.bincount(waves.shape)
    rivals = np.flatnonzero(counts >= max(_NEARLY * counts[0], 2))
    if len(rivals) < 2:
        return waves
    durations = waves.record_marks[:, 1, 2] - waves.record_marks[:, 1, 0]
    usual = [float(middle(durations[waves.shape == number])) * _MS for number in rivals]
    best = int(np.argmin(usual))
    if usual[best] > usual[0] - _NARROWER:
        return waves
    number = np.arange(len(counts))
    number[[0, rivals[best]]] = rivals[best], 0
    return replace(waves, shape=number[waves.shape])


def _record(ecg: ECG, working: Working, waves: Delineation) -> tuple[dict[str, Any], dict[str, str]]:
    r_peaks = waves.r_peaks
    reasons: dict[str, str] = {}
    main = waves.shape == 0
    # the record's waves first, then the leads'
    marks = np.concatenate([waves.record_marks[:, None], waves.marks], axis=1)
    present = np.concatenate([waves.record_present[:, None], waves.present], axis=1)
    rr = np.diff(aligned(working, r_peaks, waves.shape)) * _MS
    out: dict[str, Any] = {
        "r_peaks": tuple(_given(r_peaks, working, ecg.num_samples).tolist()),
        "rr_series": tuple(np.round(rr, 1).tolist()),
        "beat_shapes": tuple(waves.shape.tolist()),
        "rhythm": intervals.rhythm(rr, waves.shape, waves.record_present[:, 0]),
        "waves": _waves(_given(marks[present], working, ecg.num_samples), present, ecg.leads),
    }
    if len(rr):
        mean = float(rr.mean())
        out |= {"rr": round(mean, 1), "heart_rate": round(60_000 / mean, 1)}
    else:
        reasons["heart_rate"] = "one beat only"
    onset, _, offset = waves.record_marks[:, 1].T
    main &= waves.record_present[:, 1] & (onset >= intervals.BASELINE)
    main &= offset < working.fine.shape[1] - intervals.BASELINE
    if not main.any():
        return out, reasons | {"qrs": "no QRS complex lies in the recording as a whole"}
    anchors = waves.anchors[main]
    record, by_lead = _typical_marks(marks[main], present[main], anchors)
    beats = intervals.median_beats(working.fine, anchors)
    leads, areas = intervals.measure_leads(list(ecg.leads), beats, record, by_lead, working.usable)
    p, qrs, t = record["P"], record["QRS"], record["T"]
    assert qrs is not None, "the beats that are measured have a QRS"
    out["qrs"] = (qrs[2] - qrs[0]) * _MS
    if p is None:
        reasons["pr"] = "no P wave before most beats"
    else:
        out |= {"pr": (qrs[0] - p[0]) * _MS, "p_duration": (p[2] - p[0]) * _MS}
    if t is None:
        reasons["qt"] = "no T wave was found"
    else:
        out["qt"] = (t[2] - qrs[0]) * _MS
        if "rr" in out:
            out |= {key: round(v, 1) for key, v in intervals.corrected_qt(out["qt"], out["rr"]).items()}
        else:
            reasons["qtc"] = "one beat only"
    for key, kind in (("axis", "QRS"), ("p_axis", "P"), ("t_axis", "T")):
        angle = intervals.axis(areas.get(kind, {}))
        if angle is not None:
            out[key] = round(angle, 1)
        else:
            absent = reasons.get({"P": "pr", "T": "qt"}.get(kind, ""))
            reasons[key] = absent or f"needs a net {kind} in two limb leads"
    out |= intervals.voltages(leads)
    out["leads"] = leads
    return out, reasons


def _typical_marks(
    marks: np.ndarray, present: np.ndarray, anchors: np.ndarray
) -> tuple[dict[str, tuple[int, int, int] | None], np.ndarray]:
    """Where the waves lie in the median beat: the median of the beats' marks, of an even number the earlier
    one in the leads.

    Args:
        marks: (beats, 1 + leads, 3 kinds, 3) of the record and the leads.
        present: (beats, 1 + leads, 3).
        anchors: (beats,) samples that come to lie at `MEDIAN_R`.

    Returns:
        Onset, peak, offset of the record's waves, and (leads, 3, 2) onset and offset of the leads'; None and
        NaN where less than half of the beats have the wave.
    """
    relative = marks - (anchors - MEDIAN_R)[:, None, None, None]
    ordered = np.sort(np.where(present[..., None], relative, np.inf), axis=0)
    count = present.sum(0)
    often = count >= _WAVE_SHARE * len(present)
    row, kind = np.arange(len(count))[:, None], np.arange(len(KINDS))
    low, high = ordered[(count - 1) // 2, row, kind], ordered[count // 2, row, kind]
    usual = np.minimum(np.maximum(np.rint((low[0] + high[0]) / 2), 0), intervals.MEDIAN_WIDTH - 1)
    record = zip(KINDS, usual.astype(int).tolist(), often[0].tolist(), strict=True)
    return (
        {kind: (on, peak, off) if there else None for kind, (on, peak, off), there in record},
        np.where(often[1:, :, None], low[1:, :, ::2], np.nan),
    )


def _waves(samples: np.ndarray, present: np.ndarray, leads: tuple[str, ...]) -> list[Wave]:
    """In order of beats; of each beat the record's waves first, then the leads'.

    Args:
        samples: (waves, 3) onset, peak, offset of those that are present.
        present: (beats, 1 + leads, 3 kinds).
        leads: their names.
    """
    beat, lead, kind = np.nonzero(present)
    names = np.array([None, *leads], object)[lead], np.array(KINDS, object)[kind]
    columns = (*names, *samples.T, beat)
    # what `Wave(…)` does, without a call of Python for each of hundreds
    return list(map(partial(tuple.__new__, Wave), zip(*(c.tolist() for c in columns), strict=True)))
