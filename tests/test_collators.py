import numpy as np
import pytest
import torch

from ecglm.collators import (
    UNKNOWN,
    Augmentation,
    ChatCollator,
    PairCollator,
    PreparedRecordings,
    StatementCollator,
    encode_chat,
)
from ecglm.datasets import load, read_row
from ecglm.image import draw_page
from ecglm.processors import (
    ECGFeatureExtractor,
    ECGImageProcessor,
    ECGPageProcessor,
    ECGProcessor,
    train_tokenizer,
)

PLAIN_CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def processor() -> ECGProcessor:
    tokenizer = train_tokenizer(["sinus rhythm normal ecg left bundle branch block"], 320)
    tokenizer.chat_template = PLAIN_CHAT
    tokenizer.add_special_tokens({"additional_special_tokens": [ECGProcessor.ecg_token]})
    return ECGProcessor(ECGFeatureExtractor(sampling_rate=100), tokenizer, num_ecg_tokens=3)


def row(texts=(), codes=(), seed=0):
    values = np.random.default_rng(seed).normal(size=(12, 1000)).astype(np.float32)
    return {"input_values": values, "texts": list(texts), "codes": list(codes)}


def test_without_augmentation_nothing_changes(processor):
    batch = PairCollator(processor)([row(["Sinus rhythm"]), row(["Normal ECG."], seed=1)])
    np.testing.assert_array_equal(batch["input_values"][1], row(seed=1)["input_values"])
    assert processor.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "Sinus rhythm."
    assert batch["input_ids"].shape == batch["attention_mask"].shape


@pytest.mark.parametrize(
    "setting",
    [{"crop": 0.5}, {"shift": 0.2}, {"scale": 0.3}, {"wander": 0.2}, {"noise": 0.1}, {"lead_dropout": 0.9}],
)
def test_each_augmentation_changes_the_signal_reproducibly_and_leaves_the_row(processor, setting):
    rows = [row(["a"], seed=seed) for seed in range(4)]
    collate = PairCollator(processor, Augmentation(**setting))
    torch.manual_seed(3)
    first = collate(rows)["input_values"]
    torch.manual_seed(3)
    again = collate(rows)["input_values"]
    assert torch.equal(first, again)
    assert torch.isfinite(first).all()
    changed = [not np.array_equal(a, b["input_values"]) for a, b in zip(first, rows, strict=True)]
    assert any(changed)
    np.testing.assert_array_equal(rows[0]["input_values"], row(seed=0)["input_values"])


def test_a_shift_leaves_a_gap_and_moves_the_rest():
    values = np.ones((8, 1, 100), np.float32)
    moved = Augmentation(shift=0.3).signals(values, 100, np.random.default_rng(0))
    zeros = (moved == 0).sum(-1).ravel()
    assert zeros.max() > 5
    assert set(np.unique(moved)) == {0, 1}
    assert (zeros <= 30).all()


def test_shared_statements_are_never_negatives(processor):
    rows = [row(["sinus rhythm", "normal ecg"]), row(["sinus rhythm"]), row(["left bundle branch block"])]
    batch = StatementCollator(processor)(rows)
    texts = processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert texts == ["left bundle branch block", "normal ecg", "sinus rhythm"]
    assert batch["targets"].tolist() == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]


def test_wordings_belong_to_every_record_with_the_code(processor):
    rows = [row(codes=["NORM", "SR"]), row(codes=["SR", "CLBBB"])]
    batch = StatementCollator(processor, Augmentation(texts_per_code=2))(rows)
    assert batch["targets"].shape == (2, 6)  # 3 codes, 2 wordings each
    assert batch["targets"].sum(1).tolist() == [4, 4]


def test_a_corpus_without_codes_keeps_its_texts(processor):
    rows = [row(["sinus rhythm"]), row(["sinus rhythm", "normal ecg"])]
    batch = StatementCollator(processor, Augmentation(texts_per_code=2))(rows)
    assert batch["targets"].tolist() == [[0, 1], [1, 1]]


def test_a_crop_is_a_window_of_the_recording():
    values = np.arange(100, dtype=np.float32).reshape(1, 1, 100)
    cropped = Augmentation(crop=0.5).signals(values, 100, np.random.default_rng(0))
    assert cropped.shape == (1, 1, 50)
    assert (np.diff(cropped[0, 0]) == 1).all()


def test_mixup_mixes_signals_and_targets_alike(processor):
    rows = [row(["a b"], seed=0), row(["c d"], seed=1)]
    collate = StatementCollator(processor, Augmentation(mixup={"p": 1.0, "alpha": 5.0}))
    for seed in range(20):
        torch.manual_seed(seed)
        batch = collate(rows)
        weight = float(batch["targets"][0, 0])
        if 0 < weight < 1:
            break
    expected = weight * rows[0]["input_values"] + (1 - weight) * rows[1]["input_values"]
    np.testing.assert_allclose(batch["input_values"][0], expected, atol=1e-5)


def test_spans_of_a_foreign_language_are_unknown(processor):
    rows = [
        row(["sinusrhythmus lagetyp normal", "normales ekg"]),
        row(["the ecg is normal", "sinus rhythm with no definite pathology"]),
        row([]),
    ]
    collate = StatementCollator(
        processor, Augmentation(spans={"per_record": 6, "max_words": 3, "whole": 0.5})
    )
    targets = collate(rows)["targets"]
    assert set(targets[0].tolist()) == {1.0, UNKNOWN}
    assert set(targets[1].tolist()) == {1.0, UNKNOWN}
    assert set(targets[2].tolist()) == {UNKNOWN}, "nothing is known of a record without a report"


def test_spans_of_ones_own_language_are_false(processor):
    rows = [row(["sinusrhythmus lagetyp normal"]), row(["vorhofflimmern linkstyp"])]
    collate = StatementCollator(processor, Augmentation(spans={"per_record": 6, "whole": 0.0}))
    assert set(collate(rows)["targets"].unique().tolist()) == {0.0, 1.0}


def test_chat_learns_the_answer_and_nothing_else(processor):
    batch = ChatCollator(processor)([row(["Sinus rhythm", "Normal ECG"]), row(["Normal"])])
    placeholder = processor.tokenizer.convert_tokens_to_ids("<ecg>")
    assert (batch["input_ids"] == placeholder).sum(1).tolist() == [3, 3]
    learnt = batch["labels"][0][batch["labels"][0] != -100]
    assert processor.tokenizer.decode(learnt) == "Sinus rhythm. Normal ECG.</s>"
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_a_prompt_has_the_same_ids_in_training_and_generation(processor):
    asked = [{"role": "user", "content": processor.instruction}]
    ids, labels = encode_chat(processor, [*asked, {"role": "assistant", "content": "Normal."}])
    prompt = processor.tokenizer(processor.chat(asked, add_generation_prompt=True), add_special_tokens=False)
    assert ids[: len(prompt["input_ids"])] == prompt["input_ids"]
    assert labels[: len(prompt["input_ids"])] == [-100] * len(prompt["input_ids"])


def test_typos_in_nested_settings_are_named():
    with pytest.raises(ValueError, match="augment.mixup has no key 'prob'"):
        Augmentation(mixup={"prob": 1})


@pytest.fixture(scope="module")
def page_processor(processor) -> ECGPageProcessor:
    images = ECGImageProcessor(size=(64, 96), resample="bilinear")
    return ECGPageProcessor(processor.feature_extractor, images, processor.tokenizer, num_ecg_tokens=3)


@pytest.mark.parametrize("collator", [PairCollator, StatementCollator, ChatCollator])
def test_pages_are_drawn_for_models_that_see_them(page_processor, collator):
    """Each is the recording's own page, drawn by lot, and the same again after the same seed."""
    rows = PreparedRecordings(load("simulated", num_records=4), page_processor)
    rows = [rows[number] for number in range(4)]
    augment = Augmentation(page={"layout": ["3x4", "12x1"], "dpi": 40})
    torch.manual_seed(1)
    values = collator(page_processor, augment)(rows)["pixel_values"]
    torch.manual_seed(1)
    assert torch.equal(values, collator(page_processor, augment)(rows)["pixel_values"])
    assert values.shape == (4, 3, 64, 96)
    chosen = set()
    for row, page in zip(rows, values, strict=True):
        drawn = {
            layout: page_processor.image_processor(draw_page(read_row(row), layout, dpi=40))["pixel_values"][
                0
            ]
            for layout in ("3x4", "12x1")
        }
        same = [layout for layout, known in drawn.items() if np.array_equal(known, page)]
        assert len(same) == 1
        chosen |= set(same)
    assert len(chosen) == 2


def test_pages_are_spoilt_on_demand(page_processor):
    """By the seed of the batch, as others are not."""
    rows = PreparedRecordings(load("simulated", num_records=3), page_processor)
    rows = [rows[number] for number in range(3)]

    def batch(seed, **page):
        torch.manual_seed(seed)
        return PairCollator(page_processor, Augmentation(page={"dpi": 40, **page}))(rows)["pixel_values"]

    assert torch.equal(batch(1, defects="heavy"), batch(1, defects="heavy"))
    assert not torch.equal(batch(1, defects="heavy"), batch(2, defects="heavy"))
    assert torch.equal(batch(1, defects="none"), batch(1))


def test_a_processor_without_pictures_draws_none(processor):
    rows = PreparedRecordings(load("simulated", num_records=1), processor)
    assert "pixel_values" not in PairCollator(processor)([rows[0]])


def test_settings_of_pages_are_checked():
    with pytest.raises(ValueError, match="page has no key 'layuot'; did you mean 'layout'"):
        Augmentation(page={"layuot": "3x4"})
    with pytest.raises(ValueError, match="unknown defect 'Fog'"):
        Augmentation(page={"defects": ["light", "Fog:0.3"]})


def test_a_page_processor_is_saved_and_loaded_as_one(page_processor, tmp_path):
    import ecglm.models  # noqa: F401  (registers its parts)

    page_processor.save_pretrained(tmp_path)
    again = ECGPageProcessor.from_pretrained(tmp_path)
    assert again.image_processor.to_dict() == page_processor.image_processor.to_dict()
    assert again.feature_extractor.to_dict() == page_processor.feature_extractor.to_dict()
    assert again.num_ecg_tokens == 3
