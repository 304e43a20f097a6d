"""unCLIP's autoregressive prior: the embedding of a picture as a sequence of whole numbers, drawn one after another.

Ramesh et al. 2022, arXiv:2204.06125, section 2.2: few principal components hold nearly all that differs between
embeddings. They are sorted by how much each holds, cut into buckets, and foretold by a transformer in which each place
sees those before it: the caption, its CLIP embedding, how well both embeddings fit, then the numbers.
"""

import torch
from torch import Tensor, nn

from t2i_core.models.config import ARPriorConfig
from t2i_core.models.prior import CaptionEmbedding, CausalTransformer
from t2i_core.models.text_encoder import Encoded
from t2i_core.models.text_transformer import TextTransformer

# Share of the variance that the components that are kept hold at least.
KEPT = 0.99
# Standard deviations to each side that the buckets of a component cover; beyond lie 6 of 100,000.
REACH = 4.0


class Buckets(nn.Module):
    """Embeddings as whole numbers, by what was measured once; saved with the weights, not learned.

    Args:
        width: of an embedding.
        num_buckets: of each component.

    Attributes:
        mean: (D,) float.
        axes: (D, D) float, a component a column, the one with the largest variance first.
        scales: (D,) float, standard deviation of each component.
        kept: () int64, how many of them are used.
    """

    mean: Tensor
    axes: Tensor
    scales: Tensor
    kept: Tensor

    def __init__(self, width: int, num_buckets: int) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.eye(width))
        self.register_buffer("scales", torch.ones(width))
        self.register_buffer("kept", torch.tensor(width))

    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Take what was measured: (D,) and (D, D) float; keeps as few components as hold `KEPT` of the variance."""
        values, axes = torch.linalg.eigh(covariance.double())
        values, axes = values.flip(0).clamp(min=0), axes.flip(1)
        # Either direction of an axis would do: that in which its largest entry is positive.
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        shares = values.cumsum(0) / values.sum().clamp(min=1e-300)
        self.mean.copy_(mean)
        self.axes.copy_(axes * largest.sign())
        self.scales.copy_(values.sqrt().clamp(min=1e-6))
        self.kept.fill_(min(int((shares < KEPT).sum()) + 1, len(values)))

    def numbers(self, z: Tensor) -> Tensor:
        """Give embeddings z: (B, D) as numbers (B, kept) int64, those of the largest components first."""
        kept = int(self.kept)
        scores = (z.float() - self.mean) @ self.axes[:, :kept] / self.scales[:kept]
        share = (scores + REACH) / (2 * REACH)
        return (share * self.num_buckets).long().clamp(0, self.num_buckets - 1)

    def embeddings(self, numbers: Tensor) -> Tensor:
        """Give the embeddings (B, D) in the middle of the buckets of numbers: (B, kept) int64."""
        kept = numbers.shape[1]
        scores = (numbers + 0.5) / self.num_buckets * (2 * REACH) - REACH
        return (scores * self.scales[:kept]) @ self.axes[:, :kept].T + self.mean


class Fits(nn.Module):
    """How well the embeddings of a picture and its caption fit, as a number: by how many pairs fit less well.

    Args:
        number: of kinds, which are equally frequent.
    """

    edges: Tensor

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.register_buffer("edges", torch.linspace(-1, 1, number + 1))

    def fit(self, quantiles: Tensor) -> None:
        """Take the quantiles (Q,) float of dot products, evenly spaced from the least to the largest."""
        places = torch.linspace(0, len(quantiles) - 1, self.number + 1)
        low = places.floor().long().clamp(max=len(quantiles) - 2)
        self.edges.copy_(torch.lerp(quantiles[low], quantiles[low + 1], places - low))

    def numbers(self, products: Tensor) -> Tensor:
        """Give the number (B,) int64 of each dot product: (B,) float."""
        return torch.bucketize(products.float(), self.edges[1:-1])

    def good(self, u: Tensor) -> Tensor:
        """Choose among the better half: (B,) int64, by u: (B,) float in (0, 1)."""
        half = self.number // 2
        return half + (u * (self.number - half)).long()


class ARPrior(nn.Module):
    """(caption, numbers so far) -> which number comes next."""

    def __init__(self, config: ARPriorConfig) -> None:
        super().__init__()
        width = config.width
        self.text = TextTransformer(config.text)
        self.from_words = nn.Linear(config.text.width, width)
        self.caption = CaptionEmbedding(config.embedding_width, width)
        self.fits = nn.Embedding(config.num_fits, width)
        self.numbers = nn.Embedding(config.num_buckets, width)
        length = config.text.context_length + 2 + config.embedding_width
        self.causal = CausalTransformer(width, config.num_layers, config.num_heads, length)
        self.head = nn.Linear(width, config.num_buckets)

    def read(self, text: Encoded, caption: Tensor, fits: Tensor, keep: Tensor | None = None) -> Tensor:
        """Give what the sequence begins with, once a drawing.

        Args:
            text: the caption, of `self.text`.
            caption: (B, E) float, its CLIP embedding.
            fits: (B,) int64, how well the picture is to fit.
            keep: (B,) bool, False = without the embedding; the caption says for itself.

        Returns:
            (B, context_length + 2, D) float.
        """
        words = self.from_words(text.tokens)
        return torch.cat([words, self.caption(caption, keep).to(words.dtype), self.fits(fits)[:, None]], dim=1)

    def forward(self, beginning: Tensor, numbers: Tensor) -> Tensor:
        """Foretell numbers from those before: logits (B, K + 1, num_buckets), the last of what comes next.

        Args:
            beginning: (B, N, D) float, of `read`.
            numbers: (B, K) int64, those that are there.
        """
        sequence = torch.cat([beginning, self.numbers(numbers).to(beginning.dtype)], dim=1)
        logits: Tensor = self.head(self.causal(sequence)[:, beginning.shape[1] - 1 :])
        return logits

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside: words, numbers and embeddings."""
        return [*self.text.outer_layers(), self.caption, self.fits, self.numbers, self.head]
