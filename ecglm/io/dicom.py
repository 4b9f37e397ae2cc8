"""DICOM waveforms: 12-lead, general and ambulatory ECG, rhythm strips, median beats; reading and writing.

An object holds multiplex groups, each with a rate, channels and samples of its own. Groups of the recording
itself are laid on one time axis by their offsets, NaN where nothing was recorded; derived groups are the
device's median beats. A deflated object is inflated here, up to a bound, before pydicom sees it; of a
long one that is not deflated only the samples that `start` and `stop` ask for are read.

Source: DICOM PS3.3 A.34 and C.10.9 to C.10.11, PS3.16 CID 3001 (leads), 3263 (electrode placement).
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import warnings as python_warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglm.ecg import LEADS_12, ECGFileError, standard_lead
from ecglm.io._common import (
    LONG_BYTES,
    MAX_LEADS,
    MAX_SAMPLES,
    Channel,
    Hints,
    Recording,
    in_counts,
    read_bytes,
)
from ecglm.io._dicom_written import FILTERS, IMPRESSION, write_dicom
from ecglm.io._named import span_of
from ecglm.io._xml import beats_of, iso_time, sex_of, tidy, to_number, years_between
from ecglm.io.scp import LEADS_BY_NUMBER

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["parse", "sniff", "write_dicom"]

MAX_INFLATED = 32 << 20
"""Bytes that a deflated object may grow to: a minute of 12 leads at 1000 Hz has 1.4 MB."""
MAX_GROUPS = 64
"""Multiplex groups of one object; the standard allows 5."""

_MAX_BESIDE = 64 << 20  # bytes of an element beside the waveforms of a long file
_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."  # so begin the classes of objects that hold some
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_DTYPES = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4",
    (64, "SV"): "i8", (64, "UV"): "u8",
}  # fmt: skip
# CID 3001 takes over the numbers of SCP-ECG: "2:1" of MDC and "5.6.3-9-1" of SCPECG are lead I.
_LEAD_CODE = re.compile(r"(?:2:|5\.6\.3-9-|MDC 2:)(\d{1,3})$")
_UNIT_NAMES = {"microvolt": "uV", "millivolt": "mV", "volt": "V", "nanovolt": "nV"}
# Elements that are read as they stand: pydicom's conversion of a dozen for each channel shows in the time.
_LABEL, _SENSITIVITY, _CORRECTION, _BASELINE = 0x003A0203, 0x003A0210, 0x003A0212, 0x003A0213
_TIME_SKEW, _SAMPLE_SKEW = 0x003A0214, 0x003A0215
_RATE, _OFFSET = 0x003A001A, 0x00181068
_CODE, _MEANING = 0x00080100, 0x00080104
_SEQUENCE, _DATA, _ITEM = 0x54000100, 0x54001010, 0xFFFEE000
_UNDEFINED = 0xFFFFFFFF  # as a length: up to a delimiter
_SOURCE, _UNITS, _CONCEPT = 0x003A0208, 0x003A0211, 0x0040A043
_MAX_KEPT_CODE = 1000  # bytes
_DERIVED = re.compile(r"MEDIAN|AVERAGE|REPRESENT|TEMPLATE", re.IGNORECASE)
# Measurements by what their codes mean, in the words of CID 3229 and of SCP-ECG.
_MEASUREMENTS = {
    "heart rate": "heart_rate", "ventricular heart rate": "heart_rate", "ventricular rate": "heart_rate",
    "rr interval": "rr", "pp interval": "pp", "pr interval": "pr", "pr interval global": "pr",
    "pq interval": "pr", "p duration": "p", "qrs duration": "qrs", "qrs duration global": "qrs",
    "qt interval": "qt", "qt interval global": "qt", "qtc interval": "qtc", "qtc interval global": "qtc",
    "p axis": "p_axis", "qrs axis": "qrs_axis", "t axis": "t_axis",
}  # fmt: skip
_IDENTITY = {
    "PatientName": "name", "PatientID": "patient_id", "OtherPatientIDs": "other_patient_ids",
    "PatientAddress": "address", "AccessionNumber": "accession_number", "AdmissionID": "admission_id",
    "InstitutionName": "institution", "ReferringPhysicianName": "referring_physician",
    "NameOfPhysiciansReadingStudy": "reading_physician", "PerformingPhysicianName": "performing_physician",
    "OperatorsName": "operator", "StationName": "station", "DeviceSerialNumber": "device_serial_number",
    "StudyID": "study_id", "PatientComments": "patient_comments",
}  # fmt: skip


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is DICOM, with its preamble or, by suffix, without."""
    if head[128:132] == b"DICM":
        return True
    # Without, elements of group 2 (about the file) or 8 stand first.
    return path.suffix.lower() in (".dcm", ".dicom", ".ima") and head[:4:3] in (b"\x02\x00", b"\x08\x00")


def parse(path: Path, hints: Hints) -> Recording:
    """Read a DICOM waveform object.

    Args:
        path: the file.
        hints: `index` reads one multiplex group alone, counted from 0.

    Raises:
        ECGFileError: if it holds no waveform, or its groups contradict their data.
    """
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # pydicom's, on values that the standard does not allow
            if hints.cropping and path.stat().st_size > LONG_BYTES:
                with path.open("rb") as file, _Mapped(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    return _recording(path, open_object(path, mapped), hints)
            return _recording(path, open_object(path, io.BytesIO(read_bytes(path))), hints)
    except ECGFileError:
        raise
    except RecursionError:
        raise ECGFileError(f"{path} nests its sequences too deep; it is not read") from None
    except MemoryError:
        raise ECGFileError(f"{path} claims more than the memory holds; it is damaged") from None
    except (
        Exception
    ) as error:  # pydicom raises many kinds: EOFError, KeyError, struct.error, NotImplementedError
        reason = (str(error).splitlines() or [""])[0][:120]
        raise ECGFileError(f"{path} is damaged or no valid DICOM ({reason}); fetch it again") from error


class _Mapped(mmap.mmap):
    """A file of which only what is asked for is read; a place behind its end is its end."""

    def seek(self, place: int, *_: Any) -> None:  # type: ignore[override]
        super().seek(min(place, len(self)))


@dataclass
class _Object:
    dataset: Dataset
    order: str  # of bytes: "<" or ">"
    stream: Any  # io.BytesIO, or _Mapped where samples may still be in the file

    def samples(self, item: Dataset) -> tuple[int, int | None]:
        """Bytes of a group's samples, and where they begin if they are still in the file."""
        element: Any = item.get_item(_DATA, keep_deferred=True)
        if not getattr(element, "length", 0) or element.value is not None:
            data = item.get("WaveformData")
            return (len(data) if isinstance(data, bytes) else 0), None
        return min(element.length, len(self.stream) - element.value_tell), element.value_tell


def open_object(path: Path, stream: Any) -> _Object:
    """The data set, inflated within bounds where it is deflated; of a mapped file without long samples."""
    from pydicom.filereader import read_dataset

    stream.seek(128)
    stream.seek(132 if stream.read(4) == b"DICM" else 0)
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    )
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax == _DEFLATED:
        stream = io.BytesIO(_inflated(path, stream.read()))
    position = stream.tell()
    vr = stream.read(6)[4:]
    stream.seek(position)
    # By the bytes, not by the syntax: files without one, or with a wrong one, are common.
    implicit = not (vr.isalpha() and vr.isupper())
    little = syntax != _BIG_ENDIAN
    if isinstance(stream, _Mapped):
        dataset = _without_samples(path, stream, implicit, little)
    else:
        dataset = read_dataset(stream, is_implicit_VR=implicit, is_little_endian=little)
    return _Object(dataset, "<" if little else ">", stream)


def _without_samples(path: Path, stream: Any, implicit: bool, little: bool) -> Dataset:
    """The data set up to its groups; of the long samples in these, pydicom keeps length and place."""
    from pydicom.filereader import read_dataset

    dataset = read_dataset(
        stream, implicit, little, stop_when=lambda tag, vr, length: tag >= _SEQUENCE, defer_size=_MAX_BESIDE
    )
    form = "<HHI" if little else ">HHI"
    group, element, length = struct.unpack(form, stream.read(8).ljust(8, b"\0"))
    if group << 16 | element != _SEQUENCE:
        return dataset
    if not implicit:
        (length,) = struct.unpack(form[0] + "I", stream.read(4))
    end = len(stream) if length == _UNDEFINED else stream.tell() + length
    items: list[Dataset] = []
    while stream.tell() < end and len(items) <= MAX_GROUPS:
        group, element, length = struct.unpack(form, stream.read(8).ljust(8, b"\0"))
        if group << 16 | element != _ITEM:  # the sequence's delimiter
            break
        items.append(
            read_dataset(
                stream,
                implicit,
                little,
                None if length == _UNDEFINED else length,
                defer_size=LONG_BYTES,
                parent_encoding=dataset.original_character_set,
                at_top_level=False,
            )
        )
    dataset.WaveformSequence = items
    return dataset


def _inflated(path: Path, content: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content, MAX_INFLATED)
    if inflater.unconsumed_tail or len(inflated) >= MAX_INFLATED:
        raise ECGFileError(
            f"{path} is deflated and grows beyond {MAX_INFLATED >> 20} MB, more than any ECG; it is not read"
        )
    if not inflater.eof:
        raise ECGFileError(f"{path} is deflated and ends early; fetch it again")
    return inflated


# ------------------------------------------------------------------------------------------------- the groups


@dataclass
class _Group:
    number: int  # counted from 0
    label: str
    derived: bool
    rate: float | None
    offset: float  # seconds
    item: Dataset
    channels: list[Channel]
    cropped: bool  # whether only a span of it was read

    @property
    def length(self) -> int:
        return len(self.channels[0].values)


def _recording(path: Path, opened: _Object, hints: Hints) -> Recording:
    dataset = opened.dataset
    items = dataset.get("WaveformSequence")
    if not items:
        modality = dataset.get("Modality") or "DICOM"
        what = "a PDF document" if "EncapsulatedDocument" in dataset else "no waveform"
        if not len(dataset):
            raise ECGFileError(f"{path} is no DICOM file, or ends within its header; fetch it again")
        cut = str(dataset.get("SOPClassUID", "")).startswith(_WAVEFORMS)
        why = "such an object has one, so it ends early; fetch it again" if cut else "there is no ECG in it"
        raise ECGFileError(f"{path} is a DICOM object ({modality}) with {what}; {why}")
    if len(items) > MAX_GROUPS:
        raise ECGFileError(f"{path} holds {len(items)} multiplex groups; at most {MAX_GROUPS} are read")
    warnings: list[str] = []
    if hints.index is not None and hints.index >= len(items):
        raise ECGFileError(
            f"{path} holds {len(items)} multiplex groups; index={hints.index} is none of them, counted from 0"
        )
    chosen = range(len(items)) if hints.index is None else [hints.index]
    # One group alone is cut before its samples are converted, several after they lie on one time axis.
    alone = hints if len([k for k in chosen if not _is_derived(items[k])]) == 1 else Hints(unit=hints.unit)
    groups = [_group(path, k, items[k], opened, alone, warnings) for k in chosen]
    recorded = [group for group in groups if not group.derived] or groups[:1]
    if not any(not group.derived for group in groups) and hints.index is None:
        warnings.append("the object holds derived waveforms only, e.g. median beats; the first group is read")
    channels, rate, used = _laid_out(path, recorded, warnings)
    metadata, identity, assumed = _header(dataset)
    if filters := _filters(used[0].item):
        metadata["filters"] = filters
    beats = [group for group in groups if group.derived and group not in used]
    _take_annotations(dataset, metadata, used, hints.sampling_rate)
    _take_beats(metadata, beats, warnings)
    return Recording(
        path,
        f"DICOM {_kind(dataset)}",
        channels,
        rate,
        metadata,
        identity,
        assumed=assumed,
        warnings=warnings,
        cropped=any(group.cropped for group in used),
    )


def _kind(dataset: Dataset) -> str:
    from pydicom.uid import UID

    return UID(str(dataset.get("SOPClassUID", ""))).name.removesuffix(" Waveform Storage") or "waveform"


def _is_derived(item: Dataset) -> bool:
    label = str(item.get("MultiplexGroupLabel") or "")
    return str(item.get("WaveformOriginality") or "") == "DERIVED" or bool(_DERIVED.search(label))


def _group(
    path: Path, number: int, item: Dataset, opened: _Object, hints: Hints, warnings: list[str]
) -> _Group:
    """One group; of its samples, unless it is derived, those that `start` and `stop` ask for."""
    where = f"{path}: multiplex group {number + 1}"
    count, samples = (
        _whole(where, item, "NumberOfWaveformChannels"),
        _whole(where, item, "NumberOfWaveformSamples"),
    )
    if not 1 <= count <= MAX_LEADS:
        raise ECGFileError(f"{where} claims {count} channels; 1 to {MAX_LEADS} are read")
    coding = (_whole(where, item, "WaveformBitsAllocated"), str(item.get("WaveformSampleInterpretation", "")))
    if coding not in _DTYPES:
        raise ECGFileError(
            f"{where} codes its samples as {coding[0]} bits {coding[1]!r}; read are "
            f"{', '.join(f'{bits} {kind}' for bits, kind in _DTYPES)}"
        )
    dtype = np.dtype(opened.order + _DTYPES[coding])
    there, place = opened.samples(item)
    if samples < 1 or there < count * samples * dtype.itemsize:
        raise ECGFileError(
            f"{where} claims {samples:,} samples of {count} channels, but has {there:,} bytes of them; "
            "fetch it again"
        )
    rate, offset = _float(item, _RATE), _float(item, _OFFSET) or 0.0
    if rate is not None and rate <= 0:
        raise ECGFileError(f"{where} states a sampling rate of {rate:g} Hz; it must be above 0")
    derived = _is_derived(item)
    span = slice(0, samples) if derived else span_of(path, samples, hints, rate)
    if count * (span.stop - span.start) > MAX_SAMPLES:
        raise ECGFileError(
            f"{where} holds {samples:,} samples of {count} channels; pass start= and stop= to read a part"
        )
    begin, end = (count * each * dtype.itemsize for each in (span.start, span.stop))
    data = item.WaveformData[begin:end] if place is None else opened.stream[place + begin : place + end]
    counts = np.frombuffer(data, dtype).reshape(-1, count)
    definitions = list(item.get("ChannelDefinitionSequence") or [])
    if len(definitions) != count:
        raise ECGFileError(f"{where} has {count} channels, but describes {len(definitions)}; it is damaged")
    padding = _padding(item, dtype)
    channels = [
        _channel(where, definition, counts[:, k], padding, None if derived else hints.unit, warnings)
        for k, definition in enumerate(definitions)
    ]
    label = str(item.get("MultiplexGroupLabel") or "")
    cropped = span != slice(0, samples)
    return _Group(number, label, derived, rate, offset / 1000, item, channels, cropped)


def _channel(
    where: str,
    definition: Dataset,
    counts: np.ndarray,
    padding: int | None,
    hint: str | None,
    warnings: list[str],
) -> Channel:
    name = lead_name(definition)
    values = counts.astype(np.float32)
    sensitivity = _float(definition, _SENSITIVITY)
    unit = None
    if sensitivity == 0:
        warnings.append(f"{name}: its sensitivity is 0, so its samples are counts without a unit")
    elif sensitivity is not None:
        code, meaning = _code(definition, _UNITS)
        unit = code or _UNIT_NAMES.get(meaning.lower().rstrip("s"))
    if in_counts(hint, unit):
        unit = None
    elif sensitivity:
        correction = _float(definition, _CORRECTION)
        step = sensitivity * (1.0 if correction is None else correction)
        baseline = _float(definition, _BASELINE) or 0.0
        if not (0 < abs(step) < 1e30 and abs(baseline) < 1e30):
            raise ECGFileError(f"{where}: a count of {name!r} would be {step:g}; it is damaged")
        values *= np.float32(step)
        if baseline:
            values += np.float32(baseline)
    if padding is not None:
        values[counts == padding] = np.nan
    for tag, what in ((_SAMPLE_SKEW, "samples"), (_TIME_SKEW, "s")):
        if skew := _float(definition, tag):
            warnings.append(
                f"{name} was sampled {skew:g} {what} later than the first channel; that is not evened out"
            )
            break
    return Channel(name, values, unit)


def lead_name(definition: Dataset) -> str:
    """By the code of the channel's source where it is a lead's, else by the names there."""
    label = _word(definition, _LABEL)
    code, meaning = _code(definition, _SOURCE)
    if (match := _LEAD_CODE.match(code)) and LEADS_BY_NUMBER.get(int(match[1])):
        return LEADS_BY_NUMBER[int(match[1])]
    if standard_lead(code) in LEADS_12:
        return code
    # "Lead I (Einthoven)", "Lead aVR (derived)"
    plain = re.sub(r"\s*\(.*?\)\s*|,.*", " ", meaning).strip()
    if standard_lead(plain) in LEADS_12 or not label:
        return plain or code
    return label


def _padding(item: Dataset, dtype: np.dtype) -> int | None:
    """The count that stands where a sample is unknown; None where the group names none."""
    value = item.get("WaveformPaddingValue")
    if isinstance(value, bytes) and len(value) >= dtype.itemsize:
        return int(np.frombuffer(value, dtype, 1)[0])
    return value if isinstance(value, int) else None


def _laid_out(
    path: Path, groups: list[_Group], warnings: list[str]
) -> tuple[list[Channel], float | None, list[_Group]]:
    """The channels of the groups of one rate on one time axis, the rate, and the groups used.

    A lead in several groups (a page of 2.5 s columns and its rhythm strip) becomes one row: what the first of
    them does not know is taken from the next.
    """
    rate = groups[0].rate
    used = [group for group in groups if group.rate == rate]
    for group in groups:
        if group not in used:
            other = f"{group.rate:g} Hz" if group.rate else "no stated rate"
            warnings.append(
                f"multiplex group {group.number + 1} ({group.label or 'no label'}) is left out: "
                f"it has {other}; index={group.number} reads it"
            )
    if len(used) == 1 or rate is None:
        if len(used) > 1:
            warnings.append("several multiplex groups without a sampling rate; the first is read")
        return used[0].channels, rate, used[:1]
    start = min(group.offset for group in used)
    begins = [round((group.offset - start) * rate) for group in used]
    length = max(begin + group.length for begin, group in zip(begins, used, strict=True))
    names = {standard_lead(channel.name) for group in used for channel in group.channels}
    if length * len(names) > MAX_SAMPLES or len(names) > MAX_LEADS:
        raise ECGFileError(
            f"{path}: its multiplex groups lie {length / rate:g} s apart; that is too long to read"
        )
    rows: dict[str, Channel] = {}
    for begin, group in zip(begins, used, strict=True):
        for channel in group.channels:
            name = standard_lead(channel.name)
            row = rows.setdefault(
                name, Channel(channel.name, np.full(length, np.nan, np.float32), channel.unit)
            )
            if row.unit != channel.unit:
                raise ECGFileError(
                    f"{path} states lead {name} in {row.unit} and in {channel.unit}; index= reads one"
                )
            there = row.values[begin : begin + group.length]
            known = np.isfinite(there) & np.isfinite(channel.values)
            if known.any() and not np.array_equal(there[known], channel.values[known]):
                warnings.append(
                    f"{name} differs between multiplex groups; the first is kept where both are known"
                )
            np.copyto(there, channel.values, where=np.isnan(there))
    return list(rows.values()), rate, used


# ------------------------------------------------------------------------------------------------- the header


def _header(dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    metadata: dict[str, Any] = {}
    assumed: list[str] = []
    identity = {
        key: text for name, key in _IDENTITY.items() if (text := str(dataset.get(name) or "").strip())
    }
    if birth := iso_time(str(dataset.get("PatientBirthDate") or "")):
        identity["birth_date"] = birth[:10]
    for date_name, time_name in (
        ("AcquisitionDateTime", ""),
        ("AcquisitionDate", "AcquisitionTime"),
        ("ContentDate", "ContentTime"),
        ("StudyDate", "StudyTime"),
    ):
        day, moment = (
            str(dataset.get(date_name) or ""),
            str(dataset.get(time_name) or "") if time_name else "",
        )
        if acquired := iso_time(day + moment):
            if not acquired.startswith("1900-01-01"):
                metadata["acquired"] = acquired
            break
    if (sex := sex_of(str(dataset.get("PatientSex") or ""))) is not None:
        metadata["sex"] = sex
    age = re.fullmatch(r"(\d{1,3})([DWMY])", str(dataset.get("PatientAge") or "").strip())
    if age:
        years = int(age[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[age[2]]
        metadata["age"] = int(years) if age[2] == "Y" else round(years, 3)
    elif (whole := years_between(identity.get("birth_date"), metadata.get("acquired"))) is not None:
        metadata["age"] = whole
        assumed.append("age from the dates of birth and recording")
    device = {
        key: text
        for key, name in (
            ("manufacturer", "Manufacturer"),
            ("model", "ManufacturerModelName"),
            ("software", "SoftwareVersions"),
        )
        if (text := str(dataset.get(name) or "").strip())
    }
    if device:
        metadata["device"] = device
    if placement := _placement(dataset):
        metadata["lead_placement"] = placement
    return metadata, identity, assumed


def _placement(dataset: Dataset) -> str | None:
    """Where the electrodes were, if the acquisition context says."""
    for item in dataset.get("AcquisitionContextSequence") or []:
        names, codes = item.get("ConceptNameCodeSequence"), item.get("ConceptCodeSequence")
        if names and codes and "electrode placement" in str(names[0].get("CodeMeaning") or "").lower():
            meaning = str(codes[0].get("CodeMeaning") or "").strip()
            torso = re.search(r"mason|torso", meaning, re.IGNORECASE)
            return "Mason-Likar" if torso else meaning or None
    return None


def _filters(item: Dataset) -> dict[str, float]:
    """Of the first channel; a device filters all of a group alike."""
    definition = item.ChannelDefinitionSequence[0]
    found = {key: _float(definition, tag) for key, tag in FILTERS}
    return {key: value for key, value in found.items() if value}


def _take_annotations(
    dataset: Dataset, metadata: dict[str, Any], used: list[_Group], given_rate: float | None
) -> None:
    """The device's statements and measurements, and what it marked in the recording, into the metadata."""
    statements: list[str] = []
    reports: list[str] = []
    measurements: dict[str, float | None] = {}
    marks: list[dict[str, Any]] = []
    groups = {group.number + 1: group for group in used}
    for item in dataset.get("WaveformAnnotationSequence") or []:
        code, meaning = _code(item, _CONCEPT)
        text = str(item.get("UnformattedTextValue") or "").strip()
        values = item.get("ConceptCodeSequence")
        positions = _positions(item)
        channels = item.get("ReferencedWaveformChannels")
        channels = (
            list(channels) if isinstance(channels, (list, tuple)) or hasattr(channels, "__len__") else []
        )
        group = groups.get(channels[0]) if channels else None
        rate = given_rate or (group.rate if group else None)
        if positions and group is not None and rate:
            start = min(each.offset for each in used)
            onset = (positions[0] - 1) / rate + group.offset - start  # positions are counted from 1
            mark: dict[str, Any] = {"onset": onset, "duration": None, "text": text or meaning}
            if len(positions) > 1 and str(item.get("TemporalRangeType") or "") in ("SEGMENT", "MULTISEGMENT"):
                mark["duration"] = (positions[1] - positions[0]) / rate
            marks.append(mark)
        elif positions:
            continue  # in a median beat
        elif text:
            (reports if code == IMPRESSION[0] else statements).append(text)
        elif "NumericValue" in item:
            number = to_number(str(_first(item.NumericValue)))
            key = _MEASUREMENTS.get(meaning.lower().replace("-", " "), meaning or code)
            one_lead = len(channels) > 1 and channels[1] != 0
            if number == 0 and not key.endswith("axis"):
                continue  # not measured
            if number is not None and key and not one_lead:
                measurements.setdefault(key, number)
        elif values and (statement := str(values[0].get("CodeMeaning") or "").strip()):
            statements.append(statement)
    device = metadata.setdefault("device", {})
    if measurements:
        device["measurements"] = tidy(measurements)
    if statements:
        device["statements"] = list(dict.fromkeys(statements))
    if not device:
        del metadata["device"]
    if reports:
        metadata["report"] = "".join(reports)
    if marks:
        metadata["annotations"] = marks


def _positions(item: Dataset) -> list[int]:
    value = item.get("ReferencedSamplePositions")
    if value is None:
        return []
    return [int(each) for each in value] if hasattr(value, "__iter__") else [int(value)]


def _take_beats(metadata: dict[str, Any], groups: list[_Group], warnings: list[str]) -> None:
    """The first group of median beats into the metadata."""
    if not groups:
        return
    try:
        beats = beats_of(groups[0].channels, groups[0].rate)
    except ValueError as error:
        warnings.append(f"the device's median beats are left out: {error}")
        return
    metadata.setdefault("device", {})["median_beats"] = beats


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value


def _whole(where: str, item: Dataset, name: str) -> int:
    value = _first(item.get(name))
    if not isinstance(value, int):
        raise ECGFileError(f"{where} states no {name}; it is damaged")
    return int(value)


def _code(item: Dataset, tag: int) -> tuple[str, str]:
    """Value and meaning of the first code of a sequence; "" where there is none.

    Devices write the same few again and again, and pydicom takes 40 µs for each: they are kept.
    """
    element: Any = item.get_item(tag) if tag in item else None
    if element is None:
        return "", ""
    content = element.value
    if isinstance(content, bytes):
        read = _read_code if len(content) < _MAX_KEPT_CODE else _read_code.__wrapped__
        return read(content, element.is_implicit_VR, element.is_little_endian)
    return _first_code(content)


@lru_cache(maxsize=1024)
def _read_code(content: bytes, implicit: bool, little: bool) -> tuple[str, str]:
    from pydicom.filereader import read_sequence

    return _first_code(read_sequence(io.BytesIO(content), implicit, little, len(content), "latin-1"))


def _first_code(items: Any) -> tuple[str, str]:
    return (_word(items[0], _CODE), _word(items[0], _MEANING)) if items else ("", "")


def _float(item: Dataset, tag: int) -> float | None:
    """A decimal string as a finite number; None where it is missing or none."""
    return to_number(_word(item, tag).partition("\\")[0])


def _word(item: Dataset, tag: int) -> str:
    """A value as it stands there, in ASCII, UTF-8 or else Latin-1; "" where it is missing."""
    element = item.get_item(tag) if tag in item else None
    value = element.value if element is not None else None
    if isinstance(value, bytes):
        try:
            return value.decode().strip(" \0")
        except UnicodeDecodeError:
            return value.decode("latin-1").strip(" \0")
    return "" if value is None else str(value).strip()
