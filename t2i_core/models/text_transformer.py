"""GLIDE's text transformer, trained with its system (Nichol et al. 2021, arXiv:2112.10741, section 4.1).

Every token sees every other. Padding is a learned vector a position, seen like a word, so a sequence always has the
full length, the last position's feature stands for the caption, and the null is the empty sequence: padding alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.config import TextTransformerConfig
from t2i_core.models.text_encoder import Encoded, TextBlock, visible_tokens


class TextTransformer(nn.Module):
    """Token ids -> token vectors and the last one."""

    def __init__(self, config: TextTransformerConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Parameter(torch.randn(config.context_length, config.width))
        self.padding = nn.Parameter(torch.randn(config.context_length, config.width))
        self.blocks = nn.ModuleList(TextBlock(config.width, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor, mask: Tensor, keep: Tensor | None = None) -> Encoded:
        """Encode captions.

        Args:
            ids: (B, L) int64, token ids; L at most `context_length`.
            mask: (B, L) bool, True = real token.
            keep: (B,) bool, False = the empty sequence, whatever the ids.

        Returns:
            (B, context_length, D) tokens, all of them to be seen, and the last of them.
        """
        missing = self.config.context_length - ids.shape[1]
        ids, mask = F.pad(ids, (0, missing)), F.pad(mask, (0, missing))
        if keep is not None:
            mask = mask & keep[:, None]
        x = torch.where(mask[..., None], self.tokens(ids) + self.positions, self.padding)
        visible = visible_tokens(torch.ones_like(mask), self.config.num_heads) if self.config.directional else None
        for block in self.blocks:
            x = block(x, visible)
        x = self.norm(x)
        return Encoded(x, x[:, -1], None)

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside."""
        return [self.tokens]
