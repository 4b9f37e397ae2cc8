"""What every system's models share: base classes, the batch they eat, the output of a contrastive step."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from ecglm.assets import resolve_text_model
from ecglm.processors import ECGFeatureExtractor


class ECGPreTrainedModel(PreTrainedModel):
    """Base of every model: saving and loading are transformers', the objective is the model's own.

    `accepts_loss_kwargs` is False because Trainer takes any `forward(**kwargs)` for one that returns a token
    sum, and then multiplies gradients by the number of accumulation steps.
    """

    accepts_loss_kwargs = False
    main_input_name = "input_values"
    batch_format = "pairs"
    """Which collator feeds `forward`: "pairs", "statements" or "chat"; see `ecglm/collators.py`."""
    encoder_parts: tuple[str, ...] = ()
    """Children that `encode` needs; empty: all. A model built around the encoder leaves the others out."""
    pretrained_parts: tuple[str, ...] = ()
    """Prefixes of the parameters that `build` loaded from elsewhere instead of drawing them."""

    donor_extractor: ECGFeatureExtractor | None = None
    """What prepared recordings for an encoder that `build` took over; ours must prepare them alike."""

    @classmethod
    def build(cls, config: PreTrainedConfig) -> Self:
        """The model as training starts with it: here all weights are drawn afresh.

        A system whose recipe names pretrained parts loads them here and lists them in `pretrained_parts`;
        `from_pretrained` must not need them again.
        """
        return cls(config)

    @classmethod
    def original_config(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        """What a checkpoint of the authors says about its sizes, as arguments of the configuration.

        Args:
            shapes: the authors' key → shape.

        Raises:
            ValueError: if this file cannot be converted; the message says which one can.
        """
        return {}

    def adopt_processor(self, processor: Any) -> None:
        """Make model and processor agree once both are built; systems add special tokens and vocabulary.

        Raises:
            ValueError: if the processor prepares recordings in another way than the encoder's own did.
        """
        if self.donor_extractor is not None:
            wanted, ours = self.donor_extractor, processor.feature_extractor
            names = [name for name in wanted.argument_names() if getattr(wanted, name) != getattr(ours, name)]
            if names:
                settings = ", ".join(f"{name}: {getattr(wanted, name)}" for name in names)
                raise ValueError(
                    f"the encoder in {self.config.ecg_model} reads recordings prepared in another way; "
                    f"set in the recipe's section 'processor' {settings}"
                )

    def encode(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """ECG features before any projection.

        Args:
            input_values: (batch, num_leads, num_samples), as the model's own feature extractor makes them.

        Returns:
            `last_hidden_state` (batch, positions, hidden_size) and `pooler_output` (batch, hidden_size).
        """
        raise TypeError(f"{type(self).__name__} has no ECG encoder")


class ECGTextModel(ECGPreTrainedModel):
    """Two towers, one for ECGs and one for texts, that meet in a shared space."""

    def get_ecg_features(self, input_values: torch.Tensor) -> torch.Tensor:
        """L2-normalised ECG embeddings: (batch, projection_size)."""
        raise TypeError(f"{type(self).__name__} lacks get_ecg_features")

    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """L2-normalised text embeddings: (texts, projection_size)."""
        raise TypeError(f"{type(self).__name__} lacks get_text_features")

    def similarity(self, ecg_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """Scores that order texts by how well they fit an ECG: `logits_per_ecg`, (batch, texts)."""
        return ecg_embeds @ text_embeds.T

    def probabilities(self, logits_per_ecg: torch.Tensor) -> torch.Tensor | None:
        """Calibrated probability that each text is true of each ECG; None where there is only a cosine."""
        return None


@dataclass
class ContrastiveOutput(ModelOutput):
    """What a two-tower model returns.

    `loss` scalar; `loss_parts` named scalars that add up to it; `logits_per_ecg` (batch, texts); `ecg_embeds`
    (batch, projection_size); `text_embeds` (texts, projection_size).
    """

    loss: torch.Tensor | None = None
    loss_parts: dict[str, torch.Tensor] | None = None
    logits_per_ecg: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


def load_ecg_model(name: str) -> PreTrainedModel:
    """The pretrained model whose ECG encoder a recipe takes over, in float32.

    Args:
        name: a folder that `ecglm train` wrote, or a hub name.

    Raises:
        ValueError: if it can be loaded neither from a folder nor from the hub, is of another kind, or its
            weights are incomplete.
    """
    return _named(AutoModel, "ecg_model", name)


def load_language_model(name: str) -> PreTrainedModel:
    """The pretrained causal language model that a recipe names, in float32; as `load_ecg_model`."""
    return _named(AutoModelForCausalLM, "text_model", name)


def _named(auto_class: Any, key: str, name: str) -> PreTrainedModel:
    try:
        return load_whole(auto_class, name, dtype=torch.float32)
    except OSError as error:  # transformers' word for "neither on this machine nor on the hub"
        raise ValueError(
            f"{key} {name!r} is neither a model folder nor can it be fetched from the hub; set "
            f"model.{key} to a folder that `ecglm train` wrote, or leave it out for fresh weights"
        ) from error


def load_whole(
    model_class: Any, name: str | Path, unused: tuple[str, ...] = (), **arguments: Any
) -> PreTrainedModel:
    """`from_pretrained` without its leniency: every weight is in the files and fits.

    Args:
        model_class: one of ours, or one of transformers' Auto classes.
        name: a folder or hub name.
        unused: beginnings of the names of weights that may be lacking, since nothing reads them.
        arguments: of `from_pretrained`.

    Raises:
        OSError: if transformers finds no such model, or no weights in it.
        ValueError: if the model is of another kind, or its files are damaged, incomplete or contradictory.
    """
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)  # its table of what does not fit; the errors below say it in a line
    try:
        model, info = model_class.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
        )
    except (SafetensorError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name} cannot be read ({reason}); train, convert or fetch it again") from error
    except ValueError as error:
        if not str(error).startswith("Unrecognized"):
            raise
        kind = AutoConfig.from_pretrained(name).model_type
        raise ValueError(
            f"{name} holds a model of type {kind!r}, and {model_class.__name__} knows none such"
        ) from error
    finally:
        log.setLevel(level)
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(unused))
    if missing:
        raise ValueError(f"{name}: the weights lack {len(missing)} tensors, such as {missing[0]}")
    for key, stored, wanted in sorted(info["mismatched_keys"]):
        raise ValueError(
            f"{name}: {key} is {tuple(stored)} in the weights and {tuple(wanted)} by the configuration"
        )
    return model


def load_text_model(name: str, pooling: str) -> PreTrainedModel:
    """The pretrained text encoder that a recipe names, in float32.

    Args:
        name: a hub name, a folder, or "sentence-encoder"; see `resolve_text_model`.
        pooling: what will be read of it; many checkpoints come without the pooler, and where nothing reads
            it, none is needed.

    Raises:
        ValueError: if it can be loaded neither from a folder nor from the hub, or its weights are incomplete.
        FileNotFoundError: if it is the sentence encoder and the `text` extra is not installed.
    """
    source = resolve_text_model(name)
    try:
        unused = () if pooling == "pooler" else ("pooler.",)
        return load_whole(AutoModel, source, unused, dtype=torch.float32)
    except OSError as error:  # transformers' word for "neither on this machine nor on the hub"
        raise ValueError(
            f"text model {name!r} is no folder and cannot be fetched from the hub; set model.text_model and "
            "processor.tokenizer to a folder, or both to 'sentence-encoder' (pip install \"ecglm[text]\")"
        ) from error
