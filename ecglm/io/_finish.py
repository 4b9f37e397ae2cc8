"""From a parsed `Recording` to the `ECG`: hints, units, lead names, derived leads, padding, checks."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, LEADS_12, ECGFileError, annotations_within, derive_limb_leads, standard_lead
from ecglm.io._checks import check
from ecglm.io._common import (
    MAX_LEADS,
    MAX_SAMPLES,
    Channel,
    Hints,
    Recording,
    counts_per_millivolt,
    millivolts,
    states_size,
    step_and_unit,
)

_STANDARD = frozenset(LEADS_12)
_MASON_LIKAR = re.compile(r"(.+?)[ _(]*\b(?:ml|mason[- ]?likar)\)?$", re.IGNORECASE)
_MINUS_AVR = re.compile(r"([-−]avr|avr[-−])$", re.IGNORECASE)
_PADDING = 0.5  # seconds without any change in more than two leads; no TP segment is that still
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffd]")
_EIGHT = frozenset(("I", "II", *LEADS_12[6:]))
# Leads beyond the twelve: right-sided and posterior, Frank's, EASI, Nehb's, monitoring leads, and channels
# that call themselves an ECG.
_ECG_NAME = re.compile(
    r"(v(\d{1,2}r?)?|v[xyz]|[xyz]|-avr|avr-|e[cs]|[aes]s|ai|es|[daj]|m?(l|v)?(i|ii|iii)|m[clvs]+\d?|c[cmsr]\d|ml\d"
    r"|(e[ck]g|lead|holter).*|.*\be[ck]g\d*)$",
    re.IGNORECASE,
)


def finish(recording: Recording, hints: Hints) -> ECG:
    """The `ECG` of a parsed file.

    Raises:
        ECGFileError: if the file and the hints together name no sampling rate, unit or leads, or hold no
            samples.
    """
    check_stated(recording, hints)
    channels = _named(recording, hints)
    rate = _sampling_rate(recording, hints)
    channels, rate = _one_rate(recording, channels, rate)
    names = _unique(recording, [channel.name for channel in channels])
    signal, units = _in_millivolts(recording, channels, names, hints)
    if hints.cropping and not recording.cropped:
        first, last = hints.span(recording.path, signal.shape[1], rate)
        signal = signal[:, first:last]
    marks = recording.metadata.get("annotations")
    if not hints.cropping and not recording.keep_padding and not marks:  # these count from the beginning
        signal = _without_padding(recording, signal, rate)
    metadata = _metadata(recording, hints)
    if marks and hints.cropping:
        first = round((hints.start or 0.0) * rate)
        metadata["annotations"] = annotations_within(marks, first / rate, hints.stop or math.inf)
    if units:
        metadata["units"] = units
    ecg = ECG(signal, rate, tuple(names), metadata)
    leads = [name for name in ecg.leads if name not in units and is_ecg_name(name)]
    recording.warnings += check(ecg if len(leads) == len(ecg.leads) else ecg.select(leads))
    if not _STANDARD.issubset(ecg.leads) and _EIGHT.issubset(ecg.leads):
        ecg = derive_limb_leads(ecg)
        recording.assumed += ecg.metadata.pop("assumed", [])
    for key, sentences in (("assumed", recording.assumed), ("warnings", recording.warnings)):
        if sentences:
            ecg.metadata[key] = list(dict.fromkeys(sentences))
    return ecg


@lru_cache(maxsize=1024)
def is_ecg_name(name: str) -> bool:
    """Whether a channel's name, in its standard spelling, is that of an ECG lead."""
    return name in _STANDARD or bool(_ECG_NAME.match(name))


def check_stated(recording: Recording, hints: Hints) -> None:
    """Refuse a file that, with the hints, does not say all of sampling rate, unit and leads: in one line."""
    path, channels = recording.path, recording.channels
    if not channels:
        raise ECGFileError(f"{path} holds no signals; it is no recording")
    if len(channels) > MAX_LEADS:
        raise ECGFileError(f"{path} holds {len(channels)} channels; at most {MAX_LEADS} are read")
    if sum(len(channel.values) for channel in channels) > MAX_SAMPLES:
        raise ECGFileError(f"{path} holds too many samples to read at once; pass start= and stop= in seconds")
    missing, remedies = [], []
    if hints.sampling_rate is None and recording.sampling_rate is None:
        missing.append("sampling rate")
        remedies.append("sampling_rate= (Hz)")
    bare = [channel for channel in channels if not step_and_unit(channel.unit)[1]]
    if hints.unit is None and (len(bare) == len(channels) or any(map(_may_be_ecg, bare))):
        missing.append("unit")
        remedies.append("unit= ('mV', 'uV', or '4.88 uV' for counts of that size)")
    if hints.leads is None and not all(channel.name.strip("\x00 \t") for channel in channels):
        names = LEADS_12 if len(channels) == 12 else LEADS_12[: min(len(channels), 2)]
        missing.append(f"names of its {len(channels)} leads" if len(channels) > 1 else "name of its lead")
        remedies.append(f"leads= (e.g. '{' '.join(names)}')")
    if missing:
        raise ECGFileError(f"{path} states no {', no '.join(missing)}; pass {', '.join(remedies)}")


def _may_be_ecg(channel: Channel) -> bool:
    name = _standard_name(channel.name)[0]
    return not name or is_ecg_name(name)


def _named(recording: Recording, hints: Hints) -> list[Channel]:
    """The channels with their names: those of the hint, or the file's in standard spelling."""
    path, channels = recording.path, recording.channels
    if hints.leads is not None:
        if len(hints.leads) != len(channels):
            raise ECGFileError(
                f"{path} holds {len(channels)} channels, leads= names {len(hints.leads)}; name each, in order"
            )
        given = hints.leads
        recording.assumed.append(f"leads {' '.join(given)}, as given")
    else:
        given = [channel.name for channel in channels]
    for channel, name in zip(channels, given, strict=True):
        if name not in _STANDARD:
            name, unreadable, modified = _standard_name(name)
            if unreadable:
                recording.warnings.append(f"a lead's name holds unreadable characters; taken as {name!r}")
            if modified:
                recording.metadata.setdefault("lead_placement", "Mason-Likar")
        channel.name = name
    _turn_minus_avr(recording, channels)
    return channels


@lru_cache(maxsize=1024)
def _standard_name(name: str) -> tuple[str, bool, bool]:
    """A name in standard spelling; whether it held unreadable characters; whether it said Mason-Likar."""
    clean = standard_lead(" ".join(_CONTROL.sub(" ", name).split()))
    if clean[:4] == "ECG " and is_ecg_name(clean[4:]):  # as EDF+ writes "ECG MLII"
        clean = clean[4:]
    match = _MASON_LIKAR.match(clean)
    modified = match is not None and standard_lead(match[1]) in _STANDARD
    if match and modified:
        clean = standard_lead(match[1])
    return clean, _CONTROL.search(name.strip("\x00 \t\r\n")) is not None, modified


def _turn_minus_avr(recording: Recording, channels: list[Channel]) -> None:
    """-aVR, of Cabrera's order, becomes aVR, where there is none."""
    names = [channel.name for channel in channels]
    for channel in channels:
        if _MINUS_AVR.match(channel.name) and "aVR" not in names:
            channel.name = "aVR"
            channel.values = -channel.values
            recording.rows = None
            recording.assumed.append("aVR is the −aVR of the file with its sign turned")


def _sampling_rate(recording: Recording, hints: Hints) -> float:
    stated = recording.sampling_rate
    if hints.sampling_rate is not None:
        if stated is not None and stated != hints.sampling_rate:
            recording.assumed.append(
                f"sampling rate {hints.sampling_rate:g} Hz, as given; the file says {stated:g} Hz"
            )
        elif stated is None:
            recording.assumed.append(f"sampling rate {hints.sampling_rate:g} Hz, as given")
        return hints.sampling_rate
    assert stated is not None  # check_stated
    if not (math.isfinite(stated) and stated > 0):
        raise ECGFileError(f"{recording.path} states a sampling rate of {stated:g} Hz; pass sampling_rate=")
    return float(stated)


def _one_rate(recording: Recording, channels: list[Channel], rate: float) -> tuple[list[Channel], float]:
    """The channels at the rate of the ECG; a reader does not resample, so the others are left out."""
    rates = [channel.sampling_rate or rate for channel in channels]
    if len(set(rates)) > 1:
        counted = [
            each for each, channel in zip(rates, channels, strict=True) if is_ecg_name(channel.name)
        ] or rates
        rate = max(set(counted), key=lambda each: (counted.count(each), each))
        for each, channel in zip(rates, channels, strict=True):
            if each != rate:
                recording.warnings.append(
                    f"{channel.name} is left out: it has {each:g} Hz where the ECG has {rate:g} Hz"
                )
        channels = [channel for each, channel in zip(rates, channels, strict=True) if each == rate]
    else:
        rate = rates[0]
    lengths = {len(channel.values) for channel in channels}
    if lengths == {0}:
        raise ECGFileError(f"{recording.path} holds no samples")
    if len(lengths) > 1:
        longest = max(lengths)
        for channel in channels:
            if len(channel.values) < longest:
                recording.warnings.append(
                    f"{channel.name} is shorter than the others; its end is unknown (NaN)"
                )
                padding = np.full(longest - len(channel.values), np.nan, np.float32)
                channel.values = np.concatenate([channel.values, padding])
    return channels, rate


def _unique(recording: Recording, names: list[str]) -> list[str]:
    if len(set(names)) == len(names):
        return names
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        if name in _STANDARD:
            raise ECGFileError(f"{recording.path}: two channels are named {name}; pass leads= to name each")
        recording.warnings.append(f"several channels are named {name}; they are numbered")
        rows = [row for row, each in enumerate(names) if each == name]
        for number, row in enumerate(rows, start=1):
            names[row] = f"{name} {number}"
    return names


def _in_millivolts(
    recording: Recording, channels: list[Channel], names: list[str], hints: Hints
) -> tuple[np.ndarray, dict[str, str]]:
    """(leads, samples) float32, mV; and the units of the rows that are no voltage."""
    signal = recording.rows if len(channels) == len(recording.channels) else None
    if signal is None:
        signal = np.empty((len(channels), len(channels[0].values)), np.float32)
    in_place, scales = signal is recording.rows, []
    units: dict[str, str] = {}
    given: dict[str | None, list[str]] = {}
    for row, (channel, name) in enumerate(zip(channels, names, strict=True)):
        is_ecg, scale, zero = is_ecg_name(name), millivolts(channel.unit), 0.0
        if hints.unit is not None and (is_ecg or scale is not None or not channel.unit):
            scale, zero = counts_per_millivolt(hints.unit)
            if not states_size(hints.unit):
                scale *= step_and_unit(channel.unit)[0]
            if channel.unit != hints.unit:
                given.setdefault(channel.unit, []).append(name)
        if scale is None and is_ecg:
            raise ECGFileError(
                f"{recording.path}: lead {name} has the unit {str(channel.unit)[:20]!r}, which is no voltage;"
                " pass unit='mV' if the values are millivolts"
            )
        values = channel.values
        if zero:
            values = values - values.dtype.type(zero)
        if scale is None:
            own = channel.unit if step_and_unit(channel.unit)[1] else None
            units[name] = own or "nu"  # "no unit", as WFDB files have it
            own = f"in its own unit, {own}" if own else "as it is: the file gives it no unit"
            recording.warnings.append(f"{name} is no ECG; kept {own}")
            scale = 1.0
        elif not is_ecg:
            recording.warnings.append(f"{name} is no ECG lead known by name; kept under its own name")
        scales.append(scale)
        if not in_place and scale != 1.0:
            np.multiply(values, values.dtype.type(scale), out=signal[row], casting="same_kind")
        elif not in_place or zero:
            signal[row] = values
    if in_place and any(scale != 1.0 for scale in scales):
        signal *= np.array(scales, np.float32)[:, np.newaxis]
    for stated, rows in given.items():
        says = f"; the file says {stated!r}" if stated else ""
        of = "" if len(rows) == len(names) else f" of {', '.join(rows)}"
        recording.assumed.append(f"unit {hints.unit}{of}, as given{says}")
    return signal, units


def _without_padding(recording: Recording, signal: np.ndarray, rate: float) -> np.ndarray:
    """Cut stretches at the ends in which no lead changes: padding, or a lead that had not been connected."""
    least = round((_PADDING if len(signal) > 2 else 4 * _PADDING) * rate)
    cut = []
    for end in (-1, 0):
        if signal.shape[1] <= max(least, 1):
            break
        outer, inner = signal[:, end].tolist(), signal[:, -2 if end else 1].tolist()
        if not all(each == edge or each != each for edge, each in zip(outer, inner, strict=True)):
            cut.append(0)
            continue
        edge = signal[:, [end]]
        same = ((signal == edge) | (np.isnan(signal) & np.isnan(edge))).all(axis=0)
        run = int(np.argmin(same[::-1] if end else same)) if not same.all() else 0
        cut.append(run if run >= least else 0)
    if not any(cut):
        return signal
    behind, before = cut
    parts = [
        f"the first {before / rate:g} s" if before else "",
        f"the last {behind / rate:g} s" if behind else "",
    ]
    recording.warnings.append(f"{' and '.join(filter(None, parts))} are cut: no lead changes there (padding)")
    return signal[:, before : signal.shape[1] - behind]


def _metadata(recording: Recording, hints: Hints) -> dict[str, Any]:
    metadata = {"record_id": "", "source": f"{recording.format} {recording.path}"} | recording.metadata
    if not metadata["record_id"]:
        metadata["record_id"] = Path(recording.path).stem
    if hints.keep_identity and recording.identity:
        metadata["identity"] = recording.identity
    return metadata
