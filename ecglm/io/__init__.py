"""Reading and writing recordings: `read(path)` finds the format by content, `write(ecg, path)` by suffix.

One file per format; `ecglm.io._common` says what it must offer. A reader never resamples, filters or
normalises, and never guesses a unit: it writes what it had to assume into `metadata["assumed"]` and what
looked wrong into `metadata["warnings"]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ecglm.ecg import ECG, ECGFileError
from ecglm.io import wfdb
from ecglm.io._common import HEAD_BYTES, Hints, states_size
from ecglm.io._finish import finish

FORMATS = (
    "wfdb",
    "dicom",
    "edf",
    "scp",
    "aecg",
    "muse",
    "philips",
    "schiller",
    "hdf5",
    "matlab",
    "arrays",
    "tables",
)
"""The files of the formats, in the order in which they are asked; each is imported only when it is."""

_NO_HINTS = Hints()
_MAX_PROLOG = 1 << 18  # bytes above the root of an XML file
_WRITERS = {
    "": "wfdb",
    ".hea": "wfdb",
    ".dat": "wfdb",
    ".edf": "edf",
    ".dcm": "dicom",
    ".xml": "aecg",
    ".npz": "arrays",
    ".csv": "tables",
}
_FUNCTIONS = {"arrays": "write_npz", "tables": "write_csv"}
# What the first bytes of a file that is no recording say, so that a message can name it.
_FOREIGN = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_KNOWN = (
    "WFDB (.hea with .dat or .mat), EDF, BDF, DICOM, SCP-ECG, HL7 aECG, GE MUSE, Philips and Schiller XML, "
    "CSV, NumPy, MATLAB and HDF5"
)


def read(path: Any, **hints: Any) -> ECG:
    """Read one recording, whatever its format.

    Args:
        path: a file; a WFDB record's name with or without `.hea`; or a `wfdb.Record` in hand.
        **hints: what the file cannot say and which part of it is wanted; see `ecglm.io._common.Hints`:
            `sampling_rate` (Hz), `unit`, `leads`, `start` and `stop` (seconds), `index` (of a file that
            holds many records), `keep_identity`, `allow_truncated`.

    Returns:
        The recording, in mV, NaN where the file marks a sample as unknown. Rows that are no voltage are kept
        in their own unit, which `metadata["units"]` names.

    Raises:
        FileNotFoundError: if nothing of that name exists.
        ECGFileError: if it exists but cannot be read; one line that says why.
        ValueError: for an unknown hint.
    """
    given = Hints.of(hints) if hints else _NO_HINTS
    if not isinstance(path, (str, os.PathLike)):
        if wfdb.is_wfdb_record(path):
            return _in_unit(lambda hints: finish(wfdb.parse_wfdb_record(path, hints), hints), given)
        raise ValueError(f"read() takes a path or a wfdb.Record, got {type(path).__name__}")
    found, module = recognise(path)
    return _in_unit(lambda hints: finish(module.parse(found, hints), hints), given)


def _in_unit(reading: Callable[[Hints], ECG], hints: Hints) -> ECG:
    """The ECG by a hint of the unit alone, which leaves open whether the file's gain holds.

    It does, unless no ECG has such millivolts while one has if counts themselves are of that unit.
    """
    ecg = reading(hints)
    if hints.unit is None or states_size(hints.unit) or not _implausible(ecg):
        return ecg
    counted = reading(replace(hints, unit=f"1 {hints.unit}"))
    if _implausible(counted):
        return ecg
    counted.metadata["assumed"].append(
        f"a count is 1 {hints.unit}, since with the file's gain {hints.unit} would make no ECG"
    )
    return counted


def _implausible(ecg: ECG) -> bool:
    return any(said.startswith("implausible amplitude") for said in ecg.metadata.get("warnings", ()))


def write(ecg: ECG, path: str | os.PathLike, **options: Any) -> Path:
    """Write one recording; the suffix chooses the format.

    Args:
        ecg: the recording.
        path: with `.hea`, `.dat` or no suffix for WFDB, `.edf`, `.dcm`, `.xml` (HL7 aECG), `.csv` or `.npz`.
        **options: of the format's writer, e.g. `ecglm.io.wfdb.write_wfdb`.

    Returns:
        The path of the file written (WFDB: the header).

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if no writer has that suffix, or the values cannot be written.
    """
    path = Path(path)
    name = _WRITERS.get(path.suffix.lower())
    if name is None:
        raise ValueError(
            f"{path.name!r} names no format that is written; end it in .hea (or nothing), .edf, .dcm, .xml, "
            ".csv or .npz"
        )
    function = getattr(import_module(f"ecglm.io.{name}"), _FUNCTIONS.get(name, f"write_{name}"))
    written: Path = function(ecg, path, **options)
    return written


def recognise(path: str | os.PathLike) -> tuple[Path, Any]:
    """The file that a path means, and the module of its format.

    Raises:
        FileNotFoundError: if nothing of that name exists.
        ECGFileError: if it is in no format that is read.
    """
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text or "\x00" in text:
        raise ECGFileError(f"{text!r} is no file name; give the path of a recording")
    path = Path(text)
    try:
        if not os.path.isfile(text):
            header = wfdb.find_header(path)
            if header is None:
                raise _missing(path)
            return header, wfdb
        with open(text, "rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
            if len(head) == HEAD_BYTES and (b"<" in head[:4] or head.lstrip().startswith(b"<")):
                head = _whole_prolog(head, file)
    except (
        OSError,
        ValueError,
    ) as error:  # a name too long for the file system, a folder that may not be entered
        if isinstance(error, (ECGFileError, FileNotFoundError)):
            raise
        raise ECGFileError(
            f"{str(path)[:200]} cannot be opened: {getattr(error, 'strerror', None) or error}"
        ) from error
    if path.name.startswith("RECORDS"):
        raise ECGFileError(f"{path} is a list of records; read them with ecglm.io.read_many")
    for name in FORMATS:
        module = _module(name)
        if module.sniff(head, path):
            return path, module
    if wfdb.find_header(path):  # e.g. an annotation file of a record
        return path, wfdb
    raise ECGFileError(_foreign(path, head))


def _whole_prolog(head: bytes, file: Any) -> bytes:
    """The beginning of an XML file, up to its root also where long comments stand above that."""
    return head if _module("_xml").root_name(head) else head + file.read(_MAX_PROLOG - len(head))


@lru_cache
def _module(name: str) -> Any:
    return import_module(f"ecglm.io.{name}")


def _missing(path: Path) -> Exception:
    """Why there is nothing to open."""
    if path.is_dir():
        return ECGFileError(
            f"{path} is a folder; give one record in it, e.g. {_example(path)}, or read all with "
            "ecglm.io.read_many"
        )
    if path.exists():
        return ECGFileError(f"{path} is no regular file; give the path of a recording")
    for data in (path.with_suffix(".dat") if path.suffix == ".hea" else path.with_name(path.name + ".dat"),):
        if data.is_file():
            return ECGFileError(
                f"{data} is there but its header {data.with_suffix('.hea')} is not; a WFDB record needs both"
            )
    looked_for = path if path.suffix == ".hea" else f"{path} or {path}.hea"
    return FileNotFoundError(f"no recording at {path}: there is no {looked_for}")


def _foreign(path: Path, head: bytes) -> str:
    """Why a file that exists is no recording."""
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            return f"{path} is {kind}, no recording; read() takes {_KNOWN}"
    if not head:
        return f"{path} is empty; fetch it again"
    if path.suffix == ".dat":
        return f"{path} is there but its header {path.with_suffix('.hea')} is not; a WFDB record needs both"
    return f"{path} is in no format that read() knows; it takes {_KNOWN}"


def _example(folder: Path) -> str:
    header = next(iter(sorted(folder.glob("*.hea"))), None)
    return (
        str(header.with_suffix(""))
        if header
        else f"{folder}/NAME where {folder}/NAME.hea exists (none is there)"
    )


def __getattr__(name: str) -> Any:
    places = {"read_many": "many", "convert_files": "many", "inspect": "inspection"}
    if name not in places:
        raise AttributeError(f"module 'ecglm.io' has no attribute {name!r}")
    return getattr(import_module(f"ecglm.io.{places[name]}"), name)
