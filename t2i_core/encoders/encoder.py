"""What frozen text encoders have in common: captions go in, vectors of their tokens come out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.errors import ConfigError

# Captions are encoded in batches of as many, each with those of about its own length: what one of them gives does not
# depend on the others, since kernels add up in an order that is a matter of shapes.
BATCH = 32
_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What an encoder makes of captions, on the CPU.

    Attributes:
        tokens: (B, L, D) float16 or float32, 0 behind the end of a caption.
        mask: (B, L) bool, True = real token.
        pooled: (B, P), likewise float.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIds:
    """Captions as an encoder reads them.

    Attributes:
        ids: (B, L) int64, L the same for all captions.
        lengths: (B,) int64, real tokens of each, which come first.
        num_cut: captions that lost some.
    """

    ids: Tensor
    lengths: Tensor
    num_cut: int


@runtime_checkable
class PictureEncoder(Protocol):
    """An encoder that embeds pictures as it does captions.

    Attributes:
        side: of the squares that it reads, pixels.
    """

    side: int

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed pictures (B, side, side, 3) uint8: (B, P) float16 or float32 of length 1, on the CPU.

        Raises:
            ConfigError: what comes out is no number.
        """
        ...


class FrozenEncoder(ABC):
    """A text encoder that is not trained.

    Args:
        config: what of its output is wanted.
        device: where it runs.
        num_layers: that it has, with what comes before the first one if that can be had.

    Raises:
        ConfigError: a layer is wanted that it does not have.
    """

    # Captions are padded to multiples of so many tokens, or to all that it reads.
    grain: ClassVar[int] = 8

    def __init__(self, config: FeaturesConfig, device: torch.device, num_layers: int) -> None:
        if max(config.layers) > num_layers:
            raise ConfigError(f"this encoder has {num_layers} layers: choose --layers from 1 to {num_layers}.")
        self.config, self.device = config, device

    @abstractmethod
    def tokenize(self, captions: Sequence[str]) -> TokenIds:
        """Number the tokens of captions."""

    @abstractmethod
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Sequence[Tensor], Tensor | None]:
        """Encode token ids.

        Args:
            ids: (B, L) int64.
            mask: (B, L) bool, True = real token.

        Returns:
            The tokens of the wanted layers, (B, L, D) each, and the encoder's own vector of the whole (B, P) if any.
        """

    @torch.inference_mode()
    def encode(self, captions: Sequence[str]) -> Features:
        """Encode captions.

        Raises:
            ConfigError: what it gives is no number, or none that the wanted type holds.
        """
        # Half surrogate pairs, which command lines and JSON can carry, are not text that can be encoded.
        whole = [caption.encode(errors="replace").decode() for caption in captions]
        read = self.tokenize([*whole, ""])
        lengths = read.lengths[:-1]
        widths = (-(-lengths // self.grain) * self.grain).clamp(max=read.ids.shape[1])
        parts = [
            (rows, self._encode_batch(read, rows, width))
            for width in sorted(set(widths.tolist()))
            for rows in (widths == width).nonzero().flatten().split(BATCH)
        ]
        mask = torch.arange(read.ids.shape[1]) < lengths[:, None]
        tokens, pooled = (torch.cat(given) for given in zip(*(part for _, part in parts), strict=True))
        # Back in the order of the captions.
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return Features(tokens=tokens[order], mask=mask, pooled=pooled[order])

    def _encode_batch(self, read: TokenIds, rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Encode some of what was read, each `width` tokens long: (b, L, D) tokens and (b, P), as they are stored."""
        # The last caption is an empty one, of which there are always enough.
        ids, lengths = (
            each[[*rows.tolist(), *[-1] * (BATCH - len(rows))]] for each in (read.ids[:, :width], read.lengths)
        )
        real = (torch.arange(width) < lengths[:, None]).to(self.device)
        layers, own = self.forward(ids.to(self.device), real)
        tokens = side_by_side([layer.float() for layer in layers]).masked_fill(~real[..., None], 0)
        mean = tokens.sum(1) / real.sum(1, keepdim=True)
        pooled = mean if own is None or self.config.pooling == "mean" else own.float()
        wide = F.pad(tokens[: len(rows)], (0, 0, 0, read.ids.shape[1] - width))
        return self._stored(wide), self._stored(pooled[: len(rows)])

    def _stored(self, values: Tensor) -> Tensor:
        stored = values.to(_DTYPES[self.config.dtype]).cpu()
        if not stored.isfinite().all():
            raise ConfigError(
                f"the encoder gives numbers that {self.config.dtype} does not hold: try --dtype float32, or another "
                "--layers."
            )
        return stored


def side_by_side(layers: Sequence[Tensor]) -> Tensor:
    """Lay the tokens (B, L, D) of several layers side by side, each of unit variance, or one would drown the rest."""
    if len(layers) == 1:
        return layers[0]
    return torch.cat([F.layer_norm(layer, layer.shape[-1:]) for layer in layers], dim=-1)
