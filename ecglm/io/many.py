"""Many recordings, one by one: those of a folder, a RECORDS list, or a file that holds many."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecglm.ecg import ECG, ECGFileError
from ecglm.io import _WRITERS, read, recognise, write
from ecglm.io import tables as _tables
from ecglm.io import wfdb as _wfdb
from ecglm.io._common import HEAD_BYTES, Hints, clear_leftovers
from ecglm.io._wfdb_header import read_header

SUFFIXES = {"wfdb": "", "edf": ".edf", "dicom": ".dcm", "aecg": ".xml", "csv": ".csv", "npz": ".npz"}
"""The formats that are written, by name, and the suffix of each."""

_MAX_LIST_BYTES = 64 << 20
_MAX_NESTING = 8  # RECORDS lists that name folders with RECORDS lists
_UNFIT = re.compile(r"[^-\w]", re.ASCII)


@dataclass(frozen=True)
class Source:
    """One recording to be read.

    Args:
        path: its file, or its WFDB record's header.
        index: which one of a file that holds many; None of a file that holds one.
        root: the folder that it was found in.
    """

    path: Path
    index: int | None
    root: Path

    def __str__(self) -> str:
        return str(self.path) if self.index is None else f"{self.path} (index {self.index})"


def sources(given: Any, *, index: int | None = None) -> Iterator[Source]:
    """The recordings that a file, a folder, a RECORDS list or a list of these holds.

    A folder with a RECORDS list gives what that names; any other gives, in order of name and with its
    subfolders, each file whose content is of a format that is read (but tables beside a WFDB header of
    their name), and each WFDB record once.

    Args:
        given: a path, a `Source`, or a list of these.
        index: take only this one of a file that holds many.

    Raises:
        FileNotFoundError: if a path does not exist.
        ECGFileError: if a list names a file outside its folder, or a file that holds many cannot be opened.
    """
    if isinstance(given, Source):
        yield given
        return
    if not isinstance(given, (str, os.PathLike)):
        for each in given:
            yield from sources(each, index=index)
        return
    path = Path(given)
    if path.is_dir():
        yield from _of_folder(path, path, index, 0)
    elif path.name.startswith("RECORDS") and path.is_file():
        yield from _of_list(path, path.parent, index, 0)
    else:
        yield from _of_file(path, path.parent, index)


def read_many(
    given: Any, *, on_error: Callable[[Source, Exception], None] | None = None, **hints: Any
) -> Iterator[ECG]:
    """Read the recordings of a folder, a RECORDS list, a file that holds many, or a list of these.

    Args:
        given: as `sources` takes it.
        on_error: called with what could not be read and why; without it the first such file raises.
        **hints: as `ecglm.read` takes them; they hold for every file.

    Yields:
        Each recording; only one is held at a time.

    Raises:
        FileNotFoundError: if a path does not exist.
        ECGFileError: if a file cannot be read and `on_error` is not given.
        ValueError: for an unknown hint.
    """
    index = Hints.of(hints).index
    for source in sources(given, index=index):
        try:
            ecg = read(source.path, **hints | ({} if source.index is None else {"index": source.index}))
        except (ECGFileError, OSError) as error:
            if on_error is None:
                raise
            on_error(source, error)
        else:
            yield ecg


@dataclass
class Converted:
    """What came of a conversion: files written, files that were there already, and what failed and why."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def convert_files(
    given: Any,
    out: str | os.PathLike,
    to: str,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Source], None] | None = None,
    options: dict[str, Any] | None = None,
    **hints: Any,
) -> Converted:
    """Convert recordings to one format, one by one.

    A file is written aside and renamed, so that what is there is whole: a run that was broken off goes on
    where it stopped, as recordings whose file is there are skipped. What a killed run left half written is
    removed.

    Args:
        given: as `sources` takes it.
        out: folder to write into; subfolders as in the source, names as there, WFDB names without what WFDB
            does not allow.
        to: a name in `SUFFIXES`.
        overwrite: write again what is there.
        on_progress: called before each recording.
        options: of the format's writer.
        **hints: as `ecglm.read` takes them; they hold for every file.

    Returns:
        What was written, skipped, and failed.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: for an unknown format or hint.
    """
    if to not in SUFFIXES:
        raise ValueError(f"there is no format {to!r} to write; there are {', '.join(SUFFIXES)}")
    index, out = Hints.of(hints).index, Path(out)
    done = Converted()
    taken: dict[Path, Source] = {}
    folders: set[Path] = set()
    for source in sources(given, index=index):
        if on_progress:
            on_progress(source)
        target = _target(source, out, to)
        present = target.with_name(target.name + ".hea") if to == "wfdb" else target
        try:
            if target in taken:
                raise ECGFileError(
                    f"{source} would overwrite {target}, which comes from {taken[target]}; "
                    "convert it into another folder"
                )
            taken[target] = source
            if present.exists() and not overwrite:
                done.skipped.append(present)
                continue
            if present.exists() and present.samefile(source.path):
                raise ECGFileError(f"{source} would overwrite itself; convert it into another folder")
            chosen = hints | ({} if source.index is None else {"index": source.index})
            ecg = read(source.path, **chosen)
            if target.parent not in folders:
                folders.add(target.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                clear_leftovers(target.parent)
            done.written.append(write(ecg, target, **options or {}))
        except (ValueError, FileNotFoundError, PermissionError) as error:
            done.failed.append((str(source), " ".join(str(error).split())))
    return done


def format_of(path: Path) -> str | None:
    """The name in `SUFFIXES` that a path's suffix asks for; None where it is no such suffix."""
    writer = _WRITERS.get(path.suffix.lower())
    return {"arrays": "npz", "tables": "csv"}.get(writer, writer) if writer else None


def _target(source: Source, out: Path, to: str) -> Path:
    relative = source.path.relative_to(source.root)
    stem = relative.name.removesuffix(".hea") if relative.suffix == ".hea" else relative.stem
    if source.index is not None:
        stem = f"{stem}-{source.index:06d}"
    if to == "wfdb":
        stem = _UNFIT.sub("_", stem)
    return out / relative.parent / f"{stem}{SUFFIXES[to]}"


# -------------------------------------------------------------------------------------------- what there is


def _of_file(path: Path, root: Path, index: int | None) -> Iterator[Source]:
    found, module = recognise(path)
    if index is None and hasattr(module, "count"):
        try:
            number = module.count(found)
        except ECGFileError:  # whoever reads it is told why
            number = 1
        if number > 1:
            yield from (Source(found, each, root) for each in range(number))
            return
    yield Source(found, index, root)


def _of_list(path: Path, root: Path, index: int | None, depth: int) -> Iterator[Source]:
    """The recordings that a RECORDS list names: one a line, relative to the list."""
    with path.open("rb") as file:
        content = file.read(_MAX_LIST_BYTES + 1)
    if len(content) > _MAX_LIST_BYTES or depth > _MAX_NESTING:
        raise ECGFileError(f"{path} is too long or too deep for a RECORDS list")
    for line in content.decode("utf-8", "replace").splitlines():
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts or "\x00" in name:
            raise ECGFileError(f"{path} names {name[:60]!r}; only what lies in its own folder is read")
        place = path.parent / inside
        if place.is_dir():
            yield from _of_folder(place, root, index, depth + 1)
        elif place.with_name(place.name + ".hea").is_file():
            yield Source(place.with_name(place.name + ".hea"), None, root)
        else:  # whoever reads it is told what is missing
            yield Source(place, None, root)


def _of_folder(folder: Path, root: Path, index: int | None, depth: int) -> Iterator[Source]:
    records = folder / "RECORDS"
    if records.is_file():
        yield from _of_list(records, root, index, depth)
        return
    for here, folders, files in os.walk(folder):
        folders.sort()
        segments = _segments(Path(here), files)
        for name in sorted(files):
            path = Path(here) / name
            if name.startswith(".") or path.is_symlink() and not path.exists():
                continue
            if path.suffix == ".hea":
                if path.stem not in segments:
                    yield Source(path, None, root)
            elif _is_recording(path):
                yield from _of_file(path, root, index)


def _segments(folder: Path, files: list[str]) -> set[str]:
    """Names of WFDB records that are segments of others."""
    found: set[str] = set()
    for name in files:
        path = folder / name
        if name.endswith(".hea") and path.is_file():
            with path.open("rb") as file:
                several = b"/" in file.read(256).split(b"\n")[0]
            if several:
                try:
                    found |= {segment for segment, _ in read_header(path).segments or []}
                except ECGFileError:  # reading it will say so
                    continue
    return found


def _is_recording(path: Path) -> bool:
    """Whether a file found in a folder is a recording of its own.

    Files of a WFDB record come with its header; a table beside one of its name tells of it, and must hold
    numbers to be a recording.
    """
    beside = _wfdb.find_header(path) is not None
    if beside and path.suffix == ".dat":
        return False
    try:
        module = recognise(path)[1]
        if module is not _tables:
            return module is not _wfdb
        if beside:
            return False
        with path.open("rb") as file:
            return _tables.sniff(file.read(HEAD_BYTES), Path(path.stem))
    except (ECGFileError, OSError):
        return False
