"""Schiller XML (`SchillerEDI`), as the SEMA data management and Schiller's carts export it.

An event holds waveforms of a type (`ECG_RHYTHMS`: the recording; `ECG_AVERAGES`: the device's mean beats),
each lead as numbers parted by commas, with a rate and the size of a step. Learned from an exported file;
Schiller publishes no specification.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ecglm.ecg import ECGFileError
from ecglm.io._common import MAX_LEADS, Channel, Hints, Recording
from ecglm.io._xml import (
    beats_of,
    count_unit,
    iso_time,
    number_of,
    numbers,
    plain_tree,
    positive,
    root_name,
    sex_of,
    text_of,
    tidy,
    to_number,
    years_between,
)

_MEASUREMENTS = {
    "HR": "heart_rate", "RR": "rr", "P": "p", "PQ": "pr", "PR": "pr", "QRS": "qrs", "QT": "qt", "QTC": "qtc",
    "AXIS_P": "p_axis", "AXIS_QRS": "qrs_axis", "AXIS_T": "t_axis",
}  # fmt: skip
_FILTERS = {"HIGHPASS_CUTOFF_FREQ": "low", "LOWPASS_CUTOFF_FREQ": "high", "MAINS": "notch"}


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is Schiller XML."""
    return root_name(head).rpartition(".")[2] == "SchillerEDI"


def parse(path: Path, hints: Hints) -> Recording:
    """Read Schiller XML.

    Raises:
        ECGFileError: if it holds no rhythm waveforms, or its counts contradict its data.
    """
    root = plain_tree(path)
    events = [each for each in root.iter("event") if _waves(each, "ECG_RHYTHMS") is not None]
    if not events:
        raise ECGFileError(f"{path} is Schiller XML without rhythm waveforms; there is no recording in it")
    index = hints.index or 0
    if index >= len(events):
        raise ECGFileError(
            f"{path} holds {len(events)} recordings; index={index} is none of them, counted from 0"
        )
    event = events[index]
    warnings: list[str] = []
    assumed: list[str] = []
    if len(events) > 1 and hints.index is None:
        warnings.append(f"the file holds {len(events)} recordings; the first is read, index= reads others")
    waves = _waves(event, "ECG_RHYTHMS")
    assert waves is not None
    channels, rate = _channels(path, waves)
    metadata, identity = _header(root, event, assumed)
    metadata["device"] = _device(path, root, event, warnings)
    return Recording(
        path, "Schiller XML", channels, rate, metadata, identity, assumed=assumed, warnings=warnings
    )


# -------------------------------------------------------------------------------------------- the waveforms


def _waves(event: Element, kind: str) -> Element | None:
    return next((each for each in event.findall("wavedata") if text_of(each, "type") == kind), None)


def _channels(path: Path, waves: Element) -> tuple[list[Channel], float | None]:
    found = waves.findall("channel")
    if not found:
        raise ECGFileError(f"{path}: the waveforms hold no channels")
    if len(found) > MAX_LEADS:
        raise ECGFileError(f"{path} holds {len(found)} channels; at most {MAX_LEADS} are read")
    rate = positive(path, number_of(waves, "resolution/samplerate/value"), "a sampling rate")
    if number_of(waves, "resolution/samplerate/exponent") not in (None, 0.0, 1.0):
        rate = None  # what another exponent means is not known: then sampling_rate= must say it
    step = number_of(waves, "resolution/yres/unitperbit")
    unit = text_of(waves, "resolution/yres/units") or None
    channels = []
    for channel in found:
        name = text_of(channel, "name")
        kind = text_of(channel, "datastype") or "COMMASEPARATE"
        if kind != "COMMASEPARATE":
            raise ECGFileError(f"{path} stores {name} as {kind!r}; COMMASEPARATE is read")
        data = channel.find("data")
        values = numbers(path, (data.text or "") if data is not None else "", f"lead {name}")
        stated = number_of(channel, "samplecount")
        if stated is not None and stated != len(values):
            raise ECGFileError(
                f"{path}: {name} has {len(values):,} samples where the file states {stated:,.0f}; "
                "it is damaged"
            )
        channels.append(Channel(name, values, count_unit(step, unit)))
    return channels, rate


# --------------------------------------------------------------------------------------------- what it says


def _header(root: Element, event: Element, assumed: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata, and what identifies the patient."""
    person, exam = root.find("patdata"), root.find("examdescript")
    metadata: dict[str, Any] = {}
    if sex := sex_of(text_of(person, "gender")):
        metadata["sex"] = sex
    time = text_of(exam, "startdatetime/time")
    acquired = iso_time(text_of(exam, "startdatetime/date"), time[:6])
    if acquired and not acquired.startswith("1970-01-01"):  # the clock was never set
        metadata["acquired"] = acquired
    birth = iso_time(text_of(person, "birthdate"))
    if (years := years_between(birth, metadata.get("acquired"))) is not None:
        metadata["age"] = years
        assumed.append("age from the dates of birth and recording")
    filters: dict[str, float | None] = {}
    for each in event.findall("filters_data/filter"):
        if (key := _FILTERS.get(text_of(each, "name"))) is not None:
            filters[key] = number_of(each, "value")
    if known := tidy(filters):
        metadata["filters"] = known
    report = " ".join(text_of(each) for each in event.findall("textdata/textdata") if text_of(each))
    if report:
        metadata["report"] = report
    identity = {
        "name": " ".join(filter(None, (text_of(person, "firstname"), text_of(person, "lastname")))),
        "patient_id": text_of(person, "id"),
        "birth_date": birth,
        "site": text_of(exam, "institute_id"),
        "order": text_of(exam, "order_id"),
    }
    return metadata, {key: value for key, value in identity.items() if value}


def _device(path: Path, root: Element, event: Element, warnings: list[str]) -> dict[str, Any]:
    made = root.find("examdescript/aquiringdevice")
    device: dict[str, Any] = {"manufacturer": text_of(made, "hardware/vendor") or "Schiller"}
    if model := text_of(made, "hardware/model"):
        device["model"] = model
    if software := text_of(made, "software/version"):
        device["software"] = software
    found: dict[str, float | None] = {}
    for each in event.findall("annotation_global"):
        if (key := _MEASUREMENTS.get(text_of(each, "name"))) is not None:
            found.setdefault(key, to_number(text_of(each, "value")))
    if measurements := tidy(found):
        device["measurements"] = measurements
    averages = _waves(event, "ECG_AVERAGES")
    if averages is not None:
        try:
            device["median_beats"] = beats_of(*_channels(path, averages))
        except ValueError as error:
            warnings.append(f"the device's mean beats are left out: {str(error).removeprefix(f'{path}: ')}")
    return device
