"""Writing DICOM waveform objects; `ecglm.io.dicom` reads them.

Source: DICOM PS3.3 A.34.3 to A.34.5 (what each object may hold), C.10.9, PS3.16 CID 3001 (leads).
"""

from __future__ import annotations

import hashlib
import math
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglm.ecg import ECG, LEADS_12
from ecglm.io._common import written_aside
from ecglm.io._counts import UNKNOWN_COUNT, refuse_empty, to_counts
from ecglm.io.scp import LEADS_BY_NUMBER

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

FILTERS = (("low", 0x003A0220), ("high", 0x003A0221), ("notch", 0x003A0222))
IMPRESSION = ("18844-1", "LN", "EKG impression")  # the concept under which a reader's report is written
_UNKNOWN_TIME = "19000101000000"  # the standard demands a time; this one says that none is known


def write_dicom(ecg: ECG, path: str | os.PathLike) -> Path:
    """Write a DICOM waveform object with steps of 0.1 to 0.5 µV (larger beyond ±16.38 mV).

    The standard's bounds choose the object: 12-Lead ECG where every lead is one of the twelve, at 200 to 1000
    Hz and no longer than 16384 samples; else General ECG, at 200 to 1000 Hz, up to 24 channels; else
    Ambulatory ECG, at 50 to 1000 Hz, up to 12 channels. Unknown samples carry the group's padding value. Of
    the metadata: age, sex, acquired, filters, and the report as an annotation. No identity is written.

    Args:
        ecg: the recording.
        path: the file.

    Returns:
        Its path.

    Raises:
        ValueError: if no object holds that many channels or that sampling rate, or a value is infinite.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    path = Path(path)
    refuse_empty(ecg)
    storage = _storage(path, ecg)
    # By the content, so that the same ECG gives the same bytes.
    digest = hashlib.sha256(ecg.signal.tobytes() + f"{ecg.sampling_rate} {ecg.leads}".encode()).hexdigest()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[digest, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[digest, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[digest, "series"])
    moment = _moment(ecg)
    dataset.AcquisitionDateTime = moment
    dataset.StudyDate = dataset.ContentDate = moment[:8]
    dataset.StudyTime = dataset.ContentTime = moment[8:]
    dataset.Modality = "ECG"
    dataset.Manufacturer = "ecglm"
    dataset.PatientName = dataset.PatientID = dataset.PatientBirthDate = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientSex = {"male": "M", "female": "F"}.get(ecg.metadata.get("sex", ""), "")
    age = ecg.metadata.get("age")
    if isinstance(age, (int, float)) and math.isfinite(age) and 0 <= age < 1000:
        dataset.PatientAge = f"{int(age):03d}Y"
    dataset.AcquisitionContextSequence = Sequence([])
    report = ecg.metadata.get("report")
    if isinstance(report, str) and report.strip():
        dataset.WaveformAnnotationSequence = Sequence(_impression(report))
    dataset.WaveformSequence = Sequence([_written_group(ecg)])
    with written_aside(path) as aside:
        dataset.save_as(aside, enforce_file_format=True)
    return path


def _storage(path: Path, ecg: ECG) -> UID:
    """UID of the object that may hold the recording."""
    from pydicom.uid import (
        AmbulatoryECGWaveformStorage,
        GeneralECGWaveformStorage,
        TwelveLeadECGWaveformStorage,
    )

    rate, count = ecg.sampling_rate, ecg.num_leads
    if set(ecg.leads) <= set(LEADS_12) and 200 <= rate <= 1000 and ecg.num_samples <= 16384:
        return TwelveLeadECGWaveformStorage
    if 200 <= rate <= 1000 and count <= 24:
        return GeneralECGWaveformStorage
    if 50 <= rate <= 1000 and count <= 12:
        return AmbulatoryECGWaveformStorage
    raise ValueError(
        f"{path.name}: DICOM holds up to 24 channels at 200 to 1000 Hz or 12 at 50 to 1000 Hz, not {count} "
        f"at {rate:g} Hz; resample, or select leads"
    )


def _written_group(ecg: ECG) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    from pydicom.valuerep import DS

    group = Dataset()
    group.MultiplexGroupTimeOffset = "0"
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = ecg.num_leads
    group.NumberOfWaveformSamples = ecg.num_samples
    group.SamplingFrequency = DS(ecg.sampling_rate, auto_format=True)
    group.MultiplexGroupLabel = "RHYTHM"
    units = ecg.metadata.get("units") or {}
    counts = np.empty((ecg.num_samples, ecg.num_leads), "<i2")
    definitions = []
    for k, (lead, row) in enumerate(zip(ecg.leads, ecg.signal, strict=True)):
        unit = units.get(lead)
        counts[:, k], step = to_counts(row) if unit is None else to_counts(row, finest=1e-6)
        definition = Dataset()
        definition.ChannelLabel = lead[:16]
        definition.ChannelSourceSequence = Sequence([_lead_code(lead)])
        definition.ChannelSensitivity = DS(step if unit else round(step * 1e3, 7), auto_format=True)
        name = {"uV": "microvolt"}.get(unit or "uV", unit)
        definition.ChannelSensitivityUnitsSequence = Sequence([_code((unit or "uV")[:16], "UCUM", str(name))])
        definition.ChannelSensitivityCorrectionFactor = "1"
        definition.ChannelBaseline = "0"
        definition.ChannelSampleSkew = "0"
        definition.WaveformBitsStored = 16
        filters = ecg.metadata.get("filters") or {}
        for key, tag in FILTERS:
            if isinstance(filters.get(key), (int, float)):
                definition.add_new(tag, "DS", DS(filters[key], auto_format=True))
        definitions.append(definition)
    group.ChannelDefinitionSequence = Sequence(definitions)
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.add_new(0x5400100A, "OW", np.array([UNKNOWN_COUNT], "<i2").tobytes())
    group.add_new(0x54001010, "OW", counts.tobytes())
    return group


def _lead_code(lead: str) -> Dataset:
    number = {name: number for number, name in LEADS_BY_NUMBER.items()}.get(lead)
    if number is not None:
        return _code(f"2:{number}", "MDC", f"Lead {lead}")
    return _code(lead[:16], "99ECGLM", lead[:64])


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _impression(report: str) -> list[Dataset]:
    """Annotations of at most 1024 characters, as the standard bounds them."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    items = []
    text = report.strip()
    while text:
        # Not before or behind a space, which the value's padding would swallow.
        length = min(1024, len(text))
        while 1 < length < len(text) and (text[length].isspace() or text[length - 1].isspace()):
            length -= 1
        item = Dataset()
        item.ConceptNameCodeSequence = Sequence([_code(*IMPRESSION)])
        item.ReferencedWaveformChannels = [1, 0]
        item.AnnotationGroupNumber = 0
        item.UnformattedTextValue = text[:length]
        items.append(item)
        text = text[length:]
    return items


def _moment(ecg: ECG) -> str:
    try:
        return (
            datetime.fromisoformat(str(ecg.metadata.get("acquired"))).strftime("%Y%m%d%H%M%S").rjust(14, "0")
        )
    except ValueError:
        return _UNKNOWN_TIME
