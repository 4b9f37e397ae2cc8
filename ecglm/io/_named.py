"""A recording among named arrays, as NumPy, MATLAB and HDF5 files hold it: which array is the signal, which
numbers are its rate, unit and lead names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import LEADS_12, ECGFileError, standard_lead
from ecglm.io._common import MAX_LEADS, MAX_SAMPLES, Channel, Hints, Recording, states_size

SIGNALS = (
    *("signal", "signals", "ecg", "ecgs", "p_signal", "val", "data", "x", "tracings", "tracing", "feats"),
    *("waveform", "waveforms", "voltage", "ecg_signal", "ecg_data", "samples", "sig", "y"),
)
_RATES = (
    *("sampling_rate", "sampling_frequency", "sample_rate", "curr_sample_rate", "samplerate", "samplingrate"),
    *("samplingfrequency", "fs", "sfreq", "srate", "freq", "frequency", "hz", "rate"),
    *("sampling_rate_hz", "sampling_frequency_hz", "sample_frequency", "samp_freq", "fs_hz", "sf", "sr"),
)
_UNITS = ("unit", "units", "signal_unit", "sig_units")
_LEADS = (
    "leads",
    "lead_names",
    "lead",
    "sig_name",
    "sig_names",
    "channels",
    "channel_names",
    "ch_names",
    "names",
    *("lead_order", "lead_labels", "channel_labels", "leadnames", "leadorder", "channelnames"),
)
# A gain of WFDB's is counts per unit; of any other name it may be that, or the size of a count.
_ADC_GAINS, _ADC_ZEROS = ("adc_gain", "adc_gains", "adcgain"), ("baseline", "adc_zero", "adczero")
_GAINS = ("gain", "gains", "scale_factor", "scalefactor")
_AGES, _SEXES = ("age",), ("sex", "gender")
_KNOWN = frozenset((*_RATES, *_UNITS, *_LEADS, *_ADC_GAINS, *_ADC_ZEROS, *_GAINS, *_AGES, *_SEXES))


def scalar(value: Any) -> Any:
    """A text or number out of the wrappings that files put around it; None where it is neither."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\x00 ")
    if isinstance(value, str):
        return value.strip("\x00 ")
    value = np.asarray(value)
    if value.size != 1:
        if value.dtype.kind in "US" and value.size:
            return scalar(value.flat[0]) if len(set(map(str, value.flat))) == 1 else None
        return None
    item = value.reshape(-1)[0]
    if isinstance(item, (bytes, str, np.ndarray)):
        return scalar(item) if item is not value else None
    return item.item() if hasattr(item, "item") else item


def texts(value: Any) -> list[str]:
    """A list of texts, from arrays of strings, bytes or objects, or one text with commas or blanks; blanks in
    the one text of a list belong to it.
    """
    flat = np.asarray(value).reshape(-1)[: MAX_LEADS + 1]
    found = []
    for item in flat:
        text = scalar(item)
        if not isinstance(text, str):
            return []
        found.append(text)
    if len(found) != 1:
        return found
    return re.split(r"[,;\s]+" if np.ndim(value) == 0 else r"[,;]\s*", found[0].strip("[]() "))


def of_name(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first value whose name, folded, is one of `names` (in their order)."""
    folded = {_folded(key): key for key in reversed(list(values))}
    return next((values[folded[name]] for name in names if name in folded), None)


def is_known(name: str) -> bool:
    """Whether a value of that name says something about the recording."""
    return _folded(name) in _KNOWN


@lru_cache(maxsize=1024)
def _folded(key: str) -> str:
    return re.split(r"[/.]", key)[-1].lower().replace(" ", "_")


def described(values: Mapping[str, Any]) -> tuple[float | None, str | None, list[str]]:
    """Sampling rate, unit and lead names that a file's small values state."""
    rate, unit = scalar(of_name(values, _RATES)), scalar(of_name(values, _UNITS))
    if isinstance(rate, str):
        match = re.match(r"\d+(\.\d+)?", rate)
        rate = float(match[0]) if match else None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        rate = None
    leads = of_name(values, _LEADS)
    return rate, unit if isinstance(unit, str) else None, texts(leads) if leads is not None else []


def choose(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The name of the array that is the signal.

    Raises:
        ECGFileError: if none or several could be; the message lists them.
    """
    for name in SIGNALS:
        for key in shapes:
            if re.split(r"[/.]", key)[-1].lower() == name and _size(shapes[key]) > 1:
                return key
    long = [key for key, shape in shapes.items() if 1 <= len(shape) <= 3 and max(shape) > MAX_LEADS]
    if len(long) == 1:
        return long[0]
    listed = ", ".join(f"{key[:40]} {'x'.join(map(str, shape))}" for key, shape in list(shapes.items())[:8])
    listed = " ".join(listed.split())
    if not long:
        raise ECGFileError(f"{path} holds no array that could be an ECG ({listed or 'it is empty'})")
    raise ECGFileError(f"{path} holds several arrays ({listed}); name the ECG's 'signal', or save it alone")


def leads_apart(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The names of arrays of one length that are named like leads, one array a lead, in the standard order;
    none where another array is the signal by its name.
    """
    bare = {re.split(r"[/.]", key)[-1]: key for key in shapes}
    leads = {standard_lead(name): key for name, key in bare.items() if len(shapes[key]) == 1}
    found = [leads[name] for name in LEADS_12 if name in leads]
    named = any(name.lower() in SIGNALS for name in bare)
    return [] if named or len({shapes[key] for key in found}) != 1 else found


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def pick(path: Path, shape: tuple[int, ...], hints: Hints) -> tuple[int | None, tuple[int, ...]]:
    """Which record of an array to take: None of an array that is one record, and the record's own shape.

    Raises:
        ECGFileError: if the array is none of (samples,), (leads, samples) or (records, leads, samples), or
            holds many records where none is chosen.
    """
    if 0 in shape or not 1 <= len(shape) <= 3:
        raise ECGFileError(
            f"{path}: an array of the shape {shape} is no ECG; it must be (leads, samples) or (samples, "
            "leads), for many records with a first axis in front"
        )
    if len(shape) == 3:
        if hints.index is None and shape[0] > 1:
            raise ECGFileError(
                f"{path} holds {shape[0]:,} records; pass index= (0 to {shape[0] - 1:,}), or read all with "
                "ecglm.io.read_many"
            )
        return within(path, hints.index or 0, shape[0]), shape[1:]
    within(path, hints.index or 0, 1)
    return None, shape


def within(path: Path, index: int, count: int) -> int:
    """`index`, if the file has such a record."""
    if index >= count:
        raise ECGFileError(f"{path} holds {count:,} records; index={index} must be below that")
    return index


def check_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Refuse what is no array of numbers, or more of them than are read at once, before it is loaded."""
    if dtype.hasobject or dtype.kind not in "iufb":
        raise ECGFileError(
            f"{path}: the signal has the type {dtype}, which is no number; nothing is unpickled"
        )
    if _size(shape) > MAX_SAMPLES:
        raise ECGFileError(
            f"{path} announces {_size(shape):,} samples; at most {MAX_SAMPLES:,} are read at once; "
            "pass start= and stop= in seconds"
        )


def _samples_first(
    path: Path, shape: tuple[int, ...], hints: Hints, names: list[str], assumed: list[str]
) -> bool:
    """Whether an array is (samples, leads) or (samples,), not (leads, samples)."""
    if len(shape) == 1:
        return True
    leads = len(hints.leads or names)
    rows, columns = shape
    if leads in (rows, columns) and rows != columns:
        return leads != rows
    if min(rows, columns) > MAX_LEADS:
        raise ECGFileError(f"{path}: {rows} x {columns} values; one side must be at most {MAX_LEADS} leads")
    if max(rows, columns) <= MAX_LEADS:
        assumed.append(f"the {rows} rows are leads, the {columns} columns samples; leads= decides otherwise")
        return False
    return rows >= columns


def span_of(path: Path, length: int, hints: Hints, rate: float | None) -> slice:
    """The samples that `start` and `stop` ask for; all where they do not, or no rate is known yet."""
    rate = hints.sampling_rate or rate
    if not hints.cropping or rate is None or not 0 < rate < math.inf:
        return slice(0, length)
    return slice(*hints.span(path, length, rate))


class Streamed:
    """An array that can only be read from its beginning on, as it is packed: only what is asked for is kept.

    Args:
        opened: gives an object whose `read(size)` hands over up to so many bytes, none at the end.
        begin: bytes in front of the values.
        dtype: of the values.
        shape: of one or two axes.
        fortran: whether the first axis changes fastest.
    """

    packed = True

    def __init__(
        self,
        opened: Callable[[], Any],
        begin: int,
        dtype: np.dtype,
        shape: tuple[int, ...],
        fortran: bool = False,
    ) -> None:
        self.dtype, self.shape = dtype, shape
        self._opened, self._begin, self._fortran = opened, begin, fortran

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        keys = [*key] if isinstance(key, tuple) else [key]
        keys += [slice(None)] * (len(self.shape) - len(keys))
        spans = [range(length)[each] for length, each in zip(self.shape, keys, strict=True)]
        step = -1 if self._fortran else 1
        lines, part = [range(1), *spans[::step]][-2:]
        width = self.shape[::step][-1]
        if len(part) == width:  # one stretch
            lines, part, width = range(1), range(lines.start * width, lines.stop * width), 0
        size = len(part) * self.dtype.itemsize
        values = bytearray(len(lines) * size)
        with closing(self._opened()) as stream:
            at = 0
            for number, line in enumerate(lines):
                place = self._begin + (line * width + part.start) * self.dtype.itemsize
                _read_on(stream, place - at)
                _read_on(stream, size, memoryview(values)[number * size :])
                at = place + size
        found = np.frombuffer(values, self.dtype).reshape([len(each) for each in spans[::step]])
        return found.T if self._fortran else found


class Apart:
    """Arrays of one length, of a lead each, as one of (leads, samples).

    Args:
        leads: arrays of (samples,), or what has their shape and dtype and reads the part that is asked for.
    """

    def __init__(self, leads: Sequence[Any]) -> None:
        self.shape = (len(leads), *leads[0].shape)
        self.dtype = np.result_type(*(each.dtype for each in leads))
        self.packed = any(isinstance(each, Streamed) for each in leads)
        self._leads = leads

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        return np.stack([each[key[1]] for each in self._leads[key[0]]])


def _read_on(stream: Any, count: int, into: memoryview | None = None) -> None:
    """Read so many bytes, and keep them in `into` or not at all."""
    done = 0
    while done < count:
        piece = stream.read(min(count - done, 1 << 16))
        if not piece:
            raise EOFError("it ends within its values")
        if into is not None:
            into[done : done + len(piece)] = piece
        done += len(piece)


def recording(
    path: Path,
    kind: str,
    values: Any,
    small: Mapping[str, Any],
    hints: Hints,
    record: int | None = None,
) -> Recording:
    """The recording of one array and the small values beside it.

    Args:
        path: the file.
        kind: the format's name for people.
        values: (leads, samples), (samples, leads) or (samples,): an array, or what has its shape and dtype
            and reads the part that is asked for.
        small: what else the file holds: rate, unit, leads, age, sex.
        hints: as `read` got them.
        record: which one of many it is.
    """
    assumed: list[str] = []
    rate, unit, names = described(small)
    turned = _samples_first(path, values.shape, hints, names, assumed)
    count, length = (values.shape[1:] or (1,))[0], values.shape[0]
    if not turned:
        count, length = length, count
    if names and len(names) != count:
        raise ECGFileError(f"{path}: {len(names)} leads are named, the signal has {count}; pass leads=")
    if getattr(values, "packed", False) and not (hints.sampling_rate or rate):
        raise ECGFileError(f"{path} states no sampling rate; pass sampling_rate= (Hz)")
    span = span_of(path, length, hints, rate)
    check_array(path, values.dtype, (count, span.stop - span.start))
    rows = np.asarray(values[span] if turned else values[:, span])
    rows = rows.reshape(span.stop - span.start, count).T if turned else rows
    whole = None
    if rows.dtype.kind in "iu" and not (hints.unit and states_size(hints.unit)):
        rows = _calibrated(path, rows, small, assumed)
    if rows.dtype.itemsize > (4 if rows.dtype.kind == "f" else 2):
        rows = rows.astype(np.float64, copy=False)
    else:  # of one record among many a copy, which does not hold on to the others
        whole = rows = np.require(rows, np.float32, ["C", "W"] if record is None else ["C", "W", "O"])
    channels = [Channel(name, row, unit) for name, row in zip(names or [""] * len(rows), rows, strict=True)]
    metadata: dict[str, Any] = {} if record is None else {"record_id": f"{path.stem}-{record}"}
    age, sex = scalar(of_name(small, _AGES)), scalar(of_name(small, _SEXES))
    if isinstance(age, (int, float)) and not isinstance(age, bool) and 0 <= age <= 120:
        metadata["age"] = float(age)
    known = {"m": "male", "male": "male", "f": "female", "female": "female"}
    if isinstance(sex, str) and sex.lower() in known:
        metadata["sex"] = known[sex.lower()]
    cropped = span != slice(0, length)
    return Recording(path, kind, channels, rate, metadata, assumed=assumed, cropped=cropped, rows=whole)


def _calibrated(path: Path, counts: np.ndarray, small: Mapping[str, Any], assumed: list[str]) -> np.ndarray:
    """(leads, samples) counts in the unit of the file, where that has WFDB's gains and baselines.

    Raises:
        ECGFileError: if it has a gain that may be counts per unit or the size of a count.
    """
    gains, zeros = (_numbers(of_name(small, names), len(counts)) for names in (_ADC_GAINS, _ADC_ZEROS))
    if gains is not None and (gains > 0).all():
        assumed.append("the samples are counts, of the file's adc_gain per unit")
        return (counts - (0 if zeros is None else zeros[:, None])) / gains[:, None]
    other = _numbers(of_name(small, _GAINS), len(counts))
    if other is not None and (other != 1).any():
        raise ECGFileError(
            f"{path} holds counts and a gain of {other[0]:g}, but not whether that is counts per unit or the "
            f"size of a count; pass unit='{other[0]:g}/mV' or '{other[0]:g} uV' (or '1 uV', if counts are µV)"
        )
    return counts


def _numbers(value: Any, count: int) -> np.ndarray | None:
    """(count,) finite numbers, of one for all or one for each; None where it is neither."""
    values = np.asarray(value if value is not None else ()).reshape(-1)
    if values.dtype.kind not in "iuf" or values.size not in (1, count) or not np.isfinite(values).all():
        return None
    return np.broadcast_to(values.astype(np.float64), count)
