"""Measurements against the simulator's exact truth, and what must come out of recordings without an ECG."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import ecglm
from ecglm.ecg import ECG, LEADS_12
from ecglm.measure import Measurements
from ecglm.measure.alignment import aligned
from ecglm.measure.beats import find_beats
from ecglm.measure.delineation import delineate
from ecglm.measure.intervals import axis, components, name_components
from ecglm.measure.quality import NO_QRS
from ecglm.measure.working import prepare


@pytest.fixture(scope="session")
def measure_fixtures() -> Path:
    """Exactly known beats, and numbers of another extractor."""
    folder = Path(os.environ.get("ECGLM_FIXTURES", ""))
    if not (folder / "qrs_delineation").exists():
        pytest.skip("set ECGLM_FIXTURES to the folder that holds 'qrs_delineation' to run this test")
    return folder


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


@pytest.mark.parametrize("condition", ["normal", "lbbb", "low_voltage", "rbbb"])
def test_intervals_between_beats_are_those_of_the_whole_qrs(condition):
    """From R to R they are 1 to 4 ms off; the truth is known at 5,000 Hz."""
    wrong, steps = [], []
    for seed in range(1, 9):
        fine = ecglm.simulate(condition, seed, sampling_rate=5000, noise=False)
        true = np.diff(fine.metadata["truth"]["r_peaks"]) / 5
        measured = ecglm.measure(ecglm.simulate(condition, seed))
        if len(measured.rr_series) == len(true) and not any(measured.beat_shapes):
            wrong.append(np.sqrt(np.mean((np.array(measured.rr_series) - true) ** 2)))
            steps.append(abs(measured.rhythm.rmssd - np.sqrt(np.mean(np.diff(true) ** 2))))
    assert len(wrong) >= 3
    assert np.median(wrong) < 0.4 and np.median(steps) < 0.4


def test_beats_at_the_ends_and_strays_keep_their_r():
    ecg = ecglm.simulate("pvc", seed=2)
    working = prepare(ecg)
    waves = delineate(working, find_beats(working))
    shape = waves.shape.copy()
    shape[3] = shape.max() + 1
    at = aligned(working, waves.r_peaks, shape)
    assert at[3] == waves.r_peaks[3] and np.abs(at - waves.r_peaks).max() <= 40
    short = prepare(ecg.crop(waves.r_peaks[0] / 500 - 0.02, 8))
    found = waves.r_peaks[:5] - (waves.r_peaks[0] - 10)
    assert aligned(short, found, np.zeros(5, int))[0] == 10


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
    "noise": 0.3 * np.random.default_rng(1).standard_normal((12, 5000)).cumsum(1) / 30,
    "noise in one lead": 0.05 * np.random.default_rng(1).standard_normal((1, 5000)).cumsum(1),
    "infinite": np.full((12, 5000), np.inf),
}


@pytest.mark.parametrize("name", BAD)
def test_without_an_ecg_nothing_is_measured_and_the_reason_is_given(name):
    measured = ecglm.measure(ECG(BAD[name], 500, ("II",) if len(BAD[name]) == 1 else ecglm.LEADS_12))
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


def test_a_row_that_is_no_voltage_is_not_measured():
    ecg = ecglm.simulate("normal", seed=6)
    pressure = 90 + 30 * np.sin(2 * np.pi * 7 * np.arange(5000) / 500)[None]
    signal = np.concatenate([ecg.signal, pressure])
    with_it = ecglm.measure(ECG(signal, 500, (*ecg.leads, "ABP"), {"units": {"ABP": "mmHg"}}))
    assert with_it.r_peaks == ecglm.measure(ecg).r_peaks
    assert with_it.leads["ABP"].morphology is None
    assert not [wave for wave in with_it.waves if wave.lead == "ABP"]


def test_a_damaged_sample_is_bridged():
    ecg = ecglm.simulate("normal", seed=6)
    signal = ecg.signal.copy()
    signal[3, 2500] = 1e20
    whole, damaged = ecglm.measure(ecg), ecglm.measure(ECG(signal, 500, ecg.leads))
    assert damaged.heart_rate == whole.heart_rate
    assert abs(damaged.leads["aVR"].s_amplitude or damaged.leads["aVR"].q_amplitude) < 10


def test_a_complex_cut_by_the_end_is_not_measured():
    ecg = ecglm.simulate("normal", seed=3)
    peak = ecglm.measure(ecg).r_peaks[3]
    for part in (slice(peak - 400, peak + 6), slice(peak - 6, peak + 400)):
        measured = ecglm.measure(ECG(ecg.signal[:, part], 500, ecg.leads))
        assert len(measured.r_peaks) == 1
        assert (measured.qrs, measured.pr, measured.qt, measured.axis) == (None,) * 4
        assert "whole" in measured.reasons["qrs"]


def test_leads_known_for_less_than_half_of_the_time_are_the_reason():
    ecg = ecglm.simulate("normal", seed=3)
    signal = ecg.signal.copy()
    signal[:, 2000:] = np.nan
    measured = ecglm.measure(ECG(signal, 500, ecg.leads))
    assert measured.reasons == {"heart_rate": "no lead carries a signal for more than half of the time"}


def test_of_beats_in_turns_the_narrow_ones_are_measured():
    """Bigeminy: an extrasystole follows every beat of the sinus, and may be the more frequent shape."""
    wrong = []
    for seed in range(12):
        ecg = ecglm.simulate("bigeminy", seed=seed)
        beats = [beat["qrs"] for beat in ecg.metadata["truth"]["beats"]]
        lengths = [1000 * (offset - onset) / ecg.sampling_rate for onset, _, offset in beats]
        narrow, wide, measured = min(lengths), max(lengths), ecglm.measure(ecg).qrs
        assert abs(measured - narrow) < abs(measured - wide) / 2, seed
        wrong.append(abs(measured - ecg.metadata["truth"]["qrs"]))
    assert np.median(wrong) <= 8


def test_boundaries_meet_exactly_known_ones(measure_fixtures):
    """Made-up beats whose boundaries are exact by construction."""
    stored = np.load(measure_fixtures / "qrs_delineation" / "io.npz")
    columns = list(stored["columns"])
    leads = tuple(str(name) for name in stored["lead_names"])
    errors = {name: [] for name in ("p_on", "qrs_on", "qrs_off", "t_off")}
    for k in range(5):
        ecg = ECG(stored[f"rec{k}/signal"].T, 500, leads)
        waves = [wave for wave in ecglm.measure(ecg).waves if wave.lead is None]
        for row in stored[f"rec{k}/truth"][1:-1]:
            for name, values in errors.items():
                kind, mark = name.split("_")
                edges = [wave[2 if mark == "on" else 4] for wave in waves if wave.kind == kind.upper()]
                values.append(min((edge - row[columns.index(name)] for edge in edges), key=abs) * 2)
    for name, most in {"p_on": 12, "qrs_on": 10, "qrs_off": 10, "t_off": 16}.items():
        assert np.median(np.abs(errors[name])) <= most, f"{name}: {np.median(errors[name]):+.0f} ms"


def test_the_axis_is_that_of_the_fixture(featuredb_fixtures):
    """FeatureDB's table of axes from net amplitudes in I and III (whole degrees)."""
    stated = json.loads((featuredb_fixtures / "avg_beat.json").read_text())["axis"]
    known = [row for row in stated if row["axis"][0] is not None]  # the table has none for 0 and 180 degrees
    assert len(known) >= 7
    for row in known:
        assert abs(axis({"I": row["i"], "III": row["iii"]}) - row["axis"][0]) <= 0.5
    assert axis({"I": 0.0, "III": 0.0}) is None and axis({"V1": 1.0}) is None


def test_median_beats_are_those_of_the_fixture(featuredb_fixtures):
    """FeatureDB's average beats (detector and filter of each lead's own) have the shape of our medians."""
    stored = np.load(featuredb_fixtures / "avg_beat_io.npz")
    alike = {}
    for record in {name.split(".")[0] for name in stored.files}:
        alike[record] = []
        signal = stored[f"{record}.signal"]
        measured = ecglm.measure(ECG(signal.T, 500))
        for row, lead in enumerate(LEADS_12):
            ours, theirs = measured.leads[lead].median_beat, stored[f"{record}.avg_{row}"]
            qrs = ours[140:300] - ours[140:300].mean()
            windows = np.lib.stride_tricks.sliding_window_view(theirs, len(qrs))
            windows = windows - windows.mean(1, keepdims=True)
            norms = np.linalg.norm(windows, axis=1) * np.linalg.norm(qrs)
            alike[record].append((windows @ qrs / norms).max())
    assert np.median(list(alike.values())) > 0.97
    assert min(alike["s0010_re_first10s_decimated2"]) > 0.95
    assert min(alike["E07500"]) > 0.7


def test_deflections_get_their_names():
    def letters(*peaks: float) -> str | None:
        return name_components(components(np.repeat([peaks], 5, axis=1))[0])[1]

    assert letters(-0.1, 1.0, -0.2) == "qRs"
    assert letters(0.2, -0.9, 0.8) == "rSR'"
    assert letters(-1.0) == "QS" and letters(0.005) is None
    assert letters(0.3, -1.2) == "rS"


def test_bad_records_of_ventricular_fibrillation_have_no_beats():
    rng = np.random.default_rng(3)
    t = np.arange(5000) / 500
    phase = 2 * np.pi * np.cumsum(5 + 0.8 * rng.standard_normal(5000).cumsum() / 70) / 500
    size = 1 + 0.4 * np.sin(2 * np.pi * 0.3 * t)
    signal = np.outer(rng.uniform(-0.5, 0.5, 12), size * np.sin(phase)) + 0.005 * rng.standard_normal(
        (12, 5000)
    )
    measured = ecglm.measure(ECG(signal, 500))
    assert measured.r_peaks == () and "heart_rate" in measured.reasons


def test_fibrillation_of_any_phase_has_no_rate_and_its_r_peaks_would_be_in_order():
    t = np.arange(5000) / 500
    for seed in range(40):
        rng = np.random.default_rng(seed)
        phase = 2 * np.pi * np.cumsum(4.5 + 0.8 * rng.standard_normal(5000).cumsum() / 60) / 500
        waves = [
            size * np.sin(phase + shift)
            for size, shift in zip(rng.uniform(0.2, 0.6, 12), rng.uniform(0, 6, 12), strict=True)
        ]
        signal = np.array(waves) + 0.01 * rng.standard_normal((12, len(t)))
        measured = ecglm.measure(ECG(signal, 500))
        assert (
            measured.r_peaks == () and measured.heart_rate is None and "QRS" in measured.reasons["heart_rate"]
        )
        working = prepare(ECG(signal, 500))
        found = find_beats(working)
        assert not len(found) or (np.diff(delineate(working, found).r_peaks) > 0).all()


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_pacing_spikes_are_found_and_are_no_beats(seed):
    ecg = ecglm.simulate("pacing_ventricular", seed=seed, heart_rate=90)
    truth, measured = ecg.metadata["truth"], ecglm.measure(ecg)
    assert list(measured.pacing_spikes) == truth["spikes"]
    assert len(measured.r_peaks) == len(truth["r_peaks"])
    assert measured.pr is None


@pytest.mark.parametrize("seed", [0, 35, 36])
def test_spikes_and_beats_in_turns_are_an_ecg(seed):
    ecg = ecglm.simulate("pacing_ventricular", seed=seed)
    measured = ecglm.measure(ecg)
    assert measured.quality.record != "unacceptable" and NO_QRS not in measured.quality.reasons
    assert measured.heart_rate == pytest.approx(ecg.metadata["truth"]["heart_rate"], abs=1)


def test_clean_beats_of_many_shapes_have_a_rate():
    """As in PTB-XL's 11626: every beat another premature one."""
    signal = ecglm.simulate("normal", seed=3, noise=False).signal.copy()
    peaks = ecglm.simulate("normal", seed=3, noise=False).metadata["truth"]["r_peaks"]
    for number, peak in enumerate(peaks):
        turned = np.roll(np.arange(12), number)
        signal[:, peak - 100 : peak + 150] = signal[turned, peak - 100 : peak + 150]
    measured = ecglm.measure(ECG(signal[6:], 500, LEADS_12[6:]))
    assert measured.quality.record == "acceptable" and len(set(measured.beat_shapes)) >= len(peaks) - 2
    assert measured.heart_rate == pytest.approx(np.mean(60 * 500 / np.diff(peaks)), abs=2)


def test_tall_spikes_that_come_back_slowly_are_found_and_are_no_beats():
    ecg = ecglm.simulate("normal", seed=8)
    whole = ecglm.measure(ecg)
    signal, spikes = ecg.signal.copy(), [wave.onset - 20 for wave in whole.waves if wave[:2] == (None, "QRS")]
    for spike in spikes:
        signal[:, spike : spike + 25] += 3 * np.exp(-np.arange(25) / 4)
    measured = ecglm.measure(ECG(signal, 500, ecg.leads))
    assert list(measured.pacing_spikes) == spikes
    assert measured.heart_rate == pytest.approx(whole.heart_rate, abs=0.5)
    assert measured.qrs == pytest.approx(whole.qrs, abs=24)


def test_an_unknown_stretch_leaves_the_rest():
    ecg = ecglm.simulate("normal", seed=8)
    signal = ecg.signal.copy()
    signal[:, 1000:1800] = np.nan
    measured = ecglm.measure(ECG(signal, 500, ecg.leads))
    assert measured.qrs is not None and not [r for r in measured.r_peaks if 1050 < r < 1750]
