"""Group norm with modulation and SiLU, in few passes over the features.

Beside convolutions on a CPU's matrix units each pass over the features counts, and PyTorch's own group norm takes as
long as two 3x3 convolutions where channels lie side by side in bfloat16.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from t2i_core.models.layers import wide

# Numbers worked on at once: few enough for the cache, enough for every core.
PART = 1 << 19


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu & He 2018, arXiv:1803.08494) that a vector a sample may scale and shift; then SiLU, if asked."""

    def __init__(self, num_groups: int, channels: int, *, activates: bool = True) -> None:
        super().__init__(num_groups, channels)
        self.activates = activates

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """Normalise x: (B, C, h, w) under modulation: (B, 2C), scale and shift."""
        gain, bias = self.weight.expand(len(x), -1), self.bias.expand(len(x), -1)
        if modulation is not None:
            scale, shift = wide(modulation).chunk(2, dim=1)
            gain, bias = gain * (1 + scale), bias * (1 + scale) + shift
        if x.is_cpu:
            out: Tensor = InParts.apply(x, gain, bias, self)
            return out
        h = F.group_norm(x, self.num_groups, eps=self.eps) * gain[:, :, None, None] + bias[:, :, None, None]
        return F.silu(h) if self.activates else h

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and one over the deviation of each channel's group in x: (B, h, w, C), both (B, 1, 1, C)."""
        mean = self.grouped(x.mean((1, 2), keepdim=True))
        variance = self.grouped((x * x).mean((1, 2), keepdim=True)) - mean * mean
        return mean, (variance.clamp(min=0) + self.eps).rsqrt()

    def grouped(self, sums: Tensor) -> Tensor:
        """Give each channel of sums: (..., C) the mean of its group."""
        means = sums.view(*sums.shape[:-1], self.num_groups, -1).mean(-1)
        return means.repeat_interleave(self.num_channels // self.num_groups, dim=-1)


class InParts(torch.autograd.Function):
    """Norm, modulation and activation, some samples at a time in float32, so that what lies between stays in the cache.

    With the moments known, norm and modulation together are one multiplication and one addition.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, norm: GroupNorm) -> Tensor:
        """Normalise x: (B, C, h, w) under gain and bias: (B, C) float."""
        out, mean, rate = torch.empty_like(x), torch.empty_like(gain), torch.empty_like(gain)
        for x_, gain_, bias_, out_, mean_, rate_ in parts(x, gain, bias, out, mean, rate):
            places = wide(x_)
            m, r = norm.moments(places)
            h = torch.addcmul(bias_ - m * r * gain_, places, r * gain_)
            out_.copy_(F.silu(h, inplace=True) if norm.activates else h)
            mean_.copy_(m)
            rate_.copy_(r)
        ctx.save_for_backward(x, gain, bias, mean, rate)
        ctx.norm = norm
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Give the gradients of x, gain and bias."""
        x, gain, bias, mean, rate = ctx.saved_tensors
        of_x, of_gain, of_bias = torch.empty_like(x), torch.empty_like(gain), torch.empty_like(bias)
        for x_, gain_, bias_, m, r, grad_, *of in parts(x, gain, bias, mean, rate, grad, of_x, of_gain, of_bias):
            places, g = wide(x_), wide(grad_)
            if ctx.norm.activates:
                g = torch.ops.aten.silu_backward(g, torch.addcmul(bias_ - m * r * gain_, places, r * gain_))
            g_bias = g.sum((1, 2), keepdim=True)
            g_gain = r * ((g * places).sum((1, 2), keepdim=True) - m * g_bias)
            slope, level = (ctx.norm.grouped(gain_ * each) * r / x_[0, :, :, 0].numel() for each in (g_gain, g_bias))
            g_x = torch.addcmul(slope * r * m - level, places, -slope * r).addcmul_(g, r * gain_)
            for target, found in zip(of, (g_x, g_gain, g_bias), strict=True):
                target.copy_(found)
        return of_x, of_gain, of_bias, None


def parts(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Go through tensors (B, C, h, w) and (B, C) together, some samples at a time, as (b, h, w, C) and (b, 1, 1, C)."""
    size = max(1, PART // x[0].numel())
    tensors = (t.permute(0, 2, 3, 1) if t.ndim == 4 else t[:, None, None] for t in (x, *others))
    return zip(*(torch.split(t, size) for t in tensors), strict=True)
