"""Draft reports: what a model writes about a recording, the findings it states, and what is doubtful.

A draft is never more than a draft: every form of it bears `NOTICE`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ecglm.ecg import ECG
from ecglm.findings import Finding, contradictions, parse_findings
from ecglm.image import render
from ecglm.models._inference import decode_reports, generate_reports
from ecglm.processors import ECGProcessor

NOTICE = (
    "DRAFT — computer generated, requires review by a qualified clinician. "
    "Research use only; not a medical device."
)
BATCH_SIZE = 16
"""Recordings that `draft_reports` gives to the model at once."""


@dataclass(frozen=True)
class DraftReport:
    """A draft, ready to be shown.

    Args:
        record: name of the recording.
        text: what the model wrote, less what it said twice.
        findings: the statements of the closed vocabulary that the text makes.
        warnings: sentences on what is doubtful: leads that are missing or flat, findings that exclude
            each other, a text without any finding.
        notice: stands on every form of the draft.
        ecg: the recording, for the drawing in the HTML form.
    """

    record: str
    text: str
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notice: str = NOTICE
    ecg: ECG | None = field(default=None, repr=False, compare=False)

    def to_text(self) -> str:
        """Plain text: notice, record, report, warnings."""
        lines = [self.notice, "", f"Record: {self.record}", "", self.text or "(no text)"]
        if self.warnings:
            lines += ["", "Check:", *(f"- {warning}" for warning in self.warnings)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: record, text, findings, warnings, notice."""
        return {
            "record": self.record,
            "text": self.text,
            "findings": [{"name": finding.name} | asdict(finding) for finding in self.findings],
            "warnings": list(self.warnings),
            "notice": self.notice,
        }

    def to_html(self) -> str:
        """One self-contained page: notice, drawn ECG, report, findings, warnings; all text is escaped."""
        return _PAGE.format(
            record=html.escape(self.record), notice=html.escape(self.notice), body=self.to_html_fragment()
        )

    def to_html_fragment(self) -> str:
        """The page's body, to be put into a page of one's own."""
        record = html.escape(self.record)
        parts = [f"<p class='notice'>{html.escape(self.notice)}</p>", f"<h1>{record}</h1>"]
        if self.ecg is not None:
            parts.append(f"<img alt='12-lead ECG of {record}' src='{_picture(self.ecg)}'>")
        parts.append(f"<p class='report'>{html.escape(self.text) or '(no text)'}</p>")
        for title, items in (
            ("Findings", [_describe(finding) for finding in self.findings]),
            ("Check", self.warnings),
        ):
            if items:
                entries = "".join(f"<li>{html.escape(item)}</li>" for item in items)
                parts.append(f"<h2>{title}</h2><ul>{entries}</ul>")
        return "\n".join(parts)


@torch.inference_mode()
def draft_reports(
    model: Any, processor: ECGProcessor, ecgs: Sequence[ECG], *, max_new_tokens: int = 128, num_beams: int = 1
) -> list[str]:
    """The texts that a model writes about recordings: the most probable ones, so the same each time.

    Args:
        model: a model with `generate` that was trained on conversations about ECGs.
        processor: the model's own.
        ecgs: the recordings.
        max_new_tokens: longer texts are cut.
        num_beams: texts followed at once in the search for the most probable; 1 takes the best token each
            time.

    Returns:
        One text per recording, in their order.

    Raises:
        ValueError: if the model writes no text, or as the feature extractor does.
    """
    if not callable(getattr(model, "generate", None)) or getattr(model, "batch_format", None) != "chat":
        raise ValueError(
            f"{type(model).__name__} writes no reports; give a folder that a recipe of ecg_llm trained"
        )
    was_training = model.training
    model.eval()
    texts: list[str] = []
    for start in range(0, len(ecgs), BATCH_SIZE):
        values = processor(ecg=ecgs[start : start + BATCH_SIZE])["input_values"]
        written = generate_reports(
            model, processor, values, max_new_tokens=max_new_tokens, num_beams=num_beams
        )
        texts += decode_reports(processor, written)
    model.train(was_training)
    return texts


def draft(
    ecg: ECG, model: Any, processor: ECGProcessor, *, max_new_tokens: int = 128, num_beams: int = 1
) -> DraftReport:
    """Draft the report of one recording; see `draft_reports` for the arguments and errors."""
    (text,) = draft_reports(model, processor, [ecg], max_new_tokens=max_new_tokens, num_beams=num_beams)
    return check(text, ecg, processor.feature_extractor.inspect(ecg))


def check(text: str, ecg: ECG, warnings: Sequence[str] = ()) -> DraftReport:
    """A draft made of any text about a recording: its findings parsed, contradictions flagged.

    Args:
        text: the report.
        ecg: the recording.
        warnings: what is known to be doubtful already.
    """
    findings = parse_findings(text)
    stated = [finding.code for finding in findings if not finding.negated]
    flagged = [*warnings, *(f"contradiction: {sentence}" for sentence in contradictions(stated))]
    if not stated:
        flagged.append("the text states no finding of the vocabulary")
    return DraftReport(ecg.name, text, findings, flagged, ecg=ecg)


def _describe(finding: Finding) -> str:
    doubt = ", denied" if finding.negated else ", doubted" if finding.uncertain else ""
    return f"{finding.name} ({finding.code}{doubt})"


def _picture(ecg: ECG) -> str:
    """The drawn page as a data URI."""
    file = io.BytesIO()
    page = render(ecg)
    page.quantize(64).save(file, "PNG", optimize=True)  # paper and ink need few colours
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Draft report: {record}</title>
<meta name="description" content="{notice}">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem; }}
img {{ width: 100%; height: auto; }}
.notice {{ background: #fff3cd; border: 1px solid #c90; padding: .5rem 1rem; font-weight: bold; }}
.report {{ font-size: 1.2rem; white-space: pre-wrap; }}
</style></head><body>
{body}
</body></html>
"""
