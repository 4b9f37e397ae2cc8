"""How many simulated ECGs (12 leads, 10 s, 500 Hz, with noise) one core makes per second.

    OMP_NUM_THREADS=1 python benchmarks/simulate.py [records]

Prints the rate by the wall clock and by the process's own CPU time, the best of ten runs of the same records.
"""

import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from ecglm.simulate import simulate_corpus


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    list(simulate_corpus(10, seed=99))
    wall = cpu = 0.0
    for _ in range(10):
        start, start_cpu = time.perf_counter(), time.process_time()
        list(simulate_corpus(records, seed=1))
        wall = max(wall, records / (time.perf_counter() - start))
        cpu = max(cpu, records / (time.process_time() - start_cpu))
    print(
        f"{wall:.0f} ECGs/s by the wall clock, {cpu:.0f} ECGs/s of CPU time ({records} records, best of 10)"
    )


if __name__ == "__main__":
    main()
