"""When a challenger takes the champion's place; needs no PyTorch."""

from typing import Literal

from pydantic import Field

from t2i_core.config import Config

FigureName = Literal["auto", "strict", "styles", "clip"]


class PromotionRule(Config):
    """What has to be seen on the same prompts and seeds before a challenger becomes the champion."""

    figure: FigureName = Field(
        "auto",
        description="What is compared: strict (accuracy on scenes), styles (right thing in the right style), clip "
        "(cosine of prompt and picture), auto (the first of these that both evaluations have).",
    )
    margin: float = Field(
        0,
        ge=-1,
        le=1,
        description="The lower end of the 95 % interval of challenger minus champion must lie above this; below 0 it "
        "is how much worse a challenger of newer data may be.",
    )
    min_prompts: int = Field(
        20, ge=1, le=100_000, description="Fewer things asked for decide nothing: their interval is not to be trusted."
    )
    when_better: Literal["promote", "ask", "leave"] = Field(
        "promote", description="What comes of a challenger that passes: promote, ask (a person decides), leave."
    )
    when_unclear: Literal["ask", "leave"] = Field(
        "leave", description="What comes of one that cannot be told from the champion: leave, ask (a person decides)."
    )
