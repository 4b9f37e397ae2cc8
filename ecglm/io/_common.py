"""What the formats share: hints, the `Recording` that a parser returns, limits, and safe ways to open files.

A format is one file with two functions. `sniff(head, path)` says by the first bytes whether a file is of the
format (the suffix only breaks a tie), and `parse(path, hints)` returns a `Recording` in the file's own units.
`ecglm.io._finish.finish` makes the `ECG` of it: the same units, lead names, checks and words for every
format.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

HEAD_BYTES = 8192
"""As many bytes of a file are shown to `sniff`."""
MAX_LEADS = 64
"""Channels of one recording."""
MAX_SAMPLES = 1 << 28
"""Samples of all channels together that are read at once: 1 GB as float32, 25 h of 12 leads at 250 Hz."""
LONG_BYTES = 1 << 20
"""Of a file beyond this size `start` and `stop` read their part only, where its format allows it."""
MAX_BYTES = 1 << 30
"""Size of a file that is read whole."""
MAX_TEXT_BYTES = 64 << 20
"""Size of an XML file; those of cardiographs have less than 1 MB."""
MAX_MARKS = 300_000
"""Tags and attributes of an XML file, each of which takes up to 200 bytes; cardiographs write 5,000."""
MAX_DEPTH = 64
"""Nesting of XML elements, DICOM sequences and HDF5 groups."""

_UNIT = re.compile(
    r"(?:([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*)?([munµμ]?v|volts?|(?:milli|micro|nano)volts?)$", re.I
)
_GAIN = re.compile(r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)(?:\(([-+]?\d+)\))?/([munµμ]?v)$", re.I)
_STEP = re.compile(r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)(?:\s+(.*)|$)", re.DOTALL)
_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]{1,100}encoding=["']([-\w]+)""")


@dataclass(frozen=True)
class Hints:
    """What a file cannot say by itself, and which part of it is wanted.

    Args:
        sampling_rate: Hz; goes before what the file says.
        unit: of the ECG channels, "mV", "uV", "nV" or "V", in place of the file's unit, while its gain holds
            (where that makes no ECG and counts of one such unit do, they are taken, and `metadata["assumed"]`
            says so); or, in place of both, the size of a count ("4.88 uV") or a gain in WFDB's notation,
            "200(1024)/mV": 200 counts per mV above a zero of 1024.
        leads: one name per channel, in the file's order; goes before what the file says.
        start: seconds from the beginning; what lies before is not read.
        stop: seconds from the beginning; what lies behind is not read.
        keep_identity: keep names, identifiers and birth dates in `metadata["identity"]`.
        allow_truncated: keep the part that is there of a file that ends early.
        index: which record of a file that holds many, counted from 0.
    """

    sampling_rate: float | None = None
    unit: str | None = None
    leads: Sequence[str] | None = None
    start: float | None = None
    stop: float | None = None
    keep_identity: bool = False
    allow_truncated: bool = False
    index: int | None = None

    def __post_init__(self) -> None:
        if self.sampling_rate is not None:
            rate = _number(self.sampling_rate, "sampling_rate")
            if not rate > 0:
                raise ValueError(f"sampling_rate={rate:g} must be above 0 Hz")
        if self.unit is not None:
            counts_per_millivolt(self.unit)
        if self.leads is not None:
            names = self.leads.replace(",", " ").split() if isinstance(self.leads, str) else self.leads
            if not isinstance(names, Iterable):
                raise ValueError(f"leads={names!r} must name the channels, e.g. 'I II V1'")
            object.__setattr__(self, "leads", tuple(str(name) for name in names))
        if self.start is not None and not _number(self.start, "start") >= 0:
            raise ValueError(f"start={self.start:g} must not be negative; seconds from the beginning")
        if self.stop is not None and not _number(self.stop, "stop") > (self.start or 0):
            raise ValueError(f"stop={self.stop:g} s must lie behind start={self.start or 0:g} s")
        whole = isinstance(self.index, (int, np.integer)) and not isinstance(self.index, bool)
        if self.index is not None and not (whole and self.index >= 0):
            raise ValueError(f"index={self.index!r} must be a whole number, counted from 0")

    @classmethod
    def of(cls, hints: dict[str, Any]) -> Hints:
        """The hints of a call; an unknown one is refused by name."""
        known = [each.name for each in fields(cls)]
        unknown = sorted(set(hints) - set(known))
        if unknown:
            raise ValueError(f"read() knows no hint {', '.join(unknown)}; it takes {', '.join(known)}")
        return cls(**hints)

    @property
    def cropping(self) -> bool:
        """Whether only a part is wanted."""
        return self.start is not None or self.stop is not None

    def span(self, path: Any, num_samples: int, sampling_rate: float) -> tuple[int, int]:
        """First sample and the one behind the last that `start` and `stop` ask for.

        Raises:
            ECGFileError: if the span reaches outside the recording, or holds no sample.
        """
        first = round((self.start or 0.0) * sampling_rate)
        last = num_samples if self.stop is None else round(self.stop * sampling_rate)
        if not 0 <= first < last <= num_samples:
            raise ECGFileError(
                f"{path} lasts {num_samples / sampling_rate:g} s; start={self.start or 0:g} and "
                f"stop={self.stop if self.stop is not None else 'its end'} name no part of it"
            )
        return first, last


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{name}={value!r} must be a number")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number")
    return float(value)


@dataclass(slots=True)
class Channel:
    """One channel as the file has it.

    Args:
        name: as the file names it; "" where it does not.
        values: (samples,) float, in `unit`; NaN where the file marks a sample as unknown.
        unit: as the file names it, behind the size of a count where the values are counts ("4.88 uV"); None
            where it does not.
        sampling_rate: Hz, where it differs from the recording's.
    """

    name: str
    values: np.ndarray
    unit: str | None
    sampling_rate: float | None = None


@dataclass
class Recording:
    """What a parser makes of a file, before units, names and checks.

    Args:
        path: the file.
        format: its name for people, e.g. "EDF+".
        channels: at most `MAX_LEADS`.
        sampling_rate: Hz; None where the file does not say.
        metadata: record_id (by default the file's name), age (years), sex ("male" | "female"), report (text
            of a reader), codes, dx, acquired (ISO 8601), filters ({"low": Hz, "high": Hz, "notch": Hz}),
            lead_placement (e.g. "Mason-Likar"), comments, annotations (a list of {"onset", "duration"
            seconds from the file's beginning, "text"}; `finish` cuts them to the span), and device:
            {"manufacturer", "model", "software", "statements" (list), "measurements": {"heart_rate" bpm,
            "pr" "qrs" "qt" "qtc" ms, "p_axis" "qrs_axis" "t_axis" degrees, others as the file names
            them}, "median_beats": an ECG}.
        identity: name, patient_id, birth_date and the like; reaches the ECG only with keep_identity=True.
        assumed: sentences on what the file does not say.
        warnings: sentences on what looks wrong.
        cropped: whether `hints.start` and `hints.stop` have been honoured while reading.
        rows: the array (channels, samples) float32 whose rows the channels' values are, where there is one;
            it may be changed in place.
        keep_padding: whether constant stretches at the ends belong to the recording, e.g. because annotation
            files count its samples; those of one with annotations in its metadata always do.
    """

    path: Path | str
    format: str
    channels: list[Channel]
    sampling_rate: float | None
    metadata: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cropped: bool = False
    keep_padding: bool = False
    rows: np.ndarray | None = None


# -------------------------------------------------------------------------------------------------- the units


@lru_cache(maxsize=256)
def millivolts(unit: str | None) -> float | None:
    """How many mV one of `unit` is; None where it is no voltage.

    >>> millivolts("µV"), millivolts("4.88 uV"), millivolts("mmHg")
    (0.001, 0.00488, None)
    """
    match = _UNIT.match(unit.strip()) if unit else None
    if not match:
        return None
    name = match[2].lower()
    prefix = "m" if name.startswith("m") and not name.startswith("micro") else name[0]
    prefix = {"µ": "u", "μ": "u"}.get(prefix, "u" if name.startswith("micro") else prefix)
    per_unit = {"v": 1e3, "m": 1.0, "u": 1e-3, "n": 1e-6}[prefix]
    return per_unit * (float(match[1]) if match[1] else 1.0)


def counts_per_millivolt(unit: str) -> tuple[float, float]:
    """Scale (mV per step) and zero (steps) of a unit given as a hint, e.g. "uV", "4.88 uV", "200(1024)/mV".

    Raises:
        ValueError: if it is no voltage.
    """
    gain = _GAIN.match(unit.strip()) if isinstance(unit, str) else None
    scale = millivolts(gain[3]) if gain else millivolts(unit) if isinstance(unit, str) else None
    if gain and scale:
        scale = scale / float(gain[1]) if float(gain[1]) else None
    if not scale or not math.isfinite(scale) or scale < 0:
        raise ValueError(
            f"unit={unit!r} is no voltage; give one of mV, uV, nV, V, the size of a count ('4.88 uV') or "
            "a gain (e.g. '200(1024)/mV')"
        )
    return scale, float(gain[2] or 0) if gain else 0.0


def states_size(hint: str) -> bool:
    """Whether a hint says how large a count is, and not the unit alone.

    >>> states_size("4.88 uV"), states_size("200/mV"), states_size("uV")
    (True, True, False)
    """
    size = _UNIT.match(hint.strip())
    return size is None or size[1] is not None


@lru_cache(maxsize=256)
def step_and_unit(unit: str | None) -> tuple[float, str]:
    """The size of a count, 1 where the file states none, and its unit, "" likewise.

    >>> step_and_unit("4.88 uV"), step_and_unit("4.88"), step_and_unit("mV"), step_and_unit(None)
    ((4.88, 'uV'), (4.88, ''), (1.0, 'mV'), (1.0, ''))
    """
    match = _STEP.match(unit or "")
    return (float(match[1]), match[2]) if match else (1.0, unit or "")


def in_counts(hint: str | None, unit: str | None) -> bool:
    """Whether a channel, in `unit` by its file, is wanted in counts, as the hint says how large one is.

    >>> in_counts("4.88 uV", "mV"), in_counts("200/mV", "mV"), in_counts("uV", "mV"), in_counts("200/mV", "%")
    (True, True, False, False)
    """
    return bool(hint) and states_size(hint or "") and (not unit or millivolts(unit) is not None)


def quoted(text: str | bytes | bytearray) -> str:
    """What stands in a file where a number should, for a message: not a word of it, which may name somebody.

    >>> quoted("1,5-2"), quoted("Jane Doe")
    ("'1,5-2'", 'a word')
    """
    text = text if isinstance(text, str) else text.decode("latin-1")
    return repr(text[:40]) if re.fullmatch(r"[-+\d\s.,:;/()]*", text) else "a word"


# -------------------------------------------------------------------------------------------------- the files


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """A whole file, if it is no larger than `limit`.

    Raises:
        ECGFileError: if it is larger, empty, or no regular file.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ECGFileError(f"{path} is no regular file; give the path of a recording")
    size = about.st_size
    if size > limit:
        raise ECGFileError(f"{path} has {size:,} bytes; at most {limit:,} of this format are read")
    if not size:
        raise ECGFileError(f"{path} is empty; fetch it again")
    with path.open("rb") as file:
        content = file.read(size + 1)  # not the limit: so many bytes would be set aside
    if len(content) > size:
        raise ECGFileError(f"{path} grew while it was read; try again")
    return content


def parse_xml(path: Path, limit: int = MAX_TEXT_BYTES) -> Element:
    """The root of an XML file: bounded in size, tags and depth; entities are refused.

    Raises:
        ECGFileError: if it is no well-formed XML, or beyond the bounds.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import XMLParser

    content = read_bytes(path, limit)
    marks = content.count(b"<") + content.count(
        b"="
    )  # a tag has one of the first, an attribute of the second
    if marks > MAX_MARKS:
        raise ECGFileError(f"{path} holds {marks:,} XML tags and attributes, at most {MAX_MARKS:,} are read")
    encoding = None
    if b"\0" not in content[:4]:  # no UTF-16
        content = content.strip(b"\0 \t\r\n")  # what is around a document is somebody's padding
        encoding = _encoding(content)
    parser = XMLParser(
        target=_BoundedTree(), encoding=encoding, forbid_dtd=False, forbid_entities=True, forbid_external=True
    )
    try:
        parser.feed(content)
        root: Element = parser.close()
    except DefusedXmlException:
        raise ECGFileError(f"{path} defines XML entities, which no ECG needs; it is not read") from None
    except ECGFileError as error:
        raise ECGFileError(f"{path} {error}") from None
    except Exception as error:  # ParseError, and what expat raises for encodings: LookupError, ValueError
        reason = (str(error).splitlines() or [""])[0][:120]
        raise ECGFileError(f"{path} is no well-formed XML ({reason}); fetch it again") from error
    return root


def _encoding(content: bytes) -> str | None:
    """The encoding of an XML file in bytes, where it is another one than it says."""
    said = _ENCODING.match(content)
    if said and said[1].lower() not in (b"utf-8", b"utf-16"):  # saved anew, UTF-16 is UTF-16 no longer
        return None
    try:
        content.decode()
    except UnicodeDecodeError:
        return "iso-8859-1"  # a maker wrote a name as Windows does, and forgot to say so
    return "utf-8"


class _BoundedTree:
    """A tree builder that stops at `MAX_DEPTH`."""

    def __init__(self) -> None:
        from xml.etree.ElementTree import TreeBuilder

        self._builder = TreeBuilder()
        self._depth = 0
        self.data, self.close = self._builder.data, self._builder.close

    def start(self, tag: str, attributes: dict[str, str]) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ECGFileError(f"nests XML elements more than {MAX_DEPTH} deep; it is not read")
        return self._builder.start(tag, attributes)

    def end(self, tag: str) -> Any:
        self._depth -= 1
        return self._builder.end(tag)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write to; put in place of `path` in one step when the block ends well, removed otherwise.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path.parent} to write {path.name} into; create it first"
        )
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed had written aside in a folder, and could not."""
    for each in folder.glob(".*.*"):
        process = re.fullmatch(r"\..+\.(?:hea|dat|edf|dcm|xml|csv|npz)\.(\d{1,9})", each.name)
        if process and os.name == "posix":  # elsewhere asking after a process ends it
            try:
                os.kill(int(process[1]), 0)
            except ProcessLookupError:
                each.unlink(missing_ok=True)
            except OSError:  # somebody else's
                continue


def plain_metadata(ecg: ECG, *, identity: bool = False) -> dict[str, Any]:
    """An ECG's metadata as JSON can hold it; who the patient is only on request.

    Args:
        ecg: the recording.
        identity: keep `metadata["identity"]`.
    """
    kept = {key: value for key, value in ecg.metadata.items() if identity or key != "identity"}
    return {str(key): _plain(value) for key, value in kept.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, ECG):
        return {
            "sampling_rate": value.sampling_rate,
            "leads": list(value.leads),
            "signal": _plain(np.round(value.signal.astype(float), 6)),  # to 1 nV
        }
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


_KINDS: dict[str, type | tuple[type, ...]] = {
    "age": (int, float),
    "annotations": list,
    "codes": list,
    "comments": list,
    "device": dict,
    "dx": list,
    "filters": dict,
    "units": dict,
}  # what code relies on


def restore_metadata(recording: Recording, text: str) -> None:
    """Add what `plain_metadata` gave to a recording, from its JSON; keys of the wrong kind are left out."""
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        recording.warnings.append("the metadata is no JSON; it is left out")
        return
    known.pop("source", None)
    for key, sentences in (("assumed", recording.assumed), ("warnings", recording.warnings)):
        found = known.pop(key, None)
        sentences += [str(each) for each in found] if isinstance(found, list) else []
    identity = known.pop("identity", None)
    recording.identity |= identity if isinstance(identity, dict) else {}
    wrong = [key for key, kind in _KINDS.items() if key in known and not isinstance(known[key], kind)]
    for key in wrong:
        del known[key]
    device = known.get("device", {})
    if "median_beats" in device:
        try:
            beats = device.pop("median_beats")
            device["median_beats"] = ECG(beats["signal"], beats["sampling_rate"], tuple(beats["leads"]))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            wrong.append("median_beats")
    if wrong:
        recording.warnings.append(f"of the metadata {', '.join(wrong)} is not as it should be; left out")
    recording.metadata |= known
