"""WFDB records: a fast reader for format 16, the `wfdb` package for the other formats, and a writer.

The header is read and checked here for every record, before anything of the size that it claims is
allocated: its length, the number of signals, the samples against the size of the signal files, and that no
file outside the record's folder is named. Format of header and signal files:
https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError, standard_lead
from ecglm.io._common import MAX_LEADS, Channel, Hints, Recording, written_aside

UNKNOWN = -32768
"""The sample of format 16 that means "no value" (WFDB signal formats)."""

_MAX_HEADER_BYTES = 1 << 20
_MAX_LINE = 20_000  # those of PhysioNet's ECG sets are below 1,000
_MAX_SEGMENTS = 10_000
_MAX_PER_FRAME, _MAX_SKEW = 1000, 100_000  # samples; `wfdb` allocates by both
_MAX_UNBOUNDED = 1 << 28  # samples of all signals where no file size bounds them (FLAC, empty segments): 1 GB
_DEFAULT_GAIN, _DEFAULT_RATE = 200.0, 250.0  # what WFDB says of a header that leaves them out
_BYTES_PER_SAMPLE = {
    "8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3,
}  # fmt: skip
_COMPRESSED = ("508", "516", "524")

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$")
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\(([-+]?\d+)\))?(?:/(\S+))?$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffd]")
_FIELD = re.compile(r"<?\b(age|sex|gender)>?\s*[:=]\s*([^\s,;]+)", re.IGNORECASE)
_LIST_FIELD = re.compile(r"\s*(dx|scp|report)\s*:\s*(.*)", re.IGNORECASE)
_SEXES = ("m", "f", "male", "female")
_RECORD_NAME = re.compile(r"[-\w]+\Z", re.ASCII)


@dataclass
class _Signal:
    file: str
    format: str
    samples_per_frame: int
    skew: int
    offset: int
    gain: float  # as written; 0 where the header says "uncalibrated"
    baseline: int
    units: str
    block_size: int
    checksum: int | None
    name: str


@dataclass
class _Header:
    path: Path
    name: str
    sampling_rate: float
    num_samples: int | None  # None where the header leaves it to the size of the file
    signals: list[_Signal] = field(default_factory=list)
    segments: list[tuple[str, int]] | None = None  # of a record in several segments: their names and samples
    comments: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a WFDB header, or a signal file that the header beside it names."""
    if path.suffix == ".hea":
        return True
    header = find_header(path)
    if header is None:
        return False
    with header.open("rb") as file:
        return path.suffix == ".dat" or os.fsencode(path.name) in file.read(_MAX_HEADER_BYTES)


def parse(path: Path, hints: Hints) -> Recording:
    """Read a WFDB record.

    Args:
        path: the header, or the record's name without `.hea`, or one of its signal files.
        hints: `allow_truncated` keeps what is there of a signal file of format 16 that ends early.

    Returns:
        The channels in the header's units. `metadata`: record_id, age, sex, codes (from a "SCP:" comment), dx
        (from a "Dx:" comment, as written), report, and comments.

    Raises:
        FileNotFoundError: if there is no such header.
        ECGFileError: if the record is malformed, truncated, larger than its files, or names a file outside
            its folder.
    """
    found = find_header(path)
    if found is None:
        raise FileNotFoundError(f"no WFDB record at {path}: there is no {path}.hea")
    header = _read_header(found)
    if header.segments is not None:
        _check_segments(header)
        return _read_with_wfdb(header)
    if not header.signals:
        raise ECGFileError(f"{found}: the header lists no signals; this record holds no ECG")
    num_samples = _check_files(header, hints.allow_truncated)
    plain = all(
        s.format == "16" and s.samples_per_frame == 1 and not s.skew and not s.block_size
        for s in header.signals
    )
    if not plain:
        return _read_with_wfdb(header)
    return _recording(header, _read_format_16(header, num_samples))


def find_header(path: Path) -> Path | None:
    """The header of the record that a path means by its name or by one of its signal files."""
    if path.suffix == ".hea" and path.is_file():
        return path
    if not path.name:
        return None
    # The name with .hea added comes first: record names may hold dots.
    header = path.with_name(path.name + ".hea")
    if header.is_file():
        return header
    header = path.with_suffix(".hea")
    return header if path.is_file() and header.is_file() else None


# ------------------------------------------------------------------------------------------------- the header


def _read_header(path: Path) -> _Header:
    """Parse and bound a header; nothing of the size that it claims is allocated."""
    with path.open("rb") as file:
        content = file.read(_MAX_HEADER_BYTES + 1)
    if len(content) > _MAX_HEADER_BYTES:
        raise ECGFileError(f"{path}: a WFDB header has less than 1 MB, this file has more; it is no header")
    lines, comments = [], []
    for line in content.decode("utf-8", "replace").split("\n"):
        line = line.strip(" \t\r")
        if len(line) > _MAX_LINE:
            raise ECGFileError(f"{path}: a line has {len(line):,} characters; this is no WFDB header")
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line:
            lines.append(line)
    header, num_signals, num_segments = _record_line(path, lines[0] if lines else "")
    header.comments = comments
    if num_segments is not None:
        header.segments = [
            _segment_line(header, line) for line in _described(path, lines, num_segments, "segments")
        ]
    else:
        described = _described(path, lines, num_signals, "signals")
        header.signals = [
            _signal_line(header, line, number) for number, line in enumerate(described, start=1)
        ]
    return header


def _record_line(path: Path, line: str) -> tuple[_Header, int, int | None]:
    """The header's first line: `name[/segments] signals [rate [samples [time [date]]]]`."""
    parts = line.split()
    name, _, segments = parts[0].partition("/") if parts else ("", "", "")
    if len(parts) < 2 or not _RECORD_NAME.match(name):
        raise ECGFileError(
            f"{path} is no WFDB header: its first line is {line[:60]!r}, not `name signals rate samples`"
        )
    num_signals = _count(path, parts[1], "signals", MAX_LEADS)
    num_segments = _count(path, segments, "segments", _MAX_SEGMENTS) if segments else None
    num_samples = _count(path, parts[3], "samples") if len(parts) > 3 else 0
    header = _Header(path, name, _DEFAULT_RATE, num_samples or None)
    if len(parts) > 2:
        try:
            header.sampling_rate = float(re.split(r"[/(]", parts[2], maxsplit=1)[0])
        except ValueError:
            raise ECGFileError(
                f"{path}: the sampling rate {parts[2][:40]!r} is no number; correct the first line"
            ) from None
    else:
        header.assumed.append("sampling rate 250 Hz, the WFDB default, as the header names none")
    if not (math.isfinite(header.sampling_rate) and header.sampling_rate > 0):
        raise ECGFileError(
            f"{path}: the sampling rate is {header.sampling_rate:g} Hz, it must be above 0; "
            "correct the first line"
        )
    return header, num_signals, num_segments


def _count(path: Path, text: str, what: str, limit: int | None = None) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ECGFileError(f"{path} is no WFDB header: {text[:40]!r} is no number of {what}")
    if limit is not None and int(text) > limit:
        raise ECGFileError(f"{path}: {int(text):,} {what} announced, at most {limit:,} are read")
    return int(text)


def _described(path: Path, lines: list[str], expected: int, what: str) -> list[str]:
    if len(lines) - 1 < expected:
        raise ECGFileError(
            f"{path}: {expected} {what} announced, {len(lines) - 1} described; the header is cut short"
        )
    return lines[1 : expected + 1]


def _segment_line(header: _Header, line: str) -> tuple[str, int]:
    name, _, count = line.partition(" ")
    if name != "~" and not _RECORD_NAME.match(name):
        raise ECGFileError(
            f"{header.path}: the segment name {name[:40]!r} is not allowed; letters, digits, - and _ are"
        )
    return name, _count(header.path, count.strip(), "samples")


def _signal_line(header: _Header, line: str, number: int) -> _Signal:
    """`file format [gain(baseline)/units [resolution [zero [first [checksum [block size [name]]]]]]]`."""
    parts = line.split(maxsplit=8)
    parts += [""] * (9 - len(parts))
    form, gain = _FORMAT.match(parts[1]), _GAIN.match(parts[2] or "200/mV")
    try:
        if not form or not gain:
            raise ValueError
        _, zero, _, checksum, block_size = (int(text) if text else None for text in parts[3:8])
        value = float(gain[1])
    except ValueError:
        raise ECGFileError(f"{header.path}: signal {number} cannot be parsed: {line[:60]!r}") from None
    name = standard_lead(" ".join(_CONTROL.sub(" ", parts[8]).split()) or f"signal {number}")
    if _CONTROL.search(parts[8]):
        header.warnings.append(f"the name of signal {number} holds unreadable characters; taken as {name!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ECGFileError(
            f"{header.path}: {name} has the gain {value:g}, it must be above 0; correct the header"
        )
    if not parts[2] or value == 0:
        header.assumed.append(f"{name}: gain 200 per mV, the WFDB default")
        header.warnings.append(
            f"{name} is uncalibrated (the header has no gain): its amplitude in mV is a guess"
        )
    per_frame, skew = int(form[2] or 1), int(form[3] or 0)
    if not 1 <= per_frame <= _MAX_PER_FRAME or skew > _MAX_SKEW:
        raise ECGFileError(
            f"{header.path}: {name} has {per_frame} samples per frame and a skew of {skew}; correct it"
        )
    return _Signal(
        file=parts[0],
        format=form[1],
        samples_per_frame=per_frame,
        skew=skew,
        offset=int(form[4] or 0),
        gain=value or _DEFAULT_GAIN,
        baseline=int(gain[2]) if gain[2] else zero or 0,
        units=gain[3] or "mV",
        block_size=block_size or 0,
        checksum=checksum,
        name=name,
    )


# ------------------------------------------------------------------------------------------------ the signals


def _data_file(header: _Header, name: str) -> Path:
    """The signal file that a header names, which must lie in the record's folder or below.

    The last component may be a symbolic link of the file system (data stores such as git-annex or the
    Hugging Face cache use them); what the header itself says cannot lead outside.
    """
    relative = Path(name)
    folder = header.path.parent
    if "\x00" in name or "\\" in name or relative.is_absolute() or ".." in relative.parts:
        raise ECGFileError(f"{header.path}: it names {name[:60]!r}; only files in its own folder are read")
    path = folder / relative
    if len(relative.parts) > 1 and not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ECGFileError(
            f"{header.path}: it names {name[:60]!r}, which lies outside its folder; it is not read"
        )
    if not path.is_file():
        raise ECGFileError(f"{header.path}: its signal file {name[:60]!r} is not in {folder}; copy it there")
    return path


def _check_files(header: _Header, allow_truncated: bool = False) -> int:
    """The number of samples, checked against the files' sizes; a header without one gets it from there."""
    frames = header.num_samples
    for file in dict.fromkeys(signal.file for signal in header.signals):
        group = [signal for signal in header.signals if signal.file == file]
        path = _data_file(header, file)
        form = group[0].format
        if any(signal.format != form for signal in group):
            raise ECGFileError(
                f"{header.path}: {file} is said to have several formats; a signal file has one"
            )
        per_frame = sum(signal.samples_per_frame for signal in group)
        if form in _COMPRESSED:
            if frames is None or frames * per_frame > _MAX_UNBOUNDED:
                raise ECGFileError(
                    f"{header.path}: {frames or 'unknown'} samples in the compressed file {file} are too many"
                )
            continue
        if form not in _BYTES_PER_SAMPLE:
            raise ECGFileError(f"{header.path}: {file} has the format {form}, which WFDB does not define")
        bytes_there = path.stat().st_size - group[0].offset
        available = max(0, math.floor(bytes_there / (_BYTES_PER_SAMPLE[form] * per_frame) + 1e-9))
        if frames is None:
            frames = available
        elif available < frames:
            if not (allow_truncated and form == "16"):
                raise ECGFileError(
                    f"{path} is truncated: the header announces {frames:,} samples, it holds {available:,}; "
                    "fetch it again, or read with allow_truncated=True (format 16)"
                )
            header.warnings.append(
                f"{file} ends after {available:,} of {frames:,} samples; the rest is missing"
            )
            frames = available
    if not frames:
        raise ECGFileError(f"{header.path}: the record holds no samples")
    return frames


def _check_segments(header: _Header) -> None:
    """Bound a record in several segments, so that `wfdb` neither loops nor allocates what a header claims."""
    assert header.segments is not None
    widest = 1
    for name, num_samples in header.segments:
        if name == "~":
            continue
        if name == header.name:
            raise ECGFileError(f"{header.path}: the record names itself as a segment")
        path = header.path.parent / f"{name}.hea"
        if not path.is_file():
            raise ECGFileError(
                f"{header.path}: its segment {name!r} is not in {header.path.parent}; copy it there"
            )
        segment = _read_header(path)
        if segment.segments is not None:
            raise ECGFileError(
                f"{header.path}: its segment {name!r} has segments itself, which WFDB does not allow"
            )
        widest = max(widest, len(segment.signals))
        if num_samples and _check_files(segment) < num_samples:
            raise ECGFileError(
                f"{header.path}: {num_samples:,} samples announced of segment {name!r}, which is shorter"
            )
    total = max(header.num_samples or 0, sum(count for _, count in header.segments))
    if total * widest > _MAX_UNBOUNDED:
        raise ECGFileError(
            f"{header.path}: {total:,} samples in segments are too many to read at once; read a segment"
        )


def _read_format_16(header: _Header, num_samples: int) -> np.ndarray:
    """Format 16, one file or several: (signals, samples) float32 in the header's units, NaN where unknown."""
    signals = header.signals
    digital = np.empty((len(signals), num_samples), np.int16)
    for file in dict.fromkeys(each.file for each in signals):
        rows = [row for row, each in enumerate(signals) if each.file == file]
        count, offset = num_samples * len(rows), signals[rows[0]].offset
        frames = np.fromfile(header.path.parent / file, "<i2", count, offset=offset)
        if len(frames) != count:
            raise ECGFileError(f"{header.path}: {file} became shorter while it was read; try again")
        digital[rows] = frames.reshape(num_samples, len(rows)).T
    if header.num_samples in (None, num_samples):
        sums = digital.sum(axis=1, dtype=np.int16)  # the checksum is the sum in 16 bits, overflow and all
        for each, total in zip(signals, sums.tolist(), strict=True):
            if each.checksum and (total - each.checksum) % 65536:  # many programs write 0 for "not computed"
                header.warnings.append(f"{each.name}: the checksum in the header does not fit the samples")
    # The quotient of two float32 numbers, rounded once, equals the float64 quotient rounded to float32, since
    # float64 has more than twice the digits (Figueroa 1995); where a gain or a difference does not fit into
    # float32, compute in float64.
    gain = np.array([[each.gain] for each in signals])
    baseline = np.array([[each.baseline] for each in signals], np.float64)
    exact = np.abs(baseline).max() < 1 << 23 and (gain == gain.astype(np.float32)).all()
    kind = np.float32 if exact else np.float64
    signal: np.ndarray = digital.astype(kind)
    if baseline.any():
        np.subtract(signal, baseline.astype(kind), out=signal)
    np.divide(signal, gain.astype(kind), out=signal)
    if digital.min() == UNKNOWN:
        signal[digital == UNKNOWN] = np.nan
    return signal.astype(np.float32, copy=False)


def _read_with_wfdb(header: _Header) -> Recording:
    """Everything but plain format 16, through the `wfdb` package; its exceptions become one line."""
    import wfdb

    if len({signal.samples_per_frame for signal in header.signals}) > 1:
        header.warnings.append("the signals have several sampling rates; wfdb averaged them to the record's")
    try:
        record = wfdb.rdrecord(str(header.path.with_suffix("")))
        signal = np.ascontiguousarray(record.p_signal.T, dtype=np.float32)
    except Exception as error:  # wfdb raises whatever its parsing meets: IndexError, TypeError, MemoryError …
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ECGFileError(
            f"{header.path}: wfdb cannot read it ({type(error).__name__}: {reason})"
        ) from error
    if header.segments is not None:
        header.signals = _signals_of(record)
    return _recording(header, signal)


# ------------------------------------------------------------------------------------------------- the result


def is_wfdb_record(thing: Any) -> bool:
    """Whether an object is a `wfdb.Record` (or MultiRecord), told without importing `wfdb`."""
    return type(thing).__module__.split(".")[0] == "wfdb" and hasattr(thing, "sig_name")


def parse_wfdb_record(record: Any) -> Recording:
    """A `wfdb.Record` in hand, as `wfdb.rdrecord` returns it, with physical or digital samples.

    Raises:
        ECGFileError: if the record carries no samples.
    """
    values = record.p_signal
    if values is None and getattr(record, "d_signal", None) is not None:
        values = record.dac()
    if values is None:
        raise ECGFileError(
            f"the wfdb.Record {record.record_name} carries no samples; read it with smooth_frames=True"
        )
    header = _Header(
        Path(f"{record.record_name}.hea"), str(record.record_name), float(record.fs), len(values)
    )
    header.comments = list(record.comments or [])
    header.signals = _signals_of(record)
    return _recording(header, np.array(values.T, dtype=np.float32, order="C"))


def _signals_of(record: Any) -> list[_Signal]:
    units = record.units or ["mV"] * len(record.sig_name)
    return [
        _Signal(
            "",
            "",
            1,
            0,
            0,
            _DEFAULT_GAIN,
            0,
            unit or "mV",
            0,
            None,
            standard_lead(name or f"signal {number}"),
        )
        for number, (name, unit) in enumerate(zip(record.sig_name, units, strict=True), start=1)
    ]


def _recording(header: _Header, signal: np.ndarray) -> Recording:
    channels = [
        Channel(each.name, values, each.units) for each, values in zip(header.signals, signal, strict=True)
    ]
    return Recording(
        path=header.path,
        format="WFDB",
        channels=channels,
        sampling_rate=header.sampling_rate,
        metadata={"record_id": header.name} | _comments(header),
        assumed=header.assumed,
        warnings=header.warnings,
        keep_padding=True,  # annotation files count the samples
    )


def _comments(header: _Header) -> dict[str, Any]:
    """Age, sex, codes, diagnoses and report from the header's comments, and the comments themselves."""
    found: dict[str, Any] = {}
    for line in header.comments:
        listed = _LIST_FIELD.match(line)
        if listed:
            key, text = listed[1].lower(), listed[2].strip()
            if key == "report":
                found["report"] = text
            elif text and text.lower() != "unknown":
                found[{"dx": "dx", "scp": "codes"}[key]] = re.split(r"[\s,]+", text.strip(" ,"))
            continue
        for key, text in _FIELD.findall(line):
            if key.lower() != "age":
                sex = {"m": "male", "f": "female"}.get(text[0].lower()) if text.lower() in _SEXES else None
                found |= {"sex": sex} if sex else {}
            elif re.fullmatch(r"\d{1,3}(\.\d+)?", text):
                if float(text) <= 120:
                    found["age"] = float(text)
                else:
                    header.warnings.append(f"the header's age {text} is taken as unknown")
    return found | ({"comments": header.comments} if header.comments else {})


# ------------------------------------------------------------------------------------------------- the writer


def write_wfdb(ecg: ECG, path: str | os.PathLike) -> Path:
    """Write a WFDB record of format 16: `NAME.hea` and `NAME.dat`, each complete or not there.

    The resolution is 1 µV (gain 1000 per mV, as PTB-XL has it); a lead beyond +-32.767 mV gets the largest
    gain that holds it. NaN becomes -32768, the format's sign for an unknown sample. Age, sex, SCP codes and
    report go into comments that `read_wfdb` reads.

    Args:
        ecg: the recording.
        path: the record's name, with or without `.hea`: letters, digits, - and _.

    Returns:
        The path of the header.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: for another suffix, a name that WFDB does not allow, or infinite values.
    """
    path = Path(path)
    stem = path.name.removesuffix(".hea").removesuffix(".dat")
    if not _RECORD_NAME.match(stem):
        raise ValueError(
            f"{path.name!r} is no WFDB record name; letters, digits, - and _ are allowed, and the "
            "suffixes .hea and .dat"
        )
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to write {stem} into; create it first")
    if ecg.num_samples == 0 or ecg.num_leads == 0:
        raise ValueError(f"{ecg.name} has no samples; there is nothing to write")
    if np.isinf(ecg.signal).any():
        raise ValueError(f"{ecg.name} holds infinite values; set them to NaN to write them as unknown")
    header = [f"{stem} {ecg.num_leads} {ecg.sampling_rate:.12g} {ecg.num_samples}"]
    samples = np.empty(ecg.signal.T.shape, "<i2")
    for row, (name, values) in enumerate(zip(ecg.leads, ecg.signal.astype(np.float64), strict=True)):
        known = ~np.isnan(values)
        largest = np.abs(values[known]).max() if known.any() else 0.0
        gain = 1000.0 if largest <= 32.767 else float(f"{32767 / largest * (1 - 1e-6):.6g}")
        samples[:, row] = np.where(known, np.rint(np.where(known, values, 0) * gain), UNKNOWN)
        checksum = int(samples[:, row].sum(dtype=np.int64)) % 65536
        checksum -= 65536 if checksum > 32767 else 0
        label = " ".join(_CONTROL.sub(" ", name).split())
        header.append(f"{stem}.dat 16 {gain:.9g}(0)/mV 16 0 {samples[0, row]} {checksum} 0 {label}")
    header += _comment_lines(ecg.metadata)
    # The header is put in place last: without it there is no record, and with it the samples are there.
    with written_aside(folder / f"{stem}.dat") as aside:
        aside.write_bytes(samples.tobytes())
    with written_aside(folder / f"{stem}.hea") as aside:
        aside.write_bytes(("\n".join(header) + "\n").encode())
    return folder / f"{stem}.hea"


def _comment_lines(metadata: dict[str, Any]) -> list[str]:
    lines = []
    if metadata.get("age") is not None:
        lines.append(f"# Age: {metadata['age']:g}")
    if metadata.get("sex"):
        lines.append(f"# Sex: {str(metadata['sex']).capitalize()}")
    for key, label in (("codes", "SCP"), ("dx", "Dx")):
        if metadata.get(key):
            lines.append(f"# {label}: {','.join(map(str, metadata[key]))}")
    if metadata.get("report"):
        lines.append(f"# Report: {metadata['report']}")
    return [" ".join(_CONTROL.sub(" ", line).split())[:_MAX_LINE] for line in lines]
