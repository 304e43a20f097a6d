"""What frozen text encoders have in common: captions go in, vectors of their tokens come out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.errors import ConfigError

# All captions are encoded in batches of one shape: what one of them gives does not depend on the others.
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


class FrozenEncoder(ABC):
    """A text encoder that is not trained.

    Args:
        config: what of its output is wanted.
        device: where it runs.
        num_layers: that it has.

    Raises:
        ConfigError: a layer is wanted that it does not have.
    """

    def __init__(self, config: FeaturesConfig, device: torch.device, num_layers: int) -> None:
        if config.layer > num_layers:
            raise ConfigError(f"this encoder has {num_layers} layers: choose --layer from 1 to {num_layers}.")
        self.config, self.device = config, device

    @abstractmethod
    def tokenize(self, captions: Sequence[str]) -> TokenIds:
        """Number the tokens of captions."""

    @abstractmethod
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode token ids.

        Args:
            ids: (B, L) int64.
            mask: (B, L) bool, True = real token.

        Returns:
            The tokens of the wanted layer (B, L, D), and the encoder's own vector of the whole (B, P) if it has one.
        """

    @torch.inference_mode()
    def encode(self, captions: Sequence[str]) -> Features:
        """Encode captions.

        Raises:
            ConfigError: what it gives is no number, or none that the wanted type holds.
        """
        # Half surrogate pairs, which command lines and JSON can carry, are not text that can be encoded.
        whole = [caption.encode(errors="replace").decode() for caption in captions]
        parts = [self._encode_batch(whole[i : i + BATCH]) for i in range(0, len(whole), BATCH)]
        tokens, mask, pooled = (torch.cat([getattr(p, name) for p in parts]) for name in ("tokens", "mask", "pooled"))
        return Features(tokens=tokens, mask=mask, pooled=pooled)

    def _encode_batch(self, captions: Sequence[str]) -> Features:
        read = self.tokenize([*captions, *[""] * (BATCH - len(captions))])
        mask = torch.arange(read.ids.shape[1]) < read.lengths[:, None]
        real = mask.to(self.device)
        tokens, own = self.forward(read.ids.to(self.device), real)
        tokens = tokens.float().masked_fill(~real[..., None], 0)
        mean = tokens.sum(1) / real.sum(1, keepdim=True)
        pooled = mean if own is None or self.config.pooling == "mean" else own.float()
        count = len(captions)
        return Features(tokens=self._stored(tokens[:count]), mask=mask[:count], pooled=self._stored(pooled[:count]))

    def _stored(self, values: Tensor) -> Tensor:
        stored = values.to(_DTYPES[self.config.dtype]).cpu()
        if not stored.isfinite().all():
            raise ConfigError(
                f"the encoder gives numbers that {self.config.dtype} does not hold: try --dtype float32, or another "
                "--layer."
            )
        return stored
