"""transformers' pipelines over ecglm's models, registered when `ecglm.models` is imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from ecglm import io
from ecglm.ecg import ECG
from ecglm.models._inference import ABILITIES, LabelScorer, decode_reports, generate_reports
from ecglm.prompts import PromptSet, groups_of, load_prompts

_log = logging.getLogger(__name__)

Recording = str | Path | ECG


def read_recording(record: Recording, **hints: Any) -> ECG:
    """A recording as it is, or read from its file with hints as `ecglm.read` takes them.

    Raises:
        ValueError: if a recording already read comes with hints, or a file cannot be read.
    """
    if not isinstance(record, ECG):
        return io.read(record, **hints)
    if hints:
        raise ValueError(f"{', '.join(hints)} say how to read a file; {record.name} is read already")
    return record


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
            raise ValueError(f"{type(self.model).__name__} {ABILITIES[self.ability]}")

    def preprocess(self, input_: Recording, **_: Any) -> dict[str, Any]:
        """One recording or its path → tensor and warnings."""
        ecg = read_recording(input_)
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
            _log.warning("%s", warning)
        return model_outputs["features"][0].tolist()


class ECGToTextPipeline(_ECGPipeline):
    """Writes text about recordings: the draft alone. `ecglm.report.draft` adds findings and checks.

    Example:
        >>> write = pipeline("ecg-to-text", model="FOLDER")
        >>> write("39000.hea")
        {'generated_text': 'sinus rhythm. normal ecg.', 'warnings': []}

    Call arguments: `max_new_tokens` and `num_beams`, as transformers' `generate` has them.
    """

    ability = "generate"

    def _sanitize_parameters(
        self, max_new_tokens: int | None = None, num_beams: int | None = None, **unknown: Any
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise ValueError(f"unknown argument {', '.join(unknown)}; it takes max_new_tokens and num_beams")
        given = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        return {}, {key: value for key, value in given.items() if value is not None}, {}

    def _forward(self, model_inputs: dict[str, Any], **settings: Any) -> dict[str, Any]:
        sequences = generate_reports(self.model, self.processor, model_inputs["recordings"], **settings)
        return {"sequences": sequences, "warnings": model_inputs["warnings"]}

    def postprocess(self, model_outputs: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Text of one recording → dictionary."""
        (text,) = decode_reports(self.processor, model_outputs["sequences"])
        return {"generated_text": text, "warnings": model_outputs["warnings"][0]}


PIPELINE_REGISTRY.register_pipeline(
    "zero-shot-ecg-classification", ZeroShotECGClassificationPipeline, pt_model=AutoModel, type="multimodal"
)
PIPELINE_REGISTRY.register_pipeline(
    "ecg-feature-extraction", ECGFeatureExtractionPipeline, pt_model=AutoModel, type="multimodal"
)
PIPELINE_REGISTRY.register_pipeline("ecg-to-text", ECGToTextPipeline, pt_model=AutoModel, type="multimodal")
