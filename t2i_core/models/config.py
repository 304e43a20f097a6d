"""The sizes of each network, as a recipe gives them; needs no PyTorch."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from t2i_core.config import Config

NUM_GROUPS = 8
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


class TextEncoderConfig(Config):
    """Size of the text encoder."""

    vocab_size: int = Field(gt=2, le=MAX_VOCABULARY, description="Words the tokenizer knows.")
    context_length: int = Field(gt=0, le=MAX_TOKENS, description="Tokens a caption may have.")
    width: int = Field(128, gt=0, le=MAX_WIDTH, multiple_of=8, description="Width of a token vector.")
    num_layers: int = Field(3, ge=0, le=MAX_LAYERS, description="Transformer blocks.")
    num_heads: int = Field(4, gt=0, le=MAX_WIDTH, description="Attention heads.")


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
