"""Fit and measure the reader's check for exchanged limb cables (`ecglm.io._checks`), on PTB-XL.

    python benchmarks/lead_swaps.py PTB_XL

The limb leads of every record are rewritten as each exchange of the cables RA, LA and LL would have recorded
them. A multinomial logistic regression on the 21 figures of `cable_figures` is fitted to folds 1 to 6 and to
simulated ECGs, and measured on the folds 7 and 8 and on other simulated ECGs: how often it suspects an
exchange, and how often the reader then warns, which leaves the last word to `assess_quality`. Prints the
coefficients for `_checks.py` and the table for docs/experiments.md.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ecglm import ECG, read, simulate
from ecglm.ecg import derive_limb_leads, steep_parts
from ecglm.io._checks import EIGHT_LEADS, cable_figures, check, suspects_cables

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


def eight_map(order: tuple[int, ...]) -> np.ndarray:
    whole = np.eye(8)
    whole[:2, :2] = limb_map(order)
    return whole


def exchange(power: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    return eight_map(order) @ power @ eight_map(order).T


def warned(ecg: ECG, order: tuple[int, ...]) -> bool:
    """Whether the reader warns of this ECG, recorded with the cables in that order."""
    signal = eight_map(order) @ ecg.select(EIGHT_LEADS).signal
    recorded = derive_limb_leads(ECG(signal, ecg.sampling_rate, EIGHT_LEADS))
    return any(sentence.startswith("electrodes") for sentence in check(recorded))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ptbxl", type=Path)
    root = parser.parse_args().ptbxl
    with (root / "ptbxl_database.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (root / f"{row['filename_hr']}.hea").is_file()]
    ecgs = [read(root / row["filename_hr"]) for row in rows]
    cov = np.array([products(ecg) for ecg in ecgs])
    fold = np.array([float(row["strat_fold"]) for row in rows])
    live = np.diagonal(cov, axis1=1, axis2=2).min(1) > 1e-7
    train = cov[live & (fold <= 6)]
    test = [ecgs[number] for number in np.flatnonzero(live & (fold > 6))]
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
    print(f"\nshipped coefficients on folds 7 and 8, {len(test)} records; simulated: suspected, warned of")
    judged = {
        "PTB-XL": test,
        "normal": [simulate("normal", seed=seed) for seed in range(300)],
        "any": [simulate(name, seed=seed) for name in conditions for seed in range(8)],
    }
    for label, records in judged.items():
        figures = [products(each) for each in records]
        for name, order in EXCHANGES.items():
            suspected = np.mean([suspects_cables(exchange(each, order)) for each in figures])
            said = np.mean([warned(each, order) for each in records])
            print(f"{label:10} {name:24} {suspected:.3f} {said:.3f}")


if __name__ == "__main__":
    main()
