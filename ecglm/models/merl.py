"""MERL: zero-shot ECG classification by multimodal learning (Liu et al., ICML 2024, arXiv:2403.06659).

An ECG encoder (ResNet or ViT) and a frozen medical text encoder meet in a shared space. Two losses of equal
weight: cross-modal alignment (CMA) of each ECG with its report, uni-modal alignment (UMA) of two dropout
views of the same ECG. An ECG is classified by the cosine between its embedding and that of a text per class.

Reproduced: both encoders with their heads, the losses, the recipe `merl/pretrain`. `ecglm convert merl` loads
the authors' weights; outputs agree with their code within 1e-5, the loss within 1e-6 (tests/test_merl.py).

Deviations, each with the way back:
- The authors' text encoder runs without gradient whatever their `free_layers` says, but with dropout. Here it
  is frozen and in eval mode; `frozen_text_dropout=True` is the original, `freeze_text=False` trains it.
- The authors cut the gradient of rows gathered from other processes; here it flows, as if one process held
  the whole batch. On one process there is no difference.
- The 10-class `linear` inside the authors' ResNet takes part in nothing and is left out; `convert` names it.
Kept, though unusual: attention pooling adds the first position twice, without which the published weights
give other outputs; identical reports in a batch are negatives of each other.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ecglm.layers import BasicBlock, Bottleneck, TransformerBlock, pool_text
from ecglm.losses import clip_loss
from ecglm.models._base import ContrastiveOutput, ECGTextModel, load_text_model
from ecglm.models._registry import register

ECG_ARCHITECTURES: dict[str, dict[str, Any]] = {  # authors' resnet1d and vit1d modules
    "resnet18": {"hidden_size": 512, "depths": [2, 2, 2, 2]},
    "resnet34": {"hidden_size": 512, "depths": [3, 4, 6, 3]},
    "resnet50": {"hidden_size": 2048, "depths": [3, 4, 6, 3]},
    "resnet101": {"hidden_size": 2048, "depths": [3, 4, 23, 3]},
    "vit_tiny": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
    "vit_small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "vit_middle": {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048},
    "vit_base": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
}
_BOTTLENECKS = ("resnet50", "resnet101")


class MERLConfig(PreTrainedConfig):
    """Configuration of `MERLModel`; by default the published ResNet18 with a text encoder of MedCPT's size.

    Args:
        ecg_architecture: one of `ECG_ARCHITECTURES`; it fills in every size below that is None.
        num_leads: rows of `input_values`.
        num_samples: columns of `input_values`; the table of positions fixes it.
        hidden_size: width of the ECG features.
        depths: residual blocks in each of the four stages. ResNet only.
        num_pooling_heads: heads of the attention pooling. ResNet only.
        patch_size: samples per token. ViT only.
        num_hidden_layers: transformer blocks. ViT only.
        num_attention_heads: ViT only.
        head_size: width of each attention head. ViT only.
        intermediate_size: width inside the blocks' perceptrons. ViT only.
        projection_hidden_size: width inside the perceptrons that project into the shared space.
        projection_size: width of the shared space.
        dropout: probability, makes the two views of UMA.
        temperature: divides the cosines in both losses; not learnt.
        text_config: configuration of the text encoder, any that `AutoModel` knows.
        text_model: where `MERLModel.build` takes the text encoder's weights and `text_config` from: a hub
            name, a folder, or "sentence-encoder" (the `text` extra). None: from scratch.
        text_pooling: "pooler" (the encoder's own `pooler_output`), "mean" of the tokens, "cls" (the first).
        freeze_text: leave the text encoder as it is and in eval mode.
        frozen_text_dropout: keep the frozen text encoder's dropout active in training, as the authors do.

    Raises:
        ValueError: if a name is not among those allowed or the sizes contradict each other.
    """

    model_type = "ecglm_merl"
    sub_configs = {"text_config": AutoConfig}

    ecg_architecture: str = "resnet18"
    num_leads: int = 12
    num_samples: int = 5000
    hidden_size: int | None = None
    depths: list[int] | None = None
    num_pooling_heads: int = 4
    patch_size: int = 50
    num_hidden_layers: int = 12
    num_attention_heads: int | None = None
    head_size: int = 64
    intermediate_size: int | None = None
    projection_hidden_size: int = 256
    projection_size: int = 256
    dropout: float = 0.1
    temperature: float = 0.07
    text_config: dict | PreTrainedConfig | None = None
    text_model: str | None = None
    text_pooling: str = "pooler"
    freeze_text: bool = True
    frozen_text_dropout: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.ecg_architecture not in ECG_ARCHITECTURES:
            known = ", ".join(ECG_ARCHITECTURES)
            raise ValueError(f"ecg_architecture must be one of {known}; got {self.ecg_architecture!r}")
        for name, value in ECG_ARCHITECTURES[self.ecg_architecture].items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        if self.ecg_architecture.startswith("vit") and self.num_samples % self.patch_size:
            raise ValueError(
                f"num_samples must be a multiple of patch_size; got {self.num_samples} and {self.patch_size}"
            )
        if not isinstance(self.text_config, PreTrainedConfig):
            text_config = {"model_type": "bert"} | (self.text_config or {})  # MedCPT is a BERT of base size
            self.text_config = AutoConfig.for_model(**text_config)
        super().__post_init__(**kwargs)


class MERLResNet(nn.Module):
    """ResNet in one dimension, without max-pooling after the stem."""

    def __init__(self, config: MERLConfig) -> None:
        super().__init__()
        block = Bottleneck if config.ecg_architecture in _BOTTLENECKS else BasicBlock
        width = config.hidden_size // (8 * block.expansion)  # 64 in the published sizes
        self.conv1 = nn.Conv1d(config.num_leads, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.stages = nn.ModuleList()
        in_channels = width
        for stage, depth in enumerate(config.depths):
            channels = width * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(in_channels, channels, stride))
                in_channels = channels * block.expansion
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """(batch, num_leads, num_samples) → as `MERLModel.encode`."""
        x = F.relu(self.bn1(self.conv1(input_values)))  # (batch, width, samples / 2)
        for stage in self.stages:
            x = stage(x)
        x = x.transpose(1, 2)  # (batch, positions, hidden_size), one position per 16 samples
        return BaseModelOutputWithPooling(last_hidden_state=x, pooler_output=x.mean(dim=1))

    @staticmethod
    def num_positions(num_samples: int) -> int:
        """Stem and three strided stages halve the length, rounded up each time: 313 for 5000 samples."""
        return -(-num_samples // 16)


class MERLViT(nn.Module):
    """Vision transformer in one dimension: each token is a patch of all leads; no class token."""

    def __init__(self, config: MERLConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv1d(
            config.num_leads, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        num_patches = config.num_samples // config.patch_size
        self.positions = nn.Parameter(torch.empty(1, num_patches, config.hidden_size))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                config.hidden_size, config.num_attention_heads, config.head_size, config.intermediate_size
            )
            for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """(batch, num_leads, num_samples) → as `MERLModel.encode`."""
        x = self.patch_embedding(input_values).transpose(1, 2)  # (batch, patches, hidden_size)
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        pooled = self.norm(x.mean(dim=1))  # the mean first, then the norm
        return BaseModelOutputWithPooling(last_hidden_state=x, pooler_output=pooled)


class MERLAttentionPooling(nn.Module):
    """A learnt query gathers the sequence into one vector."""

    def __init__(self, config: MERLConfig) -> None:
        super().__init__()
        width = config.projection_size
        num_positions = MERLResNet.num_positions(config.num_samples)
        self.positions = nn.Parameter(torch.empty(1, 1 + num_positions, width))
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.attention = nn.MultiheadAttention(width, config.num_pooling_heads, batch_first=True)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, positions, width) → (batch, width)."""
        query = (self.query + self.positions[:, :1]).expand(len(x), -1, -1)  # (batch, 1, width)
        x = torch.cat([query, x], dim=1) + self.positions  # the query's position is added once more
        x, _ = self.attention(x[:, :1], x, x, need_weights=False)
        return self.out(x.squeeze(1))


class MERLResNetHead(nn.Module):
    """From ResNet features to the embedding for CMA and the vector whose two views UMA aligns."""

    def __init__(self, config: MERLConfig) -> None:
        super().__init__()
        self.down = nn.Conv1d(config.hidden_size, config.projection_size, kernel_size=1)
        self.pooling = MERLAttentionPooling(config)
        self.view_size = config.projection_size

    def forward(self, encoded: BaseModelOutputWithPooling) -> tuple[torch.Tensor, torch.Tensor]:
        """The embedding, not normalised, and the views' source: both (batch, projection_size)."""
        x = self.down(encoded.last_hidden_state.transpose(1, 2)).transpose(1, 2)
        return self.pooling(x), x.mean(dim=1)


class MERLViTHead(nn.Module):
    """From ViT features to the embedding for CMA and the vector whose two views UMA aligns."""

    def __init__(self, config: MERLConfig) -> None:
        super().__init__()
        self.projection = nn.Sequential(
            nn.Linear(config.hidden_size, config.projection_hidden_size),
            nn.BatchNorm1d(config.projection_hidden_size),
            nn.ReLU(),
            nn.Linear(config.projection_hidden_size, config.projection_size),
            nn.BatchNorm1d(config.projection_size),
        )
        self.view_size = config.hidden_size

    def forward(self, encoded: BaseModelOutputWithPooling) -> tuple[torch.Tensor, torch.Tensor]:
        """The embedding, not normalised (batch, projection_size); the views' source (batch, hidden_size)."""
        return self.projection(encoded.pooler_output), encoded.pooler_output


class MERLModel(ECGTextModel):
    """Two towers and both losses. Scores are cosines; the temperature acts in the losses alone."""

    config_class = MERLConfig
    base_model_prefix = "merl"
    batch_format = "pairs"
    encoder_parts = ("ecg_encoder",)
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MERLConfig) -> None:
        super().__init__(config)
        vit = config.ecg_architecture.startswith("vit")
        self.ecg_encoder = MERLViT(config) if vit else MERLResNet(config)
        self.ecg_head = MERLViTHead(config) if vit else MERLResNetHead(config)
        self.views = nn.ModuleList(
            nn.Linear(self.ecg_head.view_size, config.projection_size, bias=False) for _ in range(2)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.text_model = AutoModel.from_config(config.text_config)
        self.text_projection = nn.Sequential(
            nn.Linear(config.text_config.hidden_size, config.projection_hidden_size),
            nn.GELU(),
            nn.Linear(config.projection_hidden_size, config.projection_size),
        )
        self.text_model.requires_grad_(not config.freeze_text)
        self.post_init()

    @classmethod
    def build(cls, config: MERLConfig) -> "MERLModel":
        """A fresh ECG tower beside the text encoder that `config.text_model` names.

        Raises:
            ValueError: if the text encoder cannot be loaded.
            FileNotFoundError: if it is the sentence encoder and the `text` extra is not installed.
        """
        if config.text_model is None:
            return cls(config)
        text_model = load_text_model(config.text_model, config.text_pooling)
        config.text_config = text_model.config
        model = cls(config)
        model.text_model.load_state_dict(text_model.state_dict())
        model.pretrained_parts = ("text_model.",)
        return model

    def _init_weights(self, module: nn.Module) -> None:
        # PyTorch's own initialisation, which the authors left in place, instead of transformers' N(0, 0.02²).
        if isinstance(module, MERLAttentionPooling):
            init.normal_(module.positions, std=1 / module.positions.shape[-1])  # authors' AttentionPool2d
            init.normal_(module.query)
        elif isinstance(module, MERLViT):
            init.normal_(module.positions)
        elif isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()

    def train(self, mode: bool = True) -> "MERLModel":
        """As in PyTorch, but a frozen text encoder stays in eval mode."""
        super().train(mode)
        if self.config.freeze_text and not self.config.frozen_text_dropout:
            self.text_model.eval()
        return self

    def encode(self, input_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """ECG features before any projection, which is what MERL's linear probe reads.

        Args:
            input_values: (batch, num_leads, num_samples).

        Returns:
            `last_hidden_state` (batch, positions, hidden_size), a position for 16 samples (ResNet) or a patch
            (ViT); `pooler_output` (batch, hidden_size), their mean, in the ViT followed by a layer norm.

        Raises:
            ValueError: if the shape is another.
        """
        expected = (self.config.num_leads, self.config.num_samples)
        if input_values.ndim != 3 or input_values.shape[1:] != expected:
            raise ValueError(
                f"input_values must be (batch, {expected[0]} leads, {expected[1]} samples), got "
                f"{tuple(input_values.shape)}; prepare recordings with the processor saved beside the model"
            )
        return self.ecg_encoder(input_values)

    def get_ecg_features(self, input_values: torch.Tensor) -> torch.Tensor:
        """L2-normalised ECG embeddings: (batch, projection_size)."""
        embeds, _ = self.ecg_head(self.encode(input_values))
        return F.normalize(embeds, dim=-1)

    def get_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """L2-normalised text embeddings: (texts, projection_size).

        Args:
            input_ids: (texts, tokens).
            attention_mask: (texts, tokens), 0 for padding.
        """
        output = self.text_model(input_ids=input_ids, attention_mask=attention_mask)
        pooled = pool_text(output, attention_mask, self.config.text_pooling)  # (texts, text hidden_size)
        return F.normalize(self.text_projection(pooled), dim=-1)

    def forward(
        self,
        input_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_loss: bool = True,
    ) -> ContrastiveOutput:
        """Both towers, and both losses over the rows of all processes.

        Args:
            input_values: (batch, num_leads, num_samples).
            input_ids: (texts, tokens); for the loss, text i is the report of ECG i.
            attention_mask: (texts, tokens), 0 for padding.
            return_loss: False for scores of any number of texts.

        Returns:
            `loss` = `loss_parts["cma"]` + `loss_parts["uma"]`; `logits_per_ecg` (batch, texts), cosines;
            `ecg_embeds` and `text_embeds`, L2-normalised.
        """
        embeds, view_input = self.ecg_head(self.encode(input_values))
        ecg_embeds = F.normalize(embeds, dim=-1)  # (batch, projection_size)
        text_embeds = self.get_text_features(input_ids, attention_mask)  # (texts, projection_size)
        output = ContrastiveOutput(
            logits_per_ecg=self.similarity(ecg_embeds, text_embeds),
            ecg_embeds=ecg_embeds,
            text_embeds=text_embeds,
        )
        if return_loss:
            first, second = (self.dropout(view(view_input)) for view in self.views)
            temperature = self.config.temperature
            output.loss_parts = {
                "cma": clip_loss(ecg_embeds, text_embeds, temperature),
                "uma": clip_loss(first, second, temperature),
            }
            output.loss = output.loss_parts["cma"] + output.loss_parts["uma"]
        return output

    @classmethod
    def original_config(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        """The sizes that a checkpoint of the authors shows. How many samples a ResNet reads, it does not."""
        if "conv1.weight" in shapes or "to_patch_embedding.weight" in shapes:
            raise ValueError(
                "this file holds MERL's ECG encoder alone, which can score no text; convert the whole model "
                "that the authors publish beside it (…_ckpt.pth): its encoder is the same"
            )
        if "linear1.weight" not in shapes:
            raise ValueError(f"this is no checkpoint of MERL; its first key is {next(iter(shapes), None)!r}")
        sizes: dict[str, Any] = {"projection_size": shapes["linear1.weight"][0]}
        if "ecg_encoder.pos_embedding" in shapes:
            width, num_leads, patch_size = shapes["ecg_encoder.to_patch_embedding.weight"]
            sizes |= {
                "hidden_size": width,
                "num_leads": num_leads,
                "patch_size": patch_size,
                "num_samples": shapes["ecg_encoder.pos_embedding"][1] * patch_size,
                "num_hidden_layers": _count(r"ecg_encoder\.block(\d+)\.", shapes),
                "num_attention_heads": shapes["ecg_encoder.block0.attn.fn.to_qkv.weight"][0] // (3 * 64),
                "intermediate_size": shapes["ecg_encoder.block0.ff.fn.net.0.weight"][0],
            }
            family = "vit_tiny"
        else:
            width, num_leads, _ = shapes["ecg_encoder.conv1.weight"]
            bottleneck = "ecg_encoder.layer1.0.conv3.weight" in shapes
            sizes |= {
                "hidden_size": 8 * width * (Bottleneck if bottleneck else BasicBlock).expansion,
                "num_leads": num_leads,
                "depths": [_count(rf"ecg_encoder\.layer{n}\.(\d+)\.", shapes) for n in (1, 2, 3, 4)],
            }
            family = "resnet50" if bottleneck else "resnet18"
        named = [name for name, known in ECG_ARCHITECTURES.items() if known.items() <= sizes.items()]
        sizes["ecg_architecture"] = (
            named[0] if named else family
        )  # in a family of its own the sizes above rule
        if "proj_t.0.weight" in shapes:
            sizes["projection_hidden_size"] = shapes["proj_t.0.weight"][0]
        if "lm_model.embeddings.word_embeddings.weight" in shapes:
            sizes["text_model"] = None  # its weights are in the file
            vocab_size, width = shapes["lm_model.embeddings.word_embeddings.weight"]
            sizes["text_config"] = {
                "model_type": "bert",
                "vocab_size": vocab_size,
                "hidden_size": width,
                "num_hidden_layers": _count(r"lm_model\.encoder\.layer\.(\d+)\.", shapes),
                "num_attention_heads": width // 64,  # as in BERT of every published size
                "intermediate_size": shapes["lm_model.encoder.layer.0.intermediate.dense.weight"][0],
            }
        return sizes


def _count(pattern: str, keys: Iterable[str]) -> int:
    """How many different numbers the keys have where the pattern has its group."""
    return len({match[1] for match in map(re.compile(pattern).match, keys) if match})


ORIGINAL_KEYS = {
    r"^ecg_encoder\.linear\.": None,  # takes part in nothing
    r"^lm_model\.embeddings\.position_ids$": None,  # a counter that older transformers saved
    r"^ecg_encoder\.layer1\.": "ecg_encoder.stages.0.",
    r"^ecg_encoder\.layer2\.": "ecg_encoder.stages.1.",
    r"^ecg_encoder\.layer3\.": "ecg_encoder.stages.2.",
    r"^ecg_encoder\.layer4\.": "ecg_encoder.stages.3.",
    r"^ecg_encoder\.to_patch_embedding\.": "ecg_encoder.patch_embedding.",
    r"^ecg_encoder\.pos_embedding$": "ecg_encoder.positions",
    r"^ecg_encoder\.block(\d+)\.": r"ecg_encoder.blocks.\1.",
    r"\.attn\.norm\.": ".attention_norm.",
    r"\.attn\.fn\.to_qkv\.": ".attention.qkv.",
    r"\.attn\.fn\.to_out\.0\.": ".attention.out.",
    r"\.ff\.norm\.": ".mlp_norm.",
    r"\.ff\.fn\.net\.0\.": ".mlp.0.",
    r"\.ff\.fn\.net\.3\.": ".mlp.2.",  # 1 and 2 are GELU and dropout
    r"^downconv\.": "ecg_head.down.",
    r"^att_pool_head\.positional_embedding$": "ecg_head.pooling.positions",
    r"^att_pool_head\.cls_token$": "ecg_head.pooling.query",
    r"^att_pool_head\.mhsa\.": "ecg_head.pooling.attention.",
    r"^att_pool_head\.c_proj\.": "ecg_head.pooling.out.",
    r"^proj_e\.": "ecg_head.projection.",
    r"^linear1\.": "views.0.",
    r"^linear2\.": "views.1.",
    r"^lm_model\.": "text_model.",
    r"^proj_t\.": "text_projection.",
}

register(
    MERLConfig,
    tiny=dict(
        ecg_architecture="resnet18",
        hidden_size=32,
        depths=[1, 1, 1, 1],
        projection_hidden_size=16,
        projection_size=16,
        text_model=None,
        text_config=dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32),
    ),
    original_keys=ORIGINAL_KEYS,
    AutoModel=MERLModel,
)
