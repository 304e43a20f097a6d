import pytest
import torch
from torch import nn

from t2i_core.training import optim
from t2i_core.training.optim import EMA, Muon, build_optimizers, climbed, orthogonalize, rate_factor
from t2i_core.training.preset import EMAConfig, OptimConfig


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 8, 8)])
def test_orthogonalize_brings_all_singular_values_near_one(shape, dtype):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)

    values = torch.linalg.svdvals(orthogonalize(matrices).float())

    assert bool(((values > 0.4) & (values < 1.7)).all())


def test_orthogonalize_keeps_the_singular_vectors():
    u, _, vt = torch.linalg.svd(torch.randn(12, 30, generator=torch.Generator().manual_seed(1)), full_matrices=False)
    matrix = u @ torch.diag(torch.linspace(0.5, 2, 12)) @ vt

    found = u.T @ orthogonalize(matrix[None])[0].float() @ vt.T

    assert float((found - torch.diag(found.diag())).abs().max()) < 0.1


def test_muon_moves_a_convolution_by_about_its_rate_in_every_direction():
    layer = nn.Conv2d(4, 8, 3, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(layer.weight)

    Muon([layer.weight], lr=0.1).step()

    moved = torch.linalg.svdvals((layer.weight - before).detach().flatten(1))
    assert float(moved.min()) > 0.04 and float(moved.max()) < 0.17


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_muon_orthogonalizes_in_the_precision_of_the_run(dtype, monkeypatch):
    layer, seen = nn.Linear(4, 8), []
    layer.weight.grad, layer.bias.grad = torch.randn_like(layer.weight), torch.randn_like(layer.bias)
    monkeypatch.setattr(optim, "orthogonalize", lambda matrices: seen.append(matrices.dtype) or orthogonalize(matrices))

    build_optimizers(layer, [layer.weight], OptimConfig(muon_learning_rate=0.02), dtype)[1].step()

    assert seen == [dtype]


def test_every_weight_has_exactly_one_optimizer():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizers = build_optimizers(module, [module[0].weight], OptimConfig(muon_learning_rate=0.02))

    trained = [p for o in optimizers for g in o.param_groups for p in g["params"]]

    assert len(trained) == len(set(trained)) == 4


def test_adafactor_keeps_a_number_a_row_and_a_column_and_steps_by_the_size_of_the_weights():
    layer = nn.Linear(6, 4, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    layer.weight.grad = torch.full_like(layer.weight, -3.0)
    [adafactor] = build_optimizers(
        layer, [layer.weight], OptimConfig(method="adafactor", learning_rate=0.01, weight_decay=0)
    )

    adafactor.step()

    assert sum(kept.numel() for kept in adafactor.state[layer.weight].values()) == 4 + 6 + 1
    # Of gradients that are all alike the step is the rate times the root mean square of the weights.
    torch.testing.assert_close(layer.weight.detach(), torch.full((4, 6), 2.0 + 0.01 * 2.0))


def test_sam_takes_the_gradient_where_the_loss_is_largest_around_and_leaves_the_weights():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[3.0, 4.0]])
    before = layer.weight.detach().clone()

    def loss() -> torch.Tensor:
        return 0.5 * layer.weight.square().sum()

    loss().backward()
    with climbed(layer, 0.5):
        assert layer.weight.grad is None
        loss().backward()

    assert torch.equal(layer.weight, before)
    # Of half the squared length of (3, 4), which is 5 long, the steepest way is outward.
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[3.0, 4.0]]) * 5.5 / 5)


def test_the_rate_warms_up_stays_and_ends_at_zero():
    config = OptimConfig(warmup_steps=10, decay_from=0.5)

    assert rate_factor(config, 0, 0.0) == pytest.approx(0.1)
    assert rate_factor(config, 50, 0.5) == 1
    assert rate_factor(config, 80, 0.75) == pytest.approx(0.5)
    assert rate_factor(config, 99, 1.0) == 0


def test_ema_follows_the_closed_form():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    module.register_buffer("mean", torch.zeros(1))
    module.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    ema = EMA(module, EMAConfig(decays=(0.5, 0.9)))
    nn.init.ones_(module.weight)
    module.mean += 1
    module.count += 7

    decays = torch.tensor([ema.decays_at(step) for step in range(20)])
    for step in range(20):
        ema.update(module, step)

    assert decays[0].tolist() == pytest.approx([0.1, 0.1]) and decays[19].tolist() == pytest.approx([0.5, 20 / 29])
    for average, left in zip(ema.modules, decays.prod(0).tolist(), strict=True):
        assert (float(average.weight), float(average.mean)) == pytest.approx((1 - left, 1 - left))
        assert int(average.count) == 7
    assert ema.module is ema.by_name["ema"] is not ema.by_name["ema_1"]


def test_a_shared_weight_is_averaged_once():
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    module[1].weight = module[0].weight
    ema = EMA(module, EMAConfig(decays=(0.5,)))
    before = module[0].weight.item()
    nn.init.constant_(module[0].weight, before + 1)

    ema.update(module, 0)

    assert ema.module[0].weight.item() == pytest.approx(before + 0.9)
