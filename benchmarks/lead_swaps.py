"""Fit and measure the check for swapped limb cables of `ecglm.io._checks`, on PTB-XL.

    python benchmarks/lead_swaps.py PTB-XL_FOLDER

The limb leads of every record are rewritten as each exchange of the cables RA, LA and LL would have recorded
them. A multinomial logistic regression on the 21 figures of `cable_figures` is fitted to folds 1 to 6 and to
simulated ECGs, and measured on the folds 7 and 8 and on other simulated ECGs: how often an exchange is found,
and how often a record as published is called exchanged. Prints the coefficients for `_checks.py` and the
table for docs/experiments.md.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ecglm import read, simulate
from ecglm.io._checks import CABLES, EIGHT_LEADS, cable_figures, exchanged_cables, steep_parts

# Potentials (RA, LA, LL) recorded where (RA, LA, LL) are connected; I = LA - RA, II = LL - RA.
EXCHANGES = {
    "none": (0, 1, 2),
    "RA and LA": (1, 0, 2),
    "RA and LL": (2, 1, 0),
    "RA, LA and LL in turn": (1, 2, 0),
    "RA, LL and LA in turn": (2, 0, 1),
    "LA and LL": (0, 2, 1),
}
THRESHOLD_OF = 0.005  # false alarms on the fitted folds


def limb_map(order: tuple[int, ...]) -> np.ndarray:
    """(2, 2): the recorded I and II of the true ones."""
    of_potentials, to_potentials = np.array([[-1, 1, 0], [-1, 0, 1]]), np.array([[0, 0], [1, 0], [0, 1]])
    return of_potentials @ np.eye(3)[list(order)] @ to_potentials


def products(ecg) -> np.ndarray:
    steep = steep_parts(ecg.select(EIGHT_LEADS).signal, ecg.sampling_rate).astype(np.float64)
    return steep @ steep.T / steep.shape[1]


def exchange(power: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    whole = np.eye(8)
    whole[:2, :2] = limb_map(order)
    return whole @ power @ whole.T


def main() -> None:
    root = Path(sys.argv[1])
    with (root / "ptbxl_database.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (root / f"{row['filename_hr']}.hea").is_file()]
    cov = np.array([products(read(root / row["filename_hr"])) for row in rows])
    fold = np.array([float(row["strat_fold"]) for row in rows])
    live = np.diagonal(cov, axis1=1, axis2=2).min(1) > 1e-7
    train, test = cov[live & (fold <= 6)], cov[live & (fold > 6)]
    conditions = sorted(simulate.CONDITIONS)
    seeds = range(10_000, 10_000 + 12 * len(conditions))
    drawn = [
        simulate(conditions[seed % len(conditions)] if seed % 3 else "normal", seed=seed) for seed in seeds
    ]
    train = np.concatenate([train, [products(each) for each in drawn]])
    names = list(EXCHANGES)[:-1]  # LA and LL cannot be told from a turned axis; see the table
    figures = np.array([cable_figures(exchange(each, EXCHANGES[name])) for name in names for each in train])
    scaler = StandardScaler().fit(figures)
    model = LogisticRegression(C=1, max_iter=3000)
    model.fit(scaler.transform(figures), np.repeat(np.arange(len(names)), len(train)))
    slopes = model.coef_ / scaler.scale_
    offsets = model.intercept_ - slopes @ scaler.mean_
    slopes, offsets = slopes[1:] - slopes[0], offsets[1:] - offsets[0]
    scores = np.array([cable_figures(each) for each in train]) @ slopes.T + offsets
    print(f"threshold {np.quantile(scores.max(1), 1 - THRESHOLD_OF):.2f}")
    for name, offset, row in zip(names[1:], offsets, slopes, strict=True):
        print(f'"{name}": ({offset:.2f}, {", ".join(f"{each:.2f}" for each in row)}),')
    print(f"\nshipped coefficients ({', '.join(CABLES)}) on folds 7 and 8, {len(test)} records; simulated")
    simulated = {
        "normal": [products(simulate("normal", seed=seed)) for seed in range(300)],
        "any": [products(simulate(name, seed=seed)) for name in conditions for seed in range(8)],
    }
    for name, order in EXCHANGES.items():
        for label, records in {"PTB-XL": test, **simulated}.items():
            found = [exchanged_cables(exchange(each, order)) for each in records]
            print(
                f"{label:10} {name:24} called exchanged {np.mean([each is not None for each in found]):.3f}, "
                f"by the right name {np.mean([each == name for each in found]):.3f}"
            )


if __name__ == "__main__":
    main()
