"""The embedded corpus: simulated ECGs with truth and report, made when they are asked for (`ecglm.simulate`).

Each split has its own seed of the corpus, so that no recording is in two splits; the recordings lie in the
rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ecglm.datasets import _scp
from ecglm.datasets._rows import SPLITS, choose, encode_signal, to_dataset
from ecglm.datasets._scp import LABELS, Statement
from ecglm.findings import write_findings
from ecglm.text import clean_report, split_sentences

if TYPE_CHECKING:
    from datasets import Dataset

TEXTS = ("report", "statements", "findings")


def statements() -> dict[str, Statement]:
    """The SCP-ECG statements of the shipped ontology, by code."""
    from ecglm.prompts import ontology

    return {
        code: Statement(
            code, each.statement, each.superclass, each.subclass, "form" in each.kind, "rhythm" in each.kind
        )
        for code, each in ontology().items()
    }


def class_names(labels: str = "superclass") -> list[str]:
    """The classes of a labelling, as `ecglm.datasets.ptbxl.class_names` orders them."""
    choose("labels", labels, LABELS)
    return _scp.class_names(statements(), labels)


def load(
    split: str = "train",
    *,
    num_records: int = 1000,
    seed: int = 0,
    text: str = "report",
    labels: str = "superclass",
    sampling_rate: float = 500.0,
    duration: float = 10.0,
) -> Dataset:
    """Simulate a split of the embedded corpus; it lies in memory, 120 kB per recording of 10 s at 500 Hz.

    Args:
        split: "train", "validation" or "test".
        num_records: of this split.
        seed: of the corpus; splits of one seed, and those of other seeds, have other recordings.
        text: what `texts` holds: the sentences of the "report", the English "statements" of the codes, or
            these as a plain report, the "findings" (`ecglm.findings.write_findings`).
        labels: what `labels` holds: classes made of the codes, as in PTB-XL.
        sampling_rate: Hz.
        duration: of each recording, in seconds.

    Returns:
        A dataset with the common columns; each recording is a patient of its own, `fold` is 0.

    Raises:
        ValueError: if an option is unknown or `num_records` is not positive.
    """
    from ecglm.simulate import simulate_corpus

    choose("split", split, SPLITS)
    choose("text", text, TEXTS)
    choose("labels", labels, LABELS)
    whole = isinstance(num_records, int) and isinstance(seed, int)
    if not whole or num_records < 1 or seed < 0:
        raise ValueError(
            f"num_records must be a whole number from 1 and seed one from 0, got {num_records} and {seed}"
        )
    table = statements()
    order = _scp.class_names(table, labels)

    def rows() -> Iterator[dict[str, Any]]:
        options = {"sampling_rate": sampling_rate, "duration": duration}
        corpus = simulate_corpus(num_records, len(SPLITS) * seed + SPLITS.index(split), **options)
        for index, ecg in enumerate(corpus):
            known = ecg.metadata
            codes = dict.fromkeys(known["codes"], 100.0)
            present = {each.class_in(labels) for each in _scp.counted(codes, table, labels, 0)}
            if text == "statements":
                texts = [each.description for each in _scp.counted(codes, table, "all", 0)]
            elif text == "findings":
                texts = [write_findings(codes)]
            else:
                texts = split_sentences(clean_report(known["report"]))
            record_id = f"{split}-{seed}-{index}"
            yield {
                "record_id": record_id,
                "patient_id": record_id,
                "signal": encode_signal(ecg),
                "sampling_rate": ecg.sampling_rate,
                "leads": list(ecg.leads),
                "age": known.get("age"),
                "sex": known.get("sex"),
                "report": known["report"],
                "texts": texts,
                "codes": list(codes),
                "labels": [name for name in order if name in present],
            }

    return to_dataset(rows())
