"""ECG → language model: an encoder's features stand in for placeholder tokens of any causal language model.

No single paper: this is the shape that LLaVA gave to multimodal language models (Liu et al. 2023,
arXiv:2304.08485) and that the ECG language models share. Systems of that kind are this class with their
own configuration, prompts and recipe.

    recording → encoder → (batch, positions, width) → projector → (batch, num_ecg_tokens, text width)
    text      → tokens, `<ecg>` repeated num_ecg_tokens times → embeddings, those of `<ecg>` replaced by
    the projector's output

The encoder is any system that has `encode`, the language model any that `AutoModelForCausalLM` knows. The
loss is the language model's own, on the tokens that the collator labels: those of the report. In
`generate` the recording is read once, in the first step; afterwards the cache holds it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast

from ecglm.models._base import ECGPreTrainedModel, load_ecg_model, load_language_model
from ecglm.models._registry import register
from ecglm.processors import ECGProcessor
from ecglm.prompts import chat_template

_POOLINGS = ("adaptive", "queries", "none")
_NUM_QUERY_HEADS = 4


class ECGLLMConfig(PreTrainedConfig):
    """Configuration of `ECGLLMForConditionalGeneration`.

    Args:
        ecg_config: configuration of the encoder, any registered system with `encode`; `model_type` says
            which.
        text_config: configuration of the language model, any that `AutoModelForCausalLM` knows.
        ecg_model: folder from which `build` takes the encoder's weights and `ecg_config`; None: drawn
            afresh.
        text_model: folder or hub name from which `build` takes the language model's weights and
            `text_config`; None: drawn afresh.
        num_ecg_tokens: placeholder tokens per recording.
        pooling: how the encoder's positions become `num_ecg_tokens`: "adaptive" averages neighbours,
            "queries" lets learned queries attend to all positions, "none" takes them as they are (there
            must be exactly as many).
        pooled_token: the first of the tokens is the encoder's pooled feature, which its pretraining has
            shaped; the positions share the others.
        projector_hidden_size: width inside the projector; None: that of the language model.
        projector_dropout: probability, on the encoder's features.
        ecg_token_id: id of `<ecg>`; set by `adopt_processor`.

    Raises:
        ValueError: if a name is not among those allowed, or a part has no configuration.
    """

    model_type = "ecglm_ecg_llm"
    sub_configs = {"ecg_config": AutoConfig, "text_config": AutoConfig}

    ecg_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    ecg_model: str | None = None
    text_model: str | None = None
    num_ecg_tokens: int = 16
    pooling: str = "adaptive"
    pooled_token: bool = False
    projector_hidden_size: int | None = None
    projector_dropout: float = 0.0
    ecg_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.pooling not in _POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(_POOLINGS)}; got {self.pooling!r}")
        if self.num_ecg_tokens < 1 + self.pooled_token:
            least = "2 with pooled_token" if self.pooled_token else "1"
            raise ValueError(f"num_ecg_tokens must be at least {least}, got {self.num_ecg_tokens}")
        self.ecg_config = _sub_config(self.ecg_config, "ecglm_merl_small")
        self.text_config = _sub_config(self.text_config, "llama")
        super().__post_init__(**kwargs)


def _sub_config(given: dict | PreTrainedConfig | None, default: str) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    arguments = dict(given or {})
    model_type = arguments.pop("model_type", default)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"no model has the model_type {model_type!r}; `ecglm ls systems` lists the encoders")
    return CONFIG_MAPPING[model_type](**arguments)


class ECGProjector(nn.Module):
    """Encoder features → embeddings of the language model: pooling over time, then a two-layer perceptron."""

    def __init__(self, config: ECGLLMConfig) -> None:
        super().__init__()
        width, text_width = config.ecg_config.hidden_size, config.text_config.hidden_size
        self.num_positions = config.num_ecg_tokens - config.pooled_token
        self.pooling = config.pooling
        self.pooled_token = config.pooled_token
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.projector_dropout)
        if config.pooling == "queries":
            self.queries = nn.Parameter(torch.empty(self.num_positions, width))
            self.attention = nn.MultiheadAttention(width, _NUM_QUERY_HEADS, batch_first=True)
        if config.pooled_token:
            self.pooled_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, config.projector_hidden_size or text_width)
        self.out = nn.Linear(config.projector_hidden_size or text_width, text_width)

    def forward(self, encoded: BaseModelOutputWithPooling) -> torch.Tensor:
        """What an encoder's `encode` returns → (batch, num_ecg_tokens, text width).

        Raises:
            ValueError: if pooling is "none" and the encoder gives another number of positions.
        """
        x = self.norm(encoded.last_hidden_state)  # (batch, positions, width)
        if self.pooling == "adaptive":
            x = F.adaptive_avg_pool1d(x.transpose(1, 2), self.num_positions).transpose(1, 2)
        elif self.pooling == "queries":
            x, _ = self.attention(self.queries.expand(len(x), -1, -1), x, x, need_weights=False)
        elif x.shape[1] != self.num_positions:
            raise ValueError(
                f"the encoder gives {x.shape[1]} positions and num_ecg_tokens leaves {self.num_positions}; "
                "make them equal or choose pooling 'adaptive' or 'queries'"
            )
        if self.pooled_token:
            x = torch.cat([self.pooled_norm(encoded.pooler_output).unsqueeze(1), x], dim=1)
        return self.out(F.gelu(self.hidden(self.dropout(x))))


class ECGLLMForConditionalGeneration(ECGPreTrainedModel, GenerationMixin):
    """Writes text about a recording."""

    config_class = ECGLLMConfig
    base_model_prefix = "ecg_llm"
    main_input_name = "input_ids"
    batch_format = "chat"
    accepts_loss_kwargs = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: ECGLLMConfig) -> None:
        super().__init__(config)
        self.ecg_model = AutoModel.from_config(config.ecg_config)
        if not isinstance(self.ecg_model, ECGPreTrainedModel) or isinstance(self.ecg_model, type(self)):
            raise ValueError(
                f"ecg_config: a model of type {config.ecg_config.model_type!r} cannot be the encoder; "
                "name another of the systems that `ecglm ls systems` lists"
            )
        if self.ecg_model.encoder_parts:
            for name, _ in list(self.ecg_model.named_children()):
                if name not in self.ecg_model.encoder_parts:
                    # Not deleted: the encoder's own code may still call `.eval()` on it.
                    setattr(self.ecg_model, name, nn.Identity())
        self.projector = ECGProjector(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @classmethod
    def build(cls, config: ECGLLMConfig) -> "ECGLLMForConditionalGeneration":
        """A fresh projector between the encoder and the language model that the configuration names.

        Raises:
            ValueError: if a folder or hub name cannot be loaded, or holds no encoder.
        """
        ecg_model = load_ecg_model(config.ecg_model) if config.ecg_model else None
        text_model = load_language_model(config.text_model) if config.text_model else None
        if ecg_model is not None:
            config.ecg_config = ecg_model.config
        if text_model is not None:
            config.text_config = text_model.config
        model = cls(config)
        if ecg_model is not None:
            # Parts of the donor that `encode` does not need are left behind.
            model.ecg_model.load_state_dict(ecg_model.state_dict(), strict=False)
            model.donor_extractor = AutoFeatureExtractor.from_pretrained(config.ecg_model)
            model.pretrained_parts += ("ecg_model.",)
        if text_model is not None:
            model.language_model.load_state_dict(text_model.state_dict())
            model.generation_config = text_model.generation_config
            model.pretrained_parts += ("language_model.",)
        return model

    def adopt_processor(self, processor: ECGProcessor) -> None:
        """Make model and processor agree on placeholder, special tokens and size of the vocabulary.

        The tokenizer gets `<ecg>`, a pad token and a chat template where it has none; a language model drawn
        afresh takes the tokenizer's vocabulary size, a pretrained one only grows.

        Raises:
            ValueError: if the processor prepares recordings in another way than the encoder's own did.
        """
        super().adopt_processor(processor)
        tokenizer = processor.tokenizer
        if processor.ecg_token not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [processor.ecg_token]})
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.chat_template is None:
            tokenizer.chat_template = chat_template("plain")
        tokenizer.padding_side = "left"  # so that every prompt of a batch ends where generation starts
        processor.num_ecg_tokens = self.config.num_ecg_tokens

        size = self.language_model.get_input_embeddings().num_embeddings
        if len(tokenizer) > size or (self.config.text_model is None and len(tokenizer) != size):
            self.language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        self.config.text_config.vocab_size = self.language_model.get_input_embeddings().num_embeddings
        self.config.ecg_token_id = tokenizer.convert_tokens_to_ids(processor.ecg_token)
        self.generation_config.suppress_tokens = [self.config.ecg_token_id]  # a text has no use for it
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(tokenizer, name)
            setattr(self.config.text_config, name, value)
            if (
                name == "pad_token_id" or self.config.text_model is None
            ):  # a chat model's own list of end marks is kept
                setattr(self.generation_config, name, value)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ECGProjector) and module.pooling == "queries":
            init.normal_(module.queries, std=module.queries.shape[-1] ** -0.5)
        elif isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
        elif isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()

    def train(self, mode: bool = True) -> "ECGLLMForConditionalGeneration":
        """As in PyTorch, but a wholly frozen encoder stays in eval mode: its running means must not move."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.ecg_model.parameters()):
            self.ecg_model.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """The language model's."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_output_embeddings()

    def encode(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """The encoder's features, before the projector.

        Args:
            input_values: (batch, num_leads, num_samples).

        Returns:
            `last_hidden_state` (batch, positions, hidden_size) and `pooler_output` (batch, hidden_size).
        """
        return self.ecg_model.encode(input_values)

    def get_ecg_tokens(self, input_values: torch.Tensor) -> torch.Tensor:
        """What stands in for the placeholders: (batch, num_ecg_tokens, text width)."""
        return self.projector(self.encode(input_values))

    def forward(
        self,
        input_ids: torch.Tensor,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """One pass of the language model over text and recordings.

        Args:
            input_ids: (batch, tokens); each text holds `num_ecg_tokens` placeholders per recording.
            input_values: (recordings, num_leads, num_samples), in the order in which the texts speak of
                them; None only where no text has a placeholder, as in the later steps of `generate`.
            attention_mask: (batch, tokens), 0 for padding.
            labels: (batch, tokens), -100 where no loss is wanted.
            kwargs: for the language model: `past_key_values`, `position_ids`, `use_cache`,
                `logits_to_keep`, and `num_items_in_batch`, the labelled tokens of the whole accumulated
                batch, by which its summed loss is divided.

        Returns:
            `loss`, mean over the labelled tokens, and `logits` (batch, tokens, vocabulary).

        Raises:
            ValueError: if placeholders and recordings do not match.
        """
        embeds = self.get_input_embeddings()(input_ids)  # (batch, tokens, text width)
        places = input_ids == self.config.ecg_token_id
        count = int(places.sum())
        wanted = 0 if input_values is None else len(input_values) * self.config.num_ecg_tokens
        if count != wanted:
            raise ValueError(
                f"the texts hold {count} placeholders for ECG tokens and the recordings fill {wanted}; "
                "let the model's own processor write the prompt: processor.chat(messages)"
            )
        if input_values is not None:
            tokens = self.get_ecg_tokens(input_values).to(embeds)
            embeds = embeds.masked_scatter(places.unsqueeze(-1), tokens)
        return self.language_model(
            inputs_embeds=embeds, attention_mask=attention_mask, labels=labels, **kwargs
        )

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """As transformers does it; with a cache the recording is handed on in the first step only."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            inputs.pop("input_values", None)
        return inputs


register(
    ECGLLMConfig,
    tiny=dict(
        ecg_config=dict(
            model_type="ecglm_merl_small",
            hidden_sizes=[8, 16],
            depths=[1, 1],
            projection_hidden_size=8,
            projection_size=8,
            text_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1),
        ),
        text_config=dict(
            model_type="llama",
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=512,
            tie_word_embeddings=True,
        ),
        num_ecg_tokens=4,
        pooling="queries",
        pooled_token=True,
        ecg_model=None,
        text_model=None,
    ),
    tiny_processor=dict(sampling_rate=100),
    AutoModel=ECGLLMForConditionalGeneration,
    AutoModelForImageTextToText=ECGLLMForConditionalGeneration,
)
