"""How well exchanged electrodes are found; trains the networks that look for them.

    python benchmarks/electrodes.py PTB_XL            measure: fold 8 and 1,000 simulated ECGs
    python benchmarks/electrodes.py PTB_XL --train    train on folds 1-7 and 12,000 simulated ECGs

Every record counts once as it is (an alarm is false) and once with each exchange made (an alarm is right;
"named" where it also says which exchange). The interval is Wilson's, 95 %. Training takes some twenty minutes
on one core.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ecglm.ecg import ECG, LEADS_12, derive_limb_leads
from ecglm.io import read
from ecglm.measure import swaps
from ecglm.measure.quality import assess_quality
from ecglm.measure.segments import look, to_rate
from ecglm.simulate.corpus import simulate_corpus

NETWORKS, HIDDEN, EPOCHS, BATCH = 2, 48, 40, 128
EIGHT = [0, 1, 6, 7, 8, 9, 10, 11]
SEEDS = {"train": 11, "test": 99}
TARGET = Path(__file__).resolve().parent.parent / "ecglm" / "measure" / "swaps.npz"


def beats_of(ecgs: Iterable[ECG]) -> np.ndarray:
    beats = []
    for ecg in ecgs:
        signal = to_rate(np.nan_to_num(ecg.select(LEADS_12).signal), ecg.sampling_rate)
        beats.append(swaps.typical_beat(signal[EIGHT], look(signal).beats))
    return np.stack([beat for beat in beats if beat is not None]).astype(np.float32)


def ptbxl(root: Path, folds: Iterable[int]) -> Iterable[ECG]:
    with (root / "ptbxl_database.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["strat_fold"]) in set(folds)]
    for row in rows:
        if (root / f"{row['filename_hr']}.hea").exists():
            yield read(root / row["filename_hr"])


def train(beats: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Fit the scores so that the softmax over all exchanges, each undone, finds the one that was made."""
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    made = np.stack([swap.matrix for swap in swaps.SWAPS]).astype(np.float32)
    sample = swaps.beat_features(swaps.undone(beats[::4])).reshape(
        -1, swaps.beat_features(beats[0]).shape[-1]
    )
    mean, deviation = sample.mean(0).astype(np.float16), (sample.std(0) + 1e-3).astype(np.float16)
    mean, deviation = mean.astype(np.float32), deviation.astype(np.float32)
    inner, outer = torch.nn.Linear(len(mean), HIDDEN), torch.nn.Linear(HIDDEN, 1, bias=False)
    direct, dropout = torch.nn.Linear(len(mean), 1, bias=False), torch.nn.Dropout(0.1)
    parameters = [*inner.parameters(), *outer.parameters(), *direct.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.02)
    steps = EPOCHS * (len(beats) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    # no exchange is the usual case; those of the right arm are the ones most worth finding
    share = np.array(
        [5 if swap.name == "none" else 0.3 if swap.name == "LA/LL" else 1 for swap in swaps.SWAPS]
    )
    share[[swap.name in ("RA/LA", "RA/LL") for swap in swaps.SWAPS]] = 4
    share[[swap.name in ("V1/V2", "V2/V3") for swap in swaps.SWAPS]] = 2
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in np.array_split(rng.permutation(len(beats)), len(beats) // BATCH):
            true = rng.choice(len(share), len(chosen), p=share / share.sum())
            each = beats[chosen].copy()
            each[:, 2:] *= 1 + 0.05 * rng.standard_normal(
                (len(each), 6, 1), dtype=np.float32
            )  # skin, distance
            features = swaps.beat_features(swaps.undone(np.matmul(made[true], each)))
            x = torch.from_numpy(((features - mean) / deviation).clip(-4, 4))
            scores = (outer(dropout(torch.tanh(inner(x)))) + direct(x)).squeeze(-1)
            loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(true))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen) / len(beats)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total:.3f}", flush=True)
    parts = [mean, deviation, direct.weight, inner.weight.T, inner.bias, outer.weight]
    values = [np.asarray(torch.as_tensor(part).detach()).squeeze().astype(np.float16) for part in parts]
    return dict(zip(("mean", "deviation", "direct", "inner", "bias", "outer"), values, strict=True))


def wilson(hits: int, n: int) -> str:
    p, z = hits / n, 1.96
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return f"{p:.3f} ({(centre - half) / (1 + z * z / n):.3f}-{(centre + half) / (1 + z * z / n):.3f})"


def exchanged(ecg: ECG, swap: swaps.Swap) -> ECG:
    """The recording as it would be with this exchange."""
    eight = swap.matrix.astype(np.float32) @ ecg.select(LEADS_12).signal[EIGHT]
    return derive_limb_leads(ECG(eight, ecg.sampling_rate, tuple(LEADS_12[row] for row in EIGHT)))


def measure(name: str, ecgs: list[ECG]) -> None:
    """By `assess_quality`, as users call it: a record that it calls unacceptable raises no alarm."""
    print(f"\n{name}: {len(ecgs)} records")
    for swap in swaps.SWAPS:
        reasons = [assess_quality(exchanged(ecg, swap)).reasons for ecg in ecgs]
        alarms = ["".join(reason for reason in each if "exchanged" in reason) for each in reasons]
        named = sum(alarm.startswith(f"electrodes {swap.name} ") for alarm in alarms) / len(ecgs)
        what = "false alarms" if swap.name == "none" else f"{swap.name} found"
        print(f"  {what:28} {wilson(sum(map(bool, alarms)), len(ecgs))}   named {named:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    if arguments.train:
        real = beats_of(ptbxl(arguments.ptbxl, range(1, 8)))
        simulated = beats_of(simulate_corpus(12_000, SEEDS["train"]))
        beats = np.concatenate([*[real] * 4, simulated])
        networks = [train(beats, seed) for seed in range(NETWORKS)]
        np.savez(TARGET, **{name: np.stack([net[name] for net in networks]) for name in networks[0]})
        print(f"wrote {TARGET}; run again without --train")
        return
    measure("simulated", list(simulate_corpus(1_000, SEEDS["test"])))
    measure("PTB-XL fold 8", list(ptbxl(arguments.ptbxl, [8])))


if __name__ == "__main__":
    main()
