"""Reads the features that a frozen encoder made of captions, where a network has no text encoder of its own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.text_encoder import Encoded


class FeatureReader(nn.Module):
    """Features -> token vectors and a pooled vector, in the shape in which a text encoder gives them.

    Args:
        feature_width: of a token as the frozen encoder gives it.
        width: of a token vector.
    """

    def __init__(self, feature_width: int, width: int) -> None:
        super().__init__()
        # Encoders have dimensions that are a hundred times as large as others, or never change: each token is brought
        # to unit variance, but for what is no more than the rounding of float16.
        self.norm = nn.LayerNorm(feature_width, eps=1e-5)
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
            first = torch.arange(x.shape[1], device=x.device) == 0
            x = torch.where(keep[:, None, None], x, self.null.to(x.dtype))
            mask = torch.where(keep[:, None], mask, first)
        weights = mask.to(x.dtype)[..., None]
        pooled = (x * weights).sum(1) / weights.sum(1).clamp(min=1)
        return Encoded(x, F.layer_norm(pooled, pooled.shape[-1:]), mask)
