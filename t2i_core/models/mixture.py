"""Head of a denoiser that knows how noise works, so that the network need not learn it.

For each patch the network names a few colors with their spread, and for each pixel how likely each of them is; Bayes'
rule then weighs them by the pixel's own noisy value, and the mean of that posterior is the estimate of x_0. Where there
is little noise, edges come out sharp from the first steps on; where there is much, what the network believes decides.
Gaussian mixtures as a denoiser's output: Chen et al. 2025 (GMFlow, arXiv:2504.05304); here the means are shared by the
pixels of a patch, as in the block codes of texture compression.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.layers import zero_init

# Standard deviation of a component, about one grey level of 64, below which it may not fall.
SMALLEST_SPREAD = 0.03
FIRST_LOG_SPREAD, LARGEST_LOG_SPREAD = -0.7, 2.0


class MixtureHead(nn.Module):
    """Features and x_t -> mean of p(x_0 | x_t) under a mixture of `num_components` Gaussians a pixel."""

    def __init__(self, channels: int, patch_size: int, num_components: int) -> None:
        super().__init__()
        self.patch_size, self.num_components = patch_size, num_components
        self.sizes = [num_components * patch_size**2, num_components * 3, num_components]
        self.out = zero_init(nn.Conv2d(channels, sum(self.sizes), 3, padding=1))
        logits, means, log_spreads = (torch.zeros(size) for size in self.sizes)
        means.uniform_(-0.8, 0.8)  # components that start alike would stay alike
        self.out.bias = nn.Parameter(torch.cat([logits, means, log_spreads + FIRST_LOG_SPREAD]))

    def forward(self, x: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Estimate x_0.

        Args:
            x: (B, C, h, w) float, features of the patches.
            x_t: (B, 3, h * patch_size, w * patch_size) float, noised picture.
            alpha: (B, 1, 1, 1) float, signal scale.
            sigma: (B, 1, 1, 1) float, noise scale.

        Returns:
            (B, 3, h * patch_size, w * patch_size) float32.
        """
        out = self.out(x)
        with torch.autocast(x.device.type, enabled=False):
            batch, _, height, width = out.shape
            patches = batch * height * width
            logits, means, log_spreads = torch.split(_by_patch(out.float()), self.sizes, dim=1)
            logits = logits.reshape(patches, self.num_components, -1)
            means = means.reshape(patches, self.num_components, 3)
            prior = log_spreads.clamp(max=LARGEST_LOG_SPREAD).exp().square()[..., None] + SMALLEST_SPREAD**2
            pixels = _by_patch(F.pixel_unshuffle(x_t.float(), self.patch_size)).reshape(patches, 3, -1)
            alpha, sigma = (scale.float().view(-1).repeat_interleave(height * width) for scale in (alpha, sigma))
            x_0 = posterior_mean(logits, means, prior, pixels, alpha.view(-1, 1, 1), sigma.view(-1, 1, 1))
            return F.pixel_shuffle(x_0.reshape(batch, height, width, -1).permute(0, 3, 1, 2), self.patch_size)


def posterior_mean(
    logits: Tensor, means: Tensor, variances: Tensor, pixels: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Give E[x_0 | x_t] where x_0 is drawn from a mixture of K isotropic Gaussians and x_t = alpha x_0 + sigma eps.

    Args:
        logits: (N, K, P) float, log prior weight of each component at each of P pixels, up to a constant.
        means: (N, K, 3) float, color of each component.
        variances: (N, K, 1) float, variance of each component.
        pixels: (N, 3, P) float, x_t.
        alpha: (N, 1, 1) float.
        sigma: (N, 1, 1) float.

    Returns:
        (N, 3, P) float.
    """
    total = sigma**2 + alpha**2 * variances
    distance = (
        pixels.square().sum(1, keepdim=True)
        - 2 * alpha * torch.bmm(means, pixels)
        + alpha**2 * means.square().sum(2, keepdim=True)
    )
    weights = (logits - distance / (2 * total) - 1.5 * total.log()).softmax(1)
    from_means = torch.bmm((means * (sigma**2 / total)).mT, weights)
    return from_means + pixels * (weights * (alpha * variances / total)).sum(1, keepdim=True)


def _by_patch(x: Tensor) -> Tensor:
    """Lay out (B, C, h, w) as (B * h * w, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
