"""How fast `ecglm.read` reads each format beside the format's usual library, in one run on the same file.

    python benchmarks/read_formats.py [FORMAT …]

Each file holds one simulated ECG: 12 leads, 10 s, 500 Hz (WFDB format 212: two leads, 30 minutes, as
MIT-BIH's). CPU time counts, of alternating rounds after one unmeasured; the median ratio is the figure. The
library hands over float32 millivolts of all leads with their names, rate and units, which whoever calls it
must ask for too; `ecglm.read` also finds the format, checks and describes. The last column is the share of
its time that the checks (amplitude, limb leads, cables) take.
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
from ecglm.io._checks import check

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


def with_wfdb(path: Path) -> object:
    record = wfdb.rdrecord(str(path)[:-4])
    return record.p_signal.T.astype(np.float32), record.sig_name, record.fs, record.units


def with_edfio(path: Path) -> object:
    file = edfio.read_edf(path)
    units = [signal.physical_dimension for signal in file.signals]
    values = np.stack([signal.data for signal in file.signals]).astype(np.float32) / np.float32(1000)
    return values, file.labels, file.signals[0].sampling_frequency, units


def with_pydicom(path: Path) -> object:
    file = pydicom.dcmread(path)
    group = file.WaveformSequence[0]
    channels = group.ChannelDefinitionSequence
    names = [channel.ChannelSourceSequence[0].CodeMeaning for channel in channels]
    units = [channel.ChannelSensitivityUnitsSequence[0].CodeValue for channel in channels]
    values = file.waveform_array(0).T.astype(np.float32) / np.float32(1000)
    return values, names, group.SamplingFrequency, units


def with_pandas(path: Path) -> object:
    table = pandas.read_csv(path, comment="#")
    return table.to_numpy().T.astype(np.float32), list(table.columns)


def with_numpy(path: Path) -> object:
    with np.load(path) as file:
        return file["signal"], file["leads"].tolist(), float(file["sampling_rate"]), str(file["unit"])


def with_scipy(path: Path) -> object:
    file = scipy.io.loadmat(path)
    names = [name.strip() for name in file["leads"]]
    return file["signal"], names, float(file["fs"][0, 0]), str(file["unit"][0])


def with_h5py(path: Path) -> object:
    with h5py.File(path) as file:
        data = file["ecg"]
        return data[:], list(data.attrs["leads"]), data.attrs["fs"], data.attrs["unit"]


ECG = replace(simulate("normal", seed=0), metadata={"age": 61.0, "sex": "male"})
FORMATS: dict[str, tuple[Callable[[Path], Path], str, Callable[[Path], object]]] = {
    "wfdb-16": (lambda at: write(ECG, at / "r.hea"), "wfdb", with_wfdb),
    "wfdb-212": (write_wfdb_212, "wfdb", with_wfdb),
    "edf": (lambda at: write(ECG, at / "r.edf"), "edfio", with_edfio),
    "dicom": (lambda at: write(ECG, at / "r.dcm"), "pydicom", with_pydicom),
    "csv": (lambda at: write(ECG, at / "r.csv"), "pandas", with_pandas),
    "npz": (lambda at: write(ECG, at / "r.npz"), "numpy", with_numpy),
    "matlab": (write_matlab, "scipy", with_scipy),
    "hdf5": (write_hdf5, "h5py", with_h5py),
}


def seconds(function: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    for _ in range(REPEATS):
        function(path)
    return (time.process_time() - start) / REPEATS


def main() -> None:
    print(f"{'format':10} {'ecglm, ms':>10} {'library':>10} {'ms':>8} {'ratio':>7} {'checks':>7}")
    for name in sys.argv[1:] or FORMATS:
        make, library, peer = FORMATS[name]
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            ecg = read(path)
            peer(path)
            rounds = [
                (seconds(read, path), seconds(peer, path), seconds(lambda _, ecg=ecg: check(ecg), path))
                for _ in range(ROUNDS)
            ]
        ours, theirs, checks = (statistics.median(each) * 1000 for each in zip(*rounds, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs, _ in rounds)
        print(f"{name:10} {ours:10.2f} {library:>10} {theirs:8.2f} {ratio:7.2f} {checks / ours:7.0%}")


if __name__ == "__main__":
    main()
