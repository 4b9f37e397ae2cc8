"""What is kept of EDF, EDF+, BDF and BDF+: the numbers of the header, labels of leads, and the samples.

Of the annotations the marks of time stay, each text goes.
"""

from __future__ import annotations

import re
from pathlib import Path

from ecglm.ecg import ECG, ECGFileError, standard_lead
from ecglm.io._common import MAX_LEADS, quoted, read_bytes
from ecglm.io._finish import is_ecg_name
from ecglm.io.deidentify import Removal

_WIDTHS = (
    16,
    80,
    8,
    8,
    8,
    8,
    8,
    80,
    8,
    32,
)  # label, transducer, dimension, 4 limits, filters, samples, reserved
_NUMBER = re.compile(rb"\s*[-+]?\d{1,8}(\.\d{0,7})?([eE][-+]?\d{1,3})?[\s\x00]*\Z")
_FILTERS = re.compile(
    rb"((HP|LP|N|NOTCH|BP)\s*:?\s*[\d.]{1,6}\s*(-\s*[\d.]{1,6})?\s*(Hz)?\s*[;,]?\s*)*\Z", re.I
)
_DIMENSIONS = frozenset(
    (
        b"mv uv nv v \xb5v \xc2\xb5v volt volts millivolt millivolts microvolt microvolts mmhg bpm % degc "
        b"ohm kohm l/s ml boolean s hz"
    ).split()
)
_LABELS = (b"EDF Annotations", b"BDF Annotations", b"Status")
_RESERVED = (b"EDF+C", b"EDF+D", b"BDF+C", b"BDF+D", b"24BIT")
_TIME_MARK = re.compile(rb"[+-]\d{1,12}(\.\d{1,9})?\x14\x14\x00")


def keep(path: Path, folder: Path, name: str, removal: Removal, ecg: ECG) -> Path:
    """The file with a header of numbers only."""
    content = bytearray(read_bytes(path))
    bdf = content[:1] == b"\xff"
    count = _integer(path, content[252:256])
    if not 0 < count <= 4 * MAX_LEADS or len(content) < 256 * (count + 1):
        raise ECGFileError(f"{path} states {count} signals; its header cannot be rewritten")
    _general(path, content, bdf, ecg, removal)
    labels, samples = _signals(path, content, count, removal)
    begin = 256 * (count + 1)
    content[184:192] = f"{begin:<8}".encode()
    width = 3 if bdf else 2
    record = width * sum(samples)
    if not record:
        raise ECGFileError(f"{path} holds no samples")
    records = (len(content) - begin) // record
    stated = _integer(path, content[236:244])
    if 0 <= stated < records:
        records = stated
    if len(content) > begin + records * record:
        removal.note("the bytes behind the last record")
        del content[begin + records * record :]
    offset = 0
    for label, size in zip(labels, samples, strict=True):
        if label in _LABELS[:2]:
            for number in range(records):
                at = begin + number * record + offset
                _strip_annotations(content, at, width * size, removal)
        offset += width * size
    target = folder / f"{name}{'.bdf' if bdf else '.edf'}"
    target.write_bytes(content)
    return target


def _integer(path: Path, text: bytes | bytearray) -> int:
    try:
        return int(bytes(text).strip(b" \x00") or b"0")
    except ValueError:
        raise ECGFileError(f"{path}: {quoted(text)} is no number; its header cannot be rewritten") from None


def _general(path: Path, content: bytearray, bdf: bool, ecg: ECG, removal: Removal) -> None:
    """The first 256 bytes: patient, recording, date."""
    sex = {"male": "M", "female": "F"}.get(ecg.metadata.get("sex", ""), "X")
    for begin, stop, text, place in (
        (0, 8, b"\xffBIOSEMI" if bdf else b"0       ", "version"),
        (8, 88, f"X {sex} X X".encode(), "local patient identification"),
        (88, 168, b"Startdate X X X X", "local recording identification"),
        (168, 184, b"01.01.8500.00.00", "start date and time"),
    ):
        padded = text.ljust(stop - begin)
        if content[begin:stop] != padded:
            removal.note(f"the header's {place}")
        content[begin:stop] = padded
    reserved = bytes(content[192:236])
    kept = next((each for each in _RESERVED if reserved.startswith(each)), b"").ljust(44)
    if reserved != kept:
        removal.note("the header's reserved field")
    content[192:236] = kept
    for begin, stop in ((236, 244), (244, 252), (252, 256)):
        if not _NUMBER.match(bytes(content[begin:stop])):
            raise ECGFileError(
                f"{path}: {quoted(content[begin:stop])} is no number; its header cannot be rewritten"
            )


def _signals(path: Path, content: bytearray, count: int, removal: Removal) -> tuple[list[bytes], list[int]]:
    """The header's fields of each signal; their labels and samples per record."""
    labels: list[bytes] = []
    samples: list[int] = []
    begin = 256
    for place, width in enumerate(_WIDTHS):
        for number in range(count):
            at = begin + number * width
            old = bytes(content[at : at + width])
            new = _field(path, place, old.strip(b" \x00"), removal).ljust(width)
            content[at : at + width] = new[:width]
            if place == 0:
                labels.append(new.strip())
            elif place == 8:
                samples.append(_integer(path, new))
                if samples[-1] < 0:
                    raise ECGFileError(f"{path} states {samples[-1]} samples per record")
        begin += width * count
    return labels, samples


def _field(path: Path, place: int, text: bytes, removal: Removal) -> bytes:
    if place == 0:
        name = text.decode("latin-1")
        known = text in _LABELS or (is_ecg_name(standard_lead(name)) and len(standard_lead(name)) <= 5)
        return text if known else removal.channel().encode()
    if place == 2:
        known = text.lower() in _DIMENSIONS
    elif place == 7:
        known = bool(_FILTERS.match(text))
    elif place in (1, 9):
        known = not text
    elif _NUMBER.match(text):
        known = True
    else:
        raise ECGFileError(f"{path}: {quoted(text)} is no number; its header cannot be rewritten")
    if known or not text:
        return text
    removal.note(
        f"the signals' {('', 'transducer', 'dimension')[place] if place < 3 else 'filters or reserved field'}"
    )
    return b"NU" if place == 2 else b""  # "no unit": then the channel is none in volts, as before


def _strip_annotations(content: bytearray, begin: int, size: int, removal: Removal) -> None:
    """The mark of time of one record's annotations without what follows it."""
    old = bytes(content[begin : begin + size])
    mark = _TIME_MARK.match(old)
    new = (mark[0] if mark else b"").ljust(size, b"\x00")
    if new != old:
        removal.note("annotations")
        content[begin : begin + size] = new
