"""The CNN system: text encoder and convolutional decoder, trained with mean squared error; draws in one step."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from t2i_core.diffusion.chance import Chance
from t2i_core.models.cnn import CNNDecoder
from t2i_core.models.config import Sizes
from t2i_core.systems.clip import CLIPStage
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import DirectConfig
from t2i_core.systems.frozen import Frozen
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, encode, hidden_matrices, text_encoder


class DirectStage(Stage):
    """Caption -> picture without noise."""

    def __init__(self, config: DirectConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__()
        self.side, self.low_level, self.low_noise = sizes.image_size, 0.0, 0.0
        self.clip_weight = config.clip_weight
        self.clip = _frozen_clip(given["clip"], sizes) if "clip" in given else None
        self.text = text_encoder(sizes, config.text_width, config.text_layers)
        self.decoder = CNNDecoder(config.cnn, config.text_width, sizes.image_size)

    def forward(self, condition: Condition) -> Tensor:
        """Draw (B, 3, H, W)."""
        picture: Tensor = self.decoder(encode(self.text, condition).pooled)
        return picture.float()

    def loss(self, batch: Batch) -> Losses:
        """Mean squared error between the drawing and the picture, and their distance in a CLIP's eyes if it has one."""
        drawn = self(batch.condition)
        each = (drawn - batch.target).square().flatten(1).mean(1)
        if self.clip is None:
            return Losses(total=each.mean(), figures={"loss": each.detach()})
        distance = 1 - (self.clip(drawn) * self.clip(batch.target)).sum(1)
        figures = {"loss": each.detach(), "clip_distance": distance.detach()}
        return Losses(total=each.mean() + self.clip_weight * distance.mean(), figures=figures)

    def draw(self, condition: Condition, shape: Sequence[int], chance: Chance, settings: DrawSettings) -> Tensor:
        """Draw in the one size there is; noise, guidance and steps do not apply."""
        drawing: Tensor = self(condition)
        return drawing

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, [self.decoder.head])


def _frozen_clip(stage: Stage, sizes: Sizes) -> Frozen:
    if not isinstance(stage, CLIPStage):
        raise ValueError("what was given as its clip is a run of another kind.")
    if stage.image_size != sizes.image_size:
        raise ValueError(f"its clip sees pictures of {stage.image_size} pixels, the data has {sizes.image_size}.")
    return Frozen(stage)
