"""Text tables (CSV, TSV): one column per lead, or one row per lead; with or without names, time and units.

Above the numbers may stand a preamble of comments (`# sampling_rate: 500`) or of `name,value` lines, as the
exports of watches and of PhysioNet's tools have it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
import warnings
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ecglm.ecg import ECG, LEADS_12, ECGFileError, standard_lead
from ecglm.io._common import (
    LONG_BYTES,
    MAX_LEADS,
    MAX_SAMPLES,
    Channel,
    Hints,
    Recording,
    plain_metadata,
    quoted,
    read_bytes,
    restore_metadata,
    written_aside,
)
from ecglm.io._counts import refuse_empty
from ecglm.io._finish import check_stated

_MAX_TABLE_BYTES = 256 << 20
_PIECE = 1 << 18  # bytes of a long table that are looked through at once
_MAX_COLUMNS = 1000  # beyond, a line is a lead
_MAX_LINE = 4 << 20  # bytes: a lead of an hour at 150 Hz
_MAX_PREAMBLE = 200  # lines above the numbers
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # as spreadsheets save "Unicode text"
_UNKNOWN = {"", "nan", "na", "n/a", "null", "none", "-", ".", "?"}
_UNIT = re.compile(
    r"^(?P<name>.*?)[\s_/]*(?:[\s_/(\[](?P<unit>m?v|[uµμn]v|volts?|(?:milli|micro|nano)volts?)[)\]]?"
    r"|[(\[](?P<other>mmhg|bpm|%|°c|degc|l/min|ohm|g|m/s2|nu|adu|counts?)[)\]])$",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"^(?P<name>(elapsed[ _]?)?time|timestamps?|t|seconds?|secs?|milliseconds?|ms|zeit|tiempo|temps)"
    r"[ _]*[(\[/]?\s*(?P<unit>s|secs?|seconds?|ms|millis(econds?)?|us|µs|ns|hh:mm:ss.*)?[)\]]?$",
    re.I,
)
_COUNTER = re.compile(
    r"^(sample(\s*#|[ _]?(number|index|no\.?))?|samples|index|idx|no\.?|#|unnamed: 0)$", re.I
)
_KEYS = {
    "sampling_rate": r"(sampl(e|ing)[ _]?(rate|frequency|freq)|frequency|fs|sfreq)( ?[(\[]? ?hz ?[)\]]?)?"
    r"|abtastrate|messrate",
    "unit": r"units?|einheit",
    "leads": r"leads?|channels?|ableitung",
    "age": r"(patient[ _]?)?age",
    "sex": r"(patient[ _]?)?(sex|gender)",
    "acquired": r"acquired|date|(recorded|recording|acquisition)[ _]?(date([ _]?time)?|time)"
    r"|aufzeichnungsdatum",
    "statements": r"classification|interpretation|diagnosis|klassifizierung",
    "device": r"device|device[ _]model|gerät",
    "report": r"report",
    "metadata": r"ecglm",
    "name": r"(patient[ _]?)?name",
    "birth_date": r"date[ _]of[ _]birth|birth[ _]?date|dob|geburtsdatum",
    "patient_id": r"(patient[ _]?)?id|mrn|subject[ _]?id",
}
_KEYS_COMPILED = {key: re.compile(f"^({pattern})$", re.IGNORECASE) for key, pattern in _KEYS.items()}
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}


@dataclass
class _Table:
    """What stands above the numbers, and where these begin."""

    delimiter: str
    decimal: str
    body: int  # offset of the first line of numbers
    names: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    by_rows: bool = False  # one row per lead
    clock: bool = False  # the first column holds times of day


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is text in which a line of numbers follows at most some lines of words."""
    if head.startswith(_UTF16):
        head = head[: len(head) & ~1].decode("utf-16", "replace").encode()
    if b"\x00" in head or not head.strip() or head.lstrip().startswith((b"<", b"{")):
        return False
    if path.suffix.lower() in (".csv", ".tsv"):
        return True
    lines = head.decode("utf-8", "replace").splitlines()
    if len(head) >= 8192:
        lines = lines[:-1] or lines  # the last one may be cut
    delimiter, decimal = _dialect(lines)
    numeric = [line for line in lines if _is_numeric(line, delimiter, decimal)]
    return len(numeric) >= 3 and len(numeric) >= len(lines) - _MAX_PREAMBLE


def parse(path: Path, hints: Hints) -> Recording:
    """Read a table of numbers.

    A first column that counts samples or tells the time is no lead; the time gives the sampling rate. Units
    are read from names such as `II (uV)`, from a second line of names, or from the preamble.

    Raises:
        ECGFileError: if there are no numbers, lines of different lengths, or words among the numbers.
    """
    if hints.index:
        raise ECGFileError(f"{path} holds one record; index={hints.index} must be 0")
    if hints.cropping and path.stat().st_size > LONG_BYTES:
        part = _part_of_long(path, hints)
        if part is not None:
            return part
    content = _as_utf8(read_bytes(path, _MAX_TABLE_BYTES))
    cut = hints.allow_truncated and not content.endswith(b"\n")
    content = content[: content.rfind(b"\n") + 1] if cut else content
    table = _read_preamble(path, content, hints)
    if len(content) > LONG_BYTES:
        _check_beginning(path, table, content, hints)
    recording = _understood(path, table, _numbers(path, content, table), hints)[0]
    if cut:
        recording.warnings.append("the last line, which does not end, is left out")
    return recording


def _as_utf8(content: bytes) -> bytes:
    """Text in UTF-8 with lines that end in a line feed, whatever a spreadsheet wrote."""
    if content.startswith(_UTF16):
        content = content.decode("utf-16", "replace").encode()
    head = content[:LONG_BYTES]
    try:
        if not head.isascii():
            codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        content = content.decode("cp1252", "replace").encode()
    return content if b"\n" in head else content.replace(b"\r", b"\n")


def _check_beginning(path: Path, table: _Table, content: bytes, hints: Hints) -> None:
    """Refuse a long table that does not say enough by its first lines, before all are read."""
    head = content[: content.rfind(b"\n", 0, table.body + LONG_BYTES // 4) + 1]
    if len(head) > table.body:
        recording, fields = _understood(path, table, _numbers(path, head, table), hints)
        if fields is not None:
            check_stated(recording, hints)


def _understood(
    path: Path, table: _Table, values: np.ndarray, hints: Hints
) -> tuple[Recording, slice | None]:
    """The recording of (lines, fields) numbers, and which fields are its channels; None where lines are."""
    recording = Recording(path, "CSV" if table.delimiter == "," else "table", [], None)
    _apply_preamble(recording, table)
    by_rows = table.by_rows or _is_by_rows(values.T.shape, table, hints)
    columns = values if by_rows else values.T
    names = list(table.names) if len(table.names) == len(columns) else []
    units = list(table.units) if len(table.units) == len(columns) else []
    while len(columns) > 1 and not (names and names[-1]) and np.isnan(columns[-1]).all():
        columns, names, units = columns[:-1], names[:-1], units[:-1]  # behind a comma at the end of each line
    behind = len(columns)
    columns, names, units = _without_time(recording, columns, names, units, table.clock, hints)
    common = table.said.get("unit")
    if not names and "leads" in table.said:
        said = [each for each in re.split(r"[,;]\s*|\s+(?=[aV])", table.said["leads"]) if each]
        names = said if len(said) == len(columns) else [table.said["leads"]] if len(columns) == 1 else []
    own = {
        f"{name} ({unit})": (name, str(unit)) for name, unit in recording.metadata.pop("units", {}).items()
    }
    for row, values in enumerate(columns):
        title = names[row] if names else ""
        name, unit = own.get(title) or _name_and_unit(title)
        unit = unit or (units[row] if units else None) or common
        recording.channels.append(Channel(name, values, unit))
    return recording, None if by_rows else slice(behind - len(columns), behind)


# -------------------------------------------------------------------------------------- a part of a long one


def _part_of_long(path: Path, hints: Hints) -> Recording | None:
    """What `start` and `stop` ask for of a long table; None where it is no text of a line per sample.

    Its beginning tells what the columns are and, by its times, the sampling rate.
    """
    with path.open("rb") as file:
        head = file.read(LONG_BYTES)
    head = head[: head.rfind(b"\n") + 1]
    if not head or _as_utf8(head) is not head:
        return None
    table = _read_preamble(path, head, hints)
    head = head[: head.rfind(b"\n", 0, table.body + _PIECE) + 1]
    if len(head) <= table.body:
        return None
    values = _numbers(path, head, table)
    recording, fields = _understood(path, table, values, hints)
    rate = hints.sampling_rate or recording.sampling_rate
    if fields is None or not rate:
        return None
    lines = _lines_of_part(path, table.body, hints, rate)
    part = _numbers(path, head[: table.body] + lines, table)
    if part.shape[1] != values.shape[1]:
        raise ECGFileError(
            f"{path} has {part.shape[1]} fields in a line where its first line has {values.shape[1]}"
        )
    for channel, column in zip(recording.channels, part.T[fields], strict=True):
        channel.values = column
    recording.cropped = True
    return recording


def _lines_of_part(path: Path, begin: int, hints: Hints, rate: float) -> bytes:
    """The lines of numbers that `start` and `stop` ask for; those before them are only counted."""
    first = round((hints.start or 0.0) * rate)
    last = None if hints.stop is None else round(hints.stop * rate)
    kept, size, count = [], 0, 0
    with path.open("rb") as file:
        file.seek(begin)
        rest = b""
        while last is None or count < last or last <= first:
            piece = file.read(_PIECE)
            lines = rest + piece if piece else rest + b"\n"
            end = lines.rfind(b"\n") + 1
            lines, rest = _without_blank_lines(lines[:end]), lines[end:]
            if len(rest) > LONG_BYTES:
                raise ECGFileError(f"{path} has a line of over {LONG_BYTES >> 20} MB below shorter ones")
            here = lines.count(b"\n")
            if count + here > first:
                if count < first or (last is not None and count + here > last):
                    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1
                    ends = np.insert(ends, 0, 0)
                    upto = here if last is None else min(last - count, here)
                    lines = lines[ends[max(first - count, 0)] : ends[max(upto, 0)]]
                kept.append(lines)
                size += len(lines)
            count += here
            if size > _MAX_TABLE_BYTES:
                raise ECGFileError(
                    f"{path} has over {_MAX_TABLE_BYTES >> 20} MB between start= and stop=; pass less"
                )
            if not piece:
                hints.span(path, count, rate)
                break
    return b"".join(kept)


def _without_blank_lines(lines: bytes) -> bytes:
    """Whole lines without those that are empty or comments, which are no samples."""
    lines = lines.replace(b"\r\n", b"\n") if b"\r" in lines else lines
    if not lines.startswith((b"\n", b" ", b"\t")) and not any(
        each in lines for each in (b"\n\n", b"\n ", b"\n\t", b"#")
    ):
        return lines
    wanted = (each for each in lines.split(b"\n") if each.strip() and not each.lstrip().startswith(b"#"))
    return b"".join(each + b"\n" for each in wanted)


# ------------------------------------------------------------------------------------------ what stands above


def _dialect(lines: list[str], lone: bool = False) -> tuple[str, str]:
    """Delimiter and decimal sign, by the lines that are mostly numbers; `lone` where one lead is expected."""
    numbers = (
        line for line in reversed(lines) if re.search(r"\d", line) and not line.lstrip().startswith("#")
    )
    sample = list(islice(numbers, 20))[::-1]
    text = "\n".join(sample)
    if "\t" in text:
        delimiter = "\t"
    elif ";" in text or "|" in text:
        delimiter = ";" if ";" in text else "|"
    elif "," in text:
        # One number per line with a decimal comma, as watches set to German write it, and not two columns: no
        # names stand above with a comma between them, or one lead is expected and the first does not count.
        one = all(re.fullmatch(r"\s*[-+]?\d+(,\d+)?\s*", line) for line in sample)
        first = lines.index(sample[0])
        while first and re.fullmatch(r"\s*[-+]?\d+(,\d+)?\s*", lines[first - 1]):
            first -= 1
        named = first > 0 and "," not in lines[first - 1]
        whole = [int(line.partition(",")[0]) for line in sample] if one and lone else []
        counted = all(now < after for now, after in pairwise(whole))
        delimiter = ";" if one and (named or (lone and not first and not counted)) else ","
    else:
        delimiter = " " if re.search(r"\d +[-+.\d]", text) else ","
    commas = r"\d,\d" if delimiter != "," else r'"[-+]?\d+,\d+"'
    decimal = "," if re.search(commas, text) and not re.search(r"\d\.\d", text) else "."
    return delimiter, decimal


def _fields(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if '"' in line:
        return [each.strip().strip("'") for each in next(csv.reader([line], delimiter=delimiter))]
    return [each.strip().strip("'") for each in line.split(delimiter)]


def _number(text: str, decimal: str) -> float | None:
    text = text.strip()
    if text.lower() in _UNKNOWN:
        return math.nan
    try:
        return float(text.replace(",", ".") if decimal == "," else text)
    except ValueError:
        return None


def _seconds(text: str) -> float | None:
    """The seconds of `[[hh:]mm:]ss.mmm` or of a date and time in ISO 8601, from some origin."""
    text = text.strip().strip("'[]")
    clock = re.fullmatch(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)", text)
    if clock:
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3].replace(",", "."))
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp() if re.match(r"\d{4}-\d\d-\d\d[T ]", text) else None
    except (ValueError, OverflowError, OSError):
        return None


def _iso_time(text: str) -> str | None:
    """A date with or without time in ISO 8601; None where it is written otherwise."""
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(re.sub(r"\s+(?=[-+]\d\d:?\d\d$)", "", text))
    except ValueError:
        return None
    return text if len(text) <= 10 else moment.isoformat()


def _is_numeric(line: str, delimiter: str, decimal: str) -> bool:
    """Whether a line holds numbers only; a first field may be a time or, before many, a lead's name."""
    fields = _fields(line, delimiter)
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    if not fields:  # an empty line, where blanks separate
        return False
    first, rest = fields[0], fields[1:]
    known = [_number(each, decimal) for each in rest]
    if any(each is None for each in known):
        return False
    if _number(first, decimal) is None:
        return bool(rest) and (_seconds(first) is not None or len(rest) > MAX_LEADS)
    return any(each is not None and not math.isnan(each) for each in [_number(first, decimal), *known])


def _read_preamble(path: Path, content: bytes, hints: Hints) -> _Table:
    """Go down to the first line of numbers, and keep what the lines above say."""
    num_lines = _MAX_PREAMBLE + 50
    short = content[: 1 << 16]
    *enough, rest = short.split(b"\n", num_lines)
    window = short[: -len(rest)] if len(enough) == num_lines and rest else content[: 1 << 20]
    lines = window.decode("utf-8-sig", "replace").splitlines(keepends=True)[:num_lines]
    lone = hints.leads is not None and len(hints.leads) == 1
    delimiter, decimal = _dialect([line.rstrip("\r\n") for line in lines], lone)
    table = _Table(delimiter, decimal, body=3 if content.startswith(b"\xef\xbb\xbf") else 0)
    for number, raw in enumerate(lines[: _MAX_PREAMBLE + 1]):
        line = raw.strip()
        comment = line.startswith("#") and not re.match(r"#\s*[,;|\t]", line)
        if not comment and line and not _is_counting(line, table) and _is_numeric(line, delimiter, decimal):
            table.by_rows = len(_fields(line, delimiter)) > MAX_LEADS + 1
            return table
        table.body += len(raw.encode("utf-8"))
        if line:
            _read_words(line.lstrip("#").strip() if comment else line, table, comment)
        if number and len(window) == 1 << 20 and raw is lines[-1]:
            break
    raise ECGFileError(
        f"{path} holds no table of numbers in its first {min(len(lines), _MAX_PREAMBLE)} lines"
    )


def _is_counting(line: str, table: _Table) -> bool:
    """Whether a first line `0,1,2,…,11` is pandas' names of unnamed columns."""
    if table.names:
        return False
    fields = _fields(line, table.delimiter)
    fields = fields[1:] if fields and not fields[0] else fields
    counting = len(fields) > 2 and fields == [str(number) for number in range(len(fields))]
    return counting


def _read_words(line: str, table: _Table, comment: bool) -> None:
    fields = _fields(line, table.delimiter)
    pair = re.match(r"([^:=,;\t]{1,40})\s*[:=]\s*(.*)", line) if comment or len(fields) == 1 else None
    if pair is None and not comment and (len(fields) == 2 or table.delimiter == ";"):
        pair = re.match(r"([^:=,;|\t]{1,40})\s*[:=,;|\t]\s*(.*)", line)
    if pair:
        key = next((key for key, known in _KEYS_COMPILED.items() if known.match(pair[1].strip())), None)
        value = pair[2].strip().strip('"').strip()
        if key:
            if value:
                table.said.setdefault(key, value)
            return
        if len(fields) == 1 and not comment:  # a pair that says nothing we know
            return
    named = {standard_lead(_name_and_unit(each)[0]) for each in fields} & {*LEADS_12}
    if (comment and not named) or _is_counting(line, table):  # NumPy writes names behind a "#"
        return
    if table.names and len(fields) == len(table.names) and not {*map(standard_lead, fields)} & {*LEADS_12}:
        table.units = [each.strip("()[] ") for each in fields]
    elif not table.names or len(fields) >= len(table.names):
        table.names = fields


def _apply_preamble(recording: Recording, table: _Table) -> None:
    said = table.said
    rate = re.match(r"\d+([.,]\d+)?", said.get("sampling_rate", ""))
    recording.sampling_rate = float(rate[0].replace(",", ".")) if rate else None
    age = re.match(r"\d+(\.\d+)?", said.get("age", ""))
    if age and float(age[0]) <= 120:
        recording.metadata["age"] = float(age[0])
    if said.get("sex", "").lower() in _SEXES:
        recording.metadata["sex"] = _SEXES[said["sex"].lower()]
    if acquired := _iso_time(said.get("acquired", "")):
        recording.metadata["acquired"] = acquired
    if "report" in said:
        recording.metadata["report"] = said["report"]
    device: dict[str, Any] = {"model": said["device"]} if "device" in said else {}
    device |= {"statements": [said["statements"]]} if "statements" in said else {}
    recording.metadata |= {"device": device} if device else {}
    recording.identity = {key: said[key] for key in ("name", "birth_date", "patient_id") if key in said}
    if "metadata" in said:  # as write_csv left it
        restore_metadata(recording, said["metadata"])


# ------------------------------------------------------------------------------------------------ the numbers


def _numbers(path: Path, content: bytes, table: _Table) -> np.ndarray:
    """(lines, fields) float64, NaN where a field is empty."""
    end = content.find(b"\n", table.body) + 1 or len(content)
    if end - table.body > _MAX_LINE:
        raise ECGFileError(
            f"{path} has a line of over {_MAX_LINE >> 20} MB, which is not read; save one line per sample"
        )
    first_line = content[table.body : end].decode("utf-8", "replace").strip()
    fields = _fields(first_line, table.delimiter)
    while len(fields) > max(len(table.names), 1) and not fields[-1]:
        fields.pop()
    words = _number(fields[0], table.decimal) is None
    if not words:
        wide = len(fields) > _MAX_COLUMNS
        if wide:
            quick = _numbers_by_line(content[table.body :], table)
        elif table.delimiter == " ":
            quick = _numbers_between_blanks(content[table.body :], table)
        else:
            quick = _numbers_by_arrow(content, table, len(fields))
        if quick is not None and quick.shape[1] == len(fields):
            return quick
    return _numbers_slowly(path, content[table.body :], table, len(fields))


def _numbers_by_arrow(content: bytes, table: _Table, width: int) -> np.ndarray | None:
    """(lines, fields) float64, where all fields are numbers, empty or NaN; None where something else is."""
    import pyarrow
    from pyarrow import csv as arrow

    names = [str(number) for number in range(width)]
    types = dict.fromkeys(names, pyarrow.float64())
    body = pyarrow.py_buffer(content).slice(table.body)
    for quoted_or_unknown in (False, True):  # which take longer, and are rare
        words = {"null_values": None if quoted_or_unknown else [""], "column_types": types}
        try:
            read = arrow.read_csv(
                pyarrow.BufferReader(body),
                arrow.ReadOptions(use_threads=False, column_names=names, block_size=len(content)),
                arrow.ParseOptions(delimiter=table.delimiter, quote_char='"' if quoted_or_unknown else False),
                arrow.ConvertOptions(decimal_point=table.decimal, **words),
            )
            break
        except pyarrow.ArrowException:
            continue
    else:
        return None
    return np.stack([column.to_numpy() for column in read.columns]).T


def _numbers_between_blanks(body: bytes, table: _Table) -> np.ndarray | None:
    """The same where any number of blanks separates the fields."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns of mixed types, which are refused below
        try:
            frame = pandas.read_csv(
                io.BytesIO(body), sep=r"\s+", header=None, decimal=table.decimal, engine="c"
            )
        except (ValueError, OverflowError, MemoryError):  # ParserError is a ValueError
            return None
    if any(kind.kind not in "iuf" for kind in frame.dtypes):
        return None
    values: np.ndarray = frame.to_numpy(np.float64)
    return None if np.isnan(values).any() else values  # a word for unknown, or a line that is too short


def _numbers_by_line(body: bytes, table: _Table) -> np.ndarray | None:
    """The same for a few long lines, one per lead, as pandas takes 0.1 ms and 1 kB for each column."""
    rows: list[np.ndarray] = []
    for line in io.StringIO(body.decode("utf-8", "replace")):
        if not line.strip():
            continue
        text = line.replace(",", ".") if table.decimal == "," else line
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is no number, and an empty field
            try:
                rows.append(np.fromstring(text.rstrip(f"\r\n{table.delimiter}"), sep=table.delimiter))
            except (ValueError, DeprecationWarning):
                return None
        if len(rows[-1]) != len(rows[0]):
            return None
    return np.stack(rows)


def _numbers_slowly(path: Path, body: bytes, table: _Table, width: int) -> np.ndarray:
    """Line by line: empty fields, quotes, decimal commas, times and names in the first column."""
    rows, lead_names = [], []
    for number, line in enumerate(io.StringIO(body.decode("utf-8", "replace")), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = _fields(line.rstrip("\r\n"), table.delimiter)
        while len(fields) > width and not fields[-1]:
            fields.pop()
        if len(fields) != width:
            raise ECGFileError(
                f"{path}: line {number} of the numbers has {len(fields)} fields where the first has {width}"
            )
        known = [_number(each, table.decimal) for each in fields]
        if known[0] is None:
            known[0] = _seconds(fields[0])
            table.clock = table.clock or known[0] is not None
            if known[0] is None and width > MAX_LEADS:
                lead_names.append(fields[0])
                known[0] = math.nan
        if None in known:
            raise ECGFileError(
                f"{path}: line {number} of the numbers holds {quoted(fields[known.index(None)])}, no number"
            )
        rows.append(known)
        if len(rows) * width > MAX_SAMPLES:
            raise ECGFileError(f"{path} holds too many numbers to read at once")
    if not rows:
        raise ECGFileError(f"{path} holds no numbers")
    values = np.array(rows, np.float64)
    if lead_names and len(lead_names) == len(values):
        table.by_rows, table.names = True, lead_names
        return values[:, 1:]
    return values


def _is_by_rows(shape: tuple[int, int], table: _Table, hints: Hints) -> bool:
    """Whether the lines are leads, told by names or by the side that is too long for leads."""
    columns, lines = shape
    if hints.leads is not None and len(hints.leads) == lines != columns:
        return True
    return columns > MAX_LEADS + 1 >= lines


def _without_time(
    recording: Recording,
    columns: np.ndarray,
    names: list[str],
    units: list[str],
    clock: bool,
    hints: Hints,
) -> tuple[np.ndarray, list[str], list[str]]:
    """Take away a first column that counts or tells the time, and read the sampling rate off it."""
    while len(columns) > 1:
        name = names[0].strip() if names else None
        time, counter = (_TIME.match(name), _COUNTER.match(name)) if name else (None, None)
        if name and not time and not counter:
            return columns, names, units
        steps = np.diff(columns[0]) if columns.shape[1] > 2 else np.empty(0)
        even = steps.size > 0 and np.isfinite(steps).all() and steps.min() > 0
        counting = even and np.ptp(steps) == 0 and steps[0] == 1 and columns[0][0] in (0, 1)
        unnamed = name == "" or (name is None and not (hints.leads and len(hints.leads) == len(columns)))
        if clock and unnamed and even:
            _rate_of_time(recording, columns[0], "s")
        elif time and even:
            unit = time["unit"] or (units[0] if units else "") or {"ms": "ms"}.get(time["name"].lower(), "")
            _rate_of_time(recording, columns[0], unit.lower())
        elif not (counter and even) and not (unnamed and counting):
            return columns, names, units
        columns, names, units, clock = columns[1:], names[1:], units[1:], False
    return columns, names, units


def _rate_of_time(recording: Recording, time: np.ndarray, unit: str) -> None:
    """The sampling rate of a column of times; a whole number where the times' rounding allows it."""
    if recording.sampling_rate is not None:
        return
    mean = (time[-1] - time[0]) / (len(time) - 1)
    per_second = {"m": 1e3, "u": 1e6, "µ": 1e6, "n": 1e9, "s": 1.0, "h": 1.0}.get(unit[:1])
    if per_second is None:  # only one unit makes an ECG of it: the others are beyond 10 Hz to 100 kHz
        fitting = [each for each in (1.0, 1e3, 1e6) if 40 <= each / mean <= 20_000]
        if len(fitting) != 1:
            return
        per_second = fitting[0]
        called = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds"}[per_second]
        recording.assumed.append(f"the time is in {called}: no other unit gives an ECG's sampling rate")
    rate = per_second / mean
    steps = np.diff(time)
    rounding = max(np.ptp(steps), 1e-9 * abs(float(time[-1])))
    slack = rate * rounding / (time[-1] - time[0])
    if abs(rate - round(rate)) <= max(slack, 1e-6 * rate):
        rate = round(rate)
    if np.ptp(steps) > 1.5 * mean:
        recording.warnings.append("the times are uneven: samples are missing, or the clock was set")
    recording.sampling_rate = float(rate)
    recording.assumed.append(f"sampling rate {rate:g} Hz, from the times")


def _name_and_unit(name: str) -> tuple[str, str | None]:
    match = _UNIT.match(name.strip())
    if not match or not match["name"]:
        return name, None
    return match["name"].strip(" ([_/"), match["unit"] or match["other"]


# ------------------------------------------------------------------------------------------------- the writer


def write_csv(ecg: ECG, path: str | Path, *, identity: bool = False) -> Path:
    """Write a table: comments with rate, unit and metadata, a line of lead names, a line per sample.

    Millivolts with six digits behind the point (1 nV); an unknown sample is an empty field, of a lone lead
    "nan", as readers skip empty lines.

    Args:
        ecg: the recording.
        path: ends in `.csv`.
        identity: write `metadata["identity"]` too.

    Returns:
        The path.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if the recording has no samples.
    """
    path = Path(path)
    refuse_empty(ecg)
    units = ecg.metadata.get("units", {})
    titles = [f"{name} ({units.get(name, 'mV')})" if name in units else name for name in ecg.leads]
    head = [
        f"# sampling_rate: {ecg.sampling_rate:.12g}",
        "# unit: mV",
        f"# ecglm: {json.dumps(plain_metadata(ecg, identity=identity), ensure_ascii=False)}",
    ]
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        file.write("\n".join(head) + "\n")
        csv.writer(file, lineterminator="\n").writerow(titles)
        known = ~np.isnan(ecg.signal)
        if known.all():
            np.savetxt(file, ecg.signal.T, fmt="%.6f", delimiter=",")
        else:
            for row, there in zip(ecg.signal.T.tolist(), known.T.tolist(), strict=True):
                fields = [f"{value:.6f}" if each else "" for value, each in zip(row, there, strict=True)]
                file.write((",".join(fields) or "nan") + "\n")
    return path
