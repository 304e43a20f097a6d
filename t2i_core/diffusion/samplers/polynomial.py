"""x_0 as a polynomial in half the log-SNR through several estimates, which a step integrates exactly."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

# (half log-SNR, estimate of x_0 there)
Node = tuple[float, Tensor]
# Enough of Gauss and Legendre's points for a polynomial times an exponential over any step.
_POINTS, _MASSES = np.polynomial.legendre.leggauss(32)

# Steps of half log-SNR longer than this follow no curve: extrapolated so far, a parabola leaves all pictures behind.
_LONGEST = 1.0


def mean_x_0(nodes: Sequence[Node], now: float, ahead: float, rate: float = 1.0) -> Tensor:
    """Give the constant x_0 that leads a step as far as the polynomial through the nodes does.

    The path weighs x_0 by exp(rate * u) at u in half log-SNR (Lu et al. 2022, arXiv:2211.01095, equation 8), so the
    mean of the polynomial under that weight is what counts.

    Args:
        nodes: one or more, no two at the same half log-SNR.
        now: half log-SNR where the step begins.
        ahead: half log-SNR where it ends.
        rate: 1 for the ODE, 2 for the SDE that adds as much noise as the forward process took away.
    """
    share = (_POINTS + 1) / 2
    mass = _MASSES * np.exp(rate * (ahead - now) * (share - 1))
    places = [(half_log_snr - now) / (ahead - now) for half_log_snr, _ in nodes]
    mean: Tensor | None = None
    for place, (_, x_0) in zip(places, nodes, strict=True):
        # Lagrange's polynomial: 1 at this node, 0 at the others.
        basis = np.prod([(share - other) / (place - other) for other in places if other != place], axis=0)
        part = float((mass * basis).sum() / mass.sum()) * x_0
        mean = part if mean is None else mean + part
    assert mean is not None
    return mean


def extrapolated_x_0(nodes: Sequence[Node], ahead: float, rate: float = 1.0) -> Tensor:
    """Give the mean of x_0 over the step that begins at the first node, as far as what went before can tell.

    Arguments are those of `mean_x_0`.
    """
    now = nodes[0][0]
    return mean_x_0(nodes if ahead - now <= _LONGEST else nodes[:1], now, ahead, rate)
