"""unCLIP's diffusion prior: draws the CLIP embedding of a picture from noise (arXiv:2204.06125, section 2.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.guidance import guide
from t2i_core.diffusion.loss import squared_errors
from t2i_core.diffusion.parameterization import target_of, x_0_from
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.schedule import over
from t2i_core.diffusion.schedule_by_name import SCHEDULES
from t2i_core.models.config import PriorConfig, Sizes
from t2i_core.models.embedding import Standardised, Statistics
from t2i_core.models.prior import PriorTransformer
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import DiffusionPriorConfig
from t2i_core.systems.noised import loss_figures
from t2i_core.systems.stage import Batch, DrawSettings, Losses, Stage, hidden_matrices


class DiffusionPriorStage(Stage):
    """Caption, its embedding and noise -> embedding of a picture, step by step."""

    def __init__(self, config: DiffusionPriorConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__()
        if not sizes.embedding_width:
            raise ValueError("it makes embeddings of a CLIP, and is given none")
        self.config = config
        # Of embeddings it is their length that says how much noise hides them, and they are standardised.
        self.schedule = SCHEDULES[config.schedule](0.0)
        self.standardised = Standardised(sizes.embedding_width)
        self.network = PriorTransformer(
            PriorConfig(
                **config.network.model_dump(),
                vocab_size=sizes.vocab_size,
                context_length=sizes.context_length,
                embedding_width=sizes.embedding_width,
            )
        )

    def measure(self, statistics: Statistics) -> None:
        """See `Stage.measure`."""
        self.standardised.fit(statistics.image_mean, statistics.image_std)
        self.network.caption.standardised.fit(statistics.text_mean, statistics.text_std)

    def view(self, batch: Batch) -> Batch:
        """Have the embeddings of pictures, standardised, in the place of these."""
        assert batch.condition.image is not None
        target = self.standardised(batch.condition.image)
        return replace(batch, target=target, condition=replace(batch.condition, image=None))

    def loss(self, batch: Batch) -> Losses:
        """Squared error of what is predicted at random times."""
        batch = self.view(batch)
        x_0, u = batch.target, batch.chance.spread("time")
        alpha, sigma = self.schedule.alpha_sigma(over(u, x_0))
        eps = batch.chance.normal("eps", x_0.shape[1:])
        predicted = self.network(alpha * x_0 + sigma * eps, u, self._beginning(batch.condition)).float()
        each = squared_errors(predicted, target_of(self.config.prediction, x_0, eps, alpha, sigma))
        return Losses(total=each.mean(), figures=loss_figures(each.detach(), u, batch.condition))

    def imagine(self, condition: Condition, chance: Chance, settings: DrawSettings) -> Tensor:
        """See `Prior.imagine`: of several for each caption the one that fits its embedding best."""
        text = condition.text
        assert text is not None and text.embedding is not None
        shape, sampler = (len(self.standardised.mean),), SAMPLERS[settings.sampler or self.config.sampler]
        denoise = self._guided(condition, settings)
        times = self.schedule.times(settings.num_steps or self.config.num_steps, shape)
        drawn = []
        for number in range(self.config.candidates):
            stream = f"prior/{number}/"
            course = Course(self.schedule, times, chance, settings.on_step, settings.eta, f"{stream}step")
            x = sampler(denoise, chance.normal(f"{stream}eps", shape), course)
            drawn.append(F.normalize(self.standardised.back(x.float()), dim=1))
        return best_fitting(torch.stack(drawn), text.embedding)

    def _guided(self, condition: Condition, settings: DrawSettings) -> Denoiser:
        scale = self.config.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        alone = self._denoiser(condition)
        if scale == 1:
            return alone
        both = self._denoiser(condition.opposed(settings.negative))
        return guide(both, scale, settings.interval, alone=alone, rescale=settings.rescale)

    def _denoiser(self, condition: Condition) -> Denoiser:
        """Read a condition once, for any number of looks at noised embeddings."""
        beginning = self._beginning(condition)

        def denoise(x_t: Tensor, t: Tensor) -> Estimate:
            alpha, sigma = self.schedule.alpha_sigma(over(t, x_t))
            return Estimate(
                x_0_from(self.config.prediction, self.network(x_t, t, beginning).float(), x_t, alpha, sigma)
            )

        return denoise

    def _beginning(self, condition: Condition) -> Tensor:
        """Give what the network reads before it sees a noised embedding."""
        text = condition.text
        if text is None or text.ids is None or text.embedding is None:
            raise ValueError("the condition has no captions as token ids with the embeddings of a CLIP")
        return self.network.read(text.ids, text.mask, text.embedding, condition.keep.get("text"))

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List what Muon may train."""
        return hidden_matrices(self, self.network.outer_layers())


def best_fitting(candidates: Tensor, texts: Tensor) -> Tensor:
    """Choose for each caption, (B, E) float, the one of its candidates, (K, B, E), whose product with it is largest."""
    best = (candidates * texts).sum(2).argmax(0)
    return candidates[best, torch.arange(len(texts), device=texts.device)]
