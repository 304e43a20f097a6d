"""What a denoiser gives, the one thing that samplers, guidance and post-processing know of a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is thought of a sample behind its noise.

    Attributes:
        x_0: (B, ...) float, the mean.
        variance: like x_0, in [0, 1], where it is learned: the share of the way from the smallest to the largest
            log-variance of a step (Nichol & Dhariwal 2021, arXiv:2102.09672, equation 15), so that each sampler
            interpolates the bounds of its own steps.
    """

    x_0: Tensor
    variance: Tensor | None = None


# (x_t: (B, ...), t: (B,)) -> estimate of x_0, like x_t; the condition is bound already.
Denoiser = Callable[[Tensor, Tensor], Estimate]
# (x_0: (B, ...), x_t: (B, ...), t: (B,)) -> better x_0.
Post = Callable[[Tensor, Tensor, Tensor], Tensor]


def processed(denoise: Denoiser, posts: Sequence[Post]) -> Denoiser:
    """Send each estimate of x_0 through post-processors, in their order."""

    def denoise_and_process(x_t: Tensor, t: Tensor) -> Estimate:
        estimate = denoise(x_t, t)
        x_0 = estimate.x_0
        for post in posts:
            x_0 = post(x_0, x_t, t)
        return replace(estimate, x_0=x_0)

    return denoise_and_process if posts else denoise
