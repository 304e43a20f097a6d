"""How a frozen encoder's outputs become features; needs no PyTorch."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

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
    pictures: bool = Field(
        False,
        description="Whether the embeddings of all pictures are stored too, which a CLIP alone makes; priors and "
        "decoders of unCLIP stand on them.",
    )

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if self.pictures and self.pooling != "own":
            raise ValueError("pictures are embedded to be compared with captions: that needs the CLIP's own pooling")
        return self

    def record(self) -> dict[str, Any]:
        """Give what decides what comes out; what is not asked for is not there."""
        return self.model_dump(mode="json", exclude=None if self.pictures else {"pictures"})
