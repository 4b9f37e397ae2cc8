"""One ECG of ±10 mV through every format that is written: within half a step, the same leads, rate, units."""

import edfio
import numpy as np
import pydicom
import pytest
import wfdb

from ecglm import ECG, LEADS_12, read, simulate, write

STEPS = {".hea": 1e-3, ".edf": 5e-4, ".dcm": 5e-4, ".xml": 1e-4, ".csv": 1e-3, ".npz": 0.0}  # mV, at most


def by_the_library(path) -> np.ndarray | None:
    """(leads, samples) mV as the format's own library reads them, where there is one."""
    if path.suffix == ".hea":
        record = wfdb.rdrecord(str(path.with_suffix("")))
        assert record.units == ["mV"] * 12 and tuple(record.sig_name) == LEADS_12 and record.fs == 500
        return record.p_signal.T
    if path.suffix == ".edf":
        file = edfio.read_edf(path)
        assert {(signal.physical_dimension, signal.sampling_frequency) for signal in file.signals} == {
            ("uV", 500)
        }
        return np.stack([signal.data for signal in file.signals]) / 1e3
    if path.suffix == ".dcm":
        return pydicom.dcmread(path).waveform_array(0).T / 1e3
    return None


@pytest.mark.parametrize("suffix", STEPS)
def test_ten_millivolts_come_back(tmp_path, suffix):
    signal = simulate("normal", 9).signal.copy()
    signal *= 10 / np.abs(signal).max()
    signal[6, 100:140] = np.nan
    path = write(ECG(signal, 500, LEADS_12, {"age": 61, "sex": "male"}), tmp_path / f"a{suffix}")
    ecg = read(path)
    assert (ecg.leads, ecg.sampling_rate, ecg.signal.shape) == (LEADS_12, 500, signal.shape)
    assert "units" not in ecg.metadata  # every row is in mV
    np.testing.assert_array_equal(np.isnan(ecg.signal), np.isnan(signal))
    half = STEPS[suffix] / 2 + 1e-6  # and the rounding of float32
    assert np.nanmax(np.abs(ecg.signal - signal)) <= half
    if (theirs := by_the_library(path)) is not None:
        known = np.isfinite(signal)
        assert np.abs(theirs[known] - signal[known]).max() <= half
    assert ecg.metadata["age"] == 61 and ecg.metadata["sex"] == "male"
