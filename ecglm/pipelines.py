"""What a trained model is asked for: scores of texts (`classify`) and embeddings (`embed`) of recordings.

The same, as `transformers.pipeline` offers it, lies in `ecglm/models/_pipelines.py`: `import ecglm.models`
registers the tasks "zero-shot-ecg-classification", "ecg-feature-extraction" and "ecg-to-text".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecglm.models._inference import LabelScorer, embed_texts, input_batches, load_model
from ecglm.models._pipelines import (
    ECGFeatureExtractionPipeline,
    Recording,
    ZeroShotECGClassificationPipeline,
    read_recording,
)
from ecglm.prompts import groups_of, load_prompts

__all__ = [
    "ECGFeatureExtractionPipeline",
    "LabelScorer",
    "ZeroShotECGClassificationPipeline",
    "classify",
    "embed",
    "embed_texts",
    "input_batches",
    "load_model",
]


def classify(
    records: Sequence[Recording],
    model: str | Path,
    prompts: Sequence[str] | None = None,
    prompt_set: str | None = None,
    group: str | None = None,
    **hints: Any,
) -> list[dict[str, Any]]:
    """Score recordings against texts or against the labels of a prompt set.

    Args:
        records: files, or recordings already read.
        model: a model folder.
        prompts: texts, each its own label; or
        prompt_set: name of a shipped prompt set, such as "ckepe/ptbxl", or the path of one; its first group
            of labels, unless `group` names another.
        group: of the prompt set.
        **hints: what the files do not say, as `ecglm.read` takes it: `sampling_rate`, `unit`, `leads` ….

    Returns:
        For each record {"record", "kind", "scores": [{"label", "prompt", "score"}, …] with the highest first,
        "warnings"}; "prompt" is the label's text that fits best.

    Raises:
        ValueError: if a record or the folder cannot be used, or if not exactly one of `prompts` and
            `prompt_set` is given.
    """
    if not prompts and prompt_set is None or prompts and prompt_set is not None:
        raise ValueError("give either texts (--prompt TEXT) or a prompt set (--prompts SET)")
    if prompt_set is not None:
        labels: dict[str, Any] = {"prompts": load_prompts(prompt_set, group or groups_of(prompt_set)[0])}
    else:
        labels = {"candidate_labels": list(prompts)}
    opened, processor = load_model(model, "get_text_features")
    pipe = ZeroShotECGClassificationPipeline(
        model=opened, processor=processor, task="zero-shot-ecg-classification", device=opened.device
    )
    results = []
    for record in records:
        ecg = read_recording(record, **hints)
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
def embed(records: Sequence[Recording], model: str | Path, **hints: Any) -> dict[str, np.ndarray]:
    """Embed recordings.

    Args:
        records: files, or recordings already read.
        model: a model folder.
        **hints: what the files do not say, as `ecglm.read` takes it.

    Returns:
        "records" (n,) names; "features" (n, hidden_size), the encoder's pooled features; and, where the model
        has two towers, "ecg_embeds" (n, projection_size), L2-normalised, in the space shared with texts.
    """
    opened, processor = load_model(model, "encode")
    two_towers = callable(getattr(opened, "get_ecg_features", None))
    features, embeds = [], []
    read = (read_recording(record, **hints) for record in records)
    for batch in input_batches(opened, processor, read, total=len(records)):
        features.append(opened.encode(batch).pooler_output.float().cpu())
        if two_towers:
            embeds.append(opened.get_ecg_features(batch).float().cpu())
    names = [str(record) if isinstance(record, str | Path) else record.name for record in records]
    result = {"records": np.array(names), "features": torch.cat(features).numpy()}
    return result | ({"ecg_embeds": torch.cat(embeds).numpy()} if two_towers else {})
