"""Which shapes batches of pictures have, and what is done to a picture that has another."""

import math
from functools import lru_cache
from typing import Self

from pydantic import Field, model_validator

from t2i_core.config import Config


class Shapes(Config):
    """The shapes that pictures are trained in; all have about as many pixels."""

    side: int = Field(
        0,
        ge=0,
        le=4096,
        description="Side of the square that pictures are shrunk or enlarged to cover, and cut to, pixels; "
        "0 = pictures are squares of one size already.",
    )
    step: int = Field(
        0,
        ge=0,
        le=1024,
        description="Pictures are put together by aspect ratio in place of being cut to squares: sides are multiples "
        "of this, pixels, with about as many pixels as the square; 0 = squares alone.",
    )
    max_ratio: float = Field(2.0, ge=1, le=8, description="Ratio of sides beyond which pictures are cut.")

    @model_validator(mode="after")
    def _has_side(self) -> Self:
        if self.step and not self.side:
            raise ValueError("step needs side, which says how many pixels a picture has")
        return self

    @property
    def num(self) -> int:
        """How many shapes there are."""
        return len(_all(self.side, self.step, self.max_ratio))

    def shape(self, bucket: int) -> tuple[int, int]:
        """Give the height and width of a bucket's pictures, in pixels; (0, 0) where they are as they are stored."""
        return _all(self.side, self.step, self.max_ratio)[bucket]

    def bucket_of(self, width: int, height: int) -> int:
        """Give the bucket whose shape is most like a picture's; by the logarithm, so that high is like wide."""
        return _nearest(self.side, self.step, self.max_ratio, width, height)


ANY_SHAPE = Shapes()


@lru_cache(maxsize=8)
def _all(side: int, step: int, max_ratio: float) -> tuple[tuple[int, int], ...]:
    """List the shapes from high to wide: for each longer side the shorter one that gives most nearly the pixels."""
    if not side or not step:
        return ((side, side),)
    longer = range(math.ceil(side / step) * step, math.floor(side * math.sqrt(max_ratio)) + 1, step)
    pairs = {(max(step, round(side * side / width / step) * step), width) for width in longer}
    wide = {(height, width) for height, width in pairs if height <= width <= max_ratio * height}
    shapes = sorted(wide | {(width, height) for height, width in wide}, key=lambda shape: shape[1] / shape[0])
    return tuple(shapes) or ((side, side),)


@lru_cache(maxsize=65536)
def _nearest(side: int, step: int, max_ratio: float, width: int, height: int) -> int:
    shapes = _all(side, step, max_ratio)
    ratio = math.log(width / height) if width > 0 and height > 0 else 0.0
    return min(range(len(shapes)), key=lambda i: abs(math.log(shapes[i][1] / shapes[i][0]) - ratio))
