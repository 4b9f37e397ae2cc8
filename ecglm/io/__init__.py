"""Reading and writing recordings: `read(path)` finds the format, `write(ecg, path)` writes WFDB.

One file per format. A reader takes a path and hints and returns an `ECG` in mV; it never resamples, filters
or normalises, and writes what it had to assume into `metadata["assumed"]` and what looked wrong into
`metadata["warnings"]`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ecglm.ecg import ECG, ECGFileError

# What the first bytes of a file that is no recording say, so that a message can name it.
_FOREIGN = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_HINTS = ("units", "allow_truncated")


def read(path: Any, **hints: Any) -> ECG:
    """Read one recording.

    Args:
        path: a WFDB record: its name with or without `.hea`, or one of its signal files; or a `wfdb.Record`
            in hand.
        **hints: what the file cannot say: `units="mV"` (of signals whose header names no voltage) and
            `allow_truncated=True` (keep the part that is there of a signal file that ends early).

    Returns:
        The recording, in mV, NaN where the file marks a sample as unknown.

    Raises:
        FileNotFoundError: if nothing of that name exists.
        ECGFileError: if it exists but cannot be read; one line that says why.
        ValueError: for an unknown hint.
    """
    from ecglm.io import wfdb

    unknown = sorted(set(hints) - set(_HINTS))
    if unknown:
        raise ValueError(f"read() knows no hint {', '.join(unknown)}; it takes {', '.join(_HINTS)}")
    if not isinstance(path, (str, os.PathLike)):
        if wfdb.is_wfdb_record(path):
            return wfdb.from_wfdb_record(path, units=hints.get("units"))
        raise ValueError(f"read() takes a path or a wfdb.Record, got {type(path).__name__}")
    return wfdb.read_wfdb(_find_header(path), **hints)


def write(ecg: ECG, path: str | os.PathLike) -> Path:
    """Write one recording as a WFDB record (`.hea` and `.dat`, format 16); see `ecglm.io.wfdb.write_wfdb`.

    Args:
        ecg: the recording.
        path: the record's name, with or without `.hea`.

    Returns:
        The path of the header written.

    Raises:
        ValueError: if the name's suffix asks for another format, or the values cannot be written.
    """
    from ecglm.io.wfdb import write_wfdb

    return write_wfdb(ecg, path)


def _find_header(path: str | os.PathLike) -> Path:
    """The WFDB header that a path means; a message in the words of `read` where there is none."""
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text or "\x00" in text:
        raise ECGFileError(f"{text!r} is no file name; give the path of a WFDB record")
    path = Path(text)
    try:
        if path.suffix == ".hea" and path.is_file():
            return path
        # The name with .hea added comes first: record names may hold dots.
        for header in (path.with_name(path.name + ".hea"), path.with_suffix(".hea")) if path.name else ():
            if header.is_file() and (header.stem == path.name or path.is_file()):
                return header
        if path.is_dir():
            raise ECGFileError(f"{path} is a folder; give one record in it, e.g. {_example(path)}")
        if path.is_file():
            raise ECGFileError(_foreign(path))
        if path.exists():
            raise ECGFileError(f"{path} is no regular file; give the path of a WFDB record")
        if path.suffix == ".hea" and path.with_suffix(".dat").is_file():
            raise ECGFileError(
                f"{path.with_suffix('.dat')} is there but its header {path} is not; a record needs both"
            )
        if path.with_name(path.name + ".dat").is_file():
            raise ECGFileError(
                f"{path}.dat is there but its header {path}.hea is not; a WFDB record needs both"
            )
    except (
        OSError,
        ValueError,
    ) as error:  # a name too long for the file system, a folder that may not be entered
        if isinstance(error, ECGFileError):
            raise
        raise ECGFileError(
            f"{str(path)[:200]} cannot be opened: {getattr(error, 'strerror', None) or error}"
        ) from error
    looked_for = path if path.suffix == ".hea" else f"{path} or {path}.hea"
    raise FileNotFoundError(f"no recording at {path}: there is no {looked_for}")


def _foreign(path: Path) -> str:
    """Why a file that exists is no WFDB record."""
    with path.open("rb") as file:
        start = file.read(16)
    for magic, kind in _FOREIGN:
        if start.startswith(magic):
            return f"{path} is {kind}, no recording; read() takes WFDB records (.hea with .dat or .mat)"
    if path.suffix in (".dat", ".mat"):
        return f"{path} is there but its header {path.with_suffix('.hea')} is not; a WFDB record needs both"
    return f"{path} is in no format that read() knows; it takes WFDB records (.hea with .dat or .mat)"


def _example(folder: Path) -> str:
    header = next(iter(sorted(folder.glob("*.hea"))), None)
    return (
        str(header.with_suffix(""))
        if header
        else f"{folder}/NAME where {folder}/NAME.hea exists (none is there)"
    )
