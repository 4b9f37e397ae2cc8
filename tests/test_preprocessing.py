import numpy as np
import pytest

from ecglm import preprocessing as pp

RATE = 500
T = np.arange(5000) / RATE


def sine(frequency: float, leads: int = 1) -> np.ndarray:
    return np.tile(np.sin(2 * np.pi * frequency * T), (leads, 1)).astype(np.float32)


def amplitude(signal: np.ndarray) -> float:
    return float(np.ptp(signal[..., 1000:-1000]) / 2)


def test_fill_missing_interpolates_each_lead_by_itself():
    signal = np.array([[np.nan, 1, np.nan, 3, np.nan], [5, 5, 5, 5, 5], [np.nan] * 5])
    np.testing.assert_array_equal(pp.fill_missing(signal), [[1, 1, 2, 3, 3], [5] * 5, [0] * 5])
    np.testing.assert_array_equal(pp.fill_missing(signal, "zero")[0], [0, 1, 0, 3, 0])


def test_notch_takes_the_mains_and_leaves_the_neighbours():
    assert amplitude(pp.notch(sine(50), RATE, 50)) < 0.01
    assert amplitude(pp.notch(sine(40), RATE, 50)) > 0.95


@pytest.mark.parametrize(("frequency", "passes"), [(0.1, False), (10, True), (120, False)])
def test_bandpass(frequency, passes):
    assert (amplitude(pp.bandpass(sine(frequency), RATE, 0.67, 40)) > 0.95) == passes


def test_bandpass_may_lack_a_corner():
    assert amplitude(pp.bandpass(sine(120), RATE, None, 40)) < 0.02
    assert amplitude(pp.bandpass(sine(120), RATE, 0.67, None)) > 0.95


@pytest.mark.parametrize(("low", "high"), [(40, 0.67), (0, 40), (0.67, 250), (None, None), (5, 5)])
def test_bandpass_refuses_unordered_corners(low, high):
    with pytest.raises(ValueError, match="0 < low < high < 250 Hz"):
        pp.bandpass(sine(10), RATE, low, high)


def test_baseline_takes_the_drift_and_leaves_a_spike():
    spikes = np.zeros((1, 5000), np.float32)
    spikes[:, ::500] = 1
    drift = 2 * sine(0.1)
    np.testing.assert_allclose(
        pp.remove_baseline(spikes + drift, RATE)[:, 300:-300], spikes[:, 300:-300], atol=0.15
    )


def test_resample_keeps_a_slow_wave_and_an_offset():
    slow = sine(2) + 3
    np.testing.assert_allclose(pp.resample(slow, 500, 100)[:, 5:-5], slow[:, 25:-25:5], atol=0.02)
    assert pp.resample(slow, 500, 500) is slow
    assert pp.resample(slow, 500, 360).shape == (1, 3600)
    above_nyquist = pp.resample(sine(90), 500, 100)[:, 100:-100]
    assert np.ptp(above_nyquist) < 0.05


def test_fit_length():
    signal = np.arange(4.0)[None]
    np.testing.assert_array_equal(pp.fit_length(signal, 2), [[0, 1]])
    for pad, tail in (("zero", [0, 0]), ("edge", [3, 3]), ("repeat", [0, 1])):
        np.testing.assert_array_equal(pp.fit_length(signal, 6, pad)[0, 4:], tail)
    with pytest.raises(ValueError, match="4 samples and 6 are needed"):
        pp.fit_length(signal, 6)


def test_normalize():
    signal = np.random.default_rng(0).normal(3, 2, (2, 100)).astype(np.float32)
    whole = pp.normalize(signal, "minmax")
    assert (whole.min(), whole.max()) == (0, 1)
    np.testing.assert_allclose(pp.normalize(signal, "lead_zscore").std(-1), 1, atol=1e-5)
    np.testing.assert_allclose(pp.normalize(signal, "zscore").mean(), 0, atol=1e-5)
    assert not pp.normalize(np.full((2, 5), 7, np.float32), "minmax").any(), "flat becomes zero, not NaN"
    with pytest.raises(ValueError, match="normalization must be one of 'minmax'.*'z-score'"):
        pp.normalize(signal, "z-score")
