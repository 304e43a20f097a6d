"""Text-conditioned diffusion in pixel space: a U-Net with cross-attention, trained jointly with its text encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from t2i_core.diffusion.guidance import Denoiser, guide
from t2i_core.diffusion.loss import band_of, sample_times, squared_errors
from t2i_core.diffusion.parameterization import target_of, x_0_from
from t2i_core.diffusion.sampler import SAMPLERS
from t2i_core.diffusion.schedule import alpha_sigma, sampling_times, shift_times
from t2i_core.models.config import TextEncoderConfig
from t2i_core.models.text_encoder import TextEncoder
from t2i_core.models.unet import UNet
from t2i_core.systems.config import DiffusionConfig
from t2i_core.systems.system import Batch, Condition, DrawSettings, Losses, hidden_matrices

END_TOKEN = 2


class DiffusionSystem(nn.Module):
    """Caption and noise -> picture, step by step."""

    uses_noise = True
    can_draw = True

    def __init__(self, config: DiffusionConfig, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.config = config
        self.text = TextEncoder(
            TextEncoderConfig(
                vocab_size=vocab_size,
                context_length=context_length,
                width=config.unet.text_width,
                num_layers=config.text_layers,
            )
        )
        self.unet = UNet(config.unet)

    def loss(self, batch: Batch) -> Losses:
        """Weighted squared error of the prediction at random times."""
        config = self.config
        unshifted = sample_times(batch.u, config.time_sampling, std=config.time_std)
        t = shift_times(unshifted, config.time_shift)
        alpha, sigma = alpha_sigma(config.schedule, t)
        x_t = alpha * batch.x_0 + sigma * batch.eps
        tokens, pooled = self.text(batch.condition.token_ids, batch.condition.token_mask)
        prediction = self.unet(x_t, t, tokens, pooled, batch.condition.token_mask)
        each = squared_errors(prediction, target_of(config.prediction, batch.x_0, batch.eps, alpha, sigma))
        weight = unshifted.clamp(min=config.min_time) ** -2 if config.prediction == "x_0" else 1.0
        return Losses(total=(each * weight).mean(), each=each.detach(), band=band_of(t))

    def draw(self, condition: Condition, noise: Tensor, settings: DrawSettings) -> Tensor:
        """Draw with the configured sampler and guidance."""
        config = self.config
        scale = config.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        times = shift_times(sampling_times(settings.num_steps or config.num_steps), config.time_shift)
        denoise = guide(self._denoiser(condition), self._denoiser(null_like(condition)), scale)
        return SAMPLERS[config.sampler](denoise, noise, times, config.schedule)

    def _denoiser(self, condition: Condition) -> Denoiser:
        tokens, pooled = self.text(condition.token_ids, condition.token_mask)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            raw = self.unet(x_t, t, tokens, pooled, condition.token_mask)
            alpha, sigma = alpha_sigma(self.config.schedule, t)
            return x_0_from(self.config.prediction, raw.float(), x_t, alpha, sigma)

        return denoise

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, self.unet.outer_layers())


def null_like(condition: Condition) -> Condition:
    """Give the empty caption in the shape of a condition."""
    ids, mask = torch.zeros_like(condition.token_ids), torch.zeros_like(condition.token_mask)
    ids[:, 0], mask[:, 0] = END_TOKEN, True
    return Condition(token_ids=ids, token_mask=mask)
