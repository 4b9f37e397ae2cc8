"""The simulator against its own truth, measured on the signal, and against the medicine that it claims."""

import json

import numpy as np
import pytest

import ecglm
from ecglm import LEADS_12
from ecglm.findings import contradictions, find_codes
from ecglm.simulate import CONDITIONS, simulate, simulate_corpus
from ecglm.simulate.conditions import conflict


def area_axis(ecg):
    """Axis from the net QRS areas of I and aVF, within the truth's QRS limits of conducted or paced beats."""
    areas = []
    for beat in ecg.metadata["truth"]["beats"]:
        if beat["kind"] == "pvc":
            continue
        on, _, off = beat["qrs"]
        margin = round(0.012 * ecg.sampling_rate)
        part = ecg.signal[:, max(on - margin, 0) : off + margin]
        base = part[:, :2].mean(1, keepdims=True)
        areas.append((part - base).sum(1))
    one, avf = np.median(areas, 0)[[0, 5]]
    return np.rad2deg(np.arctan2(2 * avf / np.sqrt(3), one))


def test_the_package_can_be_called():
    ecg = ecglm.simulate("lbbb", seed=1)
    assert ecg.leads == LEADS_12
    assert ecg.signal.shape == (12, 5000)
    assert ecg.signal.dtype == np.float32
    assert np.array_equal(ecg.signal, simulate("lbbb", 1).signal)
    assert set(ecglm.simulate.CONDITIONS) == set(CONDITIONS)


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition(name):
    ecg = simulate(name, seed=7)
    truth, meta = ecg.metadata["truth"], ecg.metadata
    assert json.loads(json.dumps(meta)) == meta
    assert np.isfinite(ecg.signal).all()
    assert np.abs(ecg.signal).max() < 12
    assert set(CONDITIONS[name].codes) <= set(meta["codes"])
    assert meta["codes"] == truth["codes"]
    assert meta["report"].endswith(".")
    assert meta["source"] == "ecglm simulator"
    assert meta["sex"] in ("male", "female")
    # the lead equations, with noise on
    i, ii, iii, avr, avl, avf = ecg.signal[:6].astype(float)
    for derived, expected in ((iii, ii - i), (avr, -(i + ii) / 2), (avl, i - ii / 2), (avf, ii - i / 2)):
        assert np.abs(derived - expected).max() <= 1e-6
    # order in time
    assert truth["r_peaks"] == [beat["qrs"][1] for beat in truth["beats"]]
    assert len(truth["beats"]) >= 3
    end = -1
    for beat in truth["beats"]:
        assert end < beat["qrs"][0] < beat["qrs"][1] < beat["qrs"][2] < ecg.num_samples
        end = beat["qrs"][2]
        if beat["t"]:
            assert beat["qrs"][2] < beat["t"][0] < beat["t"][1] < beat["t"][2] < ecg.num_samples
        if beat["p"]:
            assert 0 <= beat["p"][0] < beat["p"][1] < beat["p"][2] <= beat["qrs"][0] + 3
    rr = np.diff(truth["r_peaks"]) / ecg.sampling_rate
    assert truth["heart_rate"] == pytest.approx(60 / rr.mean(), abs=0.02)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_patient():
    for condition in ("afib", ["lafb", "rbbb"]):
        one, two, other = (simulate(condition, seed) for seed in (5, 5, 6))
        assert np.array_equal(one.signal, two.signal)
        assert one.metadata == two.metadata
        assert not np.array_equal(one.signal, other.signal)


def test_noise_leaves_the_heart_alone():
    clean, noisy = simulate("pvc", 3, noise=False), simulate("pvc", 3)
    assert clean.metadata["truth"]["beats"] == noisy.metadata["truth"]["beats"]
    mains = simulate("pvc", 3, noise={"mains": 0.05, "mains_frequency": 60})
    added = (mains.signal - clean.signal)[6]
    spectrum = np.abs(np.fft.rfft(added))
    assert np.argmax(spectrum) == 600  # 60 Hz in 10 s
    assert 0.01 < added.std() < 0.2
    wander = (simulate("pvc", 3, noise={"baseline": 0.2}).signal - clean.signal)[1]
    assert np.abs(np.fft.rfft(wander))[:10].sum() > 5 * np.abs(np.fft.rfft(wander))[50:].max()
    assert wander.std() > 0.05


@pytest.mark.parametrize(
    "condition,asked",
    [
        ("normal", {"heart_rate": 85, "pr": 170, "qrs": 84, "qt": 370, "axis": 20}),
        ("normal", {"heart_rate": 62, "axis": -20, "qrs": 105, "age": 30, "sex": "male"}),
        ("normal", {"heart_rate": 97.5, "axis": 85, "duration": 20}),
        ("lbbb", {"heart_rate": 70, "axis": -40, "qrs": 165, "qt": 450}),
        ("rbbb", {"heart_rate": 66, "axis": 75, "qrs": 150}),
        ("afib", {"heart_rate": 120, "axis": 50, "duration": 30}),
        ("flutter", {"heart_rate": 150}),
        ("first_degree_av_block", {"pr": 290, "heart_rate": 60}),
        ("old_mi_inferior", {"axis": 0}),
        ("pacing_ventricular", {"heart_rate": 60, "axis": -75, "qrs": 170}),
        ("pvc", {"heart_rate": 80}),
        ("pac", {"heart_rate": 80}),
        ("wpw", {"pr": 95, "axis": 40, "qrs": 130}),
    ],
)
def test_numbers_are_honoured(condition, asked):
    for seed in range(3):
        ecg = simulate(condition, seed, noise=False, **asked)
        truth = ecg.metadata["truth"]
        for name, tolerance in (("heart_rate", 1.0), ("pr", 1.0), ("qrs", 2.5), ("qt", 1.0), ("axis", 1.0)):
            if name in asked:
                assert truth[name] == pytest.approx(asked[name], abs=tolerance), name
        to_ms = 1000 / ecg.sampling_rate
        rr = np.diff(truth["r_peaks"]) * to_ms
        if "heart_rate" in asked:
            assert 60_000 / rr.mean() == pytest.approx(asked["heart_rate"], abs=1)
        if "pr" in asked:
            pr = [(b["qrs"][0] - b["p"][0]) * to_ms for b in truth["beats"] if b["p"]]
            assert np.median(pr) == pytest.approx(asked["pr"], abs=4)
        if "qrs" in asked:
            widths = [(b["qrs"][2] - b["qrs"][0]) * to_ms for b in truth["beats"]]
            assert np.median(widths) == pytest.approx(asked["qrs"], abs=5)
        if "axis" in asked and condition in ("normal", "lbbb", "rbbb", "old_mi_inferior"):
            assert area_axis(ecg) == pytest.approx(asked["axis"], abs=5)
        assert ecg.metadata["age"] == asked.get("age", ecg.metadata["age"])


def test_peaks_lie_on_the_signal():
    ecg = simulate("normal", 4, noise=False)
    energy = (ecg.signal[[0, 1, *range(6, 12)]].astype(float) ** 2).sum(0)
    for beat in ecg.metadata["truth"]["beats"]:
        on, peak, off = beat["qrs"]
        assert abs(on + int(energy[on:off].argmax()) - peak) <= 2
        quiet = ecg.signal[:, on - 8 : on - 3]  # the PR segment carries no QRS
        assert np.ptp(quiet, axis=1).max() < 0.1 * np.ptp(ecg.signal[:, on:off], axis=1).max()


def test_what_each_condition_means():
    def truths(name, n=6, **kw):
        return [simulate(name, seed, noise=False, **kw) for seed in range(n)]

    for ecg in truths("lbbb"):
        t = ecg.metadata["truth"]
        assert t["qrs"] >= 120
        on, _, off = t["beats"][1]["qrs"]
        v1, v6 = ecg.lead("V1")[on:off], ecg.lead("V6")[on:off]
        assert v1.sum() < 0 < v6.sum()  # QS or rS in V1, a broad R in V6
    for ecg in truths("rbbb"):
        t = ecg.metadata["truth"]
        on, _, off = t["beats"][1]["qrs"]
        late = slice(on + (off - on) // 2, off)
        assert t["qrs"] >= 120
        assert ecg.lead("V1")[late].max() > 0.15  # R' in V1
        assert ecg.lead("I")[late].min() < 0 or ecg.lead("V6")[late].min() < 0  # and a late S laterally
    for ecg in truths("long_qt"):
        assert ecg.metadata["truth"]["qtc"] > 470
    for ecg in truths("normal"):
        t = ecg.metadata["truth"]
        assert t["qrs"] < 110 and 350 < t["qtc"] < 480 and 120 <= t["pr"] <= 200 and -30 <= t["axis"] <= 90
    for ecg in truths("first_degree_av_block"):
        assert ecg.metadata["truth"]["pr"] > 150
    for ecg in truths("afib"):
        t = ecg.metadata["truth"]
        rr = np.diff(t["r_peaks"])
        assert t["p_waves"] == [] and t["pr"] is None and rr.std() / rr.mean() > 0.06
    for ecg in truths("complete_av_block"):
        t = ecg.metadata["truth"]
        assert len(t["p_waves"]) > len(t["beats"]) and all(b["p"] is None for b in t["beats"])
    for ecg in truths("mobitz1", duration=15):
        t = ecg.metadata["truth"]
        pr = np.array([b["qrs"][0] - b["p"][0] for b in t["beats"] if b["p"]])
        assert len(t["p_waves"]) > len(t["beats"]) and np.ptp(pr) > 20
    for ecg in truths("low_voltage"):
        assert max(np.ptp(ecg.lead(n)) for n in LEADS_12[:6]) < 0.6
    for ecg in truths("lvh"):
        assert -ecg.lead("V1").min() + max(ecg.lead("V5").max(), ecg.lead("V6").max()) > 3.2
    for ecg in truths("lafb"):
        t = ecg.metadata["truth"]
        assert -90 <= t["axis"] <= -45 and t["qrs"] < 120
    for ecg in truths("pacing_ventricular"):
        t = ecg.metadata["truth"]
        assert t["spikes"] and t["qrs"] >= 120 and "SR" not in t["codes"]
    for ecg in truths("wpw"):
        t = ecg.metadata["truth"]
        assert t["pr"] < 120 < t["qrs"] + 15
    for ecg in truths("pvc"):
        t = ecg.metadata["truth"]
        kinds = [b["kind"] for b in t["beats"]]
        assert "pvc" in kinds
        i = kinds.index("pvc")
        early, own = t["beats"][i]["qrs"], t["beats"][i - 1]["qrs"]
        assert early[2] - early[0] > 1.15 * (own[2] - own[0]) and t["beats"][i]["p"] is None
        around = t["r_peaks"][i + 1] - t["r_peaks"][i - 1]
        assert around == pytest.approx(2 * np.median(np.diff(t["r_peaks"])), rel=0.2)  # compensatory pause
    for ecg in truths("bigeminy"):
        kinds = [b["kind"] == "pvc" for b in ecg.metadata["truth"]["beats"]]
        assert all(a != b for a, b in zip(kinds, kinds[1:], strict=False))


@pytest.mark.parametrize(
    "name,up,down",
    [
        ("stemi_anterior", ["V2", "V3", "V4"], []),
        ("stemi_inferior", ["II", "III", "aVF"], ["aVL"]),
        ("stemi_lateral", ["aVL", "V5", "V6"], ["III"]),
    ],
)
def test_injury_lies_where_the_report_says(name, up, down):
    shifts = {lead: [] for lead in LEADS_12}
    for seed in range(8):
        ecg = simulate(name, seed, noise=False)
        on, _, off = ecg.metadata["truth"]["beats"][1]["qrs"]
        for lead in LEADS_12:
            x = ecg.lead(lead)
            shifts[lead].append(x[off + 20] - x[on - 5])
    for lead in up:
        assert np.median(shifts[lead]) > 0.1, lead
    for lead in down:
        assert np.median(shifts[lead]) < -0.05, lead


@pytest.mark.parametrize("rate,duration", [(100, 10.0), (250, 5.0), (360, 12.5), (1000, 3.0), (500, 60.0)])
def test_other_rates_and_durations(rate, duration):
    ecg = simulate(["afib", "rbbb"] if rate == 360 else "normal", 2, sampling_rate=rate, duration=duration)
    assert ecg.signal.shape == (12, round(rate * duration))
    assert ecg.sampling_rate == rate
    assert len(ecg.metadata["truth"]["beats"]) >= 2


def test_the_sampling_rate_does_not_change_the_heart():
    slow, fast = (simulate("normal", 9, sampling_rate=rate, noise=False) for rate in (250, 500))
    assert np.abs(slow.signal - fast.signal[:, ::2]).max() < 1e-3


@pytest.mark.parametrize(
    "condition,options,said",
    [
        (["afib", "first_degree_av_block"], {}, "no PR|PR"),
        (["lbbb", "rbbb"], {}, "one question"),
        (["normal", "lbbb"], {}, "normal"),
        (["lbbb", "old_mi_anterior"], {}, "hides"),
        (["low_voltage", "lvh"], {}, "voltage"),
        ("lbbbb", {}, "choose among"),
        ("normal", {"heart_rate": 130}, "sinus_tachycardia"),
        ("first_degree_av_block", {"pr": 160}, "pr must lie"),
        ("afib", {"pr": 160}, "no PR interval"),
        ("normal", {"qrs": 150}, "qrs must lie"),
        ("lafb", {"axis": 60}, "lafb"),
        ("normal", {"noise": {"hum": 1.0}}, "mains_frequency"),
        ("normal", {"duration": 0.1}, "duration"),
        ("normal", {"sex": "f"}, "male"),
    ],
)
def test_impossible_wishes_are_refused_in_one_line(condition, options, said):
    with pytest.raises(ValueError, match=said) as error:
        simulate(condition, 0, **options)
    assert "\n" not in str(error.value)


def test_combinations():
    ecg = simulate(["rbbb", "lafb", "first_degree_av_block", "pvc"], 3)
    assert {"CRBBB", "LAFB", "1AVB", "PVC", "SR"} <= set(ecg.metadata["codes"])
    assert "NORM" not in ecg.metadata["codes"]
    assert set(simulate("sinus_bradycardia", 1).metadata["codes"]) == {"NORM", "SBRAD"}
    assert set(simulate(["afib", "lvh_strain"], 1).metadata["codes"]) == {"AFIB", "LVH", "VCLVH", "ISC_"}


def test_the_corpus_is_complete_consistent_and_repeatable():
    records = list(simulate_corpus(240, seed=3, duration=4.0, sampling_rate=250))
    again = list(simulate_corpus(5, seed=3, duration=4.0, sampling_rate=250))
    for one, two in zip(records, again, strict=False):
        assert np.array_equal(one.signal, two.signal) and one.metadata == two.metadata
    seen = {name for ecg in records for name in ecg.metadata["truth"]["conditions"]}
    assert len(seen) >= 0.9 * len(CONDITIONS)
    assert 0.2 < np.mean(["NORM" in ecg.metadata["codes"] for ecg in records]) < 0.5
    assert len({ecg.metadata["report"] for ecg in records}) > 150
    assert len({ecg.metadata["record_id"] for ecg in records}) == 240
    rhythms = {"SR", "SBRAD", "STACH", "SARRH", "AFIB", "AFLT", "SVTAC", "PACE"}
    for ecg in records:
        codes, conditions = set(ecg.metadata["codes"]), ecg.metadata["truth"]["conditions"]
        assert codes & rhythms
        assert not any(conflict(a, b) for i, a in enumerate(conditions) for b in conditions[i + 1 :])
        assert not ("NORM" in codes and codes & {"IMI", "LVH", "CLBBB", "AFIB", "NDT"})


def test_reports_say_what_the_codes_say():
    for ecg in simulate_corpus(150, seed=8, duration=2.0, sampling_rate=100, noise=False):
        codes, report = set(ecg.metadata["codes"]), ecg.metadata["report"]
        assert find_codes(report) == codes, report
        assert contradictions(codes) == []


def test_codes_are_those_of_ptbxl(ptbxl_root):
    known = {
        line.split(",")[0].strip('"') for line in (ptbxl_root / "scp_statements.csv").read_text().splitlines()
    }
    assert {code for c in CONDITIONS.values() for code in c.codes} <= known


_WORDS = {
    "afib": "fibrillation",
    "flutter": "flutter",
    "lbbb": "left bundle|lbbb",
    "rbbb": "right bundle|rbbb",
    "lafb": "left anterior|lafb",
    "lvh": "left ventricular hypertrophy",
    "pvc": "ventricular",
    "first_degree_av_block": "first degree|first-degree|av block i",
    "old_mi_inferior": "inferior",
    "stemi_anterior": "anterior",
    "long_qt": "qt",
    "low_voltage": "low",
    "pacing_ventricular": "pac",
    "wpw": "wpw|wolff",
    "normal": "normal",
}


@pytest.mark.parametrize("name", _WORDS)
def test_reports_name_their_findings(name):
    reports = [simulate(name, seed, duration=4.0).metadata["report"] for seed in range(8)]
    for report in reports:
        assert any(word in report.lower() for word in _WORDS[name].split("|")), report
    assert len(set(reports)) > 3
