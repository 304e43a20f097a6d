"""What makes each system, as a recipe gives it; needs no PyTorch.

`draw_settings` names the settings of drawing that a system heeds.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from t2i_core.config import Config
from t2i_core.diffusion.kinds import Parameterization, SamplerName, ScheduleName, TimeSampling
from t2i_core.models.config import MAX_LAYERS, MAX_PATCH_SIZE, MAX_TOKENS, MAX_WIDTH, CNNConfig, UNetConfig

FieldName = Literal["text", "image", "low", "known"]


class StageConfig(Config):
    """What every stage's config has."""

    draw_settings: ClassVar[frozenset[str]] = frozenset()

    @property
    def side_multiple(self) -> int:
        """What both sides of a picture must be multiples of; 0 where only squares of one size will do."""
        return 0

    @property
    def compares_samples(self) -> bool:
        """Whether its loss of a batch is no mean over samples, each of which stands for itself."""
        return False

    @property
    def nulls(self) -> frozenset[FieldName]:
        """Fields of the condition that may be dropped, since it has something to put in their place."""
        return frozenset()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the finished runs that it stands on."""
        return ()


class DirectConfig(StageConfig):
    """A one-step system."""

    kind: Literal["direct"] = "direct"
    text_width: int = Field(128, gt=0, le=MAX_WIDTH, multiple_of=8, description="Width of a token vector.")
    text_layers: int = Field(3, ge=0, le=MAX_LAYERS, description="Blocks of the text encoder.")
    cnn: CNNConfig = CNNConfig()
    clip_weight: float = Field(
        0, ge=0, description="Weight of the distance in the eyes of a CLIP run, which sees blur; 0 needs no CLIP."
    )

    @property
    def nulls(self) -> frozenset[FieldName]:
        """See `StageConfig.nulls`."""
        return frozenset({"text"})

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `StageConfig.inputs`."""
        return ("clip",) if self.clip_weight else ()


class DiffusionConfig(StageConfig):
    """A single-stage diffusion system."""

    draw_settings: ClassVar[frozenset[str]] = frozenset({"guidance_scale", "steps", "sampler", "negative_prompt"})
    kind: Literal["diffusion"] = "diffusion"
    text_layers: int = Field(3, ge=0, le=MAX_LAYERS, description="Blocks of the text encoder.")
    unet: UNetConfig = UNetConfig()
    schedule: ScheduleName = Field("flow", description="Path from picture to noise.")
    prediction: Parameterization = Field(
        "x_0", description="What the network predicts. x_0 lets it ignore the noise, which small networks cannot carry."
    )
    time_shift: float = Field(
        6.0,
        ge=1,
        description="How far training and sampling lean to noise at 64 pixels a side, where flat pictures show their "
        "layout through very strong noise: what the caption decides is decided at t > 0.9. Grows with the side.",
    )
    time_sampling: TimeSampling = Field("logit_normal", description="How training times are drawn, before the shift.")
    time_std: float = Field(1.3, gt=0, description="Standard deviation of logit(t).")
    min_time: float = Field(
        0.3,
        gt=0,
        le=1,
        description="An x_0 loss is weighted 1 / max(t, this)^2, t before the shift: edges count beside layout.",
    )
    sampler: SamplerName = Field("dpmpp_2m", description="Sampler used when drawing.")
    num_steps: int = Field(20, gt=0, le=1000, description="Sampling steps.")
    guidance_scale: float = Field(2.0, ge=0, description="Classifier-free guidance; 1 switches it off.")

    @property
    def side_multiple(self) -> int:
        """What both sides of a picture must be multiples of."""
        return self.unet.side_multiple

    @property
    def nulls(self) -> frozenset[FieldName]:
        """See `StageConfig.nulls`."""
        return frozenset({"text"})


class CLIPConfig(StageConfig):
    """Size of the two towers."""

    kind: Literal["clip"] = "clip"
    embed_dim: int = Field(128, gt=0, le=MAX_WIDTH, description="Width of the shared embedding.")
    patch_size: int = Field(8, gt=0, le=MAX_PATCH_SIZE, description="Pixels a side of an image token.")
    width: int = Field(128, gt=0, le=MAX_WIDTH, multiple_of=32, description="Width of both towers.")
    image_layers: int = Field(4, gt=0, le=MAX_LAYERS, description="Blocks of the image tower.")
    text_layers: int = Field(3, gt=0, le=MAX_LAYERS, description="Blocks of the text tower.")
    context_length: int = Field(32, gt=2, le=MAX_TOKENS, description="Text tokens, start and end included.")

    @property
    def compares_samples(self) -> bool:
        """See `StageConfig.compares_samples`."""
        return True


SystemConfig = Annotated[DirectConfig | DiffusionConfig | CLIPConfig, Field(discriminator="kind")]
