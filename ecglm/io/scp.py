"""SCP-ECG (EN 1064, ISO/IEEE 11073-91064): Huffman codes, differences, reference-beat subtraction.

A file is a row of sections, each with a check sum, and section 0 points to the others: 1 patient and
acquisition, 2 Huffman tables, 3 leads, 4 where the beats are, 5 the reference beat, 6 the rhythm, 7 global
measurements, 8 and 11 statements. Real files break the standard in small ways (pointers counted from 0,
lengths with their words swapped, wrong check sums); such a file is read, and what is wrong with it said. Heal
Force's hand-held devices pack their samples in a way of their own, which is recognised by its length.

With bimodal compression the samples between the beats are stored as means of up to four, and interpolated; no
real file of that kind was at hand, so the number of stored values is checked against the beats before any is
taken.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError, derive_limb_leads, standard_lead
from ecglm.io._common import MAX_LEADS, MAX_SAMPLES, Channel, Hints, Recording, read_bytes
from ecglm.io._scp_huffman import decoder
from ecglm.io._xml import count_unit, tidy, years_between

MAX_FILE_BYTES = 64 << 20
"""Size of an SCP-ECG file; ten seconds of twelve leads have less than 100 kB."""
HEADER = struct.Struct("<HHIBB6s")
"""Of a section: check sum, number, length, versions of section and protocol, reserved."""
_POINTER = struct.Struct("<HII")
_HEADER = HEADER.size

LEADS_BY_NUMBER = dict(
    enumerate(
        (
            "", "I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V2R", "V3R", "V4R", "V5R", "V6R",
            "V7R", "X", "Y", "Z", "CC5", "CM5", "LA", "RA", "LL", "fI", "fE", "fC", "fA", "fM", "fF", "fH",
        )
    )
) | dict(
    enumerate(
        ("III", "aVR", "aVL", "aVF", "-aVR", "V8", "V9", "V8R", "V9R", "D", "A", "J", "Defib", "Extern", "A1",
         "A2", "A3", "A4"),
        start=61,
    )
)  # fmt: skip
"""Lead names by the standard's numbers, which DICOM uses too."""

_FEW = 8  # samples that a lead may lack, as makers count them differently
_PADDING = 16  # bits at most that fill up a lead's last bytes, and read as zeros
_UNMEASURED = (29999, 19999, 999)
_YEARS = {0: None, 1: 1.0, 2: 1 / 12, 3: 7 / 365.25, 4: 1 / 365.25, 5: 0.0}
_PLACEMENTS = {2: "Mason-Likar", 3: "Mason-Likar"}  # of electrode configuration codes


@dataclass
class Section:
    """One section: where it begins, its whole length, and what follows its header."""

    number: int
    offset: int
    length: int
    body: bytes


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that begins so is SCP-ECG: section 0 stands first and points to itself."""
    if len(head) < 6 + _HEADER + _POINTER.size:
        return False
    _, number, length, *_ = HEADER.unpack_from(head, 6)
    first, size, index = _POINTER.unpack_from(head, 6 + _HEADER)
    if number or not _HEADER + _POINTER.size <= length <= 1 << 16:
        return False
    return head[16:22] == b"SCPECG" or (first == 0 and size == length and index in (6, 7))


def parse(path: Path, hints: Hints) -> Recording:
    """Read SCP-ECG.

    Raises:
        ECGFileError: if a section that is needed is missing or points outside the file, or the rhythm is
            damaged.
    """
    content = read_bytes(path, MAX_FILE_BYTES)
    warnings: list[str] = []
    assumed: list[str] = []
    sections = read_sections(path, content, warnings)
    metadata, identity, device = _patient(sections.get(1))
    rhythm = sections.get(6)
    if 3 not in sections or rhythm is None:
        missing = "leads (section 3)" if 3 not in sections else "rhythm data (section 6)"
        raise ECGFileError(f"{path} is SCP-ECG without {missing}; there is no recording in it")
    leads, subtracted = _lead_definition(path, sections[3], rhythm)
    if _is_heal_force(leads, rhythm):
        channels, rate = _heal_force(path, leads, rhythm, hints, assumed, warnings)
    else:
        channels, rate, beats = _rhythm(path, sections, leads, subtracted, hints, assumed, warnings)
        if beats is not None:
            device["median_beats"] = beats
    _measured(sections, device)
    if device:
        metadata["device"] = device
    if metadata.get("age") is None:
        metadata.pop("age", None)
        if (years := years_between(identity.get("birth_date"), metadata.get("acquired"))) is not None:
            metadata["age"] = years
            assumed.append("age from the dates of birth and recording")
    return Recording(path, "SCP-ECG", channels, rate, metadata, identity, assumed=assumed, warnings=warnings)


# --------------------------------------------------------------------------------------------- the sections


def read_sections(path: Path, content: bytes, warnings: list[str]) -> dict[int, Section]:
    """The sections that the file points to; what is wrong with lengths, pointers and check sums is said.

    Raises:
        ECGFileError: if it is too short, or its pointers lead nowhere.
    """
    if len(content) < 6 + _HEADER + _POINTER.size:
        raise ECGFileError(f"{path} has {len(content)} bytes, too few for SCP-ECG; fetch it again")
    stated = int.from_bytes(content[2:6], "little")
    if stated != len(content):
        swapped = int.from_bytes(content[4:6] + content[2:4], "little")
        if (
            swapped in (len(content), len(content.rstrip(b"\x00\xff")))
            or 0 < swapped <= len(content) < stated
        ):
            warnings.append("the record's length has its words swapped")
        elif stated > len(content):
            warnings.append(f"the file states {stated:,} bytes and has {len(content):,}: it may be cut short")
    length = int.from_bytes(content[10:14], "little")
    pointers = content[6 + _HEADER : 6 + min(length, len(content) - 6)]
    found: dict[int, Section] = {}
    from_zero, outside = [], []
    for number, size, index in _POINTER.iter_unpack(
        pointers[: len(pointers) // _POINTER.size * _POINTER.size]
    ):
        if number == 0 or size <= _HEADER or number in found:
            continue
        for begin in (index - 1, index):
            if 0 < begin <= len(content) - _HEADER:
                _, there, real, *_ = HEADER.unpack_from(content, begin)
                if there == number and real > _HEADER:
                    # The section's own length is what its data obey; the pointer's may count padding.
                    whole = min(real, len(content) - begin)
                    found[number] = Section(number, begin, whole, content[begin + _HEADER : begin + whole])
                    if begin == index:
                        from_zero.append(number)
                    break
        else:
            outside.append(number)
    if not found:
        raise ECGFileError(
            f"{path} is SCP-ECG whose pointers lead to no section; it is damaged, fetch it again"
        )
    if from_zero:
        warnings.append("the pointers to the sections count from 0, not from 1")
    if outside:
        warnings.append(
            f"the pointers to section {', '.join(map(str, outside))} lead nowhere; they are left out"
        )
    _check_sums(content, found, warnings)
    return found


def _check_sums(content: bytes, sections: dict[int, Section], warnings: list[str]) -> None:
    wrong = []
    for section in sections.values():
        stated = int.from_bytes(content[section.offset : section.offset + 2], "little")
        if stated != check_sum(content[section.offset + 2 : section.offset + section.length]):
            wrong.append(str(section.number))
    if wrong:
        warnings.append(f"the check sums of section {', '.join(wrong)} are wrong; the signal may be damaged")
    elif int.from_bytes(content[:2], "little") != check_sum(content[2:]):
        warnings.append("the check sum of the whole record is wrong")


def check_sum(content: bytes) -> int:
    """CRC-CCITT as SCP-ECG takes it: polynomial 0x1021, begun with 0xFFFF."""
    return binascii.crc_hqx(content, 0xFFFF)


def fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and values of section 1, up to its end mark."""
    position = 0
    while position + 3 <= len(body):
        tag, size = body[position], int.from_bytes(body[position + 1 : position + 3], "little")
        if tag == 255:
            return
        yield tag, body[position + 3 : position + 3 + size]
        position += 3 + size


# -------------------------------------------------------------------------------------------- the waveforms


@dataclass
class _Lead:
    """One lead of section 3: its name, and its first and last sample, counted from 1."""

    name: str
    first: int
    last: int

    @property
    def num_samples(self) -> int:
        return self.last - self.first + 1


def _lead_definition(path: Path, section: Section, rhythm: Section) -> tuple[list[_Lead], bool]:
    """The leads, and whether a reference beat was subtracted from them."""
    body = section.body
    if len(body) < 2 or not body[0]:
        raise ECGFileError(f"{path} is SCP-ECG whose section 3 defines no leads; it is damaged")
    count = body[0]
    if count > MAX_LEADS:
        raise ECGFileError(f"{path} holds {count} leads; at most {MAX_LEADS} are read")
    leads = []
    for number in range(count):
        entry = body[2 + 9 * number : 11 + 9 * number]
        if len(entry) < 9:
            break
        first, last, code = struct.unpack("<IIB", entry)
        leads.append(_Lead(LEADS_BY_NUMBER.get(code, f"lead {code}"), first, last))
    if leads and len(leads) < count:
        # Heal Force defines the first lead only; a file that is cut short fails later, on its rhythm.
        leads += [_Lead("", leads[0].first, leads[0].last) for _ in range(count - len(leads))]
    for lead in leads:
        if not 0 < lead.num_samples <= 8 * max(len(rhythm.body), 1):
            raise ECGFileError(
                f"{path}: lead {lead.name} claims samples {lead.first:,} to {lead.last:,}, and all of the "
                f"rhythm has {len(rhythm.body):,} bytes; the file is damaged"
            )
    if not leads:
        raise ECGFileError(f"{path} is SCP-ECG whose section 3 is cut short; fetch it again")
    return leads, bool(body[1] & 1)


def _data_header(path: Path, section: Section, num_leads: int) -> tuple[int, int, int, int, list[bytes]]:
    """Amplitude step (nV), sample interval (µs), differences, bimodal flag, and the bytes of each lead."""
    body = section.body
    if len(body) < 6 + 2 * num_leads:
        raise ECGFileError(f"{path}: section {section.number} is cut short; fetch the file again")
    step, interval, differences, bimodal = struct.unpack_from("<HHBB", body)
    sizes = struct.unpack_from(f"<{num_leads}H", body, 6)
    position, streams = 6 + 2 * num_leads, []
    for size in sizes:
        streams.append(body[position : position + size])
        position += size
    return step, interval, differences, bimodal, streams


def _rhythm(
    path: Path,
    sections: dict[int, Section],
    leads: list[_Lead],
    subtracted: bool,
    hints: Hints,
    assumed: list[str],
    warnings: list[str],
) -> tuple[list[Channel], float | None, ECG | None]:
    """The channels on one time axis, their rate, and the reference beat."""
    step, interval, differences, bimodal, streams = _data_header(path, sections[6], len(leads))
    if differences > 2:
        raise ECGFileError(f"{path}: section 6 states differences of order {differences}; 0, 1 and 2 exist")
    decode = decoder(path, sections[2].body if 2 in sections else None)
    factor = _decimation(path, sections, interval) if subtracted or bimodal else 1
    zones = _protected_zones(sections[4].body) if bimodal and 4 in sections else []
    interval = interval // factor
    rate = 1e6 / interval if interval else None
    if factor > 1:
        assumed.append(
            f"every {factor} samples {'between the beats ' if zones else ''}are stored as their mean; "
            "they are interpolated"
        )
    reference, beats = _reference(path, sections, leads, decode, warnings)
    rows = _at_full_rate(path, decode, streams, leads, zones, factor, differences) if factor > 1 else []
    for lead, stream in zip(leads, streams, strict=True) if factor == 1 else ():
        values = decode(stream, lead.num_samples)
        if len(values) < lead.num_samples:
            text = f"lead {lead.name} ends after {len(values):,} of {lead.num_samples:,} samples"
            few = lead.num_samples - len(values) <= _FEW and len(values)
            if not few and not (hints.allow_truncated and len(values)):
                raise ECGFileError(
                    f"{path}: {text}; the file is damaged (allow_truncated=True keeps what is there)"
                )
            warnings.append(text)
        rows.append(_summed(values, differences))
    if subtracted:
        rows = _with_reference(path, sections, leads, rows, reference, (step, interval), warnings)
    begin, end = min(lead.first for lead in leads), max(lead.last for lead in leads)
    if (end - begin + 1) * len(leads) > MAX_SAMPLES or end - begin >= 2 * sum(
        lead.num_samples for lead in leads
    ):
        raise ECGFileError(f"{path}: the leads begin and end too far apart; section 3 is damaged")
    channels = []
    for lead, row in zip(leads, rows, strict=True):
        placed = np.full(end - begin + 1, np.nan)
        placed[lead.first - begin : lead.first - begin + len(row)] = row
        channels.append(Channel(lead.name, placed, count_unit(step, "nV")))
    if any(np.isnan(channel.values).any() for channel in channels):
        warnings.append("the leads were not recorded over the same time; unknown (NaN) where one was not")
    return channels, rate, beats


def _decimation(path: Path, sections: dict[int, Section], interval: int) -> int:
    """How many samples were taken together: the reference beat has the full rate, the rhythm less."""
    if 4 not in sections or 5 not in sections:
        return 1
    full = int.from_bytes(sections[5].body[2:4], "little")
    if not full or full == interval:
        return 1
    if interval % full or not 1 <= interval // full <= 4:
        raise ECGFileError(
            f"{path} has a reference beat at {1e6 / full:g} Hz and a rhythm every {interval} us, which "
            "do not belong together; export it without compression"
        )
    return interval // full


def _protected_zones(body: bytes) -> list[tuple[int, int]]:
    """First and last sample of the stretches around the beats, which bimodal compression spares."""
    count = int.from_bytes(body[4:6], "little")
    pairs = body[6 + 14 * count : 6 + 22 * count]
    zones = struct.iter_unpack("<II", pairs[: len(pairs) // 8 * 8])
    return sorted((first, last) for first, last in zones if 0 < first <= last)


def _at_full_rate(
    path: Path,
    decode: Callable[[bytes, int], np.ndarray],
    streams: list[bytes],
    leads: list[_Lead],
    zones: list[tuple[int, int]],
    factor: int,
    differences: int,
) -> list[np.ndarray]:
    """Leads of which some stored values are means of `factor` samples, interpolated.

    Makers differ in what they do with the rest where a stretch is no multiple of `factor`: one more mean, or
    samples as they are. The number of stored values tells: in no lead may anything but the zeros that fill
    up the last byte be left over. Where neither fits, the file is refused.
    """
    stored = [
        decode(stream, lead.num_samples + _PADDING) for stream, lead in zip(streams, leads, strict=True)
    ]
    for rest_as_mean in (True, False):
        positions = [_positions(lead, zones, factor, rest_as_mean) for lead in leads]
        if all(
            len(where) <= len(values) <= len(where) + _PADDING and not values[len(where) :].any()
            for where, values in zip(positions, stored, strict=True)
        ):
            return [
                np.rint(
                    np.interp(np.arange(lead.num_samples), where, _summed(values[: len(where)], differences))
                )
                for lead, where, values in zip(leads, positions, stored, strict=True)
            ]
    raise ECGFileError(
        f"{path}: the leads store {len(stored[0]):,} values, which do not fit the beats and the "
        f"{leads[0].num_samples:,} samples; export it without bimodal compression"
    )


def _positions(lead: _Lead, zones: list[tuple[int, int]], factor: int, rest_as_mean: bool) -> np.ndarray:
    """Where each stored value stands, in samples from the first."""
    parts, at = [], 0
    for first, last in [*zones, (lead.last + 1, lead.last)]:
        begin = min(max(first - lead.first, at), lead.num_samples)
        groups, rest = divmod(begin - at, factor)
        parts.append(at + factor * np.arange(groups) + (factor - 1) / 2)
        if rest and rest_as_mean:
            parts.append(np.array([begin - (rest + 1) / 2]))
        elif rest:
            parts.append(np.arange(begin - rest, begin, dtype=np.float64))
        at = max(begin, min(last - lead.first + 1, lead.num_samples))
        parts.append(np.arange(begin, at, dtype=np.float64))
    return np.concatenate(parts)


def _summed(values: np.ndarray, differences: int) -> np.ndarray:
    """Samples of first differences (the first sample comes as it is) or of second ones (the first two do)."""
    if differences == 1:
        return np.cumsum(values)
    if differences == 2 and len(values) > 2:
        slopes = np.concatenate([[values[1] - values[0]], values[2:]])
        return np.concatenate([values[:1], values[0] + np.cumsum(np.cumsum(slopes))])
    return values


def _reference(
    path: Path,
    sections: dict[int, Section],
    leads: list[_Lead],
    decode: Callable[[bytes, int], np.ndarray],
    warnings: list[str],
) -> tuple[tuple[list[np.ndarray], int, int] | None, ECG | None]:
    """The reference beat: counts of each lead, step and interval; and the same as an ECG in mV."""
    section = sections.get(5)
    if section is None or 4 not in sections:
        return None, None
    step, interval, differences, _, streams = _data_header(path, section, len(leads))
    if not step or not interval or differences > 2:
        return None, None
    length = int.from_bytes(sections[4].body[:2], "little")  # ms
    count = round(length * 1000 / interval)
    rows = [_summed(decode(stream, count), differences) for stream in streams]
    reference = (rows, step, interval)
    try:
        names = tuple(standard_lead(lead.name) for lead in leads)
        if len({len(row) for row in rows}) != 1 or not len(rows[0]):
            raise ValueError("the leads of the reference beat differ in length")
        return reference, derive_limb_leads(ECG(np.stack(rows) * (step / 1e6), 1e6 / interval, names))
    except ValueError as error:
        warnings.append(f"the device's reference beat is left out: {error}")
        return reference, None


def _with_reference(
    path: Path,
    sections: dict[int, Section],
    leads: list[_Lead],
    rows: list[np.ndarray],
    reference: tuple[list[np.ndarray], int, int] | None,
    scale: tuple[int, int],
    warnings: list[str],
) -> list[np.ndarray]:
    """The rhythm with the reference beat added where it was subtracted."""
    if reference is None:
        raise ECGFileError(f"{path} subtracts a reference beat (section 3) and has none (sections 4 and 5)")
    beats, step, interval = reference
    if interval != scale[1]:
        raise ECGFileError(
            f"{path} has a reference beat at {1e6 / interval:g} Hz and a rhythm at {1e6 / scale[1]:g} Hz, "
            "which is not read; export it without compression"
        )
    body = sections[4].body
    fiducial, count = struct.unpack_from("<HH", body, 2) if len(body) >= 6 else (0, 0)
    if len(body) < 6 + 14 * count:
        raise ECGFileError(f"{path}: section 4 is cut short; fetch the file again")
    ratio = step / scale[0] if scale[0] else 1.0
    summed = [row.astype(np.float64) for row in rows]
    outside = 0
    for kind, first, center, last in struct.iter_unpack("<HIII", body[6 : 6 + 14 * count]):
        if kind != 0:
            continue
        for lead, row, beat in zip(leads, summed, beats, strict=True):
            # Samples are counted from 1, those of the beat too; the fiducial points coincide.
            shift = center - fiducial
            begin = max(first, shift + 1, lead.first)
            end = min(last, shift + len(beat), lead.first + len(row) - 1)
            if begin > end:
                outside += 1
                continue
            row[begin - lead.first : end - lead.first + 1] += beat[begin - shift - 1 : end - shift] * ratio
    if outside:
        warnings.append("section 4 places beats outside the recording; they are left out")
    return summed


# ----------------------------------------------------------------------------------------------- Heal Force


def _is_heal_force(leads: list[_Lead], rhythm: Section) -> bool:
    """Whether all leads lie in one stream of 12 bits a sample, as Heal Force's devices write them."""
    if len(rhythm.body) < 8:
        return False
    differences, size = rhythm.body[4], int.from_bytes(rhythm.body[6:8], "little")
    return not differences and 2 * size == 3 * leads[0].num_samples * len(leads)


def is_heal_force(sections: dict[int, Section]) -> bool:
    """Whether a file's rhythm is packed in Heal Force's way."""
    leads, _ = _lead_definition(Path(), sections[3], sections[6])
    return _is_heal_force(leads, sections[6])


def _heal_force(
    path: Path,
    leads: list[_Lead],
    rhythm: Section,
    hints: Hints,
    assumed: list[str],
    warnings: list[str],
) -> tuple[list[Channel], float | None]:
    """Channels of samples of 10 bits and 2 marks of beats, four to three words, the leads by turns.

    The fourth of each four is made of bits 10 to 13 of the three words. Where the standard puts the sample
    interval in microseconds stands the rate in hertz. Source: https://github.com/KaibinBao/healforcescpecg
    (the packing), and the sample itself: its own list of heart rates agrees with this rate.
    """
    step, rate, _, _, streams = _data_header(path, rhythm, 1)
    words = np.frombuffer(streams[0][: len(streams[0]) // 6 * 6], "<u2").reshape(-1, 3).astype(np.int32)
    nibbles = (words >> 10) & 15
    fourth = (nibbles[:, 0] << 8) | (nibbles[:, 1] << 4) | nibbles[:, 2]
    stored = (np.column_stack([words, fourth]) & 0x3FF).ravel() - 512
    samples = stored[: len(stored) // len(leads) * len(leads)].reshape(-1, len(leads))
    if len(samples) < leads[0].num_samples:
        text = f"the rhythm ends after {len(samples):,} of {leads[0].num_samples:,} samples"
        if not (hints.allow_truncated and len(samples)):
            raise ECGFileError(
                f"{path}: {text}; the file is damaged (allow_truncated=True keeps what is there)"
            )
        warnings.append(text)
    assumed.append(f"Heal Force's own packing of the samples, and {rate} Hz where the sample interval stands")
    names = [lead.name for lead in leads]
    if len(leads) == 3:
        one, two, three = samples.astype(np.float64).T
        agrees = np.std(three - (two - one)) < 0.25 * np.std(three)
        names = ["I", "II", "III"] if agrees else ["", "", ""]
        if agrees:
            assumed.append(
                "leads I, II, III: the file names none of its three, and the third is the second - the first"
            )
    unit = count_unit(step, "nV")
    channels = [
        Channel(name, row.astype(np.float64), unit) for name, row in zip(names, samples.T, strict=True)
    ]
    return channels, float(rate)


# --------------------------------------------------------------------------------------------- what it says


def _patient(section: Section | None) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Metadata, what identifies the patient, and the device."""
    metadata: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    device: dict[str, Any] = {}
    names: dict[int, str] = {}
    date = time = None
    for tag, value in fields(section.body) if section is not None else ():
        if tag in (0, 1, 3):
            names[tag] = _text(value)
        elif tag == 2:
            identity["patient_id"] = _text(value)
        elif tag == 4 and len(value) >= 3:
            factor = _YEARS.get(value[2])
            age = int.from_bytes(value[:2], "little")
            if factor is not None and 0 < age * factor <= 130:
                metadata["age"] = age if factor == 1.0 else round(age * factor, 2)
        elif tag == 5:
            identity["birth_date"] = _date(value)
        elif tag == 8 and value:
            metadata["sex"] = {1: "male", 2: "female"}.get(value[0])
        elif tag == 14 and len(value) >= 14:
            device["model"] = _text(value[8:14])
            strings = value[36:].split(b"\x00")
            if len(strings) > 4:
                device["software"], device["manufacturer"] = _text(strings[0]), _text(strings[4])
        elif tag == 16:
            identity["site"] = _text(value)
        elif tag == 25:
            date = _date(value)
        elif tag == 26 and len(value) >= 3 and value[0] < 24 and value[1] < 60 and value[2] < 61:
            time = f"{value[0]:02}:{value[1]:02}:{value[2]:02}"
        elif tag in (27, 28) and len(value) >= 2:
            number = int.from_bytes(value[:2], "little")
            key, hertz = ("low", number / 100) if tag == 27 else ("high", float(number))
            if number:
                metadata.setdefault("filters", {}).update(tidy({key: hertz}))
        elif tag == 29 and value and value[0] & 3:
            metadata.setdefault("filters", {})["notch"] = 60 if value[0] & 1 else 50
        elif tag == 30 and (text := _text(value)):
            metadata.setdefault("comments", []).append(text)
        elif tag == 33 and value and value[0] in _PLACEMENTS:
            metadata["lead_placement"] = _PLACEMENTS[value[0]]
    if name := " ".join(filter(None, (names.get(1), names.get(0), names.get(3)))):
        identity["name"] = name
    if date:
        metadata["acquired"] = f"{date}T{time}" if time else date
    return (
        {key: value for key, value in metadata.items() if value is not None},
        {key: value for key, value in identity.items() if value},
        {key: value for key, value in device.items() if value},
    )


def _text(value: bytes) -> str:
    """Up to the first NUL; UTF-8 where it is valid, Latin-1 otherwise."""
    value = value.split(b"\x00")[0]
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return " ".join(text.split())


def _date(value: bytes) -> str | None:
    """ISO date of year, month and day; the year in either order of its bytes, as both are met."""
    if len(value) < 4 or not (1 <= value[2] <= 12 and 1 <= value[3] <= 31):
        return None
    for order in ("little", "big"):
        year = int.from_bytes(value[:2], order)  # type: ignore[arg-type]
        if 1880 <= year <= 2200:
            return f"{year}-{value[2]:02}-{value[3]:02}"
    return None


def _measured(sections: dict[int, Section], device: dict[str, Any]) -> None:
    """Global measurements of section 7, statements of sections 8 and 11."""
    if 7 in sections and (measurements := _global(sections[7].body)):
        device["measurements"] = measurements
    statements = _statements(sections[8].body, 0) if 8 in sections else []
    if not statements and 11 in sections:
        statements = _statements(sections[11].body, 1)
    if statements:
        device["statements"] = statements


def _global(body: bytes) -> dict[str, float | int]:
    """Of the first reference beat: onsets and offsets in ms, axes in degrees."""
    if len(body) < 6:
        return {}
    rr = int.from_bytes(body[2:4], "little")
    found: dict[str, float | None] = {}
    if rr and rr not in _UNMEASURED:
        found |= {"rr": rr, "heart_rate": round(60000 / rr)}
    if body[0] and len(body) >= 22:
        p_on, p_off, qrs_on, qrs_off, t_off, *axes = struct.unpack_from("<5H3h", body, 6)

        def span(first: int, last: int) -> int | None:
            return last - first if not {first, last} & set(_UNMEASURED) and last > first else None

        found |= {"p": span(p_on, p_off), "pr": span(p_on, qrs_on), "qrs": span(qrs_on, qrs_off)}
        found |= {"qt": span(qrs_on, t_off)}
        for name, axis in zip(("p_axis", "qrs_axis", "t_axis"), axes, strict=True):
            found[name] = axis if axis not in _UNMEASURED and abs(axis) <= 360 else None
    return tidy(found)


def _statements(body: bytes, skip: int) -> list[str]:
    """Texts after status, date and time; section 11 puts a byte for the kind before each."""
    count, position, texts = (body[8], 9, []) if len(body) > 8 else (0, 0, [])
    for _ in range(count):
        if position + 3 > len(body):
            break
        size = int.from_bytes(body[position + 1 : position + 3], "little")
        text = _text(body[position + 3 + skip : position + 3 + size].replace(b"\x00", b" ").rstrip())
        if text:
            texts.append(text)
        position += 3 + size
    return texts
