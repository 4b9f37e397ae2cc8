"""How well `ecglm.measure` finds beats and boundaries, against readers' marks and the simulator's truth.

    python benchmarks/delineation.py beats DATA [--weights DIR]
    python benchmarks/delineation.py ludb DATA --weights DIR
    python benchmarks/delineation.py qtdb DATA [--weights DIR]
    python benchmarks/delineation.py fibrillation DATA --weights DIR
    python benchmarks/delineation.py simulated [--weights DIR]

DATA holds `ludb`, `mitdb`, `qtdb` and `ptb-xl` in their publishers' layouts. DIR holds the fold weights that
`benchmarks/train_delineator.py` leaves: each LUDB record and each PTB-XL patient is then read by a network
that has not seen it, everything else by `all.npz`. Without it the shipped weights read everything.
"""

import argparse
import ast
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import wfdb

import ecglm
from ecglm.ecg import ECG
from ecglm.measure import network
from ecglm.simulate import CONDITIONS

FOLDS = 5
BEATS = set("NLRBAaJSVrFejnE/fQ?")  # EC57: annotation codes that are beats
NO_P = ("34", "74", "104")  # LUDB, complete block: their P waves are not annotated
Marked = tuple[str, int | None, int, int | None]


def fold_of(name: str, names: list[str]) -> int:
    """The fold of a record or patient: a fixed shuffle of all names."""
    order = np.random.default_rng(5).permutation(len(names))
    return int(np.flatnonzero(order == names.index(name))[0]) % FOLDS


def ludb_records(data: Path) -> list[Path]:
    heads = (data / "ludb" / "data").glob("*.hea")
    return [head.with_suffix("") for head in sorted(heads, key=lambda path: int(path.stem))]


def fibrillating(data: Path) -> list[dict[str, str]]:
    """Rows of PTB-XL with atrial fibrillation and no pacemaker, signals at hand."""
    with open(data / "ptb-xl" / "ptbxl_database.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [
        row
        for row in rows
        if ast.literal_eval(row["scp_codes"]).keys() & {"AFIB", "PACE"} == {"AFIB"}
        and (data / "ptb-xl" / f"{row['filename_hr']}.hea").exists()
    ]


def marks_of(record: Path, extension: str) -> list[Marked]:
    """Kind, onset, peak and offset of all annotated waves of one file, in samples."""
    kinds = {"p": "P", "N": "QRS", "t": "T"}
    marks = wfdb.rdann(str(record), extension)
    at, what = marks.sample.tolist(), [*marks.symbol, ""]
    return [
        (
            kinds[symbol],
            at[i - 1] if i and what[i - 1] == "(" else None,
            at[i],
            at[i + 1] if what[i + 1] == ")" else None,
        )
        for i, symbol in enumerate(what)
        if symbol in kinds
    ]


class Readers:
    """`ecglm.measure` with the weights that have not seen a record."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.known: dict[str, dict[str, np.ndarray]] = {}

    def use(self, name: str) -> None:
        """Read with the weights of a fold, or with "all"."""
        if self.folder is None:
            return
        if name not in self.known:
            with np.load(self.folder / f"{name}.npz") as stored:
                self.known[name] = network.arrange(stored)
        network._weights = lambda: self.known[name]


def paired(reference: list[int], found: list[int], tolerance: float) -> list[tuple[int, int]]:
    """Indices of marks that belong together, the nearest first, each used once."""
    near = sorted(
        (abs(r - f), i, j)
        for i, r in enumerate(reference)
        for j, f in enumerate(found)
        if abs(r - f) <= tolerance
    )
    pairs: list[tuple[int, int]] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for _, i, j in near:
        if i not in used[0] and j not in used[1]:
            pairs.append((i, j))
            used[0].add(i)
            used[1].add(j)
    return pairs


def beats(data: Path, readers: Readers) -> None:
    """R peaks within 75 ms; the flutter of MIT-BIH 207 is left out, as EC57 asks."""
    print("| records | beats | missed | extra | sensitivity | PPV | F1 |\n|---|---|---|---|---|---|---|")
    for name, records in (
        ("MIT-BIH, first half", sorted((data / "mitdb").glob("*.hea"))),
        ("QTDB sample", sorted((data / "qtdb").glob("*.hea"))),
        ("LUDB, lead II", [path.with_suffix(".hea") for path in ludb_records(data)]),
    ):
        totals = np.zeros(3, int)
        names = [head.stem for head in records]
        for head in records:
            record = head.with_suffix("")
            ecg = ecglm.read(record)
            in_ludb = name.startswith("LUDB")
            readers.use(str(fold_of(record.name, names)) if in_ludb else "all")
            found = list(ecglm.measure(ecg).r_peaks)
            margin = 0.075 * ecg.sampling_rate
            if in_ludb:
                reference = [wave[2] for wave in marks_of(record, "ii") if wave[0] == "QRS"]
            else:
                marks = wfdb.rdann(str(record), "atr")
                pairs = list(zip(marks.sample.tolist(), marks.symbol, strict=True))
                starts, ends = ([at for at, what in pairs if what == end] for end in "[]")
                left_out = [(a - margin, b) for a, b in zip(starts, ends, strict=True)]
                reference = [at for at, what in pairs if what in BEATS]
                reference, found = (
                    [at for at in peaks if not any(a <= at <= b for a, b in left_out)]
                    for peaks in (reference, found)
                )
            if name != "MIT-BIH, first half":  # annotated in part
                found = [at for at in found if reference[0] - margin <= at <= reference[-1] + margin]
            hits = _hits(reference, found, margin)
            totals += hits, len(reference) - hits, len(found) - hits
        hit, missed, extra = totals.tolist()
        sensitivity, ppv = 100 * hit / (hit + missed), 100 * hit / (hit + extra)
        f1 = 200 * hit / (2 * hit + missed + extra)
        print(
            f"| {name}: {len(records)} | {hit + missed} | {missed} | {extra} "
            f"| {sensitivity:.2f} | {ppv:.2f} | {f1:.2f} |"
        )


def _hits(reference: list[int], found: list[int], margin: float) -> int:
    """How many belong together; both are sorted, so that half an hour needs no table of all pairs."""
    hits = i = j = 0
    while i < len(reference) and j < len(found):
        away = found[j] - reference[i]
        if abs(away) <= margin:
            hits, i, j = hits + 1, i + 1, j + 1
        elif away < 0:
            j += 1
        else:
            i += 1
    return hits


class Score:
    """Counts and boundary errors by kind of wave."""

    def __init__(self) -> None:
        self.counts = {kind: Counter() for kind in network.KINDS}
        self.errors: dict[tuple[str, str], list[float]] = {}
        self.marked: Counter = Counter()

    def add(self, reference: list[Marked], found: list[Marked], span: tuple[int, int], rate: float) -> None:
        """One-to-one by peak within 150 ms; extra waves count between the first and the last marked QRS."""
        for kind in network.KINDS:
            ours = [wave for wave in found if wave[0] == kind]
            theirs = [wave for wave in reference if wave[0] == kind]
            pairs = paired([wave[2] for wave in theirs], [wave[2] for wave in ours], 0.15 * rate)
            matched = {j for _, j in pairs}
            self.counts[kind]["hit"] += len(pairs)
            self.counts[kind]["missed"] += len(theirs) - len(pairs)
            self.counts[kind]["extra"] += sum(
                j not in matched and span[0] < wave[2] < span[1] for j, wave in enumerate(ours)
            )
            for mark, place in (("onset", 1), ("offset", 3)):
                self.marked[kind, mark] += sum(wave[place] is not None for wave in theirs)
                errors = self.errors.setdefault((kind, mark), [])
                for i, j in pairs:
                    if theirs[i][place] is not None:
                        errors.append((ours[j][place] - theirs[i][place]) * 1000 / rate)

    def show_waves(self) -> None:
        """Print how many were found and how many were too many."""
        print("| wave | sensitivity | PPV |\n|---|---|---|")
        for kind, count in self.counts.items():
            hit = count["hit"]
            sensitivity, ppv = _percent(hit, hit + count["missed"]), _percent(hit, hit + count["extra"])
            print(f"| {kind} | {sensitivity} | {ppv} |")
        print()

    def show_boundaries(self) -> None:
        """Print the errors."""
        print("| boundary | marks | sensitivity | mean ± SD, ms | median absolute, ms | over 50 ms |")
        print("|---|---|---|---|---|---|")
        for (kind, mark), values in self.errors.items():
            if not values:
                continue
            errors = np.array(values)
            print(
                f"| {kind} {mark} | {self.marked[kind, mark]} "
                f"| {_percent(len(errors), self.marked[kind, mark])} "
                f"| {errors.mean():+.1f} ± {errors.std():.1f} | {np.median(np.abs(errors)):.1f} "
                f"| {100 * (np.abs(errors) > 50).mean():.2f} % |"
            )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else "–"


def ludb(data: Path, readers: Readers) -> None:
    """Per lead; marks without an onset are left out of onset errors, records of complete block out of P."""
    score = Score()
    records = ludb_records(data)
    names = [record.name for record in records]
    for record in records:
        ecg = ecglm.read(record)
        readers.use(str(fold_of(record.name, names)))
        waves = ecglm.measure(ecg).waves
        for lead in ecg.leads:
            reference = marks_of(record, lead.lower())
            found = [(w.kind, w.onset, w.peak, w.offset) for w in waves if w.lead == lead]
            if record.name in NO_P:
                reference = [wave for wave in reference if wave[0] != "P"]
                found = [wave for wave in found if wave[0] != "P"]
            qrs = [wave[2] for wave in reference if wave[0] == "QRS"]
            if qrs:
                score.add(reference, found, (qrs[0], qrs[-1]), ecg.sampling_rate)
    score.show_waves()
    score.show_boundaries()


def qtdb(data: Path, readers: Readers) -> None:
    """The record's waves against the first reader (`.q1c`), who marked some of the beats: no PPV."""
    score = Score()
    readers.use("all")
    for head in sorted((data / "qtdb").glob("*.hea")):
        record = head.with_suffix("")
        ecg = ecglm.read(record)
        reference = marks_of(record, "q1c")
        found = [(w.kind, w.onset, w.peak, w.offset) for w in ecglm.measure(ecg).waves if w.lead is None]
        qrs = [wave[2] for wave in reference if wave[0] == "QRS"]
        near = [wave for wave in found if qrs[0] - 250 < wave[2] < qrs[-1] + 250]
        score.add(reference, near, (qrs[0], qrs[-1]), ecg.sampling_rate)
    score.show_boundaries()


def fibrillation(data: Path, readers: Readers) -> None:
    """P waves that are none: the share of beats, record by record, in atrial fibrillation."""
    rows = fibrillating(data)
    patients = sorted({row["patient_id"] for row in rows})
    record, by_lead, pr = [], [], 0
    for row in rows:
        readers.use(str(fold_of(row["patient_id"], patients)))
        measured = ecglm.measure(ecglm.read(data / "ptb-xl" / row["filename_hr"]))
        number = max(len(measured.r_peaks), 1)
        p = Counter(wave.lead for wave in measured.waves if wave.kind == "P")
        record.append(p[None] / number)
        by_lead.append(np.mean([p[lead] / number for lead in measured.leads]))
        pr += measured.pr is not None
    print(
        f"{len(rows)} ECGs of PTB-XL with AFIB: P in {100 * np.mean(record):.1f} % of the beats (record), "
        f"{100 * np.mean(by_lead):.1f} % (per lead); a PR interval is given in {pr}"
    )


def simulated_ecgs(snr: float | None) -> Iterator[ECG]:
    """Three patients of each condition that the network was not trained on; noise of the given level, dB."""
    for condition in CONDITIONS:
        for seed in range(9000, 9003):
            clean = ecglm.simulate(condition, seed=seed, noise=False)
            if snr is None:
                yield clean
                continue
            levels = {"baseline": 0.02, "muscle": 0.01, "mains": 0.005}
            noise = ecglm.simulate(condition, seed=seed, noise=levels).signal - clean.signal
            heart = clean.signal - clean.signal.mean(1, keepdims=True)
            gain = np.sqrt(np.mean(heart**2) / np.mean(noise**2) / 10 ** (snr / 10))
            yield ECG(clean.signal + gain * noise, clean.sampling_rate, clean.leads, clean.metadata)


def simulated(readers: Readers) -> None:
    """Intervals against the truth, and beats, with less and more noise."""
    readers.use("all")
    print(
        "| noise | beats F1 | rate, 1/min | PR, ms | QRS, ms | QT, ms | axis, ° | PR invented | PR missing |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, snr in (("none", None), ("12 dB", 12.0), ("6 dB", 6.0)):
        errors: dict[str, list[float]] = {key: [] for key in ("heart_rate", "pr", "qrs", "qt", "axis")}
        counts: Counter = Counter()
        for ecg in simulated_ecgs(snr):
            truth, measured = ecg.metadata["truth"], ecglm.measure(ecg)
            reference, margin = truth["r_peaks"], 0.075 * ecg.sampling_rate
            found = [at for at in measured.r_peaks if reference[0] - margin <= at <= reference[-1] + margin]
            hits = _hits(reference, found, margin)
            counts += Counter(hit=hits, missed=len(reference) - hits, extra=len(found) - hits)
            for key, values in errors.items():
                ours = getattr(measured, key)
                if ours is not None and truth[key] is not None:
                    values.append(ours - truth[key])
            if "complete_av_block" not in truth["conditions"]:
                counts["invented"] += measured.pr is not None and truth["pr"] is None
                counts["missing"] += measured.pr is None and truth["pr"] is not None
        errors["axis"] = [(value + 180) % 360 - 180 for value in errors["axis"]]
        f1 = 200 * counts["hit"] / (2 * counts["hit"] + counts["missed"] + counts["extra"])
        cells = [f"{np.median(np.abs(values)):.1f} (n {len(values)})" for values in errors.values()]
        print(f"| {name} | {f1:.2f} | {' | '.join(cells)} | {counts['invented']} | {counts['missing']} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("beats", "ludb", "qtdb", "fibrillation", "simulated"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    readers = Readers(args.weights)
    if args.what == "simulated":
        simulated(readers)
        return
    if args.data is None:
        parser.error(f"{args.what} needs DATA, the folder that holds the corpora")
    {"beats": beats, "ludb": ludb, "qtdb": qtdb, "fibrillation": fibrillation}[args.what](args.data, readers)


if __name__ == "__main__":
    main()
