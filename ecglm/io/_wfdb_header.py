"""The header of a WFDB record: parsed and bounded before anything of the size that it claims is allocated.

Format: https://physionet.org/physiotools/wag/header-5.htm. Read more liberally than that where the meaning is
certain, since public sets do: record names with a path or `.mat`, dates with month names, a lacking unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECGFileError
from ecglm.io._common import MAX_LEADS, quoted

MAX_HEADER_BYTES = 1 << 20
MAX_LINE = 20_000  # those of PhysioNet's ECG sets are below 1,000
CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffd]")

_MAX_SEGMENTS = 10_000
_MAX_PER_FRAME, _MAX_SKEW = 1000, 100_000  # samples, frames
_MAX_COUNT = 1 << 31  # of a zero or first sample
_DEFAULT_GAIN = 200.0  # what WFDB says of a signal whose header leaves it out

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$")
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\(([-+]?\d+)\))?(?:/(\S+))?$")
RECORD_NAME = re.compile(r"[-\w]+\Z", re.ASCII)
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2})?(\.\d+)?$")
_DATES = ("%d/%m/%Y", "%d-%b-%Y", "%d-%m-%Y", "%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d")

_FIELD = re.compile(r"<?\b(age|sex|gender)>?\s*[:=]\s*([^\s,;]+)", re.IGNORECASE)
# The same without a colon, as converters of MUSE files write it; and `69 M 1085 1629 x1` of the MIT-BIH sets.
_BARE_FIELD = re.compile(r"<?(age|sex|gender)>?\s+(\S+)$", re.IGNORECASE)
_BARE_PATIENT = re.compile(r"(\d{1,3}) ([MF]) \d+ \d+ x?\d")
_LIST_FIELD = re.compile(r"\s*(dx|scp|report)\s*:\s*(.*)", re.IGNORECASE)
# Who the patient is, and who examined them where: `Patient's name: …`, `MRN=…`, `Physician: …`.
_IDENTITY = re.compile(
    r"\s*<?(?P<whose>(?:patient|subject)(?:['’]?s)?[ _-]*)?(?P<what>"
    r"(?:(?:first|middle|last|family|given|full|maiden|sur)[ _-]*)?name|dob|date of birth"
    r"|birth[ _]?da(?:te|y)|mrn|ssn|(?:(?:medical record|accession|case|visit|order)[ _])?(?:id|number|no\.?)"
    r"|address|(?:tele)?phone|e-?mail|(?:(?:referring|attending|reading|ordering)[ _])?(?:physician|doctor)"
    r"|cardiologist|technician|operator|hospital|institution|clinic|ward)?>?\s*[:=]\s*(?P<text>.*)",
    re.IGNORECASE,
)
_BARE_IDENTITY = re.compile(
    r"\s*<?(?P<what>mrn|ssn|dob|date of birth|birth[ _]?da(?:te|y)|medical record number"
    r"|(?P<whose>(?:patient|subject)(?:['’]?s)?[ _-]*)(?:name|id|number|no\.?))>?\s+(?P<text>.*)",
    re.IGNORECASE,
)
_IDENTITY_KEYS = {
    "": "name", "id": "patient_id", "number": "patient_id", "no": "patient_id", "mrn": "patient_id",
    "medical_record_number": "patient_id", "dob": "birth_date", "date_of_birth": "birth_date",
    "birthdate": "birth_date", "birthday": "birth_date",
}  # fmt: skip
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}


@dataclass(slots=True)
class Signal:
    """One signal's line."""

    file: str
    format: str
    samples_per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    initial: int  # what format 8 counts its differences from
    checksum: int  # 0 where the header does not say
    name: str
    calibrated: bool  # whether the header gives a gain; without one it is 200 per mV, WFDB's default


@dataclass
class Header:
    """A header file."""

    path: Path
    name: str
    sampling_rate: float | None  # None where the header does not say
    num_samples: int | None  # None where the header leaves it to the size of the file
    signals: list[Signal] = field(default_factory=list)
    segments: list[tuple[str, int]] | None = None  # of a record in several segments: their names and samples
    comments: list[str] = field(default_factory=list)
    acquired: str | None = None
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    resaved: dict[str, np.ndarray] = field(default_factory=dict)
    """Of signal files that are not as the header says, their samples: see `ecglm.io._wfdb_mat`."""


def read_header(path: Path) -> Header:
    """Parse a header file.

    Raises:
        ECGFileError: if it is no header, or claims more than is read.
    """
    with open(path, "rb", buffering=0) as file:
        content = file.read(MAX_HEADER_BYTES + 1)
    if len(content) > MAX_HEADER_BYTES:
        raise ECGFileError(f"{path}: a WFDB header has less than 1 MB, this file has more; it is no header")
    lines, comments = [], []
    for line in lines_of(content):
        if len(line) > MAX_LINE:
            raise ECGFileError(f"{path}: a line has {len(line):,} characters; this is no WFDB header")
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line:
            lines.append(line)
    header, num_signals, num_segments = _record_line(path, lines[0] if lines else "")
    header.comments = comments
    if num_segments is not None:
        described = lines[1 : num_segments + 1]
        header.segments = [_segment_line(header, line) for line in described]
        there = sum(count for _, count in header.segments)
        if len(described) < num_segments:
            if not described or header.num_samples != there:
                raise _cut_short(path, num_segments, len(described), "segments")
            header.warnings.append(
                f"{num_segments} segments announced, {len(described)} described, which hold all samples"
            )
    else:
        described = lines[1 : num_signals + 1]
        if len(described) < num_signals:
            raise _cut_short(path, num_signals, len(described), "signals")
        header.signals = [_signal_line(header, line, row) for row, line in enumerate(described, start=1)]
    return header


def lines_of(content: bytes) -> list[str]:
    """The lines of a header, without blanks around them; in some old ones they end in carriage returns."""
    end = "\n" if b"\n" in content else "\r"
    return [line.strip() for line in content.decode("utf-8-sig", "replace").split(end)]


def _cut_short(path: Path, expected: int, there: int, what: str) -> ECGFileError:
    return ECGFileError(f"{path}: {expected} {what} announced, {there} described; the header is cut short")


def _record_line(path: Path, line: str) -> tuple[Header, int, int | None]:
    """The header's first line: `name[/segments] signals [rate [samples [time [date]]]]`."""
    parts = line.split()
    name, segments = parts[0] if parts else "", ""
    if "/" in name:
        name, _, segments = name.rpartition("/")
        if not segments.isdigit():  # PTB-XL+ writes a path there
            name, segments = segments, ""
    name = name.removesuffix(".mat")  # as CPSC 2018 in the Challenge of 2020 has it
    if len(parts) < 2 or not RECORD_NAME.match(name):
        raise ECGFileError(f"{path} is no WFDB header: its first line is not `name signals rate samples`")
    num_signals = _count(path, parts[1], "signals", MAX_LEADS)
    num_segments = _count(path, segments, "segments", _MAX_SEGMENTS) if segments else None
    num_samples = _count(path, parts[3], "samples") if len(parts) > 3 else 0
    header = Header(path, name, None, num_samples or None, acquired=_acquired(parts[4:]))
    if len(parts) > 2:
        try:
            header.sampling_rate = float(parts[2].partition("/")[0].partition("(")[0])
        except ValueError:
            raise ECGFileError(
                f"{path}: the sampling rate {quoted(parts[2])} is no number; correct the first line"
            ) from None
        if not (math.isfinite(header.sampling_rate) and header.sampling_rate > 0):
            raise ECGFileError(
                f"{path}: the sampling rate is {header.sampling_rate:g} Hz, it must be above 0; "
                "correct the first line"
            )
    return header, num_signals, num_segments


def _acquired(parts: list[str]) -> str | None:
    """Date and time in ISO 8601, where there is a date; public sets write it in several ways and orders."""
    time = next((part for part in parts if _TIME.match(part)), "")
    for part in parts:
        for form in _DATES:
            try:
                date = datetime.strptime(part, form).date().isoformat()
            except ValueError:
                continue
            hour, _, rest = time.partition(":")
            return f"{date}T{int(hour):02}:{rest}" if len(rest) > 4 else date
    return None


def _count(path: Path, text: str, what: str, limit: int | None = None) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ECGFileError(f"{path} is no WFDB header: {quoted(text)} is no number of {what}")
    if limit is not None and int(text) > limit:
        raise ECGFileError(f"{path}: {int(text):,} {what} announced, at most {limit:,} are read")
    return int(text)


def _segment_line(header: Header, line: str) -> tuple[str, int]:
    name, _, count = line.partition(" ")
    if name != "~" and not RECORD_NAME.match(name):
        raise ECGFileError(
            f"{header.path}: the segment name {name[:40]!r} is not allowed; letters, digits, - and _ are"
        )
    return name, _count(header.path, count.strip(), "samples")


def _signal_line(header: Header, line: str, number: int) -> Signal:
    """`file format [gain(baseline)/unit [resolution [zero [first [checksum [block size [name]]]]]]]`."""
    parts = line.split(maxsplit=8)
    parts += [""] * (9 - len(parts))
    try:
        form, per_frame, skew, offset = _format(parts[1])
        gain, baseline, unit = _gain(parts[2])
        zero, checksum = int(parts[4] or 0), int(parts[6] or 0)
        initial = int(parts[5] or zero) if form == "8" else 0
    except ValueError:
        raise ECGFileError(f"{header.path}: the line of signal {number} cannot be parsed") from None
    name = parts[8] or f"signal {number}"
    if not (math.isfinite(gain) and gain >= 0):
        raise ECGFileError(
            f"{header.path}: {name[:40]!r} has the gain {gain:g}, it must be above 0; correct the header"
        )
    if max(abs(baseline or 0), abs(zero), abs(initial)) > _MAX_COUNT:
        raise ECGFileError(
            f"{header.path}: {name[:40]!r} has a zero or first sample beyond 32 bits; correct the header"
        )
    if not 1 <= per_frame <= _MAX_PER_FRAME or skew > _MAX_SKEW:
        raise ECGFileError(
            f"{header.path}: {name[:40]!r} has {per_frame} samples per frame and a skew of {skew}; correct it"
        )
    return Signal(
        parts[0],
        form,
        per_frame,
        skew,
        offset,
        gain or _DEFAULT_GAIN,
        zero if baseline is None else baseline,
        unit,
        initial,
        checksum,
        parts[8],
        bool(parts[2]) and gain > 0,
    )


@lru_cache(maxsize=256)
def _format(text: str) -> tuple[str, int, int, int]:
    """Format, samples per frame, skew and offset of `format[xframe][:skew][+offset]`."""
    match = _FORMAT.match(text)
    if not match:
        raise ValueError
    return match[1], int(match[2] or 1), int(match[3] or 0), int(match[4] or 0)


@lru_cache(maxsize=256)
def _gain(text: str) -> tuple[float, int | None, str]:
    """Gain, baseline and unit of `gain[(baseline)][/unit]`."""
    match = _GAIN.match(text or "200/mV")
    if not match:
        raise ValueError
    unit = (match[3] or "mV").replace("\ufffdV", "uV")  # µ in Latin-1
    return float(match[1]), int(match[2]) if match[2] else None, unit


def comments_of(header: Header) -> tuple[dict[str, Any], dict[str, str]]:
    """What the comments say: age, sex, codes, diagnoses, report and the comments themselves; and, apart from
    these, the lines that name the patient.
    """
    found: dict[str, Any] = {}
    identity: dict[str, str] = {}
    kept = []
    for line in header.comments:
        listed, names = _LIST_FIELD.match(line), _IDENTITY.match(line)
        if not names or not (names["whose"] or names["what"]):
            names = _BARE_IDENTITY.match(line)
        if names:
            what = (names["what"] or "").removeprefix(names["whose"] or "")
            key = re.sub(r"[ _-]+", "_", what.lower().rstrip("."))
            identity[_IDENTITY_KEYS.get(key, key)] = names["text"].strip()
            continue
        kept.append(line)
        if listed:
            key, text = listed[1].lower(), listed[2].strip()
            if key == "report":
                found["report"] = text
            elif text and text.lower() != "unknown":
                found[{"dx": "dx", "scp": "codes"}[key]] = re.split(r"[\s,]+", text.strip(" ,"))
            continue
        pairs = _FIELD.findall(line)
        if bare := _BARE_FIELD.match(line):
            pairs = [(bare[1], bare[2])]
        elif bare := _BARE_PATIENT.match(line):
            pairs = [("age", bare[1]), ("sex", bare[2])]
        for key, text in pairs:
            if key.lower() != "age":
                sex = _SEXES.get(text.lower())
                found |= {"sex": sex} if sex else {}
            elif re.fullmatch(r"\d{1,3}(\.\d+)?", text):
                if float(text) <= 120:
                    found["age"] = float(text)
                else:
                    header.warnings.append(f"the header's age {text} is taken as unknown")
    return found | ({"comments": kept} if kept else {}), identity
