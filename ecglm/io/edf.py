"""EDF, EDF+ and BDF: reading. (`ecglm.io._edf_written` writes EDF+.)

A header of fixed-width text, then records of equal length that hold a stretch of every channel in turn, as
16-bit (BDF: 24-bit) integers. EDF+ keeps annotations and the moment of each record in a channel of text;
where it says "EDF+D", records need not follow each other, and the gaps are NaN here. Everything that the
header claims is compared with the size of the file before samples are read, and of a span asked for by
`start` and `stop` only the records that it touches.

Source: B. Kemp et al., Electroencephalogr. Clin. Neurophysiol. 82 (1992) 391 (EDF); B. Kemp, J. Olivan,
Clin. Neurophysiol. 114 (2003) 1755 (EDF+); BioSemi's description of BDF.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from ecglm.ecg import ECGFileError
from ecglm.io._common import MAX_SAMPLES, Channel, Hints, Recording, in_counts, quoted
from ecglm.io._edf_written import FILTER_NAMES, MISSING, REPORT, write_edf
from ecglm.io._finish import is_ecg_name
from ecglm.io._xml import sex_of, years_between

__all__ = ["parse", "sniff", "write_edf"]

_BDF = b"\xffBIOSEMI"
_EDF = b"0       "
_MAX_SIGNALS = 512  # polysomnographs write dozens; the four digits of the header allow 9999
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # of the fields that every channel has
_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
_TAL = re.compile(
    rb"([+-]\d{1,12}(?:\.\d{0,24})?)(?:\x15(\d{1,12}(?:\.\d{0,24})?))?\x14((?:[^\x00\x14]*\x14)*)\x00"
)
_FILTER = re.compile(r"\b(HP|LP|N)\s*:?\s*(\d+(?:\.\d+)?)\s*(m?Hz)?", re.IGNORECASE)
_MAX_GAP = 24 * 3600  # s between records; beyond it a moment is wrong, and NaN would fill the memory
_AGE = re.compile(r"Age[_:=](\d{1,3}(?:\.\d+)?)$")


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is EDF or BDF."""
    if head.startswith(_BDF):
        return True
    # A version of 0 is a weak sign by itself; so is a date between dots.
    dated = re.fullmatch(rb"[\d ]{2}[.\-:/].{12}\d", head[168:184]) is not None
    return head.startswith(_EDF) and (dated or path.suffix.lower() in (".edf", ".rec"))


@dataclass(slots=True)
class _Signal:
    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    prefilter: str
    num_samples: int  # per record
    offset: int = 0  # of its first sample in a record

    @property
    def is_annotations(self) -> bool:
        return self.label in ("EDF Annotations", "BDF Annotations")


@dataclass
class _Header:
    kind: str  # "EDF", "EDF+", "BDF", "BDF+"
    patient: str
    recording: str
    start: str  # date and time as they stand there
    discontinuous: bool
    num_bytes: int
    num_records: int
    duration: float  # seconds of a record
    signals: list[_Signal]

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 3 if self.kind.startswith("BDF") else 2

    @property
    def record_samples(self) -> int:
        return sum(signal.num_samples for signal in self.signals)


def parse(path: Path, hints: Hints) -> Recording:
    """Read an EDF, EDF+ or BDF file.

    Returns:
        The channels in the header's units. `metadata`: age and sex (EDF+), acquired, filters, annotations
        (a list of {"onset", "duration" seconds, "text"}), and the device's model.

    Raises:
        ECGFileError: if the header contradicts itself or the size of the file, or a channel cannot be scaled.
    """
    with path.open("rb") as file:
        return _recording(path, file, hints)


def _recording(path: Path, file: IO[bytes], hints: Hints) -> Recording:
    warnings: list[str] = []
    header = _read_header(path, file, warnings)
    _check_size(path, os.fstat(file.fileno()).st_size, header, hints, warnings)
    channels = [signal for signal in header.signals if not signal.is_annotations]
    if not channels:
        raise ECGFileError(f"{path} is {header.kind} with annotations only; there is no ECG in it")
    first, last = 0, header.num_records
    cropped = hints.cropping and not header.discontinuous and header.duration > 0
    if cropped:
        first, last = _records_of_span(path, header, channels, hints)
    samples = (last - first) * sum(signal.num_samples for signal in channels)
    if samples > MAX_SAMPLES:
        raise ECGFileError(
            f"{path} holds {samples:,} samples; pass start= and stop= in seconds to read a part"
        )
    records = _read_records(path, file, header, first, last)
    moments, notes = _annotations(records, header)
    rows, block = _scaled(path, records, header, channels, hints, warnings)
    if header.discontinuous:
        _lay_out(path, header, rows, moments, warnings)
        moments, block = [], None
    offset = moments[0] - first * header.duration if moments else 0.0
    notes = [note | {"onset": note["onset"] - offset} for note in notes]
    begin = first * header.duration
    report = _take_marks(header, rows, notes, begin)
    if block is not None:
        block = block[:, : len(rows[0].values)]
    if cropped:
        for each in rows:
            rate = each.sampling_rate
            assert rate is not None
            from_, to = hints.span(path, round(header.num_records * header.duration * rate), rate)
            skipped = round(begin * rate)
            part = slice(from_ - skipped, to - skipped)
            each.values = each.values[part]
        block = block[:, part] if block is not None else None
    metadata, identity, assumed = _metadata(header, report, notes)
    rates = {each.sampling_rate for each in rows}
    return Recording(
        path,
        header.kind,
        rows,
        max((rate for rate in rates if rate), default=None),
        metadata,
        identity,
        assumed=assumed,
        warnings=warnings,
        cropped=cropped,
        rows=block,
    )


# ------------------------------------------------------------------------------------------------- the header


def _read_header(path: Path, file: IO[bytes], warnings: list[str]) -> _Header:
    fixed = file.read(256)
    if len(fixed) < 256:
        raise ECGFileError(f"{path} ends within its header; fetch it again")
    kind = "BDF" if fixed.startswith(_BDF) else "EDF"
    count = _integer(path, fixed[252:256], "number of signals")
    if not 1 <= count <= _MAX_SIGNALS:
        raise ECGFileError(f"{path} claims {count} signals; 1 to {_MAX_SIGNALS} are read")
    fields = file.read(256 * count)
    if len(fields) < 256 * count:
        raise ECGFileError(f"{path} claims {count} signals, but ends within its header; fetch it again")
    reserved = _text(fixed[192:236])
    num_bytes = 256 * (count + 1)
    stated = _text(fixed[184:192])
    if stated != str(num_bytes):
        warnings.append(
            f"the header claims to be {stated!r} bytes long; with {count} signals it has {num_bytes}"
        )
    duration = _number(path, fixed[244:252], "duration of a record")
    if duration < 0:
        raise ECGFileError(f"{path} states records of {duration:g} s; a duration must not be negative")
    return _Header(
        kind=kind + "+" * reserved.startswith(f"{kind}+"),
        patient=_text(fixed[8:88]),
        recording=_text(fixed[88:168]),
        start=_text(fixed[168:184]),
        discontinuous=reserved.startswith(f"{kind}+D"),
        num_bytes=num_bytes,
        num_records=_integer(path, fixed[236:244], "number of records"),
        duration=duration,
        signals=_signals(path, fields, count),
    )


def _signals(path: Path, fields: bytes, count: int) -> list[_Signal]:
    columns, position = [], 0
    for width in _WIDTHS:
        columns.append([fields[k : k + width] for k in range(position, position + width * count, width)])
        position += width * count
    labels, units, filters = ([_text(field) for field in columns[k]] for k in (0, 2, 7))
    names = ("minimum", "maximum", "digital minimum", "digital maximum", "samples per record")
    numbers = [
        _numbers(path, columns[k], labels, name) for k, name in zip((3, 4, 5, 6, 8), names, strict=True)
    ]
    signals, offset = [], 0
    for label, unit, prefilter, low, high, least, most, samples in zip(
        labels, units, filters, *numbers, strict=True
    ):
        signal = _Signal(label, unit, (low, high), (least, most), prefilter, int(samples), offset)
        if samples != signal.num_samples or samples < 0:
            raise ECGFileError(f"{path} claims {samples:g} samples per record for {label!r}")
        offset += signal.num_samples
        signals.append(signal)
    if not offset:
        raise ECGFileError(f"{path} states no samples in its records; there is no ECG in it")
    return signals


def _numbers(path: Path, fields: list[bytes], labels: list[str], name: str) -> list[float]:
    """One number of each channel: all at once, or one by one where that finds what is no plain number."""
    try:
        values = [float(field) for field in fields]
        if math.isfinite(sum(values)) and b"_" not in b"".join(fields):
            return values
    except ValueError:
        pass
    return [_number(path, field, f"{label} {name}") for field, label in zip(fields, labels, strict=True)]


def _text(field: bytes) -> str:
    """A field; ASCII by the standard, in practice also UTF-8 and Latin-1."""
    try:
        return field.decode("utf-8").strip(" \x00")
    except UnicodeDecodeError:
        return field.decode("latin-1").strip(" \x00")


def _number(path: Path, field: bytes, what: str) -> float:
    try:
        value = float(field)
    except ValueError:  # e.g. a comma for the point, or a zero byte behind
        try:
            value = float(_text(field).replace(",", "."))
        except ValueError:
            value = math.nan
    if not math.isfinite(value) or b"_" in field:
        raise ECGFileError(
            f"{path}: the {what} reads {quoted(_text(field))}, which is no number; the header is damaged"
        )
    return value


def _integer(path: Path, field: bytes, what: str) -> int:
    value = _number(path, field, what)
    if value != int(value):
        raise ECGFileError(f"{path}: the {what} reads {value:g}, which is no whole number")
    return int(value)


def _check_size(path: Path, size: int, header: _Header, hints: Hints, warnings: list[str]) -> None:
    """Compare the records claimed with the bytes there; settle their number."""
    data = size - header.num_bytes
    record = header.record_samples * header.width
    there = data // record
    if header.num_records == -1:  # an unfinished recording
        header.num_records = there
        warnings.append(f"the file was not closed: its number of records is -1; the {there} there are read")
    elif header.num_records < 0:
        raise ECGFileError(f"{path} claims {header.num_records} records; the header is damaged")
    elif there < header.num_records:
        if not hints.allow_truncated:
            raise ECGFileError(
                f"{path} claims {header.num_records} records of {record:,} bytes, but ends within record "
                f"{there + 1}; fetch it again, or pass allow_truncated=True to read what is there"
            )
        warnings.append(f"the file ends early: {there} of {header.num_records} records are there")
        header.num_records = there
    elif data > header.num_records * record:
        warnings.append(f"{data - header.num_records * record:,} bytes behind the last record are not read")
    if not header.num_records:
        raise ECGFileError(f"{path} holds no records; there is no ECG in it")


# ------------------------------------------------------------------------------------------------ the records


def _records_of_span(path: Path, header: _Header, channels: list[_Signal], hints: Hints) -> tuple[int, int]:
    """The first record that start and stop touch, and the one behind the last."""
    finest = max(signal.num_samples for signal in channels)
    from_, to = hints.span(path, header.num_records * finest, finest / header.duration)
    return from_ // finest, -(-to // finest)


def _read_records(path: Path, file: IO[bytes], header: _Header, first: int, last: int) -> np.ndarray:
    """(records, samples of a record) int16, or (records, samples, 3) uint8 of BDF."""
    size = header.record_samples * header.width
    count = (last - first) * header.record_samples
    file.seek(header.num_bytes + first * size)
    content = file.read(count * header.width)
    if len(content) != count * header.width:
        raise ECGFileError(f"{path} shrank while it was read; try again")
    shape = (last - first, header.record_samples)
    if header.width == 2:
        return np.frombuffer(content, "<i2").reshape(shape)
    return np.frombuffer(content, np.uint8).reshape(*shape, 3)


def _floats(records: np.ndarray, signal: _Signal) -> np.ndarray:
    """(samples,) float32 counts of one channel."""
    part = records[:, signal.offset : signal.offset + signal.num_samples]
    if part.dtype != np.uint8:
        return part.astype(np.float32).reshape(-1)
    wide = np.zeros((*part.shape[:-1], 4), np.uint8)
    wide[..., 1:] = part
    return (wide.view("<i4") >> 8).reshape(-1).astype(np.float32)


def _block(records: np.ndarray, channels: list[_Signal]) -> np.ndarray | None:
    """(channels, samples) float32 counts, where all have 16 bits, one rate and lie side by side."""
    begin, each = channels[0].offset, channels[0].num_samples
    even = all(signal.num_samples == each for signal in channels)
    if not even or records.ndim != 2 or channels[-1].offset != begin + (len(channels) - 1) * each:
        return None
    parts = records[:, begin : begin + len(channels) * each].reshape(len(records), len(channels), each)
    block = np.empty((len(channels), len(records), each), np.float32)
    block[:] = parts.transpose(1, 0, 2)
    return block.reshape(len(channels), -1)


def _scaled(
    path: Path,
    records: np.ndarray,
    header: _Header,
    channels: list[_Signal],
    hints: Hints,
    warnings: list[str],
) -> tuple[list[Channel], np.ndarray | None]:
    """The channels in their physical units, and the array whose rows they are, if they are."""
    rows: list[Channel] = []
    scales: list[tuple[float, float]] = []
    block = _block(records, channels)
    for number, signal in enumerate(channels):
        if not signal.num_samples:
            warnings.append(f"{signal.label} is left out: it has no samples")
            continue
        (low, high), (least, most) = signal.physical, signal.digital
        label = f"ECG {signal.label[4:]}" if signal.label[:4].upper() == "EKG " else signal.label
        usable = least != most and low != high
        if not usable and hints.unit is None:
            what = (
                f"{least:g} to {most:g}" if least == most else f"{low:g} to {high:g} {signal.unit}".rstrip()
            )
            if not is_ecg_name(label.removeprefix("ECG ")) and len(channels) > 1:
                warnings.append(f"{signal.label} is left out: its range, {what}, gives no scale")
                continue
            raise ECGFileError(
                f"{path}: the range of {signal.label!r} is {what}, which gives no scale; pass unit= with the "
                "size of a count, e.g. '1 uV'"
            )
        usable = usable and not in_counts(hints.unit, signal.unit)
        if most < least:
            warnings.append(f"{signal.label}: its digital minimum lies above its maximum; scaled as stated")
        gain, shift = 1.0, 0.0
        if usable:
            gain = (high - low) / (most - least)
            if not 0 < abs(gain) < 1e30:
                raise ECGFileError(f"{path}: a count of {signal.label!r} would be {gain:g}; it is damaged")
            shift = low - least * gain
        scales.append((gain, shift))
        values = block[number] if block is not None else _floats(records, signal)
        rate = _rate(signal.num_samples, header.duration) if header.duration else None
        rows.append(Channel(label, values, (signal.unit or None) if usable else None, rate))
    if not header.duration and len({len(row.values) for row in rows}) > 1:
        raise ECGFileError(
            f"{path} states records of 0 s, and channels of different length; no rate fits them"
        )
    if block is not None and len(rows) == len(channels):
        gains, shifts = np.array(scales, np.float32).T
        block *= gains[:, np.newaxis]
        block += shifts[:, np.newaxis]
        return rows, block
    for row, (gain, shift) in zip(rows, scales, strict=True):
        row.values *= np.float32(gain)
        row.values += np.float32(shift)
    return rows, None


@lru_cache(maxsize=64)
def _rate(num_samples: int, duration: float) -> float:
    """Hz, by the digits of the header: 4999 samples in 9.998 s are 500 Hz, in floats a little more."""
    return float(num_samples / Fraction(repr(duration)))


def _lay_out(
    path: Path, header: _Header, rows: list[Channel], moments: list[float], warnings: list[str]
) -> None:
    """Place the records of EDF+D on the time axis, in place: NaN where nothing was recorded."""
    count = header.num_records
    if len(moments) != count:
        raise ECGFileError(
            f"{path} is discontinuous (EDF+D), but not every record states its moment; it cannot be laid out"
        )
    if not header.duration:
        raise ECGFileError(f"{path} is discontinuous (EDF+D) with records of 0 s; it cannot be laid out")
    gaps = np.diff(moments) - header.duration
    if count > 1 and (gaps.min() < -0.01 * header.duration or gaps.max() > _MAX_GAP):
        raise ECGFileError(
            f"{path} is discontinuous (EDF+D); its records overlap, or lie over {_MAX_GAP // 3600} h apart"
        )
    length = moments[-1] - moments[0] + header.duration
    per_second = sum(row.sampling_rate or 0.0 for row in rows)
    if length * per_second > MAX_SAMPLES:
        raise ECGFileError(f"{path} spans {length:g} s with its gaps; that is too long to read at once")
    for row in rows:
        rate = row.sampling_rate
        assert rate is not None
        per_record = len(row.values) // count
        laid = np.full(round((moments[-1] - moments[0]) * rate) + per_record, np.nan, np.float32)
        for k, moment in enumerate(moments):
            at = round((moment - moments[0]) * rate)
            laid[at : at + per_record] = row.values[k * per_record : (k + 1) * per_record]
        row.values = laid
    total = float(gaps.sum()) if count > 1 else 0.0
    if total > 0.01 * header.duration:
        warnings.append(f"the recording is interrupted: {total:g} s between its records are unknown (NaN)")


# -------------------------------------------------------------------------------------------- the annotations


def _annotations(records: np.ndarray, header: _Header) -> tuple[list[float], list[dict[str, Any]]]:
    """The moments of the records, and the annotations: {"onset", "duration" seconds, "text"}."""
    moments: list[float] = []
    notes: list[dict[str, Any]] = []
    signals = [signal for signal in header.signals if signal.is_annotations]
    for number, signal in enumerate(signals):
        if not signal.num_samples:
            continue
        block = records[:, signal.offset : signal.offset + signal.num_samples]
        content = block.tobytes()
        size = len(content) // len(records)
        for begin in range(0, len(content), size):
            for place, tal in enumerate(_TAL.finditer(content, begin, begin + size)):
                onset = float(tal[1])
                texts = [_text(text) for text in tal[3].split(b"\x14")[:-1]]
                if number == 0 and place == 0 and not (texts and texts[0]):
                    moments.append(onset)
                    texts = texts[1:]
                duration = float(tal[2]) if tal[2] else None
                notes += [{"onset": onset, "duration": duration, "text": text} for text in texts if text]
    return moments, notes


def _take_marks(
    header: _Header, rows: list[Channel], notes: list[dict[str, Any]], begin: float
) -> str | None:
    """Set what `write_edf` marked as missing to NaN, in place, and take the report out of the annotations."""
    report, kept, filled = None, [], 0.0
    end = begin + max((len(row.values) / row.sampling_rate for row in rows if row.sampling_rate), default=0.0)
    for note in notes:
        text, _, channel = note["text"].partition("@@")
        if text == MISSING and note["duration"] is not None:
            stop = note["onset"] + note["duration"]
            if not channel and abs(stop - end) < 1e-6 * end:
                filled = note["duration"]
            for row in rows:
                if channel in ("", row.name) and row.sampling_rate:
                    from_ = max(round((note["onset"] - begin) * row.sampling_rate), 0)
                    to = max(round((stop - begin) * row.sampling_rate), 0)
                    row.values[from_:to] = np.nan
        elif note["text"].startswith(REPORT):
            report = note["text"].removeprefix(REPORT)
        else:
            kept.append(note)
    notes[:] = kept
    if 0 < filled < header.duration:  # what filled up the last record
        for row in rows:
            row.values = row.values[: -round(filled * (row.sampling_rate or 0.0)) or None]
    return report


# ------------------------------------------------------------------------------------------------ the patient


def _metadata(
    header: _Header, report: str | None, notes: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    metadata: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    assumed: list[str] = []
    acquired = _start(header.start)
    if header.kind.endswith("+"):
        code, sex, birth, name, *more = (header.patient.split() + ["X"] * 4)[
            : max(4, len(header.patient.split()))
        ]
        fields = header.recording.split()
        day, administration, technician, equipment = (fields[1:] + ["X"] * 4)[:4]
        identity = {
            "patient_id": code,
            "name": name.replace("_", " "),
            "investigation": administration,
            "technician": technician,
        }
        identity = {key: value for key, value in identity.items() if value != "X"}
        if born := _day(birth):
            identity["birth_date"] = born
        if sex_of(sex):
            metadata["sex"] = sex_of(sex)
        if acquired and (whole := _day(day)):
            acquired = whole + acquired[10:]  # of four digits, where the field before it has two
        elif acquired and day == "X":
            acquired = None
        if equipment != "X":
            metadata["device"] = {"model": equipment.replace("_", " ")}
        ages = [float(match[1]) for each in more if (match := _AGE.match(each))]
        if ages:
            metadata["age"] = int(ages[0]) if ages[0].is_integer() else ages[0]
        elif (years := years_between(identity.get("birth_date"), acquired)) is not None:
            metadata["age"] = years
            assumed.append("age from the dates of birth and recording")
        if more := [each for each in more if not _AGE.match(each)]:
            identity["patient"] = " ".join(more)
    else:
        identity = {
            key: value
            for key, value in (("patient", header.patient), ("recording", header.recording))
            if value
        }
    if acquired:
        metadata["acquired"] = acquired
    if report:
        metadata["report"] = report
    if filters := _filters(header.signals):
        metadata["filters"] = filters
    if notes:
        metadata["annotations"] = notes
    return metadata, identity, assumed


def _start(text: str) -> str | None:
    """ISO 8601 of "dd.mm.yyhh.mm.ss"; None where it is none, or 1 January 1985, which stands for unknown."""
    match = re.fullmatch(r"(\d\d)\D(\d\d)\D(\d\d)(\d\d)\D(\d\d)\D(\d\d)", text)
    if not match or match[0].startswith(("01.01.85", "00.00.00")):
        return None
    day, month, year, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year + (1900 if year >= 85 else 2000), month, day, hour, minute, second).isoformat()
    except ValueError:
        return None


def _day(text: str) -> str | None:
    """ISO date of "02-AUG-1951"; None where it is none."""
    match = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", text)
    if not match or match[2].upper() not in _MONTHS:
        return None
    try:
        return date(int(match[3]), _MONTHS.index(match[2].upper()) + 1, int(match[1])).isoformat()
    except ValueError:
        return None


def _filters(signals: list[_Signal]) -> dict[str, float]:
    """Of the ECG channels, where they agree."""
    each = [
        signal.prefilter
        for signal in signals
        if not signal.is_annotations and is_ecg_name(signal.label.removeprefix("ECG "))
    ]
    if len(set(each)) != 1:
        return {}
    found = {}
    for name, value, unit in _FILTER.findall(each[0]):
        found[FILTER_NAMES[name.upper()]] = float(value) * (1e-3 if unit.lower() == "mhz" else 1.0)
    return found
