"""Building blocks of systems. Signals are (batch, channels, samples), tokens (batch, positions, width)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    """Residual block of two convolutions of width 3.

    Source: He et al. 2015, arXiv:1512.03385, in one dimension.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, in_channels, samples) → (batch, channels, ⌈samples / stride⌉)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """Residual block that narrows, convolves and widens to `expansion` × `channels`.

    Source: He et al. 2015, arXiv:1512.03385, in one dimension; the stride sits on the middle convolution.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv1d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(channels)
        self.conv3 = nn.Conv1d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm1d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, in_channels, samples) → (batch, 4 channels, ⌈samples / stride⌉)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv1d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm1d(out_channels)
    )


class SelfAttention(nn.Module):
    """Multi-head self-attention whose heads need not divide the width.

    Args:
        hidden_size: width of the tokens.
        num_attention_heads: heads.
        head_size: width of each head.
    """

    def __init__(self, hidden_size: int, num_attention_heads: int, head_size: int) -> None:
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.qkv = nn.Linear(hidden_size, 3 * num_attention_heads * head_size)
        self.out = nn.Linear(num_attention_heads * head_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, positions, hidden_size) → the same shape."""
        # (batch, positions, 3 · heads · head_size) → three of (batch, heads, positions, head_size)
        query, key, value = (
            self.qkv(x).unflatten(-1, (3, self.num_attention_heads, -1)).permute(2, 0, 3, 1, 4)
        )
        x = F.scaled_dot_product_attention(query, key, value)
        return self.out(x.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer perceptron with GELU, each added to its input.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929.
    """

    def __init__(
        self, hidden_size: int, num_attention_heads: int, head_size: int, intermediate_size: int
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = SelfAttention(hidden_size, num_attention_heads, head_size)
        self.mlp_norm = nn.LayerNorm(hidden_size)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, intermediate_size), nn.GELU(), nn.Linear(intermediate_size, hidden_size)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, positions, hidden_size) → the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


def pool_text(
    output: Mapping[str, torch.Tensor], attention_mask: torch.Tensor | None, pooling: str
) -> torch.Tensor:
    """One vector per text: (texts, width).

    Args:
        output: what a text model of transformers returns.
        attention_mask: (texts, tokens), 0 for padding.
        pooling: "pooler", the model's own `pooler_output`; "mean" of the tokens; "cls", the first token.

    Raises:
        ValueError: if the model has no pooler, or `pooling` is another word.
    """
    if pooling == "mean":
        return masked_mean(output["last_hidden_state"], attention_mask)
    if pooling == "cls":
        return output["last_hidden_state"][:, 0]
    if pooling != "pooler":
        raise ValueError(f"text_pooling must be 'pooler', 'mean' or 'cls', got {pooling!r}")
    if output.get("pooler_output") is None:
        raise ValueError("this text model has no pooler; set text_pooling to 'mean' or 'cls'")
    return output["pooler_output"]


def masked_mean(tokens: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over the positions that the mask keeps: (batch, positions, width) → (batch, width).

    Args:
        tokens: (batch, positions, width).
        attention_mask: (batch, positions), 1 for tokens and 0 for padding; None keeps all.
    """
    if attention_mask is None:
        return tokens.mean(dim=1)
    mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


class SqueezeExcitation(nn.Module):
    """Weighs each channel by a gate computed from the mean of all channels.

    Source: Hu et al. 2017, arXiv:1709.01507, in one dimension.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(channels // reduction, 1))
        self.excite = nn.Linear(max(channels // reduction, 1), channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, samples) → the same shape."""
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=-1)))))
        return x * gate.unsqueeze(-1)


class SqueezeExcitationBlock(nn.Module):
    """Residual block of two wide convolutions, dropout between them and a squeeze-excitation gate at the end.

    The shortcut averages over the stride instead of skipping samples, so that no sample is lost.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel_size: of both convolutions; odd.
        stride: of the first convolution.
        dropout: probability, between the convolutions.

    Source: Hu et al. 2017, arXiv:1709.01507, on the block of He et al. 2015, arXiv:1512.03385; the averaging
    shortcut is ResNet-D of He et al. 2018, arXiv:1812.01187.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int = 7, stride: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stride = stride
        padding = kernel_size // 2
        self.conv1 = nn.Conv1d(in_channels, channels, kernel_size, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(channels, channels, kernel_size, 1, padding, bias=False)
        self.bn2 = nn.BatchNorm1d(channels)
        self.gate = SqueezeExcitation(channels)
        self.shortcut = _shortcut(in_channels, channels, stride=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, in_channels, samples) → (batch, channels, ⌈samples / stride⌉)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.gate(self.bn2(self.conv2(self.dropout(y))))
        if self.stride > 1:
            x = F.avg_pool1d(x, self.stride, self.stride, ceil_mode=True)
        return F.relu(y + self.shortcut(x))
