import numpy as np
import pytest

from ecglm.ecg import (
    ECG,
    LEADS_12,
    derive_limb_leads,
    limb_lead_errors,
    names_that_fit,
    standard_lead,
)


def recording(leads=LEADS_12, samples=1000, rate=500.0, **metadata) -> ECG:
    signal = np.random.default_rng(0).normal(size=(len(leads), samples))
    return ECG(signal, rate, leads, metadata)


@pytest.mark.parametrize(
    ("given", "standard"),
    [
        ("AVR", "aVR"),
        ("avf", "aVF"),
        ("MDC_ECG_LEAD_V3", "V3"),
        ("Lead II", "II"),
        ("DI", "I"),
        ("C4", "V4"),
        (" v1\x00", "V1"),
        ("EKG aVF", "aVF"),
        ("ECG_Lead-II", "II"),
        ("V 1", "V1"),
        ("ECG1", "ECG1"),
        ("RESP", "RESP"),
    ],
)
def test_lead_names_are_standardised(given, standard):
    assert standard_lead(given) == standard


def test_select_orders_by_name():
    ecg = recording()
    part = ecg.select(["V1", "aVF", "I"])
    assert part.leads == ("V1", "aVF", "I")
    np.testing.assert_array_equal(part.signal[1], ecg.lead("AVF"))


def test_a_missing_lead_is_named_with_those_there():
    with pytest.raises(ValueError, match=r"39000 has no lead 'aVF'; it has I, II, V1"):
        recording(("I", "II", "V1"), record_id="39000").select(["aVF"])


def test_crop_is_in_seconds_and_stays_inside():
    ecg = recording()
    assert ecg.crop(0.5, 1.5).num_samples == 500
    with pytest.raises(ValueError, match="which lasts 2 s"):
        ecg.crop(1, 3)


@pytest.mark.parametrize(
    ("signal", "rate", "leads", "complaint"),
    [
        (np.zeros(10), 500, ("I",), "shape"),
        (np.zeros((2, 10)), 500, ("I",), "2 rows but 1"),
        (np.zeros((2, 10)), 500, ("AVR", "aVR"), "twice"),
        (np.zeros((1, 10)), 0, ("I",), "sampling_rate"),
    ],
)
def test_contradictions_are_refused(signal, rate, leads, complaint):
    with pytest.raises(ValueError, match=complaint):
        ECG(signal, rate, leads)


def test_limb_leads_follow_from_two():
    two = recording(("V1", "II", "I"))
    full = derive_limb_leads(two)
    assert full.leads == ("I", "II", "III", "aVR", "aVL", "aVF", "V1")
    np.testing.assert_allclose(full.lead("I") + full.lead("III"), full.lead("II"), atol=1e-6)
    np.testing.assert_allclose(full.lead("aVR") + full.lead("aVL") + full.lead("aVF"), 0, atol=1e-6)
    assert full.metadata["assumed"] == ["III, aVR, aVL, aVF derived from I and II"]
    assert derive_limb_leads(recording(("I", "V1"))).leads == ("I", "V1")


def true_limb_leads(factors=(1, 1, 1, 1, 1, 1)) -> ECG:
    ecg = derive_limb_leads(recording(("I", "II")))
    return ECG(ecg.signal * np.array(factors)[:, None], 500, ecg.leads)


def test_limb_lead_equations_hold_of_true_leads_and_name_what_breaks_them():
    assert limb_lead_errors(true_limb_leads()) == {"III": 0, "aVR": 0, "aVL": 0, "aVF": 0}
    assert limb_lead_errors(recording(("I", "II", "V1"))) == {}
    broken = limb_lead_errors(true_limb_leads((1, 1, 1, 1, 2, 1)))
    assert broken.pop("aVL") > 0.3
    assert set(broken.values()) == {0}


def test_unknown_samples_are_left_out_of_the_equations():
    ecg = true_limb_leads()
    ecg.signal[0, 100:400] = np.nan
    ecg.signal[3] = np.inf
    assert limb_lead_errors(ecg) == {"III": 0, "aVL": 0, "aVF": 0}


@pytest.mark.parametrize("pair", [("aVR", "aVL"), ("aVL", "aVF"), ("I", "II"), ("III", "aVF")])
def test_misnamed_limb_leads_are_found(pair):
    ecg = true_limb_leads()
    assert names_that_fit(ecg) == {}
    there = {pair[0]: pair[1], pair[1]: pair[0]}
    misnamed = ECG(ecg.signal, 500, tuple(there.get(name, name) for name in ecg.leads))
    assert names_that_fit(misnamed) == there
    assert max(limb_lead_errors(misnamed).values()) > 0.3


def test_no_names_fit_leads_that_were_scaled_one_by_one():
    assert names_that_fit(true_limb_leads((1, 2, 3, 1, 2, 3))) is None
    assert names_that_fit(recording(("I", "II", "III"))) is None
