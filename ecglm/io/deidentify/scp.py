"""What is kept of SCP-ECG: leads, Huffman tables, beats, reference beat and rhythm; age, sex and filters.

The file is built anew, with pointers, lengths and check sums as the standard wants them. Sections 7 to 11 and
those of manufacturers (measurements, statements, a maker's own data) can hold text anywhere and are left out.
"""

from __future__ import annotations

import struct
from pathlib import Path

from ecglm.ecg import ECG
from ecglm.io._common import read_bytes
from ecglm.io._scp_huffman import DEFAULT_TABLES
from ecglm.io.deidentify import MAX_AGE, Removal
from ecglm.io.scp import (
    HEADER,
    MAX_FILE_BYTES,
    Section,
    check_sum,
    fields,
    is_heal_force,
    read_sections,
)

_KEPT = (2, 3, 4, 5, 6)
_SECTIONS = 12
_TAGS = {
    4: 3,
    8: 1,
    27: 2,
    28: 2,
    29: 1,
    33: 2,
}  # age, sex, filters, electrode placement: how many bytes each
_NAMES = {
    0: "last name", 1: "first name", 2: "patient identification", 3: "second last name", 5: "date of birth",
    14: "acquiring device", 15: "analysing device", 20: "referring physician", 21: "confirming physician",
    22: "technician", 23: "room", 25: "date of acquisition", 26: "time of acquisition", 30: "free text",
    31: "sequence number", 34: "time zone", 35: "medical history",
}  # fmt: skip


def keep(path: Path, folder: Path, name: str, removal: Removal, ecg: ECG) -> Path:
    """A new file of the sections that hold samples, and of a few fields of section 1."""
    sections = read_sections(path, read_bytes(path, MAX_FILE_BYTES), [])
    bodies = {1: _patient(sections[1].body if 1 in sections else b"", removal)}
    for number in sorted(sections):
        if number in _KEPT:
            bodies[number] = _used(sections, number, removal)
        elif number > 1:
            removal.note(f"section {number}")
    target = folder / f"{name}.scp"
    target.write_bytes(_assembled(bodies))
    return target


def _patient(body: bytes, removal: Removal) -> bytes:
    kept = b""
    for tag, value in fields(body):
        size = _TAGS.get(tag)
        if size is None or len(value) < size:
            if value.strip(b"\x00"):
                removal.note(f"section 1, {_NAMES.get(tag, f'tag {tag}')}")
            continue
        value = value[:size]
        if tag == 4 and value[2] == 1 and int.from_bytes(value[:2], "little") > MAX_AGE:
            value = struct.pack("<HB", MAX_AGE, 1)
        kept += bytes([tag]) + struct.pack("<H", size) + value
    return kept + bytes([255, 0, 0])


def _used(sections: dict[int, Section], number: int, removal: Removal) -> bytes:
    """A section without bytes that nothing in it accounts for."""
    body = sections[number].body
    used = len(body)
    if number == 2:
        used = 2
        if (tables := int.from_bytes(body[:2], "little")) != DEFAULT_TABLES:
            for _ in range(tables):
                used += 2 + 9 * int.from_bytes(body[used : used + 2], "little")
    elif number == 3 and len(body) > 2:
        used = 2 + 9 * body[0]
    elif number == 4 and len(body) >= 6:
        used = 6 + 22 * int.from_bytes(body[4:6], "little")
    elif number in (5, 6) and 3 in sections:
        leads = 1 if is_heal_force(sections) else sections[3].body[0]
        used = 6 + 2 * leads + sum(struct.unpack_from(f"<{leads}H", body, 6))
    if any(body[used:]):
        removal.note(f"bytes behind the end of section {number}")
    return body[:used]


def _assembled(bodies: dict[int, bytes]) -> bytes:
    """A record of these sections."""
    blocks = {number: _section(number, body) for number, body in bodies.items()}
    length = HEADER.size + 10 * _SECTIONS
    pointers, index = struct.pack("<HII", 0, length, 7), 7 + length
    for number in range(1, _SECTIONS):
        size = len(blocks.get(number, b""))
        pointers += struct.pack("<HII", number, size, index if size else 0)
        index += size
    content = _section(0, pointers) + b"".join(blocks[number] for number in sorted(blocks))
    content = struct.pack("<I", len(content) + 6) + content
    return struct.pack("<H", check_sum(content)) + content


def _section(number: int, body: bytes) -> bytes:
    body += bytes(len(body) % 2)
    reserved = b"SCPECG" if number == 0 else bytes(6)
    rest = HEADER.pack(0, number, HEADER.size + len(body), 20, 20, reserved)[2:] + body
    return struct.pack("<H", check_sum(rest)) + rest
