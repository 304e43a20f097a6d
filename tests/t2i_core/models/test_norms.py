import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.models.norms import PART, GroupNorm


def a_norm(*, activates: bool, channels: int = 16) -> GroupNorm:
    torch.manual_seed(0)
    norm = GroupNorm(4, channels, activates=activates)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


def plain(norm: GroupNorm, x: Tensor, modulation: Tensor) -> Tensor:
    scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
    h = F.group_norm(x, 4, norm.weight, norm.bias) * (1 + scale) + shift
    return F.silu(h) if norm.activates else h


@pytest.mark.parametrize("activates", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_group_norm_with_its_gradients_whatever_the_layout_and_the_parts(
    activates: bool, layout: torch.memory_format
) -> None:
    norm = a_norm(activates=activates).double()
    x = torch.randn(9, 16, 96, 64, dtype=torch.double).to(memory_format=layout).requires_grad_()
    assert PART < x.numel() < 3 * PART
    modulation = torch.randn(9, 32, dtype=torch.double, requires_grad=True)
    inputs, towards = (x, modulation, norm.weight, norm.bias), torch.randn_like(x)

    ours, expected = norm(x, modulation), plain(norm, x, modulation)

    torch.testing.assert_close(ours, expected)
    assert ours.stride() == x.stride()
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_without_modulation_weight_and_bias_alone_count() -> None:
    norm = a_norm(activates=True).double()
    x = torch.randn(2, 16, 3, 4, dtype=torch.double, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, *_: norm(x), (x, norm.weight, norm.bias))
    torch.testing.assert_close(norm(x), plain(norm, x, torch.zeros(2, 32, dtype=torch.double)))


def test_bfloat16_rounds_once() -> None:
    norm = a_norm(activates=True)
    x, modulation = torch.randn(2, 16, 8, 8).bfloat16() + 3, torch.randn(2, 32).bfloat16()

    exact = plain(norm, x.float(), modulation.float())

    assert norm(x, modulation).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x, modulation).float(), exact, rtol=2**-8, atol=1e-3)


def test_a_sample_is_normalised_alike_alone_and_among_others() -> None:
    norm = a_norm(activates=True, channels=64)
    x = torch.randn(5, 64, 64, 64)

    assert x.numel() > PART
    assert torch.equal(norm(x)[3:4], norm(x[3:4]))
