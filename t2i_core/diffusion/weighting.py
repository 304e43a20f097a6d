"""How much errors count at each level of noise."""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from t2i_core.diffusion.kinds import Parameterization, Weighting
from t2i_core.diffusion.parameterization import SIGMA_DATA, SMALLEST_SCALE, affine

# Signal-to-noise ratio above which errors of x_0 count no more.
GAMMA = 5.0
NUM_WAVES = 32


def weight_of(
    kind: Weighting, prediction: Parameterization, alpha: Tensor, sigma: Tensor, *, offset: float = 1.0
) -> Tensor:
    """Give the weight of a squared error of what the network predicts.

    All but `uniform` say how much a squared error of x_0 counts, whatever is predicted. `learned` leaves that to
    `LearnedWeight`.

    Args:
        kind: which weighting.
        prediction: what the network predicts.
        alpha: (B, 1, 1, 1) float, signal scale.
        sigma: (B, 1, 1, 1) float, noise scale.
        offset: of `p2`, its k: errors of x_0 count alike where the ratio of signal to noise is well above it, and
            errors of eps where it is well below.

    Returns:
        Like alpha, at least 0.
    """
    if kind in ("uniform", "learned"):
        return torch.ones_like(alpha)
    snr = (alpha / sigma.clamp(min=SMALLEST_SCALE)) ** 2
    _, out = affine(prediction, alpha, sigma)
    return _weight_of_x_0(kind, snr, offset) * out**2


def _weight_of_x_0(kind: Weighting, snr: Tensor, offset: float) -> Tensor:
    match kind:
        case "min_snr":  # Hang et al. 2023, arXiv:2303.09556, section 3.4
            return snr.clamp(max=GAMMA)
        case "soft_min_snr":  # Crowson et al. 2024, arXiv:2401.11605
            return snr * GAMMA / (snr + GAMMA)
        case "p2":  # Choi et al. 2022, arXiv:2204.00227, equation 8 with gamma = 1
            return snr / (offset + snr)
        case "edm":  # Karras et al. 2022, arXiv:2206.00364, table 1: errors of the network's output count alike
            return snr + SIGMA_DATA**-2
        case "uniform" | "learned":
            return torch.ones_like(snr)
        case _:
            assert_never(kind)


class LearnedWeight(nn.Module):
    """Let every level of noise count the same, by learning how large errors are there.

    u is fitted so that exp(u) is the mean error at a level (Karras et al. 2024, arXiv:2312.02696, after Kendall et
    al. 2018, arXiv:1705.07115). It is a sum of cosines over the squashed log-SNR and starts at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waves = nn.Parameter(torch.zeros(NUM_WAVES))

    def forward(self, errors: Tensor, log_snr: Tensor) -> Tensor:
        """Weigh errors: (B,) float, given 2 log(alpha / sigma): (B,) float; less than the error where it is large."""
        place = torch.sigmoid(log_snr / 4)
        number = torch.arange(NUM_WAVES, device=place.device)
        u = torch.cos(math.pi * place[:, None] * number) @ self.waves
        return errors * torch.exp(-u) + u
