"""What is kept of a WFDB record: the numbers of its header, age, sex and numeric codes, and the samples.

Signal files are copied from the first sample to the last; what stands before (the head of a MATLAB file) or
behind is left. FLAC files, which may carry comments, are unpacked. Annotation files are not taken over, as
their notes are free text.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ecglm.ecg import ECG, ECGFileError, standard_lead
from ecglm.io._common import quoted
from ecglm.io._wfdb_header import MAX_HEADER_BYTES, lines_of
from ecglm.io._wfdb_mat import resaved
from ecglm.io._wfdb_signals import stored
from ecglm.io.deidentify import MAX_AGE, Removal, safe_name

_FORMAT = re.compile(
    r"(8|16|24|32|61|80|160|212|310|311|508|516|524)(x\d{1,4})?(:\d{1,6})?(?:\+(\d{1,9}))?\Z"
)
_GAIN = re.compile(r"([-+]?[\d.]{1,20}(?:[eE][-+]?\d{1,3})?(?:\([-+]?\d{1,10}\))?)(?:/(\S+))?\Z")
_UNITS = frozenset("mv uv nv v µv μv mmhg bpm % nu degc c l l/min pm hz ohm kpa cmh2o adu".split())
_INTEGER = re.compile(r"[-+]?\d{1,10}\Z")
_RATE = re.compile(r"[\d.]{1,12}")
_CODES = re.compile(r"\s*dx\s*:\s*(\d{6,18}(?:\s*,\s*\d{6,18})*)\s*\Z", re.IGNORECASE)  # SNOMED CT
_RESTATED = re.compile(r"\s*(age|sex)\s*:\s*(\w{1,6}|\d{1,3})\s*\Z", re.IGNORECASE)
_UNPACKED = {"508": "80", "516": "16", "524": "24"}  # what FLAC's formats become


def keep(path: Path, folder: Path, name: str, removal: Removal, ecg: ECG) -> Path:
    """A new header and copies of the signal files."""
    from ecglm.io.wfdb import find_header

    header = find_header(path)
    assert header is not None
    target = _record(header, folder, name, removal)
    lines = []
    if (age := ecg.metadata.get("age")) is not None:
        lines.append(f"#Age: {min(age, MAX_AGE):g}\n")
    if (sex := ecg.metadata.get("sex")) is not None:
        lines.append(f"#Sex: {sex}\n")
    for comment in _lines(header)[1]:
        if codes := _CODES.match(comment):
            lines.append(f"#Dx: {codes[1]}\n")
        elif comment.strip() and not _RESTATED.match(comment):
            removal.note("comments of the header")
    with target.open("a", encoding="ascii") as file:
        file.writelines(lines)
    beside = [
        each
        for each in header.parent.glob(f"{header.stem}.*")
        if each.suffix not in (".hea", ".dat", ".mat") and each.is_file()
    ]
    for each in beside:
        removal.note(f"the file beside it with the suffix {each.suffix}")
    return target


def _lines(header: Path) -> tuple[list[str], list[str]]:
    """Lines and comments of a header."""
    with header.open("rb") as file:
        stripped = lines_of(file.read(MAX_HEADER_BYTES))
    return (
        [line for line in stripped if line and not line.startswith("#")],
        [line[1:] for line in stripped if line.startswith("#")],
    )


def _record(header: Path, folder: Path, name: str, removal: Removal) -> Path:
    """The header of one record (or segment) and its signal files."""
    lines, _ = _lines(header)
    first = lines[0].split()
    kept = [first[0], *(_integer(header, text) for text in first[1:2])]
    if len(first) > 2:
        rate = _RATE.match(first[2])
        kept.append(rate[0] if rate else "")
        kept += [_integer(header, text) for text in first[3:4]]
    if len(first) > 4:
        removal.note("date and time of the header")
    _, slash, segments = first[0].partition("/")
    kept[0] = name + slash + (_integer(header, segments) if slash else "")
    out = [" ".join(kept)]
    if slash:
        out += _segments(header, lines[1 : 1 + int(segments)], folder, name, removal)
    else:
        count = int(first[1])
        frames = int(first[3]) if len(first) > 3 else 0
        out += _signals(header, lines[1 : 1 + count], frames, folder, name, removal)
    target = folder / f"{name}.hea"
    target.write_text("\n".join(out) + "\n", encoding="ascii")
    return target


def _integer(header: Path, text: str) -> str:
    if not _INTEGER.match(text):
        raise ECGFileError(f"{header}: {quoted(text)} is no number; the header cannot be rewritten")
    return text


def _segments(header: Path, lines: list[str], folder: Path, name: str, removal: Removal) -> list[str]:
    out: list[str] = []
    known: dict[str, str] = {}
    for line in lines:
        old, _, count = line.partition(" ")
        if old != "~" and old not in known:
            known[old] = f"{name}_{len(known) + 1:04d}"
            _record(header.parent / f"{old}.hea", folder, known[old], removal)
        out.append(f"{known.get(old, '~')} {_integer(header, count.strip())}")
    return out


def _signals(
    header: Path, lines: list[str], frames: int, folder: Path, name: str, removal: Removal
) -> list[str]:
    """Lines of the signals, and their files copied."""
    out: list[str] = []
    files: dict[str, str] = {}
    groups: dict[str, list[re.Match[str]]] = {}
    for line in lines:
        parts = line.split(maxsplit=8)
        form = _FORMAT.match(parts[1])
        if form is None:
            raise ECGFileError(f"{header}: {quoted(parts[1])} is no format; the header cannot be rewritten")
        if parts[0] not in files:
            files[parts[0]] = f"{name}.dat" if not files else f"{name}_{len(files) + 1}.dat"
        if parts[0] != "~":
            groups.setdefault(parts[0], []).append(form)
        kept = [
            files[parts[0]] if parts[0] != "~" else "~",
            "".join(part or "" for part in (_UNPACKED.get(form[1], form[1]), form[2], form[3])),
        ]
        if len(parts) > 2:
            kept.append(_gain(header, parts[2], removal))
        kept += [_integer(header, text) for text in parts[3:8]]
        if len(parts) == 9:
            kept.append(safe_name(standard_lead(parts[8]), removal))
        out.append(" ".join(kept))
    for old, forms in groups.items():
        _copy(header.parent / old, folder / files[old], forms, frames, removal)
    return out


def _gain(header: Path, text: str, removal: Removal) -> str:
    match = _GAIN.match(text)
    if match is None:
        raise ECGFileError(f"{header}: {quoted(text)} is no gain; the header cannot be rewritten")
    if match[2] is None:
        return match[1]
    if match[2].lower() not in _UNITS:
        removal.note("a unit that is none")
        return f"{match[1]}/NU"
    return f"{match[1]}/{match[2]}"


def _copy(source: Path, target: Path, forms: list[re.Match[str]], frames: int, removal: Removal) -> None:
    """The bytes of the samples, without those before the first and behind the last."""
    if forms[0][1] in _UNPACKED:
        target.write_bytes(_unpacked(source, forms, frames))
        removal.note("what a FLAC file holds beside its samples, which are unpacked")
        return
    offset = int(forms[0][4] or 0)
    per_frame = sum(int((form[2] or "x1")[1:]) for form in forms)
    if source.suffix == ".mat" and (samples := resaved(source, forms[0][1], offset, per_frame)) is not None:
        target.write_bytes(samples.astype(samples.dtype.newbyteorder("<")).tobytes())
        removal.note("what a MATLAB file holds beside its samples, which are unpacked")
        return
    content = source.read_bytes()[offset:]
    if offset:
        removal.note("the bytes before the first sample")
    count = frames * per_frame
    kind = forms[0][1]
    if count and not any(form[3] for form in forms):
        size = {
            "8": count, "80": count, "24": 3 * count, "32": 4 * count, "212": (3 * count + 1) // 2,
            "310": (count + 2) // 3 * 4, "311": (count + 2) // 3 * 4,
        }.get(kind, 2 * count)  # fmt: skip
        if len(content) > size:
            removal.note("the bytes behind the last sample")
        content = content[:size]
    target.write_bytes(content)


def _unpacked(source: Path, forms: list[re.Match[str]], frames: int) -> bytes:
    """The samples of a FLAC file in the format that `_UNPACKED` names."""
    per_frame = [int((form[2] or "x1")[1:]) for form in forms]
    samples = stored(source, forms[0][1], 0, per_frame, 0, frames, [0] * len(forms)).reshape(-1, 1)
    if forms[0][1] == "508":
        return (samples + 0x80).astype(np.uint8).tobytes()
    width = 2 if forms[0][1] == "516" else 3
    return samples.astype("<i4").view(np.uint8)[:, :width].tobytes()
