"""NumPy files: `.npy` (one array) and `.npz` (named arrays), read without pickle, and the writer of `.npz`.

What a file claims is checked before it is loaded: the zip directory, and the header of each array.
"""

from __future__ import annotations

import ast
import io
import json
import math
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError
from ecglm.io import _named
from ecglm.io._common import LONG_BYTES, Hints, Recording, plain_metadata, restore_metadata, written_aside
from ecglm.io._counts import refuse_empty

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000  # bytes; as numpy has it
_MAX_MEMBERS = 1000
_PLAIN_FLAGS = 0x080E  # of a zip member: how well it is packed, sizes behind it, a name in UTF-8
_MAX_SMALL = 4 << 20  # bytes of an array beside the signal; a text has four a character
_MAX_KEPT = 8 << 20  # bytes of the arrays that are unpacked with their headers
_MAX_RATIO = 400  # an ECG's samples shrink less than that, a bomb's more than 1000


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file starts as an array does, or as a zip archive of arrays."""
    return head.startswith(_MAGIC) or (
        head.startswith(b"PK\x03\x04") and (b".npy" in head[:600] or path.suffix == ".npz")
    )


def parse(path: Path, hints: Hints) -> Recording:
    """Read `.npy` or `.npz`: (leads, samples), (samples, leads), (samples,), or many records of these.

    In an archive the signal is the array named `signal`, `ecg`, `data` and the like, or the only long one;
    rate, unit, leads, age and sex are read from small arrays of their usual names.

    Raises:
        ECGFileError: if it holds objects, more than its bytes, or nothing that could be an ECG.
    """
    with path.open("rb") as file:
        if file.read(6) == _MAGIC:
            file.seek(0)
            size = path.stat().st_size
            dtype, shape, fortran = _header(path, file, size)
            _check(path, dtype, shape, size - file.tell())
            index, _ = _named.pick(path, shape, hints)
            mapped = np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
            values = mapped if index is None else mapped[index]
            return _named.recording(path, "NumPy", values, {}, hints, index)
        return _parse_npz(path, file, hints)


def count(path: Path) -> int:
    """How many records a file holds: the first of three axes."""
    with path.open("rb") as file:
        if file.read(6) == _MAGIC:
            file.seek(0)
            shape = _header(path, file, path.stat().st_size)[1]
        else:
            with _archive(path, file) as archive:
                members = _members(path, archive)
                shape = members[
                    _named.choose(path, {name: each.shape for name, each in members.items()})
                ].shape
    return shape[0] if len(shape) == 3 else 1


def _header(path: Path, file: IO[bytes], size: int) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Type and shape of an array, and whether columns come first; the file is left where the values begin."""
    start = file.read(8)
    version = start[6] if len(start) == 8 and start[:6] == _MAGIC else 0
    length = file.read(2 if version == 1 else 4)
    try:
        if version not in (1, 2, 3):
            raise ValueError
        (announced,) = struct.unpack("<H" if version == 1 else "<I", length)
        if announced > min(_MAX_HEADER, size):
            raise ValueError
        return _described(file.read(announced).decode("latin-1" if version < 3 else "utf-8"))
    except (ValueError, SyntaxError, TypeError, KeyError, struct.error, RecursionError, MemoryError):
        raise ECGFileError(f"{path} has a broken NumPy header; save it again with numpy.save") from None


@lru_cache(maxsize=64)
def _described(text: str) -> tuple[np.dtype, tuple[int, ...], bool]:
    said = ast.literal_eval(text)
    dtype, shape, fortran = np.dtype(said["descr"]), tuple(said["shape"]), bool(said["fortran_order"])
    if not all(isinstance(each, int) and each >= 0 for each in shape) or len(shape) > 32:
        raise ValueError
    return dtype, shape, fortran


def _check(path: Path, dtype: np.dtype, shape: tuple[int, ...], there: int) -> None:
    if dtype.hasobject:
        raise ECGFileError(f"{path} holds Python objects; nothing is unpickled, save numbers only")
    announced = dtype.itemsize
    for length in shape:
        announced *= length
    if announced > there:
        raise ECGFileError(
            f"{path} is truncated: {announced:,} bytes announced, {max(there, 0):,} there; fetch it again"
        )


def _archive(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ECGFileError(f"{path} is a broken NPZ file ({str(error)[:80]}); fetch it again") from None


@dataclass(slots=True)
class _Member:
    """One array of an archive."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    entry: zipfile.ZipInfo
    begin: int  # of its values, behind its header
    content: bytes | None  # with the header; None where it is still packed


def _members(path: Path, archive: zipfile.ZipFile, keep: int = 0) -> dict[str, _Member]:
    """The arrays of an archive, by their headers; unpacked with these as long as `keep` bytes allow."""
    entries = archive.infolist()
    if len(entries) > _MAX_MEMBERS:
        raise ECGFileError(f"{path} holds {len(entries):,} arrays, at most {_MAX_MEMBERS:,} are looked at")
    members = {}
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            continue
        size = entry.file_size
        if size > _MAX_RATIO * max(entry.compress_size, 4096):
            raise ECGFileError(
                f"{path}: {entry.filename} unpacks from {entry.compress_size:,} bytes to {size:,};"
                " no ECG does"
            )
        content = None
        if size <= keep:
            keep -= size
            content = _unpacked(archive, entry)
        with archive.open(entry) if content is None else io.BytesIO(content) as head:
            dtype, shape, fortran = _header(path, head, size)
            begin = head.tell()
        _check(path, dtype, shape, (size if content is None else len(content)) - begin)
        name = entry.filename.removesuffix(".npy")
        members[name] = _Member(dtype, shape, fortran, entry, begin, content)
    return members


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member at once, with the checks of `zipfile`, which unpacks it piece by piece."""
    known = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    grown = entry.compress_size > entry.file_size + entry.file_size // 100 + 100  # deflate adds less
    if entry.flag_bits & ~_PLAIN_FLAGS or not known or grown:
        return archive.read(entry)
    file: Any = archive.fp
    file.seek(entry.header_offset)
    local = file.read(30)
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile("a member has no header")
    file.seek(sum(struct.unpack("<HH", local[26:])), 1)
    content: bytes = file.read(entry.compress_size)
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.file_size + 1)
    if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise zipfile.BadZipFile("a member's length or checksum is wrong")
    return content


def _parse_npz(path: Path, file: IO[bytes], hints: Hints) -> Recording:
    try:
        with _archive(path, file) as archive:
            members = _members(path, archive, keep=LONG_BYTES if hints.cropping else _MAX_KEPT)
            numbers = {name: each.shape for name, each in members.items() if each.dtype.kind in "iufb"}
            leads = _named.leads_apart(numbers)
            if leads:
                return _of_leads(path, archive, members, leads, hints)
            chosen = _named.choose(path, numbers)
            signal = members.pop(chosen)
            index, _ = _named.pick(path, signal.shape, hints)
            if hints.cropping and signal.content is None:
                values = _left_packed(path, archive, signal, index)
            else:
                _named.check_array(path, signal.dtype, signal.shape)
                values = _load(archive, signal)
                values = values if index is None else values[index]
            small = _small(archive, members)
            recording = _named.recording(path, "NumPy", values, small, hints, index)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        # a wrong checksum, a broken stream, a method or password that zipfile does not know
        if isinstance(error, ECGFileError):
            raise
        raise ECGFileError(f"{path} is a broken NPZ file ({str(error)[:80]}); fetch it again") from error
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "_lzma"):
            raise ECGFileError(f"{path} is a broken NPZ file ({str(error)[:80]}); fetch it again") from error
        raise
    if "metadata" in members.keys() - small.keys():
        recording.warnings.append(f"the metadata has more than {_MAX_SMALL >> 20} MB; it is left out")
    return _with_own_metadata(recording, small)


def _small(archive: zipfile.ZipFile, members: dict[str, _Member]) -> dict[str, Any]:
    return {
        name: _load(archive, each) for name, each in members.items() if each.entry.file_size <= _MAX_SMALL
    }


def _of_leads(
    path: Path, archive: zipfile.ZipFile, members: dict[str, _Member], leads: list[str], hints: Hints
) -> Recording:
    """A recording of which each lead is an array of its own."""
    signals = [members.pop(name) for name in leads]
    _named.pick(path, (1,), hints)
    if not hints.cropping:
        _named.check_array(path, signals[0].dtype, (len(leads), *signals[0].shape))
    values = [
        _left_packed(path, archive, each, None)
        if hints.cropping and each.content is None
        else _load(archive, each)
        for each in signals
    ]
    small = _small(archive, members) | {"leads": np.array(leads)}
    return _named.recording(path, "NumPy", _named.Apart(values), small, hints)


def _left_packed(path: Path, archive: zipfile.ZipFile, member: _Member, index: int | None) -> Any:
    """A large array, or one record of it, of which only the part that is asked for is read."""
    entry, begin, dtype, shape = member.entry, member.begin, member.dtype, member.shape
    if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1:
        with path.open("rb") as file:
            file.seek(entry.header_offset + 26)
            begin += entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            mapped = np.memmap(file, dtype, "r", begin, shape, "F" if member.fortran else "C")
        return mapped if index is None else mapped[index]
    if index is not None:
        if member.fortran:
            _named.check_array(path, dtype, shape)
            return _load(archive, member)[index]
        shape = shape[1:]
        begin += index * math.prod(shape) * dtype.itemsize
    return _named.Streamed(lambda: archive.open(entry), begin, dtype, shape, member.fortran)


def _load(archive: zipfile.ZipFile, member: _Member) -> np.ndarray:
    if member.content is not None and math.prod(member.shape) * member.dtype.itemsize:
        flat = np.frombuffer(member.content, member.dtype, math.prod(member.shape), member.begin)
        values = flat.reshape(member.shape, order="F" if member.fortran else "C")
    else:
        with archive.open(member.entry) as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    # NumPy makes a string of any 32 bits; the first use of one that is no character fails in Python's core.
    if values.dtype.kind == "U" and values.size:
        points = np.frombuffer(values.tobytes(), np.dtype(np.uint32).newbyteorder(values.dtype.byteorder))
        if points.max(initial=0) > sys.maxunicode:
            raise ValueError(f"{member.entry.filename} holds what is no character")
    return values


def _with_own_metadata(recording: Recording, small: dict[str, Any]) -> Recording:
    """What `write_npz` saved beside the usual names: units of single rows, and metadata as JSON."""
    text = _named.scalar(small["metadata"]) if "metadata" in small else None
    if isinstance(text, str):
        restore_metadata(recording, text)
    units = recording.metadata.pop("units", {})
    for channel in recording.channels:
        unit = units.get(channel.name, channel.unit)
        channel.unit = unit if isinstance(unit, str) else channel.unit
    return recording


def write_npz(ecg: ECG, path: str | Path, *, identity: bool = False) -> Path:
    """Write `.npz`: signal (leads, samples) float32 mV, sampling_rate, unit, leads, and metadata as JSON.

    Args:
        ecg: the recording.
        path: ends in `.npz`.
        identity: write `metadata["identity"]` too.

    Returns:
        The path.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if the recording has no samples.
    """
    path = Path(path)
    refuse_empty(ecg)
    metadata = json.dumps(plain_metadata(ecg, identity=identity), ensure_ascii=False)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file,
            signal=ecg.signal,
            sampling_rate=np.float64(ecg.sampling_rate),
            unit=np.str_("mV"),
            leads=np.array(ecg.leads),
            metadata=np.str_(metadata),
        )
    return path
