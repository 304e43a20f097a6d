"""unCLIP's diffusion prior: from a caption and a noised embedding of a picture to that embedding.

Ramesh et al. 2022, arXiv:2204.06125, section 2.2: a transformer in which each place sees those before it reads the
caption, its CLIP embedding, the time, the noised embedding and a query, and what it makes of the query is the estimate.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.config import PriorConfig
from t2i_core.models.embedding import Standardised
from t2i_core.models.layers import TimeEmbedding
from t2i_core.models.text_encoder import TextBlock


class CausalTransformer(nn.Module):
    """Blocks in which each place sees itself and those before it.

    Args:
        width: of a vector.
        num_layers: blocks.
        num_heads: of each.
        length: of the longest sequence.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int, length: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(length, width))
        self.blocks = nn.ModuleList(TextBlock(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix a sequence x: (B, N, D), N at most `length`."""
        place = torch.arange(x.shape[1], device=x.device)
        seen = (place[None, :] <= place[:, None])[None, None]
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks:
            x = block(x, seen)
        out: Tensor = self.norm(x)
        return out


class CaptionEmbedding(nn.Module):
    """The CLIP embedding of a caption as one token.

    Args:
        embedding_width: of the embedding.
        width: of the token.
    """

    def __init__(self, embedding_width: int, width: int) -> None:
        super().__init__()
        self.standardised = Standardised(embedding_width)
        self.to_token = nn.Linear(embedding_width, width)
        self.null = nn.Parameter(torch.randn(width))

    def forward(self, z: Tensor, keep: Tensor | None = None) -> Tensor:
        """Give the tokens (B, 1, D) of embeddings z: (B, E); where keep: (B,) is False, what stands for none."""
        token: Tensor = self.to_token(self.standardised(z))
        return (token if keep is None else torch.where(keep[:, None], token, self.null))[:, None]


class PriorTransformer(nn.Module):
    """(noised embedding, t, caption) -> embedding; embeddings of pictures go in and come out standardised."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        width, self.context_length = config.width, config.context_length
        self.tokens = nn.Embedding(config.vocab_size, width)
        self.padding = nn.Parameter(torch.randn(config.context_length, width))
        self.caption = CaptionEmbedding(config.embedding_width, width)
        self.time = TimeEmbedding(width, width // 2)
        self.from_image = nn.Linear(config.embedding_width, width)
        self.query = nn.Parameter(torch.randn(width))
        self.causal = CausalTransformer(width, config.num_layers, config.num_heads, config.context_length + 4)
        self.to_image = nn.Linear(width, config.embedding_width)

    def read(self, ids: Tensor, mask: Tensor, caption: Tensor, keep: Tensor | None = None) -> Tensor:
        """Give what the sequence begins with, once a drawing.

        Args:
            ids: (B, L) int64, token ids; L at most `context_length`.
            mask: (B, L) bool, True = real token.
            caption: (B, E) float, CLIP embedding of the whole.
            keep: (B,) bool, False = no caption, whatever the ids and the embedding.

        Returns:
            (B, context_length + 1, D) float.
        """
        missing = self.context_length - ids.shape[1]
        ids, mask = F.pad(ids, (0, missing)), F.pad(mask, (0, missing))
        if keep is not None:
            mask = mask & keep[:, None]
        tokens = torch.where(mask[..., None], self.tokens(ids), self.padding)
        return torch.cat([tokens, self.caption(caption, keep).to(tokens.dtype)], dim=1)

    def forward(self, x_t: Tensor, t: Tensor, beginning: Tensor) -> Tensor:
        """Estimate embeddings (B, E).

        Args:
            x_t: (B, E) float, standardised ones, noised.
            t: (B,) float in [0, 1]; 0 is clean.
            beginning: (B, context_length + 1, D), of `read`.
        """
        query = self.query.expand(len(x_t), -1)
        last = torch.stack([each.to(beginning.dtype) for each in (self.time(t), self.from_image(x_t), query)], dim=1)
        estimate: Tensor = self.to_image(self.causal(torch.cat([beginning, last], dim=1))[:, -1])
        return estimate

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside: words, times and embeddings."""
        return [self.tokens, self.caption, self.time, self.from_image, self.to_image]
