"""What every sampler goes by, and the step that all of them share."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.schedule import EDGE, Schedule


@dataclass(frozen=True, slots=True)
class Course:
    """The way from noise to a picture.

    Attributes:
        schedule: path of alpha and sigma.
        times: S + 1 of them, from 1 (noise) down to 0 (clean).
        chance: of the pictures, for fresh noise.
        on_step: called as each step begins with its number, x_t and the estimate of x_0.
        eta: of DDIM: 0 adds no noise on the way, 1 as much as the forward process took away.
        stream: name of the fresh noise; each stage of a cascade has its own.
        first: number of its first step, where it is a part of another way.
    """

    schedule: Schedule
    times: Sequence[float]
    chance: Chance
    on_step: Callable[[int, Tensor, Tensor], None] | None = None
    eta: float = 0.0
    stream: str = "step"
    first: int = 0

    def steps(self) -> Iterator[tuple[int, float, float]]:
        """Give each step's number, the time it starts from and the time it leads to."""
        for number, (t, s) in enumerate(pairwise(self.times)):
            yield number, t, s

    def look(self, denoise: Denoiser, x: Tensor, number: int) -> Estimate:
        """Estimate x_0 where a step begins, and tell whoever watches."""
        estimate = denoise(x, batch_of(self.times[number], x))
        if self.on_step is not None:
            self.on_step(self.first + number, x, estimate.x_0)
        return estimate

    def noise(self, x: Tensor, number: int) -> Tensor:
        """Give the fresh noise of a step, like x."""
        return self.chance.normal(f"{self.stream}/{self.first + number}", x.shape[1:])

    def part(self, first: int, last: int, suffix: str) -> "Course":
        """Give the way from one of its times to another, by their numbers, with fresh noise of its own."""
        times, stream = self.times[first : last + 1], f"{self.stream}{suffix}"
        return replace(self, times=times, first=self.first + first, stream=stream)

    def noised_again(self, x: Tensor, first: int, last: int, stream: str) -> Tensor:
        """Take x at one of its times back to an earlier one, by their numbers, as the forward process does."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (self.schedule.scales(self.times[i]) for i in (first, last))
        ratio = alpha_t / alpha_s
        noise = self.chance.normal(f"{self.stream}/{stream}/{first}", x.shape[1:])
        return ratio * x + math.sqrt(sigma_t**2 - (ratio * sigma_s) ** 2) * noise

    def half_log_snr(self, t: float) -> float:
        """Give log(alpha / sigma), the time in which x_0 changes evenly; clipped away from the infinite ends."""
        alpha, sigma = self.schedule.scales(min(max(t, EDGE), 1 - EDGE))
        return math.log(alpha) - math.log(sigma)

    def posterior_scale(self, t: float, s: float) -> float:
        """Give the scale of x_s given x_t and x_0 (Kingma et al. 2021, arXiv:2107.00630, equation 25)."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule.scales(t), self.schedule.scales(s)
        return sigma_s / sigma_t * math.sqrt(max(0.0, sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2))

    def step(self, x: Tensor, x_0: Tensor, t: float, s: float, fresh: float = 0.0) -> Tensor:
        """Go from time t to s, where noise of scale `fresh` is still to be added.

        x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x_0 integrates the probability-flow ODE
        exactly while x_0 stays constant; samplers differ in how they follow x_0 between two times.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule.scales(t), self.schedule.scales(s)
        ratio = math.sqrt(sigma_s**2 - fresh**2) / sigma_t
        return ratio * x + (alpha_s - alpha_t * ratio) * x_0


# (denoiser, x: (B, ...) float, standard normal noise, course) -> the sample, like x.
Sampler = Callable[[Denoiser, Tensor, Course], Tensor]


def batch_of(t: float, x: Tensor) -> Tensor:
    """Give every sample of x the same time: (B,)."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)
