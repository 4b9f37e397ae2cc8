"""Measurements against the simulator's exact truth, and what must come out of recordings without an ECG."""

import json

import numpy as np
import pytest

import ecglm
from ecglm.ecg import ECG
from ecglm.measure import Measurements

CLEAN = ("normal", "lbbb", "rbbb", "first_degree_av_block", "stemi_inferior", "long_qt", "lvh_strain", "lafb")


def errors(conditions, seeds, **options) -> dict[str, np.ndarray]:
    out = {key: [] for key in ("heart_rate", "pr", "qrs", "qt", "axis")}
    for condition in conditions:
        for seed in seeds:
            ecg = ecglm.simulate(condition, seed=seed, **options)
            measured, truth = ecglm.measure(ecg), ecg.metadata["truth"]
            for key in out:
                value = getattr(measured, key)
                out[key].append(np.nan if value is None else value - truth[key])
    out["axis"] = (np.array(out["axis"]) + 180) % 360 - 180
    return {key: np.abs(np.array(values)) for key, values in out.items()}


@pytest.mark.parametrize("noise", [False, True])
def test_intervals_meet_the_truth_of_simulated_ecgs(noise):
    found = errors(CLEAN, range(3), noise=noise)
    for key, most in {"heart_rate": 1, "pr": 8, "qrs": 8, "qt": 12, "axis": 8}.items():
        assert np.isfinite(found[key]).mean() > 0.95, f"{key} is missing"
        assert np.nanmedian(found[key]) <= most, f"{key}: {np.nanmedian(found[key]):.1f}"


def test_r_peaks_are_samples_of_the_given_recording():
    for rate in (250, 500, 1000):
        ecg = ecglm.simulate("normal", seed=4, sampling_rate=rate, noise=False)
        truth = np.array(ecg.metadata["truth"]["r_peaks"])
        found = np.array(ecglm.measure(ecg).r_peaks)
        assert all(np.abs(found - r).min() <= 0.02 * rate for r in truth)


@pytest.mark.parametrize("condition", ["afib", "flutter", "svt"])
def test_no_p_wave_is_invented(condition):
    shares = [ecglm.measure(ecglm.simulate(condition, seed=s)).rhythm.p_presence for s in range(6)]
    assert np.mean(shares) <= 0.1
    measured = ecglm.measure(ecglm.simulate(condition, seed=1))
    assert measured.pr is None and "pr" in measured.reasons


BAD = {
    "unknown": np.full((12, 5000), np.nan),
    "flat": np.zeros((12, 5000)),
    "constant": np.full((12, 5000), 3.0),
    "one sample": np.zeros((12, 1)),
    "empty": np.zeros((12, 0)),
    "asystole": 0.004 * np.random.default_rng(0).standard_normal((12, 5000)),
    "infinite": np.full((12, 5000), np.inf),
}


@pytest.mark.parametrize("name", BAD)
def test_without_an_ecg_nothing_is_measured_and_the_reason_is_given(name):
    measured = ecglm.measure(ECG(BAD[name], 500))
    assert isinstance(measured, Measurements)
    assert measured.r_peaks == () and measured.waves == [] and measured.reasons
    numbers = (measured.heart_rate, measured.pr, measured.qrs, measured.qt, measured.qtc, measured.axis)
    assert numbers == (None,) * 6
    json.dumps(measured.to_dict(median_beats=True), allow_nan=False)


@pytest.mark.parametrize(
    "rate, duration, leads", [(10_000, 3, 12), (100, 10, 12), (500, 1, 12), (360, 30, 1)]
)
def test_any_rate_length_and_leads(rate, duration, leads):
    ecg = ecglm.simulate("normal", seed=2, sampling_rate=rate, duration=duration)
    measured = ecglm.measure(ecg.select(ecg.leads[1 : 1 + leads] if leads == 1 else ecg.leads))
    json.dumps(measured.to_dict(), allow_nan=False)
    if duration > 1:
        assert abs(measured.heart_rate - ecg.metadata["truth"]["heart_rate"]) < 2


def test_the_dictionary_is_plain_and_its_keys_have_units():
    document = ecglm.measure(ecglm.simulate("normal", seed=5)).to_dict(median_beats=True)
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    assert {"heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_degrees"} <= document.keys()
    assert {"st_j_mv", "r_amplitude_mv", "qrs_ms"} <= document["leads"]["V5"].keys()
    assert {wave["lead"] for wave in document["waves"]} == {None, *ecglm.LEADS_12}


def test_a_lead_without_signal_is_left_out_of_everything():
    ecg = ecglm.simulate("normal", seed=6)
    signal = ecg.signal.copy()
    signal[3] = np.nan
    measured = ecglm.measure(ECG(signal, 500, ecg.leads))
    assert measured.leads["aVR"].r_amplitude is None and measured.leads["aVR"].median_beat is None
    assert not [wave for wave in measured.waves if wave.lead == "aVR"]
    assert abs(measured.qrs - ecg.metadata["truth"]["qrs"]) < 20
