"""HL7 annotated ECG (aECG), the XML of drug trials and of several makers: reading and writing.

A file holds series of sequence sets; a set is a time axis (`GLIST_TS`, `GLIST_PQ` or a list of times) and
one sequence of numbers per lead (`SLIST_PQ`: origin + digit · scale, with a unit). Sets that begin at
different times (three leads at a time, or one segment after another) are laid on one time axis, NaN where
nothing was recorded. Derived series are the device's median beats, annotations its measurements and
statements.

Source: HL7 V3 Annotated ECG, R1 (ANSI/HL7 V3 ECG R1-2004), and its implementation guide of 2005-03-21.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from ecglm.ecg import ECG, LEADS_12, ECGFileError
from ecglm.io._common import MAX_LEADS, MAX_SAMPLES, Channel, Hints, Recording, millivolts, written_aside
from ecglm.io._xml import (
    LARGEST,
    beats_of,
    count_unit,
    iso_time,
    numbers,
    plain_tree,
    root_name,
    sex_of,
    text_of,
    tidy,
    to_number,
    years_between,
)

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_LEAD = "MDC_ECG_LEAD_"
# Global annotations: MDC_ECG_… as the guide and the FDA's samples name them, and Mindray's own.
_MEASUREMENTS = {
    "HEART_RATE": "heart_rate", "TIME_PD_PR": "pr", "TIME_PD_QRS": "qrs", "TIME_PD_QT": "qt",
    "TIME_PD_QTc": "qtc", "TIME_PD_QTcB": "qtc", "TIME_PD_QTcH": "qtc", "TIME_PD_QTC": "qtc",
    "TIME_PD_RR": "rr", "TIME_PD_P": "p",
    "ANGLE_P_FRONT": "p_axis", "ANGLE_QRS_FRONT": "qrs_axis", "ANGLE_T_FRONT": "t_axis", "P_AXIS": "p_axis",
    "QRS_AXIS": "qrs_axis", "T_AXIS": "t_axis",
}  # fmt: skip
_STATEMENTS = ("MDC_ECG_INTERPRETATION_STATEMENT", "MDC_ECG_INTERPRETATION_SUMMARY")
_SHORTEST, _LONGEST = 1e-7, 100.0  # s, of a time step
_UNPLAUSIBLE_GAP = (
    24 * 3600
)  # s between sets of one series; beyond it a date is wrong, and NaN would fill memory


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is an aECG."""
    return root_name(head) == "AnnotatedECG"


def parse(path: Path, hints: Hints) -> Recording:
    """Read an aECG.

    Raises:
        ECGFileError: if it holds no waveforms, or its lists contradict each other.
    """
    root = plain_tree(path)
    found = root.findall("component/series")
    series = [each for each in found if each.find(".//sequenceSet") is not None]
    if not series:
        raise ECGFileError(f"{path} is an HL7 aECG without waveforms; there is no ECG in it")
    index = hints.index or 0
    if index >= len(series):
        raise ECGFileError(
            f"{path} holds {len(series)} series; index={index} is none of them, counted from 0"
        )
    chosen = series[index]
    channels, rate, warnings, assumed = _timeline(path, chosen.findall("component/sequenceSet"))
    if len(series) > 1 and hints.index is None:
        warnings.append(
            f"the file holds {len(series)} series of waveforms; the first is read, index= reads others"
        )
    metadata, identity = _header(root, chosen)
    age = metadata.get("age")
    if (
        age is None
        and (years := years_between(identity.get("birth_date"), metadata.get("acquired"))) is not None
    ):
        metadata["age"] = years
        assumed.append("age from the dates of birth and recording")
    device = _device(path, root, chosen, warnings)
    if device:
        metadata["device"] = device
    return Recording(path, "HL7 aECG", channels, rate, metadata, identity, assumed=assumed, warnings=warnings)


# -------------------------------------------------------------------------------------------- the waveforms


def _timeline(path: Path, sets: list[Element]) -> tuple[list[Channel], float | None, list[str], list[str]]:
    """The sequence sets of a series on one time axis."""
    parts: list[tuple[float, list[tuple[str, np.ndarray, str | None]]]] = []
    rates: list[float] = []
    for each in sets:
        start, rate = _time_axis(path, each)
        leads = [lead for sequence in each.findall("component/sequence") if (lead := _lead(path, sequence))]
        if rate is not None:
            rates.append(rate)
        if leads:
            parts.append((start, leads))
    if not parts:
        raise ECGFileError(f"{path} is an HL7 aECG without a lead; there is no ECG in it")
    names = list(dict.fromkeys(name for _, leads in parts for name, _, _ in leads))
    if len(names) > MAX_LEADS:
        raise ECGFileError(f"{path} holds {len(names)} leads; at most {MAX_LEADS} are read")
    if len(set(rates)) > 1:
        raise ECGFileError(
            f"{path} holds sequence sets at {', '.join(f'{rate:g}' for rate in sorted(set(rates)))} Hz in "
            "one series; only one rate is read"
        )
    rate = rates[0] if rates else None
    if len(parts) == 1:
        _, leads = parts[0]
        if len(names) < len(leads):
            raise ECGFileError(f"{path} names a lead twice in one sequence set; pass another file")
        return [Channel(*lead) for lead in leads], rate, [], []
    return *_laid_out(path, parts, names, rate), []


def _laid_out(
    path: Path,
    parts: list[tuple[float, list[tuple[str, np.ndarray, str | None]]]],
    names: list[str],
    rate: float | None,
) -> tuple[list[Channel], float | None, list[str]]:
    """Channels of several sequence sets, NaN between and around them."""
    if rate is None:
        raise ECGFileError(
            f"{path} holds several sequence sets and no time axis; they cannot be put in order"
        )
    first = min(start for start, _ in parts)
    apart = max(start for start, _ in parts) - first
    if not apart < _UNPLAUSIBLE_GAP:
        raise ECGFileError(f"{path} holds sequence sets {apart:,.3g} s apart; a time in it is wrong")
    spans = [(round((start - first) * rate), leads) for start, leads in parts]
    length = max(begin + max(len(values) for _, values, _ in leads) for begin, leads in spans)
    if length * len(names) > MAX_SAMPLES:
        raise ECGFileError(
            f"{path} holds {length:,} samples of {len(names)} leads; at most {MAX_SAMPLES:,} are read"
        )
    rows = {name: np.full(length, np.nan) for name in names}
    units: dict[str, str | None] = {}
    for begin, leads in spans:
        for name, values, unit in leads:
            scale = 1.0
            if units.setdefault(name, unit) != unit:
                of, to = millivolts(unit), millivolts(units[name])
                if not of or not to:
                    raise ECGFileError(f"{path}: {name} is in {units[name]} and in {unit}")
                scale = of / to
            room = rows[name][begin : begin + len(values)]
            if np.isfinite(room).any():
                raise ECGFileError(
                    f"{path}: two sequence sets give {name} at the same time; their times are wrong"
                )
            room[:] = values * scale
    warnings = []
    if any(np.isnan(row).any() for row in rows.values()):
        warnings.append(
            f"{len(parts)} sequence sets on one time axis; unknown (NaN) where a lead was not recorded"
        )
    return [Channel(name, row, units[name]) for name, row in rows.items()], rate, warnings


def _time_axis(path: Path, sequence_set: Element) -> tuple[float, float | None]:
    """Where a set begins, in seconds, and its sampling rate."""
    for sequence in sequence_set.findall("component/sequence"):
        if _code(sequence) not in _TIMES:
            continue
        value = sequence.find("value")
        if value is None:
            continue
        head, increment = value.find("head"), value.find("increment")
        if increment is not None:
            step = to_number(increment.get("value"))
            unit = _SECONDS.get(increment.get("unit", "s"))
            if step is None or unit is None or step <= 0:
                raise ECGFileError(
                    f"{path} states a time step of {increment.get('value')!r} {increment.get('unit', '')}; "
                    "it must be a number above 0 of s or ms"
                )
            start = _moment(head.get("value") if head is not None else None, head)
            return start, _rate(path, step * unit)
        digits = text_of(value, "digits")
        if digits:
            return _listed_times(path, value, digits)
    return 0.0, None


def _listed_times(path: Path, value: Element, digits: str) -> tuple[float, float | None]:
    """The axis of a list of times (SLIST_PQ, SLIST_TS): evenly spaced, or refused."""
    times = numbers(path, digits, "the time axis")
    scale = value.find("scale")
    unit = _SECONDS.get(scale.get("unit", "s"), 1.0) if scale is not None else 1.0
    step = (to_number(scale.get("value")) or 1.0) if scale is not None else 1.0
    times *= step * unit
    if len(times) < 2:
        return float(times[0]) if len(times) else 0.0, None
    steps = np.diff(times)
    middle = float(np.median(steps))
    if middle <= 0 or np.abs(steps - middle).max() > 0.5 * middle:
        raise ECGFileError(f"{path} lists times that are not evenly spaced; such a recording is not read")
    return float(times[0]), _rate(path, middle)


def _moment(text: str | None, head: Element | None) -> float:
    """Seconds of `20021122091000.123` since the year 1, or of a relative time with its unit."""
    if not text:
        return 0.0
    whole, _, fraction = text.split("+")[0].partition(".")
    if head is not None and head.get("unit") and len(whole.lstrip("-")) < 14:
        return (to_number(text) or 0.0) * _SECONDS.get(head.get("unit", "s"), 1.0)
    if len(whole) >= 14 and whole[:14].isdigit():
        try:
            moment = datetime.strptime(whole[:14], "%Y%m%d%H%M%S")
        except ValueError:
            return 0.0
        digits = "".join(filter(str.isdigit, fraction.split("-")[0]))[:9]
        return (moment - datetime(1, 1, 1)).total_seconds() + (float(f"0.{digits}") if digits else 0.0)
    return to_number(text) or 0.0 if len(whole) < 8 else 0.0


def _rate(path: Path, step: float) -> float:
    """The sampling rate of a time step in seconds; 500.0 where 0.002 gives 499.9999999."""
    if not _SHORTEST < step < _LONGEST:
        raise ECGFileError(f"{path} states a time step of {step:g} s, which is none of an ECG")
    rate = 1.0 / step
    near = round(rate)
    return float(near) if near and abs(rate - near) < 1e-6 * near else rate


def _code(element: Element) -> str:
    code = element.find("code")
    return code.get("code", "") if code is not None else ""


def _lead(path: Path, sequence: Element) -> tuple[str, np.ndarray, str | None] | None:
    """Name, values and unit of a sequence; None for a time axis."""
    code, value = _code(sequence), sequence.find("value")
    if code in _TIMES or value is None:
        return None
    # Newer files name the potential of the lead, by the codes of ISO/IEEE 11073-10101.
    name = code.replace("MDC_ECG_ELEC_POTL_", _LEAD, 1)
    name = name[len(_LEAD) :] if name.upper().startswith(_LEAD) else name
    element = sequence.find("code")
    shown = element.get("displayName", "") if element is not None else ""
    name = shown if shown.upper() == name.upper() else name  # codes are in capitals
    digits = value.find("digits")
    if digits is None:
        raise ECGFileError(f"{path}: {name} is stored as {value.get('type')!r}, not as a list of digits")
    values = numbers(path, digits.text or "", name)
    origin, scale = value.find("origin"), value.find("scale")
    step = to_number(scale.get("value")) if scale is not None else None
    unit = count_unit(step, scale.get("unit")) if scale is not None else None
    zero = to_number(origin.get("value")) if origin is not None else None
    of, to = millivolts(origin.get("unit")) if origin is not None else None, millivolts(unit)
    if zero and step:
        shift = zero * of / to if of and to else zero / step
        if not abs(shift) < LARGEST:
            raise ECGFileError(f"{path}: {name} states an origin of {zero:g}, which is none of an ECG")
        values += shift
    return name, values, unit


# --------------------------------------------------------------------------------------------- what it says


def _header(root: Element, series: Element) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata, and what identifies the patient."""
    metadata: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    subject = root.find(".//trialSubject")
    person = subject.find("subjectDemographicPerson") if subject is not None else None
    gender = person.find("administrativeGenderCode") if person is not None else None
    if gender is not None and (sex := sex_of(gender.get("code", ""))):
        metadata["sex"] = sex
    birth = person.find("birthTime") if person is not None else None
    for key, value in (
        ("name", text_of(person, "name")),
        ("birth_date", iso_time(birth.get("value")) if birth is not None else None),
        ("patient_id", text_of(person, "PatientID") or _extension(subject)),
        ("trial", _extension(root.find(".//clinicalTrial"))),
        ("site", text_of(root, ".//trialSite/location/name")),
    ):
        if value:
            identity[key] = value
    for observation in root.iter("relatedObservation"):
        stated = observation.find("value")
        if _code(observation) == "21612-7" and stated is not None and stated.get("unit", "a") == "a":  # LOINC
            metadata["age"] = to_number(stated.get("value"))
    if metadata.get("age") is None:
        metadata.pop("age", None)
        if (years := to_number(text_of(person, "Age").rstrip("yY "))) is not None:
            metadata["age"] = years
    if "age" in metadata and metadata["age"] == round(metadata["age"]):
        metadata["age"] = int(metadata["age"])
    if acquired := _acquired(series) or _acquired(root):
        metadata["acquired"] = acquired
    if filters := _filters(series):
        metadata["filters"] = filters
    comments = [text_of(each) for each in root.findall("pertainsTo/subjectFindingComment/text")]
    if any(comments):
        metadata["comments"] = [each for each in comments if each]
    return metadata, identity


def _extension(element: Element | None) -> str:
    found = element.find("id") if element is not None else None
    return found.get("extension", "") if found is not None else ""


def _acquired(element: Element) -> str | None:
    """When the recording began: the low, center or high end of the effective time."""
    for name in ("low", "center", "high"):
        found = element.find(f"effectiveTime/{name}")
        moment = iso_time(found.get("value")) if found is not None else None
        if moment and not moment.startswith("1900"):  # that year says that the time is not known
            return moment
    return None


def _filters(series: Element) -> dict[str, float | int]:
    """{"low": Hz, "high": Hz, "notch": Hz} of the control variables."""
    found: dict[str, float | None] = {}
    for variable in series.iter("controlVariable"):
        kind = _code(variable)
        key = {"HIGH_PASS": "low", "LOW_PASS": "high", "NOTCH": "notch"}.get(kind.rpartition("FILTER_")[2])
        if key is None:
            continue
        for inner in variable.iter("controlVariable"):
            value = inner.find("value")
            if _code(inner).endswith("_FREQ") and value is not None and value.get("unit", "Hz") == "Hz":
                found[key] = to_number(value.get("value"))
    return tidy(found)


def _device(path: Path, root: Element, series: Element, warnings: list[str]) -> dict[str, Any]:
    """The maker, its measurements, statements and median beats."""
    device: dict[str, Any] = {}
    made = series.find("author/seriesAuthor")
    for key, where in (
        ("manufacturer", "manufacturerOrganization/name"),
        ("model", "manufacturedSeriesDevice/manufacturerModelName"),
        ("software", "manufacturedSeriesDevice/softwareName"),
    ):
        if text := text_of(made, where):
            device[key] = text
    if measurements := _measurements(series):
        device["measurements"] = measurements
    statements = []
    for annotation in series.iter("annotation"):
        code, value = _code(annotation), annotation.find("value")
        if value is not None and (code in _STATEMENTS or code == "MDC_ECG_RHY"):
            statements.append(text_of(value) or value.get("displayName", "") or value.get("code", ""))
    statements = list(dict.fromkeys(filter(None, statements)))
    if statements:
        device["statements"] = statements
    beats = series.find("derivation/derivedSeries")
    if beats is not None and (sets := beats.findall("component/sequenceSet")):
        try:
            channels, rate, _, _ = _timeline(path, sets)
            device["median_beats"] = beats_of(channels, rate)
        except (ECGFileError, ValueError) as error:
            warnings.append(f"the device's median beats are left out: {str(error).removeprefix(f'{path}: ')}")
    return device


def _measurements(series: Element) -> dict[str, float | int]:
    """Those of the whole recording: annotations of a set itself, not those inside one of a beat."""
    found: dict[str, float | None] = {}
    for part in (series.find("derivation/derivedSeries"), series):
        for annotation in (
            part.findall("subjectOf/annotationSet/component/annotation") if part is not None else ()
        ):
            for each in (annotation, *annotation.findall("component/annotation")):
                code, value = _code(each), each.find("value")
                if value is None or value.get("type") != "PQ" or "BEAT" in _code(annotation):
                    continue
                number = to_number(value.get("value"))
                key = _MEASUREMENTS.get(code.removeprefix("MINDRAY_ECG_").removeprefix("MDC_ECG_"), code)
                if number is not None and (number or not key.startswith("q")):  # a QTc of 0 is none
                    found.setdefault(key, number)
    return tidy(found)


# -------------------------------------------------------------------------------------------------- writing

_STEP = 0.1  # µV; that of a float32 of 1 mV is about as large
_MDC, _ACT = "2.16.840.1.113883.6.24", "2.16.840.1.113883.5.4"
_NAMESPACE = uuid.UUID("6f1c1a52-9f0e-5d7b-8d4b-3e1f2f0a9c11")


def write_aecg(ecg: ECG, path: str | os.PathLike) -> Path:
    """Write an aECG with steps of 0.1 µV.

    Samples that are NaN are left out: each stretch that is known becomes a sequence set with its own
    beginning, and the reader lays them on one time axis again. Of the metadata: age, sex, time of the
    recording, filters, the report as a statement, and the device's median beats. No identity is written.

    Args:
        ecg: the recording, every row an ECG in mV.
        path: the file.

    Returns:
        Its path.

    Raises:
        ValueError: if a value is infinite or a row is no voltage.
    """
    path = Path(path)
    if units := ecg.metadata.get("units"):
        raise ValueError(
            f"{path.name}: {', '.join(units)} are no voltages, which aECG cannot hold; select the ECG leads"
        )
    if np.isinf(ecg.signal).any():
        raise ValueError(
            f"{path.name}: the signal holds infinite values, which no aECG can state; remove them first"
        )
    content = tostring(_document(ecg), encoding="unicode")
    with written_aside(path) as aside:
        aside.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{content}\n', encoding="utf-8")
    return path


def _document(ecg: ECG) -> Element:
    root = Element(
        "AnnotatedECG",
        {
            "xmlns": "urn:hl7-org:v3",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "type": "Observation",
        },
    )
    # By the content, so that the same ECG gives the same bytes.
    content = ecg.signal.tobytes() + f"{ecg.sampling_rate} {ecg.leads}".encode()
    identifier = uuid.uuid5(_NAMESPACE, content.hex() if len(content) < 64 else _digest(content))
    SubElement(root, "id", root=str(identifier))
    SubElement(root, "code", code="93000", codeSystem="2.16.840.1.113883.6.12", codeSystemName="CPT-4")
    start = _start(ecg)
    times = SubElement(root, "effectiveTime")
    SubElement(times, "low", value=_stamp(start))
    SubElement(times, "high", value=_stamp(start + timedelta(seconds=ecg.duration)))
    _subject(root, ecg)
    age = ecg.metadata.get("age")
    if isinstance(age, (int, float)) and math.isfinite(age):
        observation = SubElement(SubElement(root, "controlVariable"), "relatedObservation")
        SubElement(
            observation, "code", code="21612-7", codeSystem="2.16.840.1.113883.6.1", codeSystemName="LOINC"
        )
        SubElement(observation, "value", {"xsi:type": "PQ", "value": f"{age:g}", "unit": "a"})
    series = SubElement(SubElement(root, "component"), "series")
    SubElement(series, "id", root=str(uuid.uuid5(identifier, "rhythm")))
    SubElement(series, "code", code="RHYTHM", codeSystem=_ACT, codeSystemName="ActCode")
    times = SubElement(series, "effectiveTime")
    SubElement(times, "low", value=_stamp(start), inclusive="true")
    SubElement(times, "high", value=_stamp(start + timedelta(seconds=ecg.duration)), inclusive="false")
    _write_filters(series, ecg)
    _write_sets(series, ecg)
    _write_statements(series, ecg)
    beats = (ecg.metadata.get("device") or {}).get("median_beats")
    if isinstance(beats, ECG) and np.isfinite(beats.signal).any():
        derived = SubElement(SubElement(series, "derivation"), "derivedSeries")
        SubElement(derived, "id", root=str(uuid.uuid5(identifier, "beats")))
        SubElement(derived, "code", code="REPRESENTATIVE_BEAT", codeSystem=_ACT, codeSystemName="ActCode")
        _write_sets(derived, beats)
    indent(root, "  ")
    return root


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _start(ecg: ECG) -> datetime:
    try:
        return datetime.fromisoformat(str(ecg.metadata.get("acquired"))).replace(tzinfo=None)
    except ValueError:
        return datetime(1900, 1, 1)  # aECG demands a time; this one says that none is known


def _stamp(moment: datetime) -> str:
    text = moment.strftime("%Y%m%d%H%M%S").rjust(14, "0")
    return f"{text}.{moment.microsecond:06d}".rstrip("0") if moment.microsecond else text


def _subject(root: Element, ecg: ECG) -> None:
    """The chain of elements that the schema demands around the subject, with the sex where it is known."""
    element = root
    for name in ("componentOf", "timepointEvent", "componentOf", "subjectAssignment"):
        element = SubElement(element, name)
    subject = SubElement(SubElement(element, "subject"), "trialSubject")
    sex = {"male": "M", "female": "F"}.get(ecg.metadata.get("sex", ""))
    if sex:
        person = SubElement(subject, "subjectDemographicPerson")
        SubElement(person, "administrativeGenderCode", code=sex, codeSystem="2.16.840.1.113883.5.1")
    trial = SubElement(SubElement(element, "componentOf"), "clinicalTrial")
    SubElement(trial, "id", nullFlavor="NI")


def _write_filters(series: Element, ecg: ECG) -> None:
    filters = ecg.metadata.get("filters") or {}
    for key, name, frequency in (
        ("high", "LOW_PASS", "CUTOFF"),
        ("low", "HIGH_PASS", "CUTOFF"),
        ("notch", "NOTCH", "NOTCH"),
    ):
        if not isinstance(filters.get(key), (int, float)):
            continue
        outer = SubElement(SubElement(series, "controlVariable"), "controlVariable")
        SubElement(outer, "code", code=f"MDC_ECG_CTL_VBL_ATTR_FILTER_{name}", codeSystem=_MDC)
        inner = SubElement(SubElement(outer, "component"), "controlVariable")
        SubElement(inner, "code", code=f"MDC_ECG_CTL_VBL_ATTR_FILTER_{frequency}_FREQ", codeSystem=_MDC)
        SubElement(inner, "value", {"xsi:type": "PQ", "value": f"{filters[key]:g}", "unit": "Hz"})


def _known_stretches(signal: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """(first sample, one behind the last, rows) of the rows that are known over the same stretch."""
    stretches: dict[tuple[int, int], list[int]] = {}
    for row, values in enumerate(signal):
        edges = np.flatnonzero(
            np.diff(np.concatenate([[False], np.isfinite(values), [False]]).astype(np.int8))
        )
        for begin, stop in edges.reshape(-1, 2):
            stretches.setdefault((int(begin), int(stop)), []).append(row)
    if not stretches:
        raise ValueError("nothing of the signal is known; there is nothing to write")
    return [(*span, rows) for span, rows in sorted(stretches.items())]


def _write_sets(series: Element, ecg: ECG) -> None:
    """A sequence set for each stretch that is known."""
    for number, (begin, stop, known) in enumerate(_known_stretches(ecg.signal)):
        # The first set lists every lead, those without values too, so that their order is kept.
        _write_set(series, ecg, begin, stop, range(ecg.num_leads) if number == 0 else known, known)


def _write_set(
    series: Element, ecg: ECG, begin: int, stop: int, rows: Iterable[int], known: list[int]
) -> None:
    sequences = SubElement(SubElement(series, "component"), "sequenceSet")
    axis = SubElement(SubElement(sequences, "component"), "sequence")
    SubElement(axis, "code", code="TIME_RELATIVE", codeSystem=_ACT)
    value = SubElement(axis, "value", {"xsi:type": "GLIST_PQ"})
    SubElement(value, "head", value=repr(begin / ecg.sampling_rate), unit="s")
    SubElement(value, "increment", value=repr(1.0 / ecg.sampling_rate), unit="s")
    for row in rows:
        sequence = SubElement(SubElement(sequences, "component"), "sequence")
        name = ecg.leads[row]
        own = {} if name in LEADS_12 else {"displayName": name}
        SubElement(sequence, "code", {"code": _LEAD + name.upper(), "codeSystem": _MDC} | own)
        value = SubElement(sequence, "value", {"xsi:type": "SLIST_PQ"})
        SubElement(value, "origin", value="0", unit="uV")
        SubElement(value, "scale", value=f"{_STEP:g}", unit="uV")
        samples = ecg.signal[row, begin:stop].astype(np.float64)
        samples = samples if row in known else samples[:0]
        digits = np.rint(samples * 1e3 / _STEP).astype(np.int64)
        SubElement(value, "digits").text = " ".join(map(str, digits.tolist()))


def _write_statements(series: Element, ecg: ECG) -> None:
    report = ecg.metadata.get("report")
    statements = [report] if isinstance(report, str) and report.strip() else []
    if not statements:
        return
    annotations = SubElement(SubElement(series, "subjectOf"), "annotationSet")
    for text in statements:
        annotation = SubElement(SubElement(annotations, "component"), "annotation")
        SubElement(annotation, "code", code=_STATEMENTS[0], codeSystem=_MDC)
        clean = "".join(char if char >= " " else " " for char in text)  # XML has no other control characters
        SubElement(annotation, "value", {"xsi:type": "ST"}).text = clean
