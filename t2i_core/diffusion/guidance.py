"""Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598) around any denoiser."""

from collections.abc import Callable

from torch import Tensor

# (x_t: (B, C, H, W), t: (B,)) -> estimate of x_0: (B, C, H, W); the condition is bound already.
Denoiser = Callable[[Tensor, Tensor], Tensor]


def guide(
    conditional: Denoiser, unconditional: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)
) -> Denoiser:
    """Push the estimate away from the unconditional one: uncond + scale * (cond - uncond).

    In terms of x_0 this equals guidance on eps or v, since each is affine in x_0 at fixed x_t.

    Args:
        conditional: denoiser that sees the prompt.
        unconditional: the same network with the empty prompt.
        scale: 1 switches guidance off, and the second network is never called.
        interval: times between which guidance acts (Kynkaanniemi et al. 2024, arXiv:2404.07724).
    """
    if scale == 1:
        return conditional

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        x_0 = conditional(x_t, t)
        if not interval[0] <= float(t[0]) <= interval[1]:
            return x_0
        base = unconditional(x_t, t)
        return base + scale * (x_0 - base)

    return denoise
