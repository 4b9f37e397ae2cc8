"""Philips Sierra ECG XML, versions 1.03 and 1.04 (`restingecgdata`), of PageWriter and HeartStart devices.

The waveforms are Base64 of the XLI compression: per lead a block of 10-bit LZW codes that give the high bytes
of all samples, then their low bytes, of second differences with a delayed correction. Of the limb leads only
I and II are stored as they are; III, aVR, aVL and aVF are stored as what differs from their sum rules. The
recording ends before the block does: zeros follow, then a calibration pulse of 1 mV, in every lead alike;
both are cut.

Source: the public descriptions of the format; checked to the bit against the `sierraecg` package.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ecglm.ecg import ECG, LEADS_12, ECGFileError, standard_lead
from ecglm.io._common import MAX_LEADS, MAX_SAMPLES, Channel, Hints, Recording
from ecglm.io._xml import (
    base64_bytes,
    count_unit,
    iso_time,
    number_of,
    numbers,
    plain_tree,
    positive,
    root_name,
    sex_of,
    text_of,
    tidy,
    to_number,
    years_between,
)

_DOCUMENTS, _VERSIONS = ("SierraECG", "PhilipsECG"), ("1.03", "1.04")
_CODE_BITS = 10
_END = (1 << _CODE_BITS) - 1  # the last code ends a block; the strings before it fill the table
_UNKNOWN = 32767  # of representative beats
_LIMB = ("III", "aVR", "aVL", "aVF")
_MEASUREMENTS = {
    "heartrate": "heart_rate", "print": "pr", "meanprint": "pr", "qrsdur": "qrs", "meanqrsdur": "qrs",
    "qtint": "qt", "meanqtint": "qt", "qtcb": "qtc", "meanqtc": "qtc", "qtcf": "qtc_fridericia",
    "rrint": "rr", "pdur": "p", "pfrontaxis": "p_axis",
    "qrsfrontaxis": "qrs_axis", "tfrontaxis": "t_axis",
    "atrialrate": "atrial_rate",
}  # fmt: skip
_PULSE = 0.2  # s, length of the calibration pulse; 1 mV high
_MIN_TAIL = 0.05  # s of zeros in all leads that are taken for the end of the recording


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is Philips XML."""
    return root_name(head) == "restingecgdata"


def parse(path: Path, hints: Hints) -> Recording:
    """Read Philips Sierra ECG XML.

    Raises:
        ECGFileError: if it is of another version, or its waveforms are damaged.
    """
    root = plain_tree(path)
    kind, version = text_of(root, "documentinfo/documenttype"), text_of(root, "documentinfo/documentversion")
    if kind not in _DOCUMENTS or not version.startswith(_VERSIONS):
        known = "SierraECG and PhilipsECG 1.03 and 1.04"
        raise ECGFileError(f"{path} is a document of type {kind or '?'} {version or '?'}; {known} are read")
    warnings: list[str] = []
    assumed: list[str] = []
    acquisition = root.find("dataacquisition")
    waveforms = root.find("waveforms/parsedwaveforms")
    if waveforms is None:
        raise ECGFileError(f"{path} holds no parsed waveforms; export it with waveform data")
    signal_facts = acquisition.find("signalcharacteristics") if acquisition is not None else None
    rate = _either(waveforms, "samplespersecond", signal_facts, "samplingrate")
    positive(path, rate, "a sampling rate")
    step = _either(waveforms, "resolution", signal_facts, "resolution", "signalresolution")
    names = _lead_names(root, waveforms)
    if not names:
        names = list(LEADS_12)
        if hints.leads is None:
            assumed.append("leads in the standard order: the file does not name them")
    counts, names = _counts(path, waveforms, names, rate, signal_facts, warnings)
    counts = _without_tail(counts, rate, step, warnings)
    channels = [Channel(name, row, count_unit(step, "uV")) for name, row in zip(names, counts, strict=True)]
    metadata, identity = _header(root, assumed)
    if device := _device(path, root, warnings):
        metadata["device"] = device
    return Recording(
        path, f"Philips XML {version}", channels, rate, metadata, identity, assumed=assumed, warnings=warnings
    )


# -------------------------------------------------------------------------------------------- the waveforms


def _either(waveforms: Element, attribute: str, facts: Element | None, *elements: str) -> float | None:
    """A number that version 1.04 states at the waveforms, version 1.03 among the signal's characteristics."""
    value = to_number(waveforms.get(attribute))
    for name in elements:
        if value is None:
            value = number_of(facts, name)
    return value


def _lead_names(root: Element, waveforms: Element) -> list[str]:
    """As 1.04 lists them; 1.03 lists those of its measurements, in the order of the waveforms; else none."""
    if labels := (waveforms.get("leadlabels") or "").split():
        return labels
    measured = [each.get("leadname", "") for each in root.iter("leadmeasurement")]
    return measured if len(measured) == len(set(measured)) and len(measured) >= len(LEADS_12) else []


def _counts(
    path: Path,
    waveforms: Element,
    names: list[str],
    rate: float | None,
    facts: Element | None,
    warnings: list[str],
) -> tuple[np.ndarray, list[str]]:
    """(leads, samples) counts and the leads' names."""
    encoding = waveforms.get("dataencoding", "Base64")
    bits = _either(waveforms, "bitspersample", facts, "bitspersample") or to_number(
        waveforms.get("nbitspersample")
    )
    if bits not in (None, 16.0):
        raise ECGFileError(f"{path} stores {bits:g} bits per sample; 16 are read")
    compression = waveforms.get("compression") or waveforms.get("compressmethod") or ""
    compressed = compression.lower() not in ("", "uncompressed", "none")
    if (waveforms.get("compressflag") or "").lower() == "false":
        compressed = False
    if compressed and compression.upper() != "XLI":
        raise ECGFileError(
            f"{path} is compressed by {compression!r}; XLI and uncompressed waveforms are read"
        )
    seconds = (to_number(waveforms.get("durationperchannel")) or 0.0) / 1e3
    expected = round(seconds * rate) if rate and 0 < seconds * rate <= MAX_SAMPLES else None
    if compressed:
        raw = base64_bytes(path, waveforms.text, "the waveform")
        rows = _decompressed(path, raw, expected)
    else:
        rows = _plain(path, waveforms.text or "", encoding, len(names), expected)
    if len(rows) > len(names):
        valid = number_of(facts, "numberchannelsvalid")
        if valid is not None and int(valid) == len(names):
            rows = rows[: len(names)]  # channels beyond the valid ones are empty
        else:
            names = [*names, *(f"channel {number}" for number in range(len(names) + 1, len(rows) + 1))]
    elif len(rows) < len(names):
        warnings.append(
            f"the file names {len(names)} leads and holds {len(rows)}: {' '.join(names[: len(rows)])}"
        )
        names = names[: len(rows)]
    length = min(map(len, rows))
    if expected is not None and length != expected:
        warnings.append(f"the file states {expected:,} samples per lead and holds {length:,}")
    counts = np.stack([row[:length] for row in rows]).astype(np.float64)
    if compressed:
        _undo_differences_of_leads(counts, names)
    return counts, names


def _plain(path: Path, text: str, encoding: str, num_leads: int, expected: int | None) -> list[np.ndarray]:
    """Uncompressed waveforms: lead after lead, 16 bits little-endian, or numbers as text."""
    if encoding.lower() == "base64":
        raw = base64_bytes(path, text, "the waveform")
        if len(raw) % (2 * num_leads):
            raise ECGFileError(
                f"{path}: {len(raw):,} bytes of waveform are no whole samples of {num_leads} leads"
            )
        values = np.frombuffer(raw, "<i2")
    elif encoding.lower() in ("plain", "text", "ascii"):
        values = numbers(path, text, "the waveform")
        if len(values) % num_leads:
            raise ECGFileError(f"{path}: {len(values):,} values are no whole samples of {num_leads} leads")
    else:
        raise ECGFileError(f"{path} encodes its waveform by {encoding!r}; Base64 and Plain are read")
    if not len(values):
        raise ECGFileError(f"{path} holds no samples")
    return list(values.reshape(num_leads, -1))


def _decompressed(path: Path, raw: bytes, expected: int | None) -> list[np.ndarray]:
    """One array of counts per XLI block."""
    rows: list[np.ndarray] = []
    position = 0
    limit = 2 * (expected + 16 if expected else MAX_SAMPLES // len(LEADS_12))
    while position + 8 <= len(raw):
        size, _, start = struct.unpack_from("<iHh", raw, position)
        position += 8
        if size <= 0 or size > len(raw) - position:
            raise ECGFileError(
                f"{path}: block {len(rows) + 1} of the waveform claims {size:,} bytes, "
                f"{len(raw) - position:,} are there; the file is damaged"
            )
        content = _lzw(path, raw[position : position + size], limit)
        rows.append(_integrated(content, start))
        position += size
        if len(rows) > MAX_LEADS:
            raise ECGFileError(f"{path} holds more than {MAX_LEADS} leads; at most {MAX_LEADS} are read")
    if not rows or not min(map(len, rows)):
        raise ECGFileError(f"{path} holds no samples")
    return rows


def _lzw(path: Path, packed: bytes, limit: int) -> bytes:
    """Bytes of LZW codes of 10 bits, high bit first, up to the code that ends them."""
    count = len(packed) * 8 // _CODE_BITS
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))[: count * _CODE_BITS].reshape(count, _CODE_BITS)
    codes = (bits.astype(np.int64) @ (1 << np.arange(_CODE_BITS - 1, -1, -1))).tolist()
    table = [bytes([value]) for value in range(256)]
    pieces: list[bytes] = []
    previous, total = b"", 0
    for code in codes:
        if code == _END:
            break
        if code < len(table):
            piece = table[code]
        elif code == len(table) and previous:
            piece = previous + previous[:1]
        else:
            raise ECGFileError(
                f"{path}: the compressed waveform holds a code that is not defined; it is damaged"
            )
        pieces.append(piece)
        total += len(piece)
        if total > limit:
            raise ECGFileError(f"{path}: the waveform unpacks to more than the {limit // 2:,} samples stated")
        if previous and len(table) < _END:
            table.append(previous + piece[:1])
        previous = piece
    return b"".join(pieces)


def _integrated(content: bytes, start: int) -> np.ndarray:
    """(samples,) int32 counts of one block: high bytes, then low bytes, of corrected second differences."""
    half = len(content) // 2
    planes = np.frombuffer(content[: 2 * half], np.uint8).reshape(2, half)
    stored = ((planes[0].astype(np.uint16) << 8) | planes[1]).astype(np.int16).astype(np.int64)
    if half < 2:
        return stored.astype(np.int32)
    # x[n] = 2 x[n-1] - x[n-2] - c[n-1], where c is the value stored one step before less 64, and `start` at
    # first: two running sums.
    correction = np.concatenate([[start], stored[2:-1] - 64])
    slope = (stored[1] - stored[0]) - np.cumsum(correction)
    values = np.concatenate([stored[:2], stored[1] + np.cumsum(slope)])[:half]
    return values.astype(np.int16).astype(np.int32)  # the device counts in 16 bits


def _undo_differences_of_leads(counts: np.ndarray, names: list[str]) -> None:
    """III, aVR, aVL and aVF from I, II and what is stored of them, in place."""
    row = {standard_lead(name): number for number, name in enumerate(names)}
    if not {"I", "II", *_LIMB} <= row.keys():
        return
    one, two = counts[row["I"]], counts[row["II"]]
    three = two - one - counts[row["III"]]
    counts[row["III"]] = three
    counts[row["aVR"]] = -counts[row["aVR"]] - np.floor((one + two) / 2)
    counts[row["aVL"]] = np.floor((one - three) / 2) - counts[row["aVL"]]
    counts[row["aVF"]] = np.floor((two + three) / 2) - counts[row["aVF"]]


def _without_tail(
    counts: np.ndarray, rate: float | None, step: float | None, warnings: list[str]
) -> np.ndarray:
    """The recording without the zeros and the calibration pulse behind it."""
    if not rate or counts.shape[0] < 2:
        return counts
    alike = (counts == counts[0]).all(axis=0)
    begin = counts.shape[1] - int(np.argmin(alike[::-1])) if not alike.all() else 0
    tail = counts[0, begin:]
    heights = np.unique(tail[tail != 0])
    # Zeros and at most one height, of which one stretch: anything else may be an ECG.
    if len(tail) < _MIN_TAIL * rate or len(heights) > 1 or (begin == 0 and len(heights)):
        return counts
    if begin == 0:
        return counts  # nothing but zeros; `finish` says what it thinks of that
    pulse = int((tail != 0).sum())
    text = f"the last {len(tail) / rate:.2g} s are no ECG and are cut: zeros"
    if pulse:
        if abs(pulse / rate - _PULSE) > _PULSE / 2:
            return counts
        text += " and a calibration pulse"
        height = float(heights[0]) * (step or 0.0) / 1e3
        if step and abs(height - 1.0) > 0.02:
            warnings.append(
                f"the calibration pulse is {height:g} mV high, not 1 mV: the resolution may be wrong"
            )
    warnings.append(text)
    return counts[:, :begin]


# --------------------------------------------------------------------------------------------- what it says


def _header(root: Element, assumed: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata, and what identifies the patient."""
    patient, acquisition = root.find("patient/generalpatientdata"), root.find("dataacquisition")
    metadata: dict[str, Any] = {}
    if sex := sex_of(text_of(patient, "sex")):
        metadata["sex"] = sex
    acquired = None
    if acquisition is not None:
        acquired = iso_time(acquisition.get("date"), acquisition.get("time"))
    birth = iso_time(text_of(patient, "age/dateofbirth"))
    years = number_of(patient, "age/years")
    if years is None and (years := years_between(birth, acquired)) is not None:
        assumed.append("age from the dates of birth and recording")
    if years is not None:
        metadata["age"] = int(years) if years == int(years) else years
    if acquired:
        metadata["acquired"] = acquired
    facts = acquisition.find("signalcharacteristics") if acquisition is not None else None
    low, high = number_of(facts, "hipass"), number_of(facts, "lowpass")
    if (
        low is None
        and high is None
        and (band := text_of(facts, "signalbandwidth").split("-"))
        and len(band) == 2
    ):
        low, high = to_number(band[0]), to_number(band[1])
    notched = text_of(facts, "notchfiltered").lower() == "true"
    if filters := tidy(
        {"low": low, "high": high, "notch": number_of(facts, "acsetting") if notched else None}
    ):
        metadata["filters"] = filters
    placement = text_of(facts, "electrodeplacement")
    if placement and placement != "STD":
        metadata["lead_placement"] = placement
    names = (text_of(patient, f"name/{part}") for part in ("firstname", "middlename", "lastname"))
    identity = {
        "name": " ".join(filter(None, names)),
        "patient_id": text_of(patient, "patientid") or text_of(patient, "MRN"),
        "birth_date": birth,
        "site": text_of(acquisition, "acquirer/institutionname"),
        "order": text_of(root, "orderinfo/ordernumber"),
    }
    return metadata, {key: value for key, value in identity.items() if value}


def _device(path: Path, root: Element, warnings: list[str]) -> dict[str, Any]:
    device: dict[str, Any] = {"manufacturer": "Philips"}
    machine = root.find("dataacquisition/machine")
    if machine is not None:
        device["model"] = text_of(machine)
        software = (machine.get("detaildescription") or "").rpartition(":")[2]
        device["software"] = software
    interpretation = root.find("interpretations/interpretation")
    found: dict[str, float | None] = {}
    for where in ("globalmeasurements", "interpretationmeasurements"):
        for theirs, ours in _MEASUREMENTS.items():
            if (value := number_of(interpretation, f"{where}/{theirs}")) is not None:
                found.setdefault(ours, value)
    if measurements := tidy(found):
        device["measurements"] = measurements
    if interpretation is not None:
        statements = [text_of(each, "leftstatement") for each in interpretation.findall("statement")]
        statements.append(text_of(interpretation, "severity").strip("- "))
        if statements := list(filter(None, statements)):
            device["statements"] = statements
    beats = root.find("waveforms/repbeats")
    if beats is not None:
        try:
            device["median_beats"] = _beats(path, beats)
        except ValueError as error:
            warnings.append(f"the device's median beats are left out: {str(error).removeprefix(f'{path}: ')}")
    return {key: value for key, value in device.items() if value}


def _beats(path: Path, beats: Element) -> ECG:
    """The representative beats: 16 bits per sample, uncompressed."""
    rate, step = to_number(beats.get("samplespersec")), to_number(beats.get("resolution"))
    if not rate or not step:
        raise ValueError("they state no rate or no resolution")
    rows, names = [], []
    for beat in beats.findall("repbeat"):
        waveform = beat.find("waveform")
        text = (waveform if waveform is not None else beat).text
        names.append(standard_lead(beat.get("leadname", "")))
        raw = base64_bytes(path, text, f"the beat of {names[-1]}")
        rows.append(np.frombuffer(raw[: len(raw) // 2 * 2], "<i2"))
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError("their lengths differ")
    counts = np.stack(rows).astype(np.float64)
    counts[counts == _UNKNOWN] = np.nan
    known = np.isfinite(counts).any(axis=0)
    return ECG(counts[:, known] * (step / 1e3), rate, tuple(names))
