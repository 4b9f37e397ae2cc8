"""How fast `ecglm.read` reads each format beside the format's usual library, in one run on the same file.

    python benchmarks/read_formats.py [FORMAT …]

Each file holds one simulated ECG: 12 leads, 10 s, 500 Hz (WFDB format 212: two leads, 30 minutes, as
MIT-BIH's). CPU time counts, of alternating rounds after one unmeasured; the median ratio is the figure. The
library only has to hand over the samples; `ecglm.read` also converts, names, checks and describes them.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import edfio
import h5py
import numpy as np
import pandas
import pydicom
import scipy.io
import wfdb

from ecglm import LEADS_12, read, simulate, write

ROUNDS, REPEATS = 9, 12


def write_wfdb_212(folder: Path) -> Path:
    signal = np.tile(simulate("normal", seed=0).signal[:2], 180).T.astype(np.float64)
    gains = {"adc_gain": [200.0] * 2, "baseline": [0] * 2}
    wfdb.wrsamp("r", 500, ["mV"] * 2, ["I", "II"], signal, fmt=["212"] * 2, write_dir=str(folder), **gains)
    return folder / "r.hea"


def write_matlab(folder: Path) -> Path:
    scipy.io.savemat(
        folder / "r.mat", {"signal": ECG.signal, "fs": 500, "unit": "mV", "leads": list(LEADS_12)}
    )
    return folder / "r.mat"


def write_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "r.h5", "w") as file:
        data = file.create_dataset("ecg", data=ECG.signal)
        data.attrs["fs"], data.attrs["unit"], data.attrs["leads"] = 500, "mV", list(LEADS_12)
    return folder / "r.h5"


def with_h5py(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["ecg"][:]


ECG = replace(simulate("normal", seed=0), metadata={"age": 61.0, "sex": "male"})
FORMATS: dict[str, tuple[Callable[[Path], Path], str, Callable[[Path], object]]] = {
    "wfdb-16": (
        lambda at: write(ECG, at / "r.hea"),
        "wfdb",
        lambda path: wfdb.rdrecord(str(path)[:-4]).p_signal,
    ),
    "wfdb-212": (write_wfdb_212, "wfdb", lambda path: wfdb.rdrecord(str(path)[:-4]).p_signal),
    "edf": (
        lambda at: write(ECG, at / "r.edf"),
        "edfio",
        lambda path: [signal.data for signal in edfio.read_edf(path).signals],
    ),
    "dicom": (
        lambda at: write(ECG, at / "r.dcm"),
        "pydicom",
        lambda path: pydicom.dcmread(path).waveform_array(0),
    ),
    "csv": (
        lambda at: write(ECG, at / "r.csv"),
        "pandas",
        lambda path: pandas.read_csv(path, comment="#").to_numpy(),
    ),
    "npz": (lambda at: write(ECG, at / "r.npz"), "numpy", lambda path: dict(np.load(path))),
    "matlab": (write_matlab, "scipy", scipy.io.loadmat),
    "hdf5": (write_hdf5, "h5py", with_h5py),
}


def seconds(function: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    for _ in range(REPEATS):
        function(path)
    return (time.process_time() - start) / REPEATS


def main() -> None:
    print(f"{'format':10} {'ecglm, ms':>10} {'library':>10} {'ms':>8} {'ratio':>7}")
    for name in sys.argv[1:] or FORMATS:
        make, library, peer = FORMATS[name]
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            read(path), peer(path)
            pairs = [(seconds(read, path), seconds(peer, path)) for _ in range(ROUNDS)]
        ours, theirs = (statistics.median(each) * 1000 for each in zip(*pairs, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs in pairs)
        print(f"{name:10} {ours:10.2f} {library:>10} {theirs:8.2f} {ratio:7.2f}")


if __name__ == "__main__":
    main()
