"""Signal quality: can this recording be read, which leads cannot, and why, in words.

Whether a record can be read is learnt from the PhysioNet/CinC 2011 challenge (set-a: 12-lead ECGs graded by
several readers each), a logistic model on numbers that no gain changes (`ecglm.measure.quality_weights`,
made by `benchmarks/quality.py`). What a lead suffers from is told by fixed limits in millivolts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from ecglm.ecg import ECG, LEADS_12, amplitude_doubts, limb_lead_errors, names_that_fit, steep_parts
from ecglm.measure.middle import middle
from ecglm.measure.quality_weights import INTERCEPT, WEIGHTS
from ecglm.measure.segments import OF_BEND, RATE, SEGMENT, Segment, look, to_rate
from ecglm.measure.swaps import Swap, describe, find_swap, typical_beat
from ecglm.preprocessing import LARGEST, fill_missing

Grade = Literal["acceptable", "borderline", "unacceptable"]
Flag = Literal[
    "missing",
    "flat",
    "saturated",
    "lead-off",
    "clipping",
    "mains",
    "wander",
    "muscle noise",
    "possible swap",
]
FLAGS: tuple[Flag, ...] = get_args(Flag)

NO_QRS = "no QRS complexes stand out: noise, another signal, fibrillation or standstill of the ventricles"
"""A reason of `Quality`, with which nothing is measured either."""

_GRAVE: set[Flag] = {"missing", "flat", "saturated", "lead-off", "clipping", "possible swap"}

_NO_HEART: set[Flag] = {"flat", "saturated", "lead-off"}

# Limits, mV; a millimetre of paper is 0.1 mV. On PTB-XL 99.9 % of the leads have less mains, 95 % less wander
# and 98 % less noise between the beats.
_MAINS = 0.02  # amplitude
_WANDER = 0.5  # peak to peak of the means of seconds
_MUSCLE = 0.02  # rms at 500 Hz, as from the change of the change from sample to sample at 250 Hz
_RAIL = (
    2.0  # a lead that lies still as far from zero as this is at the end of its range, not without a signal
)
_LEAST_SECONDS = 2.0  # known of a lead, to judge it
_UNREADABLE = 0.5  # probability
_DOUBTFUL = 0.3
_LEAST_PROMINENCE = (
    2.4  # 1.2 to 1.9 in noise, EEG and sines; above 2.7 in all but 1 of 2,010 records of PTB-XL
)
_LEAST_AGREEMENT = 0.2  # below 0.13 in noise and EEG
_RECURRING = 0.9  # at most 0.5 in noise and EEG
_SAME = 0.97  # at most 0.93 in real records
_MOST_BEATS = 6.0  # per second: 360/min
_BREAKS = 0.1  # of `limb_lead_errors`; 0.01 in real records
_PARTS = 12  # segments in which exchanged electrodes are looked for: two minutes
_FLAT_IN, _OFTEN = 0.5, 0.25  # share of a lead's seconds, share of the segments


@dataclass(frozen=True)
class Quality:
    """Can this recording be read?

    Args:
        record: "acceptable"; "borderline": readable, but a lead is not, or something is doubtful;
            "unacceptable": record it again.
        reasons: why, as sentences; empty where nothing was found.
        leads: flags of each lead, in the order of `FLAGS`: "missing" (unknown for over 5 % of the time),
            "flat", "saturated" (rests at the end of its range), "lead-off" (shows no heart where others do),
            "clipping" (its peaks are cut off), "mains" (50 or 60 Hz above 0.02 mV), "wander" (the baseline
            moves by over 0.5 mV), "muscle noise" (over 0.02 mV rms between the beats), "possible swap" (its
            electrode seems exchanged with another).
        probability_unacceptable: by the model, 0 to 1: the median of the segments of about ten seconds; None
            where nothing could be judged.
        unreadable_share: share of these segments that are unacceptable by themselves, 0 to 1.
        exchanged: electrodes that seem exchanged, "RA/LA"; None where none do, or it cannot be seen.
    """

    record: Grade
    reasons: tuple[str, ...] = ()
    leads: dict[str, tuple[Flag, ...]] = field(default_factory=dict)
    probability_unacceptable: float | None = None
    unreadable_share: float = 0.0
    exchanged: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        probability = self.probability_unacceptable
        return {
            "record": self.record,
            "reasons": list(self.reasons),
            "leads": {name: list(flags) for name, flags in self.leads.items()},
            "probability_unacceptable": None if probability is None else round(probability, 4),
            "unreadable_share": round(self.unreadable_share, 4),
            "exchanged": self.exchanged,
        }


def assess_quality(ecg: ECG) -> Quality:
    """Judge the signal quality of a recording.

    Rows that `metadata["units"]` marks as no voltage are left out. What is judged is the signal, not the
    heart: asystole and ventricular fibrillation show no complexes either, and come out as unacceptable with
    that reason.

    Args:
        ecg: any number of leads, rate and length.

    Returns:
        The verdict; an unreadable or empty recording is one of the verdicts, not an error.
    """
    rows = [row for row, name in enumerate(ecg.leads) if name not in ecg.metadata.get("units", {})]
    names = [ecg.leads[row] for row in rows]
    if not rows or not ecg.num_samples:
        return Quality("unacceptable", ("the recording holds no samples of an ECG",), {n: () for n in names})
    with np.errstate(all="ignore"):  # values near the end of float32's range square to infinity
        return _assess(ecg.select(names) if len(names) < ecg.num_leads else ecg, names)


def _assess(ecg: ECG, names: list[str]) -> Quality:
    known, signal = np.ones(len(names)), ecg.signal
    highest, lowest = signal.max(1), signal.min(1)
    if not ((highest < LARGEST) & (lowest > -LARGEST)).all():
        possible = np.abs(signal) < LARGEST
        known = possible.mean(1)
        signal = fill_missing(np.where(possible, signal, np.float32(np.nan)))
        highest, lowest = signal.max(1), signal.min(1)
    # A lead that is known for a few seconds only, as on a printed page, says nothing of the others.
    long_enough = (known >= 0.5) | (known * ecg.duration < _LEAST_SECONDS)
    judged = np.flatnonzero(long_enough)
    if not len(judged):
        judged = np.array([known.argmax()])
        if known.any():
            first, last = np.flatnonzero(possible[judged[0]])[[0, -1]]
            signal = signal[:, first : last + 1]
    judged_names = [names[row] for row in judged]
    segments = list(_segments(signal[judged] if len(judged) < len(names) else signal, ecg.sampling_rate))
    looks = [look(segment) for segment in segments]

    flags: dict[str, set[Flag]] = {name: set() for name in names}
    _flag_leads(flags, looks, judged_names)
    _spare_small_limb_leads(ecg, flags)
    clipped = _clipped(ecg.signal, highest, lowest)
    for row, name in enumerate(names):
        if row in clipped and not flags[name] & {"flat", "saturated"}:
            flags[name].add("clipping")
        if known[row] < 0.95:
            flags[name].add("missing")
        if known[row] * ecg.duration < min(_LEAST_SECONDS, ecg.duration / 2):
            flags[name] = {"missing"}
    if not looks:
        reason = f"the recording lasts {ecg.duration:.2g} s, too short to judge"
        return Quality("unacceptable", (reason,), _ordered(flags))

    scores = np.array([_score(seen) for seen in looks])
    strange = [_strangeness(seen) for seen in looks]
    unreadable = (1 / (1 + np.exp(-scores)) >= _UNREADABLE) | np.array([bool(reason) for reason in strange])
    probability, share = float(1 / (1 + np.exp(-middle(scores)))), float(unreadable.mean())
    problems, cautions, swap = [], [], None
    if share >= 0.5:
        typical = looks[int(np.argsort(scores)[len(scores) // 2])]
        problems += [reason for reason in dict.fromkeys(strange) if reason] or [
            _worst(typical, judged_names, flags)
        ]
    elif share > 0:
        cautions.append(f"{share:.0%} of the recording is unreadable")
    if not unreadable.all():
        readable = [segment for segment, bad in zip(segments, unreadable, strict=True) if not bad]
        whole = readable[0] if len(readable) == 1 else np.concatenate(readable, axis=1)
        joined = ECG(whole, RATE, tuple(judged_names))
        # What was filled in obeys no equation: with gaps, the recording itself is asked.
        contradiction, grave = _limb_lead_contradiction(joined if (known == 1).all() else ecg, flags)
        if contradiction:
            (problems if grave else cautions).append(contradiction)
        elif share < 0.5:
            swap = _find_swap(segments, looks, judged_names, flags)
    if swap:
        cautions.append(describe(swap.name))
        for name in flags.keys() & set(swap.leads):
            flags[name].add("possible swap")
    if ecg.duration < _LEAST_SECONDS:
        cautions.append(f"the recording lasts {ecg.duration:.2g} s, too short to judge its rhythm")
    record: Grade = "acceptable"
    if problems:
        record = "unacceptable"
    elif cautions or probability >= _DOUBTFUL or any(_GRAVE & found for found in flags.values()):
        record = "borderline"
    hertz = dict(zip(judged_names, looks[0].mains_hz.tolist(), strict=True))
    reasons = [*problems, *cautions, *_in_words(flags, hertz)]
    if share < 0.5:  # a wrong gain is no matter of the grade
        reasons = _amplitude_doubts(ecg, flags) + reasons
    if record == "borderline" and not reasons:
        reasons.append("noise or artefacts may hide details")
    exchanged = swap.name if swap else None
    return Quality(record, tuple(reasons), _ordered(flags), probability, share, exchanged)


def _amplitude_doubts(ecg: ECG, flags: dict[str, set[Flag]]) -> list[str]:
    """By the leads that show a heart, as far as they are known."""
    rows = [row for row, name in enumerate(ecg.leads) if not flags[name] & _NO_HEART]
    steep = steep_parts(ecg.signal, ecg.sampling_rate)[rows]
    known = np.isfinite(steep)
    if not known.all():
        steep = np.where(known, steep, np.float32(0))
    return amplitude_doubts(steep) if steep.any() else []


def _segments(signal: np.ndarray, sampling_rate: float) -> Iterator[np.ndarray]:
    """Equal parts of about ten seconds, at 250 Hz."""
    duration = signal.shape[1] / sampling_rate
    number = max(1, round(duration / SEGMENT))
    edges = [k * signal.shape[1] // number for k in range(number + 1)]
    for first, last in pairwise(edges):
        segment = to_rate(signal[:, first:last], sampling_rate)
        if segment.shape[1] >= RATE // 2:
            yield segment


def _flag_leads(flags: dict[str, set[Flag]], looks: list[Segment], names: list[str]) -> None:
    """Flag what concerns a lead in a quarter of the segments or more."""
    limb = np.array([name in LEADS_12[:6] for name in names])
    found = [_flags(seen, limb) for seen in looks]
    for flag in found[0] if found else ():
        count = sum((each[flag] for each in found), np.zeros(len(names)))
        for lead in np.flatnonzero(count >= _OFTEN * len(looks)):
            flags[names[lead]].add(flag)


def _flags(seen: Segment, limb: np.ndarray) -> dict[Flag, np.ndarray]:
    """For each flag, which leads of a segment deserve it; `limb` marks the limb leads."""
    flat = (seen.flat >= _FLAT_IN) | (seen.typical < 0.01)
    resting = (seen.stuck > 0.1) | (flat & (seen.offset > _RAIL))
    beating = (seen.agreement > 0.4) | (seen.likeness > 0.8) | (seen.recurrence > 0.8)
    alive = len(seen.beats) >= 3 and 2 * np.count_nonzero(beating) >= len(beating)
    hum = seen.mains > _MAINS
    # mains of amplitude A change by A step / √2 from sample to sample, and their change by A step² / √2
    step = 2 * np.sin(np.pi * seen.mains_hz / RATE)
    of_mains = OF_BEND * seen.mains * step**2 / np.sqrt(2)
    noise = np.sqrt(np.maximum(np.square(seen.noise) - np.square(of_mains), 0))
    wander = ~flat & ~resting & (seen.swing > _WANDER)
    return {
        "flat": flat & (seen.offset <= _RAIL),
        "saturated": resting,
        # a small limb lead may lie across the heart's axis; beside a loose electrode it is flat or large
        "lead-off": ~beating & alive & (flat | (seen.typical > 0.5 * seen.scale) | ~limb),
        "mains": hum,
        "wander": wander,
        "muscle noise": ~resting & (noise > _MUSCLE),
    }


def _spare_small_limb_leads(ecg: ECG, flags: dict[str, set[Flag]]) -> None:
    """An electrode that is off spoils two of I, II and III at least; a single one of them, or aVR, aVL or aVF
    alone, lies across the heart's axis, if it follows from the others.
    """
    off = [name for name in flags if name in LEADS_12[:6] and "lead-off" in flags[name]]
    off = [name for name in off if "flat" not in flags[name]]
    if off and len(set(off) & {"I", "II", "III"}) < 2:
        errors = limb_lead_errors(ecg)
        if errors and max(errors.values()) <= _BREAKS:
            for name in off:
                flags[name].discard("lead-off")


def _clipped(signal: np.ndarray, highest: np.ndarray, lowest: np.ndarray) -> set[int]:
    """Rows whose peaks are cut off: several flat tops of three samples or more at the extreme value."""
    rows = set()
    for extreme in (highest, lowest):
        at = signal == extreme[:, None]
        number = np.array([np.count_nonzero(row) for row in at])
        for row in np.flatnonzero((number >= 9) & (highest - lowest > 0.1)):
            samples = np.flatnonzero(at[row])
            runs = np.split(samples, np.flatnonzero(np.diff(samples) > 1) + 1)
            begins = [run[0] for run in runs if len(run) >= 3 and run[0] > 0]
            steps = np.abs(np.diff(signal[row]))
            # the top of a small wave in a coarse recording is flat as well, but it is not reached at once
            if len(begins) >= 3 and np.median(steps[np.array(begins) - 1]) > 2.5 * steps[steps > 0].min():
                rows.add(int(row))
    return rows


def record_features(seen: Segment) -> dict[str, float]:
    """What the model reads of one segment; the same for a recording ten times as tall.

    "Worst" is the lead that is worst in this respect, "second" the next worst (the worst again of a single
    lead), and levels are logarithms of their ratio to the usual height of this ECG.
    """
    scale = max(seen.scale, 0.02)
    own = np.minimum(np.maximum(seen.typical, 0.5 * scale), 3 * scale)[:, None]
    wild = seen.ranges > 5 * own
    bad = wild | (seen.ranges < max(0.004, 0.05 * scale))

    def relative(level: float) -> float:
        return math.log((level + 0.01 * scale) / scale)

    flat = np.sort(seen.flat)[::-1]
    agreement, likeness, small = (np.sort(x) for x in (seen.agreement, seen.likeness, seen.typical))
    second = min(1, len(flat) - 1)
    third = min(2, len(flat) - 1)
    values = {
        "bad_lead_seconds": np.count_nonzero(bad) / bad.size,
        "seconds_with_a_bad_lead": np.count_nonzero(bad.any(0)) / bad.shape[1],
        "leads_with_a_wild_second": np.count_nonzero(wild.any(1)) / len(wild),
        "flat_worst": flat[0],
        "flat_second": flat[second],
        "flat_mean": flat.sum() / len(flat),
        "agreement_worst": agreement[0],
        "agreement_second": agreement[second],
        "agreement_median": (agreement[len(flat) // 2] + agreement[(len(flat) - 1) // 2]) / 2,
        "likeness_worst": likeness[0],
        "likeness_third": likeness[third],
        "likeness_median": (likeness[len(flat) // 2] + likeness[(len(flat) - 1) // 2]) / 2,
        "noise_worst": relative(seen.quiet.max()),
        "wander_worst": relative(seen.wander.max()),
        "offset_worst": math.log1p(seen.offset.max() / scale),
        "largest_range": math.log(seen.ranges.max() / scale + 0.1),
        "smallest_lead": relative(small[0]),
        "second_smallest_lead": relative(small[second]),
        "smallest_qrs": relative(seen.size.min()),
        "prominence": math.log(seen.prominence + 0.1),
    }
    return {name: min(max(float(value), -12.0), 12.0) for name, value in values.items()}


def _score(seen: Segment) -> float:
    features = record_features(seen)
    return INTERCEPT + sum(
        weight * (features[name] - mean) / deviation for name, (mean, deviation, weight) in WEIGHTS.items()
    )


def _strangeness(seen: Segment) -> str:
    """Why a segment is no ECG, or shows none; empty where it may be one."""
    if seen.scale == 0:
        return "no lead shows any activity"
    third = -max(1, len(seen.agreement) // 4)
    agreement, recurrence = np.sort(seen.agreement)[third], np.sort(seen.recurrence)[third]
    # a pacemaker's spikes and its beats, in turns, agree half as well
    least = _LEAST_AGREEMENT / 2 if recurrence > _RECURRING else _LEAST_AGREEMENT
    seconds = seen.ranges.shape[1]
    if seen.sameness > _SAME and len(seen.agreement) >= 6:
        return "all leads show one and the same shape; this is no 12-lead ECG"
    if len(seen.beats) > _MOST_BEATS * max(seconds, 1):
        return f"{len(seen.beats) / max(seconds, 1) * 60:.0f} spikes a minute; this is no heart"
    if seconds >= 3 and (seen.prominence < _LEAST_PROMINENCE or agreement < least):
        return NO_QRS
    return ""


def _limb_lead_contradiction(ecg: ECG, flags: dict[str, set[Flag]]) -> tuple[str, bool]:
    """What speaks against the limb leads by their equations, and whether that makes them unreadable."""
    usable = [name for name in ecg.leads if not flags[name] & {"missing", *_NO_HEART}]
    if not {"I", "II"} <= set(usable):
        return "", False
    if any(name in LEADS_12[:6] and name not in usable for name in ecg.leads):
        ecg = ecg.select(usable)
    broken = {name: error for name, error in limb_lead_errors(ecg).items() if error > _BREAKS}
    if not broken:
        return "", False
    fits = names_that_fit(ecg)
    if fits:
        text = ", ".join(f"{was} is {now}" for was, now in fits.items())
        return f"limb leads bear wrong names: their equations hold if {text}", True
    do = "do" if len(broken) > 1 else "does"
    says = f"{_listed(list(broken))} {do} not follow from the other limb leads: "
    if max(broken.values()) > 0.5 and not _scaled(ecg):
        return says + "the leads are mixed up, or were not recorded together", True
    return says + "one is noisy by itself, or each was scaled by itself and these are no millivolts", False


def _scaled(limbs: ECG) -> bool:
    """Whether the limb leads obey their equations once each has a factor of its own."""
    have = dict(zip(limbs.leads, np.nan_to_num(limbs.signal).astype(np.float64), strict=True))
    basis = np.stack([have["I"], have["II"]], axis=1)
    signs = {"III": (-1, 1), "aVR": (-1, -1), "aVL": (1, -1), "aVF": (-1, 1)}
    for name in set(have) & set(signs):
        factors = np.linalg.lstsq(basis, have[name], rcond=None)[0]
        left_over = have[name] - basis @ factors
        if (factors * signs[name] < 0).any() or left_over.std() > 0.1 * have[name].std():
            return False
    return True


def _find_swap(
    segments: list[np.ndarray], looks: list[Segment], names: list[str], flags: dict[str, set[Flag]]
) -> Swap | None:
    wanted = ["I", "II", *LEADS_12[6:]]
    if not set(wanted) <= set(names) or any(flags[name] & {"missing", "flat", "lead-off"} for name in wanted):
        return None
    rows = [names.index(name) for name in wanted]
    parts = [
        typical_beat(segment[rows], seen.beats)
        for segment, seen in list(zip(segments, looks, strict=True))[:_PARTS]
    ]
    return find_swap([beat for beat in parts if beat is not None])


def _worst(seen: Segment, names: list[str], flags: dict[str, set[Flag]]) -> str:
    """One sentence for a record that the model rejects."""
    lost = [
        name
        for name, agreement in zip(names, seen.agreement, strict=True)
        if agreement < 0.4 or flags[name] & {"flat", "saturated", "lead-off", "missing"}
    ]
    if lost:
        return f"no usable signal in {_listed(lost)}"
    scale = max(seen.scale, 0.02)
    wild = [name for name, ranges in zip(names, seen.ranges, strict=True) if ranges.max() > 5 * scale]
    if wild:
        return f"large artefacts in {_listed(wild)}"
    order = np.argsort(seen.agreement)
    return f"noise or artefacts, most in {_listed([names[row] for row in order[:2]])}"


_SENTENCES: dict[Flag, Callable[[str], str]] = {
    "missing": lambda leads: f"samples missing in {leads}",
    "flat": lambda leads: f"flat line in {leads}",
    "saturated": lambda leads: f"{leads} at the end of the recorder's range",
    "lead-off": lambda leads: f"no heart visible in {leads}: electrode off?",
    "clipping": lambda leads: f"peaks cut off in {leads}",
    "mains": lambda leads: f"mains hum in {leads}",
    "wander": lambda leads: f"baseline wander in {leads}",
    "muscle noise": lambda leads: f"muscle noise in {leads}",
}


def _in_words(flags: dict[str, set[Flag]], hertz: dict[str, float]) -> Iterator[str]:
    for flag, sentence in _SENTENCES.items():
        leads = [name for name, found in flags.items() if flag in found]
        if flag == "lead-off":  # said already
            leads = [name for name in leads if not flags[name] & {"flat", "saturated"}]
        if leads:
            tones = sorted({hertz[name] for name in leads if name in hertz}) if flag == "mains" else []
            heard = f" ({' and '.join(f'{tone:g}' for tone in tones)} Hz)" if tones else ""
            yield sentence(_listed(leads, len(flags))) + heard


def _listed(names: list[str], of: int = 0) -> str:
    if len(names) == of and of > 2:
        return "all leads"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _ordered(flags: dict[str, set[Flag]]) -> dict[str, tuple[Flag, ...]]:
    return {name: tuple(sorted(found, key=FLAGS.index)) for name, found in flags.items()}
