"""From rows of a dataset to a batch, through the model's own processor; random augmentation happens here and
only in training.

Which collator feeds a model is said by the model's class (`batch_format`):

    pairs        one text per recording                      input_values, input_ids, attention_mask
    statements   many statements, each true of some records  input_values, input_ids, attention_mask, targets
    chat         a conversation about a recording            input_values, input_ids, attention_mask, labels

Where the processor has an image processor, a page of each recording is drawn in memory, and the batch holds
its `pixel_values` as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ecglm.assets import refuse_unknown
from ecglm.datasets import read_row
from ecglm.datasets.pages import draw_by_lot, page_choices
from ecglm.processors import ECGProcessor
from ecglm.prompts import training_texts
from ecglm.text import detect_language, join_sentences, words

CACHE_LIMIT = 2 * 1024**3
"""Bytes: prepared tensors up to this size stay in memory, so a small corpus is read and filtered once."""

UNKNOWN = -1.0
"""Target of a pair (recording, text) of which nothing is known; a loss leaves it out."""


class PreparedRecordings(Dataset):
    """Rows of a dataset with their `input_values`, each prepared when it is first asked for.

    Args:
        rows: a `datasets.Dataset` with the common columns.
        processor: the model's; its feature extractor prepares the recordings.
    """

    def __init__(self, rows: Any, processor: Any) -> None:
        self.rows = rows
        self.extractor = getattr(processor, "feature_extractor", processor)
        shape = (len(rows), self.extractor.num_leads, self.extractor.num_samples)
        keep = 4 * int(np.prod(shape, dtype=np.int64)) <= CACHE_LIMIT
        self._values = np.empty(shape, dtype=np.float32) if keep else None
        self._known = np.zeros(len(rows), dtype=bool)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self.rows[int(index)])
        if self._values is not None and self._known[index]:
            return row | {"input_values": self._values[index]}
        values = self.extractor(read_row(row))["input_values"][0]
        if self._values is not None:
            self._values[index], self._known[index] = values, True
        return row | {"input_values": values}


@dataclass(frozen=True)
class Augmentation:
    """A recipe's `augment:` section; everything is off by default.

    The steps are taken in this order: crop, shift, scale, wander, noise, lead_dropout, mixup. Amplitudes are
    in the unit that the feature extractor leaves: mV, or what its `normalization` makes of them.

    Args:
        crop: share of each recording that is kept, from a random start; for models that read any length.
        shift: each recording is moved in time by up to this share of its length, either way; the gap is zero.
        scale: standard deviation of the logarithm of a gain per recording; a quarter of it acts per lead on
            top.
        wander: standard deviation of the amplitude of a slow sine (0.05–0.5 Hz) per lead.
        noise: white noise; its deviation is drawn between 0 and this for each recording.
        lead_dropout: up to this share of the leads is set to zero, the share drawn for each recording.
        mixup: `{p, alpha}`: with probability p a batch is mixed with a permutation of itself, weight from
            Beta(alpha, alpha).
        word_dropout: probability that a word of a text is left out.
        synonyms: probability that a statement is replaced by a synonym of the ontology (`texts_per_code`).
        templates: probability that a statement is put into a sentence frame of the ontology
            (`texts_per_code`).
        texts_per_code: wordings drawn for each SCP code in a batch; 0 takes the texts of the rows as they
            are.
        spans: `{per_record, max_words, whole}`: runs of words are drawn from free reports instead of whole
            texts.
        page: for models that see pages: arguments of `ecglm.image.draw_page`, and `defects` as
            `ecglm.image.spoil` takes them; of a list one value is drawn by lot for each page, e.g.
            `{layout: [3x4+1, 12x1], dpi: 100, defects: [none, light, heavy]}`. The page shows the recording
            as it is: none of the steps above.
    """

    crop: float = 1.0
    shift: float = 0.0
    scale: float = 0.0
    wander: float = 0.0
    noise: float = 0.0
    lead_dropout: float = 0.0
    mixup: dict[str, float] = field(default_factory=dict)
    word_dropout: float = 0.0
    synonyms: float = 0.7
    templates: float = 0.5
    texts_per_code: int = 0
    spans: dict[str, float] = field(default_factory=dict)
    page: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_unknown("augment.mixup", self.mixup, ("p", "alpha"))
        for name in ("crop", "shift", "lead_dropout", "word_dropout", "synonyms", "templates"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name} must lie between 0 and 1, got {getattr(self, name)}")
        refuse_unknown("augment.spans", self.spans, ("per_record", "max_words", "whole"))
        page_choices(self.page)

    @classmethod
    def argument_names(cls) -> list[str]:
        """What a recipe may set."""
        return [entry.name for entry in fields(cls)]

    def signals(self, values: np.ndarray, sampling_rate: float, rng: np.random.Generator) -> np.ndarray:
        """Spoil a batch: (batch, num_leads, num_samples) in, a new array of the same shape out."""
        if self.crop < 1:
            length = round(self.crop * values.shape[-1])
            starts = rng.integers(values.shape[-1] - length + 1, size=len(values))
            values = np.stack(
                [row[:, start : start + length] for row, start in zip(values, starts, strict=True)]
            )
        else:
            values = values.copy()
        batch, num_leads, num_samples = values.shape
        if self.shift:
            for row, share in zip(values, rng.uniform(-self.shift, self.shift, batch), strict=True):
                step = round(share * num_samples)
                row[:] = np.roll(row, step, axis=-1)
                row[:, slice(None, step) if step > 0 else slice(num_samples + step, None)] = 0
        if self.scale:
            gain = self.scale * rng.standard_normal((batch, 1, 1))
            gain = gain + self.scale / 4 * rng.standard_normal((batch, num_leads, 1))
            values *= np.exp(gain, dtype=np.float32)
        if self.wander:
            frequency = rng.uniform(0.05, 0.5, (batch, 1, 1))  # Hz: breathing and slower
            phase = rng.uniform(0, 2 * np.pi, (batch, num_leads, 1))
            amplitude = self.wander * rng.standard_normal((batch, num_leads, 1))
            seconds = np.arange(num_samples) / sampling_rate
            values += (amplitude * np.sin(2 * np.pi * frequency * seconds + phase)).astype(np.float32)
        if self.noise:
            deviation = rng.uniform(0, self.noise, (batch, 1, 1)).astype(np.float32)
            values += deviation * rng.standard_normal(values.shape, dtype=np.float32)
        if self.lead_dropout:
            share = rng.uniform(0, self.lead_dropout, (batch, 1))
            values[rng.random((batch, num_leads)) < share] = 0
        return values

    def mix(
        self, values: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixup of recordings and targets; a pair unknown on either side stays unknown."""
        if not self.mixup or rng.random() >= self.mixup.get("p", 1.0):
            return values, targets
        alpha = self.mixup.get("alpha", 0.3)
        weight = np.float32(rng.beta(alpha, alpha))
        other = rng.permutation(len(values))
        mixed = weight * targets + (1 - weight) * targets[other]
        mixed[(targets == UNKNOWN) | (targets[other] == UNKNOWN)] = UNKNOWN
        return weight * values + (1 - weight) * values[other], mixed

    def drop_words(self, text: str, rng: np.random.Generator) -> str:
        """Leave out words, but never all."""
        parts = text.split()
        kept = [part for part in parts if rng.random() >= self.word_dropout]
        return " ".join(kept or parts)


class _Collator:
    """What the collators share: stacking the prepared recordings and spoiling them."""

    def __init__(self, processor: Any, augment: Augmentation | None = None) -> None:
        self.processor = processor
        self.augment = augment or Augmentation()
        self.sampling_rate = getattr(processor, "feature_extractor", processor).sampling_rate

    def rng(self) -> np.random.Generator:
        """Chance for one batch, ruled by torch's seed and so by the trainer's."""
        return np.random.default_rng(int(torch.randint(2**62, ())))

    def signals(self, rows: Sequence[dict[str, Any]], rng: np.random.Generator) -> np.ndarray:
        """Augmented `input_values`: (batch, num_leads, num_samples)."""
        return self.augment.signals(np.stack([row["input_values"] for row in rows]), self.sampling_rate, rng)

    def pages(self, rows: Sequence[dict[str, Any]], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """What the image processor makes of a page of each recording; empty for models that see none."""
        image_processor = getattr(self.processor, "image_processor", None)
        if image_processor is None:
            return {}
        choices = page_choices(self.augment.page)
        drawn = [draw_by_lot(read_row(row), choices, rng)[0] for row in rows]
        return dict(image_processor(drawn, return_tensors="pt"))


class PairCollator(_Collator):
    """One text per recording: the row's texts, joined."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch in the format "pairs"."""
        rng = self.rng()
        texts = [self.augment.drop_words(join_sentences(row["texts"]), rng) for row in rows]
        batch = dict(self.processor(text=texts))
        return {"input_values": torch.from_numpy(self.signals(rows, rng)), **batch, **self.pages(rows, rng)}


class StatementCollator(_Collator):
    """Many statements; `targets` says of which recordings each is true.

    The batch's statements are those of any of its rows. A statement is never a negative of a recording that
    has it, however many others share it.
    """

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch in the format "statements"; targets are 1, 0, or `UNKNOWN`."""
        rng = self.rng()
        if self.augment.spans:
            texts, targets = self._spans(rows, rng)
        elif self.augment.texts_per_code:
            texts, targets = self._wordings(rows, rng)
        else:
            texts = sorted({text for row in rows for text in row["texts"]})
            targets = _membership([set(row["texts"]) for row in rows], texts)
        texts = [self.augment.drop_words(text, rng) for text in texts]
        values, targets = self.augment.mix(self.signals(rows, rng), targets, rng)
        return {
            "input_values": torch.from_numpy(values),
            **self.processor(text=texts),
            "targets": torch.from_numpy(targets),
            **self.pages(rows, rng),
        }

    def _wordings(
        self, rows: Sequence[dict[str, Any]], rng: np.random.Generator
    ) -> tuple[list[str], np.ndarray]:
        """Fresh wordings of the SCP codes in the batch: a record's codes make all their wordings its own.

        A corpus without codes gives its texts as they are.
        """
        present = sorted({code for row in rows for code in row["codes"]})
        plain = sorted({text for row in rows if not row["codes"] for text in row["texts"]})
        codes = present * self.augment.texts_per_code
        wordings = training_texts(
            codes, rng, synonyms=self.augment.synonyms, templates=self.augment.templates
        )
        meant = [set(row["codes"] or row["texts"]) for row in rows]
        return wordings + plain, _membership(meant, codes + plain)

    def _spans(
        self, rows: Sequence[dict[str, Any]], rng: np.random.Generator
    ) -> tuple[list[str], np.ndarray]:
        """Runs of words from the reports; what a report of another language lacks is unknown, not false."""
        clauses = [[words(text) for text in row["texts"]] for row in rows]
        reports = [f" {' | '.join(' '.join(clause) for clause in report)} " for report in clauses]
        languages = [detect_language(report) for report in clauses]
        found: dict[str, str | None] = {}
        for report, language in zip(clauses, languages, strict=True):
            report = [clause for clause in report if clause]
            for _ in range(int(self.augment.spans.get("per_record", 3)) if report else 0):
                clause = report[rng.integers(len(report))]
                if rng.random() >= self.augment.spans.get("whole", 0.3):
                    longest = min(int(self.augment.spans.get("max_words", 7)), len(clause))
                    length = int(rng.integers(1, longest + 1))
                    start = int(rng.integers(len(clause) - length + 1))
                    clause = clause[start : start + length]
                span = " ".join(clause)
                if len(span) >= 4:  # letters: shorter ones are articles and lead numbers
                    found[span] = language
        texts = list(found)
        targets = np.array(
            [[f" {text} " in report for text in texts] for report in reports], dtype=np.float32
        )
        for row, (report, language) in enumerate(zip(clauses, languages, strict=True)):
            foreign = np.array([language is None or found[text] != language for text in texts], dtype=bool)
            targets[row, foreign & (targets[row] == 0)] = UNKNOWN
            if not any(report):
                targets[row] = UNKNOWN
        return texts, targets.reshape(len(rows), len(texts))


class ChatCollator(_Collator):
    """A conversation about a recording; the loss is taken on what the assistant says."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch in the format "chat": labels are -100 where nothing is learnt."""
        rng = self.rng()
        encoded = [encode_chat(self.processor, self._messages(row, rng)) for row in rows]
        width = max(len(ids) for ids, _ in encoded)
        pad = self.processor.tokenizer.pad_token_id

        def padded(sequences: list[list[int]], value: int) -> torch.Tensor:
            return torch.tensor([sequence + [value] * (width - len(sequence)) for sequence in sequences])

        return {
            "input_values": torch.from_numpy(self.signals(rows, rng)),
            "input_ids": padded([ids for ids, _ in encoded], pad),
            "attention_mask": padded([[1] * len(ids) for ids, _ in encoded], 0),
            "labels": padded([labels for _, labels in encoded], -100),
            **self.pages(rows, rng),
        }

    def _messages(self, row: dict[str, Any], rng: np.random.Generator) -> list[dict[str, str]]:
        texts = row["texts"]
        if self.augment.texts_per_code:
            texts = training_texts(row["codes"], rng, synonyms=self.augment.synonyms, templates=0.0)
        return [
            {"role": "user", "content": self.processor.instruction},
            {"role": "assistant", "content": join_sentences(texts)},
        ]


COLLATORS = {"pairs": PairCollator, "statements": StatementCollator, "chat": ChatCollator}


def encode_chat(processor: ECGProcessor, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids of one conversation, and labels: -100 everywhere but on what the assistant says and its end
    mark.

    The text is cut at the turns before it is tokenised, so a prompt has the same ids in training and in
    generation.

    Raises:
        ValueError: if the chat template rewrites earlier turns, so that no mask can be right.
    """
    ids: list[int] = []
    labels: list[int] = []
    done = ""
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = processor.chat(messages[:position], add_generation_prompt=True)
        answered = processor.chat(messages[: position + 1])
        if not (asked.startswith(done) and answered.startswith(asked)):
            raise ValueError(
                "the tokenizer's chat template changes earlier turns as a conversation grows; "
                "set another chat_template"
            )
        for text, learnt in ((asked[len(done) :], False), (answered[len(asked) :], True)):
            new = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += new
            labels += new if learnt else [-100] * len(new)
        done = answered
    return ids, labels


def _membership(sets: Sequence[set[str]], items: Sequence[str]) -> np.ndarray:
    """(sets, items) float32: 1 where the item is in the set."""
    return np.array([[item in members for item in items] for members in sets], dtype=np.float32)
