"""The U-Net of ADM (Dhariwal & Nichol 2021, arXiv:2105.05233, section 3), with text as GLIDE gives it to it.

One network for GLIDE's stages (Nichol et al. 2021, arXiv:2112.10741, section 4.1), unCLIP's decoder and its upsamplers
without attention (Ramesh et al. 2022, arXiv:2204.06125, appendix C), and Imagen's base (Saharia et al. 2022,
arXiv:2205.11487, appendix F.1). The caption comes in twice: one vector joins the time embedding, and its tokens are
keys and values beside the picture's own. A space-to-depth stem, which the papers do not have, makes small presets fast
on a CPU.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.config import ADM_GROUPS, ADMConfig
from t2i_core.models.layers import NUM_COORDINATES, TimeEmbedding, attend, coordinates, zero_init
from t2i_core.models.norms import GroupNorm

PICTURE_CHANNELS = 3

Resample = Literal["none", "down", "up"]


class Given(NamedTuple):
    """What every block is told beside its features.

    Attributes:
        embedding: (B, 4 width) float, time and what was added to it, activated.
        tokens: (B, L, D) float, or None.
        mask: (B, L) bool, True = real token; None where all are.
    """

    embedding: Tensor
    tokens: Tensor | None
    mask: Tensor | None


class ScaleShiftBlock(nn.Module):
    """Two 3x3 convolutions, the embedding scaling and shifting the norm between them (ADM, section 3, "AdaGN").

    A block that resamples does so behind its first norm and beside it, on the way that skips it (BigGAN, 1809.11096).
    """

    def __init__(self, channels: int, out_channels: int, config: ADMConfig, resample: Resample = "none") -> None:
        super().__init__()
        self.resample, self.dropout = resample, config.dropout
        self.norm_in = GroupNorm(ADM_GROUPS, channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(4 * config.width, 2 * out_channels)
        self.norm_out = GroupNorm(ADM_GROUPS, out_channels)
        self.conv_out = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map x: (B, C, h, w) to (B, C', h', w') under embedding: (B, 4 width)."""
        h = self.conv_in(resampled(self.norm_in(x), self.resample))
        h = self.norm_out(h, self.modulation(embedding))
        h = self.conv_out(F.dropout(h, self.dropout, self.training))
        out: Tensor = self.skip(resampled(x, self.resample)) + h
        return out


def resampled(x: Tensor, resample: Resample) -> Tensor:
    """Halve the sides of x: (B, C, h, w) by averaging, or double them by repeating."""
    if resample == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="nearest") if resample == "up" else x


class TextAttention(nn.Module):
    """Places attend to the caption's tokens and to each other at once (GLIDE, section 4.1)."""

    def __init__(self, channels: int, config: ADMConfig) -> None:
        super().__init__()
        self.num_heads = channels // config.head_width
        self.position = nn.Linear(NUM_COORDINATES, channels) if config.positions else None
        self.norm = GroupNorm(ADM_GROUPS, channels, activates=False)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.text_to_kv = nn.Linear(config.text_width, 2 * channels) if config.text_width else None
        self.to_out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        """Mix the places of x: (B, C, h, w) with each other and with tokens: (B, L, D) that mask: (B, L) calls real."""
        places = self.norm(x).flatten(2).transpose(1, 2)
        if self.position is not None:
            height, width = x.shape[2:]
            places = places + self.position(coordinates(height, width, x).flatten(1).transpose(0, 1))
        q, k, v = self._heads(self.to_qkv(places), 3)
        if self.text_to_kv is not None and tokens is not None:
            text_k, text_v = self._heads(self.text_to_kv(tokens), 2)
            k, v = torch.cat([text_k, k], dim=2), torch.cat([text_v, v], dim=2)
            mask = None if mask is None else F.pad(mask, (0, q.shape[2]), value=True)
        mixed = self.to_out(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        out: Tensor = x + mixed.transpose(1, 2).view_as(x)
        return out

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split (B, N, parts * C) into `parts` of (B, heads, N, C / heads)."""
        return x.view(*x.shape[:2], parts, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind()


class Block(nn.Module):
    """A residual block, followed by attention where the level has it."""

    def __init__(self, channels: int, out_channels: int, config: ADMConfig, *, attends: bool) -> None:
        super().__init__()
        self.res = ScaleShiftBlock(channels, out_channels, config)
        self.attention = TextAttention(out_channels, config) if attends else None

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Map x: (B, C, h, w) to (B, C', h, w)."""
        x = self.res(x, given.embedding)
        return x if self.attention is None else self.attention(x, given.tokens, given.mask)


class DownLevel(nn.Module):
    """Halves the sides, but at the finest level, then refines; gives all that it made."""

    def __init__(self, above: int, channels: int, config: ADMConfig, *, finest: bool, attends: bool) -> None:
        super().__init__()
        self.shrink = None if finest else ScaleShiftBlock(above, above, config, "down")
        inputs = [above] + [channels] * (config.num_blocks - 1)
        self.blocks = nn.ModuleList(Block(c, channels, config, attends=attends) for c in inputs)

    def forward(self, x: Tensor, given: Given) -> list[Tensor]:
        """Give the features of each step, the last of which go on; x: (B, C, h, w) itself is none of them."""
        made = [] if self.shrink is None else [self.shrink(x, given.embedding)]
        for block in self.blocks:
            made.append(block(made[-1] if made else x, given))
        return made


class Middle(nn.Module):
    """Two residual blocks at the coarsest level, attention between them."""

    def __init__(self, channels: int, config: ADMConfig) -> None:
        super().__init__()
        self.first = Block(channels, channels, config, attends=config.middle_attention)
        self.last = Block(channels, channels, config, attends=False)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Refine x: (B, C, h, w)."""
        out: Tensor = self.last(self.first(x, given), given)
        return out


class UpLevel(nn.Module):
    """Refines what comes from below beside what the way down found, then doubles the sides, but at the finest level."""

    def __init__(
        self, below: int, channels: int, skips: list[int], config: ADMConfig, *, finest: bool, attends: bool
    ) -> None:
        super().__init__()
        inputs = [below, *[channels] * (len(skips) - 1)]
        joined = [c + skip for c, skip in zip(inputs, skips, strict=True)]
        self.blocks = nn.ModuleList(Block(c, channels, config, attends=attends) for c in joined)
        self.grow = None if finest else ScaleShiftBlock(channels, channels, config, "up")

    def forward(self, x: Tensor, found: list[Tensor], given: Given) -> Tensor:
        """Map x: (B, C, h, w), taking the last of what was found once a block."""
        for block in self.blocks:
            x = block(torch.cat([x, found.pop()], dim=1), given)
        return x if self.grow is None else self.grow(x, given.embedding)


class ADMUNet(nn.Module):
    """(x, t, what the picture must fit) -> prediction."""

    def __init__(self, config: ADMConfig) -> None:
        super().__init__()
        self.config = config
        patch, channels = config.patch_size**2, config.channels
        self.time = TimeEmbedding(4 * config.width, config.width // 2)
        self.embedding = nn.Linear(config.embedding_width, 4 * config.width) if config.embedding_width else None
        self.stem = nn.Conv2d(config.in_channels * patch, channels[0], 3, padding=1)
        above, below = (channels[0], *channels[:-1]), (*channels[1:], channels[-1])
        rows = list(zip(above, channels, below, config.attention, strict=True))
        self.down = nn.ModuleList(
            DownLevel(a, c, config, finest=not depth, attends=attends) for depth, (a, c, _, attends) in enumerate(rows)
        )
        self.middle = Middle(channels[-1], config)
        self.up = nn.ModuleList(
            UpLevel(b, c, [c] * config.num_blocks + [a], config, finest=not depth, attends=attends)
            for depth, (a, c, b, attends) in enumerate(rows)
        )
        self.carry = zero_init(nn.Linear(4 * config.width, PICTURE_CHANNELS)) if config.carries else None
        self.norm = GroupNorm(ADM_GROUPS, channels[0])
        self.head = zero_init(nn.Conv2d(channels[0], config.out_channels * patch, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Predict (B, out_channels, H, W).

        Args:
            x: (B, in_channels, H, W) float; H and W multiples of `config.side_multiple`.
            t: (B,) float in [0, 1]; 0 is clean.
            embedding: (B, embedding_width) float, what the whole picture must fit.
            tokens: (B, L, text_width) float, what its places may look up.
            mask: (B, L) bool, True = real token; None where all are.
        """
        given = Given(self._embed(t, embedding), tokens, mask)
        h = self.stem(F.pixel_unshuffle(x, self.config.patch_size))
        found = [h]
        for level in self.down:
            found += level(found[-1], given)
        h = self.middle(found[-1], given)
        for level in reversed(self.up):
            h = level(h, found, given)
        out = F.pixel_shuffle(self.head(self.norm(h)), self.config.patch_size)
        return out if self.carry is None else out + self._carried(x, self.carry(given.embedding))

    def _carried(self, x: Tensor, gain: Tensor) -> Tensor:
        """Give as much of the noised picture as the gains (B, 3) say, and nothing of other channels."""
        carried = gain[:, :, None, None] * x[:, :PICTURE_CHANNELS]
        return F.pad(carried, (0, 0, 0, 0, 0, self.config.out_channels - PICTURE_CHANNELS))

    def _embed(self, t: Tensor, embedding: Tensor | None) -> Tensor:
        time: Tensor = self.time(t)
        if self.embedding is not None and embedding is not None:
            time = time + self.embedding(embedding)
        return F.silu(time)

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside: pixels, times, places and embeddings."""
        modulations = [m.modulation for m in self.modules() if isinstance(m, ScaleShiftBlock)]
        joined = [] if self.embedding is None else [self.embedding]
        joined += [] if self.carry is None else [self.carry]
        places = [m.position for m in self.modules() if isinstance(m, TextAttention) and m.position is not None]
        return [self.stem, self.head, self.time, *joined, *places, *modulations]
