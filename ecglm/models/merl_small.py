"""MERL-small: our own pretraining for a few thousand recordings and a laptop.

After the idea of MERL (Liu et al., ICML 2024, arXiv:2403.06659): an ECG encoder and a text encoder meet in a
shared space, and prompts of clinical knowledge classify. The rest is chosen for small corpora, each choice
measured in docs/experiments.md:

- A recording is compared with single statements, not with one joined report: a sigmoid loss over all pairs of
  a batch (Zhai et al. 2023, arXiv:2303.15343) with many positives per recording, so that a sentence shared by
  two thirds of the corpus is nobody's negative. Scale and bias of the logits are learnt.
- A squeeze-excitation ResNet of half a million parameters at 100 Hz. It has no table of positions and pools
  over time, so it trains on crops and reads whole recordings.
- A logit is the evidence for one statement, so its sigmoid is a probability; `calibration_scale` and
  `calibration_bias` (Platt 1999), fitted on recordings held back, correct it.

Approximate: there is no published original.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ecglm.layers import SqueezeExcitationBlock, pool_text
from ecglm.losses import sigmoid_loss
from ecglm.models._base import ContrastiveOutput, ECGTextModel, load_ecg_model, load_text_model
from ecglm.models._registry import register


class MERLSmallConfig(PreTrainedConfig):
    """Configuration of `MERLSmallModel`; the sizes are those of `merl/pretrain_small`.

    Args:
        num_leads: rows of `input_values`.
        stem_kernel_size: samples of the first convolution, which halves the rate.
        kernel_size: samples of all others.
        hidden_sizes: channels of each stage; every stage halves the rate.
        depths: blocks of each stage.
        projection_hidden_size: width inside the perceptron that projects texts into the shared space.
        projection_size: width of the shared space.
        dropout: probability, in the blocks and before the ECG's projection.
        text_dropout: probability, in the texts' projection.
        text_config: configuration of the text encoder, any that `AutoModel` knows; None: a BERT of two
            layers.
        text_model: where `MERLSmallModel.build` takes the text encoder's weights and `text_config` from: a
            hub name, a folder, or "sentence-encoder" (the `text` extra). None: from scratch.
        ecg_model: folder of a trained MERL-small from which `build` takes the ECG encoder, its sizes and its
            weights; the rest starts afresh. None: the encoder too.
        text_pooling: "mean" of the tokens, "pooler" (the encoder's own) or "cls" (the first).
        freeze_text: leave the text encoder as it is and in eval mode; its projection is learnt.
        initial_scale: factor of the cosines at the start.
        initial_bias: added to them; about the logit of how often a statement is true.
        calibration_scale: factor of the logits in `probabilities`.
        calibration_bias: added to them there.

    Raises:
        ValueError: if sizes contradict each other.
    """

    model_type = "ecglm_merl_small"
    sub_configs = {"text_config": AutoConfig}

    num_leads: int = 12
    stem_kernel_size: int = 15
    kernel_size: int = 7
    hidden_sizes: tuple[int, ...] | list[int] = (32, 48, 64, 96, 128)
    depths: tuple[int, ...] | list[int] = (1, 1, 1, 1, 1)
    projection_hidden_size: int = 256
    projection_size: int = 128
    dropout: float = 0.3
    text_dropout: float = 0.1
    text_config: dict | PreTrainedConfig | None = None
    text_model: str | None = None
    ecg_model: str | None = None
    text_pooling: str = "mean"
    freeze_text: bool = False
    initial_scale: float = 10.0
    initial_bias: float = -3.0
    calibration_scale: float = 1.0
    calibration_bias: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        if len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"hidden_sizes and depths must be of one length; got {self.hidden_sizes} and {self.depths}"
            )
        if self.kernel_size % 2 == 0 or self.stem_kernel_size % 2 == 0:
            raise ValueError(
                f"kernel sizes must be odd; got stem_kernel_size {self.stem_kernel_size} and "
                f"kernel_size {self.kernel_size}"
            )
        if not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = AutoConfig.for_model(**(TEXT_CONFIG | (self.text_config or {})))
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of the ECG features."""
        return self.hidden_sizes[-1]


class MERLSmallEncoder(nn.Module):
    """Squeeze-excitation ResNet over recordings of any length."""

    def __init__(self, config: MERLSmallConfig) -> None:
        super().__init__()
        width, kernel = config.hidden_sizes[0], config.stem_kernel_size
        self.conv1 = nn.Conv1d(config.num_leads, width, kernel, stride=2, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        blocks = []
        for channels, depth in zip(config.hidden_sizes, config.depths, strict=True):
            for index in range(depth):
                stride = 2 if index == 0 else 1
                blocks.append(
                    SqueezeExcitationBlock(width, channels, config.kernel_size, stride, config.dropout)
                )
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.pooler = nn.Linear(2 * width, width)

    def forward(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """(batch, num_leads, num_samples) → as `MERLSmallModel.encode`."""
        x = self.blocks(F.relu(self.bn1(self.conv1(input_values))))  # (batch, hidden_size, positions)
        pooled = self.pooler(torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=-1))
        return BaseModelOutputWithPooling(last_hidden_state=x.transpose(1, 2), pooler_output=pooled)


class MERLSmallModel(ECGTextModel):
    """Two towers and one sigmoid loss over recordings × statements."""

    config_class = MERLSmallConfig
    base_model_prefix = "merl_small"
    batch_format = "statements"
    encoder_parts = ("ecg_encoder",)
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MERLSmallConfig) -> None:
        super().__init__(config)
        self.ecg_encoder = MERLSmallEncoder(config)
        self.ecg_projection = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(config.hidden_size, config.projection_size)
        )
        self.text_model = AutoModel.from_config(config.text_config)
        self.text_projection = nn.Sequential(
            nn.Dropout(config.text_dropout),
            nn.Linear(config.text_config.hidden_size, config.projection_hidden_size),
            nn.GELU(),
            nn.Dropout(config.text_dropout),
            nn.Linear(config.projection_hidden_size, config.projection_size),
        )
        self.logit_scale = nn.Parameter(torch.empty(()))  # logarithm of the factor
        self.logit_bias = nn.Parameter(torch.empty(()))
        self.text_model.requires_grad_(not config.freeze_text)
        if config.text_pooling != "pooler" and getattr(self.text_model, "pooler", None) is not None:
            self.text_model.pooler.requires_grad_(False)  # BERT brings one, and nothing reads it
        self._frozen_texts: dict[bytes, torch.Tensor] = {}
        self.post_init()

    @classmethod
    def build(cls, config: MERLSmallConfig) -> "MERLSmallModel":
        """A fresh model, beside the encoders that `config.text_model` and `config.ecg_model` name.

        Raises:
            ValueError: if one cannot be loaded, or `config.ecg_model` is of another kind.
            FileNotFoundError: if the text encoder is the sentence encoder and the `text` extra is missing.
        """
        text_model = load_text_model(config.text_model, config.text_pooling) if config.text_model else None
        donor = load_ecg_model(config.ecg_model) if config.ecg_model else None
        if text_model is not None:
            config.text_config = text_model.config
        if donor is not None:
            if not isinstance(donor, cls):
                raise ValueError(
                    f"ecg_model: {config.ecg_model} holds a model of type {donor.config.model_type}; "
                    f"its encoder can only be that of a model of type {config.model_type}"
                )
            for name in ("num_leads", "stem_kernel_size", "kernel_size", "hidden_sizes", "depths"):
                setattr(config, name, getattr(donor.config, name))
        model = cls(config)
        if text_model is not None:
            model.text_model.load_state_dict(text_model.state_dict())
            model.pretrained_parts += ("text_model.",)
        if donor is not None:
            model.ecg_encoder.load_state_dict(donor.ecg_encoder.state_dict())
            model.donor_extractor = AutoFeatureExtractor.from_pretrained(config.ecg_model)
            model.pretrained_parts += ("ecg_encoder.",)
        return model

    def _init_weights(self, module: nn.Module) -> None:
        # PyTorch's own initialisation for what is ours; the text encoder brings its own.
        if module is self:
            init.constant_(self.logit_scale, math.log(self.config.initial_scale))
            init.constant_(self.logit_bias, self.config.initial_bias)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()

    def adopt_processor(self, processor: Any) -> None:
        """Give a text encoder from scratch as many embeddings as the tokenizer has tokens.

        Padding goes to the right, or a text's positions, and so its embedding, would hang on its neighbours.
        """
        super().adopt_processor(processor)
        processor.tokenizer.padding_side = "right"
        if self.config.text_model is None and len(processor.tokenizer) != self.config.text_config.vocab_size:
            self.text_model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)

    def train(self, mode: bool = True) -> "MERLSmallModel":
        """As in PyTorch, but a frozen text encoder stays in eval mode."""
        super().train(mode)
        if self.config.freeze_text:
            self.text_model.eval()
        return self

    def encode(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """ECG features before the projection.

        Args:
            input_values: (batch, num_leads, num_samples); any number of samples.

        Returns:
            `last_hidden_state` (batch, positions, hidden_size), a position for 64 samples at the default
            depth; `pooler_output` (batch, hidden_size), a linear map of their mean and maximum: a premature
            beat is one position among many.

        Raises:
            ValueError: if the number of leads is another.
        """
        if input_values.ndim != 3 or input_values.shape[1] != self.config.num_leads:
            raise ValueError(
                f"input_values must be (batch, {self.config.num_leads} leads, samples), got "
                f"{tuple(input_values.shape)}; prepare recordings with the processor saved beside the model"
            )
        return self.ecg_encoder(input_values)

    def get_ecg_features(self, input_values: torch.Tensor) -> torch.Tensor:
        """L2-normalised ECG embeddings: (batch, projection_size)."""
        return F.normalize(self.ecg_projection(self.encode(input_values).pooler_output), dim=-1)

    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """L2-normalised text embeddings: (texts, projection_size).

        Args:
            input_ids: (texts, tokens).
            attention_mask: (texts, tokens), 0 for padding.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        encode = self._encode_frozen_texts if self.config.freeze_text else self._encode_texts
        return F.normalize(self.text_projection(encode(input_ids, attention_mask)), dim=-1)

    def _encode_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(texts, tokens) → (texts, text hidden_size)."""
        output = self.text_model(input_ids=input_ids, attention_mask=attention_mask)
        return pool_text(output, attention_mask, self.config.text_pooling)

    def _encode_frozen_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The same for an encoder that does not learn: each text once, as the same statements come again."""
        keys = [
            row[mask.bool()].cpu().numpy().tobytes()
            for row, mask in zip(input_ids, attention_mask, strict=True)
        ]
        new = [index for index, key in enumerate(keys) if key not in self._frozen_texts]
        if new:
            if len(self._frozen_texts) > TEXT_CACHE:
                self._frozen_texts.clear()
                new = list(range(len(keys)))
            with torch.no_grad():
                pooled = self._encode_texts(input_ids[new], attention_mask[new])
            self._frozen_texts |= {keys[index]: row for index, row in zip(new, pooled.cpu(), strict=True)}
        return torch.stack([self._frozen_texts[key] for key in keys]).to(input_ids.device)

    def similarity(self, ecg_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """Logit of each statement being true of each ECG: (batch, texts)."""
        return ecg_embeds @ text_embeds.T * self.logit_scale.exp() + self.logit_bias

    def probabilities(self, logits_per_ecg: torch.Tensor) -> torch.Tensor:
        """Calibrated probability that each text is true of each ECG; Platt 1999."""
        return torch.sigmoid(self.config.calibration_scale * logits_per_ecg + self.config.calibration_bias)

    def forward(
        self,
        input_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
    ) -> ContrastiveOutput:
        """Both towers, and the loss where targets are given.

        Args:
            input_values: (batch, num_leads, num_samples).
            input_ids: (texts, tokens), statements.
            attention_mask: (texts, tokens), 0 for padding.
            targets: (batch, texts): 1 where the statement is true of the recording, 0 where it is not,
                between for mixed-up recordings, negative where nothing is known.

        Returns:
            `loss`, the mean over the known pairs; `logits_per_ecg` (batch, texts); `ecg_embeds` and
            `text_embeds`, L2-normalised.

        Raises:
            ValueError: if `targets` has another shape than the logits.
        """
        ecg_embeds = self.get_ecg_features(input_values)
        text_embeds = self.get_text_features(input_ids, attention_mask)
        logits = self.similarity(ecg_embeds, text_embeds)
        loss = None
        if targets is not None:
            if targets.shape != logits.shape:
                raise ValueError(
                    f"targets must be (recordings, texts) = {tuple(logits.shape)}, got {tuple(targets.shape)}"
                )
            loss = sigmoid_loss(logits, targets)
        return ContrastiveOutput(
            loss=loss, logits_per_ecg=logits, ecg_embeds=ecg_embeds, text_embeds=text_embeds
        )


TEXT_CONFIG = dict(
    model_type="bert",
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=256,
    max_position_embeddings=256,
)
"""The text encoder trained from scratch beside the ECG's."""

TEXT_CACHE = 100_000
"""Texts of a frozen encoder that are kept: 154 MB at width 384."""

register(
    MERLSmallConfig,
    tiny=dict(
        stem_kernel_size=7,
        kernel_size=3,
        hidden_sizes=[8, 16],
        depths=[1, 2],
        projection_hidden_size=16,
        projection_size=16,
        text_model=None,
        text_config=dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32),
        freeze_text=False,
    ),
    AutoModel=MERLSmallModel,
)
