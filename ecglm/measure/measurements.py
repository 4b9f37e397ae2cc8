"""What `ecglm.measure` gives: plain records of numbers, `None` where nothing can be measured."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ecglm.measure.quality import Quality


class Wave(NamedTuple):
    """One wave of one beat.

    Args:
        lead: the lead it was measured in; None for the wave of the record, all leads together.
        kind: "P", "QRS" or "T".
        onset: sample of the given recording.
        peak: sample of its largest deflection (of the record's QRS: the R peak).
        offset: sample of the given recording.
        beat: index of its beat in `Measurements.r_peaks`.
    """

    lead: str | None
    kind: str
    onset: int
    peak: int
    offset: int
    beat: int


def _named(owner: Any, names: dict[str, str]) -> dict[str, Any]:
    return {key: getattr(owner, name) for name, key in names.items()}


@dataclass(frozen=True)
class LeadMeasurements:
    """One lead, measured on its median beat; `None` where a wave is absent.

    Args:
        p_amplitude: mV against the level at P onset, signed; of a biphasic P its larger part.
        p_duration: ms.
        q_amplitude: mV against the level before QRS onset; not above 0.
        q_duration: ms.
        r_amplitude: mV, not below 0.
        r_duration: ms.
        s_amplitude: mV, not above 0.
        s_duration: ms.
        r2_amplitude: of R′, mV.
        r2_duration: of R′, ms.
        t_amplitude: mV against the level before QRS onset, signed; of a biphasic T its larger part.
        t_duration: ms.
        st_j: level at the J point, mV.
        st_j60: level 60 ms after it, mV.
        st_slope: from J to J + 60 ms, mV/s.
        pr: ms, this lead's P onset to its QRS onset.
        qrs: ms.
        qt: ms.
        morphology: of the QRS in letters, small for waves below half of the largest: "qRs", "rSR'", "QS".
        median_beat: (samples,) mV at 500 Hz, R at `MEDIAN_R`; None without beats.
    """

    p_amplitude: float | None = None
    p_duration: float | None = None
    q_amplitude: float | None = None
    q_duration: float | None = None
    r_amplitude: float | None = None
    r_duration: float | None = None
    s_amplitude: float | None = None
    s_duration: float | None = None
    r2_amplitude: float | None = None
    r2_duration: float | None = None
    t_amplitude: float | None = None
    t_duration: float | None = None
    st_j: float | None = None
    st_j60: float | None = None
    st_slope: float | None = None
    pr: float | None = None
    qrs: float | None = None
    qt: float | None = None
    morphology: str | None = None
    median_beat: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Numbers with units in their keys, without the median beat."""
        return _named(self, _LEAD_KEYS)


MEDIAN_R = 200
"""Sample of a median beat at which R lies: 400 ms of 500 Hz before it."""


@dataclass(frozen=True)
class RhythmStatistics:
    """How the beats follow each other.

    Args:
        regular: whether the standard deviation of the intervals between beats of the dominant shape is below
            10 % of their mean; None below 3 such intervals.
        rr_min: ms.
        rr_max: ms.
        sdnn: standard deviation of the intervals between beats of the dominant shape, ms.
        rmssd: root mean square of their successive differences, ms.
        pnn50: share of successive differences over 50 ms, percent.
        p_presence: share of beats with a P wave, 0 to 1.
        premature: number of beats that come over 20 % too early.
        shapes: number of beats of each QRS shape, the dominant one first.
    """

    regular: bool | None = None
    rr_min: float | None = None
    rr_max: float | None = None
    sdnn: float | None = None
    rmssd: float | None = None
    pnn50: float | None = None
    p_presence: float | None = None
    premature: int | None = None
    shapes: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Numbers with units in their keys."""
        return _named(self, _RHYTHM_KEYS) | {"shapes_count": list(self.shapes)}


@dataclass(frozen=True)
class Measurements:
    """One recording, measured.

    Args:
        sampling_rate: Hz, of the given recording.
        heart_rate: ventricular rate, 1/min: 60 000 / rr.
        rr: mean interval between R peaks, ms.
        pr: P onset to QRS onset, ms.
        qrs: QRS duration, ms.
        qt: QRS onset to T offset, ms.
        qtc_bazett: QT / √RR, ms (RR in s).
        qtc_fridericia: QT / ∛RR, ms.
        qtc_framingham: QT + 154 (1 − RR), ms.
        qtc_hodges: QT + 1.75 (rate − 60), ms.
        axis: of the QRS in the frontal plane, degrees, −180 to 180.
        p_axis: degrees.
        t_axis: degrees.
        p_duration: of the record, ms.
        sokolow_lyon: S in V1 plus the larger R of V5 and V6, mV.
        cornell: R in aVL plus S in V3, mV.
        r_peaks: samples of the given recording.
        rr_series: ms, one fewer than R peaks; from QRS to QRS as a whole, which is steadier than from R to R.
        beat_shapes: number of the QRS shape of each beat; 0 is the dominant one, on which is measured.
        pacing_spikes: samples of the given recording.
        waves: of every beat in every lead, and with lead None those of the record.
        leads: one `LeadMeasurements` per lead.
        rhythm: statistics of the intervals.
        quality: signal quality of the record and its leads.
        reasons: what could not be measured, and why, in words.
    """

    sampling_rate: float
    heart_rate: float | None = None
    rr: float | None = None
    pr: float | None = None
    qrs: float | None = None
    qt: float | None = None
    qtc_bazett: float | None = None
    qtc_fridericia: float | None = None
    qtc_framingham: float | None = None
    qtc_hodges: float | None = None
    axis: float | None = None
    p_axis: float | None = None
    t_axis: float | None = None
    p_duration: float | None = None
    sokolow_lyon: float | None = None
    cornell: float | None = None
    r_peaks: tuple[int, ...] = ()
    rr_series: tuple[float, ...] = ()
    beat_shapes: tuple[int, ...] = ()
    pacing_spikes: tuple[int, ...] = ()
    waves: list[Wave] = field(default_factory=list, repr=False)
    leads: dict[str, LeadMeasurements] = field(default_factory=dict, repr=False)
    rhythm: RhythmStatistics = field(default_factory=RhythmStatistics)
    quality: Quality | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def qtc(self) -> float | None:
        """QTc by Bazett's formula, ms, as most devices print it; the others are named."""
        return self.qtc_bazett

    def to_dict(self, *, median_beats: bool = False) -> dict[str, Any]:
        """Plain JSON: numbers, strings, lists and dictionaries, the units in the keys.

        Args:
            median_beats: add each lead's median beat (500 Hz, mV).
        """
        out: dict[str, Any] = {"sampling_rate_hz": self.sampling_rate, **_named(self, _KEYS)}
        out["qtc_ms"] = self.qtc_bazett
        out["r_peaks_samples"] = list(self.r_peaks)
        out["rr_series_ms"] = list(self.rr_series)
        out["beat_shapes"] = list(self.beat_shapes)
        out["pacing_spikes_samples"] = list(self.pacing_spikes)
        out["rhythm"] = self.rhythm.to_dict()
        leads = {name: lead.to_dict() for name, lead in self.leads.items()}
        if median_beats:
            for name, lead in self.leads.items():
                beat = lead.median_beat
                leads[name]["median_beat_mv"] = None if beat is None else np.round(beat, 4).tolist()
        out["leads"] = leads
        out["waves"] = [
            {
                "lead": lead,
                "kind": kind,
                "onset_samples": onset,
                "peak_samples": peak,
                "offset_samples": offset,
                "beat": beat,
            }
            for lead, kind, onset, peak, offset, beat in self.waves
        ]
        out["quality"] = None if self.quality is None else self.quality.to_dict()
        out["reasons"] = dict(self.reasons)
        return out


_MV = (
    "p_amplitude",
    "q_amplitude",
    "r_amplitude",
    "s_amplitude",
    "r2_amplitude",
    "t_amplitude",
    "st_j",
    "st_j60",
)
_PLAIN = ("morphology", "median_beat", "regular", "p_presence", "premature", "shapes")


def _unit(name: str) -> str:
    if name in _MV or name in ("sokolow_lyon", "cornell"):
        return f"{name}_mv"
    special = {"st_slope": "st_slope_mv_per_s", "pnn50": "pnn50_percent", "heart_rate": "heart_rate_bpm"}
    special |= {"p_presence": "p_presence_fraction", "premature": "premature_count"}
    if name in special:
        return special[name]
    if name.endswith("axis"):
        return f"{name}_degrees"
    return name if name in _PLAIN else f"{name}_ms"


_LEAD_KEYS = {f.name: _unit(f.name) for f in fields(LeadMeasurements) if f.name != "median_beat"}
_RHYTHM_KEYS = {f.name: _unit(f.name) for f in fields(RhythmStatistics) if f.name != "shapes"}
_KEYS = {f.name: _unit(f.name) for f in fields(Measurements)[1:16]}
