"""Text-conditioned diffusion in pixel space: draws pictures from noise, enlarges small ones, fills in missing parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.estimate import Denoiser, Estimate, Post, processed
from t2i_core.diffusion.guidance import guide, paired
from t2i_core.diffusion.loss import squared_errors
from t2i_core.diffusion.parameterization import network_input, target_of, x_0_from
from t2i_core.diffusion.post import clip, dynamic_threshold, leaned, paste
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.samplers.ddim import invert_ddim, sample_ddim
from t2i_core.diffusion.samplers.resampling import resampled
from t2i_core.diffusion.schedule import Schedule, over
from t2i_core.diffusion.table import respaced
from t2i_core.diffusion.vlb import VLB_WEIGHT, bound
from t2i_core.diffusion.weighting import LearnedWeight, weight_of
from t2i_core.errors import ConfigError
from t2i_core.models.config import Sizes
from t2i_core.models.embedding import Statistics
from t2i_core.systems.condition import Condition, Known, LowRes
from t2i_core.systems.config import DiffusionConfig, DynamicThreshold
from t2i_core.systems.network import NETWORKS, Channels
from t2i_core.systems.noised import Noised, loss_figures, noised, schedule_of
from t2i_core.systems.pictures.masks import random_masks
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, Start, hidden_matrices
from t2i_core.systems.view import cut, factor_of, known_at, known_channels, low_channels, low_of, shrunk

# Of the way that is gone over again: RePaint's are 10 of 250 steps.
STRETCHES = 25


class DiffusionStage(Stage):
    """Caption and noise, and perhaps a small picture or known parts of one -> picture, step by step."""

    def __init__(self, config: DiffusionConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__()
        self.config = config
        self.side = config.side or sizes.image_size
        self.low_level, self.low_noise, self.inpaints = config.low_level, config.low_noise, config.inpaints
        self._shrinks = factor_of(sizes.image_size, self.side)
        self._enlarges = factor_of(self.side, config.low_side)
        _require_fit(self.side, config.network.side_multiple)
        _require_fit(config.crop, config.network.side_multiple * self._enlarges)
        if config.crop > self.side:
            raise ValueError(f"parts of {config.crop} pixels are larger than pictures of {self.side}.")
        self.schedule = schedule_of(config)
        channels = Channels(len(config.channels), 6 if config.learned_variance else 3)
        self.network = NETWORKS[type(config.network)](config.network, sizes, channels)
        self.learned_weight = LearnedWeight() if config.weighting == "learned" else None

    @property
    def side_multiple(self) -> int:
        """What both sides of its pictures must be multiples of, pixels."""
        return self.config.network.side_multiple

    def view(self, batch: Batch) -> Batch:
        """Make pictures of its own side, or parts, small ones to enlarge, and masks of what is known of them."""
        config, chance = self.config, batch.chance
        target, condition = shrunk(batch.target, self._shrinks), batch.condition
        if config.crop:
            target = cut(target, config.crop, chance)
        if config.low_side:
            condition = replace(condition, low=self._small(target, chance))
        if config.inpaints:
            mask = random_masks(chance, *target.shape[2:])
            condition = replace(condition, known=Known(picture=target, mask=mask))
        return replace(batch, target=target, condition=condition)

    def _small(self, target: Tensor, chance: Chance) -> LowRes:
        """Make small pictures to be enlarged."""
        return low_of(target, self._enlarges, chance, blur=self.config.low_blur, noise=self.config.low_noise)

    def loss(self, batch: Batch) -> Losses:
        """Weighted squared error of the prediction at random times; the bound trains the variance, and it alone."""
        batch = self.view(batch)
        x_0, at = batch.target, noised(batch.target, batch.chance, self.schedule, self.config)
        raw = self._predictor(batch.condition, x_0.shape[1:])(at.x_t, at.t)
        target = target_of(self.config.prediction, x_0, at.eps, at.alpha, at.sigma)
        each = squared_errors(raw[:, :3], target)
        total, figures = self._weighted(each, at).mean(), loss_figures(each.detach(), at.u, batch.condition)
        if self.config.learned_variance:
            bits = bound(self._estimate(raw, at.x_t, at.t), x_0, at.x_t, at.t, self.schedule)
            total, figures = total + VLB_WEIGHT * bits.mean(), figures | _variance_figures(bits, raw[:, 3:])
        return Losses(total=total, figures=figures)

    def _weighted(self, each: Tensor, at: Noised) -> Tensor:
        config = self.config
        if self.learned_weight is not None:
            weighted: Tensor = self.learned_weight(each, self.schedule.log_snr(at.t))
            return weighted
        if config.weighting == "edges":
            return each * at.unshifted.clamp(min=config.min_time) ** -2
        weight = weight_of(config.weighting, config.prediction, at.alpha, at.sigma, offset=config.weight_offset)
        return each * weight.flatten()

    def draw(self, condition: Condition, shape: Sequence[int], chance: Chance, settings: DrawSettings) -> Tensor:
        """Draw with the configured sampler and guidance; what is known of the pictures stays as it is."""
        condition = self._completed(condition, shape, chance)
        denoise = processed(self._guided(condition, shape, settings), self._posts(condition, settings))
        noise = chance.normal(f"{self._stream}eps", shape) if settings.noise is None else settings.noise
        x, times = begun(settings.start, noise, self._times(settings, shape), self.schedule)
        course = Course(self.schedule, times, chance, settings.on_step, settings.eta, f"{self._stream}step")
        sampler = SAMPLERS[settings.sampler or self.config.sampler]
        return resampled(sampler, settings.resamples, _jump_of(settings, len(times) - 1))(denoise, x, course)

    def invert(self, condition: Condition, pictures: Tensor, settings: DrawSettings, *, iterations: int = 1) -> Tensor:
        """Find the noise that DDIM draws some pictures from under a condition, without guidance, which has no inverse.

        A picture is taken for what the way back comes to just before its last step, which would put the network's own
        estimate in its place, and nothing finds again what that lacks.

        Args:
            condition: what the pictures fit.
            pictures: (B, 3, H, W) float in [-1, 1].
            settings: of which the number of steps and what is done to estimates count.
            iterations: evaluations a step; with more it is nearer to the exact inverse.

        Returns:
            (B, 3, H, W) float; `redraw` goes back with it.

        Raises:
            ConfigError: in one step, which leaves no way to go.
        """
        denoise, course, alpha = self._way(condition, pictures, settings)
        return invert_ddim(denoise, alpha * pictures, course, iterations=iterations)

    def redraw(self, condition: Condition, noise: Tensor, settings: DrawSettings, *, again: bool) -> Tensor:
        """Draw from noise that `invert` found.

        Args:
            condition: what the pictures are to fit now.
            noise: (B, 3, H, W) float.
            settings: with which it was found.
            again: whether the picture itself is wanted, with all that the network would not draw by itself; what it
                draws under another condition is better without.

        Returns:
            (B, 3, H, W) float.
        """
        denoise, course, alpha = self._way(condition, noise, settings)
        x = sample_ddim(denoise, noise, course)
        return x / alpha if again else course.look(denoise, x, len(course.times) - 1).x_0

    def _way(self, condition: Condition, like: Tensor, settings: DrawSettings) -> tuple[Denoiser, Course, float]:
        """Give what goes from noise to all but the last step of samples such as (B, 3, H, W), and alpha there."""
        shape, chance = like.shape[1:], Chance(0, torch.arange(len(like), device=like.device))
        times = self._times(settings, shape)[:-1]
        if len(times) < 2:
            raise ConfigError("the way to noise and back takes at least 2 --steps.")
        condition = self._completed(condition, shape, chance)
        denoise = processed(self.denoiser(condition, shape), self._posts(condition, settings))
        alpha, _ = self.schedule.scales(times[-1])
        return denoise, Course(self.schedule, times, chance, settings.on_step), alpha

    def _times(self, settings: DrawSettings, shape: Sequence[int]) -> list[float]:
        """List the times of a sampler: even where a number or a shift was asked for, else as the recipe says."""
        spacing = self.config.spacing
        if spacing and settings.num_steps is None and settings.time_shift is None:
            return respaced(spacing)
        num_steps = settings.num_steps or sum(spacing) or self.config.num_steps
        return self.schedule.times(num_steps, shape, settings.time_shift or 1.0)

    @property
    def _stream(self) -> str:
        """Name the noise of an upsampler, which draws the same pictures as a stage before it, otherwise than its."""
        return f"from_{self.config.low_side}/" if self.config.low_side else ""

    def _completed(self, condition: Condition, shape: Sequence[int], chance: Chance) -> Condition:
        """Bring what is known to the shape; a stage that fills in knows nothing where nothing was said."""
        if condition.known is not None:
            return replace(condition, known=known_at(condition.known, shape))
        if not self.config.inpaints:
            return condition
        picture = torch.zeros(len(chance.samples), *shape, device=chance.samples.device)
        return replace(condition, known=Known(picture=picture, mask=torch.zeros_like(picture[:, :1], dtype=torch.bool)))

    def _guided(self, condition: Condition, shape: Sequence[int], settings: DrawSettings) -> Denoiser:
        scale = self.config.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        alone = self.denoiser(condition, shape)
        if scale == 1:
            return alone
        if settings.weaker is not None:
            both = paired(alone, settings.weaker.denoiser(condition, shape))
        else:
            both = self.denoiser(condition.opposed(settings.negative), shape)
        push = settings.projection.push()
        return guide(both, scale, settings.interval, alone=alone, rescale=settings.rescale, push=push)

    def _posts(self, condition: Condition, settings: DrawSettings) -> list[Post]:
        posts: list[Post] = []
        if settings.clip is not None:
            gradient = settings.clip.gradient(condition)
            posts.append(leaned(gradient, settings.clip_guidance_scale, self.schedule, settings.clip_interval))
        posts += [*self._bounded(settings), *settings.posts]
        return posts if condition.known is None else [*posts, paste(condition.known.picture, condition.known.mask)]

    def _bounded(self, settings: DrawSettings) -> list[Post]:
        """Give what keeps estimates in bounds, as was asked for or else as the recipe says."""
        how = self.config.clips if settings.threshold is None else settings.threshold
        if isinstance(how, DynamicThreshold):
            return [dynamic_threshold(how.percentile, how.cap)]
        return [clip] if how else []

    def denoiser(self, condition: Condition, shape: Sequence[int]) -> Denoiser:
        """See `Editor.denoiser`."""
        predict = self._predictor(condition, shape)

        def denoise(x_t: Tensor, t: Tensor) -> Estimate:
            estimate = self._estimate(predict(x_t, t), x_t, t)
            return estimate if estimate.variance is None else replace(estimate, variance=estimate.variance.clamp(0, 1))

        return denoise

    def _estimate(self, raw: Tensor, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = self.schedule.alpha_sigma(over(t, x_t))
        # The network's share goes from -1 to 1; beyond, training must still find it to bring it back.
        variance = (raw[:, 3:] + 1) / 2 if self.config.learned_variance else None
        return Estimate(x_0_from(self.config.prediction, raw[:, :3], x_t, alpha, sigma), variance)

    def _predictor(self, condition: Condition, shape: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Read a condition once, for any number of looks at noised pictures of a shape."""
        reading, joined = self.network.read(condition, shape), self._joined(condition, shape)
        own = None
        if self.config.adds_low:
            # Of what joins, the small picture comes first; what else is predicted has nothing added.
            own = F.pad(joined[0][:, :3], (0, 0, 0, 0, 0, 3 * self.config.learned_variance))

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            x = network_input(self.config.prediction, x_t, *self.schedule.alpha_sigma(over(t, x_t)))
            raw: Tensor = self.network(torch.cat([x, *joined], dim=1), t, reading)
            return raw.float() if own is None else raw.float() + own

        return predict

    def _joined(self, condition: Condition, shape: Sequence[int]) -> list[Tensor]:
        """Give what joins the noised picture; what is dropped is zero."""
        config, parts = self.config, list[Tensor]()
        if config.low_side:
            if condition.low is None:
                raise ValueError("this stage enlarges pictures, and was given none")
            low = low_channels(condition.low, shape, tells_level="level" in config.channels)
            parts.append(_kept(low, condition.keep.get("low")))
        if config.inpaints and condition.known is not None:
            parts.append(_kept(known_channels(condition.known), condition.keep.get("known")))
        return parts

    def measure(self, statistics: Statistics) -> None:
        """See `Stage.measure`."""
        self.network.measure(statistics)

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, self.network.outer_layers())


def begun(start: Start | None, noise: Tensor, times: list[float], schedule: Schedule) -> tuple[Tensor, list[float]]:
    """Give what drawing begins from and the times that are left: all from noise, or some from a noised picture.

    Meng et al. 2021, SDEdit, arXiv:2108.01073.
    """
    num_steps = len(times) - 1
    skipped = 0 if start is None else num_steps - round(start.strength * num_steps)
    if start is None or not skipped:
        return noise, times
    alpha, sigma = schedule.scales(times[skipped])
    picture = shrunk(start.picture, factor_of(start.picture.shape[-1], noise.shape[-1]))
    return alpha * picture + sigma * noise, times[skipped:]


def _jump_of(settings: DrawSettings, num_steps: int) -> int:
    """Give the steps of a stretch that is gone over again.

    Raises:
        ConfigError: so many are all.
    """
    jump = settings.jump_length or max(1, num_steps // STRETCHES)
    if settings.resamples > 1 and jump >= num_steps:
        raise ConfigError(
            f"a stretch of {jump} of {num_steps} steps is the whole way, of which nothing can be gone over again: take "
            "more --steps, or a smaller --jump-length."
        )
    return jump


def _variance_figures(bits: Tensor, raw: Tensor) -> dict[str, Tensor]:
    """Give the bound, and the share of pixels whose variance was sought beyond its bounds."""
    return {"bits": bits.detach(), "variance_beyond": (raw.detach().abs() > 1).float().flatten(1).mean(1)}


def _kept(channels: Tensor, keep: Tensor | None) -> Tensor:
    return channels if keep is None else channels * over(keep.to(channels.dtype), channels)


def _require_fit(side: int, multiple: int) -> None:
    if side % multiple:
        raise ValueError(f"pictures of {side} pixels do not fit this U-Net: use a multiple of {multiple}.")
