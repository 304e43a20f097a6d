"""Denoising networks as diffusion stages see them: each with what reads its captions, behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from t2i_core.models.adm_unet import ADMUNet
from t2i_core.models.config import ADMConfig, EfficientConfig, FeatureTransformerSizes, Sizes, TextTransformerConfig
from t2i_core.models.efficient_unet import EfficientUNet
from t2i_core.models.embedding import EmbeddingReader, Statistics
from t2i_core.models.feature_reader import FeatureReader, FeatureTransformer, PooledFeatures
from t2i_core.models.text_encoder import Encoded, TextEncoder
from t2i_core.models.text_transformer import TextTransformer
from t2i_core.models.unet import UNet
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import (
    ADMNetworkConfig,
    CaptionReader,
    EfficientNetworkConfig,
    NetworkConfig,
    PlainADMNetworkConfig,
    UnCLIPNetworkConfig,
    UNetNetworkConfig,
)
from t2i_core.systems.stage import encode, text_encoder


class Channels(NamedTuple):
    """What a network reads and gives.

    Attributes:
        read: the noised picture's three, then what joins them.
        given: three, or six with the variance.
    """

    read: int
    given: int


class Reading(NamedTuple):
    """What a network makes of captions, whatever the noised picture.

    Attributes:
        text: vectors of them; None for a network that reads none.
        maps: what they ask for at each place; empty where a network makes none.
        level: (B,) float, noise on the small pictures, where a network reads it; what is dropped is zero.
    """

    text: Encoded | None
    maps: tuple[Tensor, ...] = ()
    level: Tensor | None = None


class Network(nn.Module, ABC):
    """(x_t and what joins it, t, captions) -> raw prediction."""

    @abstractmethod
    def read(self, condition: Condition, shape: Sequence[int]) -> Reading:
        """Read the captions of pictures (C, H, W), once a drawing; those that are dropped become the network's null."""

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """Predict.

        Args:
            x: (B, channels.read, H, W) float.
            t: (B,) float in [0, 1]; 0 is clean.
            reading: of the captions.

        Returns:
            (B, channels.given, H, W) float.
        """

    def measure(self, statistics: Statistics) -> None:
        """See `Stage.measure`."""
        return

    @abstractmethod
    def outer_layers(self) -> Sequence[nn.Module]:
        """List the layers that face the outside, which Muon does not train."""


class UNetNetwork(Network):
    """A U-Net with cross-attention and a caption map, and its text encoder, or what reads features of a frozen one."""

    def __init__(self, config: UNetNetworkConfig, sizes: Sizes, channels: Channels) -> None:
        super().__init__()
        self.text = _reader(sizes, config)
        self.unet = UNet(config, in_channels=channels.read, out_channels=channels.given)

    def read(self, condition: Condition, shape: Sequence[int]) -> Reading:
        """See `Network.read`."""
        text = encode(self.text, condition)
        return Reading(text, self.unet.maps(text, *shape[1:]))

    def forward(self, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """See `Network.forward`."""
        prediction: Tensor = self.unet(x, t, reading.text, reading.maps)
        return prediction

    def outer_layers(self) -> Sequence[nn.Module]:
        """See `Network.outer_layers`."""
        return [*self.unet.outer_layers(), *([self.text.project] if isinstance(self.text, FeatureReader) else ())]


def _reader(sizes: Sizes, config: UNetNetworkConfig) -> TextEncoder | FeatureReader:
    if config.text == "own":
        return text_encoder(sizes, config.text_width, config.text_layers)
    return FeatureReader(_feature_width(sizes), config.text_width)


def _pooling_reader(sizes: Sizes, text: CaptionReader) -> TextTransformer | PooledFeatures | FeatureTransformer:
    if text == "features":
        return PooledFeatures(_feature_width(sizes))
    if isinstance(text, FeatureTransformerSizes):
        return FeatureTransformer(_feature_width(sizes), text)
    return TextTransformer(
        TextTransformerConfig(**text.model_dump(), vocab_size=sizes.vocab_size, context_length=sizes.context_length)
    )


def _feature_width(sizes: Sizes) -> int:
    if not sizes.feature_width:
        raise ValueError("it reads features of captions, and is given none")
    return sizes.feature_width


def _with_channels(config: NetworkConfig, channels: Channels) -> dict[str, Any]:
    """Give the sizes of a network that a recipe names, and those that its stage knows."""
    sides = {"in_channels": channels.read, "out_channels": channels.given}
    return config.model_dump(exclude={"kind", "text"}) | sides


class ADMNetwork(Network):
    """An ADM U-Net whose attention sees the tokens of captions beside the picture's places: GLIDE's, Imagen's base."""

    def __init__(self, config: ADMNetworkConfig, sizes: Sizes, channels: Channels) -> None:
        super().__init__()
        self.text = _pooling_reader(sizes, config.text)
        widths = {"text_width": self.text.width, "embedding_width": self.text.width}
        self.unet = ADMUNet(ADMConfig(**_with_channels(config, channels), **widths))

    def read(self, condition: Condition, shape: Sequence[int]) -> Reading:
        """See `Network.read`."""
        return Reading(encode(self.text, condition))

    def forward(self, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """See `Network.forward`."""
        text = reading.text
        assert text is not None
        prediction: Tensor = self.unet(x, t, text.pooled, text.tokens, text.mask)
        return prediction

    def outer_layers(self) -> Sequence[nn.Module]:
        """See `Network.outer_layers`."""
        return [*self.text.outer_layers(), *self.unet.outer_layers()]


class UnCLIPNetwork(ADMNetwork):
    """unCLIP's decoder (Ramesh et al. 2022, arXiv:2204.06125, section 2.1): GLIDE's with the embedding of a picture.

    It joins the time's beside the caption's own, and stands as tokens behind those of the caption.
    """

    def __init__(self, config: UnCLIPNetworkConfig, sizes: Sizes, channels: Channels) -> None:
        if not sizes.embedding_width:
            raise ValueError("it reads embeddings of a CLIP, and is given none")
        super().__init__(ADMNetworkConfig(**config.model_dump(exclude={"kind", "image_tokens"})), sizes, channels)
        self.image = EmbeddingReader(sizes.embedding_width, config.text.width, config.image_tokens)

    def measure(self, statistics: Statistics) -> None:
        """See `Stage.measure`."""
        self.image.standardised.fit(statistics.image_mean, statistics.image_std)

    def read(self, condition: Condition, shape: Sequence[int]) -> Reading:
        """See `Network.read`; without any embedding all are dropped."""
        text, image, keep = encode(self.text, condition), condition.image, condition.keep.get("image")
        if image is None:
            image = self.image.standardised.mean.expand(len(text.pooled), -1)
            keep = torch.zeros(len(image), dtype=torch.bool, device=image.device)
        whole, tokens = self.image(image, keep)
        return Reading(Encoded(torch.cat([text.tokens, tokens], dim=1), text.pooled + whole, None))

    def outer_layers(self) -> Sequence[nn.Module]:
        """See `Network.outer_layers`."""
        return [*super().outer_layers(), self.image]


class PlainADMNetwork(Network):
    """An ADM U-Net alone."""

    def __init__(self, config: PlainADMNetworkConfig, sizes: Sizes, channels: Channels) -> None:
        super().__init__()
        self.unet = ADMUNet(ADMConfig(**_with_channels(config, channels)))

    def read(self, condition: Condition, shape: Sequence[int]) -> Reading:
        """See `Network.read`: there is nothing to be read."""
        return Reading(None)

    def forward(self, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """See `Network.forward`."""
        prediction: Tensor = self.unet(x, t)
        return prediction

    def outer_layers(self) -> Sequence[nn.Module]:
        """See `Network.outer_layers`."""
        return self.unet.outer_layers()


class EfficientNetwork(Network):
    """Imagen's for what enlarges: an Efficient U-Net that is told captions and the level of noise."""

    def __init__(self, config: EfficientNetworkConfig, sizes: Sizes, channels: Channels) -> None:
        super().__init__()
        self.text = _pooling_reader(sizes, config.text)
        self.unet = EfficientUNet(EfficientConfig(**_with_channels(config, channels), text_width=self.text.width))

    def read(self, condition: Condition, shape: Sequence[int]) -> Reading:
        """See `Network.read`."""
        level, keep = None if condition.low is None else condition.low.level, condition.keep.get("low")
        if level is not None and keep is not None:
            level = torch.where(keep, level, 0)
        return Reading(encode(self.text, condition), level=level)

    def forward(self, x: Tensor, t: Tensor, reading: Reading) -> Tensor:
        """See `Network.forward`."""
        text = reading.text
        assert text is not None
        prediction: Tensor = self.unet(x, t, text.pooled, text.tokens, text.mask, reading.level)
        return prediction

    def outer_layers(self) -> Sequence[nn.Module]:
        """See `Network.outer_layers`."""
        return [*self.text.outer_layers(), *self.unet.outer_layers()]


NETWORKS: dict[type[NetworkConfig], Callable[[Any, Sizes, Channels], Network]] = {
    UNetNetworkConfig: UNetNetwork,
    ADMNetworkConfig: ADMNetwork,
    UnCLIPNetworkConfig: UnCLIPNetwork,
    PlainADMNetworkConfig: PlainADMNetwork,
    EfficientNetworkConfig: EfficientNetwork,
}
