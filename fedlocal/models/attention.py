"""A small causal transformer over token indices, built from plain tensor operations.

    Vaswani et al. Attention Is All You Need. 2017. https://arxiv.org/abs/1706.03762
    Layer normalisation before each part, as in GPT-2: Radford et al. 2019.

Fused attention kernels do not support `torch.vmap` on every device, so attention is written out.
The causal mask is created in the forward pass, because a model must have no buffers. There is no
dropout, because vmap refuses random calls.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedlocal.models.recurrent import Last
from fedlocal.models.shapes import check_sizes, token_length


def char_transformer(
    input_shape: Sequence[int],
    num_outputs: int,
    num_tokens: int,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> nn.Module:
    """Return token and position embeddings, causal blocks, and a linear map of the last position.

    Args:
        input_shape: (length,); each position has a learned vector.
        num_outputs: Number of classes.
        num_tokens: Size of the vocabulary.
        width: Embedding width; the hidden layer of a block is four times as wide.
        heads: Attention heads of a block; must divide the width.
        layers: Number of blocks.

    Raises:
        ValueError: Not a sequence of tokens, a size below 1, or heads that do not divide the width.
    """
    length = token_length(input_shape, "char_transformer")
    check_sizes("char_transformer", {"width": width, "heads": heads, "layers": layers})
    if width % heads:
        raise ValueError(
            f"model char_transformer: heads must divide the width, got width={width} and"
            f" heads={heads}"
        )
    return nn.Sequential(
        Positions(length, num_tokens, width),
        *(Block(width, heads) for _ in range(layers)),
        Last(),
        nn.LayerNorm(width),
        nn.Linear(width, num_outputs),
    )


class Positions(nn.Module):
    """Sum of token and position embeddings."""

    def __init__(self, length: int, num_tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(num_tokens, width)
        self.places = nn.Parameter(torch.empty(length, width))
        # GPT-2 uses 0.02 in all its maps. With torch's larger default in the other maps, so small
        # an embedding would be negligible, and SGD would learn slowly.
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Map indices [batch, length] -> [batch, length, width]."""
        return self.tokens(x) + self.places


class Block(nn.Module):
    """Pre-norm residual block: attention, then a hidden layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.hidden = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, length, width] to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.hidden(self.norm2(x))


class CausalAttention(nn.Module):
    """Causal self-attention; equals `torch.nn.MultiheadAttention` with a causal mask.

    The rows of `project` are those of torch's in_proj_weight: queries, keys, values.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, length, width] to the same shape."""
        batch, length, width = x.shape
        parts = self.project(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = causal_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute softmax(query key' / sqrt(d)) value, over each position and those before it.

    Args:
        query: Queries, [batch, heads, length, d].
        key: Keys, same shape.
        value: Values, same shape.

    Returns:
        Outputs, same shape.
    """
    length, width = query.shape[-2:]
    scores = query @ key.transpose(-2, -1) / width**0.5
    later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1) @ value
