"""The sizes of each network, as a recipe gives them; needs no PyTorch."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from t2i_core.config import Config

NUM_GROUPS = 8
# Groups of a norm in the ADM U-Net, as published.
ADM_GROUPS = 32
# The caption map is worked out on a grid this many times coarser than the finest level.
MAP_STRIDE = 4
# Far beyond any network that was ever trained; they keep a recipe from elsewhere from building without end.
MAX_WIDTH, MAX_LAYERS, MAX_LEVELS, MAX_VOCABULARY, MAX_TOKENS = 65_536, 1_000, 12, 10_000_000, 8_192
MAX_IMAGE_SIZE, MAX_PATCH_SIZE = 4_096, 256
Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
Layers = Annotated[int, Field(ge=0, le=MAX_LAYERS)]


class Sizes(Config):
    """What the data decides of a network."""

    vocab_size: int = Field(gt=2, le=MAX_VOCABULARY, description="Words the tokenizer knows.")
    context_length: int = Field(gt=0, le=MAX_TOKENS, description="Tokens a caption may have.")
    image_size: int = Field(gt=0, le=MAX_IMAGE_SIZE, description="Side of the pictures, pixels.")
    feature_width: int = Field(
        0, ge=0, le=MAX_WIDTH, description="Width of a token of features beside the pictures; 0 = there are none."
    )
    embedding_width: int = Field(
        0, ge=0, le=MAX_WIDTH, description="Width of a CLIP's embeddings beside the pictures; 0 = there are none."
    )


class TextEncoderConfig(Config):
    """Size of the text encoder."""

    vocab_size: int = Field(gt=2, le=MAX_VOCABULARY, description="Words the tokenizer knows.")
    context_length: int = Field(gt=0, le=MAX_TOKENS, description="Tokens a caption may have.")
    width: int = Field(128, gt=0, le=MAX_WIDTH, multiple_of=8, description="Width of a token vector.")
    num_layers: int = Field(3, ge=0, le=MAX_LAYERS, description="Transformer blocks.")
    num_heads: int = Field(4, gt=0, le=MAX_WIDTH, description="Attention heads.")


class TextTransformerSizes(Config):
    """Size of GLIDE's text transformer; the defaults are the released one's."""

    width: int = Field(512, gt=0, le=MAX_WIDTH, description="Width of a token vector.")
    num_layers: int = Field(16, ge=0, le=MAX_LAYERS, description="Transformer blocks.")
    num_heads: int = Field(8, gt=0, le=MAX_WIDTH, description="Attention heads.")
    directional: bool = Field(
        False,
        description="Whether half of the heads look back and the others ahead, so that a short training learns who "
        "stands left of whom; as published, all look both ways.",
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")
        return self


class FeatureTransformerSizes(TextTransformerSizes):
    """Size of trained blocks that read on in the features of a frozen encoder."""

    noise: float = Field(
        ge=0,
        le=10,
        description="Noise put on features in training, in standard deviations of a token, of each caption a random "
        "amount up to this: no small difference between words is learned by heart.",
    )


class TextTransformerConfig(TextTransformerSizes):
    """GLIDE's text transformer for some data."""

    vocab_size: int = Field(gt=2, le=MAX_VOCABULARY, description="Words the tokenizer knows.")
    context_length: int = Field(gt=0, le=MAX_TOKENS, description="Tokens a caption may have.")


class PriorSizes(Config):
    """Size of a prior's transformer, which makes the embedding of a picture from a caption."""

    width: int = Field(192, gt=0, le=MAX_WIDTH, multiple_of=2, description="Width of a token vector.")
    num_layers: int = Field(6, ge=0, le=MAX_LAYERS, description="Transformer blocks.")
    num_heads: int = Field(6, gt=0, le=MAX_WIDTH, description="Attention heads.")

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")
        return self


class PriorConfig(PriorSizes):
    """unCLIP's diffusion prior for some data and a CLIP."""

    vocab_size: int = Field(gt=2, le=MAX_VOCABULARY, description="Words the tokenizer knows.")
    context_length: int = Field(gt=0, le=MAX_TOKENS, description="Tokens a caption may have.")
    embedding_width: int = Field(gt=0, le=MAX_WIDTH, description="Width of the CLIP's embeddings.")


class ARPriorConfig(PriorSizes):
    """unCLIP's autoregressive prior for some data and a CLIP."""

    text: TextTransformerConfig
    embedding_width: int = Field(gt=0, le=MAX_WIDTH, description="Width of the CLIP's embeddings.")
    num_buckets: int = Field(256, gt=1, le=MAX_WIDTH, description="Buckets of each component.")
    num_fits: int = Field(64, gt=1, le=MAX_WIDTH, description="Kinds of how well pictures fit their captions.")


class CNNConfig(Config):
    """Size of the decoder."""

    channels: tuple[Width, ...] = Field(
        (256, 128, 96),
        min_length=1,
        max_length=MAX_LEVELS,
        description="Channels of each level from 4x4 on, coarsest first.",
    )
    num_blocks: int = Field(1, gt=0, le=MAX_LAYERS, description="Residual blocks a level.")


class UNetConfig(Config):
    """Size of the U-Net."""

    patch_size: int = Field(
        4, ge=1, le=MAX_PATCH_SIZE, description="Pixels a side of a patch that the stem folds into channels."
    )
    channels: tuple[Width, ...] = Field(
        (96, 128), min_length=1, max_length=MAX_LEVELS, description="Channels of each level, finest first."
    )
    num_blocks: tuple[Layers, ...] = Field(
        (2, 1), min_length=1, max_length=MAX_LEVELS, description="Blocks of each level, down and again up."
    )
    attention: tuple[bool, ...] = Field(
        (False, False),
        max_length=MAX_LEVELS,
        description="Whether the blocks of each level attend to the text and to each other.",
    )
    num_middle_blocks: int = Field(
        1, ge=0, le=MAX_LAYERS, description="Blocks at the coarsest level that always attend."
    )
    map_layers: int = Field(2, ge=0, le=MAX_LAYERS, description="Layers of the caption map; 0 leaves it out.")
    head_width: int = Field(32, gt=0, le=MAX_WIDTH, description="Channels of an attention head.")
    text_width: int = Field(128, gt=0, le=MAX_WIDTH, description="Width of a token vector.")
    embedding_width: int = Field(
        256, gt=0, le=MAX_WIDTH, description="Width of the joint embedding of time and pooled text."
    )

    @model_validator(mode="after")
    def _same_levels(self) -> Self:
        if not len(self.channels) == len(self.num_blocks) == len(self.attention):
            raise ValueError("channels, num_blocks and attention must have one entry a level")
        if any(c % NUM_GROUPS for c in self.channels):
            raise ValueError(f"channels must be multiples of {NUM_GROUPS}")
        return self

    @property
    def side_multiple(self) -> int:
        """What the sides of a picture must be multiples of, pixels."""
        coarsest = 1 << (len(self.channels) - 1)
        return self.patch_size * (max(coarsest, MAP_STRIDE) if self.map_layers else coarsest)


class ADMSizes(Config):
    """Size of the ADM U-Net; the defaults learn scenes on a CPU."""

    patch_size: int = Field(
        1, ge=1, le=MAX_PATCH_SIZE, description="Pixels a side of a patch that the stem folds into channels; 1 = none."
    )
    width: int = Field(32, gt=0, le=MAX_WIDTH, multiple_of=2, description="Channels that the multiples multiply.")
    multiples: tuple[Width, ...] = Field(
        (3, 4), min_length=1, max_length=MAX_LEVELS, description="Channels of each level, finest first, in widths."
    )
    num_blocks: int = Field(2, gt=0, le=MAX_LAYERS, description="Blocks of each level down; one more on the way up.")
    attention: tuple[bool, ...] = Field(
        (False, True), max_length=MAX_LEVELS, description="Whether the blocks of each level attend."
    )
    middle_attention: bool = Field(True, description="Whether the middle attends.")
    positions: bool = Field(
        False,
        description="Whether attention sees the places' coordinates, which short trainings do not learn.",
    )
    carries: bool = Field(
        False,
        description="Whether the noised picture also goes straight to the prediction, by gains of the time: a "
        "small network takes long to learn to carry all noise to eps.",
    )
    head_width: int = Field(32, gt=0, le=MAX_WIDTH, description="Channels of an attention head.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped inside residual blocks.")

    @model_validator(mode="after")
    def _fitting_parts(self) -> Self:
        if len(self.multiples) != len(self.attention):
            raise ValueError("multiples and attention must have one entry a level")
        if any(channels % ADM_GROUPS for channels in self.channels):
            raise ValueError(f"width times each multiple must be a multiple of {ADM_GROUPS}")
        if any(channels % self.head_width for channels in self.attending):
            raise ValueError(f"the channels of levels that attend must be multiples of head_width {self.head_width}")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.width * multiple for multiple in self.multiples)

    @property
    def attending(self) -> tuple[int, ...]:
        """Channels of each place that attends."""
        levels = [c for c, attends in zip(self.channels, self.attention, strict=True) if attends]
        return (*levels, self.channels[-1]) if self.middle_attention else tuple(levels)

    @property
    def side_multiple(self) -> int:
        """What the sides of a picture must be multiples of, pixels."""
        return self.patch_size << (len(self.multiples) - 1)


class ADMConfig(ADMSizes):
    """An ADM U-Net for what a stage gives it and takes from it."""

    in_channels: int = Field(3, gt=0, le=MAX_WIDTH, description="Channels it reads: the picture's, and what joins it.")
    out_channels: int = Field(3, gt=0, le=MAX_WIDTH, description="Channels it gives; twice as many learn the variance.")
    text_width: int = Field(
        0, ge=0, le=MAX_WIDTH, description="Width of the tokens that attention sees beside the picture; 0 = none."
    )
    embedding_width: int = Field(
        0, ge=0, le=MAX_WIDTH, description="Width of the vector that joins the time embedding; 0 = none."
    )

    @model_validator(mode="after")
    def _has_a_place_for_text(self) -> Self:
        if self.text_width and not self.attending:
            raise ValueError("text_width needs attention at some level")
        return self


class EfficientSizes(Config):
    """Size of the Efficient U-Net; the defaults learn scenes on a CPU."""

    patch_size: int = Field(
        1, ge=1, le=MAX_PATCH_SIZE, description="Pixels a side of a patch that the stem folds into channels; 1 = none."
    )
    channels: tuple[Width, ...] = Field(
        (64, 96), min_length=1, max_length=MAX_LEVELS, description="Channels of each level, finest first."
    )
    num_blocks: tuple[Annotated[int, Field(gt=0, le=MAX_LAYERS)], ...] = Field(
        (1, 2), max_length=MAX_LEVELS, description="Residual blocks of each level, down and again up."
    )
    attention: tuple[bool, ...] = Field(
        (False, True), max_length=MAX_LEVELS, description="Whether the places of each level attend."
    )
    self_attention: bool = Field(
        True, description="Whether places that attend see each other beside the caption, or the caption alone."
    )
    num_heads: int = Field(8, gt=0, le=MAX_WIDTH, description="Attention heads.")
    positions: bool = Field(
        False,
        description="Whether attention sees the places' coordinates, which short trainings do not learn.",
    )
    groups: int = Field(32, gt=0, le=MAX_WIDTH, description="Groups of channels that a norm goes over.")
    embedding_width: int = Field(
        512, gt=0, le=MAX_WIDTH, description="Width of the joint embedding of time, pooled text and level of noise."
    )

    @model_validator(mode="after")
    def _fitting_parts(self) -> Self:
        if not len(self.channels) == len(self.num_blocks) == len(self.attention):
            raise ValueError("channels, num_blocks and attention must have one entry a level")
        if any(channels % self.groups for channels in self.channels):
            raise ValueError(f"channels must be multiples of {self.groups} groups")
        if not any(self.attention):
            raise ValueError("some level must attend: captions are read there")
        if any(c % self.num_heads for c, attends in zip(self.channels, self.attention, strict=True) if attends):
            raise ValueError(f"the channels of levels that attend must be multiples of num_heads {self.num_heads}")
        return self

    @property
    def side_multiple(self) -> int:
        """What the sides of a picture must be multiples of, pixels."""
        return self.patch_size << len(self.channels)


class EfficientConfig(EfficientSizes):
    """An Efficient U-Net for what a stage gives it and takes from it."""

    in_channels: int = Field(6, gt=0, le=MAX_WIDTH, description="Channels it reads: the picture's, and what joins it.")
    out_channels: int = Field(3, gt=0, le=MAX_WIDTH, description="Channels it gives; twice as many learn the variance.")
    text_width: int = Field(gt=0, le=MAX_WIDTH, description="Width of the tokens, and of the vector of all.")


class NoisedViTSizes(Config):
    """Size of a vision transformer of noised pictures."""

    patch_size: int = Field(4, gt=0, le=MAX_PATCH_SIZE, description="Pixels a side of an image token.")
    width: int = Field(128, gt=0, le=MAX_WIDTH, description="Width of an image token.")
    num_layers: int = Field(3, gt=0, le=MAX_LAYERS, description="Transformer blocks.")
    num_heads: int = Field(4, gt=0, le=MAX_WIDTH, description="Attention heads.")

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")
        return self


class NoisedViTConfig(NoisedViTSizes):
    """A vision transformer for pictures of some size."""

    image_size: int = Field(gt=0, le=MAX_IMAGE_SIZE, description="Side of the pictures, pixels.")
