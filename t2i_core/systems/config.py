"""What makes each system, as a recipe gives it; needs no PyTorch.

`draw_settings` names the settings of drawing that a system heeds.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from t2i_core.config import Config
from t2i_core.diffusion.kinds import Parameterization, SamplerName, ScheduleName, TimeSampling, Weighting
from t2i_core.models.config import (
    MAX_IMAGE_SIZE,
    MAX_LAYERS,
    MAX_PATCH_SIZE,
    MAX_TOKENS,
    MAX_WIDTH,
    ADMSizes,
    CNNConfig,
    EfficientSizes,
    FeatureTransformerSizes,
    NoisedViTSizes,
    PriorSizes,
    TextTransformerSizes,
    UNetConfig,
)

FieldName = Literal["text", "image", "low", "known"]


class StageConfig(Config):
    """What every stage's config has."""

    draw_settings: ClassVar[frozenset[str]] = frozenset()

    @property
    def side_multiple(self) -> int:
        """What both sides of a picture must be multiples of; 0 where only squares of one size will do."""
        return 0

    @property
    def channels(self) -> tuple[str, ...]:
        """What each channel is that its network reads; () where there is nothing to tell apart."""
        return ()

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


class UNetNetworkConfig(UNetConfig):
    """A U-Net with cross-attention and a caption map."""

    kind: Literal["unet"] = "unet"
    text: Literal["own", "features"] = Field(
        "own", description="What reads captions: a text encoder that is trained with it, or a frozen one beforehand."
    )
    text_layers: int = Field(3, ge=0, le=MAX_LAYERS, description="Blocks of its own text encoder.")


# The one with more fields first: what is written of a config is what the first that fits knows.
CaptionReader = FeatureTransformerSizes | TextTransformerSizes | Literal["features"]


class ADMNetworkConfig(ADMSizes):
    """GLIDE's: an ADM U-Net and a text transformer; with features of a frozen encoder in its place Imagen's base."""

    kind: Literal["adm"] = "adm"
    text: CaptionReader = Field(
        TextTransformerSizes(),
        description="What reads captions: a text transformer of this size that is trained with it, or a frozen encoder "
        "beforehand (features), behind it trained blocks if a size with noise is given.",
    )


class UnCLIPNetworkConfig(ADMSizes):
    """unCLIP's decoder: GLIDE's, which is told the embedding of a picture beside the caption."""

    kind: Literal["unclip"] = "unclip"
    text: TextTransformerSizes = TextTransformerSizes()
    image_tokens: int = Field(
        4, gt=0, le=MAX_TOKENS, description="Tokens that the embedding becomes, beside those of the caption."
    )


class PlainADMNetworkConfig(ADMSizes):
    """An ADM U-Net that reads no captions, as unCLIP's upsamplers are."""

    kind: Literal["adm_plain"] = "adm_plain"


class EfficientNetworkConfig(EfficientSizes):
    """Imagen's for what enlarges: an Efficient U-Net, which is also told the level of the noise on small pictures."""

    kind: Literal["efficient_unet"] = "efficient_unet"
    text: CaptionReader = Field(
        "features",
        description="What reads captions: a frozen encoder beforehand (features), behind it trained blocks if a size "
        "with noise is given, or a text transformer of this size that is trained with it.",
    )


NetworkConfig = (
    UNetNetworkConfig | ADMNetworkConfig | UnCLIPNetworkConfig | PlainADMNetworkConfig | EfficientNetworkConfig
)


class NoisedConfig(StageConfig):
    """What stages that look at noised pictures have in common: which pictures, and how noise comes to them."""

    side: int = Field(
        0,
        ge=0,
        le=MAX_IMAGE_SIZE,
        description="Side of the pictures it works on, pixels, averaged from the data's; 0 = as the data.",
    )
    schedule: ScheduleName = Field("flow", description="Path from picture to noise.")
    time_shift: float = Field(
        6.0,
        ge=0,
        description="How far training and sampling lean to noise at 64 pixels a side, where flat pictures show their "
        "layout through very strong noise: what the caption decides is decided at t > 0.9. Grows with the side; "
        "0: none.",
    )
    time_sampling: TimeSampling = Field(
        "logit_normal", description="How training times are drawn, before the shift; noise: always at its end."
    )
    time_mean: float = Field(
        0.0, description="Mean of logit(t), or of log(sigma / alpha); above zero leans to noise in training alone."
    )
    time_std: float = Field(1.3, gt=0, description="Standard deviation of logit(t), or of log(sigma / alpha).")


class DynamicThreshold(Config):
    """Dynamic thresholding (Imagen, 2.3): how what guidance drives out of [-1, 1] is brought back."""

    percentile: float = Field(
        0.98, gt=0.5, le=1, description="Share of a picture's absolute values that are not cut off."
    )
    cap: float = Field(1.5, ge=1, description="Largest value that is brought back to 1; what lies beyond is cut off.")


class DiffusionConfig(NoisedConfig):
    """A stage that draws from noise: whole pictures, larger ones from small ones, or what is missing of them."""

    draw_settings: ClassVar[frozenset[str]] = frozenset(
        {"guidance_scale", "guidance_interval", "guidance_rescale", "apg_parallel", "apg_momentum", "apg_radius"}
        | {"negative_prompt", "autoguide", "clip_guidance_scale", "steps", "sampler", "eta", "low_level"}
        | {"time_shift", "threshold", "threshold_percentile", "threshold_cap"}
    )
    kind: Literal["diffusion"] = "diffusion"
    network: NetworkConfig = Field(UNetNetworkConfig(), discriminator="kind")
    low_side: int = Field(
        0,
        ge=0,
        le=MAX_IMAGE_SIZE,
        description="Side of the pictures that it enlarges, pixels; 0 = it does not.",
    )
    crop: int = Field(
        0,
        ge=0,
        le=MAX_IMAGE_SIZE,
        exclude_if=lambda side: not side,
        description="Side of the parts of pictures, cut out at random, that what enlarges is trained on, pixels; "
        "0 = on all of a picture.",
    )
    low_blur: float = Field(
        0, ge=0, le=4 / 3, description="Largest blur put on half of the small pictures in training, pixels of these."
    )
    low_noise: float = Field(0, ge=0, le=1, description="Largest noise put on the small pictures in training.")
    low_level: float = Field(
        0,
        ge=0,
        le=1,
        description="Noise put on a base's pictures before they are enlarged, in which its errors drown; at most "
        "low_noise.",
    )
    adds_low: bool = Field(
        False,
        description="Whether it predicts what the enlarged small picture lacks, and not all of the picture: a small "
        "network takes long to learn that it has been given most.",
    )
    inpaints: bool = Field(False, description="Whether it sees known parts of a picture, and draws the rest.")
    prediction: Parameterization = Field(
        "x_0", description="What the network predicts. x_0 lets it ignore the noise, which small networks cannot carry."
    )
    learned_variance: bool = Field(False, description="Whether it also learns how much noise each step adds.")
    weighting: Weighting | Literal["edges"] = Field(
        "edges", description="How much errors count at each level of noise; edges: 1 / max(t, min_time)^2."
    )
    weight_offset: float = Field(
        1.0,
        gt=0,
        description="Of the weighting p2, 1 / (this + signal-to-noise ratio) for errors of eps: below 1, what strong "
        "noise decides counts for more.",
    )
    min_time: float = Field(
        0.3, gt=0, le=1, description="Of the weighting edges; t before the shift: edges count beside layout."
    )
    clips: bool | DynamicThreshold = Field(
        False,
        description="Whether each estimate of a picture is clipped to [-1, 1] when drawing; or brought back to it by a "
        "percentile of its own.",
    )
    sampler: SamplerName = Field("dpmpp_2m", description="Sampler used when drawing.")
    num_steps: int = Field(20, gt=0, le=1000, description="Sampling steps.")
    spacing: tuple[Annotated[int, Field(gt=0, le=1000)], ...] = Field(
        (),
        max_length=100,
        description="Sampling steps in each of as many equal parts of a table of 1000, the first next to the picture; "
        "empty: num_steps of them, evenly.",
    )
    guidance_scale: float = Field(2.0, ge=0, description="Classifier-free guidance; 1 switches it off.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `StageConfig.inputs`; features are no run, and are named like one."""
        network = self.network
        if isinstance(network, UnCLIPNetworkConfig):
            return ("embeddings",)
        text = None if isinstance(network, PlainADMNetworkConfig) else network.text
        return ("features",) if text == "features" or isinstance(text, FeatureTransformerSizes) else ()

    @property
    def side_multiple(self) -> int:
        """What both sides of a picture must be multiples of; 0 where it changes their size to one of its own."""
        return 0 if self.side or self.low_side else self.network.side_multiple

    @model_validator(mode="after")
    def _adds_what_it_is_given(self) -> Self:
        if self.adds_low and not (self.low_side and self.prediction == "x_0"):
            raise ValueError("adds_low is for what enlarges pictures (low_side) and predicts x_0")
        if self.crop and not self.low_side:
            raise ValueError("parts of pictures (crop) are for what enlarges them (low_side)")
        if self.low_level > self.low_noise:
            raise ValueError("low_level is more noise than was trained on: low_noise must be as large")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """See `StageConfig.channels`: the noised picture's, then the small one's, then what is known and where."""
        tells = self.low_noise > 0 and not isinstance(self.network, EfficientNetworkConfig)
        low = (3 * ("low",) + ("level",) * tells) if self.low_side else ()
        return 3 * ("picture",) + low + (4 * ("known",) if self.inpaints else ())

    @property
    def nulls(self) -> frozenset[FieldName]:
        """See `StageConfig.nulls`."""
        names: dict[FieldName, bool] = {
            "text": not isinstance(self.network, PlainADMNetworkConfig),
            "image": isinstance(self.network, UnCLIPNetworkConfig),
            "low": self.low_side > 0,
            "known": self.inpaints,
        }
        return frozenset(name for name, there in names.items() if there)


class EnlargingConfig(DiffusionConfig):
    """unCLIP's upsamplers: no captions, no guidance; from small pictures made worse, trained on parts of large ones.

    Being convolutions alone, they draw pictures larger than those.
    """

    draw_settings: ClassVar[frozenset[str]] = frozenset({"steps", "sampler", "eta", "time_shift"})
    kind: Literal["enlarging"] = "enlarging"  # type: ignore[assignment]
    network: PlainADMNetworkConfig = PlainADMNetworkConfig(attention=(False, False), middle_attention=False)
    low_worse: Literal["blur", "bsr"] = Field(
        "blur",
        description="What is done to the small pictures in training: half of them blurred by 3 x 3 pixels, or all "
        "blurred, shrunk, noised and compressed in random order (bsr).",
    )
    guidance_scale: float = Field(1.0, ge=1, le=1, description="There is none.")

    @model_validator(mode="after")
    def _enlarges_by_itself(self) -> Self:
        if not self.low_side or self.low_blur or self.low_noise or self.inpaints:
            raise ValueError("it enlarges pictures of low_side pixels, which low_worse alone makes worse")
        if self.network.attending:
            raise ValueError("the network attends nowhere: what it draws may be larger than what it was trained on")
        return self


class PriorStageConfig(StageConfig):
    """What priors have in common: they make an embedding of a picture of a caption and its embedding."""

    @property
    def nulls(self) -> frozenset[FieldName]:
        """See `StageConfig.nulls`; a caption goes with its embedding."""
        return frozenset({"text"})

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `StageConfig.inputs`."""
        return ("embeddings",)


class DiffusionPriorConfig(PriorStageConfig):
    """A diffusion prior: from a caption to the embedding of a picture."""

    draw_settings: ClassVar[frozenset[str]] = frozenset(
        {"guidance_scale", "guidance_interval", "guidance_rescale", "negative_prompt", "steps", "sampler", "eta"}
    )
    kind: Literal["prior"] = "prior"
    network: PriorSizes = PriorSizes()
    schedule: ScheduleName = Field("cosine", description="Path from embedding to noise.")
    prediction: Parameterization = Field(
        "x_0",
        exclude_if=lambda kind: kind == "x_0",
        description="What the network predicts: the embedding (x_0, as published), or v, with which what little noise "
        "leaves of an embedding goes past the network, and a small one keeps how embeddings of one caption differ.",
    )
    sampler: SamplerName = Field("ddim", description="Sampler used when drawing.")
    num_steps: int = Field(64, gt=0, le=1000, description="Sampling steps.")
    guidance_scale: float = Field(1.0, ge=0, description="Classifier-free guidance; 1 switches it off.")
    candidates: int = Field(
        2, gt=0, le=64, description="Embeddings that are drawn of each caption; the one that fits it best is kept."
    )


class ARPriorStageConfig(PriorStageConfig):
    """An autoregressive prior: the same as a sequence of numbers."""

    draw_settings: ClassVar[frozenset[str]] = frozenset({"guidance_scale"})
    kind: Literal["ar_prior"] = "ar_prior"
    text: TextTransformerSizes = TextTransformerSizes(width=128, num_layers=3, num_heads=4)
    network: PriorSizes = PriorSizes()
    num_buckets: int = Field(256, gt=1, le=MAX_WIDTH, description="Buckets of each component of an embedding.")
    num_fits: int = Field(
        64, gt=1, le=1024, description="Kinds of how well pictures fit their captions; drawing takes the better half."
    )
    guidance_scale: float = Field(1.0, ge=0, description="Classifier-free guidance; 1 switches it off.")


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


class NoisedCLIPConfig(NoisedConfig):
    """A CLIP of noised pictures, on the way that the stage it is to guide takes to noise."""

    kind: Literal["noised_clip"] = "noised_clip"
    embed_dim: int = Field(128, gt=0, le=MAX_WIDTH, description="Width of the shared embedding.")
    image: NoisedViTSizes = NoisedViTSizes()
    text: TextTransformerSizes = TextTransformerSizes(width=128, num_layers=3, num_heads=4)

    @property
    def compares_samples(self) -> bool:
        """See `StageConfig.compares_samples`."""
        return True


SystemConfig = Annotated[
    DirectConfig
    | DiffusionConfig
    | EnlargingConfig
    | DiffusionPriorConfig
    | ARPriorStageConfig
    | CLIPConfig
    | NoisedCLIPConfig,
    Field(discriminator="kind"),
]
