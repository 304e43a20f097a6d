"""How to draw with a finished run; needs no PyTorch."""

from pydantic import Field

from t2i_core.config import Config
from t2i_core.diffusion.kinds import SamplerName
from t2i_core.training.curve import CheckpointName

# Settings that say which weights draw; all systems have them.
WEIGHTS = frozenset({"checkpoint", "ema"})


class DrawConfig(Config):
    """Settings of drawing. What is left empty is the run's own, and what its system ignores is refused."""

    guidance_scale: float | None = Field(
        None, gt=0, le=100, description="Classifier-free guidance; 1 switches it off. Empty: the run's own."
    )
    steps: int | None = Field(None, gt=0, le=1000, description="Sampling steps. Empty: the run's own.")
    sampler: SamplerName | None = Field(
        None, description="How noise becomes a picture step by step. Empty: the run's own."
    )
    negative_prompt: str = Field(
        "", max_length=10_000, description="What guidance leads away from, in place of the empty prompt."
    )

    checkpoint: CheckpointName = Field(
        "last", description="Weights of the end, or of the checkpoint with the lowest loss on validation pictures."
    )

    ema: float | None = Field(
        None, ge=0, lt=1, description="Decay of the average to draw with, if there are several. Empty: the first."
    )

    @property
    def asked(self) -> dict[str, float | str]:
        """What was asked for of the system, by name."""
        settings = {name: getattr(self, name) for name in DrawConfig.model_fields if name not in WEIGHTS}
        return {name: value for name, value in settings.items() if value not in (None, "")}


class GenerateConfig(DrawConfig):
    """How to draw, and how many."""

    num_images: int = Field(1, gt=0, le=10_000, description="Pictures a prompt.")
    seed: int = Field(0, ge=0, description="Seed; picture i of a prompt depends on (seed, prompt, i) alone.")
    grid: bool = Field(False, description="Also lay all pictures side by side in grid.png.")
