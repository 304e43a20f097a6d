"""The CNN system: text encoder and convolutional decoder, trained with mean squared error; draws in one step."""

from collections.abc import Sequence

from torch import Tensor, nn

from t2i_core.models.cnn import CNNDecoder
from t2i_core.models.config import TextEncoderConfig
from t2i_core.models.text_encoder import TextEncoder
from t2i_core.systems.config import DirectConfig
from t2i_core.systems.system import Batch, Condition, DrawSettings, Losses, hidden_matrices, no_bands


class DirectSystem(nn.Module):
    """Caption -> picture without noise."""

    uses_noise = False
    can_draw = True

    def __init__(self, config: DirectConfig, vocab_size: int, context_length: int, image_size: int) -> None:
        super().__init__()
        self.text = TextEncoder(
            TextEncoderConfig(
                vocab_size=vocab_size,
                context_length=context_length,
                width=config.text_width,
                num_layers=config.text_layers,
            )
        )
        self.decoder = CNNDecoder(config.cnn, config.text_width, image_size)

    def forward(self, condition: Condition) -> Tensor:
        """Draw (B, 3, H, W)."""
        _, pooled = self.text(condition.token_ids, condition.token_mask)
        picture: Tensor = self.decoder(pooled)
        return picture

    def loss(self, batch: Batch) -> Losses:
        """Mean squared error between the drawing and the picture."""
        each = (self(batch.condition).float() - batch.x_0).square().flatten(1).mean(1)
        return Losses(total=each.mean(), each=each.detach(), band=no_bands(each))

    def draw(self, condition: Condition, noise: Tensor, settings: DrawSettings) -> Tensor:
        """Draw; noise, guidance and steps do not apply."""
        drawing: Tensor = self(condition).float()
        return drawing

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, [self.decoder.head])
