"""How a frozen encoder's outputs become features; needs no PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from t2i_core.config import Config

MAX_TOKENS = 1024


class FeaturesConfig(Config):
    """What of an encoder's output is a caption's features."""

    layers: tuple[Annotated[int, Field(ge=1, le=97)], ...] = Field(
        (1,),
        min_length=1,
        max_length=8,
        description="Layers whose outputs the tokens are, side by side, counted from the end: 1 is the last, and the "
        "one before the first what a word is before it is read in its sentence.",
    )
    pooling: Literal["own", "mean"] = Field(
        "own",
        description="The one vector of a whole caption: the embedding that a CLIP compares with pictures (own), or the "
        "mean over its tokens, which is also own to encoders that have no other.",
    )
    max_length: int = Field(
        0,
        ge=0,
        le=MAX_TOKENS,
        description="Tokens a caption, beyond which it is cut; 0 = what a CLIP reads, 64 for other encoders.",
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="Type that features are stored in.")
