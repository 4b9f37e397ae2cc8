"""MIMIC-IV-ECG 1.0 (Gow et al. 2023, https://doi.org/10.13026/4nqg-sb35, ODbL): about 800,000 ECGs of 10 s
at 500 Hz with the cardiograph's statements.

The files' leads come in the order I, II, III, aVR, aVF, aVL, V1 … V6; names are read from each header, so no
order is assumed.

Two splits. "patient" (the default) draws validation and test patients by a seed; no patient is on two sides.
"record" is MERL's (Liu et al. 2024): a random 2 % of the records for validation, seed 42, patients on both
sides, no test part; with `min_words=4` it is the published one.
"""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglm.datasets._rows import SPLITS, EmptySelection, choose, identifier, open_table, to_dataset
from ecglm.text import clean_report, join_machine_statements

if TYPE_CHECKING:
    from datasets import Dataset

TEXTS = ("report", "statements")
SPLIT_RULES = ("patient", "record")

_LAYOUT = "MIMIC-IV-ECG as PhysioNet has it: record_list.csv, machine_measurements.csv and files/"
_STATEMENTS = tuple(f"report_{index}" for index in range(18))
_HELD_OUT = 0.02  # of the patients, for validation and again for test; MERL's share of the records
_MERL_SEED = 42


def load(
    root: str | PathLike,
    split: str = "train",
    *,
    text: str = "report",
    min_words: int = 0,
    split_by: str = "patient",
    seed: int = 42,
) -> Dataset:
    """Load MIMIC-IV-ECG.

    Args:
        root: the publisher's folder.
        split: "train", "validation" or "test".
        text: what `texts` holds. "report": one text, the machine statements joined as MERL does
            (`ecglm.text.join_machine_statements`). "statements": each machine statement, cleaned.
        min_words: records whose joined statements have fewer words are left out, before the split; MERL
            keeps those of 4 and more.
        split_by: "patient" or "record"; see this module's docstring.
        seed: of the split by patient; MERL's split by record has its own.

    Returns:
        A dataset with the common columns; `report` holds the joined statements, `codes` and `labels` are
        empty, `fold` is 0, age and sex are unknown (they lie in MIMIC-IV's patient table).

    Raises:
        FileNotFoundError: if a file of the layout is missing.
        ValueError: if columns are missing, an option is unknown, or no record is left.
    """
    choose("split", split, SPLITS)
    choose("text", text, TEXTS)
    choose("split_by", split_by, SPLIT_RULES)
    if split_by == "record" and split == "test":
        raise EmptySelection("split_by='record' has no split 'test'; it has train and validation")
    root = Path(root)
    said = {
        identifier(row["study_id"]): [row[name] for name in _STATEMENTS if row[name]]
        for row in open_table(root, "machine_measurements.csv", ("study_id", *_STATEMENTS), _LAYOUT)
    }
    rows: list[dict[str, Any]] = []
    for row in open_table(root, "record_list.csv", ("subject_id", "study_id", "path"), _LAYOUT):
        study = identifier(row["study_id"])
        statements = said.get(study, [])
        report = join_machine_statements(statements)
        # MERL counts words before it adds the final full stop, and "empty" is no word of a report.
        if min_words and (not statements or len(report[:-1].split()) < min_words):
            continue
        cleaned = [report] if text == "report" else list(filter(None, map(clean_report, statements)))
        rows.append(
            {
                "record_id": study,
                "patient_id": identifier(row["subject_id"]),
                "path": str(_inside(root, row["path"])),
                "sampling_rate": 500.0,
                "report": report if statements else "",
                "texts": cleaned if statements else [],
            }
        )
    if not rows:
        raise ValueError(
            f"{root / 'record_list.csv'} has no record with {min_words} or more words; lower min_words"
        )
    chosen = _by_record(rows, split) if split_by == "record" else _by_patient(rows, split, seed)
    if not chosen:
        raise EmptySelection(
            f"split {split!r} of the {len(rows)} records in {root} is empty; use split='train'"
        )
    return to_dataset(chosen)


def _inside(root: Path, path: str) -> Path:
    """A path of the record list, which must not lead out of the corpus."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{root / 'record_list.csv'} names {path[:80]!r}, which lies outside its folder")
    return root / path


def _by_patient(rows: list[dict[str, Any]], split: str, seed: int) -> list[dict[str, Any]]:
    patients = sorted({row["patient_id"] for row in rows})
    shuffled = np.random.default_rng(seed).permutation(len(patients))
    held_out = max(1, round(_HELD_OUT * len(patients)))
    part = {"test": shuffled[:held_out], "validation": shuffled[held_out : 2 * held_out]}
    part["train"] = shuffled[2 * held_out :]
    wanted = {patients[index] for index in part[split]}
    return [row for row in rows if row["patient_id"] in wanted]


def _by_record(rows: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    """What scikit-learn's `train_test_split(rows, test_size=0.02, random_state=42)` gives, in its order."""
    order = np.random.RandomState(_MERL_SEED).permutation(len(rows))
    held_out = math.ceil(_HELD_OUT * len(rows))
    return [rows[index] for index in (order[held_out:] if split == "train" else order[:held_out])]
