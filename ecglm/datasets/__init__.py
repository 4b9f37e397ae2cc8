"""Corpora with common columns: `load(name, root, split)` gives a `datasets.Dataset`, `read_row(row)` the
recording of a row.

The columns, the same for every corpus:

    record_id, patient_id   str            the publisher's numbers, as text
    path                    str            the recording's file; "" where the signal is in the row
    signal                  bytes          int16, little-endian, microvolts, leads x samples, -32768 =
                                           unknown; b"" where path is given
    sampling_rate           float          Hz
    leads                   list of str    the rows of signal; empty where path is given, since the file
                                           names its own leads
    age                     float or None  years
    sex                     str or None    "male" or "female"
    report                  str            the report as the corpus has it
    texts                   list of str    the training texts, chosen by text=; none is empty
    codes                   list of str    SCP-ECG codes as PTB-XL spells them; empty where there are none
    labels                  list of str    class names, chosen by labels=
    fold                    int            the official fold; 0 where there is none

One file per corpus; its `load` function names its options. `prepare` packs any of them into Parquet shards,
for `load("prepared", out)`: one sequential copy of a corpus instead of hundreds of thousands of small files.
`render_corpus` draws any of them as pages with labels.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from importlib import import_module
from inspect import signature
from os import PathLike
from typing import TYPE_CHECKING, Any, get_type_hints

from ecglm.assets import refuse_wrong_types
from ecglm.datasets._rows import SPLITS, read_row

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset

    from ecglm.datasets.pages import Rendered

CORPORA = ("ptbxl", "mimic_iv_ecg", "simulated", "prepared")

__all__ = ["CORPORA", "SPLITS", "load", "prepare", "read_row", "render_corpus", "repeated"]


def load(
    name: str,
    root: str | PathLike | None = None,
    split: str = "train",
    *,
    repeat_rare: float | None = None,
    **options: Any,
) -> Dataset:
    """Load one split of a corpus.

    Args:
        name: one of `CORPORA`.
        root: the corpus's folder in its publisher's layout (of "prepared": what `prepare` wrote); none for
            "simulated".
        split: "train", "validation" or "test".
        repeat_rare: repeat the recordings of rare codes; see `repeated`. For training only.
        **options: those of the corpus's `load` function, e.g. `folds=[8]`, `text="statements"`,
            `labels="form"` of `ptbxl`.

    Returns:
        A dataset with the columns of this module's docstring.

    Raises:
        ValueError: for an unknown name, split or option, a file with other columns, or a selection without
            records.
        FileNotFoundError: if a file of the publisher's layout is missing under `root`.
    """
    corpus = _corpus(name)
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    known = sorted(set(signature(corpus.load).parameters) - {"root", "split"})
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"corpus {name!r} has no option {', '.join(unknown)}; it takes {', '.join(known)}")
    hints = get_type_hints(corpus.load, localns={"Dataset": Any})  # known to type checkers only
    given = options | {"root": root} if root is not None else options
    refuse_wrong_types(f"corpus {name!r}", given, hints)
    if name == "simulated":
        if root is not None:
            raise ValueError(f"corpus 'simulated' has no folder, got root={str(root)!r}; leave root out")
        rows = corpus.load(split, **options)
    elif root is None:
        raise ValueError(f"corpus {name!r} needs its folder: pass root (on the command line data.root=DIR)")
    else:
        rows = corpus.load(root, split, **options)
    return rows if repeat_rare is None else repeated(rows, repeat_rare)


def repeated(rows: Dataset, share: float) -> Dataset:
    """The rows, those with rare codes several times: repeat-factor sampling.

    A code in the share f of the recordings is wanted sqrt(share / f) times as often, at least once; a
    recording is repeated as its rarest code wants, fractions by chance with a fixed seed. Source: Gupta
    et al. 2019, arXiv:1908.03195.

    Args:
        rows: with the column `codes`.
        share: codes in fewer recordings than this share (0 to 1) are repeated.

    Raises:
        ValueError: if `share` is no share.
    """
    if not 0 < share <= 1:
        raise ValueError(f"repeat_rare must be above 0 and at most 1, got {share}")
    codes = [set(each) for each in rows["codes"]]
    counts = Counter(code for each in codes for code in each)
    factors = [max([1.0, *(math.sqrt(share * len(codes) / counts[code]) for code in each)]) for each in codes]
    chance = random.Random(0)
    times = [int(factor) + (chance.random() < factor % 1) for factor in factors]
    return rows.select([index for index, count in enumerate(times) for _ in range(count)])


def prepare(name: str, root: str | PathLike | None, out: str | PathLike, **options: Any) -> Path:
    """Pack a corpus into Parquet for `load("prepared", out)`; see `ecglm.datasets.prepared.prepare`."""
    from ecglm.datasets.prepared import prepare

    return prepare(name, root, out, **options)


def render_corpus(name: str, root: str | PathLike | None, out: str | PathLike, **settings: Any) -> Rendered:
    """Draw a corpus as pages with labels, in shards; see `ecglm.datasets.pages.render_corpus`."""
    from ecglm.datasets.pages import render_corpus

    return render_corpus(name, root, out, **settings)


def _corpus(name: str) -> Any:
    if name not in CORPORA:
        raise ValueError(f"no corpus {name!r}; there are {', '.join(CORPORA)}")
    return import_module(f"ecglm.datasets.{name}")
