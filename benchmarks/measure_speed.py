"""How fast `ecglm.measure` is beside `neurokit2.ecg_delineate(method="dwt")`, in one run on the same signals.

    OMP_NUM_THREADS=1 python benchmarks/measure_speed.py RECORD… --peer VENV/bin/python [--rounds 15]

RECORDs are 12-lead ECGs. Ours is everything from a fresh array to `to_dict()`: beats, waves of all leads,
intervals, amplitudes, quality. The peer only delineates: its cleaning and its R peaks are made before the
clock starts. It runs in a Python of its own that has neurokit2. CPU time, the two in turns, median of the
rounds; "batched" is the mean over all records in a row.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import ecglm
from ecglm.ecg import ECG

PEER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, neurokit2 as nk
with np.load(sys.argv[1]) as stored:
    signal, rate = stored["signal"].astype(float), float(stored["rate"])
clean = [nk.ecg_clean(lead, sampling_rate=rate) for lead in signal]
peaks = nk.ecg_peaks(clean[1], sampling_rate=rate)[1]["ECG_R_Peaks"]
def delineate():
    for lead in clean:
        nk.ecg_delineate(lead, peaks, sampling_rate=rate, method="dwt")
delineate()
print(nk.__version__, flush=True)
for _ in sys.stdin:
    start = time.process_time()
    delineate()
    print(time.process_time() - start, flush=True)
"""


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    ecgs = [ecglm.read(record) for record in args.records]
    first = ecgs[0]

    def single() -> None:
        ecglm.measure(ECG(first.signal.copy(), first.sampling_rate, first.leads)).to_dict()

    def batch() -> None:
        for ecg in ecgs:
            ecglm.measure(ECG(ecg.signal.copy(), ecg.sampling_rate, ecg.leads)).to_dict()

    single()
    ours, batched, theirs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signal.npz"
        np.savez(path, signal=first.signal, rate=first.sampling_rate)
        command = [args.peer, "-c", PEER, str(path)]
        environment = os.environ | {"PYTHONPATH": ""}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as peer:
            assert peer.stdin and peer.stdout
            version = peer.stdout.readline().strip()
            if not version:
                sys.exit(f"{args.peer} cannot run neurokit2; make a venv with it and name its Python")
            for _ in range(args.rounds):
                ours.append(statistics.median(seconds(single) for _ in range(5)))
                batched.append(seconds(batch) / len(ecgs))
                peer.stdin.write("\n")
                peer.stdin.flush()
                theirs.append(float(peer.stdout.readline()))
            peer.stdin.close()
    one, many, other = (1000 * statistics.median(values) for values in (ours, batched, theirs))
    print(f"{first!r}, {len(ecgs)} records")
    print(f"ecglm.measure, single    {one:7.2f} ms  ratio {other / one:.0f}")
    print(f"ecglm.measure, batched   {many:7.2f} ms  ratio {other / many:.0f}")
    print(f"neurokit2 {version} dwt  {other:7.1f} ms  (12 leads, delineation alone)")


if __name__ == "__main__":
    main()
