"""Draft reports: what every form of them shows, what is flagged, and that the HTML is escaped."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from ecglm import datasets, simulate
from ecglm.ecg import ECG
from ecglm.findings import find_codes, parse_findings, vocabulary
from ecglm.models import SYSTEMS
from ecglm.processors import ECGFeatureExtractor, ECGProcessor, train_tokenizer
from ecglm.report import NOTICE, DraftReport, check, draft, draft_reports
from ecglm.text import drop_repeats, join_sentences


@pytest.fixture(scope="module")
def ecg() -> ECG:
    return simulate("lbbb", seed=3)


@pytest.fixture(scope="module")
def writer():
    """An untrained model with its processor."""
    system = SYSTEMS["ecg_llm"]
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["Sinus rhythm. Left bundle branch block."], 320)
    processor = ECGProcessor(ECGFeatureExtractor(), tokenizer, instruction="<ecg>")
    model = system.models["ECGLLMForConditionalGeneration"].build(system.config(**system.tiny))
    model.adopt_processor(processor)
    return model, processor


def test_notice_is_the_agreed_one():
    assert NOTICE == (
        "DRAFT — computer generated, requires review by a qualified clinician. "
        "Research use only; not a medical device."
    )


def test_every_form_bears_notice_text_findings_and_warnings(ecg):
    report = check("Sinus rhythm. Complete left bundle branch block.", ecg, ["lead V3 is flat"])
    assert [finding.code for finding in report.findings] == ["SR", "CLBBB"]
    assert report.warnings == ["lead V3 is flat"]
    data = json.loads(json.dumps(report.to_dict()))
    assert data["notice"] == NOTICE
    assert [finding["code"] for finding in data["findings"]] == ["SR", "CLBBB"]
    assert set(data) == {"record", "text", "findings", "warnings", "notice"}
    for form in (report.to_text(), report.to_html()):
        for needed in (NOTICE, report.record, report.text, "lead V3 is flat"):
            assert needed in form


def test_contradictions_are_flagged(ecg):
    report = check("Atrial fibrillation. Sinus rhythm.", ecg)
    (warning,) = [line for line in report.warnings if line.startswith("contradiction: ")]
    assert "AFIB" in warning and "SR" in warning
    assert warning in report.to_text() and "contradiction" in report.to_html()
    assert not check("Sinus rhythm. Normal ECG.", ecg).warnings


def test_denied_findings_contradict_nothing(ecg):
    report = check("Sinus rhythm. No atrial fibrillation.", ecg)
    assert not any("contradiction" in warning for warning in report.warnings)
    assert "denied" in report.to_html()


@pytest.mark.parametrize("text", ["", "lorem ipsum"])
def test_a_text_without_findings_is_flagged(ecg, text):
    report = check(text, ecg)
    assert report.warnings == ["the text states no finding of the vocabulary"]
    assert report.to_text() and report.to_html()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_html_is_self_contained_and_escaped(ecg):
    evil = "<script>alert('x')</script>\"' & <img src=http://example.org/x>"
    signal = ECG(ecg.signal, ecg.sampling_rate, ecg.leads, {"record_id": evil})
    page = check(evil, signal, [evil]).to_html()
    reader = _Reader()
    reader.feed(page)
    tags = [tag for tag, _ in reader.tags]
    assert "script" not in tags
    (image,) = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,")
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    links = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href")
    ]
    assert links == [image["src"]]
    assert len(page) < 500_000


def test_html_without_a_recording_has_no_picture():
    assert "<img" not in DraftReport("r1", "Normal ECG.").to_html()


def test_repeated_sentences_are_left_out_and_state_nothing_new(writer, ecg, monkeypatch):
    model, processor = writer
    said = "Sinus rhythm. Left axis deviation. Left axis deviation."
    monkeypatch.setattr(type(processor.tokenizer), "batch_decode", lambda *arguments, **named: [said])
    text = draft(ecg, model, processor, max_new_tokens=1).text
    assert text == "Sinus rhythm. Left axis deviation."
    for name in vocabulary().values():
        for sentence in (name, f"no {name}", f"possible {name}", "otherwise normal ECG"):
            often = f"{sentence}. Left axis deviation. {sentence}. Q waves. {sentence}."
            once = drop_repeats(often)
            assert once == f"{sentence}. Left axis deviation. Q waves."
            assert parse_findings(once) == parse_findings(often)


def test_drafts_keep_their_order_and_do_not_depend_on_the_batch(writer, ecg, monkeypatch):
    model, processor = writer
    ecgs = [ecg, simulate("afib", seed=1), simulate("normal", seed=2)]
    texts = draft_reports(model, processor, ecgs, max_new_tokens=6)
    assert len(texts) == 3
    monkeypatch.setattr("ecglm.report.BATCH_SIZE", 2)
    assert draft_reports(model, processor, ecgs, max_new_tokens=6) == texts
    assert draft(ecgs[1], model, processor, max_new_tokens=6).text == texts[1]
    assert draft_reports(model, processor, []) == []


def test_draft_leaves_the_model_in_its_mode(writer, ecg):
    model, processor = writer
    model.train()
    draft_reports(model, processor, [ecg], max_new_tokens=1)
    assert model.training


def test_draft_reports_the_recordings_defects(writer, ecg):
    model, processor = writer
    signal = ecg.signal.copy()
    signal[6] = 0
    signal[7, 100:200] = np.nan
    warnings = draft(ECG(signal, 500, ecg.leads), model, processor, max_new_tokens=1).warnings
    assert any("V1" in warning and "flat" in warning for warning in warnings)
    assert any("V2" in warning and "missing" in warning for warning in warnings)


def test_a_model_without_generate_is_refused(ecg, writer):
    encoder = writer[0].ecg_model
    with pytest.raises(ValueError, match="writes no reports"):
        draft_reports(encoder, writer[1], [ecg])


def test_findings_texts_carry_the_codes():
    rows = datasets.load("simulated", num_records=12, text="findings")
    for row in rows:
        assert find_codes(join_sentences(row["texts"])) == set(row["codes"])


def test_rare_codes_are_repeated():
    rows = datasets.load("simulated", num_records=40, text="findings")
    many = datasets.load("simulated", num_records=40, text="findings", repeat_rare=0.5)
    counts = {code: sum(code in codes for codes in rows["codes"]) for code in ("NORM", "SR")}
    more = {code: sum(code in codes for codes in many["codes"]) for code in counts}
    assert len(many) > 2 * len(rows)
    assert set(many["record_id"]) == set(rows["record_id"])
    assert more["NORM"] / counts["NORM"] < 2 < len(many) / len(rows)
    assert datasets.load("simulated", num_records=40, repeat_rare=0.5)["record_id"] == many["record_id"]
    with pytest.raises(ValueError, match="repeat_rare"):
        datasets.repeated(rows, 0)
