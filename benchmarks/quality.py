"""How well `assess_quality` grades records; learns the weights of its model.

    python benchmarks/quality.py DATA            measure: DATA/challenge-2011, DATA/ptb-xl, simulated ECGs
    python benchmarks/quality.py DATA --train    write ecglm/measure/quality_weights.py from all of set-a

Accuracy is that of 5-fold cross-validation: every record is judged by a model that has not seen it, 0.5 and
more taken as unacceptable; the rules around the model (no QRS complexes …) are the shipped ones. Its interval
is Wilson's, 95 %. Foreign signals, none of them an ECG, are drawn anew.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecglm.ecg import ECG, LEADS_12
from ecglm.io import read
from ecglm.measure import quality
from ecglm.measure.segments import look, to_rate
from ecglm.simulate.corpus import simulate_corpus

TARGET = Path(__file__).resolve().parent.parent / "ecglm" / "measure" / "quality_weights.py"
REGULARISATION = 0.05  # inverse strength; chosen among 0.01 to 0.3 by cross-validation of another seed
FOLD_SEED = 2011


def graded(root: Path) -> tuple[list[ECG], np.ndarray]:
    """Records of set-a that have a grade, and whether they are unacceptable."""
    ecgs, labels = [], []
    for label, name in enumerate(("RECORDS-acceptable", "RECORDS-unacceptable")):
        for record in (root / name).read_text(encoding="utf-8").split():
            ecgs.append(read(root / record))
            labels.append(label)
    return ecgs, np.array(labels)


def features(ecgs: list[ECG]) -> np.ndarray:
    seen = [quality.record_features(look(to_rate(ecg.signal, ecg.sampling_rate))) for ecg in ecgs]
    return np.array([list(each.values()) for each in seen])


def model() -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=5000))


def train(root: Path) -> None:
    ecgs, labels = graded(root)
    names = list(quality.record_features(look(to_rate(ecgs[0].signal, ecgs[0].sampling_rate))))
    fitted = model().fit(features(ecgs), labels)
    scaler, regression = fitted[0], fitted[1]
    text = (
        '"""Weights of the model in `ecglm.measure.quality`, made by `benchmarks/quality.py --train`."""\n\n'
    )
    text += f"INTERCEPT = {regression.intercept_[0]:.4f}\n# feature: mean, deviation, weight\nWEIGHTS = {{\n"
    for name, *values in zip(names, scaler.mean_, scaler.scale_, regression.coef_[0], strict=True):
        text += f'    "{name}": ({", ".join(f"{value:.4f}" for value in values)}),\n'
    TARGET.write_text(text + "}\n", encoding="utf-8")
    print(f"wrote {TARGET}")


def wilson(hits: int, n: int) -> str:
    p, z = hits / n, 1.96
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return f"{p:.3f} ({low:.3f}-{high:.3f}), {hits} of {n}"


def cross_validate(root: Path) -> None:
    ecgs, labels = graded(root)
    x = features(ecgs)
    strange = np.array([bool(quality._strangeness(look(to_rate(e.signal, e.sampling_rate)))) for e in ecgs])
    for seed in (FOLD_SEED, *range(5)):
        said = np.zeros(len(labels), int)
        for learn, judge in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, labels):
            said[judge] = model().fit(x[learn], labels[learn]).predict(x[judge])
        said[strange] = 1
        if seed == FOLD_SEED:
            print(f"CinC 2011 set-a, 5 folds: accuracy {wilson(int((said == labels).sum()), len(labels))}")
            for label, name in enumerate(("acceptable", "unacceptable")):
                right = said[labels == label] == label
                print(f"  of the {name}: {wilson(int(right.sum()), len(right))}")
        else:
            print(f"  other folds, seed {seed}: {(said == labels).mean():.3f}")
    shipped = Counter(
        (("acceptable", "unacceptable")[y], quality.assess_quality(e).record)
        for e, y in zip(ecgs, labels, strict=True)
    )
    print("  as shipped (learnt on all, so no figure of merit):", dict(sorted(shipped.items())))


def grades(name: str, ecgs: Iterable[ECG]) -> None:
    verdicts = [quality.assess_quality(ecg) for ecg in ecgs]
    counted = Counter(verdict.record for verdict in verdicts)
    flagged = Counter(
        flag for verdict in verdicts for flag in {f for flags in verdict.leads.values() for f in flags}
    )
    rejected = wilson(counted["unacceptable"], len(verdicts))
    print(f"{name}: unacceptable {rejected}; borderline {counted['borderline']}")
    print("   ", ", ".join(f"{flag} {count}" for flag, count in flagged.most_common()) or "no flags")


def foreign(kind: str, number: int) -> Iterator[ECG]:
    """Signals that are no ECG, in twelve rows, 10 s at 500 Hz."""
    rng = np.random.default_rng(list(kind.encode()))
    t = np.arange(5000) / 500
    hertz = np.fft.rfftfreq(5000, 1 / 500)

    def coloured(power: np.ndarray, rows: int) -> np.ndarray:
        spectrum = rng.standard_normal((rows, len(hertz))) + 1j * rng.standard_normal((rows, len(hertz)))
        x = np.fft.irfft(np.sqrt(power) * spectrum, 5000)
        return x / x.std()

    for _ in range(number):
        size = np.exp(rng.uniform(np.log(0.05), np.log(3)))
        if kind == "white noise":
            x = rng.standard_normal((12, 5000))
        elif kind == "electrode noise":  # white on each electrode, so that the limb leads' equations hold
            e = rng.standard_normal((9, 5000))
            one, two = e[1] - e[0], e[2] - e[0]
            x = np.stack(
                [
                    one,
                    two,
                    two - one,
                    -(one + two) / 2,
                    one - two / 2,
                    two - one / 2,
                    *(e[3:] - e[:3].mean(0)),
                ]
            )
        elif kind == "pink noise":
            x = coloured(1 / np.maximum(hertz, 0.3), 12)
        elif kind == "brown noise":
            x = coloured(1 / np.maximum(hertz, 0.3) ** 2, 12)
        elif kind == "EEG":
            alpha = np.exp(-(((hertz - rng.uniform(8, 12)) / 1.5) ** 2)) / 40
            x = rng.standard_normal((12, 6)) @ coloured(
                (np.maximum(hertz, 0.5) ** -1.5 + alpha) * (hertz < 45), 6
            )
            size = 0.03 * np.exp(0.5 * rng.standard_normal())
        elif kind == "sine":
            phase = rng.uniform(0, 2 * np.pi, (12, 1)) * (rng.random() < 0.5)
            x = np.sin(2 * np.pi * rng.uniform(0.3, 40) * t + phase) * rng.uniform(0.3, 1, (12, 1))
        elif kind == "sines":
            x = sum(
                np.sin(2 * np.pi * rng.uniform(0.5, 20, (12, 1)) * t + rng.uniform(0, 6, (12, 1)))
                for _ in range(3)
            )
        elif kind == "muscle only":
            x = np.diff(rng.standard_normal((12, 5001))) * (
                1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 2) * t)
            )
        else:
            x = np.zeros((12, 5000)) + rng.standard_normal((12, 1)) * (rng.random() < 0.5)
        yield ECG(size * x, 500)


KINDS = (
    "white noise",
    "electrode noise",
    "pink noise",
    "brown noise",
    "EEG",
    "sine",
    "sines",
    "muscle only",
    "constant",
)


def shuffled(ecgs: Iterable[ECG]) -> Iterator[ECG]:
    rng = np.random.default_rng(0)
    for ecg in ecgs:
        yield replace(ecg, signal=ecg.signal[rng.permutation(12)])


FAULTS = {
    "missing": lambda x, t, rng: np.where(abs(t - rng.uniform(1, 9)) < 0.6, np.nan, x),
    "flat": lambda x, t, rng: np.where(t > 3.5, x[t > 3.5][0], x),
    "saturated": lambda x, t, rng: np.where(abs(t - rng.uniform(2, 8)) < 1, 5 * rng.choice([-1, 1]), x),
    "lead-off": lambda x, t, rng: rng.uniform(0.1, 0.5) * np.cumsum(rng.standard_normal(len(x))) / 10,
    "clipping": lambda x, t, rng: x.clip(*np.quantile(x, [0.005, 0.97])),
    "mains": lambda x, t, rng: x + 0.05 * np.sin(2 * np.pi * rng.choice([50, 60]) * t + rng.uniform(0, 6)),
    "wander": lambda x, t, rng: x + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 0.35) * t + rng.uniform(0, 6)),
    "muscle noise": lambda x, t, rng: x + 0.06 * rng.standard_normal(len(x)),
}


def faults(ecgs: list[ECG]) -> None:
    """One lead of each record is spoilt: is it flagged, and were such flags there before?"""
    for flag, spoil in FAULTS.items():
        rng = np.random.default_rng(1)
        found = before = 0
        for ecg in ecgs:
            # no limb lead goes off by itself; one that is replaced makes the record unacceptable instead
            row, signal = int(rng.integers(6 if flag == "lead-off" else 0, 12)), ecg.signal.copy()
            before += flag in quality.assess_quality(ecg).leads[ecg.leads[row]]
            signal[row] = spoil(signal[row], np.arange(signal.shape[1]) / ecg.sampling_rate, rng)
            found += flag in quality.assess_quality(replace(ecg, signal=signal)).leads[ecg.leads[row]]
        print(f"{flag:13} flagged {wilson(found, len(ecgs))}; in the same lead before: {before}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    challenge = arguments.data / "challenge-2011" / "set-a"
    if arguments.train:
        train(challenge)
        return
    cross_validate(challenge)
    real = [
        read(path).select(LEADS_12)
        for path in sorted((arguments.data / "ptb-xl" / "records500").rglob("*.hea"))
    ]
    simulated = list(simulate_corpus(1000, 4))
    grades("PTB-XL", real)
    grades("simulated", simulated)
    for kind in KINDS:
        grades(kind, foreign(kind, 200))
    grades("simulated, leads shuffled", shuffled(simulated))
    grades("PTB-XL, leads shuffled", shuffled(real[::2]))
    faults(simulated[:300])
    start = time.process_time()
    for ecg in simulated[:300]:
        quality.assess_quality(ecg)
    print(f"{(time.process_time() - start) / 300 * 1000:.2f} ms of one core for 12 leads, 10 s, 500 Hz")


if __name__ == "__main__":
    main()
