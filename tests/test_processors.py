import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

import ecglm.models  # noqa: F401  (registers the extractors)
from ecglm.ecg import ECG, LEADS_12
from ecglm.io import read, write
from ecglm.processors import ECGFeatureExtractor

MERL_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture
def ecg() -> ECG:
    """Lead number k is a ramp from k to k + 1, so rows and values can be recognised."""
    ramp = np.linspace(0, 1, 5000)
    return ECG(np.stack([k + ramp for k in range(12)]), 500, LEADS_12, {"record_id": "made"})


def test_merl_preprocessing_by_hand(ecg):
    """aVF stands before aVL, and one minimum and maximum scale the whole record (0 and 12 here)."""
    values = ECGFeatureExtractor(leads=MERL_LEADS, normalization="minmax")(ecg)["input_values"]
    assert values.shape == (1, 12, 5000)
    assert values.dtype == np.float32
    order = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]
    np.testing.assert_allclose(values[0], ecg.signal[order] / 12, rtol=1e-6)


def test_the_order_in_the_file_does_not_matter(ecg, tmp_path):
    extractor = ECGFeatureExtractor(
        leads=MERL_LEADS, normalization="minmax", low=0.67, high=40, sampling_rate=250
    )
    shuffled = ecg.select(np.random.default_rng(1).permutation(LEADS_12))
    write(ecg, tmp_path / "one")
    write(shuffled, tmp_path / "other")
    headers = [(tmp_path / f"{name}.hea").read_text().splitlines()[1:13] for name in ("one", "other")]
    assert [line.split()[-1] for line in headers[1]] == list(shuffled.leads) != list(ecg.leads)
    one, other = (extractor(read(tmp_path / name))["input_values"] for name in ("one", "other"))
    assert np.array_equal(one, other)
    assert np.array_equal(extractor(ecg)["input_values"], extractor(shuffled)["input_values"])


def test_tensors_and_batches(ecg):
    batch = ECGFeatureExtractor(sampling_rate=100)([ecg, ecg], return_tensors="pt")
    assert isinstance(batch["input_values"], torch.Tensor)
    assert batch["input_values"].shape == (2, 12, 1000)


def test_saved_and_loaded_is_bit_equal(ecg, tmp_path):
    extractor = ECGFeatureExtractor(
        leads=MERL_LEADS, sampling_rate=250, duration=9, low=0.67, high=40, normalization="zscore"
    )
    extractor.save_pretrained(tmp_path)
    again = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert np.array_equal(extractor(ecg)["input_values"], again(ecg)["input_values"])


def test_short_recordings_need_leave(ecg):
    short = ecg.crop(0, 4)
    with pytest.raises(ValueError, match="made lasts 4 s and the model reads 10 s.*pad='zero'"):
        ECGFeatureExtractor()(short)
    padded = ECGFeatureExtractor(pad="zero")
    assert not padded(short)["input_values"][..., 2000:].any()
    assert "padded to 10 s" in padded.inspect(short)[0]


def test_missing_leads_need_leave_but_limb_leads_are_derived(ecg):
    eight = ecg.select(["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"])
    np.testing.assert_allclose(
        ECGFeatureExtractor()(eight)["input_values"][0, 2], ecg.signal[1] - ecg.signal[0], atol=1e-6
    )
    with pytest.raises(ValueError, match="made has no lead 'V6'; it has"):
        ECGFeatureExtractor()(ecg.select(LEADS_12[:-1]))
    lenient = ECGFeatureExtractor(missing_leads="zero")
    assert not lenient(ecg.select(LEADS_12[:-1]))["input_values"][0, -1].any()
    assert lenient.inspect(ecg.select(LEADS_12[:-1])) == ["lead V6 is missing; it was set to zero"]


def test_unusable_leads_are_flagged_and_all_of_them_refused(ecg):
    signal = ecg.signal.copy()
    signal[0, 100:600] = np.nan
    signal[1] = np.nan
    signal[2] = 0.5
    spoilt = ECG(signal, 500, LEADS_12)
    values = ECGFeatureExtractor()(spoilt)["input_values"]
    assert np.isfinite(values).all()
    assert ECGFeatureExtractor().inspect(spoilt) == [
        "lead I: 10.0% of the samples are missing; they were interpolated",
        "lead II has no known sample; it was set to zero",
        "lead III is flat",
    ]
    with pytest.raises(ValueError, match="carries a signal"):
        ECGFeatureExtractor()(ECG(np.zeros((12, 5000)), 500, LEADS_12))


@pytest.mark.parametrize("bad", [{"missing_leads": "guess"}, {"sampling_rate": 0}, {"duration": -1}])
def test_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ECGFeatureExtractor(**bad)
