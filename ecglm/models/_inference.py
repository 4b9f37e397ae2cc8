"""A saved model folder at work: open it, prepare recordings with its processor, score labels, write texts.

Evaluation, pipelines, the demo and the command line use the same functions, so that a score has one meaning
everywhere: a calibrated probability where the model has one ("probability"), else a cosine that only orders
texts ("cosine").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoFeatureExtractor, AutoProcessor, PreTrainedModel

from ecglm.ecg import ECG
from ecglm.models._base import load_whole
from ecglm.models._registry import SYSTEMS, System
from ecglm.prompts import combine_probabilities
from ecglm.text import drop_repeats

ABILITIES = {  # what callers ask of a model → what a message says of one that cannot
    "get_text_features": (
        "cannot score texts; give a model with two towers, such as one that merl or merl_small trained"
    ),
    "encode": "has no ECG encoder; give a folder that `ecglm train` wrote",
    "generate": "writes no text; give a report model, such as one that ecg_llm trained",
}


def load_model(folder: str | Path, ability: str) -> tuple[PreTrainedModel, Any]:
    """Open a model folder that `ecglm train` or `ecglm convert` wrote.

    Args:
        folder: holds config.json, the weights and the processor.
        ability: what the caller will ask of the model: "get_text_features", "encode" or "generate".

    Returns:
        The model, in evaluation mode, on the GPU where there is one, and its processor (its feature
        extractor, where the system reads no text).

    Raises:
        ValueError: if the folder holds no model of ecglm, a damaged one, or one of another kind.
        FileNotFoundError: if there is no such folder.
    """
    folder = Path(folder)
    system, model_class = kind_of(folder)
    if not callable(getattr(model_class, ability, None)):
        raise ValueError(f"{folder} holds {model_class.__name__}, which {ABILITIES[ability]}")
    try:
        model = load_whole(model_class, folder)
    except OSError as error:
        raise ValueError(f"{folder}: there are no weights ({_first_sentence(error)})") from error
    processor = load_processor(folder, system)
    tokens = len(getattr(processor, "tokenizer", ()))
    known = getattr(model.config.get_text_config(), "vocab_size", tokens)
    if tokens > known:
        raise ValueError(
            f"{folder}: the tokenizer has {tokens:,} tokens and the model knows {known:,}, so they do not "
            "belong together; train, convert or fetch the model again"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device), processor


def kind_of(folder: Path) -> tuple[System, type[PreTrainedModel]]:
    """Which system's model lies in a folder, and of which class it is.

    Raises:
        ValueError: if the folder holds no model of ecglm, or its configuration is damaged.
        FileNotFoundError: if there is no such folder.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} is no model folder (it has no config.json); give the folder that `ecglm train` wrote"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{folder}/config.json is not JSON ({error}); train or convert the model again"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder}/config.json is no mapping of keys; train or convert the model again")
    model_type = str(config.get("model_type"))
    system = SYSTEMS.get(model_type.removeprefix("ecglm_")) if model_type.startswith("ecglm_") else None
    if system is None:
        raise ValueError(
            f"{folder} holds a model of type {model_type!r}, which ecglm does not know; "
            f"it knows {', '.join(sorted(SYSTEMS))}"
        )
    name = (config.get("architectures") or [None])[0]
    if name not in system.models:
        raise ValueError(
            f"{folder}/config.json names the architecture {name!r}; "
            f"{system.name} has {', '.join(system.models)}"
        )
    return system, system.models[name]


def load_processor(folder: Path, system: System) -> Any:
    """What lies beside the weights: a processor, or the feature extractor of a system that reads no text.

    Raises:
        ValueError: if it is missing or damaged.
    """
    auto = AutoFeatureExtractor if system.processor is None else AutoProcessor
    try:
        return auto.from_pretrained(folder)
    except Exception as error:  # transformers and tokenizers raise all kinds over a damaged file
        raise ValueError(
            f"{folder}: the processor cannot be read ({_first_sentence(error)}); train or convert again"
        ) from error


def _first_sentence(error: Exception) -> str:
    """What transformers says in paragraphs, without its advice on the hub."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".split(". ")[0]


def input_batches(
    model: PreTrainedModel,
    processor: Any,
    ecgs: Iterable[ECG],
    *,
    total: int | None = None,
    batch_size: int = 64,
) -> Iterator[torch.Tensor]:
    """Prepare recordings with the model's own processor, a batch at a time, with a progress bar on stderr.

    Args:
        model: whose device the tensors go to.
        processor: of the same folder.
        ecgs: read one by one, so that they need not fit into memory.
        total: how many there are, for the progress bar.
        batch_size: recordings at once.

    Yields:
        `input_values`, (≤ batch_size, num_leads, num_samples).
    """
    extractor = getattr(processor, "feature_extractor", processor)
    waiting: list[np.ndarray] = []
    for ecg in tqdm(ecgs, total=total, desc="ECGs", unit="ECG", leave=False):
        waiting.append(extractor(ecg, return_tensors="np")["input_values"])
        if len(waiting) == batch_size:
            yield torch.from_numpy(np.concatenate(waiting)).to(model.device)
            waiting = []
    if waiting:
        yield torch.from_numpy(np.concatenate(waiting)).to(model.device)


@torch.inference_mode()
def embed_texts(
    model: PreTrainedModel, processor: Any, texts: Sequence[str], batch_size: int = 64
) -> torch.Tensor:
    """L2-normalised text embeddings: (texts, projection_size), on the model's device."""
    parts = []
    for start in range(0, len(texts), batch_size):
        encoded = processor(text=list(texts[start : start + batch_size]), return_tensors="pt").to(
            model.device
        )
        parts.append(model.get_text_features(encoded["input_ids"], encoded["attention_mask"]))
    return torch.cat(parts)


class LabelScorer:
    """Scores labels, each of which stands for one text or several.

    Where the model has calibrated probabilities, those of a member's paraphrases are averaged, and the
    members are combined as the prompt set says: "noisy_or", 1 − ∏(1 − p), for members that are sub-classes (a
    record has the class if it has any of them), "mean" or "max". Where it has only a cosine, a label is the
    normalised mean of its texts' embeddings, and a record's score its cosine with that.

    Args:
        model: with `get_text_features`, `similarity` and `probabilities`.
        processor: of the same folder.
        texts: label → its members → the paraphrases of each.
        combine: one of `ecglm.prompts.COMBINE`.

    Raises:
        ValueError: if there is no label, or one has no text.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        texts: Mapping[str, Sequence[Sequence[str]]],
        combine: str = "noisy_or",
    ) -> None:
        self.model = model
        self.combine = combine
        self.labels = list(texts)
        self.texts: list[str] = []
        self._members: list[
            list[slice]
        ] = []  # per label, where each member's paraphrases stand in self.texts
        for label, members in texts.items():
            if not members or not all(members) or not all(text.strip() for each in members for text in each):
                raise ValueError(f"label {label!r} has no text; give at least one prompt")
            spans = []
            for paraphrases in members:
                spans.append(slice(len(self.texts), len(self.texts) + len(paraphrases)))
                self.texts += paraphrases
            self._members.append(spans)
        if not self.labels:
            raise ValueError("there is no text to score; give at least one prompt")
        self._embeds = embed_texts(model, processor, self.texts)
        means = torch.stack([self._embeds[span].mean(0) for span in self._spans()])
        self._means = torch.nn.functional.normalize(means, dim=-1)
        calibrated = model.probabilities(model.similarity(self._embeds[:1], self._embeds)) is not None
        self.kind = "probability" if calibrated else "cosine"

    def _spans(self) -> list[slice]:
        return [slice(spans[0].start, spans[-1].stop) for spans in self._members]

    @torch.inference_mode()
    def __call__(self, ecg_embeds: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Score recordings.

        Args:
            ecg_embeds: (batch, projection_size), of `model.get_ecg_features`.

        Returns:
            Scores (batch, labels) float64, of the kind that `self.kind` names; and the index of each label's
            text that fits best (batch, labels).
        """
        logits = self.model.similarity(ecg_embeds, self._embeds)
        best = torch.stack([span.start + logits[:, span].argmax(1) for span in self._spans()], dim=1)
        if self.kind == "cosine":
            return (ecg_embeds @ self._means.T).double().cpu().numpy(), best.cpu().numpy()
        probabilities = self.model.probabilities(logits).double().cpu().numpy()  # (batch, texts)
        scores = [
            combine_probabilities(
                np.stack([probabilities[:, span].mean(1) for span in spans], axis=1), self.combine
            )
            for spans in self._members
        ]
        return np.stack(scores, axis=1), best.cpu().numpy()


@torch.inference_mode()
def generate_reports(
    model: PreTrainedModel,
    processor: Any,
    input_values: torch.Tensor,
    *,
    max_new_tokens: int = 128,
    num_beams: int = 1,
) -> torch.Tensor:
    """What a model writes about recordings: the most probable texts, so the same each time.

    Args:
        model: with `generate`, trained on conversations about recordings.
        processor: of the same folder; it knows what the user says.
        input_values: (batch, num_leads, num_samples).
        max_new_tokens: longer texts are cut.
        num_beams: texts followed at once in the search; 1 takes the best token each time.

    Returns:
        Token ids of the texts, without the prompt: (batch, tokens); padded on the right.
    """
    request = processor.chat([{"role": "user", "content": processor.instruction}], add_generation_prompt=True)
    inputs = processor(text=[request] * len(input_values), add_special_tokens=False).to(model.device)
    sequences = model.generate(
        **inputs,
        input_values=input_values.to(model.device),
        max_new_tokens=max_new_tokens,
        num_beams=num_beams,
        do_sample=False,
    )
    return sequences[:, inputs["input_ids"].shape[1] :]


def decode_reports(processor: Any, sequences: torch.Tensor) -> list[str]:
    """The texts that `generate_reports` wrote; what one says twice stands in it once."""
    texts = processor.tokenizer.batch_decode(sequences, skip_special_tokens=True)
    return [drop_repeats(text.strip()) for text in texts]
