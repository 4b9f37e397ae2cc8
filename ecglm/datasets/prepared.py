"""The prepared store: a corpus packed into Parquet shards, recordings included.

A store is a folder with `SPLIT-00000.parquet` … and `manifest.json`, which names the corpus, the options it
was made with, and every shard with its size. It is written aside and put in place when it is complete, so a
folder with a manifest is whole.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglm.datasets._rows import SPLITS, EmptySelection, choose, encode_signal, features, read_row

if TYPE_CHECKING:
    from datasets import Dataset

_MANIFEST = "manifest.json"
_FORMAT = 1
_ROWS_PER_SHARD = 2048  # about 250 MB of 12 x 5000 samples before compression
_ROWS_PER_GROUP = 128
_log = logging.getLogger(__name__)


def prepare(
    name: str,
    root: str | PathLike | None,
    out: str | PathLike,
    *,
    splits: Sequence[str] = SPLITS,
    skip_unreadable: bool = False,
    **options: Any,
) -> Path:
    """Pack a corpus into a store.

    Samples are kept at their sampling rate, rounded to 1 µV; values beyond +-32.767 mV are cut to it and
    counted in the manifest.

    Args:
        name: the corpus, one of `ecglm.datasets.CORPORA`.
        root: its folder.
        out: the store to write; it must not exist.
        splits: those to pack; a split without records is left out.
        skip_unreadable: leave unreadable recordings out, log them and list them in the manifest, instead of
            stopping.
        **options: those of the corpus's `load`; its texts and labels are fixed here. `folds` is not among
            them: the split decides.

    Returns:
        The store's folder.

    Raises:
        ValueError: if `out` exists, no split has records, or a recording is unreadable (without
            `skip_unreadable`).
        FileNotFoundError: if the corpus or a recording is missing.
    """
    from ecglm.datasets import CORPORA
    from ecglm.datasets import load as load_corpus

    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} is there already; give another folder, or remove it to prepare it anew")
    if name == "prepared" or "folds" in options:
        raise ValueError("prepare() takes a corpus and its splits, not a store and not folds; leave that out")
    chosen = signature(import_module(f"ecglm.datasets.{name}").load).parameters if name in CORPORA else {}
    fixed = {key: chosen[key].default for key in ("text", "labels") if key in chosen} | options
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{out} cannot be made: a file lies where its folder would; give another") from error
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    aside.mkdir()
    try:
        manifest: dict[str, Any] = {"format": _FORMAT, "corpus": name, "options": fixed, "splits": {}}
        manifest |= {"unreadable": [], "samples_cut": 0}
        empty: Exception | None = None
        for split in splits:
            choose("split", split, SPLITS)
            try:
                rows = load_corpus(name, root, split, **options)
            except EmptySelection as error:
                empty = error
                continue
            shards = list(_write_shards(rows, split, aside, manifest, skip_unreadable))
            if shards:
                manifest["splits"][split] = {"folds": sorted(set(rows["fold"])), "shards": shards}
        if not manifest["splits"]:
            raise empty or ValueError(f"no recording of {name} could be read; see the log")
        (aside / _MANIFEST).write_text(json.dumps(manifest, indent=1, default=str) + "\n", encoding="utf-8")
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out


def _write_shards(
    rows: Dataset, split: str, folder: Path, manifest: dict[str, Any], skip_unreadable: bool
) -> Iterator[dict[str, Any]]:
    """Write the rows of a split with their recordings; yields name, rows and bytes of each shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tqdm import tqdm

    schema = features().arrow_schema
    progress = tqdm(total=len(rows), desc=f"packing {split}", unit="ECG", disable=None)
    packed = _packed(rows, manifest, skip_unreadable, progress)
    shard = 0
    row = next(packed, None)
    while row is not None:
        path = folder / f"{split}-{shard:05d}.parquet"
        count = 0
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while row is not None and count < _ROWS_PER_SHARD:
                group: list[dict[str, Any]] = []
                while row is not None and len(group) < min(_ROWS_PER_GROUP, _ROWS_PER_SHARD - count):
                    group.append(row)
                    row = next(packed, None)
                writer.write_batch(pa.RecordBatch.from_pylist(group, schema))
                count += len(group)
        yield {"name": path.name, "records": count, "bytes": path.stat().st_size}
        shard += 1
    progress.close()


def _packed(
    rows: Dataset, manifest: dict[str, Any], skip_unreadable: bool, progress: Any
) -> Iterator[dict[str, Any]]:
    """The rows with their signal inside."""
    for row in rows:
        try:
            ecg = read_row(row)
        except (ValueError, FileNotFoundError) as error:
            if not skip_unreadable:
                raise type(error)(f"{error} (skip_unreadable=True leaves such recordings out)") from error
            _log.warning("left out: %s", error)
            manifest["unreadable"].append({"record_id": row["record_id"], "reason": str(error)})
            continue
        finally:
            progress.update()
        manifest["samples_cut"] += int(np.count_nonzero(np.abs(ecg.signal) > 32.767))
        yield row | {
            "path": "",
            "signal": encode_signal(ecg),
            "sampling_rate": ecg.sampling_rate,
            "leads": list(ecg.leads),
        }


def load(
    root: str | PathLike,
    split: str = "train",
    *,
    folds: Sequence[int] | None = None,
    text: str | None = None,
    labels: str | None = None,
    cache_dir: str | PathLike | None = None,
) -> Dataset:
    """Load a store.

    Args:
        root: the folder that `prepare` wrote.
        split: "train", "validation" or "test".
        folds: these instead of the split's, from all splits of the store.
        text: if given, it must be what the store was made with.
        labels: likewise.
        cache_dir: where `datasets` unpacks the shards to; its own cache unless given.

    Returns:
        A dataset with the common columns, mapped from disk.

    Raises:
        FileNotFoundError: if there is no store, or a shard is missing.
        ValueError: if a shard is damaged, the options differ, or no record is left; it lists the splits and
            folds present.
    """
    from datasets import Dataset

    root = Path(root)
    manifest = _manifest(root)
    for name, value in (("text", text), ("labels", labels)):
        made = manifest["options"].get(name)
        if value is not None and made is not None and value != made:
            raise ValueError(
                f"the store {root} was made with {name}={made!r}, not {value!r}; "
                f"prepare another one with {name}={value}, or ask for what is there"
            )
    parts = manifest["splits"]
    if folds is None:
        wanted = {split: parts[split]} if split in parts else {}
    else:
        wanted = {key: part for key, part in parts.items() if set(part["folds"]) & set(folds)}
    if not wanted:
        present = "; ".join(f"{key} (folds {part['folds']})" for key, part in parts.items())
        asked = f"split {split!r}" if folds is None else f"folds {list(folds)}"
        raise EmptySelection(f"the store {root} has no record in {asked}; present: {present}")
    files = []
    for shard in (shard for part in wanted.values() for shard in part["shards"]):
        path = root / Path(shard["name"]).name
        if not path.is_file():
            raise FileNotFoundError(
                f"the store {root} lacks {path.name}; copy it there, or prepare the store anew"
            )
        if path.stat().st_size != shard["bytes"]:
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes, not {shard['bytes']}; prepare the store anew"
            )
        files.append(str(path))
    rows = Dataset.from_parquet(files, features=features(), cache_dir=cache_dir and str(cache_dir))
    if folds is not None:
        rows = rows.select(np.flatnonzero(np.isin(rows.with_format("numpy")["fold"], list(folds))))
    return rows


def _manifest(root: Path) -> dict[str, Any]:
    path = root / _MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} is no prepared store, it has no {_MANIFEST}; `ecglm prepare` makes one"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"] == _FORMAT and isinstance(manifest["splits"], dict)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(
            f"{path} is no manifest of format {_FORMAT}; prepare the store anew with this version"
        )
    return manifest
