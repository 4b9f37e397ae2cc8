"""Draft reports: do the findings that a draft states agree with the recording's codes?

A draft is read by the closed vocabulary of `ecglm.findings`, and its codes are compared with the SCP codes
that the corpus gives the recording: F1 per code, its mean over codes (macro) and over statements (micro),
with intervals by patient. Beside it stand two baselines that a report model must beat: every recording
"normal ECG", and the report of the nearest training recording. `mode: shuffled` is a control: each draft is
written for another patient's recording, so what remains of the figure was not read from the ECG.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ecglm.evaluation import Bootstrap, Reference, Result, metrics
from ecglm.evaluation.classification import pooled_features
from ecglm.evaluation.rows import (
    check_data,
    evaluated_rows,
    patients_of,
    read_rows,
    seen_in_training,
    training_rows,
)
from ecglm.findings import find_codes, vocabulary
from ecglm.pipelines import load_model
from ecglm.report import BATCH_SIZE, draft_reports

MODES = ("drafts", "shuffled")
NORMAL = "normal ECG"


@dataclass(frozen=True)
class ReportBenchmark:
    """What `eval/report/*.yaml` holds.

    Args:
        name: of the benchmark.
        data: arguments of `ecglm.datasets.load`: which recordings are judged. One key is ours: `train_folds`,
            those whose reports the nearest neighbour may give; without it, the training folds that are not
            judged.
        mode: "drafts" or "shuffled".
        exclude: codes that are not judged.
        min_positives: codes that fewer recordings have are not judged.
        max_new_tokens: of a draft.
        bootstrap: of the intervals.
        reference: published figures.

    Raises:
        ValueError: if `mode` is not among those allowed, or the corpus has no such option.
    """

    name: str
    data: dict
    mode: str = "drafts"
    exclude: list[str] = field(default_factory=lambda: ["SR"])
    min_positives: int = 5
    max_new_tokens: int = 128
    bootstrap: Bootstrap = Bootstrap()
    reference: list[Reference] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"benchmark {self.name!r}: mode must be drafts or shuffled, got {self.mode!r}")
        check_data(self.data, f"section 'data' of benchmark {self.name!r}")

    def run(self, model_dir: str | Path) -> Result:
        """Measure one model folder; see `ecglm.evaluation.evaluate`."""
        rows = evaluated_rows(self.data)
        training = training_rows(self.data, rows)
        codes, left_out = self._codes(rows)
        model, processor = load_model(model_dir, "generate")
        patients = patients_of(rows)
        order = (
            another_patient(patients, self.bootstrap.seed) if self.mode == "shuffled" else range(len(rows))
        )
        ecgs = list(read_rows(rows))
        drafts = []
        for start in tqdm(range(0, len(ecgs), BATCH_SIZE), desc="drafts", unit="batch", leave=False):
            batch = [ecgs[order[index]] for index in range(start, min(start + BATCH_SIZE, len(ecgs)))]
            drafts += draft_reports(model, processor, batch, max_new_tokens=self.max_new_tokens)
        nearest = nearest_rows(
            pooled_features(model, processor, iter(ecgs), total=len(ecgs)),
            pooled_features(model, processor, read_rows(training), total=len(training)),
        )
        neighbours = [training["report"][index] for index in nearest.tolist()]
        stated = {
            "": coded([find_codes(text) for text in drafts], codes),
            "normal_": coded([find_codes(NORMAL)] * len(rows), codes),
            "nearest_": coded([find_codes(text) for text in neighbours], codes),
        }
        targets = coded(rows["codes"], codes)
        weights = metrics.patient_weights(patients, self.bootstrap.resamples, self.bootstrap.seed)
        level = self.bootstrap.level
        found: dict[str, metrics.Estimate] = {}
        for prefix, predicted in stated.items():
            for name, estimate in metrics.f1_scores(predicted, targets, weights, level).items():
                found[prefix + name] = estimate
        for prefix in ("normal_", "nearest_"):
            found[f"macro_f1_minus_{prefix.rstrip('_')}"] = metrics.f1_difference(
                stated[""], stated[prefix], targets, weights, level
            )
        each = [
            metrics.f1_scores(stated[""][:, [k]], targets[:, [k]], weights, level)["macro_f1"]
            for k in range(len(codes))
        ]
        return Result(
            benchmark=self.name,
            model=str(model_dir),
            mode=self.mode,
            metrics=found,
            n=len(rows),
            patients=len(set(patients)),
            classes=codes,
            left_out=left_out,
            per_class={
                code: {"f1": estimate, "positives": int(targets[:, k].sum())}
                for k, (code, estimate) in enumerate(zip(codes, each, strict=True))
            },
            settings={
                "folds": sorted(set(rows["fold"])),
                "seen_in_training": seen_in_training(model_dir, self.data, rows),
                "train_folds": sorted(set(training["fold"])),
                "train_n": len(training),
                "distinct_drafts": len(set(drafts)),
            },
            reference=[row for row in self.reference if row.mode == self.mode],
        )

    def _codes(self, rows: Any) -> tuple[list[str], dict[str, str]]:
        """The codes judged, and why others are not."""
        counts = Counter(code for codes in rows["codes"] for code in set(codes))
        left_out = {code: "excluded" for code in self.exclude if counts[code]}
        known = vocabulary()
        for code, count in sorted(counts.items()):
            if code not in known:
                left_out[code] = "not in the vocabulary"
            elif count < self.min_positives and code not in left_out:
                left_out[code] = f"{count} positive"
        kept = [code for code in known if counts[code] and code not in left_out]
        if not kept:
            raise ValueError(
                f"no code has {self.min_positives} positives among the {len(rows)} recordings; "
                "judge more of them, or lower min_positives"
            )
        return kept, left_out


def coded(statements: list[Any], codes: list[str]) -> np.ndarray:
    """(recordings, codes) of 0 and 1, from the collections of codes that each recording is said to have."""
    return np.array([[code in stated for code in codes] for stated in map(set, statements)], dtype=np.int8)


def another_patient(patients: list[str], seed: int) -> list[int]:
    """For each recording the index of one of another patient; all recordings are used about equally often.

    Raises:
        ValueError: if there is one patient only.
    """
    if len(set(patients)) < 2:
        raise ValueError("mode shuffled needs recordings of two patients or more")
    generator = np.random.default_rng(seed)
    names = list(dict.fromkeys(patients))
    generator.shuffle(names)
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    own = {name: [index for index, other in enumerate(patients) if other == name] for name in names}
    return [int(generator.choice(own[following[name]])) for name in patients]


def nearest_rows(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Index of the training recording with the largest cosine, features centred on the training mean.

    Args:
        features: (recordings, hidden_size).
        training: (training recordings, hidden_size).
    """
    mean = training.mean(0)
    first, second = features - mean, training - mean
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-12)
    return (first @ second.T).argmax(1)
