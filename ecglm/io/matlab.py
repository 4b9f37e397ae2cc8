"""MATLAB files up to version 7 (`.mat`); version 7.3 is HDF5 and read by `ecglm.io.hdf5`.

`scipy.io` reads the values. Compressed variables are unpacked here first, no further than they announce and
`_MAX_UNPACKED` allows, so that scipy never meets a bomb.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECGFileError
from ecglm.io import _named
from ecglm.io._common import Hints, Recording, read_bytes

_MAX_UNPACKED = 128 << 20
_MAX_VARIABLES = 200
_MAX_DEPTH = 6
_COMPRESSED, _MATRIX = 15, 14


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file has the header of MATLAB 5 to 7, or that of version 4 and the suffix."""
    if head.startswith(b"MATLAB 5.0 MAT-file") or head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return True
    if path.suffix.lower() != ".mat" or len(head) < 20 or head.startswith((b"MATLAB 7.3", b"\x89HDF")):
        return False
    kind, rows, columns, imaginary, name = struct.unpack("<5i", head[:20])
    return 0 <= kind < 5000 and rows >= 0 and columns >= 0 and imaginary in (0, 1) and 0 < name < 64


def parse(path: Path, hints: Hints) -> Recording:
    """Read the variable that is the signal: `val`, `ecg`, `data` and the like (also inside a struct), or the
    only long one. Rate, unit, leads, age and sex are read from variables of their usual names.

    Raises:
        ECGFileError: if it is broken, unpacks to more than is read, or holds nothing that could be an ECG.
    """
    values = _variables(path)
    numbers = {
        name: each.shape
        for name, each in values.items()
        if isinstance(each, np.ndarray) and each.dtype.kind in "iufb"
    }
    shapes = {name: _without_ones(shape) for name, shape in numbers.items()}
    chosen = _named.choose(path, shapes)
    signal = values.pop(chosen).reshape(shapes[chosen])
    index, part = _named.pick(path, signal.shape, hints)
    recording = _named.recording(
        path, "MATLAB", signal if index is None else signal[index], values, hints, index
    )
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


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """MATLAB has no vectors: (1, n) and (n, 1) are one lead."""
    return (max(shape),) if len(shape) == 2 and 1 in shape else shape


def _variables(path: Path) -> dict[str, Any]:
    """All variables; fields of a struct as `struct.field`."""
    from scipy.io import loadmat

    content = _unpacked(path, read_bytes(path))
    try:
        loaded = loadmat(io.BytesIO(content), struct_as_record=True, chars_as_strings=True)
    except Exception as error:  # scipy raises whatever its parsing meets: TypeError, KeyError, MatReadError …
        reason = (str(error).splitlines() or [""])[0][:120]
        raise ECGFileError(f"{path} is a broken MATLAB file ({reason}); fetch it again") from error
    found: dict[str, Any] = {}
    _flatten({name: each for name, each in loaded.items() if not name.startswith("__")}, "", found, 0)
    if not found:
        raise ECGFileError(f"{path} holds no variables; fetch it again")
    return found


def _flatten(values: dict[str, Any], prefix: str, found: dict[str, Any], depth: int) -> None:
    for name, value in values.items():
        while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
            value = value.flat[0]
        names = value.dtype.names if isinstance(value, (np.ndarray, np.void)) else None
        if names and depth < _MAX_DEPTH:
            if isinstance(value, np.ndarray):
                if value.size != 1:
                    continue
                value = value.flat[0]
            _flatten({each: value[each] for each in names}, f"{prefix}{name}.", found, depth + 1)
        elif isinstance(value, np.ndarray) and len(found) < _MAX_VARIABLES:
            found[prefix + name] = value


def _unpacked(path: Path, content: bytes) -> bytes:
    """The file with its compressed variables unpacked; a version-4 file as it is."""
    if len(content) < 128 or content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        return content
    order = "<" if content[126:128] == b"IM" else ">"
    pieces, position, size = [content[:128]], 128, 0
    while position + 8 <= len(content):
        kind, length = struct.unpack(f"{order}2I", content[position : position + 8])
        end = position + 8 + length
        if kind == _COMPRESSED:
            piece = _inflate(path, content[position + 8 : end], order, _MAX_UNPACKED - size)
        else:
            end += -length % 8 if kind != _MATRIX else 0
            piece = content[position:end]
        if end > len(content) + 7:
            raise ECGFileError(f"{path} is truncated: a variable announces {length:,} bytes; fetch it again")
        size += len(piece)
        pieces.append(piece)
        position = end
        if len(pieces) > _MAX_VARIABLES:
            raise ECGFileError(f"{path} holds more than {_MAX_VARIABLES} variables; save the ECG's alone")
    return b"".join(pieces)


def _inflate(path: Path, packed: bytes, order: str, left: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        start = stream.decompress(packed, 8)
        if len(start) < 8:
            raise zlib.error("it holds nothing")
        _, length = struct.unpack(f"{order}2I", start)
        if length > left:
            raise ECGFileError(
                f"{path}: a variable unpacks to {length:,} bytes; at most {_MAX_UNPACKED:,} are unpacked"
            )
        return start + stream.decompress(stream.unconsumed_tail, max(length, 1))
    except zlib.error as error:
        raise ECGFileError(f"{path} has a broken compressed variable ({error}); fetch it again") from None
