"""What stages have in common: all have a loss to train by; some draw, some export, some read words their own way."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.estimate import Denoiser, Post
from t2i_core.diffusion.guidance import WHOLE, Projection
from t2i_core.diffusion.kinds import SamplerName
from t2i_core.models.config import Sizes, TextEncoderConfig
from t2i_core.models.embedding import Statistics
from t2i_core.models.feature_reader import FeatureReader, FeatureTransformer, PooledFeatures
from t2i_core.models.text_encoder import Encoded, TextEncoder
from t2i_core.models.text_transformer import TextTransformer
from t2i_core.systems.condition import Condition, Text, mapped
from t2i_core.systems.config import DynamicThreshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a training step sees.

    Attributes:
        target: (B, ...) float, what is to be drawn: pictures (B, 3, H, W) in [-1, 1].
        condition: what it must fit, some of it dropped.
        chance: where noise, times and all else that is random come from.
    """

    target: Tensor
    condition: Condition
    chance: Chance

    def __len__(self) -> int:
        return len(self.target)

    def parts(self, size: int) -> Iterator["Batch"]:
        """Give the samples `size` at a time, the last part may be smaller; 0 gives the whole."""
        size = size or len(self)
        for first in range(0, len(self), size):
            yield self if size >= len(self) else mapped(self, itemgetter(slice(first, first + size)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a training step found.

    Attributes:
        total: () float, to be minimised.
        figures: (B,) or () float by name, to be logged as means; NaN where a figure does not tell of a sample. "loss"
            is always there: unweighted, a number a sample.
    """

    total: Tensor
    figures: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A picture to begin from, in place of noise.

    Attributes:
        picture: (B, 3, H, W) float in [-1, 1].
        strength: share of the steps that are taken, 0 to 1: 0 gives the picture back, 1 knows nothing of it.
    """

    picture: Tensor
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSettings:
    """How to draw; None leaves the stage's own default.

    Attributes:
        time_shift: how far the times of its steps lean to noise beside the schedule's own shift; 1 not at all.
        low_level: noise that is put on a small picture before it is enlarged, 0 to 1.
        threshold: whether and how each estimate of a picture is brought back to [-1, 1], as `DiffusionConfig.clips`.
        negative: (B, L) captions that guidance leads away from, in place of the null.
        weaker: a stage that knows less of the same pictures, which guidance leads away from in place of the null.
        interval: times between which guidance acts.
        rescale: how far guided estimates are brought back to the contrast that they had, 0 to 1.
        projection: how much of guidance's push is kept.
        clip: a CLIP of noised pictures to be guided by; None for none.
        clip_guidance_scale: how strongly.
        clip_interval: times between which it guides; nearer to noise it knows nothing.
        eta: of DDIM, 0 adds no noise on the way and 1 all.
        start: a picture to begin from.
        noise: (B, C, H, W) float to begin from, in place of what chance gives.
        resamples: how often each stretch of steps is gone over, so that what is drawn fits what is known.
        jump_length: steps of a stretch; None for a 25th of all.
        posts: what else is done to each estimate of the picture.
        on_step: called as each step begins with its number, x_t and the estimate of x_0.
    """

    guidance_scale: float | None = None
    num_steps: int | None = None
    time_shift: float | None = None
    low_level: float | None = None
    threshold: bool | DynamicThreshold | None = None
    sampler: SamplerName | None = None
    negative: Text | None = None
    weaker: "Editor | None" = None
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0
    projection: Projection = WHOLE
    clip: "Guide | None" = None
    clip_guidance_scale: float = 1.0
    clip_interval: tuple[float, float] = (0.0, 0.8)
    eta: float = 0.0
    start: Start | None = None
    noise: Tensor | None = None
    resamples: int = 1
    jump_length: int | None = None
    posts: Sequence[Post] = ()
    on_step: Callable[[int, Tensor, Tensor], None] | None = None


class Stage(nn.Module, ABC):
    """What is trained as a run of its own."""

    @abstractmethod
    def loss(self, batch: Batch) -> Losses:
        """Compute the training loss of a batch."""

    def view(self, batch: Batch) -> Batch:
        """Give a batch as the stage sees it: pictures of its own side, and what it makes of them to draw them by."""
        return batch

    def measure(self, statistics: Statistics) -> None:
        """Take what was measured of the embeddings that it reads, before training; it is saved with the weights."""
        return

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List the weight matrices inside the network that Muon may train; Adam trains what is left."""
        return ()


@runtime_checkable
class Drawer(Protocol):
    """A stage that draws.

    Attributes:
        side: of the squares that it was trained to draw, pixels.
        low_level: noise that it wants on a base's pictures before it enlarges them.
        low_noise: the most that it was trained with.
    """

    side: int
    low_level: float
    low_noise: float

    def view(self, batch: Batch) -> Batch:
        """See `Stage.view`."""
        ...

    def draw(self, condition: Condition, shape: Sequence[int], chance: Chance, settings: DrawSettings) -> Tensor:
        """Draw samples (B, *shape) float, pictures about [-1, 1], that fit a condition."""
        ...


@runtime_checkable
class Prior(Protocol):
    """A stage that makes embeddings of pictures from captions."""

    def imagine(self, condition: Condition, chance: Chance, settings: DrawSettings) -> Tensor:
        """Draw embeddings (B, E) float of length 1, of pictures that fit captions, which come with their own."""
        ...


@runtime_checkable
class Guide(Protocol):
    """A stage that says where noised pictures are to go to fit a condition better."""

    def gradient(self, condition: Condition) -> Callable[[Tensor, Tensor], Tensor]:
        """Read a condition, and give what makes of x_t: (B, 3, H, W) and t: (B,) a direction, like x_t."""
        ...

    def logits(self, pictures: Tensor, condition: Condition) -> Tensor:
        """Say how well pictures (B, 3, H, W), as large as drawn ones and without noise, fit a condition: (B,)."""
        ...


@runtime_checkable
class Editor(Drawer, Protocol):
    """A stage that draws from pictures as well: it heeds `Condition.known` and `DrawSettings.start`.

    Attributes:
        side_multiple: what both sides of its pictures must be multiples of, pixels.
        inpaints: whether it was trained to fill in, and sees what is known.
    """

    inpaints: bool

    @property
    def side_multiple(self) -> int:
        """See above."""
        ...

    def denoiser(self, condition: Condition, shape: Sequence[int]) -> Denoiser:
        """Read a condition, and give what estimates pictures (C, H, W) that fit it, without guidance."""
        ...

    def invert(self, condition: Condition, pictures: Tensor, settings: DrawSettings, *, iterations: int = 1) -> Tensor:
        """Find the noise (B, 3, H, W) that `redraw` draws pictures from."""
        ...

    def redraw(self, condition: Condition, noise: Tensor, settings: DrawSettings, *, again: bool) -> Tensor:
        """Draw (B, 3, H, W) from noise that `invert` found: the picture itself again, or what fits a new condition."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """A stage that other programs can load."""

    def export(self, folder: Path) -> list[Path]:
        """Write what they load into a run's folder, and list the files."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A stage with a tokenizer of its own; others read the ids that the captions folder's tokenizer gives."""

    def read(self, captions: Sequence[str]) -> Text:
        """Turn captions into token ids."""
        ...


def hidden_matrices(module: nn.Module, outer: Sequence[nn.Module]) -> list[nn.Parameter]:
    """List linear and convolution weights, leaving out the modules named `outer` (embeddings, stem, head)."""
    skipped = {id(p) for m in outer for p in m.parameters()}
    layers = (m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    weights = [m.weight for m in layers if id(m.weight) not in skipped]
    return [w for w in weights if isinstance(w, nn.Parameter)]


def text_encoder(sizes: Sizes, width: int, num_layers: int) -> TextEncoder:
    """Build an encoder for the captions of the data."""
    return TextEncoder(
        TextEncoderConfig(
            vocab_size=sizes.vocab_size, context_length=sizes.context_length, width=width, num_layers=num_layers
        )
    )


CaptionEncoder = TextEncoder | TextTransformer | FeatureReader | PooledFeatures | FeatureTransformer


def encode(encoder: CaptionEncoder, condition: Condition) -> Encoded:
    """Encode the captions of a condition; those that are dropped become the encoder's null.

    Raises:
        ValueError: there are none in it, or not as this encoder reads them.
    """
    text, reads_features = condition.text, not isinstance(encoder, TextEncoder | TextTransformer)
    if text is None or (text.features is None) == reads_features:
        raise ValueError(f"the condition has no captions as {'features' if reads_features else 'token ids'}")
    encoded: Encoded = encoder(text.tokens, text.mask, condition.keep.get("text"))
    return encoded
