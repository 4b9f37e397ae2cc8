"""What ten seconds cost out of a recording of hours, format by format, beside reading it whole.

    python benchmarks/read_spans.py [--hours 6] [FORMAT …]

Three leads at 250 Hz; the span lies at two thirds. CPU time, and the most memory that Python and NumPy set
aside meanwhile (`tracemalloc`, of a run of its own).
"""

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from ecglm import ECG, read, simulate, write

RATE, LEADS = 250, ("I", "II", "V5")


def arrays(ecg: ECG) -> dict:
    return {"ecg": ecg.signal, "fs": float(RATE), "unit": "mV", "leads": ",".join(LEADS)}


def write_npy(ecg: ECG, path: Path) -> None:
    np.save(path, ecg.signal)


def write_hdf5(ecg: ECG, path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("ecg", data=ecg.signal, chunks=True, compression="gzip")
        data.attrs["fs"], data.attrs["unit"], data.attrs["leads"] = RATE, "mV", list(LEADS)


def write_times(ecg: ECG, path: Path) -> None:
    times = np.arange(ecg.num_samples) / RATE
    head = f"time,{','.join(f'{lead} (mV)' for lead in LEADS)}"
    np.savetxt(path, np.c_[times, ecg.signal.T], "%.3f", ",", header=head, comments="")


FORMATS: dict[str, tuple[str, Callable[[ECG, Path], object]]] = {
    "WFDB 16": ("r.hea", write),
    "EDF": ("r.edf", write),
    "DICOM": ("r.dcm", write),
    "CSV": ("r.csv", write),
    "CSV with times": ("r.csv", write_times),
    "NPY": ("r.npy", write_npy),
    "NPZ": ("r.npz", lambda ecg, path: np.savez(path, **arrays(ecg))),
    "NPZ packed": ("r.npz", write),
    "MATLAB": ("r.mat", lambda ecg, path: scipy.io.savemat(path, arrays(ecg))),
    "MATLAB packed": ("r.mat", lambda ecg, path: scipy.io.savemat(path, arrays(ecg), do_compression=True)),
    "HDF5 packed": ("r.h5", write_hdf5),
}
HINTS = {"NPY": {"sampling_rate": RATE, "unit": "mV", "leads": LEADS}}


def cost(path: Path, **hints) -> tuple[float, float]:
    """CPU seconds and MB of one read."""
    start = time.process_time()
    read(path, **hints)
    seconds = time.process_time() - start
    tracemalloc.start()
    read(path, **hints)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("formats", nargs="*", help="some of them; without it all")
    parser.add_argument("--hours", type=float, default=6.0)
    options = parser.parse_args()
    beats = simulate("normal", seed=0).select(LEADS).signal[:, ::2]
    seconds = round(options.hours * 3600)
    noise = np.random.default_rng(0).normal(0, 0.005, (3, seconds * RATE)).astype(np.float32)
    ecg = ECG(np.tile(beats, seconds // 10 + 1)[:, : seconds * RATE] + noise, float(RATE), LEADS)
    start = seconds * 2 // 3
    print(f"{'format':16} {'file, MB':>9} {'whole, s':>9} {'MB':>7} {'span, s':>9} {'MB':>7}")
    for name in options.formats or FORMATS:
        file, make = FORMATS[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file
            make(ecg, path)
            hints = HINTS.get(name, {})
            size = sum(each.stat().st_size for each in Path(folder).iterdir()) / 1e6
            read(path, start=0, stop=1, **hints)
            span = cost(path, start=start, stop=start + 10, **hints)
            whole = cost(path, **hints)
        print(
            f"{name:16} {size:9.0f} {whole[0]:9.2f} {whole[1]:7.0f} {span[0]:9.3f} {span[1]:7.1f}", flush=True
        )


if __name__ == "__main__":
    main()
