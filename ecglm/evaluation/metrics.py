"""The arithmetic of an evaluation: AUROC, F1, calibration, and their bootstrap intervals by patient.

A patient's recordings resemble each other, so a resample draws patients, not recordings: every metric takes
weights (how often each recording was drawn) and computes all resamples at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CHUNK = 4_000_000  # weights held at once, so that a large test set does not need a large machine


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; `low` and `high` are NaN where no resample could be computed."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain JSON; None for NaN."""
        fields = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(number) else float(number) for name, number in fields.items()}

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def patient_weights(patients: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """How often each recording is drawn when patients are drawn with replacement.

    Args:
        patients: one identifier per recording.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        (resamples, recordings) float32; the recordings of one patient share their number.

    Raises:
        ValueError: if there is no recording, or `resamples` is below 1.
    """
    if len(patients) == 0 or resamples < 1:
        raise ValueError(f"need recordings and resamples ≥ 1, got {len(patients)} and {resamples}")
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return counts[:, owner].astype(np.float32)


def weighted_auroc(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of one class, once per row of weights.

    Args:
        scores: (recordings,), higher means more likely.
        targets: (recordings,), 0 or 1.
        weights: (resamples, recordings), not negative.

    Returns:
        (resamples,); NaN where a resample lacks a positive or a negative. Equal scores count one half, as in
        scikit-learn's roc_auc_score.
    """
    _, group = np.unique(scores, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    positive = targets[order].astype(bool)
    areas = []
    for rows in np.array_split(weights, max(1, -(-weights.size // _CHUNK))):
        drawn = rows[:, order].astype(np.float64)
        positives, negatives = drawn * positive, drawn * ~positive
        if len(starts) < len(scores):  # the slow step, only where scores are equal
            positives = np.add.reduceat(positives, starts, axis=1)  # (resamples, distinct scores)
            negatives = np.add.reduceat(negatives, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        pairs = positives.sum(1) * negatives.sum(1)
        wins = (positives * below).sum(1)
        areas.append(np.divide(wins, pairs, out=np.full(len(rows), np.nan), where=pairs > 0))
    return np.concatenate(areas)


def auroc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Area under the ROC curve of one class; NaN where a positive or a negative is lacking.

    Args:
        scores: (recordings,).
        targets: (recordings,), 0 or 1.
    """
    return float(weighted_auroc(scores, targets, np.ones((1, len(scores)), dtype=np.float32))[0])


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples, those that could not be computed (NaN) left out.

    Args:
        samples: (resamples,).
        level: share of the samples inside, between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    known = samples[~np.isnan(samples)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def macro_auroc(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray, level: float = 0.95
) -> tuple[Estimate, list[Estimate]]:
    """Unweighted mean of the classes' AUROC, and each class's own, with intervals.

    A resample that draws no positive of a class leaves that class out of its mean.

    Args:
        scores: (recordings, classes).
        targets: (recordings, classes), 0 or 1; every class needs a positive and a negative.
        weights: (resamples, recordings), of `patient_weights`.
        level: of the intervals.

    Raises:
        ValueError: if a class lacks a positive or a negative.
    """
    counts = targets.sum(0)
    if scores.shape[1] == 0 or not ((counts > 0) & (counts < len(targets))).all():
        raise ValueError("every class needs at least one positive and one negative; leave the others out")
    values = np.array([auroc(scores[:, k], targets[:, k]) for k in range(scores.shape[1])])
    samples = np.stack(
        [weighted_auroc(scores[:, k], targets[:, k], weights) for k in range(scores.shape[1])], axis=1
    )
    known = ~np.isnan(samples)
    means = np.divide(
        np.where(known, samples, 0).sum(1),
        known.sum(1),
        out=np.full(len(samples), np.nan),
        where=known.any(1),
    )
    each = [Estimate(float(value), *interval(samples[:, k], level)) for k, value in enumerate(values)]
    return Estimate(float(values.mean()), *interval(means, level)), each


def f1_scores(
    predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray, level: float = 0.95
) -> dict[str, Estimate]:
    """Macro and micro F1 of predicted codes, with intervals.

    Args:
        predicted: (recordings, codes), 0 or 1.
        targets: (recordings, codes), 0 or 1.
        weights: (resamples, recordings), of `patient_weights`.
        level: of the intervals.

    Returns:
        "macro_f1": mean of the codes' F1 = 2 TP / (2 TP + FP + FN), a code that a resample neither holds nor
        predicts left out of that resample's mean; "micro_f1": the same ratio of the sums over codes.
    """
    values = _f1(predicted, targets, np.ones((1, len(targets))))
    samples = _f1(predicted, targets, weights)
    return {
        name: Estimate(float(values[name][0]), *interval(samples[name], level))
        for name in ("macro_f1", "micro_f1")
    }


def f1_difference(
    predicted: np.ndarray,
    baseline: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    level: float = 0.95,
) -> Estimate:
    """Macro F1 of one prediction minus that of another, with the interval of the paired difference.

    Args:
        predicted: (recordings, codes), 0 or 1.
        baseline: the same, of what it is compared with.
        targets: (recordings, codes), 0 or 1.
        weights: (resamples, recordings), of `patient_weights`.
        level: of the interval.
    """
    one = np.ones((1, len(targets)))
    value, samples = (
        _f1(predicted, targets, rows)["macro_f1"] - _f1(baseline, targets, rows)["macro_f1"]
        for rows in (one, weights)
    )
    return Estimate(float(value[0]), *interval(samples, level))


def _f1(predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Macro and micro F1, once per row of weights; NaN where nothing is held and nothing predicted."""
    predicted, targets = predicted.astype(np.float64), targets.astype(np.float64)
    weights = weights.astype(np.float64)
    twice = 2 * weights @ (predicted * targets)  # (resamples, codes)
    whole = weights @ (predicted + targets)  # 2 TP + FP + FN
    nothing = np.full(len(weights), np.nan)
    each = np.divide(twice, whole, out=np.zeros_like(whole), where=whole > 0)
    counted = (whole > 0).sum(1)
    return {
        "macro_f1": np.divide(each.sum(1), counted, out=nothing.copy(), where=counted > 0),
        "micro_f1": np.divide(twice.sum(1), whole.sum(1), out=nothing.copy(), where=counted > 0),
    }


def calibration_error(
    probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None, bins: int = 15
) -> np.ndarray:
    """Expected calibration error of yes/no statements, once per row of weights.

    Args:
        probabilities: (recordings, statements), 0 to 1.
        targets: (recordings, statements), 0 or 1.
        weights: (resamples, recordings); None: each recording once.
        bins: of equal width. 15: Guo et al. 2017.

    Returns:
        (resamples,): mean over all statements of |mean probability − share that is true| in the bin that each
        statement's probability falls into.

    Source: Guo et al. 2017, arXiv:1706.04599, §2, for binary events.
    """
    if weights is None:
        weights = np.ones((1, len(probabilities)))
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.zeros((len(probabilities), bins))
    for k in range(probabilities.shape[1]):
        gaps[np.arange(len(gaps)), index[:, k]] += probabilities[:, k] - targets[:, k]
    return np.abs(weights @ gaps).sum(1) / (weights.sum(1) * probabilities.shape[1])


def fit_platt(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Scale and offset that turn logits into calibrated probabilities: sigmoid(scale · logit + offset).

    Args:
        logits: any shape; statements the model was not trained on.
        targets: same shape, 0 or 1.

    Returns:
        (scale, offset) of least cross-entropy.

    Raises:
        ValueError: if all targets are equal.

    Source: Platt 1999, with its smoothed targets, and the log-loss of Lin, Lin and Weng 2007.
    """
    from scipy.optimize import minimize

    logits, truth = logits.ravel().astype(float), targets.ravel().astype(bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError(
            f"calibration needs true and false statements, got {positives} true, {negatives} false"
        )
    smoothed = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values = parameters[0] * logits + parameters[1]
        residual = 0.5 * (1 + np.tanh(values / 2)) - smoothed  # sigmoid without overflow
        entropy = np.logaddexp(0, values) - smoothed * values
        return float(entropy.mean()), np.array([(residual * logits).mean(), residual.mean()])

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    fitted = minimize(loss, start, jac=True, method="BFGS")
    return float(fitted.x[0]), float(fitted.x[1])
