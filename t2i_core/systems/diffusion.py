"""Text-conditioned diffusion in pixel space: a U-Net with cross-attention, trained jointly with its text encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.guidance import Denoiser, guide
from t2i_core.diffusion.loss import by_band, sample_times, squared_errors
from t2i_core.diffusion.parameterization import target_of, x_0_from
from t2i_core.diffusion.sampler import SAMPLERS
from t2i_core.diffusion.schedule import SCHEDULES, over
from t2i_core.models.config import Sizes
from t2i_core.models.unet import UNet
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import DiffusionConfig
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, encode, hidden_matrices, text_encoder


class DiffusionStage(Stage):
    """Caption and noise -> picture, step by step."""

    def __init__(self, config: DiffusionConfig, sizes: Sizes) -> None:
        super().__init__()
        if sizes.image_size % config.unet.side_multiple:
            raise ValueError(
                f"pictures of {sizes.image_size} pixels do not fit this U-Net: use a multiple of "
                f"{config.unet.side_multiple}."
            )
        self.config = config
        self.schedule = SCHEDULES[config.schedule](config.time_shift)
        self.text = text_encoder(sizes, config.unet.text_width, config.text_layers)
        self.unet = UNet(config.unet)

    def loss(self, batch: Batch) -> Losses:
        """Weighted squared error of the prediction at random times."""
        config, x_0 = self.config, batch.target
        eps, u = batch.chance.normal("eps", x_0.shape[1:]), batch.chance.spread("time")
        unshifted = sample_times(u, config.time_sampling, std=config.time_std)
        t = self.schedule.shifted(unshifted, x_0.shape[1:])
        alpha, sigma = self.schedule.alpha_sigma(over(t, x_0))
        prediction = self.unet(alpha * x_0 + sigma * eps, t, encode(self.text, batch.condition))
        each = squared_errors(prediction, target_of(config.prediction, x_0, eps, alpha, sigma))
        weight = unshifted.clamp(min=config.min_time) ** -2 if config.prediction == "x_0" else 1.0
        seen = each.detach()
        return Losses(total=(each * weight).mean(), figures={"loss": seen} | by_band(seen, u))

    def draw(self, condition: Condition, shape: Sequence[int], chance: Chance, settings: DrawSettings) -> Tensor:
        """Draw with the configured sampler and guidance."""
        config = self.config
        scale = config.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        denoise = self._denoiser(condition) if scale == 1 else guide(self._denoiser(_with_null(condition)), scale)
        times = self.schedule.times(settings.num_steps or config.num_steps, shape)
        return SAMPLERS[config.sampler](denoise, chance.normal("eps", shape), times, self.schedule, chance)

    def _denoiser(self, condition: Condition) -> Denoiser:
        text = encode(self.text, condition)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            raw = self.unet(x_t, t, text)
            alpha, sigma = self.schedule.alpha_sigma(over(t, x_t))
            return x_0_from(self.config.prediction, raw.float(), x_t, alpha, sigma)

        return denoise

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, self.unet.outer_layers())


def _with_null(condition: Condition) -> Condition:
    """Put the same samples without their captions behind those of a condition."""
    both = condition.map(lambda tensor: torch.cat([tensor, tensor]))
    assert both.text is not None
    num = len(both.text.mask)
    return both.kept("text", torch.arange(num, device=both.text.mask.device) < num // 2)
