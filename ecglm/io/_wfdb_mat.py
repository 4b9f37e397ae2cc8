"""WFDB signal files that are MATLAB files: the Challenges' hold one plain array of level 4 behind an offset.

Saved anew by MATLAB or SciPy, the same array lies elsewhere, packed or of another type, while the header says
what it did; then the array is read by its own format.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ecglm.ecg import ECGFileError

_DTYPES: dict[str, np.dtype] = {"16": np.dtype(np.int16), "32": np.dtype(np.int32)}
_PLAIN = {"16": 30, "32": 20, "80": 50}  # level 4's number for the type of a format's samples


def resaved(path: Path, form: str, offset: int, per_frame: int) -> np.ndarray | None:
    """The samples of a MATLAB file that does not hold them where its WFDB header says.

    Args:
        path: the signal file.
        form: its format by the header.
        offset: of its first sample by the header, bytes.
        per_frame: samples in a frame.

    Returns:
        (frames, samples per frame) int16 or int32; None where the header is right, or it is no MATLAB file.

    Raises:
        ECGFileError: if it is a MATLAB file of something else, or broken.
    """
    with open(path, "rb", buffering=0) as file:
        head = file.read(128)
    kind = _kind(head, form, offset, per_frame)
    if kind is None:
        return None
    if kind == "7.3":
        raise ECGFileError(
            f"{path} is MATLAB 7.3, not the plain array that its header describes; save it with -v7 in MATLAB"
        )
    from ecglm.io.matlab import main_array

    values, dtype = main_array(path), _DTYPES.get(form)
    if values.ndim != 2 or len(values) != per_frame or dtype is None or not _fits(values, dtype):
        shape = " x ".join(map(str, values.shape))
        raise ECGFileError(
            f"{path} is MATLAB {kind} with {shape} values of {values.dtype.name}, not the counts of "
            f"{per_frame} signals in format {form} that its header describes; fetch it again"
        )
    return values.T.astype(dtype)


def _kind(head: bytes, form: str, offset: int, per_frame: int) -> str | None:
    """Which MATLAB file it is, unless it is none, or the plain array that a header describes."""
    if head.startswith((b"MATLAB 7.3", b"\x89HDF")):
        return "7.3"
    if head.startswith(b"MATLAB 5.0 MAT-file") or head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return "5 to 7"
    if len(head) < 20:
        return None
    for order in "<>":
        kind, rows, columns, imaginary, length = struct.unpack(f"{order}5i", head[:20])
        begin = 20 + length
        name, end = head[20 : begin - 1], head[begin - 1 : begin]
        named = end == b"\0" and name.replace(b"_", b"").isalnum()
        if named and 0 <= kind < 5000 and min(rows, columns) > 0 and imaginary in (0, 1):
            return None if (kind, begin, rows) == (_PLAIN.get(form), offset, per_frame) else "4"
    return None


def _fits(values: np.ndarray, dtype: np.dtype) -> bool:
    """Whether values are whole numbers within a format; MATLAB saves counts that it has read as doubles."""
    about = np.iinfo(dtype)
    inside = bool(((values >= about.min) & (values <= about.max)).all())
    return inside and (values.dtype.kind in "iu" or bool((values == np.rint(values)).all()))
