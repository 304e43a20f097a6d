"""U-Net denoiser with cross-attention to the caption's tokens (Ho et al. 2020; Dhariwal & Nichol 2021; GLIDE 2021).

A space-to-depth stem turns patches of pixels into channels, so that all convolutions run at a fraction of the picture's
side, where they cost little and keep a CPU's matrix units busy. A caption map tells each place what the caption wants
there before any noise is looked at; in short trainings that is what makes shapes and relations follow the words.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.config import MAP_STRIDE, NUM_GROUPS, UNetConfig
from t2i_core.models.layers import NUM_COORDINATES, Attention, FeedForward, TimeEmbedding, coordinates, wide, zero_init
from t2i_core.models.text_encoder import Encoded


class ResBlock(nn.Module):
    """Two 3x3 convolutions; time and pooled text shift the features between them.

    One norm is enough, and half the work: beside convolutions on a CPU's matrix units, all that passes over the
    features once more is what costs.
    """

    def __init__(self, channels: int, embedding_width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NUM_GROUPS, channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = zero_init(nn.Linear(embedding_width, channels))
        self.conv_out = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Refine x: (B, C, h, w) under embedding: (B, D)."""
        h = self.conv_in(activated(self.norm, x)) + self.modulation(embedding)[:, :, None, None]
        out: Tensor = x + self.conv_out(F.relu(h))
        return out


def activated(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Normalise x: (B, C, h, w) and cut it off at zero, in float32.

    Where channels lie side by side in bfloat16, PyTorch's group norm takes twice as long on a CPU.
    """
    return F.relu(norm(wide(x)))


class AttentionBlock(nn.Module):
    """Positions attend to each other, then to the caption's tokens, then a feed-forward layer."""

    def __init__(self, channels: int, text_width: int, head_width: int) -> None:
        super().__init__()
        heads = max(1, channels // head_width)
        self.position = nn.Linear(NUM_COORDINATES, channels)
        self.norm_self = nn.LayerNorm(channels)
        self.attend_self = Attention(channels, channels, heads)
        self.norm_text = nn.LayerNorm(channels)
        self.attend_text = Attention(channels, text_width, heads)
        self.norm_ff = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, 2)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Mix x: (B, C, h, w) with tokens: (B, L, D) that mask: (B, L) calls real."""
        height, width = x.shape[-2:]
        place = coordinates(height, width, x).flatten(1).transpose(0, 1)
        h = x.flatten(2).transpose(1, 2) + self.position(place)
        normed = self.norm_self(h)
        h = h + self.attend_self(normed, normed)
        h = h + self.attend_text(self.norm_text(h), tokens, mask)
        h = h + self.ff(self.norm_ff(h))
        grid: Tensor = h.view(len(h), height, width, -1).permute(0, 3, 1, 2)
        return grid


class Block(nn.Module):
    """A residual block, followed by attention where the level has it."""

    def __init__(self, channels: int, config: UNetConfig, *, attention: bool) -> None:
        super().__init__()
        self.res = ResBlock(channels, config.embedding_width)
        self.attention = AttentionBlock(channels, config.text_width, config.head_width) if attention else None

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Refine x: (B, C, h, w)."""
        x = self.res(x, embedding)
        return x if self.attention is None else self.attention(x, tokens, mask)


class Stack(nn.ModuleList):
    """Blocks in a row at one level."""

    def __init__(self, channels: int, num_blocks: int, config: UNetConfig, *, attention: bool) -> None:
        super().__init__(Block(channels, config, attention=attention) for _ in range(num_blocks))

    def forward(self, x: Tensor, *condition: Tensor | None) -> Tensor:
        """Refine x: (B, C, h, w)."""
        for block in self:
            x = block(x, *condition)
        return x


class MapLayer(nn.Module):
    """Places look up words, then think them over."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.norm_text = nn.LayerNorm(width)
        self.attend_text = Attention(width, width, max(1, width // head_width))
        self.norm_ff = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Mix places x: (B, N, D) with tokens: (B, L, D)."""
        x = x + self.attend_text(self.norm_text(x), tokens, mask)
        mixed: Tensor = x + self.ff(self.norm_ff(x))
        return mixed


class CaptionMap(nn.Module):
    """What the caption asks for at each place: queries made of coordinates alone attend to its tokens.

    Worked out on a coarse grid and unfolded to the finest level.
    """

    def __init__(self, config: UNetConfig, num_maps: int) -> None:
        super().__init__()
        width = config.text_width
        self.position = nn.Sequential(nn.Linear(NUM_COORDINATES, width), nn.GELU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(MapLayer(width, config.head_width) for _ in range(config.map_layers))
        self.out = nn.Linear(width, num_maps * config.channels[0] * MAP_STRIDE**2)
        self.num_maps = num_maps

    def forward(self, height: int, width: int, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Draw the maps: as many as asked for, each (B, C, height, width) for the finest level."""
        height, width = height // MAP_STRIDE, width // MAP_STRIDE
        places: Tensor = self.position(coordinates(height, width, tokens).flatten(1).transpose(0, 1))
        x = places.expand(len(tokens), -1, -1)
        for layer in self.layers:
            x = layer(x, tokens, mask)
        grid = self.out(x).view(len(x), height, width, -1).permute(0, 3, 1, 2)
        unfolded = F.pixel_shuffle(grid, MAP_STRIDE).contiguous(memory_format=torch.channels_last)
        return unfolded.chunk(self.num_maps, dim=1)


class UNet(nn.Module):
    """(x_t, t, caption) -> prediction of the same sides as x_t; what the way down found is added on the way up."""

    def __init__(self, config: UNetConfig, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.config = config
        patch = config.patch_size**2
        channels, above = config.channels, (config.channels[0], *config.channels[:-1])
        self.time = TimeEmbedding(config.embedding_width)
        self.pooled = nn.Linear(config.text_width, config.embedding_width)
        self.map = CaptionMap(config, num_maps=2) if config.map_layers else None
        self.stem = nn.Conv2d(in_channels * patch, channels[0], 3, padding=1)
        rows = list(zip(channels, above, config.num_blocks, config.attention, strict=True))
        self.down = nn.ModuleList(Stack(c, n, config, attention=a) for c, _, n, a in rows)
        self.shrink = nn.ModuleList(nn.Conv2d(up, c, 3, stride=2, padding=1) for c, up, _, _ in rows[1:])
        self.middle = Stack(channels[-1], config.num_middle_blocks, config, attention=True)
        self.up = nn.ModuleList(Stack(c, n, config, attention=a) for c, _, n, a in rows)
        self.grow = nn.ModuleList(nn.Conv2d(c, up, 1) for c, up, _, _ in rows[1:])
        self.norm = nn.GroupNorm(NUM_GROUPS, channels[0])
        self.head = zero_init(nn.Conv2d(channels[0], out_channels * patch, 3, padding=1))

    def maps(self, text: Encoded, height: int, width: int) -> tuple[Tensor, ...]:
        """Draw what captions ask for at each place of pictures of some sides; empty without a caption map."""
        if self.map is None:
            return ()
        side = self.config.patch_size
        maps: tuple[Tensor, ...] = self.map(height // side, width // side, text.tokens, text.mask)
        return maps

    def forward(self, x_t: Tensor, t: Tensor, text: Encoded, maps: tuple[Tensor, ...]) -> Tensor:
        """Predict.

        Args:
            x_t: (B, in_channels, H, W) float, noised picture; H and W multiples of `config.side_multiple`.
            t: (B,) float in [0, 1]; 0 is clean.
            text: the captions.
            maps: of these, which stay the same at all times.
        """
        tokens, pooled, mask = text
        condition = (F.silu(self.time(t) + self.pooled(pooled)), tokens, mask)
        x = self.stem(F.pixel_unshuffle(x_t, self.config.patch_size))
        early, late = maps or (0.0, 0.0)
        x = x + early
        skips = []
        for depth, stack in enumerate(self.down):
            x = stack(self.shrink[depth - 1](x) if depth else x, *condition)
            skips.append(x)
        skips[0] = skips[0] + late
        x = self.middle(x, *condition)
        for depth, stack in reversed(list(enumerate(self.up))):
            x = stack(x + skips[depth], *condition)
            if depth:
                x = F.interpolate(self.grow[depth - 1](x), scale_factor=2.0, mode="nearest")
        return F.pixel_shuffle(self.head(activated(self.norm, x)), self.config.patch_size)

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside (pixels, times, places, pooled words) or start at zero."""
        places = [m.position for m in self.modules() if isinstance(m, AttentionBlock)]
        modulations = [m.modulation for m in self.modules() if isinstance(m, ResBlock)]
        maps = [self.map.position, self.map.out] if self.map is not None else []
        return [self.stem, self.head, self.time, self.pooled, *maps, *places, *modulations]
