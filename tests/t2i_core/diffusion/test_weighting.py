"""Weights against the closed forms of their papers, and the weight that is learned."""

from typing import get_args

import pytest
import torch

from t2i_core.diffusion.continuous import Cosine, Flow
from t2i_core.diffusion.kinds import Parameterization, Weighting
from t2i_core.diffusion.parameterization import SIGMA_DATA, network_input, target_of, x_0_from
from t2i_core.diffusion.schedule import Schedule, over
from t2i_core.diffusion.weighting import LearnedWeight, weight_of

T = torch.tensor([0.05, 0.3, 0.6, 0.9], dtype=torch.float64)
ALPHA, SIGMA = (scale.view(-1, 1, 1, 1) for scale in Cosine().alpha_sigma(T))
SNR = (ALPHA / SIGMA) ** 2


@pytest.mark.parametrize(
    ("weighting", "prediction", "expected"),
    [
        ("uniform", "eps", torch.ones_like(SNR)),
        ("learned", "v", torch.ones_like(SNR)),
        ("min_snr", "x_0", SNR.clamp(max=5)),
        ("min_snr", "eps", SNR.clamp(max=5) / SNR),
        ("min_snr", "v", SNR.clamp(max=5) / (SNR + 1)),
        ("soft_min_snr", "x_0", 1 / (1 / SNR + 1 / 5)),
        ("p2", "eps", 1 / (1 + SNR)),
        ("edm", "x_0", (1 / SNR + SIGMA_DATA**2) / (SIGMA_DATA**2 / SNR)),
        ("edm", "edm", torch.ones_like(SNR)),
    ],
)
def test_a_weight_is_that_of_its_paper(weighting, prediction, expected):
    assert torch.allclose(weight_of(weighting, prediction, ALPHA, SIGMA), expected)


@pytest.mark.parametrize("weighting", sorted(set(get_args(Weighting)) - {"uniform", "learned"}))
@pytest.mark.parametrize("schedule", [Cosine(), Flow()])
def test_a_weighted_loss_is_the_same_whatever_is_predicted(weighting: Weighting, schedule: Schedule):
    generator = torch.Generator().manual_seed(0)
    x_0, eps, wrong = torch.randn(3, 4, 3, 2, 2, generator=generator, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(over(T, x_0))
    x_t = alpha * x_0 + sigma * eps

    losses = []
    for kind in get_args(Parameterization):
        # Predictions of all kinds that imply the same wrong x_0.
        prediction = target_of(kind, wrong, (x_t - alpha * wrong) / sigma, alpha, sigma)
        assert torch.allclose(x_0_from(kind, prediction, x_t, alpha, sigma), wrong)
        error = (prediction - target_of(kind, x_0, eps, alpha, sigma)) ** 2
        losses.append(weight_of(weighting, kind, alpha, sigma) * error)

    for other in losses[1:]:
        assert torch.allclose(other, losses[0])


@pytest.mark.parametrize("weighting", get_args(Weighting))
@pytest.mark.parametrize("prediction", get_args(Parameterization))
def test_weights_are_finite_at_the_ends(weighting, prediction):
    alpha, sigma = Flow().alpha_sigma(torch.tensor([0.0, 1e-6, 1.0]))

    weight = weight_of(weighting, prediction, alpha, sigma)

    assert bool(weight.isfinite().all()) and bool((weight >= 0).all())


@pytest.mark.parametrize("t", [0.03, 0.5, 0.97])
def test_edm_keeps_what_the_network_sees_and_predicts_at_unit_variance(t):
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    x_0 = SIGMA_DATA * x_0
    alpha, sigma = Cosine().alpha_sigma(torch.tensor(t, dtype=torch.float64))

    seen = network_input("edm", alpha * x_0 + sigma * eps, alpha, sigma)
    target = target_of("edm", x_0, eps, alpha, sigma)

    assert [float(seen.std()), float(target.std())] == pytest.approx([1, 1], abs=0.01)
    assert abs(float((seen * target).mean())) < 0.01  # what is left to predict is not to be seen


def test_only_edm_changes_what_the_network_sees():
    x_t = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    for kind in set(get_args(Parameterization)) - {"edm"}:
        assert torch.equal(network_input(kind, x_t, ALPHA, SIGMA), x_t)


def test_the_learned_weight_learns_how_large_errors_are():
    log_snr = torch.linspace(-12, 12, 400)
    errors = torch.exp(-0.2 * log_snr) + 0.05
    weigh = LearnedWeight()
    assert torch.equal(weigh(errors, log_snr), errors)  # at first all count as they are
    optimizer = torch.optim.LBFGS(weigh.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weigh(errors, log_snr).mean()
        loss.backward()
        return loss

    optimizer.step(closure)

    # Where u = log(error), a level's loss is 1 + u, and it counts as much as any other.
    learned = weigh(errors, log_snr) - 1
    assert torch.allclose(learned, errors.log(), atol=0.02)
