"""A vision transformer of noised pictures, told by a token how noised they are (GLIDE, arXiv:2112.10741, 3.3)."""

import torch
from torch import Tensor, nn

from t2i_core.models.config import NoisedViTConfig
from t2i_core.models.layers import TimeEmbedding
from t2i_core.models.text_encoder import TextBlock


class NoisedViT(nn.Module):
    """(x_t, t) -> one vector a picture, the feature of the time's token."""

    def __init__(self, config: NoisedViTConfig) -> None:
        super().__init__()
        places = (config.image_size // config.patch_size) ** 2
        self.stem = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.time = TimeEmbedding(config.width)
        self.positions = nn.Parameter(torch.randn(places, config.width))
        self.blocks = nn.ModuleList(TextBlock(config.width, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Read x_t: (B, 3, image_size, image_size) float at times t: (B,) float in [0, 1]; gives (B, width)."""
        patches = self.stem(x_t).flatten(2).transpose(1, 2) + self.positions
        x = torch.cat([self.time(t)[:, None].to(patches.dtype), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        feature: Tensor = self.norm(x[:, 0])
        return feature

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside: pixels and times."""
        return [self.stem, self.time]
