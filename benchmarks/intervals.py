"""How far the intervals between beats are from the truth: from R to R, and of aligned beats as in `measure`.

    python benchmarks/intervals.py DATA        DATA/mitdb against its annotations, and simulated ECGs

Simulated ECGs (with noise, 40 of each condition) know their beats at 5,000 Hz; those of MIT-BIH are samples
of 360 Hz, which alone scatters the intervals by 1.1 ms. Root mean square of the errors of a record's
intervals, ms; the median and the mean over the records in which beats are found.
"""

import argparse
from pathlib import Path

import numpy as np
import wfdb

from ecglm import ECG, read, simulate
from ecglm.measure.alignment import aligned
from ecglm.measure.beats import find_beats
from ecglm.measure.delineation import delineate
from ecglm.measure.working import RATE, prepare

MS = 1000 / RATE
BEATS = set("NLRBAaJSVFejnE/fQ")
CONDITIONS = ("normal", "low_voltage", "svt", "afib", "lbbb", "pacing_ventricular", "pacing_dual", "pvc")


def compare(ecg: ECG, true: np.ndarray) -> dict[str, float]:
    """Errors of all intervals, of those between dominant beats, and of RMSSD; empty without beats.

    Args:
        ecg: the recording.
        true: where its beats are, in samples of the working rate.
    """
    working = prepare(ecg)
    found = find_beats(working)
    if len(found) < 3:
        return {}
    waves = delineate(working, found)
    nearest = np.abs(true[:, None] - waves.r_peaks).argmin(0)
    near = np.abs(true[nearest] - waves.r_peaks) < 80 / MS
    every = near[1:] & near[:-1] & (np.diff(nearest) == 1)
    main = every & (waves.shape[1:] == 0) & (waves.shape[:-1] == 0)
    right = np.diff(true[nearest]) * MS
    out = {}
    for name, beats in (("R", waves.r_peaks), ("aligned", aligned(working, waves.r_peaks, waves.shape))):
        intervals = np.diff(beats) * MS
        out[f"{name}: all"] = rms((intervals - right)[every])
        out[f"{name}: dominant"] = rms((intervals - right)[main])
        out[f"{name}: RMSSD"] = rms(steps(intervals, main)) - rms(steps(right, main))
    return out


def steps(intervals: np.ndarray, main: np.ndarray) -> np.ndarray:
    return np.diff(intervals)[main[1:] & main[:-1]]


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else np.nan


def mitdb(root: Path) -> list[dict[str, float]]:
    results = []
    for path in sorted(root.glob("*.hea")):
        marks = wfdb.rdann(str(path.with_suffix("")), "atr")
        beats = [sample for sample, kind in zip(marks.sample, marks.symbol, strict=True) if kind in BEATS]
        ecg = read(path)
        results.append(compare(ecg, np.array(beats) * RATE / ecg.sampling_rate))
    return results


def simulated(condition: str) -> list[dict[str, float]]:
    results = []
    for seed in range(40):
        fine = simulate(condition, seed=seed, sampling_rate=10 * RATE, noise=False)
        true = np.array(fine.metadata["truth"]["r_peaks"]) / 10
        results.append(compare(simulate(condition, seed=seed), true))
    return results


def show(name: str, results: list[dict[str, float]]) -> None:
    results = [result for result in results if result]
    print(f"{name}, {len(results)} records")
    for key in results[0]:
        errors = np.abs([result[key] for result in results])
        if np.isfinite(errors).any():
            print(f"  {key:18} median {np.nanmedian(errors):6.2f}   mean {np.nanmean(errors):6.2f}")
    worse = sum(result["aligned: dominant"] > result["R: dominant"] for result in results)
    print(f"  aligned worse than R between dominant beats: {worse}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    root = parser.parse_args().data
    show("MIT-BIH", mitdb(root / "mitdb"))
    for condition in CONDITIONS:
        show(condition, simulated(condition))


if __name__ == "__main__":
    main()
