"""What the XML formats share: the name of the root, and values of elements whatever their namespace."""

from __future__ import annotations

import base64
import binascii
import math
import re
import warnings
from functools import lru_cache
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ecglm.ecg import ECG, ECGFileError, standard_lead
from ecglm.io._common import MAX_SAMPLES, Channel, millivolts, parse_xml

LARGEST = 1e15
"""Of what a file may count or scale by; beyond it float32 overflows."""
_PROLOG = re.compile(r"\s*(<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(\[.*?\]\s*)?>)", re.DOTALL)
_NAME = re.compile(r"\s*<([\w.:-]+)")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ]?(\d{2}):?(\d{2})(?::?(\d{2}))?)?")


@lru_cache(maxsize=1)  # every XML format asks for the same file
def root_name(head: bytes) -> str:
    """The name of the root element, without its prefix, of a file that begins so; "" where it is no XML."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: len(head) // 2 * 2].decode("utf-16", "replace")
    elif head[:4] in (b"<\x00?\x00", b"\x00<\x00?"):
        text = head[: len(head) // 2 * 2].decode("utf-16-le" if head[0] == 0x3C else "utf-16-be", "replace")
    else:
        text = head.decode("utf-8-sig", "replace")
    text = text.lstrip("\ufeff")
    position = 0
    while match := _PROLOG.match(text, position):
        position = match.end()
    name = _NAME.match(text, position)
    return name[1].rpartition(":")[2] if name else ""


def plain_tree(path: Path) -> Element:
    """The root of an XML file, its elements and attributes named without namespaces.

    Raises:
        ECGFileError: if it is no well-formed XML, or beyond the bounds of `parse_xml`.
    """
    root = parse_xml(path)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if any("}" in name for name in element.attrib):
            element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    return root


def text_of(element: Element | None, path: str = ".") -> str:
    """The text of the first element at `path`, white space folded; "" where there is none."""
    found = element.find(path) if element is not None else None
    return " ".join((found.text or "").split()) if found is not None else ""


def number_of(element: Element | None, path: str = ".") -> float | None:
    """The number in the first element at `path`; None where there is none."""
    return to_number(text_of(element, path))


def to_number(text: str | None) -> float | None:
    """A finite number, or None; "500" and "500.0" alike give a float."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def positive(path: Path, value: float | None, what: str) -> float | None:
    """The value, if it is above zero or not there.

    Raises:
        ECGFileError: if it is zero or below.
    """
    if value is not None and value <= 0:
        raise ECGFileError(f"{path} states {what} of {value:g}; it must be above 0")
    return value


def tidy(values: dict[str, float | None]) -> dict[str, float | int]:
    """Without the missing ones; whole numbers as integers."""
    return {
        key: int(value) if value == round(value) else value
        for key, value in values.items()
        if value is not None
    }


def numbers(path: Path, text: str, what: str, separators: str = ",;") -> np.ndarray:
    """(samples,) float64 of a list of numbers.

    Raises:
        ECGFileError: if something else stands in it.
    """
    for separator in separators:
        text = text.replace(separator, " ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # older NumPy only warns of what it cannot read
            values = np.fromstring(text, sep=" ")
    except (ValueError, DeprecationWarning):
        raise ECGFileError(f"{path}: {what} holds something that is no number") from None
    if len(values) > MAX_SAMPLES:
        raise ECGFileError(f"{path}: {what} has {len(values):,} values; at most {MAX_SAMPLES:,} are read")
    if not (np.abs(values) < LARGEST).all():
        raise ECGFileError(f"{path}: {what} holds something that is no finite number")
    return values


def base64_bytes(path: Path, text: str | None, what: str) -> bytes:
    """Decoded Base64, white space left out.

    Raises:
        ECGFileError: if it is none.
    """
    try:
        return base64.b64decode("".join((text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise ECGFileError(f"{path}: {what} is no Base64; the file is damaged, fetch it again") from None


def iso_time(date: str | None, time: str | None = None) -> str | None:
    """ISO 8601 of `20021122091000`, `2002-11-22` and `09:10:00` and the like; None where it is no date."""
    match = _DATE.match(f"{date or ''} {time or ''}".strip())
    if not match or not (1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31 and int(match[1])):
        return None
    day = f"{match[1]}-{match[2]}-{match[3]}"
    return f"{day}T{match[4]}:{match[5]}:{match[6] or '00'}" if match[4] else day


def sex_of(word: str) -> str | None:
    """The sex, "male" or "female", of a file's word for it; None for any other."""
    return {"m": "male", "male": "male", "f": "female", "female": "female"}.get(word.strip().lower())


def years_between(birth: str | None, day: str | None) -> int | None:
    """Whole years from one ISO date to another; None where either is missing or the order is wrong."""
    if not birth or not day or len(birth) < 10:
        return None
    years = int(day[:4]) - int(birth[:4]) - (day[5:10] < birth[5:10])
    return years if 0 <= years <= 130 else None


def count_unit(step: float | None, unit: str | None) -> str | None:
    """The unit of counts, each `step` of `unit`: "4.88 uV", or "4.88" where no unit is stated; None where no
    step is.
    """
    if not step or not 1 / LARGEST < abs(step) < LARGEST:
        return None
    return unit if step == 1.0 else f"{step!r} {unit or ''}".rstrip()


def beats_of(channels: list[Channel], rate: float | None) -> ECG:
    """The device's median beats as an ECG.

    Raises:
        ValueError: if they state no rate or no voltage, or differ in length.
    """
    scales = [millivolts(channel.unit) for channel in channels]
    if rate is None or not all(scales) or len({len(channel.values) for channel in channels}) != 1:
        raise ValueError("they state no rate or no unit, or differ in length")
    signal = np.stack(
        [channel.values * scale for channel, scale in zip(channels, scales, strict=True) if scale]
    )
    return ECG(signal, rate, tuple(standard_lead(channel.name) for channel in channels))
