"""Learn the boundary network of `ecglm.measure`: the source of `ecglm/measure/boundaries.npz`.

    OMP_NUM_THREADS=1 python benchmarks/train_delineator.py DATA OUT [--folds 0 1 2 3 4 all] [--epochs 48]

DATA holds `ludb` and `ptb-xl` in their publishers' layouts. Trains on LUDB's per-lead marks, on simulated
ECGs with their truth, and on PTB-XL's atrial fibrillation, where no P wave is. `OUT/0.npz` … `OUT/4.npz` have
not seen the LUDB records and PTB-XL patients of that fold; `OUT/all.npz` has seen everything and is what is
shipped. `benchmarks/delineation.py ludb DATA --weights OUT` gives the figures of the folds.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from delineation import FOLDS, NO_P, fibrillating, fold_of, ludb_records, marks_of
from torch import nn

import ecglm
from ecglm.ecg import ECG
from ecglm.measure import network, windows
from ecglm.measure.beats import find_beats
from ecglm.measure.network import CENTRE, KINDS, RANGES
from ecglm.measure.working import RATE, prepare
from ecglm.simulate import simulate_corpus

SIMULATED = 1500
P_ODDS = 1.4  # added to the log-odds of P: a P wave missed is worse than one that is not there
WHOSE = 0.25  # of the way from the marks of LUDB's readers to the simulator's, whose QRS is narrower
CHANNELS, HIDDEN = 20, 88
NEAR = 60  # samples at 500 Hz, 120 ms: how far an annotated QRS may lie from the beat that was found
Labels = tuple[np.ndarray, np.ndarray]


@dataclass
class Recording:
    """Windows of one recording with their labels.

    `marks` (beats, leads, 9) are samples from R at 500 Hz, NaN where unknown; `present` (beats, leads, 3) is
    1, 0 or NaN.
    """

    source: str
    fold: int
    wide: np.ndarray
    close: np.ndarray
    intervals: np.ndarray
    marks: np.ndarray
    present: np.ndarray


def label_ludb(record: Path, ecg: ECG) -> Callable[[np.ndarray], Labels]:
    annotated = {lead: marks_of(record, lead.lower()) for lead in ecg.leads}

    def label(r_peaks: np.ndarray) -> Labels:
        marks, present = _unknown(len(r_peaks), ecg.num_leads)
        for lead, name in enumerate(ecg.leads):
            waves = annotated[name]
            qrs = [wave for wave in waves if wave[0] == "QRS"]
            peaks = np.array([wave[2] for wave in qrs])
            for beat, r in enumerate(r_peaks if len(peaks) else ()):
                k = int(np.abs(peaks - r).argmin())
                if abs(peaks[k] - r) > NEAR:
                    continue
                before = peaks[k - 1] if k else -(10**9)
                after = peaks[k + 1] if k + 1 < len(peaks) else 10**9
                p = [
                    wave
                    for wave in waves
                    if wave[0] == "P" and max(before, peaks[k] - 240) < wave[2] < peaks[k]
                ]
                t = [wave for wave in waves if wave[0] == "T" and peaks[k] < wave[2] < after]
                # only the middle of a record is annotated: the first P and the last T may just not be marked
                for kind, found, known in (
                    (0, p[-1:], k > 0 and record.name not in NO_P),
                    (1, [qrs[k]], True),
                    (2, t[:1], k + 1 < len(qrs)),
                ):
                    if found:
                        present[beat, lead, kind] = 1
                        places = [np.nan if mark is None else mark - r for mark in found[0][1:]]
                        marks[beat, lead, 3 * kind : 3 * kind + 3] = places
                    elif known:
                        present[beat, lead, kind] = 0
        return marks, present

    return label


def label_simulated(ecg: ECG) -> Callable[[np.ndarray], Labels]:
    truth = ecg.metadata["truth"]

    def label(r_peaks: np.ndarray) -> Labels:
        marks, present = _unknown(len(r_peaks), ecg.num_leads)
        true = np.array(truth["r_peaks"])
        p_peaks = np.array([p[1] for p in truth["p_waves"]])
        for beat, r in enumerate(r_peaks if len(true) else ()):
            k = int(np.abs(true - r).argmin())
            if abs(true[k] - r) > NEAR:
                continue
            for kind, name in enumerate(("p", "qrs", "t")):
                wave = truth["beats"][k][name]
                if wave:
                    present[beat, :, kind] = 1
                    marks[beat, :, 3 * kind : 3 * kind + 3] = np.array(wave) - r
            # a dissociated P wave nearby is no answer to whether this beat has one
            if (
                not truth["beats"][k]["p"]
                and r > 240
                and not ((p_peaks > r - 240) & (p_peaks < r + 60)).any()
            ):
                present[beat, :, 0] = 0
        return marks, present

    return label


def label_without_p(ecg: ECG) -> Callable[[np.ndarray], Labels]:
    def label(r_peaks: np.ndarray) -> Labels:
        marks, present = _unknown(len(r_peaks), ecg.num_leads)
        present[..., 0] = 0
        return marks, present

    return label


def _unknown(beats: int, leads: int) -> Labels:
    return np.full((beats, leads, 9), np.nan, np.float32), np.full((beats, leads, 3), np.nan, np.float32)


def recordings(data: Path) -> Iterator[Recording]:
    """All that is learnt from."""
    records = ludb_records(data)
    names = [record.name for record in records]
    for record in records:
        ecg = ecglm.read(record)
        yield from _windows("ludb", fold_of(record.name, names), ecg, label_ludb(record, ecg))
    for number, ecg in enumerate(simulate_corpus(SIMULATED, seed=77)):
        yield from _windows("simulated", number % (2 * FOLDS), ecg, label_simulated(ecg))
    rows = fibrillating(data)
    patients = sorted({row["patient_id"] for row in rows})
    for row in rows:
        ecg = ecglm.read(data / "ptb-xl" / row["filename_hr"])
        yield from _windows("afib", fold_of(row["patient_id"], patients), ecg, label_without_p(ecg))


def _windows(source: str, fold: int, ecg: ECG, label: Callable[[np.ndarray], Labels]) -> Iterator[Recording]:
    assert ecg.sampling_rate == RATE, "labels are samples at the working rate"
    working = prepare(ecg)
    beats = find_beats(working)
    if len(beats) < 3:
        return
    cut, close = windows.gather(working, beats), windows.gather_closer(working, beats)
    group = windows.groups(windows.shapes(cut[:, working.usable]))
    views = network.relative(cut, close, group, working.usable)
    wide, close = (view.channels(group) for view in views)
    marks, present = label(beats)
    present[:, ~working.usable] = np.nan
    half = np.float16
    yield Recording(
        source, fold, wide.astype(half), close.astype(half), windows.intervals(beats), marks, present
    )


class Net(nn.Module):
    """The network as torch trains it; `exported` turns it into what `ecglm.measure.network` runs."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv1d(3, 12, 9, 2, 4)
        self.c2 = nn.Conv1d(12, 16, 7, 2, 3)
        self.c3 = nn.Conv1d(16, CHANNELS, 5, 2, 2)
        self.steps = -(-windows.WIDTH // 8)
        close = 3 * (windows.ZOOM_BEFORE + windows.ZOOM_AFTER)
        # the last input says whose marks are wanted: 0 LUDB's readers', lead by lead; 1 the simulator's
        self.d1 = nn.Linear(CHANNELS * self.steps + close + 3, HIDDEN)
        self.out = nn.Linear(HIDDEN, sum(3 * (high - low) for low, high in RANGES) + 3)
        self.drop = nn.Dropout(0.05)

    def forward(self, wide: torch.Tensor, close: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        """(n, 3, WIDTH), (n, 3, closer), (n, 3) → (n, outputs)."""
        h = F.relu(self.c3(F.relu(self.c2(F.relu(self.c1(wide))))))
        h = torch.cat([h.flatten(1), close.flatten(1), scalars], 1)
        return self.out(self.drop(F.relu(self.d1(self.drop(h)))))

    def exported(self) -> dict[str, np.ndarray]:
        """Weights by the names that NumPy reads, channels last, half precision."""
        out = {}
        for name in ("c1", "c2", "c3"):
            layer = getattr(self, name)
            out[name] = layer.weight.permute(2, 1, 0).reshape(-1, layer.out_channels)
            out[f"{name}_bias"] = layer.bias
        conv = CHANNELS * self.steps
        wide = (
            self.d1.weight[:, :conv]
            .reshape(HIDDEN, CHANNELS, self.steps)
            .permute(2, 1, 0)
            .reshape(conv, HIDDEN)
        )
        close = self.d1.weight[:, conv:-3].reshape(HIDDEN, 3, -1).permute(2, 1, 0).reshape(-1, HIDDEN)
        out |= {
            "d1": torch.cat([wide, close]),
            "d1_scalars": self.d1.weight[:, -3:-1].T,
            "d1_bias": self.d1.bias + WHOSE * self.d1.weight[:, -1],
        }
        ready = torch.zeros_like(self.out.bias)
        ready[-len(KINDS)] = P_ODDS
        out |= {"out": self.out.weight.T, "out_bias": self.out.bias + ready}
        return {name: value.detach().numpy().astype(np.float16) for name, value in out.items()}


def training_set(
    everything: list[Recording], fold: int | None, rng: np.random.Generator
) -> list[torch.Tensor]:
    """Wide and close windows, scalars, marks, presence; of the simulated and the fibrillating a few each."""
    parts: list[list[np.ndarray]] = [[] for _ in range(5)]
    for recording in everything:
        if recording.fold == fold:
            continue
        beats, leads = np.nonzero(np.isfinite(recording.present).any(2))
        most = {"ludb": len(beats), "simulated": 3, "afib": 20}[recording.source]
        chosen = rng.permutation(len(beats))[:most]
        beats, leads = beats[chosen], leads[chosen]
        whose = np.full((len(beats), 1), recording.source == "simulated", np.float32)
        parts[0].append(recording.wide[beats, leads])
        parts[1].append(recording.close[beats, leads])
        parts[2].append(np.concatenate([recording.intervals[beats], whose], 1))
        parts[3].append(recording.marks[beats, leads])
        parts[4].append(recording.present[beats, leads])
    return [torch.from_numpy(np.concatenate(part)) for part in parts]


def augmented(batch: list[torch.Tensor]) -> list[torch.Tensor]:
    """Stretch and shift in time, turn upside down, add noise, look like one lead or like a lone beat."""
    wide, close, scalars, marks, present = batch
    n = len(wide)
    stretch = 1 + 0.08 * torch.randn(n, 1).clamp(-2, 2)
    shift = 3 * torch.randn(n, 1).clamp(-2.5, 2.5)  # samples of 8 ms
    wide = _moved(wide.float(), stretch, shift, windows.BEFORE)
    close = _moved(close.float(), stretch, 2 * shift, windows.ZOOM_BEFORE)
    marks = marks * stretch + 4 * shift
    sign = torch.where(torch.rand(n) < 0.05, -1.0, 1.0)[:, None]
    noise = 20 * (torch.rand(n) ** 3 * 0.05)[:, None]
    lonely, single = (torch.rand(n) < 0.1)[:, None], (torch.rand(n) < 0.2)[:, None]
    out = []
    for x, loud, alone in ((wide, 1.0, 0), (close, 1.4, 1)):
        beat = (x[:, 0] + loud * noise * torch.randn_like(x[:, 0])) * sign
        typical = x[:, 1] * sign + 0.3 * loud * noise * torch.randn_like(x[:, 1])
        size = torch.where(single, (beat, typical)[alone].abs(), x[:, 2])  # as `network.relative` has them
        out.append(torch.asinh(torch.stack([beat, torch.where(lonely, beat, typical), size], 1)))
    return [*out, scalars, marks, present]


def _moved(x: torch.Tensor, stretch: torch.Tensor, shift: torch.Tensor, centre: int) -> torch.Tensor:
    length = x.shape[-1]
    at = (centre + (torch.arange(length)[None] - centre - shift) / stretch).clamp(0, length - 1)
    low = at.floor().clamp(max=length - 2)
    part = (at - low)[:, None]
    index = low.long()[:, None].expand(-1, x.shape[1], -1)
    return torch.gather(x, 2, index) * (1 - part) + torch.gather(x, 2, index + 1) * part


def loss_of(out: torch.Tensor, marks: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the places against a bell of 8 ms around the mark, and of the presence."""
    total, at, n = out.new_zeros(()), 0, len(out)
    for k in range(9):
        low, high = RANGES[k // 3]
        logits = F.log_softmax(out[:, at : at + high - low], 1)
        at += high - low
        place = marks[:, k] / 4 + windows.BEFORE - low - CENTRE
        known = torch.isfinite(place) & (place >= -0.5) & (place <= high - low - 0.5)
        bell = torch.exp(-0.5 * (torch.arange(high - low)[None] - place[known][:, None]) ** 2)
        total = total - (bell / bell.sum(1, keepdim=True) * logits[known]).sum() / n
    known = torch.isfinite(present)
    presence = F.binary_cross_entropy_with_logits(out[:, at:][known], present[known], reduction="sum")
    return total / 9 + 2 * presence / n


def train(everything: list[Recording], fold: int | None, epochs: int) -> dict[str, np.ndarray]:
    seed = FOLDS if fold is None else fold
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    data = training_set(everything, fold, rng)
    net = Net()
    mean = copy.deepcopy(net)  # running mean of the weights: steadier than the last step
    size, n = 256, len(data[0])
    steps = epochs * (n // size)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps, pct_start=0.1)
    start, step = time.time(), 0
    for epoch in range(epochs):
        order = torch.from_numpy(rng.permutation(n))
        total = 0.0
        for i in range(n // size):
            chosen = order[i * size : (i + 1) * size]
            wide, close, scalars, marks, present = augmented([part[chosen] for part in data])
            loss = loss_of(net(wide, close, scalars), marks, present)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            with torch.no_grad():
                keep = min(0.998, (1 + step) / (10 + step))
                for old, new in zip(mean.parameters(), net.parameters(), strict=True):
                    old.mul_(keep).add_(new, alpha=1 - keep)
            step += 1
        if epoch % 16 == 15 or epoch + 1 == epochs:
            print(
                f"fold {fold} epoch {epoch + 1} loss {total / (n // size):.4f} {time.time() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return mean.exported()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", nargs="+", default=["0", "1", "2", "3", "4", "all"])
    parser.add_argument("--epochs", type=int, default=48)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    everything = list(recordings(args.data))
    print(f"{len(everything)} recordings; kinds {' '.join(KINDS)}", file=sys.stderr)
    for name in args.folds:
        weights = train(everything, None if name == "all" else int(name), args.epochs)
        np.savez(args.out / f"{name}.npz", **weights)


if __name__ == "__main__":
    main()
