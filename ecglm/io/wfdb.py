"""WFDB records: a reader of all signal formats, with a shorter way for format 16, and a writer.

The header is read and checked first (`ecglm.io._wfdb_header`): its length, the number of signals, the samples
against the size of the signal files, and that no file outside the record's folder is named. What the bytes of
the signal files mean stands in `ecglm.io._wfdb_signals`.
"""

from __future__ import annotations

import math
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError
from ecglm.io._common import (
    MAX_SAMPLES,
    Channel,
    Hints,
    Recording,
    in_counts,
    millivolts,
    written_aside,
)
from ecglm.io._counts import refuse_empty
from ecglm.io._wfdb_header import (
    CONTROL,
    MAX_HEADER_BYTES,
    MAX_LINE,
    RECORD_NAME,
    Header,
    Signal,
    comments_of,
    read_header,
)
from ecglm.io._wfdb_mat import resaved
from ecglm.io._wfdb_signals import FLAC, PACKED, num_frames, stored
from ecglm.io._wfdb_signals import UNKNOWN as UNKNOWN_OF

UNKNOWN = UNKNOWN_OF["16"]
"""The sample of format 16 that means "no value"."""

_FINEST = 1000  # samples in a frame, at most


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a WFDB header, or a signal file that the header beside it names."""
    if path.suffix == ".hea":
        return True
    header = find_header(path)
    if header is None:
        return False
    with header.open("rb") as file:
        return path.suffix == ".dat" or os.fsencode(path.name) in file.read(MAX_HEADER_BYTES)


def parse(path: Path, hints: Hints) -> Recording:
    """Read a WFDB record.

    Args:
        path: the header, or the record's name without `.hea`, or one of its signal files.
        hints: `start` and `stop` leave the rest of the files unread; `allow_truncated` keeps what is there of
            a signal file that ends early.

    Returns:
        The channels in the header's units. `metadata`: record_id, age, sex, codes (from a "SCP:" comment), dx
        (from a "Dx:" comment, as written), report, acquired, and comments.

    Raises:
        FileNotFoundError: if there is no such header.
        ECGFileError: if the record is malformed, truncated, larger than its files, or names a file outside
            its folder.
    """
    found = path if path.suffix == ".hea" else find_header(path)
    if found is None:
        raise FileNotFoundError(f"no WFDB record at {path}: there is no {path}.hea")
    header = read_header(found)
    _calibrate(header, hints.unit)
    rate = hints.sampling_rate or header.sampling_rate
    if rate is None:
        raise ECGFileError(f"{found} states no sampling rate; pass sampling_rate= (WFDB's default is 250 Hz)")
    if header.segments is not None:
        channels, rows = _read_segments(header, hints, rate), None
    else:
        num_samples = _check_files(header, hints.allow_truncated)
        several = any(each.samples_per_frame > 1 for each in header.signals)
        first, last = _frames(hints, found, num_samples, rate, several)
        channels, rows = _read_signals(header, num_samples, first, last)
        if several:
            _cut_to_samples(channels, header, hints, rate, first)
    metadata, identity = comments_of(header)
    if header.acquired:
        metadata["acquired"] = header.acquired
    return Recording(
        path=found,
        format="WFDB",
        channels=channels,
        sampling_rate=header.sampling_rate,
        metadata={"record_id": header.name} | metadata,
        identity=identity,
        assumed=header.assumed,
        warnings=header.warnings,
        cropped=True,
        keep_padding=True,  # annotation files count the samples
        rows=rows,
    )


def find_header(path: Path) -> Path | None:
    """The header of the record that a path means by its name or by one of its signal files."""
    name = os.fspath(path)
    if path.suffix == ".hea" and os.path.isfile(name):
        return path
    if not path.name:
        return None
    # The name with .hea added comes first: record names may hold dots.
    if os.path.isfile(f"{name}.hea"):
        return Path(f"{name}.hea")
    header = f"{os.path.splitext(name)[0]}.hea"
    return Path(header) if os.path.isfile(header) and os.path.isfile(name) else None


def files_of(path: Path) -> list[Path]:
    """The header, and the signal files and segments that it names."""
    found = path if path.suffix == ".hea" else find_header(path) or path
    header = read_header(found)
    names = [f"{name}.hea" for name, _ in header.segments or [] if name != "~"]
    names += [each.file for each in header.signals if each.file != "~"]
    return [found, *(each for name in dict.fromkeys(names) if (each := found.parent / name).is_file())]


# ------------------------------------------------------------------------------------------------ the signals


def _calibrate(header: Header, unit: str | None) -> None:
    """Leave the counts as they are where a hint says how large they are; say where nothing does."""
    for number, each in enumerate(header.signals, start=1):
        if in_counts(unit, each.unit) or (unit and not each.calibrated):
            each.gain, each.unit = 1.0, ""
            if unit and "(" in unit:  # "200(1024)/mV" says where zero is, "4.88 uV" does not
                each.baseline = 0
        elif not each.calibrated:
            name = each.name or f"signal {number}"
            header.assumed.append(f"{name}: gain 200 per mV, the WFDB default")
            header.warnings.append(
                f"{name} is uncalibrated (the header has no gain): its amplitude in mV is a guess"
            )


def _data_size(header: Header, name: str) -> int:
    """The size of the signal file that a header names, which must lie in the record's folder or below.

    The last component may be a symbolic link of the file system (data stores such as git-annex or the
    Hugging Face cache use them); what the header itself says cannot lead outside.
    """
    folder = header.path.parent
    if "/" in name or "\\" in name or "\x00" in name or name == "..":
        relative = Path(name)
        if "\x00" in name or "\\" in name or relative.is_absolute() or ".." in relative.parts:
            raise ECGFileError(
                f"{header.path}: it names {name[:60]!r}; only files in its own folder are read"
            )
        if not (folder / relative).parent.resolve().is_relative_to(folder.resolve()):
            raise ECGFileError(
                f"{header.path}: it names {name[:60]!r}, which lies outside its folder; it is not read"
            )
    try:
        there = os.stat(os.path.join(folder, name))
    except (OSError, ValueError):
        there = None
    if there is None or not stat.S_ISREG(there.st_mode):
        raise ECGFileError(f"{header.path}: its signal file {name[:60]!r} is not in {folder}; copy it there")
    return there.st_size


def _check_files(header: Header, allow_truncated: bool = False) -> int:
    """The number of samples, checked against the files' sizes; a header without one gets it from there."""
    absent = [each for each in header.signals if each.format == "0" or each.file == "~"]
    if absent:
        names = ", ".join(each.name for each in absent)
        header.warnings.append(f"{names} left out: the header says that it was not recorded")
        header.signals = [each for each in header.signals if each not in absent]
    if not header.signals:
        raise ECGFileError(f"{header.path}: the header lists no signals; this record holds no ECG")
    frames = header.num_samples
    for file in dict.fromkeys(signal.file for signal in header.signals):
        group = [signal for signal in header.signals if signal.file == file]
        size = _data_size(header, file)
        form = group[0].format
        if any(signal.format != form for signal in group):
            raise ECGFileError(
                f"{header.path}: {file} is said to have several formats; a signal file has one"
            )
        per_frame = sum(signal.samples_per_frame for signal in group)
        if form in FLAC:
            if frames is None or frames * per_frame > MAX_SAMPLES:
                raise ECGFileError(
                    f"{header.path}: {frames or 'unknown'} samples in the compressed file {file} are too many"
                )
            continue
        if form not in PACKED:
            raise ECGFileError(f"{header.path}: {file} has the format {form}, which WFDB does not define")
        available = num_frames(form, size - group[0].offset, per_frame)
        if file.endswith(".mat"):
            samples = resaved(header.path.parent / file, form, group[0].offset, per_frame)
            if samples is not None:
                header.resaved[file], available = samples, len(samples)
        if frames is None:
            frames = available
        elif available < frames:
            if not allow_truncated:
                raise ECGFileError(
                    f"{header.path.parent / file} is truncated: the header announces {frames:,} samples, it "
                    f"holds {available:,}; fetch it again, or read with allow_truncated=True"
                )
            header.warnings.append(
                f"{file} ends after {available:,} of {frames:,} samples; the rest is missing"
            )
            frames = available
    if not frames:
        raise ECGFileError(f"{header.path}: the record holds no samples")
    return frames


def _frames(hints: Hints, path: Path, count: int, rate: float, several: bool) -> tuple[int, int]:
    """First frame and the one behind the last that hold what `start` and `stop` ask for; with several samples
    in a frame those that they cut count as well.
    """
    if not hints.cropping:
        return 0, count
    if not several:
        return hints.span(path, count, rate)
    hints.span(path, count * _FINEST, rate * _FINEST)
    last = count if hints.stop is None else min(math.ceil(hints.stop * rate), count)
    return math.floor((hints.start or 0.0) * rate), last


def _cut_to_samples(channels: list[Channel], header: Header, hints: Hints, rate: float, first: int) -> None:
    """Cut channels of whole frames to the samples that `start` and `stop` ask for."""
    for channel in channels if hints.cropping else ():
        per_frame = (
            round(channel.sampling_rate / (header.sampling_rate or rate)) if channel.sampling_rate else 1
        )
        begin, end = (
            None if each is None else round(each * rate * per_frame) - first * per_frame
            for each in (hints.start or 0.0, hints.stop)
        )
        channel.values = channel.values[begin:end]


def _read_signals(
    header: Header, num_samples: int, first: int, last: int
) -> tuple[list[Channel], np.ndarray | None]:
    """Samples `first` to `last` of one header's signals, and the array whose rows they are, if they are."""
    signals = header.signals
    if (last - first) * sum(each.samples_per_frame for each in signals) > MAX_SAMPLES:
        raise _too_many(header, num_samples, len(signals))
    plain = all(each.format == "16" and each.samples_per_frame == 1 and not each.skew for each in signals)
    if not plain or header.resaved:
        return _read_other_formats(header, num_samples, first, last), None
    values = _read_format_16(header, num_samples, first, last)
    return [Channel(each.name, row, each.unit) for each, row in zip(signals, values, strict=True)], values


def _too_many(header: Header, num_samples: int, num_signals: int) -> ECGFileError:
    return ECGFileError(
        f"{header.path} holds {num_samples:,} samples of {num_signals} signals, too many to read at once; "
        "pass start= and stop= in seconds"
    )


def _read_format_16(header: Header, num_samples: int, first: int, last: int) -> np.ndarray:
    """Format 16, one file or several: (signals, samples) float32 in the header's units, NaN where unknown."""
    signals = header.signals
    files = list(dict.fromkeys(each.file for each in signals))
    if len(files) == 1:
        digital = np.ascontiguousarray(_frames_16(header, signals, first, last).T)
    else:
        digital = np.empty((len(signals), last - first), np.int16)
        for file in files:
            rows = [row for row, each in enumerate(signals) if each.file == file]
            digital[rows] = _frames_16(header, [signals[row] for row in rows], first, last).T
    if first == 0 and last == num_samples and header.num_samples in (None, num_samples):
        sums = digital.sum(axis=1, dtype=np.int16)  # the checksum is the sum in 16 bits, overflow and all
        for each, total in zip(signals, sums.tolist(), strict=True):
            _check_sum(header, each, total)
    # The quotient of two float32 numbers, rounded once, equals the float64 quotient rounded to float32, since
    # float64 has more than twice the digits (Figueroa 1995); where a gain or a difference does not fit into
    # float32, compute in float64.
    gains, baselines = [each.gain for each in signals], [each.baseline for each in signals]
    exact = max(map(abs, baselines)) < 1 << 23 and all(float(np.float32(gain)) == gain for gain in set(gains))
    kind = np.float32 if exact else np.float64
    signal: np.ndarray = digital.astype(kind)
    if any(baselines):
        np.subtract(signal, np.array(baselines, kind)[:, None], out=signal)
    np.divide(signal, np.array(gains, kind)[:, None], out=signal)
    if digital.min() == UNKNOWN:
        signal[digital == UNKNOWN] = np.nan
    return signal.astype(np.float32, copy=False)


def _frames_16(header: Header, signals: list[Signal], first: int, last: int) -> np.ndarray:
    """(samples, signals) int16 of one file's signals."""
    count, offset = (last - first) * len(signals), signals[0].offset + 2 * first * len(signals)
    with open(os.path.join(header.path.parent, signals[0].file), "rb", buffering=0) as file:
        file.seek(offset)
        frames = np.frombuffer(file.read(2 * count), "<i2")
    if len(frames) != count:
        raise ECGFileError(f"{header.path}: {signals[0].file} became shorter while it was read; try again")
    return frames.reshape(last - first, len(signals))


def _check_sum(header: Header, signal: Signal, total: int) -> None:
    if signal.checksum and (total - signal.checksum) % 65536:  # many programs write 0 for "not computed"
        header.warnings.append(f"{signal.name}: the checksum in the header does not fit the samples")


def _read_other_formats(header: Header, num_samples: int, first: int, last: int) -> list[Channel]:
    """Everything but plain format 16. Signals with several samples per frame keep their own rate.

    A skewed signal stands so many frames later in its file; what lies behind the file's end is unknown.
    """
    rows: list[np.ndarray] = [np.empty(0)] * len(header.signals)
    for file in dict.fromkeys(each.file for each in header.signals):
        group = [(row, each) for row, each in enumerate(header.signals) if each.file == file]
        until = min(last + max(each.skew for _, each in group), num_samples)
        if file in header.resaved:
            frames = header.resaved[file][first:until]
        else:
            frames = stored(
                header.path.parent / file,
                group[0][1].format,
                group[0][1].offset,
                [each.samples_per_frame for _, each in group],
                first,
                until,
                [each.initial for _, each in group],
            )
        column = 0
        for row, each in group:
            stop = column + each.samples_per_frame
            digital = frames[each.skew : each.skew + last - first, column:stop].reshape(-1)
            rows[row] = np.full((last - first) * each.samples_per_frame, np.nan, np.float32)
            rows[row][: len(digital)] = _physical(each, digital)
            if first == 0 and last == num_samples == header.num_samples and not each.skew:
                _check_sum(header, each, int(digital.sum(dtype=np.int64)))
            column = stop
    rate = header.sampling_rate if any(each.samples_per_frame > 1 for each in header.signals) else None
    return [
        Channel(each.name, row, each.unit, rate * each.samples_per_frame if rate else None)
        for each, row in zip(header.signals, rows, strict=True)
    ]


def _physical(signal: Signal, digital: np.ndarray) -> np.ndarray:
    """(samples,) in the header's unit, NaN where unknown; in float32 where that is exact, as above."""
    exact = digital.dtype == np.int16 and abs(signal.baseline) < 1 << 23
    exact = exact and float(np.float32(signal.gain)) == signal.gain
    values: np.ndarray = digital.astype(np.float32 if exact else np.float64)
    if signal.baseline:
        values -= signal.baseline
    values /= signal.gain
    if (unknown := UNKNOWN_OF.get(signal.format)) is not None:
        values[digital == unknown] = np.nan
    return values


# ----------------------------------------------------------------------------------------------- the segments


def _read_segments(header: Header, hints: Hints, rate: float) -> list[Channel]:
    """A record in several segments, of one layout or several: NaN where a segment lacks a signal or is a gap.

    Segments do not have segments themselves, so nothing recurs.
    """
    assert header.segments is not None
    segments, lengths = header.segments, [count for _, count in header.segments]
    if not segments:
        raise ECGFileError(f"{header.path}: the record has no segments; it holds no ECG")
    total = sum(lengths)
    if header.num_samples not in (None, total):
        header.warnings.append(f"{header.num_samples:,} samples announced, the segments hold {total:,}")
    first, last = _frames(hints, header.path, total, rate, several=True)
    opened: dict[str, Header] = {}
    layout, begin = None, 0
    wanted: list[tuple[Header, int, int]] = []  # a segment's header, where it begins, how long it is
    for number, (name, count) in enumerate(segments):
        if name == "~" or (count == 0 and number):
            begin += count
            continue
        if name not in opened:
            opened[name] = _segment_header(header, name)
            _calibrate(opened[name], hints.unit)
        if count == 0:
            layout = opened[name]
        elif begin < last and begin + count > first:
            wanted.append((opened[name], begin, count))
        begin += count
    signals = (layout or wanted[0][0]).signals if layout or wanted else []
    if not signals:
        raise ECGFileError(f"{header.path}: the part asked for lies in a gap; it holds no ECG")
    if (last - first) * len(signals) > MAX_SAMPLES:
        raise _too_many(header, total, len(signals))
    for segment, _, count in wanted:  # before anything is allocated
        if _check_files(segment) < count:
            raise ECGFileError(
                f"{header.path}: {count:,} samples announced of segment {segment.name!r}, which is shorter"
            )
    rows = {each.name: row for row, each in enumerate(signals)}
    per_frame = [each.samples_per_frame for each in signals]
    for segment, *_ in wanted:  # a layout, which has no samples, may leave out how many there are in a frame
        for number, each in enumerate(segment.signals):
            row = rows.get(each.name) if layout else number
            if row is not None and row < len(signals):
                per_frame[row] = max(per_frame[row], each.samples_per_frame)
    if (last - first) * sum(per_frame) > MAX_SAMPLES:
        raise _too_many(header, total, len(signals))
    values = [np.full((last - first) * each, np.nan, np.float32) for each in per_frame]
    for segment, begin, count in wanted:
        low, high = max(first - begin, 0), min(last - begin, count)
        for number, channel in enumerate(_read_signals(segment, count, low, high)[0]):
            row = rows.get(channel.name) if layout else number
            if row is None or row >= len(signals) or len(channel.values) != (high - low) * per_frame[row]:
                header.warnings.append(f"{channel.name} of segment {segment.name} does not fit the record")
                continue
            here = slice((begin + low - first) * per_frame[row], (begin + high - first) * per_frame[row])
            values[row][here] = channel.values * _ratio(header, channel.unit, signals[row].unit)
        header.assumed += [each for each in segment.assumed if each not in header.assumed]
        header.warnings += [each for each in segment.warnings if each not in header.warnings]
    several = header.sampling_rate if max(per_frame) > 1 else None
    channels = [
        Channel(each.name, row, each.unit, several * count if several else None)
        for each, row, count in zip(signals, values, per_frame, strict=True)
    ]
    _cut_to_samples(channels, header, hints, rate, first)
    return channels


def _segment_header(header: Header, name: str) -> Header:
    if name == header.name:
        raise ECGFileError(f"{header.path}: the record names itself as a segment")
    path = header.path.parent / f"{name}.hea"
    if not path.is_file():
        raise ECGFileError(
            f"{header.path}: its segment {name!r} is not in {header.path.parent}; copy it there"
        )
    segment = read_header(path)
    if segment.segments is not None:
        raise ECGFileError(
            f"{header.path}: its segment {name!r} has segments itself, which WFDB does not allow"
        )
    if segment.sampling_rate not in (None, header.sampling_rate):
        raise ECGFileError(
            f"{header.path}: its segment {name!r} has {segment.sampling_rate:g} Hz, "
            f"the record {header.sampling_rate or 0:g} Hz"
        )
    return segment


def _ratio(header: Header, unit: str | None, of: str) -> np.float32:
    if unit == of:
        return np.float32(1)
    theirs, ours = millivolts(unit), millivolts(of)
    if theirs is None or ours is None:
        raise ECGFileError(f"{header.path}: its segments give a signal in {unit} and in {of}")
    return np.float32(theirs / ours)


# -------------------------------------------------------------------------------------------- records in hand


def is_wfdb_record(thing: Any) -> bool:
    """Whether an object is a `wfdb.Record` (or MultiRecord), told without importing `wfdb`."""
    return type(thing).__module__.split(".")[0] == "wfdb" and hasattr(thing, "sig_name")


def parse_wfdb_record(record: Any, hints: Hints) -> Recording:
    """A `wfdb.Record` in hand, as `wfdb.rdrecord` returns it: with physical or digital samples, averaged per
    frame or not, or a `MultiRecord`.

    Raises:
        ECGFileError: if the record carries no samples.
    """
    name = str(record.record_name)
    try:
        if hasattr(record, "segments") and not hasattr(record, "p_signal"):
            record = record.multi_to_single(physical=True)
        rows, per_frame = _samples_in_hand(record)
        names, units = list(record.sig_name), list(record.units or ["mV"] * len(record.sig_name))
        rate = float(record.fs)
        for row, unit in enumerate(units if rows is not None else []):
            if in_counts(hints.unit, unit) and record.adc_gain and record.baseline:
                rows[row] = np.rint(rows[row] * record.adc_gain[row])
                rows[row] += record.baseline[row] if "(" in str(hints.unit) else 0
                units[row] = ""
    except Exception as error:  # an object put together by hand may lack anything
        raise ECGFileError(
            f"the wfdb.Record {name} cannot be read ({type(error).__name__}: {str(error)[:120]})"
        ) from error
    if rows is None:
        raise ECGFileError(f"the wfdb.Record {name} carries no samples; read it with wfdb.rdrecord")
    header = Header(Path(f"{name}.hea"), name, rate, None, comments=list(record.comments or []))
    metadata, identity = comments_of(header)
    return Recording(
        path=name,
        format="wfdb.Record",
        channels=[
            Channel(
                name or "",
                np.asarray(row),
                "mV" if unit is None else unit,
                rate * each if max(per_frame) > 1 else None,
            )
            for name, row, unit, each in zip(names, rows, units, per_frame, strict=True)
        ],
        sampling_rate=rate,
        metadata={"record_id": name} | metadata,
        identity=identity,
        warnings=header.warnings,
        keep_padding=True,
    )


def _samples_in_hand(record: Any) -> tuple[Any, list[int]]:
    """The record's rows in physical units, and the samples per frame of each."""
    flat = [1] * len(record.sig_name)
    if record.p_signal is not None:
        return list(np.asarray(record.p_signal).T), flat
    if getattr(record, "d_signal", None) is not None:
        return list(record.dac().T), flat
    if getattr(record, "e_p_signal", None) is not None:
        return list(record.e_p_signal), list(record.samps_per_frame)
    if getattr(record, "e_d_signal", None) is not None:
        return record.dac(expanded=True), list(record.samps_per_frame)
    return None, flat


# ------------------------------------------------------------------------------------------------- the writer


def write_wfdb(ecg: ECG, path: str | os.PathLike) -> Path:
    """Write a WFDB record of format 16: `NAME.hea` and `NAME.dat`, each complete or not there.

    The resolution is 1 µV (gain 1000 per mV, as PTB-XL has it); a lead beyond +-32.767 mV gets the largest
    gain that holds it, a row that is no voltage its own unit. NaN becomes -32768, the format's sign for an
    unknown sample. Age, sex, SCP codes, diagnoses and report go into comments, the time into the header,
    where `ecglm.read` finds them.

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
    if not RECORD_NAME.match(stem):
        raise ValueError(
            f"{path.name!r} is no WFDB record name; letters, digits, - and _ are allowed, and the "
            "suffixes .hea and .dat"
        )
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to write {stem} into; create it first")
    refuse_empty(ecg)
    if np.isinf(ecg.signal).any():
        raise ValueError(f"{ecg.name} holds infinite values; set them to NaN to write them as unknown")
    header = [f"{stem} {ecg.num_leads} {ecg.sampling_rate:.12g} {ecg.num_samples}{_moment(ecg)}"]
    samples = np.empty(ecg.signal.T.shape, "<i2")
    units = ecg.metadata.get("units", {})  # of rows that are no voltage
    for row, (name, values) in enumerate(zip(ecg.leads, ecg.signal.astype(np.float64), strict=True)):
        known = ~np.isnan(values)
        largest = np.abs(values[known]).max() if known.any() else 0.0
        gain = 1000.0 if largest <= 32.767 else float(f"{32767 / largest * (1 - 1e-6):.6g}")
        samples[:, row] = np.where(known, np.rint(np.where(known, values, 0) * gain), UNKNOWN)
        checksum = int(samples[:, row].sum(dtype=np.int64)) % 65536
        checksum -= 65536 if checksum > 32767 else 0
        label = " ".join(CONTROL.sub(" ", name).split())
        unit = "_".join(CONTROL.sub(" ", str(units.get(name, "mV"))).split()) or "nu"
        header.append(f"{stem}.dat 16 {gain:.9g}(0)/{unit} 16 0 {samples[0, row]} {checksum} 0 {label}")
    header += _comment_lines(ecg.metadata)
    # The header is put in place last: without it there is no record, and with it the samples are there.
    with written_aside(folder / f"{stem}.dat") as aside:
        aside.write_bytes(samples.tobytes())
    with written_aside(folder / f"{stem}.hea") as aside:
        aside.write_bytes(("\n".join(header) + "\n").encode())
    return folder / f"{stem}.hea"


def _moment(ecg: ECG) -> str:
    """Time and date of the recording, behind a blank, where both are known."""
    acquired = str(ecg.metadata.get("acquired") or "")
    try:
        moment = datetime.fromisoformat(acquired) if "T" in acquired else None
    except ValueError:
        return ""
    if moment is None or moment.year < 1000:
        return ""
    return f" {moment:%H:%M:%S}{f'.{moment.microsecond:06}'.rstrip('.0')} {moment:%d/%m/%Y}"


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
    return [" ".join(CONTROL.sub(" ", line).split())[:MAX_LINE] for line in lines]
