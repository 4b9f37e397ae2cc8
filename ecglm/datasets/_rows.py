"""The common columns: rows to a dataset, and a row to its recording."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglm.ecg import ECG, ECGFileError
from ecglm.io import read

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation", "test")
UNKNOWN = -32768
"""The sample of a `signal` column that means "no value"."""

_EMPTY: dict[str, Any] = {
    "record_id": "",
    "patient_id": "",
    "path": "",
    "signal": b"",
    "sampling_rate": 0.0,
    "leads": [],
    "age": None,
    "sex": None,
    "report": "",
    "texts": [],
    "codes": [],
    "labels": [],
    "fold": 0,
}
COLUMNS = tuple(_EMPTY)
_ROWS_PER_BATCH = 512  # Arrow's binary arrays end at 2 GB; 512 recordings of 12 x 5000 samples have 61 MB


class EmptySelection(ValueError):
    """A split or folds without records; the message lists those that are there."""


def features() -> Any:
    """The columns' types, as `datasets.Features`."""
    from datasets import Features, List, Value

    types = {
        "signal": Value("binary"),
        "sampling_rate": Value("float64"),
        "age": Value("float64"),
        "fold": Value("int64"),
    } | {name: List(Value("string")) for name in ("leads", "texts", "codes", "labels")}
    return Features({name: types.get(name, Value("string")) for name in COLUMNS})


def to_dataset(rows: Iterable[Mapping[str, Any]]) -> Dataset:
    """A dataset in memory of rows that hold some of the common columns; the others get their empty value."""
    import pyarrow as pa
    from datasets import Dataset

    schema = features().arrow_schema
    batches, waiting = [], []
    for row in rows:
        waiting.append(_EMPTY | dict(row))
        if len(waiting) == _ROWS_PER_BATCH:
            batches.append(pa.RecordBatch.from_pylist(waiting, schema))
            waiting = []
    if waiting or not batches:
        batches.append(pa.RecordBatch.from_pylist(waiting, schema))
    return Dataset(pa.Table.from_batches(batches, schema))


def encode_signal(ecg: ECG) -> bytes:
    """A recording's samples as the `signal` column holds them; values beyond +-32.767 mV are cut to it."""
    microvolts = np.rint(ecg.signal * np.float32(1000))
    unknown = ~np.isfinite(ecg.signal)
    microvolts = np.where(unknown, UNKNOWN, np.clip(microvolts, -32767, 32767))
    return microvolts.astype("<i2").tobytes()


def read_row(row: Mapping[str, Any]) -> ECG:
    """The recording of one row, from its file or from the row itself.

    Args:
        row: with the common columns, as a corpus's dataset yields it.

    Returns:
        The recording in mV; `metadata` holds record_id, patient_id, age, sex, report and codes of the row,
        and what the file's reader had to say.

    Raises:
        ECGFileError: if the file cannot be read, or the row's bytes do not fit its leads.
        FileNotFoundError: if the file is not there.
    """
    known = {key: row.get(key) for key in ("record_id", "patient_id", "age", "sex", "report", "codes")}
    known = {key: value for key, value in known.items() if value is not None}
    if row["path"]:
        ecg = read(row["path"])
        return ECG(ecg.signal, ecg.sampling_rate, ecg.leads, ecg.metadata | known)
    leads = tuple(row["leads"])
    digital = np.frombuffer(row["signal"], "<i2") if len(row["signal"]) % 2 == 0 else np.empty(0, np.int16)
    if not leads or not len(digital) or len(digital) % len(leads):
        raise ECGFileError(
            f"record {row['record_id']!r}: {len(row['signal'])} bytes of signal do not fit {len(leads)} leads"
        )
    signal = digital.reshape(len(leads), -1) / np.float32(1000)
    signal[digital.reshape(len(leads), -1) == UNKNOWN] = np.nan
    return ECG(signal, row["sampling_rate"], leads, known | {"source": "prepared"})


# -------------------------------------------------------------------------- shared by the corpora's own files


def open_table(root: str | Path, name: str, columns: Sequence[str], layout: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV of a publisher's layout.

    Args:
        root: the corpus's folder.
        name: the file in it (or a path, for a file given by the user).
        columns: those that must be there.
        layout: one phrase on what the folder should hold, for the messages.

    Yields:
        The rows, all values as text.

    Raises:
        FileNotFoundError: if folder or file are missing.
        ValueError: if columns are missing, or the file ends within a row.
    """
    path = Path(root) / name
    if not path.is_file():
        what = f"no {name} in {root}" if Path(root).is_dir() else f"no folder {root}"
        raise FileNotFoundError(f"{what}; expected {layout}")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"{path} has no column {', '.join(missing)}; expected {layout}")
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise ValueError(f"{path} breaks off in line {reader.line_num}; fetch it again")
                yield row
        except (EOFError, UnicodeDecodeError, csv.Error, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is no readable CSV ({error}); fetch it again") from error


def choose(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Refuse a value that is not among those allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(map(str, allowed))}")


def number(text: str | None) -> float | None:
    """A number that a CSV holds as text; None where the field is empty."""
    return float(text) if text and text.strip() and text.lower() != "nan" else None


def identifier(text: str) -> str:
    """A number used as a name, without the ".0" that data frames leave behind."""
    return text[:-2] if text.endswith(".0") else text
