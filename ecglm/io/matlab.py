"""MATLAB files up to version 7 (`.mat`); version 7.3 is HDF5 and read by `ecglm.io.hdf5`.

The values are read here rather than by `scipy.io`, which crashes the process on some broken files. Every
length is checked against what is there, nesting is bounded, and compressed variables are unpacked no further
than they announce and `_MAX_UNPACKED` allows. Of a long file `start` and `stop` read their part only: what is
packed is unpacked up to there, and not kept. Format: MathWorks, "MAT-File Format", levels 4 and 5.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECGFileError
from ecglm.io import _named
from ecglm.io._common import LONG_BYTES, Hints, Recording, read_bytes

_MAX_UNPACKED = 128 << 20
_MAX_RATIO = 400  # of a variable of which a span is read; an ECG's samples shrink less
_MAX_VARIABLES = 200
_MAX_CELLS = 10_000
_MAX_DEPTH = 8
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_HEAD = 1 << 14  # bytes that hold an array up to its values
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_NUMBERS = range(6, 16)  # the classes double to uint64
_LEVEL_4 = ("f8", "f4", "i4", "i2", "u2", "u1")


class _Broken(Exception):
    """A length that does not fit; becomes one line in `parse`."""


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file has the header of MATLAB 5 to 7, or that of version 4 and the suffix."""
    if head.startswith(b"MATLAB 5.0 MAT-file") or head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return True
    if path.suffix.lower() != ".mat" or len(head) < 20 or head.startswith((b"MATLAB 7.3", b"\x89HDF")):
        return False
    kind, rows, columns, imaginary, name = struct.unpack(f"{_order_of_level_4(head)}5i", head[:20])
    return 0 <= kind < 5000 and rows >= 0 and columns >= 0 and imaginary in (0, 1) and 0 < name < 64


def parse(path: Path, hints: Hints) -> Recording:
    """Read the variable that is the signal: `val`, `ecg`, `data` and the like (also inside a struct), or the
    only long one. Rate, unit, leads, age and sex are read from variables of their usual names.

    Raises:
        ECGFileError: if it is broken, unpacks to more than is read, or holds nothing that could be an ECG.
    """
    values = _variables(path, hints.cropping)
    arrays: dict[str, Any] = {
        name: each
        for name, each in values.items()
        if isinstance(each, (np.ndarray, _named.Streamed)) and each.dtype.kind in "iufb"
    }
    shapes = {name: _without_ones(each.shape) for name, each in arrays.items()}
    if leads := _named.leads_apart(shapes):
        rows = [arrays.pop(name) for name in leads]
        rows = [each.reshape(-1) if isinstance(each, np.ndarray) else each for each in rows]
        apart = _named.Apart(rows)
        arrays, shapes = {"signal": apart}, {"signal": apart.shape}
        values |= {"leads": np.array(leads)}
    chosen = _named.choose(path, shapes)
    index, _ = _named.pick(path, shapes[chosen], hints)
    signal = arrays[chosen]
    if isinstance(signal, np.ndarray):
        signal = signal.reshape(shapes[chosen]) if index is None else signal[index]
    small = {
        name: each
        for name, each in values.items()
        if name != chosen and not isinstance(each, _named.Streamed)
    }
    try:
        recording = _named.recording(path, "MATLAB", signal, small, hints, index)
    except (zlib.error, EOFError) as error:
        raise ECGFileError(f"{path} is a broken MATLAB file ({error}); fetch it again") from error
    if chosen == "val" and recording.sampling_rate is None and hints.sampling_rate is None:
        raise ECGFileError(
            f"{path} holds samples only, and its header {path.with_suffix('.hea').name} is not beside it; "
            "copy it there, or pass sampling_rate=, unit= and leads="
        )
    return recording


def count(path: Path) -> int:
    """How many records a file holds: the first of three axes."""
    values = _variables(path)
    shapes = {name: each.shape for name, each in values.items() if isinstance(each, np.ndarray)}
    shape = shapes[_named.choose(path, shapes)]
    return shape[0] if len(shape) == 3 else 1


def main_array(path: Path) -> np.ndarray:
    """The array of numbers that is the signal, as it lies in the file.

    Raises:
        ECGFileError: as `parse`.
    """
    arrays = {name: each for name, each in _variables(path).items() if isinstance(each, np.ndarray)}
    shapes = {name: each.shape for name, each in arrays.items() if each.dtype.kind in "iuf"}
    return arrays[_named.choose(path, shapes)]


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """MATLAB has no vectors: (1, n) and (n, 1) are one lead."""
    return (max(shape),) if len(shape) == 2 and 1 in shape else shape


def _variables(path: Path, cropping: bool = False) -> dict[str, Any]:
    """All variables by name: arrays of numbers, texts, lists of texts; fields of a struct as `a.b`.

    With `cropping` the arrays of a long file are left in it until a part of them is asked for.
    """
    content: Any
    if cropping and path.stat().st_size > LONG_BYTES:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    else:
        cropping, content = False, read_bytes(path)
    found: dict[str, Any] = {}
    try:
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order:
            _read_level_5(path, content, order, found, cropping)
        else:
            _read_level_4(content, found)
    except (_Broken, struct.error, zlib.error) as error:
        raise ECGFileError(f"{path} is a broken MATLAB file ({error}); fetch it again") from error
    if not found:
        raise ECGFileError(f"{path} holds no variables; fetch it again")
    return found


# ------------------------------------------------------------------------------------- level 5, to 7


def _read_level_5(path: Path, content: Any, order: str, found: dict[str, Any], cropping: bool) -> None:
    position, unpacked = 128, 0
    while position + 8 <= len(content) and len(found) < _MAX_VARIABLES:
        kind, length = struct.unpack(f"{order}2I", content[position : position + 8])
        data = memoryview(content)[position + 8 : position + 8 + length]
        if len(data) < length:
            raise ECGFileError(
                f"{path} is truncated: {length:,} bytes of a variable announced; fetch it again"
            )
        position += 8 + length
        if (
            kind == _COMPRESSED
            and cropping
            and length > LONG_BYTES
            and _left_packed(path, data, order, found)
        ):
            continue
        if kind == _COMPRESSED:
            data = memoryview(_inflate(path, data, order, _MAX_UNPACKED - unpacked))
            unpacked += len(data)
            kind, data, _ = _element(data, order)
        if kind == _MATRIX:
            _matrix(data, order, "", found, 0)


def _inflate(path: Path, packed: memoryview, order: str, left: int) -> bytes:
    """One compressed variable, no further than it announces."""
    stream = zlib.decompressobj()
    start = stream.decompress(packed, 8)
    if len(start) < 8:
        raise _Broken("a compressed variable is empty")
    _, length = struct.unpack(f"{order}2I", start)
    if length > left:
        raise ECGFileError(
            f"{path}: a variable unpacks to {length:,} bytes; at most {_MAX_UNPACKED:,} are unpacked"
        )
    values = start + stream.decompress(stream.unconsumed_tail, max(length, 1))
    stream.decompress(stream.unconsumed_tail, 1)  # its end, where zlib finds that the checksum is wrong
    return values


def _left_packed(path: Path, packed: memoryview, order: str, found: dict[str, Any]) -> bool:
    """Take a compressed variable as it is, if it is one array of numbers; whether it is."""
    start = memoryview(zlib.decompressobj().decompress(packed[:_HEAD], _HEAD))
    kind, length = struct.unpack(f"{order}2I", start[:8])
    if kind != _MATRIX:
        return False
    which, shape, name, data = _head_of(start[8:], order)
    shape = _without_ones(shape)
    kind, size = struct.unpack(f"{order}2I", data[:8])
    if which not in _NUMBERS or kind not in _TYPES or len(shape) > 2:
        return False
    stored = np.dtype(order + _TYPES[kind])
    if size < _size(shape) * stored.itemsize:
        raise _Broken(f"a variable announces {_size(shape):,} values, which are not all there")
    if length > _MAX_RATIO * len(packed):
        raise ECGFileError(f"{path}: a variable unpacks to {length:,} bytes; no ECG does, it is not read")
    begin = len(start) - len(data) + 8
    found[name] = _named.Streamed(lambda: _Inflating(packed), begin, stored, shape, fortran=True)
    return True


class _Inflating:
    """What compressed bytes unpack to, piece by piece."""

    def __init__(self, packed: memoryview) -> None:
        self._packed, self._at, self._stream = packed, 0, zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._stream.eof:
            piece: Any = self._stream.unconsumed_tail
            if not piece:
                piece = self._packed[self._at : self._at + _HEAD]
                self._at += len(piece)
            found = self._stream.decompress(piece, size)
            if found or not piece:
                return found
        return b""

    def close(self) -> None:
        """Nothing is open."""


def _element(data: memoryview, order: str) -> tuple[int, memoryview, memoryview]:
    """Type and content of the first element, and what comes behind; small ones have both in eight bytes."""
    if len(data) < 8:
        raise _Broken("it ends within a variable")
    kind, length = struct.unpack(f"{order}2I", data[:8])
    if kind >> 16:
        kind, length, begin, end = kind & 0xFFFF, kind >> 16, 4, 8
        if length > 4:
            raise _Broken("a small element announces more than four bytes")
    else:
        begin, end = 8, 8 + length + -length % 8
    if begin + length > len(data):
        raise _Broken(f"an element announces {length:,} bytes, {len(data) - begin:,} are there")
    return kind, data[begin : begin + length], data[end:]


def _matrix(data: memoryview, order: str, prefix: str, found: dict[str, Any], depth: int) -> None:
    """One array; what it holds goes into `found`, under its name behind the prefix."""
    which, shape, name, data = _head_of(data, order)
    _fill(which, shape, data, order, prefix + name, found, depth)


def _head_of(data: memoryview, order: str) -> tuple[int, tuple[int, ...], str, memoryview]:
    """Class, shape and name of an array, and what comes behind."""
    _, flags, data = _element(data, order)
    _, sizes, data = _element(data, order)
    _, name, data = _element(data, order)
    if len(flags) < 8 or len(sizes) % 4 or not 2 <= len(sizes) // 4 <= 8:
        raise _Broken("an array has no class or shape")
    which = struct.unpack(f"{order}I", flags[:4])[0] & 0xFF
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    return which, shape, bytes(name).decode("latin-1"), data


def _fill(
    which: int,
    shape: tuple[int, ...],
    data: memoryview,
    order: str,
    name: str,
    found: dict[str, Any],
    depth: int,
) -> None:
    count = _size(shape)
    if depth > _MAX_DEPTH:
        raise _Broken("it nests structs too deep")
    if which in _NUMBERS:
        kind, values, _ = _element(data, order)
        if kind not in _TYPES:
            raise _Broken(f"a variable has values of the unknown type {kind}")
        stored = np.dtype(order + _TYPES[kind])
        if len(values) < count * stored.itemsize:
            raise _Broken(
                f"a variable announces {count:,} values, {len(values) // stored.itemsize:,} are there"
            )
        if len(found) < _MAX_VARIABLES:
            found[name] = np.frombuffer(values, stored, count).reshape(shape, order="F")
    elif which == _CHAR:
        found[name] = _text(data, order, shape)
    elif which == _CELL:
        found[name] = _cells(data, order, count, depth)
    elif which in (_STRUCT, _OBJECT):
        if which == _OBJECT:
            _, _, data = _element(data, order)
        _, width, data = _element(data, order)
        _, names, data = _element(data, order)
        step = struct.unpack(f"{order}I", width[:4])[0] if len(width) >= 4 else 0
        if not 1 <= step <= 1024:
            raise _Broken("a struct's fields have no names")
        fields = [bytes(names[place : place + step]).split(b"\0")[0] for place in range(0, len(names), step)]
        if count == 1:  # many records of a struct array are not read
            for field in fields[:_MAX_VARIABLES]:
                kind, inner, data = _element(data, order)
                if kind == _MATRIX and len(inner):
                    _matrix(inner, order, f"{name}.{field.decode('latin-1')}", found, depth + 1)


def _size(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        if length < 0:
            raise _Broken("an array has a negative length")
        count *= length
    return count


def _text(data: memoryview, order: str, shape: tuple[int, ...]) -> str | list[str]:
    """A text, or the lines of a table of characters."""
    kind, values, _ = _element(data, order)
    encoding = _TEXTS.get(kind, "latin-1")
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    text = bytes(values).decode(encoding, "replace")
    if shape[0] <= 1 or len(text) != _size(shape) or len(shape) > 2:
        return text
    return ["".join(text[row :: shape[0]]).strip() for row in range(shape[0])]


def _cells(data: memoryview, order: str, count: int, depth: int) -> list[Any]:
    """The texts and single numbers of a cell array; anything else as None."""
    cells: list[Any] = []
    while len(data) >= 8 and len(cells) < min(count, _MAX_CELLS):
        kind, inner, data = _element(data, order)
        held: dict[str, Any] = {}
        if kind == _MATRIX and len(inner):
            _matrix(inner, order, "", held, depth + 1)
        value = next(iter(held.values()), None)
        cells.append(value if isinstance(value, str) else None)
    return cells


# -------------------------------------------------------------------------------------------- level 4


def _order_of_level_4(head: bytes) -> str:
    """The order of bytes, by the kind of a variable, which is below 5000."""
    return "<" if struct.unpack("<I", head[:4])[0] < 5000 else ">"


def _read_level_4(content: Any, found: dict[str, Any]) -> None:
    position = 0
    while position + 20 <= len(content) and len(found) < _MAX_VARIABLES:
        order = _order_of_level_4(content[position : position + 4])
        kind, rows, columns, imaginary, length = struct.unpack(
            f"{order}5i", content[position : position + 20]
        )
        precision, what = kind // 10 % 10, kind % 10
        count = _size((rows, columns))
        if kind < 0 or precision >= len(_LEVEL_4) or imaginary not in (0, 1) or not 0 < length < 1000:
            raise _Broken("a variable has no header of level 4")
        stored = np.dtype(order + _LEVEL_4[precision])
        begin = position + 20 + length
        position = begin + count * stored.itemsize * (1 + imaginary)
        if position > len(content):
            raise _Broken(f"a variable announces {count:,} values, which are not all there")
        name = content[begin - length : begin].split(b"\0")[0].decode("latin-1")
        values = np.frombuffer(content, stored, count, begin).reshape((rows, columns), order="F")
        if what == 1:
            found[name] = "".join(chr(int(each) % 0x110000) for each in values.reshape(-1)[:1000])
        elif what == 0:
            found[name] = values
