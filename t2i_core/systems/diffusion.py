"""Text-conditioned diffusion in pixel space: a U-Net with cross-attention, trained jointly with its text encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.guidance import guide
from t2i_core.diffusion.loss import by_band, sample_times, squared_errors
from t2i_core.diffusion.parameterization import target_of, x_0_from
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.schedule import over
from t2i_core.diffusion.schedule_by_name import SCHEDULES
from t2i_core.models.config import Sizes
from t2i_core.models.unet import UNet
from t2i_core.systems.condition import Condition, Text
from t2i_core.systems.config import DiffusionConfig
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, encode, hidden_matrices, text_encoder


class DiffusionStage(Stage):
    """Caption and noise -> picture, step by step."""

    def __init__(self, config: DiffusionConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
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
        if scale == 1:
            denoise = self._denoiser(condition)
        else:
            denoise = guide(self._denoiser(_with_opposite(condition, settings.negative)), scale)
        times = self.schedule.times(settings.num_steps or config.num_steps, shape)
        sample = SAMPLERS[settings.sampler or config.sampler]
        return sample(denoise, chance.normal("eps", shape), Course(self.schedule, times, chance))

    def _denoiser(self, condition: Condition) -> Denoiser:
        text = encode(self.text, condition)

        def denoise(x_t: Tensor, t: Tensor) -> Estimate:
            raw = self.unet(x_t, t, text)
            alpha, sigma = self.schedule.alpha_sigma(over(t, x_t))
            return Estimate(x_0_from(self.config.prediction, raw.float(), x_t, alpha, sigma))

        return denoise

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, self.unet.outer_layers())


def _with_opposite(condition: Condition, negative: Text | None) -> Condition:
    """Put the same samples behind those of a condition, with negative captions or without any."""
    both = condition.map(lambda tensor: torch.cat([tensor, tensor]))
    text = condition.text
    assert text is not None
    if negative is None:
        return both.kept("text", torch.arange(2 * len(text.mask), device=text.mask.device) < len(text.mask))
    assert text.ids is not None and negative.ids is not None
    pair = Text(ids=torch.cat([text.ids, negative.ids]), mask=torch.cat([text.mask, negative.mask]))
    return replace(both, text=pair)
