"""Guidance around any denoisers: classifier-free, by a weaker network, rescaled, within an interval, projected."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.schedule import over

# (x_0, what to lead away from, scale) -> guided x_0, all (B, ...).
Push = Callable[[Tensor, Tensor, float], Tensor]


def straight(x_0: Tensor, base: Tensor, scale: float) -> Tensor:
    """Extrapolate: base + scale * (x_0 - base) (Ho & Salimans 2022, arXiv:2207.12598, equation 6).

    In terms of x_0 this equals guidance on eps or v, since each is affine in x_0 at fixed x_t.
    """
    return base + scale * (x_0 - base)


def projected(*, parallel: float = 0.0, momentum: float = 0.0, radius: float = math.inf) -> Push:
    """Extrapolate with less of what saturates: APG (Sadat et al. 2024, arXiv:2410.02416, algorithm 1).

    It remembers what it did, so each drawing needs one of its own.

    Args:
        parallel: share of the push along x_0 itself that is kept, the paper's eta; 1 keeps all.
        momentum: share of the pushes before that is added; below 0 as in the paper makes each differ from the last.
        radius: longest push, in the Euclidean norm of a sample.
    """
    before: Tensor | None = None

    def push(x_0: Tensor, base: Tensor, scale: float) -> Tensor:
        nonlocal before
        away = x_0 - base
        if momentum and before is not None:
            away = away + momentum * before
        before = away
        away = away * over((radius / _norm(away)).clamp(max=1), away)
        along = over(_dot(away, x_0) / _norm(x_0).square(), x_0) * x_0
        return x_0 + (scale - 1) * (away - along + parallel * along)

    return push


@dataclass(frozen=True, slots=True)
class Projection:
    """How much of a push is kept; the arguments of `projected`, which as they are here keep all of it."""

    parallel: float = 1.0
    momentum: float = 0.0
    radius: float = math.inf

    def push(self) -> Push:
        """Give the push of one drawing."""
        if self == WHOLE:
            return straight
        return projected(parallel=self.parallel, momentum=self.momentum, radius=self.radius)


WHOLE = Projection()


def guide(
    both: Denoiser,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
    *,
    alone: Denoiser | None = None,
    rescale: float = 0.0,
    push: Push = straight,
) -> Denoiser:
    """Push the estimate away from another one, that without a prompt, of a negative prompt or of a weaker network.

    Args:
        both: denoiser of twice the batch: the first half sees the prompts, the second what to lead away from.
        scale: 1 leaves the estimate as it is.
        interval: times between which guidance acts (Kynkaanniemi et al. 2024, arXiv:2404.07724).
        alone: denoiser of the first half, asked in place of both where guidance does not act.
        rescale: how far the guided estimate is brought back to the standard deviation that it had.
        push: how to lead away.
    """
    if scale == 1 and alone is not None:
        return alone

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        acts = (t >= interval[0]) & (t <= interval[1])
        # Asked only where it may spare an evaluation, since the device has to be waited for.
        if alone is not None and interval != (0.0, 1.0) and not acts.any():
            return alone(x_t, t)
        estimate = both(torch.cat([x_t, x_t]), torch.cat([t, t]))
        x_0, base = estimate.x_0.chunk(2)
        guided = _rescaled(push(x_0, base, scale), x_0, rescale)
        variance = None if estimate.variance is None else estimate.variance.chunk(2)[0]
        return Estimate(torch.where(over(acts, x_0), guided, x_0), variance)

    return denoise


def paired(main: Denoiser, other: Denoiser) -> Denoiser:
    """Make one denoiser of two, the first half of a batch for the one and the second for the other.

    `guide(paired(main, weak), scale)` with a weaker network of the same condition is autoguidance (Karras et al. 2024,
    arXiv:2406.02507).
    """

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        (x_main, x_other), (t_main, t_other) = x_t.chunk(2), t.chunk(2)
        estimates = main(x_main, t_main), other(x_other, t_other)
        shares = [estimate.variance for estimate in estimates if estimate.variance is not None]
        return Estimate(torch.cat([e.x_0 for e in estimates]), torch.cat(shares) if len(shares) == 2 else None)

    return denoise


def _rescaled(guided: Tensor, x_0: Tensor, rescale: float) -> Tensor:
    """Bring the standard deviation of each sample back (Lin et al. 2023, arXiv:2305.08891, equations 15 and 16)."""
    if not rescale:
        return guided
    ratio = x_0.flatten(1).std(1) / guided.flatten(1).std(1)
    return guided * over(1 + rescale * (ratio - 1), guided)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).flatten(1).sum(1)


def _norm(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt().clamp(min=1e-12)
