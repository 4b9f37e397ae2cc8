"""Huffman codes of SCP-ECG: the standard's default table, and a file's own that may switch to each other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecglm.ecg import ECGFileError
from ecglm.io._common import MAX_LEADS

DEFAULT_TABLES = 19999
"""The number of Huffman tables that stands for the standard's own."""

# Prefix bits, bits in all, value, code with its first bit lowest: the standard's default table.
_DEFAULT = (
    (1, 1, 0, 0), (3, 3, 1, 1), (3, 3, -1, 5), (4, 4, 2, 3), (4, 4, -2, 11), (5, 5, 3, 7), (5, 5, -3, 23),
    (6, 6, 4, 15), (6, 6, -4, 47), (7, 7, 5, 31), (7, 7, -5, 95), (8, 8, 6, 63), (8, 8, -6, 191),
    (9, 9, 7, 127), (9, 9, -7, 383), (10, 10, 8, 255), (10, 10, -8, 767), (10, 18, 0, 511), (10, 26, 0, 1023),
)  # fmt: skip
_MAX_PREFIX, _MAX_EXTRA = 16, 32


@dataclass
class _Table:
    """A Huffman table as a look-up by the next `bits` bits: how long the prefix is, and what it means."""

    bits: int
    prefix: list[int]  # 0 where no code begins so
    extra: list[int]  # bits of the value that follow
    value: list[int]
    switch: list[bool]  # the value is the number of the table to go on with


def decoder(path: Path, body: bytes | None) -> Callable[[bytes, int], np.ndarray]:
    """What turns the bytes of a lead into so many values: 16-bit integers, or Huffman codes of section 2."""
    if body is None or body[:2] == b"\x00\x00":
        return lambda stream, count: np.frombuffer(stream[: len(stream) // 2 * 2], "<i2")[:count].astype(
            np.int64
        )
    tables = _tables(path, body)
    return lambda stream, count: _decoded(path, tables, stream, count)


def _tables(path: Path, body: bytes) -> list[_Table]:
    number = int.from_bytes(body[:2], "little")
    if number == DEFAULT_TABLES:
        return [_look_up(path, [(prefix, bits, True, value, code) for prefix, bits, value, code in _DEFAULT])]
    tables, position = [], 2
    for _ in range(number):
        count = int.from_bytes(body[position : position + 2], "little")
        position += 2
        entries = body[position : position + 9 * count]
        position += 9 * count
        if not count or len(entries) < 9 * count:
            raise ECGFileError(f"{path}: the Huffman tables (section 2) are cut short; the file is damaged")
        tables.append(
            _look_up(path, [(*_three(each), *each[3:]) for each in struct.iter_unpack("<BBBhI", entries)])
        )
        if len(tables) > MAX_LEADS:
            raise ECGFileError(f"{path} holds more than {MAX_LEADS} Huffman tables; it is damaged")
    if not tables:
        raise ECGFileError(f"{path}: section 2 holds no Huffman table; the file is damaged")
    return tables


def _three(entry: tuple[int, ...]) -> tuple[int, int, bool]:
    """Prefix bits, bits in all, and whether the code stands for a value (0 there switches the table)."""
    return entry[0], entry[1], bool(entry[2])


def _look_up(path: Path, codes: list[tuple[int, int, bool, int, int]]) -> _Table:
    bits = max(prefix for prefix, *_ in codes)
    for prefix, total, *_ in codes:
        if not 1 <= prefix <= _MAX_PREFIX or not 0 <= total - prefix <= _MAX_EXTRA:
            raise ECGFileError(f"{path}: a Huffman code has {prefix} of {total} bits; the file is damaged")
    size = 1 << bits
    table = _Table(bits, [0] * size, [0] * size, [0] * size, [False] * size)
    for prefix, total, is_value, value, code in codes:
        pattern = int(f"{code & ((1 << prefix) - 1):0{prefix}b}"[::-1], 2)  # its first bit is the lowest
        first = pattern << (bits - prefix)
        for index in range(first, first + (1 << (bits - prefix))):
            if not table.prefix[index]:
                table.prefix[index], table.extra[index] = prefix, total - prefix
                table.value[index], table.switch[index] = value, not is_value
    return table


def _decoded(path: Path, tables: list[_Table], stream: bytes, count: int) -> np.ndarray:
    """(at most `count`,) values; fewer where the stream ends early."""
    end = 8 * len(stream)
    padded = stream + bytes(8)
    bits = np.unpackbits(np.frombuffer(padded, np.uint8)).astype(np.int32)
    windows: dict[int, list[int]] = {}
    for table in tables:
        if table.bits not in windows:
            window = np.zeros(end, np.int32)
            for offset in range(table.bits):
                window = (window << 1) | bits[offset : offset + end]
            windows[table.bits] = window.tolist()
    table = tables[0]
    window_of = windows[table.bits]
    values: list[int] = []
    position = 0
    while len(values) < count and position < end:
        index = window_of[position]
        prefix, extra, value = table.prefix[index], table.extra[index], table.value[index]
        if not prefix:
            raise ECGFileError(f"{path}: the rhythm holds a Huffman code that is not defined; it is damaged")
        position += prefix
        if table.switch[index]:
            if not 1 <= value <= len(tables):
                raise ECGFileError(
                    f"{path}: the rhythm goes on with Huffman table {value}, which is not there"
                )
            table = tables[value - 1]
            window_of = windows[table.bits]
            continue
        if extra:
            if position + extra > end:
                break
            chunk = int.from_bytes(padded[position >> 3 : (position + extra + 7) >> 3], "big")
            value = (chunk >> (-(position + extra) % 8)) & ((1 << extra) - 1)
            value -= (value >> (extra - 1)) << extra  # two's complement
            position += extra
        if position > end:
            break
        values.append(value)
    return np.array(values, np.int64)
