"""A saved model folder at work: open it, run recordings and texts through it, and transformers' pipelines.

`import ecglm.models` registers the tasks "zero-shot-ecg-classification", "ecg-feature-extraction" and
"ecg-to-text" with `transformers.pipeline`. Evaluation, the demo and the command line use the same functions,
so that a score has one meaning everywhere: a calibrated probability where the model has one ("kind":
"probability"), else a cosine that only orders texts ("kind": "cosine").
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor, Pipeline, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY

from ecglm import io
from ecglm.ecg import ECG
from ecglm.prompts import PromptSet, combine_probabilities, groups_of, load_prompts

logger = logging.getLogger(__name__)

Recording = str | Path | ECG

_ABILITIES = {
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
    from ecglm.models import SYSTEMS

    folder = Path(folder)
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
    model_class = system.models[name]
    if not callable(getattr(model_class, ability, None)):
        raise ValueError(f"{folder} holds {name}, which {_ABILITIES[ability]}")
    try:
        model, info = model_class.from_pretrained(folder, output_loading_info=True)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{folder}: the weights cannot be read ({reason}); train or convert again"
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"{folder}: the weights lack {len(missing)} tensors, such as {missing[0]}; train or convert again"
        )
    auto = AutoFeatureExtractor if system.processor is None else AutoProcessor
    try:
        processor = auto.from_pretrained(folder)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{folder}: the processor cannot be read ({reason}); train or convert again"
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device), processor


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
            if not members or not all(members):
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


def classify(
    records: Sequence[Recording],
    model: str | Path,
    prompts: Sequence[str] | None = None,
    prompt_set: str | None = None,
    group: str | None = None,
) -> list[dict[str, Any]]:
    """Score recordings against texts or against the labels of a prompt set.

    Args:
        records: files, or recordings already read.
        model: a model folder.
        prompts: texts, each its own label; or
        prompt_set: name of a shipped prompt set, such as "ckepe/ptbxl", or the path of one; its first group
            of labels, unless `group` names another.
        group: of the prompt set.

    Returns:
        For each record {"record", "kind", "scores": [{"label", "prompt", "score"}, …] with the highest first,
        "warnings"}; "prompt" is the label's text that fits best.

    Raises:
        ValueError: if a record or the folder cannot be used, or if not exactly one of `prompts` and
            `prompt_set` is given.
    """
    if not prompts and prompt_set is None or prompts and prompt_set is not None:
        raise ValueError("give either texts (--prompt TEXT) or a prompt set (--prompts SET)")
    opened, processor = load_model(model, "get_text_features")
    pipe = ZeroShotECGClassificationPipeline(
        model=opened, processor=processor, task="zero-shot-ecg-classification", device=opened.device
    )
    labels: dict[str, Any] = (
        {"prompts": prompt_set} if prompts is None else {"candidate_labels": list(prompts)}
    )
    results = []
    for record in records:
        ecg = _read(record)
        scores = pipe(ecg, **labels)
        results.append(
            {
                "record": str(record) if isinstance(record, str | Path) else record.name,
                "kind": scores[0]["kind"],
                "scores": [{key: score[key] for key in ("label", "prompt", "score")} for score in scores],
                "warnings": scores[0]["warnings"],
            }
        )
    return results


@torch.inference_mode()
def embed(records: Sequence[Recording], model: str | Path) -> dict[str, np.ndarray]:
    """Embed recordings.

    Args:
        records: files, or recordings already read.
        model: a model folder.

    Returns:
        "records" (n,) names; "features" (n, hidden_size), the encoder's pooled features; and, where the model
        has two towers, "ecg_embeds" (n, projection_size), L2-normalised, in the space shared with texts.
    """
    opened, processor = load_model(model, "encode")
    two_towers = callable(getattr(opened, "get_ecg_features", None))
    features, embeds = [], []
    for batch in input_batches(opened, processor, map(_read, records), total=len(records)):
        features.append(opened.encode(batch).pooler_output.float().cpu())
        if two_towers:
            embeds.append(opened.get_ecg_features(batch).float().cpu())
    names = [str(record) if isinstance(record, str | Path) else record.name for record in records]
    result = {"records": np.array(names), "features": torch.cat(features).numpy()}
    return result | ({"ecg_embeds": torch.cat(embeds).numpy()} if two_towers else {})


def _read(record: Recording) -> ECG:
    return record if isinstance(record, ECG) else io.read(record)


class _ECGPipeline(Pipeline):
    """Reads recordings with `ecglm.read` and prepares them with the model's own feature extractor."""

    _load_processor = True
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False

    ability = "encode"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model.eval()
        if not callable(getattr(self.model, self.ability, None)):
            raise ValueError(f"{type(self.model).__name__} {_ABILITIES[self.ability]}")

    def preprocess(self, input_: Recording, **_: Any) -> dict[str, Any]:
        """One recording or its path → tensor and warnings."""
        ecg = _read(input_)
        values = self.feature_extractor(ecg, return_tensors="pt")["input_values"]
        # not named input_values: transformers' collator would pad that with the extractor's padding value;
        # one list around the warnings, because the collator joins them as it joins tensors of batch size 1
        return {"recordings": values, "warnings": [self.feature_extractor.inspect(ecg)]}


class ZeroShotECGClassificationPipeline(_ECGPipeline):
    """Scores recordings against texts.

    Example:
        >>> classify = pipeline("zero-shot-ecg-classification", model="FOLDER")
        >>> classify("39000.hea", candidate_labels=["atrial fibrillation", "sinus rhythm"])
        [{'label': 'sinus rhythm', 'prompt': …, 'score': 0.93, 'kind': 'probability', 'warnings': []}, …]

    Call arguments: `candidate_labels`, texts, each put into `hypothesis_template` ("{}"); or `prompts`, a
    prompt set, or the name of one, whose first group it takes. Returns one list per recording, the highest
    score first.
    """

    ability = "get_text_features"

    def _sanitize_parameters(
        self,
        candidate_labels: Sequence[str] | str | None = None,
        hypothesis_template: str = "{}",
        prompts: PromptSet | str | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise ValueError(
                f"unknown argument {', '.join(unknown)}; "
                "it takes candidate_labels, hypothesis_template and prompts"
            )
        if candidate_labels is not None and prompts is not None:
            raise ValueError("give candidate_labels or prompts, not both")
        if prompts is not None:
            known = load_prompts(prompts, groups_of(prompts)[0]) if isinstance(prompts, str) else prompts
            texts = {label: known.texts_by_member(label) for label in known.labels}
            return {}, {"texts": texts, "combine": known.combine}, {}
        if candidate_labels is None:
            return {}, {}, {}
        labels = [candidate_labels] if isinstance(candidate_labels, str) else list(candidate_labels)
        if "{}" not in hypothesis_template:
            raise ValueError(f"hypothesis_template must hold '{{}}', got {hypothesis_template!r}")
        return {}, {"texts": {label: [[hypothesis_template.replace("{}", label)]] for label in labels}}, {}

    def _forward(
        self,
        model_inputs: dict[str, Any],
        texts: Mapping[str, list[list[str]]] | None = None,
        combine: str = "mean",
    ) -> dict[str, Any]:
        if texts is None:
            raise ValueError("give candidate_labels (texts) or prompts (a prompt set)")
        key = (texts, combine)
        if getattr(self, "_scorer_key", None) != key:  # texts are embedded once, not once per recording
            self._scorer = LabelScorer(self.model, self.processor, texts, combine)
            self._scorer_key = key
        scores, best = self._scorer(self.model.get_ecg_features(model_inputs["recordings"]))
        return {"scores": torch.from_numpy(scores), "best": torch.from_numpy(best)} | {
            "warnings": model_inputs["warnings"]
        }

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> list[dict[str, Any]]:
        """Scores of one recording → list of dictionaries, the highest score first."""
        scores, best = model_outputs["scores"][0], model_outputs["best"][0].tolist()
        return [
            {
                "label": self._scorer.labels[k],
                "prompt": self._scorer.texts[best[k]],
                "score": float(scores[k]),
                "kind": self._scorer.kind,
                "warnings": model_outputs["warnings"][0],
            }
            for k in torch.argsort(scores, descending=True, stable=True).tolist()
        ]


class ECGFeatureExtractionPipeline(_ECGPipeline):
    """The encoder's pooled features of recordings, each a list of hidden_size numbers.

    Example:
        >>> features = pipeline("ecg-feature-extraction", model="FOLDER")("39000.hea")

    What is wrong with a recording (a flat lead, say) goes to the log.
    """

    _load_processor = None
    _load_feature_extractor = True

    def _sanitize_parameters(self, **unknown: Any) -> tuple[dict, dict, dict]:
        if unknown:
            raise ValueError(f"unknown argument {', '.join(unknown)}; it takes recordings only")
        return {}, {}, {}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        features = self.model.encode(model_inputs["recordings"]).pooler_output
        return {"features": features, "warnings": model_inputs["warnings"]}

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> list[float]:
        """Features of one recording → list of numbers."""
        for warning in model_outputs["warnings"][0]:
            logger.warning("%s", warning)
        return model_outputs["features"][0].tolist()


PIPELINE_REGISTRY.register_pipeline(
    "zero-shot-ecg-classification", ZeroShotECGClassificationPipeline, pt_model=AutoModel, type="multimodal"
)
PIPELINE_REGISTRY.register_pipeline(
    "ecg-feature-extraction", ECGFeatureExtractionPipeline, pt_model=AutoModel, type="multimodal"
)
