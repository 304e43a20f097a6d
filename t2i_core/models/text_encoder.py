"""Text encoder trained with its system: a small transformer over word tokens (GLIDE, arXiv:2112.10741, section 3.1).

Gives one vector a token for cross-attention and one pooled vector for the whole caption.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.config import TextEncoderConfig
from t2i_core.models.layers import Attention, FeedForward, zero_init


def visible_tokens(mask: Tensor, num_heads: int) -> Tensor:
    """Say which token may look at which: the first half of the heads back, the others ahead (arXiv:1709.04696).

    So the words after "left of" hear it from behind and those before it from ahead, and who stands where need not be
    worked out from positions, which a short training did not manage.

    Args:
        mask: (B, L) bool, True = real token. Padding is seen by nobody but itself, so that no query sees nothing.
        num_heads: heads in all.

    Returns:
        (B, heads, L, L) bool.
    """
    place = torch.arange(mask.shape[1], device=mask.device)
    back = place[None, :] <= place[:, None]
    directions = torch.stack([back if head < num_heads // 2 else back.T for head in range(num_heads)])
    return mask[:, None, None, :] & directions | (place[None, :] == place[:, None])


class Encoded(NamedTuple):
    """What an encoder makes of captions.

    Attributes:
        tokens: (B, L, D) float, a vector a token.
        pooled: (B, D) float, one vector for the whole caption.
        mask: (B, L) bool, True = real token; None where all are.
    """

    tokens: Tensor
    pooled: Tensor
    mask: Tensor | None


class TextBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, width, num_heads)
        self.norm_ff = nn.LayerNorm(width)
        self.ff = FeedForward(width)
        zero_init(self.attention.to_out)
        zero_init(self.ff.last)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix the tokens x: (B, L, D), each with those that mask: (B, heads, L, L) allows it to see; None: with all."""
        h = self.norm_attention(x)
        x = x + self.attention(h, h, mask)
        mixed: Tensor = x + self.ff(self.norm_ff(x))
        return mixed


def mean_of(tokens: Tensor, mask: Tensor) -> Tensor:
    """Give the mean of the real tokens of (B, L, D), brought back to unit variance: (B, D)."""
    weights = mask.to(tokens.dtype)[..., None]
    pooled = (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
    return F.layer_norm(pooled, pooled.shape[-1:])


class TextEncoder(nn.Module):
    """Token ids -> token vectors and a pooled vector."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        # Words start as distinct vectors and blocks as the identity, so that the picture side can tell words apart from
        # the first step on; with the usual small start most of a short training went into finding out that they differ.
        self.positions = nn.Parameter(torch.randn(config.context_length, config.width))
        nn.init.normal_(self.tokens.weight)
        self.blocks = nn.ModuleList(TextBlock(config.width, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor, mask: Tensor, keep: Tensor | None = None) -> Encoded:
        """Encode captions.

        Args:
            ids: (B, L) int64, token ids.
            mask: (B, L) bool, True = real token.
            keep: (B,) bool, False = the null caption: padding, which no other caption shows, seen alone.

        Returns:
            The tokens, and their mean over real ones brought back to unit variance: the mean of n words is faint, and
            what is faint is learned late.
        """
        if keep is not None:
            first = torch.arange(ids.shape[1], device=ids.device) == 0
            ids, mask = ids * keep[:, None], torch.where(keep[:, None], mask, first)
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        visible = visible_tokens(mask, self.config.num_heads)
        for block in self.blocks:
            x = block(x, visible)
        x = self.norm(x)
        return Encoded(x, mean_of(x, mask), mask)
