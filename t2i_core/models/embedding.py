"""Embeddings of pictures and captions as networks read them: brought to unit variance, and as tokens of a sequence."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# A dimension that never changes tells nothing, and is not made large.
SMALLEST_STD = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What was measured of the embeddings of training pictures and their captions.

    Attributes:
        image_mean: (D,) float.
        image_covariance: (D, D) float.
        text_mean: (D,) float.
        text_std: (D,) float.
        products: (Q,) float, quantiles of the products of both, evenly spaced from the least to the largest.
    """

    image_mean: Tensor
    image_covariance: Tensor
    text_mean: Tensor
    text_std: Tensor
    products: Tensor

    @property
    def image_std(self) -> Tensor:
        """Standard deviation of each dimension: (D,) float."""
        return self.image_covariance.diagonal().sqrt()


class Standardised(nn.Module):
    """Brings each dimension to mean 0 and variance 1, by what was measured once; saved with the weights, not learned.

    Embeddings of length 1 are small in each of many dimensions, where noise of unit variance would drown them (Ramesh
    et al. 2022, arXiv:2204.06125, appendix C, scale them up likewise).

    Attributes:
        mean: (D,) float.
        std: (D,) float.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Take what was measured: (D,) float each."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=SMALLEST_STD))

    def forward(self, z: Tensor) -> Tensor:
        """Standardise embeddings z: (..., D), in float32."""
        return (z.float() - self.mean) / self.std

    def back(self, x: Tensor) -> Tensor:
        """Give the embeddings of standardised ones."""
        return x * self.std + self.mean


class EmbeddingReader(nn.Module):
    """An embedding of a picture -> a vector for the whole drawing, and tokens that stand beside a caption's.

    unCLIP, section 2.1. What stands in the place of one that is dropped is learned where it is read: as an embedding it
    could be one that a picture has, such as the mean, which is zero once it is standardised.

    Args:
        embedding_width: of the embedding.
        width: of a token.
        num_tokens: that it becomes.
    """

    def __init__(self, embedding_width: int, width: int, num_tokens: int) -> None:
        super().__init__()
        self.standardised = Standardised(embedding_width)
        self.to_whole = nn.Linear(embedding_width, width)
        self.to_tokens = nn.Linear(embedding_width, num_tokens * width)
        self.null_whole = nn.Parameter(torch.randn(width))
        self.null_tokens = nn.Parameter(torch.randn(num_tokens, width))

    def forward(self, z: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read embeddings.

        Args:
            z: (B, E) float, as they are.
            keep: (B,) bool, False = the null, whatever the embedding; None keeps all.

        Returns:
            (B, D) and (B, num_tokens, D).
        """
        x = self.standardised(z)
        whole, tokens = self.to_whole(x), self.to_tokens(x).unflatten(1, self.null_tokens.shape)
        if keep is None:
            return whole, tokens
        return (
            torch.where(keep[:, None], whole, self.null_whole),
            torch.where(keep[:, None, None], tokens, self.null_tokens),
        )
