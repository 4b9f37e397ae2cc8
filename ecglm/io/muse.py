"""GE MUSE XML (`RestingECG`), as MUSE 5 to 9 export it.

Each `Waveform` (rhythm: the recording; median: the device's median beats) holds Base64 of 16-bit samples per
lead with the size of a count in microvolts. Only I, II and V1–V6 are stored; III, aVR, aVL and aVF follow
from them. GE publishes no specification; what is written here was learned from exported files, of which one
comes with a second, independent copy of its signal.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ecglm.ecg import ECGFileError, derive_limb_leads
from ecglm.io._common import MAX_LEADS, Channel, Hints, Recording
from ecglm.io._xml import (
    base64_bytes,
    beats_of,
    count_unit,
    iso_time,
    number_of,
    plain_tree,
    positive,
    root_name,
    sex_of,
    text_of,
    tidy,
    years_between,
)

_UNITS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV", "NANOVOLTS": "nV", "VOLTS": "V"}
_MEASUREMENTS = {
    "VentricularRate": "heart_rate", "AtrialRate": "atrial_rate", "PRInterval": "pr", "QRSDuration": "qrs",
    "QTInterval": "qt", "QTCorrected": "qtc", "QTcFrederica": "qtc_fridericia", "PAxis": "p_axis",
    "RAxis": "qrs_axis", "TAxis": "t_axis",
}  # fmt: skip
_AGE_IN_YEARS = {
    "": 1.0,
    "YEARS": 1.0,
    "MONTHS": 1 / 12,
    "WEEKS": 7 / 365.25,
    "DAYS": 1 / 365.25,
    "HOURS": 0.0,
}
_TOO_OLD = 130


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is GE MUSE XML."""
    return root_name(head) == "RestingECG"


def parse(path: Path, hints: Hints) -> Recording:
    """Read GE MUSE XML.

    Raises:
        ECGFileError: if it holds no rhythm waveform, or its counts and bytes contradict each other.
    """
    root = plain_tree(path)
    waveforms = root.findall("Waveform")
    if not waveforms:
        raise ECGFileError(f"{path} is GE MUSE XML without a waveform; export it with waveform data")
    kinds = {text_of(each, "WaveformType").lower(): each for each in reversed(waveforms)}
    rhythm = kinds.get("rhythm")
    warnings: list[str] = []
    assumed: list[str] = []
    if rhythm is None:
        others = {kind: each for kind, each in kinds.items() if kind != "median"}
        if not others:
            raise ECGFileError(
                f"{path} holds median beats only, no rhythm waveform; there is no recording in it"
            )
        kind, rhythm = next(iter(others.items()))
        assumed.append(f"the waveform of type {kind!r} is the recording, as none is called Rhythm")
    channels, rate = _waveform(path, rhythm, warnings)
    metadata, identity = _header(root, rhythm, assumed)
    device = _device(path, root, kinds.get("median"), warnings)
    if device:
        metadata["device"] = device
    return Recording(
        path, "GE MUSE XML", channels, rate, metadata, identity, assumed=assumed, warnings=warnings
    )


# -------------------------------------------------------------------------------------------- the waveforms


def _waveform(path: Path, waveform: Element, warnings: list[str]) -> tuple[list[Channel], float | None]:
    leads = waveform.findall("LeadData")
    if not leads:
        raise ECGFileError(f"{path}: the waveform holds no leads; export it with waveform data")
    if len(leads) > MAX_LEADS:
        raise ECGFileError(f"{path} holds {len(leads)} leads; at most {MAX_LEADS} are read")
    rate = number_of(waveform, "SampleBase")
    exponent = number_of(waveform, "SampleExponent") or 0.0
    if rate is not None and abs(exponent) <= 9:
        rate = rate * 10.0**exponent
    positive(path, rate, "a sampling rate")
    channels, swapped, wrong = [], [], []
    for lead in leads:
        name = text_of(lead, "LeadID")
        raw = base64_bytes(path, _raw(lead), f"the waveform of lead {name}")
        values, big_endian = _samples(path, lead, name, raw)
        if big_endian:
            swapped.append(name)
        if _checksum_differs(lead, raw):
            wrong.append(name)
        if text_of(lead, "LeadOff").upper() == "TRUE":
            warnings.append(f"{name}: the device says that its electrode was off")
        channels.append(_channel(lead, name, values))
    if swapped:
        warnings.append(f"{', '.join(swapped)}: the bytes are in big-endian order, unlike other MUSE files")
    if wrong:
        warnings.append(
            f"{', '.join(wrong)}: the checksum differs from the file's; the signal may be damaged"
        )
    return channels, rate


def _raw(lead: Element) -> str:
    """The Base64 text of a lead, its white space kept out of the fold."""
    found = lead.find("WaveFormData")
    return (found.text or "") if found is not None else ""


def _samples(path: Path, lead: Element, name: str, raw: bytes) -> tuple[np.ndarray, bool]:
    """(samples,) counts, and whether the bytes are in the other order."""
    size = number_of(lead, "LeadSampleSize") or 2.0
    if size not in (1.0, 2.0, 4.0):
        raise ECGFileError(f"{path}: lead {name} has samples of {size:g} bytes; 1, 2 and 4 are read")
    width = int(size)
    if not raw or len(raw) % width:
        raise ECGFileError(
            f"{path}: the waveform of lead {name} has {len(raw)} bytes, no whole number of samples"
        )
    stated = number_of(lead, "LeadSampleCountTotal")
    if stated is not None and stated != len(raw) // width:
        raise ECGFileError(
            f"{path}: lead {name} has {len(raw) // width:,} samples where the file states {stated:,.0f}; "
            "it is damaged"
        )
    values = np.frombuffer(raw, f"<i{width}").astype(np.float64)
    if width == 1:
        return values, False
    other = np.frombuffer(raw, f">i{width}").astype(np.float64)
    # In the right order neighbours are alike; in the wrong one the low byte leads and they jump.
    big_endian = bool(np.abs(np.diff(other)).sum() < np.abs(np.diff(values)).sum() / 8)
    return (other if big_endian else values), big_endian


def _checksum_differs(lead: Element, raw: bytes) -> bool:
    stated = number_of(lead, "LeadDataCRC32")
    return stated is not None and stated != 0 and int(stated) & 0xFFFFFFFF != zlib.crc32(raw)


def _channel(lead: Element, name: str, values: np.ndarray) -> Channel:
    step = number_of(lead, "LeadAmplitudeUnitsPerBit")
    word = text_of(lead, "LeadAmplitudeUnits").upper()
    unit = _UNITS.get(word, word.lower() or None)
    return Channel(name, values, count_unit(step, unit))


# --------------------------------------------------------------------------------------------- what it says


def _header(root: Element, rhythm: Element, assumed: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata, and what identifies the patient."""
    person, test = root.find("PatientDemographics"), root.find("TestDemographics")
    metadata: dict[str, Any] = {}
    if sex := sex_of(text_of(person, "Gender")):
        metadata["sex"] = sex
    acquired = _moment(text_of(test, "AcquisitionDate"), text_of(test, "AcquisitionTime"))
    birth = _moment(text_of(person, "DateofBirth"), "")
    age = number_of(person, "PatientAge")
    factor = _AGE_IN_YEARS.get(text_of(person, "AgeUnits").upper())
    if age is not None and factor is not None and 0 <= age * factor <= _TOO_OLD:
        metadata["age"] = int(age) if factor == 1.0 and age == int(age) else round(age * factor, 2)
    elif (years := years_between(birth, acquired)) is not None:
        metadata["age"] = years
        assumed.append("age from the dates of birth and recording")
    if acquired:
        metadata["acquired"] = acquired
    if filters := _filters(rhythm):
        metadata["filters"] = filters
    if report := ". ".join(line.rstrip(".,") for line in _statements(root.find("Diagnosis"))):
        metadata["report"] = report
    names = (("PatientFirstName", "PatientMiddleName", "PatientLastName"), person)
    identity = {
        "name": " ".join(filter(None, (text_of(names[1], part) for part in names[0]))),
        "patient_id": text_of(person, "PatientID"),
        "birth_date": birth,
        "site": text_of(test, "SiteName"),
        "order": text_of(root, "Order/HISAccountNumber"),
    }
    return metadata, {key: value for key, value in identity.items() if value}


def _moment(date: str, time: str) -> str | None:
    """ISO 8601 of MUSE's `04-29-2023` and `22:41:16`; dates that begin with the year are taken too."""
    parts = date.replace("/", "-").split("-")
    if len(parts) == 3 and len(parts[2]) == 4:
        month, day, year = parts
        date = f"{year}-{month.zfill(2)}-{day.zfill(2)}"
    return iso_time(date, time)


def _filters(rhythm: Element) -> dict[str, float | int]:
    """MUSE states the high-pass corner in hundredths of a hertz."""
    low, notch = number_of(rhythm, "HighPassFilter"), number_of(rhythm, "ACFilter")
    return tidy(
        {
            "low": low / 100 if low else None,
            "high": number_of(rhythm, "LowPassFilter") or None,
            "notch": notch or None,
        }
    )


def _statements(diagnosis: Element | None) -> list[str]:
    """Lines of a report; the file keeps them in pieces, of which the last is marked ENDSLINE."""
    if diagnosis is None:
        return []
    lines: list[str] = []
    pieces: list[str] = []
    for statement in diagnosis.findall("DiagnosisStatement"):
        if text := text_of(statement, "StmtText"):
            pieces.append(text)
        if any((flag.text or "").strip() == "ENDSLINE" for flag in statement.findall("StmtFlag")):
            lines.append(" ".join(pieces))
            pieces = []
    lines.append(" ".join(pieces))
    return [line.replace(" ,", ",") for line in lines if line]


def _device(path: Path, root: Element, median: Element | None, warnings: list[str]) -> dict[str, Any]:
    device: dict[str, Any] = {"manufacturer": "GE"}
    if model := text_of(root, "TestDemographics/AcquisitionDevice"):
        device["model"] = model
    if software := text_of(root, "TestDemographics/AnalysisSoftwareVersion"):
        device["software"] = software
    # The original ones are the device's; the others may have been edited by a reader.
    for where in ("OriginalRestingECGMeasurements", "RestingECGMeasurements"):
        found = {ours: number_of(root.find(where), theirs) for theirs, ours in _MEASUREMENTS.items()}
        if measurements := tidy(found):
            device["measurements"] = measurements
            break
    if statements := _statements(root.find("OriginalDiagnosis")):
        device["statements"] = statements
    if median is not None:
        try:
            channels, rate = _waveform(path, median, [])
            device["median_beats"] = derive_limb_leads(beats_of(channels, rate))
        except ValueError as error:
            warnings.append(f"the device's median beats are left out: {str(error).removeprefix(f'{path}: ')}")
    return device
