"""How fast `ecglm.read` reads format-16 WFDB records beside `wfdb.rdrecord`, in one run on the same files.

    python benchmarks/read_wfdb.py FOLDER [NUMBER]

Files are read once before, so that neither reader pays for the disk; CPU time counts, the readers take
turns, and the median of five rounds counts. Values are compared to the bit.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import wfdb

from ecglm.io import read

ROUNDS = 5


def main() -> None:
    folder = Path(sys.argv[1])
    records = [path.with_suffix("") for path in sorted(folder.rglob("*.hea"))]
    records = records[: int(sys.argv[2]) if len(sys.argv) > 2 else 200]
    for record in records:
        ours, theirs = read(record).signal, wfdb.rdrecord(str(record)).p_signal.T.astype(np.float32)
        if not np.array_equal(ours, theirs, equal_nan=True):
            sys.exit(f"{record}: the values differ by up to {np.nanmax(np.abs(ours - theirs))} mV")
    times = {"ecglm.read": [], "wfdb.rdrecord": []}
    for _ in range(ROUNDS):
        for name, reader in (("ecglm.read", read), ("wfdb.rdrecord", lambda path: wfdb.rdrecord(str(path)))):
            start = time.process_time()
            for record in records:
                reader(record)
            times[name].append(time.process_time() - start)
    rates = {name: len(records) / statistics.median(values) for name, values in times.items()}
    for name, rate in rates.items():
        print(f"{name:14} {rate:8.0f} records/s")
    ratio = rates["ecglm.read"] / rates["wfdb.rdrecord"]
    print(f"{len(records)} records, values equal to the bit; ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
