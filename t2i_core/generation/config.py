"""How to draw with a finished run; needs no PyTorch."""

from pydantic import Field

from t2i_core.config import Config


class GenerateConfig(Config):
    """How to draw."""

    num_images: int = Field(1, gt=0, le=10_000, description="Pictures a prompt.")
    seed: int = Field(0, ge=0, description="Seed; picture i of a prompt depends on (seed, prompt, i) alone.")
    guidance_scale: float | None = Field(None, ge=0, description="Classifier-free guidance; default: the run's own.")
    steps: int | None = Field(None, gt=0, le=1000, description="Sampling steps; default: the run's own.")
