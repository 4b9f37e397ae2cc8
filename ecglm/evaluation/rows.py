"""Which recordings are judged, and which may be learnt from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from ecglm import datasets
from ecglm.assets import read_yaml, refuse_unknown
from ecglm.ecg import ECG

_NOT_WHICH = ("text", "labels", "translations", "repeat_rare")
"""Options of a corpus that say how its recordings are described, not which they are."""

_log = logging.getLogger(__name__)


def check_data(data: dict[str, Any], where: str) -> None:
    """Refuse a corpus, or an option of its loader, that does not exist.

    Args:
        data: of a benchmark.
        where: what messages call it.

    Raises:
        ValueError: naming the key and its likely spelling.
    """
    name = data.get("name")
    if name not in datasets.CORPORA:
        raise ValueError(f"{where}: name must be one of {', '.join(datasets.CORPORA)}, got {name!r}")
    options = signature(import_module(f"ecglm.datasets.{name}").load).parameters
    refuse_unknown(where, data, ["name", "train_folds", "root", "split", *options])


def evaluated_rows(data: dict[str, Any]) -> Any:
    """The recordings that a benchmark judges.

    Args:
        data: arguments of `ecglm.datasets.load`, and `train_folds`, which is not for it.

    Raises:
        ValueError: if a key is unknown, or the selection is empty; the loader names the folds that are there.
    """
    return datasets.load(**{key: value for key, value in data.items() if key != "train_folds"})


def training_rows(data: dict[str, Any], evaluated: Any) -> Any:
    """The recordings that a probe or a nearest neighbour may learn from.

    Args:
        data: as for `evaluated_rows`. `train_folds` names the folds; without it they are those of the
            training split that are not judged.
        evaluated: what `evaluated_rows` gave.

    Raises:
        ValueError: if a fold or a patient is on both sides, or nothing is left.
    """
    judged = set(evaluated["fold"]) - {0}
    arguments = {key: value for key, value in data.items() if key not in ("train_folds", "folds", "split")}
    folds = data.get("train_folds")
    if folds is not None:
        shared = sorted(judged & set(folds))
        if shared:
            raise ValueError(
                f"data.train_folds={list(folds)} holds fold {', '.join(map(str, shared))}, which is judged; "
                "leave it out"
            )
        rows = datasets.load(**arguments, folds=list(folds))
    else:
        rows = datasets.load(**arguments, split="train")
        rows = rows.select([index for index, fold in enumerate(rows["fold"]) if fold not in judged])
    if not len(rows):
        raise ValueError(
            f"no training recordings are left beside the judged folds {sorted(judged)}; "
            "name some with data.train_folds=[…]"
        )
    both = set(patients_of(rows)) & set(patients_of(evaluated))
    if both:
        raise ValueError(
            f"{len(both)} patients have recordings in training and among those judged "
            f"({sorted(both)[0]} is one); "
            "choose folds that share no patient"
        )
    return rows


def seen_in_training(model_dir: str | Path, data: dict[str, Any], judged: Any) -> int:
    """How many of the recordings judged the model has learnt from; figures on those say little.

    The `recipe.yaml` of the folder tells, and those of the models that it went on from, where they still lie.

    Args:
        model_dir: a model folder.
        data: of the benchmark.
        judged: what `evaluated_rows` gave.
    """
    file = Path(model_dir) / "recipe.yaml"
    root = data.get("root")
    if root is None or not file.is_file():  # simulated recordings of two splits are never the same
        return 0
    seen: set[str] = set()
    files = [file]
    for file in files:
        recipe = read_yaml(file.read_text(encoding="utf-8"))
        learnt = {key: value for key, value in recipe["data"].items() if key not in _NOT_WHICH}
        if learnt["name"] == data["name"] and Path(learnt.get("root", "")).resolve() == Path(root).resolve():
            seen |= set(datasets.load(**learnt)["record_id"])
        for folder in filter(None, (recipe.get("init_from"), recipe.get("model", {}).get("ecg_model"))):
            before = Path(folder) / "recipe.yaml"
            if before.is_file() and before not in files:
                files.append(before)
    count = sum(record in seen for record in judged["record_id"])
    if count:
        _log.warning("%d of the %d recordings judged were in the model's training", count, len(judged))
    return count


def read_rows(rows: Any) -> Iterator[ECG]:
    """The recordings themselves, one by one."""
    return (datasets.read_row(row) for row in rows)


def patients_of(rows: Any) -> list[str]:
    """One identifier per recording; the recording's own where the patient is not known."""
    return [
        patient or f"record {record}"
        for patient, record in zip(rows["patient_id"], rows["record_id"], strict=True)
    ]
