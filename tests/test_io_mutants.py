"""Every reader on damaged files: an ECG or one line comes out, and nothing else."""

import time
import warnings

import numpy as np
import pytest
from mutants import HINTS, SPAN, mutants, seeds

from ecglm import ECG, ECGFileError, read
from ecglm.io import arrays, dicom, matlab, tables

EACH = 150  # per format; benchmarks/fuzz_readers.py reads thousands
FORMATS = (
    "WFDB", "EDF and BDF", "DICOM", "SCP-ECG", "HL7 aECG", "MUSE XML", "Philips XML", "Schiller XML", "CSV",
    "NumPy", "MATLAB", "HDF5",
)  # fmt: skip


@pytest.fixture(scope="module")
def all_seeds(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("name", FORMATS)
def test_the_seeds_themselves_are_read(all_seeds, tmp_path, name):
    if name not in all_seeds:
        pytest.skip("h5py is not installed")
    for seed in all_seeds[name]:
        ecg = read(seed.written(seed.files, tmp_path), **seed.hints)
        assert ecg.num_leads and np.isfinite(ecg.signal).any()


@pytest.mark.parametrize("name", FORMATS)
def test_mutants_raise_nothing_but_the_error_of_files(all_seeds, tmp_path, name):
    if name not in all_seeds:
        pytest.skip("h5py is not installed")
    generator = np.random.default_rng(11)
    read_all_the_same = refused = 0
    for seed in all_seeds[name]:
        size = sum(len(content) for content in seed.files.values())
        every = max(64, size // 10)  # the script ends files at every 64 bytes
        for files in mutants(seed, EACH // len(all_seeds[name]), generator, every):
            path = seed.written(files, tmp_path)
            hints = HINTS[generator.integers(len(HINTS))] | seed.hints
            began = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    assert isinstance(read(path, **hints), ECG)
                read_all_the_same += 1
            except ECGFileError as error:
                assert "\n" not in str(error)
                refused += 1
            assert time.process_time() - began < 1
    assert read_all_the_same and refused


@pytest.mark.parametrize("name", ["DICOM", "CSV", "NumPy", "MATLAB"])
def test_mutants_read_as_long_files_raise_nothing_else_either(all_seeds, tmp_path, monkeypatch, name):
    for module in (arrays, dicom, matlab, tables):
        monkeypatch.setattr(module, "LONG_BYTES", 0)
    generator = np.random.default_rng(12)
    read_all_the_same = refused = 0
    for seed in all_seeds[name]:
        for files in mutants(seed, 60, generator, max(64, sum(map(len, seed.files.values())) // 10)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    assert isinstance(read(seed.written(files, tmp_path), **seed.hints | SPAN), ECG)
                read_all_the_same += 1
            except ECGFileError as error:
                assert "\n" not in str(error)
                refused += 1
    assert read_all_the_same and refused


def test_an_empty_line_between_words_and_numbers_is_neither(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"words\n\n1 2\n 3 4\n")
    with pytest.raises(ECGFileError):
        read(path)


def test_a_numpy_string_of_no_characters_is_refused(tmp_path):
    leads = np.array(["I", "II"])
    leads.view(np.uint32)[:] = 0x7FFFFFFF
    np.savez(tmp_path / "a.npz", signal=np.zeros((2, 500)), leads=leads, sampling_rate=250, unit="mV")
    with pytest.raises(ECGFileError, match="no character"):
        read(tmp_path / "a.npz")
