"""Noise schedules: t in [0, 1] -> (alpha, sigma), and the times that a sampler visits."""

import math

import torch
from torch import Tensor

from t2i_core.diffusion.kinds import ScheduleName

# Keeps log-SNR finite at both ends; the error it makes is far below one grey level.
EDGE = 1e-4


def alpha_sigma(schedule: ScheduleName, t: Tensor) -> tuple[Tensor, Tensor]:
    """Give signal and noise scale at time t.

    `cosine` is variance preserving, alpha = cos(pi t / 2) (Nichol & Dhariwal 2021, arXiv:2102.09672, without offset);
    `flow` is the straight path alpha = 1 - t, sigma = t (Liu et al. 2022, arXiv:2209.03003).

    Args:
        schedule: which path.
        t: (B,) float in [0, 1].

    Returns:
        alpha and sigma: (B, 1, 1, 1) float.
    """
    t = t.view(-1, 1, 1, 1)
    if schedule == "cosine":
        return torch.cos(0.5 * math.pi * t), torch.sin(0.5 * math.pi * t)
    return 1 - t, t


def log_snr(schedule: ScheduleName, t: Tensor) -> Tensor:
    """Give 2 log(alpha / sigma) at time t: (B,) float, clipped away from the infinite ends."""
    alpha, sigma = alpha_sigma(schedule, t.clamp(EDGE, 1 - EDGE))
    return 2 * (alpha.log() - sigma.log()).flatten()


def shift_times(t: Tensor, shift: float) -> Tensor:
    """Lean times to noise: shift t / (1 + (shift - 1) t) (Esser et al. 2024, arXiv:2403.03206, equation 23).

    In logits this adds log(shift). The more pixels share a colour, the more noise it takes to hide it.

    Args:
        t: float in [0, 1], any shape.
        shift: 1 leaves t as it is.
    """
    return shift * t / (1 + (shift - 1) * t)


def sampling_times(num_steps: int) -> Tensor:
    """List evenly spaced times, from 1 (noise) to 0 (clean): (S + 1,) float64."""
    return torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
