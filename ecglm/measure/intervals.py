"""Numbers from the median beat: intervals, axes, amplitudes, ST, voltages; and statistics of the rhythm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ecglm.measure.measurements import MEDIAN_R, LeadMeasurements, RhythmStatistics
from ecglm.measure.middle import middle
from ecglm.measure.windows import cut
from ecglm.measure.working import RATE

MEDIAN_WIDTH = 600
"""Samples of a median beat, 1200 ms: R lies at `MEDIAN_R`, 800 ms follow it."""
BASELINE = 10
"""Samples before QRS onset, 20 ms: the isoelectric level (CSE)."""
_MS = 1000 / RATE
_SMALLEST = 0.02  # mV; with the next line, the smallest wave of the CSE recommendation
_SHORTEST = 3  # samples, 6 ms


def median_beats(fine: np.ndarray, r_peaks: np.ndarray) -> np.ndarray:
    """(leads, MEDIAN_WIDTH) mV: the middle of these beats at every sample.

    Args:
        fine: (leads, samples) at 500 Hz.
        r_peaks: of the beats to take, at most 32 of them evenly spread over the recording.
    """
    if len(r_peaks) > 32:
        r_peaks = r_peaks[np.linspace(0, len(r_peaks) - 1, 32).astype(int)]
    whole = r_peaks[(r_peaks >= MEDIAN_R) & (r_peaks + MEDIAN_WIDTH - MEDIAN_R <= fine.shape[1])]
    chosen = whole if len(whole) >= 3 else r_peaks
    beats = cut(fine, chosen - MEDIAN_R, MEDIAN_WIDTH)
    beats -= beats[:, :, MEDIAN_R - 60 : MEDIAN_R - 30] @ np.full((30, 1), 1 / 30, np.float32)
    return middle(beats)


def corrected_qt(qt: float, rr: float) -> dict[str, float]:
    """QT in ms for a rate of 60/min by four formulas; rr in ms."""
    seconds = rr / 1000
    return {
        "qtc_bazett": qt / seconds**0.5,
        "qtc_fridericia": qt / seconds ** (1 / 3),
        "qtc_framingham": qt + 154 * (1 - seconds),
        "qtc_hodges": qt + 1.75 * (60 / seconds - 60),
    }


def axis(area: dict[str, float]) -> float | None:
    """Frontal axis in degrees from net areas of limb leads; None without two of them or where they cancel.

    atan2(2 aVF / √3, I): Goldberger's leads are shorter than Einthoven's by that factor.
    """
    one, two, three = area.get("I"), area.get("II"), area.get("III")
    if one is None and two is not None and three is not None:
        one = two - three
    if one is None:
        return None
    if two is not None:
        avf: float | None = two - one / 2
    elif three is not None:
        avf = three + one / 2
    else:
        avf = area.get("aVF")
    if avf is None or math.hypot(one, avf) < 1e-4:
        return None
    return math.degrees(math.atan2(2 * avf / math.sqrt(3), one))


def components(values: np.ndarray) -> list[list[tuple[float, float]]]:
    """Split the QRS of each lead into its deflections.

    Args:
        values: (leads, samples) mV at 500 Hz from QRS onset to offset, against the isoelectric level.

    Returns:
        For each lead (amplitude in mV, duration in ms) of each deflection of at least 20 µV and 6 ms, in
        order, neighbours of one sign joined.
    """
    up = values > 0
    turns = np.ones(values.shape, bool)
    turns[:, 1:] = up[:, 1:] != up[:, :-1]
    begins = np.flatnonzero(turns)
    flat = values.ravel()
    peaks = np.where(up.ravel()[begins], np.maximum.reduceat(flat, begins), np.minimum.reduceat(flat, begins))
    lengths = np.concatenate([begins[1:], [flat.size]]) - begins
    large = (np.abs(peaks) >= _SMALLEST) & (lengths >= _SHORTEST)
    runs: list[list[tuple[float, float]]] = [[] for _ in values]
    lead = (begins[large] // values.shape[1]).tolist()
    durations = (lengths[large] * _MS).tolist()
    for k, peak, duration in zip(lead, peaks[large].tolist(), durations, strict=True):
        if runs[k] and (runs[k][-1][0] > 0) == (peak > 0):
            before, so_far = runs[k].pop()
            peak, duration = max(before, peak, key=abs), so_far + duration
        runs[k].append((peak, duration))
    return runs


def name_components(parts: list[tuple[float, float]]) -> tuple[dict[str, float], str | None]:
    """Amplitudes and durations by name, and the QRS in letters."""
    out: dict[str, float] = {}
    if not parts:
        return out, None
    largest = max(abs(peak) for peak, _ in parts)
    letters = []
    positives = 0
    for peak, duration in parts:
        if peak > 0:
            positives += 1
            key, letter = ("r", "R") if positives == 1 else ("r2", "R'")
            if positives > 2:
                letters.append("R''" if abs(peak) >= largest / 2 else "r''")
                continue
        elif positives == 0:
            key, letter = "q", "QS" if len(parts) == 1 else "Q"
        else:
            key, letter = ("s", "S") if positives == 1 else ("s2", "S'")
        letters.append(letter if abs(peak) >= largest / 2 else letter.lower())
        if key == "s2":  # the deeper one is the S that voltages are measured on
            if peak < out.get("s_amplitude", 0.0):
                out["s_amplitude"], out["s_duration"] = round(peak, 4), duration
            continue
        out[f"{key}_amplitude"], out[f"{key}_duration"] = round(peak, 4), duration
    return out, "".join(letters)


def measure_leads(
    names: list[str],
    beats: np.ndarray,
    record: dict[str, tuple[int, int, int] | None],
    by_lead: np.ndarray,
    usable: np.ndarray,
) -> tuple[dict[str, LeadMeasurements], dict[str, dict[str, float]]]:
    """All that is measured on median beats.

    Args:
        names: of the leads.
        beats: (leads, MEDIAN_WIDTH) mV.
        record: onset, peak and offset of P, QRS, T of all leads together, in samples of the median beat.
        by_lead: (leads, 3, 2) onset and offset of P, QRS, T in each lead, in samples of the median beat; NaN
            where there is none.
        usable: (leads,).

    Returns:
        The leads' measurements, and the net areas of P, QRS and T in the leads (mV · samples) for the axes.
    """
    qrs = record["QRS"]
    assert qrs is not None, "a median beat has a QRS"
    on, _, off = qrs
    level = beats[:, max(on - BASELINE, 0) : max(on, 1)].mean(1)
    flat = beats - level[:, None]
    last = beats.shape[1] - 1
    j = flat[:, min(off - 1, last) : min(off + 2, last + 1)].mean(1)
    j60 = flat[:, min(off + 28, last) : min(off + 33, last + 1)].mean(1)
    complexes = flat[:, on : off + 1]
    net = {"QRS": complexes.sum(1)}
    begin, end = by_lead[..., 0].T, by_lead[..., 1].T
    columns = {"st_j": j, "st_j60": j60, "st_slope": (j60 - j) / 0.06, "qrs": (end[1] - begin[1]) * _MS}
    t, p = record["T"], record["P"]
    if t is not None and t[0] <= t[2]:
        waves = flat[:, t[0] : t[2] + 1]
        net["T"] = waves.sum(1)
        columns["t_duration"] = (end[2] - begin[2]) * _MS
        columns["t_amplitude"] = np.where(np.isnan(begin[2]), np.nan, _larger(waves))
        columns["qt"] = (end[2] - begin[1]) * _MS
    if p is not None:
        waves = beats[:, p[0] : p[2] + 1] - beats[:, max(p[0] - 3, 0) : p[0] + 1].mean(1)[:, None]
        tilt = np.arange(waves.shape[1]) / max(waves.shape[1] - 1, 1)
        net["P"] = (waves - waves[:, -1:] * tilt).sum(1)
        columns["p_duration"] = (end[0] - begin[0]) * _MS
        columns["p_amplitude"] = np.where(np.isnan(begin[0]), np.nan, _larger(waves))
        columns["pr"] = (begin[1] - begin[0]) * _MS
    rows = np.round(np.stack(list(columns.values()), axis=1), 4).tolist()
    leads = {}
    for k, (name, parts) in enumerate(zip(names, components(complexes), strict=True)):
        if not usable[k]:
            leads[name] = LeadMeasurements()
            continue
        values, letters = name_components(parts)
        values |= {key: value for key, value in zip(columns, rows[k], strict=True) if not math.isnan(value)}
        leads[name] = LeadMeasurements(**values, morphology=letters, median_beat=flat[k])
    areas = {
        kind: {name: area for name, area, good in zip(names, each.tolist(), usable, strict=True) if good}
        for kind, each in net.items()
    }
    return leads, areas


def _larger(waves: np.ndarray) -> np.ndarray:
    """The extremum of each row that lies farther from zero."""
    high, low = waves.max(1), waves.min(1)
    return np.where(high >= -low, high, low)


def voltages(leads: dict[str, LeadMeasurements]) -> dict[str, float | None]:
    """Sokolow–Lyon (1949) and Cornell (Casale 1985), mV; None without their leads."""

    def height(name: str) -> float | None:
        lead = leads.get(name)
        return (
            None
            if lead is None or lead.morphology is None
            else max(lead.r_amplitude or 0.0, lead.r2_amplitude or 0.0)
        )

    def depth(name: str) -> float | None:
        lead = leads.get(name)
        if lead is None or lead.morphology is None:
            return None
        return -min(lead.s_amplitude or 0.0, (lead.q_amplitude or 0.0) if lead.morphology == "QS" else 0.0)

    s1, s3, avl = depth("V1"), depth("V3"), height("aVL")
    lateral = [r for r in (height("V5"), height("V6")) if r is not None]
    return {
        "sokolow_lyon": round(s1 + max(lateral), 4) if s1 is not None and lateral else None,
        "cornell": round(avl + s3, 4) if avl is not None and s3 is not None else None,
    }


def rhythm(rr: np.ndarray, shape: np.ndarray, has_p: np.ndarray) -> RhythmStatistics:
    """Statistics of the intervals.

    Args:
        rr: (beats − 1,) ms.
        shape: (beats,) number of each beat's QRS shape.
        has_p: (beats,) whether the record's P wave was found.
    """
    if len(rr) == 0:
        return RhythmStatistics(p_presence=float(has_p.mean()) if len(has_p) else None)
    early = int((rr < 0.8 * middle(rr)).sum())
    normal = (shape[1:] == 0) & (shape[:-1] == 0)
    nn = rr[normal]
    pairs = normal[1:] & normal[:-1]
    steps = (rr[1:] - rr[:-1])[pairs]
    out: dict[str, Any] = {}
    if len(nn) >= 3:
        mean = nn.sum() / len(nn)
        squares = np.square(nn - mean).sum()
        out["sdnn"] = round(math.sqrt(squares / (len(nn) - 1)), 1)
        out["regular"] = bool(math.sqrt(squares / len(nn)) < 0.1 * mean)
    if len(steps) >= 2:
        out["rmssd"] = round(math.sqrt(np.square(steps).sum() / len(steps)), 1)
        out["pnn50"] = round(100 * float((np.abs(steps) > 50).mean()), 1)
    return RhythmStatistics(
        rr_min=round(float(rr.min()), 1),
        rr_max=round(float(rr.max()), 1),
        p_presence=round(float(has_p.mean()), 3),
        premature=early,
        shapes=tuple(np.bincount(shape).tolist()),
        **out,
    )
