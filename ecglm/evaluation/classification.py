"""Classification: from text prompts alone (`zero_shot`), or by a linear probe on frozen features (`probe`).

Recordings that have none of the benchmark's classes are left out, as in the published tables
(arXiv:2403.06659). A class without a positive, or without a negative, among the recordings judged has no
AUROC: it is left out of the mean and named. Intervals are bootstrapped by patient.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ecglm.ecg import ECG
from ecglm.evaluation import Bootstrap, Reference, Result, metrics
from ecglm.evaluation.rows import (
    check_data,
    evaluated_rows,
    patients_of,
    read_rows,
    seen_in_training,
    training_rows,
)
from ecglm.pipelines import LabelScorer, input_batches, load_model
from ecglm.prompts import PromptSet, load_prompts

logger = logging.getLogger(__name__)

MODES = ("zero_shot", "probe")


@dataclass(frozen=True)
class Probe:
    """Logistic regression on standardised features, one against the rest.

    Args:
        strengths: values of C, the inverse of the L2 penalty, to choose from.
        splits: of the cross-validation by patient within the training folds that chooses among them.
        max_iter: of the solver.
        seed: of the split.
    """

    strengths: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    splits: int = 5
    max_iter: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.splits < 2 or not self.strengths:
            raise ValueError(
                f"a probe needs 2 splits or more and a strength to choose; got splits {self.splits} and "
                f"strengths {self.strengths}"
            )


@dataclass(frozen=True)
class ClassificationBenchmark:
    """What `eval/classification/*.yaml` holds.

    Args:
        name: of the benchmark.
        data: arguments of `ecglm.datasets.load`: which recordings are judged (`split` or `folds`) and what
            they are called (`labels`). One key is ours: `train_folds`, the folds that a probe is fitted on;
            without it, those of the training split that are not judged.
        classes: labels, in the order of the table.
        prompts: prompt set that has texts for each of the classes.
        group: of the prompt set.
        mode: "zero_shot" or "probe".
        probe: of the probe.
        bootstrap: of the intervals.
        reference: published figures.

    Raises:
        ValueError: if `mode` is not among those allowed, or the corpus has no such option.
    """

    name: str
    data: dict
    classes: list[str]
    prompts: str
    group: str
    mode: str = "zero_shot"
    probe: Probe = Probe()
    bootstrap: Bootstrap = Bootstrap()
    reference: list[Reference] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"benchmark {self.name!r}: mode must be zero_shot or probe, got {self.mode!r}")
        check_data(self.data, f"section 'data' of benchmark {self.name!r}")

    def run(self, model_dir: str | Path) -> Result:
        """Measure one model folder; see `ecglm.evaluation.evaluate`."""
        ability = "get_text_features" if self.mode == "zero_shot" else "encode"
        prompt_set = self._prompt_set() if self.mode == "zero_shot" else None
        rows = self._with_labels(evaluated_rows(self.data))
        model, processor = load_model(model_dir, ability)
        targets = self._targets(rows)
        settings: dict[str, Any] = {
            "folds": sorted(set(rows["fold"])),
            "seen_in_training": seen_in_training(model_dir, self.data, rows),
        }
        probabilities = None
        if prompt_set is not None:
            texts = {name: prompt_set.texts_by_member(name) for name in self.classes}
            scorer = LabelScorer(model, processor, texts, prompt_set.combine)
            scores = zero_shot(model, processor, scorer, read_rows(rows), total=len(rows))
            settings |= {"prompts": self.prompts, "combine": prompt_set.combine, "score": scorer.kind}
            if scorer.kind == "probability":
                probabilities = scores
        else:
            training = self._with_labels(training_rows(self.data, rows))
            probabilities = scores = self._probe(model, processor, training, rows, settings)
        return self._result(model_dir, rows, targets, scores, probabilities, settings)

    def _prompt_set(self) -> PromptSet:
        prompt_set = load_prompts(self.prompts, self.group)
        lacking = [name for name in self.classes if name not in prompt_set.labels]
        if lacking:
            raise ValueError(
                f"prompt set {self.prompts!r} has no text for {', '.join(lacking)}; "
                f"its group {self.group!r} has {', '.join(prompt_set.labels)}"
            )
        return prompt_set

    def _with_labels(self, rows: Any) -> Any:
        wanted = set(self.classes)
        keep = [index for index, labels in enumerate(rows["labels"]) if wanted & set(labels)]
        if not keep:
            raise ValueError(
                f"none of the {len(rows)} recordings has one of the classes {', '.join(self.classes)}; "
                "choose other folds (data.folds=…)"
            )
        if len(keep) < len(rows):
            logger.info("%d of %d recordings have none of the classes", len(rows) - len(keep), len(rows))
        return rows.select(keep)

    def _targets(self, rows: Any) -> np.ndarray:
        return np.array(
            [[name in labels for name in self.classes] for labels in rows["labels"]], dtype=np.int8
        )

    def _probe(self, model: Any, processor: Any, training: Any, rows: Any, settings: dict) -> np.ndarray:
        fitted = fit_probe(
            pooled_features(model, processor, read_rows(training), total=len(training)),
            self._targets(training),
            patients_of(training),
            self.probe,
        )
        settings |= {
            "train_folds": sorted(set(training["fold"])),
            "train_n": len(training),
            "C": fitted.strength,
        }
        return fitted(pooled_features(model, processor, read_rows(rows), total=len(rows)))

    def _result(
        self,
        model_dir: str | Path,
        rows: Any,
        targets: np.ndarray,
        scores: np.ndarray,
        probabilities: np.ndarray | None,
        settings: dict[str, Any],
    ) -> Result:
        positives = targets.sum(0)
        left_out = {
            name: "no positive" for name, count in zip(self.classes, positives, strict=True) if not count
        }
        left_out |= {
            name: "no negative"
            for name, count in zip(self.classes, positives, strict=True)
            if count == len(targets)
        }
        kept = [k for k, name in enumerate(self.classes) if name not in left_out]
        if not kept:
            raise ValueError(
                f"no class has both a positive and a negative among the {len(rows)} recordings; judge more"
            )
        patients = patients_of(rows)
        weights = metrics.patient_weights(patients, self.bootstrap.resamples, self.bootstrap.seed)
        level = self.bootstrap.level
        macro, each = metrics.macro_auroc(scores[:, kept], targets[:, kept], weights, level)
        found = {"macro_auroc": macro}
        if probabilities is not None:
            chosen = probabilities[:, kept], targets[:, kept]
            samples = metrics.calibration_error(*chosen, weights)
            value = metrics.calibration_error(*chosen)[0]
            found["calibration_error"] = metrics.Estimate(float(value), *metrics.interval(samples, level))
        return Result(
            benchmark=self.name,
            model=str(model_dir),
            mode=self.mode,
            metrics=found,
            n=len(rows),
            patients=len(set(patients)),
            classes=[self.classes[k] for k in kept],
            left_out=left_out,
            per_class={
                self.classes[k]: {"auroc": estimate, "positives": int(positives[k])}
                for k, estimate in zip(kept, each, strict=True)
            },
            settings=settings,
            reference=[row for row in self.reference if row.mode == self.mode],
        )


@torch.inference_mode()
def zero_shot(
    model: Any, processor: Any, scorer: LabelScorer, ecgs: Iterator[ECG], total: int | None = None
) -> np.ndarray:
    """Scores of recordings against the scorer's labels: (recordings, labels)."""
    batches = input_batches(model, processor, ecgs, total=total)
    return np.concatenate([scorer(model.get_ecg_features(batch))[0] for batch in batches])


@torch.inference_mode()
def pooled_features(model: Any, processor: Any, ecgs: Iterator[ECG], total: int | None = None) -> np.ndarray:
    """Frozen encoder features of recordings: (recordings, hidden_size) float32."""
    batches = input_batches(model, processor, ecgs, total=total)
    return torch.cat([model.encode(batch).pooler_output.float().cpu() for batch in batches]).numpy()


class LinearProbe:
    """One logistic regression per class on standardised features.

    Args:
        features: (recordings, hidden_size), of training.
        targets: (recordings, classes), 0 or 1.
        strength: C, the inverse of the L2 penalty.
        max_iter: of the solver.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, strength: float, max_iter: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        self.strength = strength
        self.mean = features.mean(0)
        deviation = features.std(0)
        self.scale = np.where(deviation > 0, deviation, 1)
        standard = (features - self.mean) / self.scale
        self.models: list[Any] = []
        with warnings.catch_warnings():
            # a weak penalty on few positives ends at max_iter close to its optimum; ranking does not change
            warnings.simplefilter("ignore", ConvergenceWarning)
            for k in range(targets.shape[1]):
                share = targets[:, k].mean()
                constant = share in (0, 1)  # nothing to learn: the class is never, or always, there
                model = LogisticRegression(C=strength, max_iter=max_iter)
                self.models.append(share if constant else model.fit(standard, targets[:, k]))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities: (recordings, classes)."""
        standard = (features - self.mean) / self.scale
        columns = [
            np.full(len(features), model) if np.isscalar(model) else model.predict_proba(standard)[:, 1]
            for model in self.models
        ]
        return np.stack(columns, axis=1)


def fit_probe(
    features: np.ndarray, targets: np.ndarray, patients: Sequence[str], probe: Probe
) -> LinearProbe:
    """Choose C by cross-validation over patients, then fit on all training recordings.

    Args:
        features: (recordings, hidden_size).
        targets: (recordings, classes), 0 or 1.
        patients: one identifier per recording; a patient is never on both sides of a split.
        probe: of the choice.

    Raises:
        ValueError: if there are fewer patients than splits.
    """
    from sklearn.model_selection import GroupKFold

    if len(set(patients)) < probe.splits:
        raise ValueError(
            f"a probe with {probe.splits} splits needs as many patients, got {len(set(patients))}; "
            "train on more folds (data.train_folds=…) or set probe.splits"
        )
    splits = list(
        GroupKFold(probe.splits, shuffle=True, random_state=probe.seed).split(features, groups=patients)
    )
    means = []
    for strength in tqdm(probe.strengths, desc="probe", unit="C", leave=False):
        held_out = np.zeros(targets.shape)
        areas = []
        for inside, outside in splits:
            fitted = LinearProbe(features[inside], targets[inside], strength, probe.max_iter)
            held_out[outside] = fitted(features[outside])
            areas += [
                metrics.auroc(held_out[outside, k], targets[outside, k]) for k in range(targets.shape[1])
            ]
        known = [area for area in areas if not np.isnan(area)]
        means.append(np.mean(known) if known else 0.5)
    best = probe.strengths[int(np.argmax(means))]  # of equals the first, which is the strongest penalty
    return LinearProbe(features, targets, best, probe.max_iter)
