"""How fast EDF, BDF and DICOM are read beside `edfio` and `pydicom`, in one run on the same files.

    python benchmarks/read_edf_dicom.py

The files are made here from simulated ECGs: EDF+ and DICOM by ecglm, and a Holter of one hour in EDF and in
BDF by edfio. Each file is read once before; CPU time counts, the readers take turns, and the median of the
rounds counts. The peers' values are asked for in millivolts, as float32, with the names and units of their
rows, and compared.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import edfio
import numpy as np
import pydicom

from ecglm import read, simulate, write

ROUNDS = 15


def main() -> None:
    warnings.simplefilter("ignore")
    ecg = simulate("normal", 1)
    holter = np.tile(simulate("normal", 2, sampling_rate=250).signal[:3], (1, 360)).astype(np.float64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files: list[tuple[str, Path, Callable[[Path], np.ndarray]]] = [
            ("EDF+, 12 leads, 10 s at 500 Hz", write(ecg, folder / "a.edf"), by_edfio),
            ("DICOM, 12 leads, 10 s at 500 Hz", write(ecg, folder / "a.dcm"), by_pydicom),
        ]
        for kind, file, signal in (("EDF", edfio.Edf, edfio.EdfSignal), ("BDF", edfio.Bdf, edfio.BdfSignal)):
            path = folder / f"holter.{kind.lower()}"
            signals = [
                signal(
                    row * 1000, 250, label=f"ECG V{k}", physical_dimension="uV", physical_range=(-9999, 9999)
                )
                for k, row in enumerate(holter, start=1)
            ]
            file(signals).write(path)
            files.append((f"{kind}, 3 leads, 1 h at 250 Hz", path, by_edfio))
        for title, path, peer in files:
            compare(title, path, peer)
        path = folder / "holter.edf"
        compare("EDF, 10 s of 1 h", path, edfio_span, start=1800, stop=1810)


def by_edfio(path: Path) -> np.ndarray:
    file = edfio.read_bdf(path) if path.suffix == ".bdf" else edfio.read_edf(path)
    assert {signal.physical_dimension for signal in file.signals} == {"uV"} and all(file.labels)
    return np.stack([signal.data for signal in file.signals]).astype(np.float32) / np.float32(1000)


def edfio_span(path: Path) -> np.ndarray:
    file = edfio.read_edf(path, lazy_load_data=True)
    parts = [signal.get_data_slice(1800, 1810) for signal in file.signals]
    return np.stack(parts).astype(np.float32) / np.float32(1000)


def by_pydicom(path: Path) -> np.ndarray:
    file = pydicom.dcmread(path)
    for channel in file.WaveformSequence[0].ChannelDefinitionSequence:
        assert channel.ChannelSourceSequence[0].CodeMeaning
        assert channel.ChannelSensitivityUnitsSequence[0].CodeValue == "uV"
    values: np.ndarray = file.waveform_array(0).T.astype(np.float32) / np.float32(1000)
    return values


def compare(title: str, path: Path, peer: Callable[[Path], np.ndarray], **span: float) -> None:
    difference = np.abs(read(path, **span).signal - peer(path)).max()
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for name, reader in (("ours", lambda: read(path, **span)), ("theirs", lambda: peer(path))):
            start = time.process_time()
            reader()
            times[name].append(time.process_time() - start)
    ours, theirs = (statistics.median(times[name]) * 1000 for name in ("ours", "theirs"))
    print(
        f"| {title} | {ours:.2f} ms | {theirs:.2f} ms | {theirs / ours:.2f} | {difference:.1e} mV |",
        flush=True,
    )


if __name__ == "__main__":
    main()
