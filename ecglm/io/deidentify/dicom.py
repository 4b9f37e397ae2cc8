"""What is kept of a DICOM waveform: the waveform sequence, numeric annotations, age and sex.

The data set is built anew from a list of attributes, which goes further than the basic confidentiality
profile of PS3.15 (annex E); unique identifiers are made from the samples.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

from ecglm.ecg import ECG, LEADS_12, standard_lead
from ecglm.io._common import read_bytes
from ecglm.io._finish import is_ecg_name
from ecglm.io.deidentify import MAX_AGE, Removal
from ecglm.io.dicom import lead_name, open_object

_GROUP = (
    "MultiplexGroupTimeOffset", "TriggerTimeOffset", "TriggerSamplePosition", "WaveformOriginality",
    "NumberOfWaveformChannels", "NumberOfWaveformSamples", "SamplingFrequency", "WaveformBitsAllocated",
    "WaveformSampleInterpretation", "WaveformPaddingValue", "WaveformData",
)  # fmt: skip
_CHANNEL = (
    "WaveformChannelNumber", "ChannelStatus", "ChannelSensitivity", "ChannelSensitivityCorrectionFactor",
    "ChannelBaseline", "ChannelTimeSkew", "ChannelSampleSkew", "ChannelOffset", "WaveformBitsStored",
    "FilterLowFrequency", "FilterHighFrequency", "NotchFilterFrequency", "NotchFilterBandwidth",
    "ChannelMinimumValue", "ChannelMaximumValue",
)  # fmt: skip
_ANNOTATION = (
    "NumericValue", "AnnotationGroupNumber", "ReferencedWaveformChannels", "TemporalRangeType",
    "ReferencedSamplePositions", "ReferencedTimeOffsets",
)  # fmt: skip
_CODE_SEQUENCES = ("ChannelSourceSequence", "ChannelSensitivityUnitsSequence")
_SCHEMES = ("MDC", "SCPECG", "SCP-ECG", "UCUM", "DCM", "ISO11073", "99PHI", "SRT", "SCT")
_CODE = re.compile(r"(MDC_[A-Z_0-9]{1,12}|[A-Z]?-?\d[\d.:A-Z-]{0,14})\Z")
_LEAD = re.compile(r"(Lead )?([A-Za-z]{1,3}\d{0,2}R?)( \(Einthoven\))?\Z")
_WORDS = frozenset(
    (
        "p q r s t j pp rr pr pq qrs qt qtc st wave interval duration axis onset offset peak amplitude "
        "fiducial point mean median global heart ventricular atrial rate corrected pacemaker spike"
    ).split()
)
_LABELS = ("RHYTHM", "MEDIAN BEAT", "MEDIAN")
_UNITS = (
    "microvolt",
    "millivolt",
    "nanovolt",
    "volt",
    "millisecond",
    "second",
    "degree",
    "beats per minute",
    "no units",
)
_UNIT_CODES = ("uV", "mV", "nV", "V", "ms", "s", "deg", "{H.B}/min", "{BEATS}/min", "/min", "1")


def keep(path: Path, folder: Path, name: str, removal: Removal, ecg: ECG) -> Path:
    """A new file with the waveforms."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

    content = read_bytes(path)
    opened = open_object(path, io.BytesIO(content))
    source = opened.dataset
    kept = Dataset()
    digest = hashlib.sha256(ecg.signal.tobytes()).hexdigest()
    kept.SOPClassUID = source.SOPClassUID
    for attribute in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(kept, attribute, generate_uid(entropy_srcs=[digest, attribute]))
    for attribute in (
        "PatientName",
        "PatientBirthDate",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
    ):
        setattr(kept, attribute, "")
    kept.ReferringPhysicianName = ""
    kept.Manufacturer = ""
    kept.PatientID = name
    kept.PatientSex = source.get("PatientSex") if source.get("PatientSex") in ("M", "F", "O") else ""
    if age := _age(source.get("PatientAge"), ecg):
        kept.PatientAge = age
    kept.Modality = "ECG"
    kept.SeriesNumber = kept.InstanceNumber = 1
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "All but a list of attributes removed"
    kept.WaveformSequence = [_group(group, removal) for group in source.WaveformSequence]
    measured = [_annotation(each) for each in source.get("WaveformAnnotationSequence", [])]
    if found := [each for each in measured if each is not None]:
        kept.WaveformAnnotationSequence = found
    if len(found) < len(measured):
        removal.note("WaveformAnnotationSequence (texts)")
    for element in source:
        if element.keyword not in kept or (element.keyword in ("PatientName", "PatientID") and element.value):
            place = element.keyword or f"private ({element.tag.group:04X},{element.tag.element:04X})"
            removal.note(place)
        elif element.VR != "SQ" and element.value and element.value != kept[element.keyword].value:
            removal.note(element.keyword)
    if content[128:132] == b"DICM" and content[:128].strip(b"\x00"):
        removal.note("the preamble")
    meta = FileMetaDataset()
    little = opened.order == "<"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kept.SOPClassUID, kept.SOPInstanceUID
    target = folder / f"{name}.dcm"
    file = FileDataset(
        str(target),
        kept,
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=False,
        is_little_endian=little,
    )
    file.save_as(target, enforce_file_format=True)
    return target


def _age(stated: Any, ecg: ECG) -> str | None:
    """Years, in DICOM's notation, at most `MAX_AGE`; or what was read from the date of birth."""
    text = str(stated or "")
    if re.fullmatch(r"\d{3}[DWM]", text):
        return text
    if re.fullmatch(r"\d{3}Y", text):
        return f"{min(int(text[:3]), MAX_AGE):03}Y"
    age = ecg.metadata.get("age")
    return f"{int(min(age, MAX_AGE)):03}Y" if age is not None else None


def _group(source: Any, removal: Removal) -> Any:
    kept = _chosen(source, _GROUP)
    if (label := source.get("MultiplexGroupLabel")) in _LABELS:
        kept.MultiplexGroupLabel = label
    elif label:
        removal.note("MultiplexGroupLabel")
    kept.ChannelDefinitionSequence = [_channel(each, removal) for each in source.ChannelDefinitionSequence]
    _note_rest(source, kept, removal)
    return kept


def _channel(source: Any, removal: Removal) -> Any:
    kept = _chosen(source, _CHANNEL)
    for keyword in _CODE_SEQUENCES:
        codes = [code for each in source.get(keyword, []) if (code := _code(each)) is not None]
        if codes:
            setattr(kept, keyword, codes)
    if label := source.get("ChannelLabel"):
        match = _LEAD.match(str(label))
        kept.ChannelLabel = label if match and is_ecg_name(standard_lead(match[2])) else removal.channel()
    name = standard_lead(lead_name(source))
    if name in LEADS_12 and standard_lead(lead_name(kept)) != name:  # it stood in a private code or label
        kept.ChannelLabel = name
    elif not lead_name(kept):
        kept.ChannelLabel = removal.channel()
    _note_rest(source, kept, removal)
    return kept


def _annotation(source: Any) -> Any:
    """An annotation that is a number or a moment with a coded name; None of any other."""
    if not {"NumericValue", "ReferencedSamplePositions", "ReferencedTimeOffsets"} & set(source.dir()):
        return None
    if source.get("UnformattedTextValue") or "ConceptCodeSequence" in source:
        return None
    kept = _chosen(source, _ANNOTATION)
    for keyword in ("ConceptNameCodeSequence", "MeasurementUnitsCodeSequence"):
        if keyword != "ConceptNameCodeSequence" and "NumericValue" not in source:
            continue
        codes = [code for each in source.get(keyword, []) if (code := _code(each)) is not None]
        if not codes:
            return None
        setattr(kept, keyword, codes)
    return kept


def _chosen(source: Any, keywords: tuple[str, ...]) -> Any:
    from pydicom.dataset import Dataset

    kept = Dataset()
    for keyword in keywords:
        if keyword in source:
            kept.add(source[keyword])
    return kept


def _code(source: Any) -> Any:
    """A code of a known scheme, its meaning only where it says what the code says: a lead, a unit."""
    from pydicom.dataset import Dataset

    value, scheme = str(source.get("CodeValue", "")), str(source.get("CodingSchemeDesignator", ""))
    meaning = str(source.get("CodeMeaning", ""))
    if scheme not in _SCHEMES or not (_CODE.match(value) or value in _UNIT_CODES):
        return None
    kept = Dataset()
    kept.CodeValue, kept.CodingSchemeDesignator = value, scheme
    match = _LEAD.match(meaning)
    known = (
        meaning in (*_UNITS, *_UNIT_CODES)
        or (match and is_ecg_name(standard_lead(match[2])))
        or set(meaning.lower().replace("-", " ").split()) <= _WORDS
    )
    kept.CodeMeaning = meaning if known else value
    return kept


def _note_rest(source: Any, kept: Any, removal: Removal) -> None:
    for element in source:
        if element.keyword not in kept:
            place = element.keyword or f"private ({element.tag.group:04X},{element.tag.element:04X})"
            removal.note(f"WaveformSequence/{place}")
