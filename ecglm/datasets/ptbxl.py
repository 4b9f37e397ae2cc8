"""PTB-XL (Wagner et al. 2020, https://doi.org/10.13026/kfzx-aw45, CC BY 4.0): 21,799 ECGs of 10 s with
German, English and Swedish reports, SCP-ECG statements and ten official folds.

Classes are computed from `scp_codes` and `scp_statements.csv`, as the corpus's benchmark does (Strodthoff et
al. 2021). A code counts **whatever its likelihood, 0 included**: form and rhythm statements all carry 0,
because none was estimated for them, and some diagnostic ones do ("unknown", says the publisher). This rule
reproduces the class columns of MERL's split files. `min_likelihood=50` demands more of the diagnostic
statements; form and rhythm ones have no likelihood to judge and always count.

Class names drop the underscores that pad the codes (`_AVB`, `NST_`): "AVB", "NST", as in MERL's files. The
`codes` column keeps the publisher's spelling.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglm.datasets import _scp
from ecglm.datasets._rows import SPLITS, EmptySelection, choose, identifier, number, open_table, to_dataset
from ecglm.datasets._scp import LABELS, Statement
from ecglm.findings import write_findings
from ecglm.text import clean_report, split_sentences

if TYPE_CHECKING:
    from datasets import Dataset

FOLDS = {"train": tuple(range(1, 9)), "validation": (9,), "test": (10,)}
"""The publisher's split: 9 and 10 were checked by a second reader."""

TEXTS = ("report", "report_en", "statements", "findings")

_LAYOUT = "PTB-XL as PhysioNet has it: ptbxl_database.csv, scp_statements.csv, records500/ and/or records100/"
_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "report", "scp_codes", "strat_fold")
_FILE_COLUMN = {500: "filename_hr", 100: "filename_lr"}
_SEX = {"0": "male", "1": "female"}
_OLDEST = 90.0  # PTB-XL writes 300 for ages above 89
_log = logging.getLogger(__name__)


def statements(root: str | PathLike) -> dict[str, Statement]:
    """The statements of `scp_statements.csv`, by code, in the file's order.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if its columns are others.
    """
    path = Path(root) / "scp_statements.csv"
    return _read_statements(str(root), path.stat().st_mtime_ns if path.is_file() else None)


@lru_cache(maxsize=8)
def _read_statements(root: str, changed: int | None) -> dict[str, Statement]:
    """The file's statements, read once for each time that it changed."""
    columns = ("description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
    table = {}
    for row in open_table(root, "scp_statements.csv", columns, _LAYOUT):
        code = next(iter(row.values()))  # the publisher's first column has no name
        diagnostic = number(row["diagnostic"]) == 1
        table[code] = Statement(
            code=code,
            description=" ".join(row["description"].split()),
            superclass=row["diagnostic_class"].strip() or None if diagnostic else None,
            subclass=row["diagnostic_subclass"].strip() or None if diagnostic else None,
            form=number(row["form"]) == 1,
            rhythm=number(row["rhythm"]) == 1,
        )
    return table


def class_names(root: str | PathLike, labels: str = "superclass") -> list[str]:
    """The classes of a labelling, in the order in which a label vector holds them.

    Superclasses: NORM, MI, STTC, CD, HYP. Subclasses: grouped by superclass, within it by
    `scp_statements.csv`; the others in the order of that file.

    Args:
        root: the corpus's folder; only `scp_statements.csv` is read.
        labels: "superclass" (5), "subclass" (23), "form" (19), "rhythm" (12) or "all" (71).

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: for other labels.
    """
    choose("labels", labels, LABELS)
    return _scp.class_names(statements(root), labels)


def load(
    root: str | PathLike,
    split: str = "train",
    *,
    folds: Sequence[int] | None = None,
    sampling_rate: int = 500,
    text: str = "report",
    labels: str = "superclass",
    min_likelihood: float = 0.0,
    translations: str | PathLike | None = None,
) -> Dataset:
    """Load PTB-XL.

    Args:
        root: the publisher's folder; of its CSV only the publisher's columns are read.
        split: "train" (folds 1 to 8), "validation" (9) or "test" (10).
        folds: these instead of the split's.
        sampling_rate: 500 (`filename_hr`) or 100 Hz (`filename_lr`).
        text: what `texts` holds. "report": the sentences of the original report, cleaned. "report_en": those
            of its English translation, from a CSV with the columns ecg_id and report_en; **records without
            one are dropped**, so that the texts stay in one language, and their number is logged.
            "statements": the English description of each SCP code, from `scp_statements.csv`. "findings":
            those codes as one English report, rhythm first (`ecglm.findings.write_findings`).
        labels: what `labels` holds: "superclass", "subclass", "form", "rhythm" or "all" statements; see
            `class_names`.
        min_likelihood: diagnostic statements below it (0 to 100) are no label and no text; see this module's
            docstring.
        translations: the CSV for text="report_en"; `reports_en.csv` in root unless given.

    Returns:
        A dataset with the common columns; ages above 89, which the publisher writes as 300, are 90.

    Raises:
        FileNotFoundError: if a file of the layout is missing.
        ValueError: if columns are missing, an option is unknown, or no record is left; it lists the folds
            that are there.
    """
    choose("split", split, SPLITS)
    choose("sampling_rate", sampling_rate, _FILE_COLUMN)
    choose("text", text, TEXTS)
    choose("labels", labels, LABELS)
    root = Path(root)
    file_column = _FILE_COLUMN[sampling_rate]
    rows = list(open_table(root, "ptbxl_database.csv", (*_COLUMNS, file_column), _LAYOUT))
    rows = _select(rows, folds, split, root / "ptbxl_database.csv")
    first = root / rows[0][file_column]
    if not (root / Path(rows[0][file_column]).parts[0]).is_dir():
        raise FileNotFoundError(f"no {first.relative_to(root).parts[0]}/ in {root}; expected {_LAYOUT}")
    if text == "report_en":
        rows = _translate(rows, root, translations)
    convert = _converter(root, text, labels, min_likelihood)
    return to_dataset(
        convert(row) | {"path": str(root / row[file_column]), "sampling_rate": float(sampling_rate)}
        for row in rows
    )


def load_reports(
    file: str | PathLike,
    root: str | PathLike,
    *,
    folds: Sequence[int],
    text: str = "report",
    labels: str = "superclass",
    min_likelihood: float = 0.0,
) -> Dataset:
    """Reports without recordings, from any CSV with PTB-XL's columns: text to train a decoder or a text
    tower on.

    Args:
        file: a CSV, gzipped or not, with ecg_id, report, scp_codes and strat_fold, and report_en for
            text="report_en".
        root: PTB-XL's folder, for `scp_statements.csv`.
        folds: those wanted; **leave out the folds you judge on**, they have no default.
        text: as in `load`.
        labels: as in `load`.
        min_likelihood: as in `load`.

    Returns:
        The common columns; `path` and `signal` are empty, so `read_row` refuses these rows.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: as in `load`.
    """
    choose("text", text, TEXTS)
    choose("labels", labels, LABELS)
    file, needed = Path(file), ["ecg_id", "report", "scp_codes", "strat_fold"]
    needed += ["report_en"] if text == "report_en" else []
    rows = list(open_table(file.parent, file.name, needed, f"a CSV with the columns {', '.join(needed)}"))
    rows = [row for row in _select(rows, folds, "train", file) if text != "report_en" or row["report_en"]]
    return to_dataset(map(_converter(root, text, labels, min_likelihood), rows))


def _select(
    rows: list[dict[str, str]], folds: Sequence[int] | None, split: str, file: Path
) -> list[dict[str, str]]:
    """The rows of the folds asked for; an error that lists the folds present where there is none."""
    wanted = {int(fold) for fold in (FOLDS[split] if folds is None else folds)}
    selected = [row for row in rows if _fold(row) in wanted]
    if not selected:
        present = sorted({_fold(row) for row in rows})
        asked = (
            f"folds={sorted(wanted)}" if folds is not None else f"split {split!r} (folds {sorted(wanted)})"
        )
        raise EmptySelection(
            f"{file} has no record in {asked}; folds present: {present}. Pass folds among these."
        )
    return selected


def _fold(row: dict[str, str]) -> int:
    fold = _number(row, "strat_fold")
    if fold is None:
        raise ValueError(f"record {row['ecg_id']} has no strat_fold; give it one or remove its row")
    return int(fold)


def _number(row: dict[str, str], column: str) -> float | None:
    """A cell's number; None where it is empty."""
    try:
        return number(row.get(column))
    except ValueError as error:
        raise ValueError(
            f"record {row['ecg_id']}: {column} must be a number, got {row[column][:80]!r}"
        ) from error


def _codes(row: dict[str, str]) -> dict[str, float]:
    """Code → likelihood (0 to 100)."""
    try:
        return {
            str(code): float(likelihood) for code, likelihood in ast.literal_eval(row["scp_codes"]).items()
        }
    except (ValueError, SyntaxError, AttributeError, TypeError) as error:
        raise ValueError(
            f"record {row['ecg_id']}: scp_codes must look like {{'NORM': 100.0}}, "
            f"got {row['scp_codes'][:80]!r}"
        ) from error


def _translate(
    rows: list[dict[str, str]], root: Path, translations: str | PathLike | None
) -> list[dict[str, str]]:
    """The rows that have an English report, with it."""
    file = Path(translations) if translations is not None else root / "reports_en.csv"
    layout = "a CSV with the columns ecg_id and report_en (pass translations=FILE, or use text='report')"
    lines = open_table(file.parent, file.name, ("ecg_id", "report_en"), layout)
    english = {identifier(line["ecg_id"]): line["report_en"] for line in lines if line["report_en"].strip()}
    translated = [
        row | {"report_en": english[key]} for row in rows if (key := identifier(row["ecg_id"])) in english
    ]
    if not translated:
        raise ValueError(f"{file} translates none of the {len(rows)} records selected; use text='report'")
    left_out = len(rows) - len(translated)
    if left_out:
        _log.warning("%d of %d records have no report in %s and are left out", left_out, len(rows), file)
    return translated


def _converter(
    root: str | PathLike, text: str, labels: str, min_likelihood: float
) -> Callable[[dict[str, str]], dict[str, Any]]:
    """What turns a row of the publisher's table into the common columns that both have."""
    table = statements(root)
    order = _scp.class_names(table, labels)

    def convert(row: dict[str, str]) -> dict[str, Any]:
        codes = _codes(row)
        age = _number(row, "age")
        counted = _scp.counted(codes, table, "all", min_likelihood)
        if text == "statements":
            texts = [each.description for each in counted]
        elif text == "findings":
            texts = [write_findings(each.code for each in counted)]
        else:
            texts = split_sentences(clean_report(row[text]))
        present = {each.class_in(labels) for each in _scp.counted(codes, table, labels, min_likelihood)}
        return {
            "record_id": identifier(row["ecg_id"]),
            "patient_id": identifier(row.get("patient_id", "")),
            "age": _OLDEST if age is not None and age > 89 else age,
            "sex": _SEX.get(identifier(row.get("sex", ""))),
            "report": row["report"],
            "texts": texts,
            "codes": list(codes),
            "labels": [name for name in order if name in present],
            "fold": _fold(row),
        }

    return convert
