"""The CNN system: text encoder and convolutional decoder, trained with mean squared error; draws in one step."""

from collections.abc import Sequence

from torch import Tensor, nn

from t2i_core.diffusion.chance import Chance
from t2i_core.models.cnn import CNNDecoder
from t2i_core.models.config import Sizes
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import DirectConfig
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, encode, hidden_matrices, text_encoder


class DirectStage(Stage):
    """Caption -> picture without noise."""

    def __init__(self, config: DirectConfig, sizes: Sizes) -> None:
        super().__init__()
        self.text = text_encoder(sizes, config.text_width, config.text_layers)
        self.decoder = CNNDecoder(config.cnn, config.text_width, sizes.image_size)

    def forward(self, condition: Condition) -> Tensor:
        """Draw (B, 3, H, W)."""
        picture: Tensor = self.decoder(encode(self.text, condition).pooled)
        return picture.float()

    def loss(self, batch: Batch) -> Losses:
        """Mean squared error between the drawing and the picture."""
        each = (self(batch.condition) - batch.target).square().flatten(1).mean(1)
        return Losses(total=each.mean(), figures={"loss": each.detach()})

    def draw(self, condition: Condition, shape: Sequence[int], chance: Chance, settings: DrawSettings) -> Tensor:
        """Draw in the one size there is; noise, guidance and steps do not apply."""
        drawing: Tensor = self(condition)
        return drawing

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, [self.decoder.head])
