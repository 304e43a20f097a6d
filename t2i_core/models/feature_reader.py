"""Reads the features that a frozen encoder made of captions, where a network has no text encoder of its own."""

import math

import torch
from torch import Tensor, nn

from t2i_core.models.config import FeatureTransformerSizes
from t2i_core.models.text_encoder import Encoded, TextBlock, mean_of, visible_tokens

# Of attention pooling, where they divide the width.
POOLING_HEADS = 8


def token_norm(feature_width: int) -> nn.LayerNorm:
    """Bring each token to unit variance, but for what is no more than the rounding of float16.

    Encoders have dimensions that are a hundred times as large as others, or never change.
    """
    return nn.LayerNorm(feature_width, eps=1e-5)


def first_alone(mask: Tensor, keep: Tensor) -> Tensor:
    """Show one token of those captions that are dropped, so that their length is not told; mask: (B, L), keep: (B,)."""
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return torch.where(keep[:, None], mask, first)


class FeatureReader(nn.Module):
    """Features -> token vectors and a pooled vector, in the shape in which a text encoder gives them.

    Args:
        feature_width: of a token as the frozen encoder gives it.
        width: of a token vector.
    """

    def __init__(self, feature_width: int, width: int) -> None:
        super().__init__()
        self.norm = token_norm(feature_width)
        self.project = nn.Linear(feature_width, width)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, features: Tensor, mask: Tensor, keep: Tensor | None = None) -> Encoded:
        """Read captions.

        Args:
            features: (B, L, D) float.
            mask: (B, L) bool, True = real token.
            keep: (B,) bool, False = the null caption: one token that is learned.
        """
        x = self.project(self.norm(features.float()))
        if keep is not None:
            x = torch.where(keep[:, None, None], x, self.null.to(x.dtype))
            mask = first_alone(mask, keep)
        return Encoded(x, mean_of(x, mask), mask)


class PooledFeatures(nn.Module):
    """Features as Imagen reads them (Saharia et al. 2022, arXiv:2205.11487, appendix F): as wide as they come.

    The pooled vector is what learned queries find among the tokens, and the null is zeros: behind the norms, whose
    biases would make something of them.

    Args:
        feature_width: of a token as the frozen encoder gives it.
    """

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.width = feature_width
        self.norm, self.norm_pooled = token_norm(feature_width), nn.LayerNorm(feature_width)
        # A query a head, beside keys that need no projection of their own: it would be part of the query.
        self.queries = nn.Linear(feature_width, math.gcd(POOLING_HEADS, feature_width), bias=False)

    def forward(self, features: Tensor, mask: Tensor, keep: Tensor | None = None) -> Encoded:
        """Read captions.

        Args:
            features: (B, L, D) float.
            mask: (B, L) bool, True = real token.
            keep: (B,) bool, False = the null caption: one token of zeros, and zeros as its pooled vector.
        """
        tokens = self.norm(features.float())
        pooled = self.norm_pooled(self._pooled(tokens, mask))
        return _or_zeros(tokens, pooled, mask, keep)

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Give each head's share of the channels as its query weighs the tokens: (B, D)."""
        scores: Tensor = self.queries(tokens).float()
        weights = scores.masked_fill(~mask[..., None], float("-inf")).softmax(1)
        parts = tokens.view(*weights.shape, -1)
        return (weights[..., None] * parts).sum(1).flatten(1)

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside."""
        return [self.queries]


class FeatureTransformer(nn.Module):
    """Features -> token vectors and their mean, by blocks that are trained with the network.

    What a frozen encoder gives hardly tells "left of" from "right of" in two sentences that are alike otherwise; the
    network alone takes long to read it out, these blocks do not. The null is zeros, behind the norms.

    Args:
        feature_width: of a token as the frozen encoder gives it.
        config: of the blocks.
    """

    def __init__(self, feature_width: int, config: FeatureTransformerSizes) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.norm = token_norm(feature_width)
        self.project = nn.Linear(feature_width, config.width)
        self.blocks = nn.ModuleList(TextBlock(config.width, config.num_heads) for _ in range(config.num_layers))
        self.norm_out = nn.LayerNorm(config.width)

    def forward(self, features: Tensor, mask: Tensor, keep: Tensor | None = None) -> Encoded:
        """Read captions.

        Args:
            features: (B, L, D) float.
            mask: (B, L) bool, True = real token.
            keep: (B,) bool, False = the null caption: one token of zeros, and zeros as its pooled vector.
        """
        x = self.norm(features.float())
        if self.training and self.config.noise:
            # Captions with little noise teach which word belongs to which, those with much what like words share.
            x = x + self.config.noise * torch.rand_like(x[:, :1, :1]) * torch.randn_like(x)
        x = self.project(x)
        heads, length = self.config.num_heads, mask.shape[1]
        if self.config.directional:
            visible = visible_tokens(mask, heads)
        else:
            visible = mask[:, None, None].expand(-1, heads, length, -1)
        for block in self.blocks:
            x = block(x, visible)
        tokens = self.norm_out(x)
        return _or_zeros(tokens, mean_of(tokens, mask), mask, keep)

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside."""
        return [self.project]


def _or_zeros(tokens: Tensor, pooled: Tensor, mask: Tensor, keep: Tensor | None) -> Encoded:
    """Put zeros in the place of captions that are dropped."""
    if keep is None:
        return Encoded(tokens, pooled, mask)
    tokens, pooled = torch.where(keep[:, None, None], tokens, 0), torch.where(keep[:, None], pooled, 0)
    return Encoded(tokens, pooled, first_alone(mask, keep))
