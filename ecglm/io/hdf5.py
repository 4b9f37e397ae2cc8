"""HDF5 files (`.h5`, `.hdf5`, MATLAB 7.3): one record or many, through h5py, the extra `formats`.

Two published layouts are known by their names and shapes: CODE-15% (`tracings` (exams, 4096, 12), with
`exam_id`) and SPH (`ecg` (12, samples) in half precision). What their publishers document, and the files do
not say, goes into `metadata["assumed"]`. Of other files the signal is the dataset named `signal`, `ecg`,
`data` and the like, the only long one, or one dataset per lead; rate, unit and leads are read from attributes
and datasets of their usual names. Links to other files, and datasets kept in other files, are not followed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import LEADS_12, ECGFileError, standard_lead
from ecglm.io import _named
from ecglm.io._common import Channel, Hints, Recording

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_OBJECTS = 1000
_MAX_ATTRIBUTES = 100  # of one object
_MAX_DEPTH = 16
_MAX_SMALL = 1000  # values of a dataset beside the signal
_MAX_RATIO = 400  # bytes read for one byte of the file
_CODE_RATE, _SPH_RATE = (
    400.0,
    500.0,
)  # Hz; doi.org/10.5281/zenodo.4916206 and doi.org/10.1038/s41597-022-01403-5


def sniff(head: bytes, path: Path) -> bool:
    """Whether the signature stands at one of the places that HDF5 allows."""
    return any(head[place : place + 8] == _SIGNATURE for place in (0, 512, 1024, 2048, 4096))


def parse(path: Path, hints: Hints) -> Recording:
    """Read one record; `hints.index` chooses among many.

    Raises:
        ECGFileError: if h5py is missing, the file is broken, holds many records where none is chosen, or
            nothing that could be an ECG.
    """
    with _opened(path) as (datasets, small):
        leads = _one_dataset_per_lead(datasets)
        if leads:
            return _of_leads(path, leads, small, hints)
        chosen = _named.choose(path, {name: each.shape for name, each in datasets.items()})
        dataset = datasets[chosen]
        own = _attributes(dataset.id)
        matlab = "MATLAB_class" in own
        shape = tuple(reversed(dataset.shape)) if matlab else dataset.shape
        index, part = _named.pick(path, _without_ones(shape), hints)
        values = _Record(dataset, index, part, matlab)
        _check_packing(path, dataset, values.shape)
        small = {name: each for name, each in small.items() if name != chosen}
        small |= {f"{chosen}@{name}": each for name, each in own.items()}
        recording = _named.recording(path, "HDF5", values, _bare(small), hints, index)
        _known_layout(recording, chosen.rsplit("/", 1)[-1], dataset, hints)
        exam = datasets.get("exam_id")
        if index is not None and exam is not None and exam.shape[:1] == dataset.shape[:1]:
            _check_packing(path, exam, exam.shape[1:])
            recording.metadata["record_id"] = str(_named.scalar(exam[index]))
        return recording


def count(path: Path) -> int:
    """How many records a file holds: the first of three axes."""
    with _opened(path) as (datasets, _small):
        if _one_dataset_per_lead(datasets):
            return 1
        shape = datasets[_named.choose(path, {name: each.shape for name, each in datasets.items()})].shape
        return shape[0] if len(shape) == 3 else 1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The datasets of numbers by path, and the small values: attributes and short datasets."""
    try:
        import h5py
    except ImportError:
        raise ECGFileError(f"{path} is HDF5, which h5py reads: pip install h5py") from None
    try:
        try:
            file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, _access())
        except OSError:  # e.g. as this process has it open with a lock
            file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
        try:
            root = h5py.h5o.open(file, b"/")
            datasets: dict[str, Any] = {}
            small = _attributes(root)
            _collect(path, root, "", datasets, small, 0)
            yield datasets, small
        finally:
            file.close()
    except ECGFileError:
        raise
    except (
        Exception
    ) as error:  # h5py raises what the library reports: OSError, RuntimeError, KeyError, TypeError …
        reason = (str(error).splitlines() or [""])[0][:120]
        raise ECGFileError(f"{path} is a broken HDF5 file ({reason}); fetch it again") from error


@lru_cache
def _access() -> Any:
    """How a file is opened: as `h5py.File(…, locking=False)` does it, in half the time."""
    from h5py import h5f, h5p

    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_LATEST)
    if hasattr(access, "set_file_locking"):
        access.set_file_locking(False, ignore_when_disabled=False)
    return access


def _collect(
    path: Path, group: Any, prefix: str, datasets: dict[str, Any], small: dict[str, Any], depth: int
) -> None:
    import h5py

    if depth > _MAX_DEPTH or group.get_num_objs() + len(datasets) > _MAX_OBJECTS:
        raise ECGFileError(f"{path} holds too many or too deep groups; save the ECG's alone")
    for link in [group.get_objname_by_idx(number) for number in range(group.get_num_objs())]:
        if link.startswith(b"#") or group.links.get_info(link).type != h5py.h5l.TYPE_HARD:
            continue
        name = link.decode("utf-8", "surrogateescape")
        thing = h5py.h5o.open(group, link)
        if isinstance(thing, h5py.h5g.GroupID):
            small |= {f"{prefix}{name}@{key}": value for key, value in _attributes(thing).items()}
            _collect(path, thing, f"{prefix}{name}/", datasets, small, depth + 1)
        elif isinstance(thing, h5py.h5d.DatasetID) and thing.shape is not None and _is_inside(thing):
            dataset = h5py.Dataset(thing, readonly=True)
            if dataset.dtype.kind in "iufb":
                datasets[prefix + name] = dataset
            if dataset.size <= _MAX_SMALL:
                small[prefix + name] = _text_of_matlab(dataset)


def _is_inside(dataset: Any) -> bool:
    """Whether a dataset's values lie in its own file."""
    import h5py

    created = dataset.get_create_plist()
    return not created.get_external_count() and created.get_layout() != h5py.h5d.VIRTUAL


def _text_of_matlab(dataset: Any) -> Any:
    if dataset.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, np.asarray(dataset[()]).reshape(-1)[:1000].tolist()))
    return dataset.asstr()[()] if dataset.dtype.kind == "O" else dataset[()]


def _attributes(thing: Any) -> dict[str, Any]:
    """Those attributes, texts and numbers, whose names say something to a reader."""
    from h5py import h5a, h5t

    found = {}
    for number in range(min(h5a.get_num_attrs(thing), _MAX_ATTRIBUTES)):
        attribute = h5a.open(thing, index=number)
        name = attribute.name.decode("utf-8", "replace")
        if name != "MATLAB_class" and not _named.is_known(name):
            continue
        shape, dtype = attribute.shape, attribute.dtype
        if shape is None or math.prod(shape) > _MAX_SMALL or dtype.kind not in "iufbSO":
            continue
        if dtype.kind == "O" and h5t.check_string_dtype(dtype) is None:
            continue
        found[name] = np.empty(shape, dtype)
        attribute.read(found[name])
    return found


def _bare(small: dict[str, Any]) -> dict[str, Any]:
    """Attributes by their own names; one nearer to the signal, which comes later, goes before."""
    return {name.rsplit("@", 1)[-1]: value for name, value in small.items()}


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (max(shape),) if len(shape) == 2 and 1 in shape else shape


class _Record:
    """One record of a dataset, of which only the part that is asked for is read.

    Args:
        dataset: in the file's order of axes.
        index: which record of many; None of one.
        shape: the record's own.
        reverse: whether its axes are those of the dataset in reverse, as MATLAB saves them.
    """

    def __init__(self, dataset: Any, index: int | None, shape: tuple[int, ...], reverse: bool) -> None:
        self.shape, self.dtype = shape, dataset.dtype
        self._dataset, self._index, self._reverse = dataset, index, reverse

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        place: list[Any] = [*key] if isinstance(key, tuple) else [key]
        place += [slice(None)] * (len(self.shape) - len(place))
        if self._index is not None:
            place.insert(0, self._index)
        if self._reverse:
            place.reverse()
        if len(place) < len(self._dataset.shape):  # a vector that is saved as a matrix
            place.insert(self._dataset.shape.index(1), 0)
        values = np.asarray(self._dataset[tuple(place)])
        return values.T if self._reverse else values


def _check_packing(path: Path, dataset: Any, shape: tuple[int, ...]) -> None:
    """Refuse a dataset that is too large for its file, before anything of that shape is read."""
    announced = math.prod(shape) * dataset.dtype.itemsize
    if announced > _MAX_RATIO * max(path.stat().st_size, 4096):
        raise ECGFileError(f"{path} unpacks to {announced:,} bytes; no ECG does, it is not read")
    if dataset.chunks is not None:
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
        if chunk > 1 << 28:
            raise ECGFileError(f"{path} is packed in pieces of {chunk:,} bytes; at most 256 MB are unpacked")


def _one_dataset_per_lead(datasets: dict[str, Any]) -> dict[str, Any]:
    """Datasets of one length in one group, named like leads."""
    groups: dict[str, dict[str, Any]] = {}
    for name, dataset in datasets.items():
        if len(_without_ones(dataset.shape)) == 1 and standard_lead(name.rsplit("/", 1)[-1]) in LEADS_12:
            groups.setdefault(name.rpartition("/")[0], {})[name.rsplit("/", 1)[-1]] = dataset
    fitting = [each for each in groups.values() if len({dataset.size for dataset in each.values()}) == 1]
    return fitting[0] if len(fitting) == 1 else {}


def _of_leads(path: Path, leads: dict[str, Any], small: dict[str, Any], hints: Hints) -> Recording:
    _named.pick(path, (1,), hints)
    rate, unit, _ = _named.described(_bare(small))
    own = {name: _named.described(_attributes(dataset.id)) for name, dataset in leads.items()}
    rate = rate or next((each[0] for each in own.values() if each[0]), None)
    length = next(iter(leads.values())).size
    span = _named.span_of(path, length, hints, rate)
    channels = []
    for name, dataset in leads.items():
        _named.check_array(path, dataset.dtype, (span.stop - span.start,))
        _check_packing(path, dataset, dataset.shape)
        values = _Record(dataset, None, (length,), reverse=False)[span].astype(np.float64)
        channels.append(Channel(name, values, own[name][1] or unit))
    channels.sort(key=lambda each: LEADS_12.index(standard_lead(each.name)))
    return Recording(path, "HDF5", channels, rate, cropped=span != slice(0, length))


def _known_layout(recording: Recording, name: str, dataset: Any, hints: Hints) -> None:
    """What the publishers of CODE-15% and SPH document, where the file does not say it."""
    channels = recording.channels
    code = name == "tracings" and len(dataset.shape) == 3 and dataset.shape[1:] == (4096, 12)
    sph = name == "ecg" and len(dataset.shape) == 2 and dataset.shape[0] == 12 and dataset.dtype == np.float16
    if not (code or sph) or len(channels) != 12:
        return
    if code and not hints.cropping:
        _cut_zeros(recording)
    publisher, rate = ("CODE-15%", _CODE_RATE) if code else ("SPH", _SPH_RATE)
    said = []
    if recording.sampling_rate is None and hints.sampling_rate is None:
        recording.sampling_rate = rate
        said.append(f"{rate:g} Hz")
    if not any(channel.name for channel in channels) and hints.leads is None:
        for channel, lead in zip(channels, LEADS_12, strict=True):
            channel.name = lead
        said.append("leads in the standard order")
    if sph and hints.unit is None and not any(channel.unit for channel in channels):
        for channel in channels:
            channel.unit = "mV"
        said.append("mV")
    if said:
        recording.assumed.append(f"{', '.join(said)}, as the publisher of {publisher} documents")
    if code and hints.unit is None and not any(channel.unit for channel in channels):
        raise ECGFileError(
            f"{recording.path} has the layout of CODE-15%, whose unit is not documented; pass unit='mV', as "
            "most take it (its amplitudes are then about twice those of other sets)"
        )


def _cut_zeros(recording: Recording) -> None:
    """CODE-15% fills 7 or 10 s up with zeros to 4096 samples, before and behind."""
    rows = np.stack([channel.values for channel in recording.channels])
    known = np.flatnonzero((rows != 0).any(axis=0))
    first, last = (known[0], known[-1] + 1) if known.size else (0, rows.shape[1])
    before, behind = first / _CODE_RATE, (rows.shape[1] - last) / _CODE_RATE
    if before or behind:
        rows = np.ascontiguousarray(rows[:, first:last])
        recording.rows = rows if rows.dtype == np.float32 else None
        for channel, row in zip(recording.channels, rows, strict=True):
            channel.values = row
        recording.warnings.append(
            f"{before:g} s before and {behind:g} s behind the recording are cut: zeros (padding)"
        )
