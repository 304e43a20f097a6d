"""What a nightly job does beside the pipeline that it runs."""

from typing import Any, Literal

from pydantic import Field

from t2i_core.promotion.config import PromotionRule


class NightlyConfig(PromotionRule):
    """How the challenger is trained, when it takes the champion's place, and what stays on disk."""

    start: Literal["fresh", "warm"] = Field(
        "fresh", description="What the challenger starts from: fresh (nothing), warm (the champion's weights)."
    )
    warm_images: int = Field(
        0, ge=0, description="Pictures that a warm training sees; 0 = the budget of its recipe, as for a fresh one."
    )
    keep_nights: int = Field(
        7,
        ge=1,
        le=10_000,
        description="Nights whose folders stay; of earlier ones only what champion and previous are made from.",
    )

    def training(self) -> dict[str, Any]:
        """Give what of it decides what is learned."""
        return self.model_dump(mode="json", include={"start", "warm_images"})


# Headings of the help and of the form.
NIGHTLY_GROUPS = {"When the challenger takes the champion's place": tuple(PromotionRule.model_fields)}
