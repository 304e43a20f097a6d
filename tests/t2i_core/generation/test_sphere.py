import math

import pytest
import torch
from torch.nn import functional as F

from t2i_core.errors import ConfigError
from t2i_core.generation.edits.sphere import slerp, turned


def units(number: int = 5, width: int = 7, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(number, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_ends_are_the_sources_to_the_bit() -> None:
    one, other = units(seed=1), 3 * units(seed=2)

    assert slerp(one, other, 0).equal(one) and slerp(one, other, 1).equal(other)


@pytest.mark.parametrize("theta", [0.1, 0.25, 0.5, 0.9])
def test_the_way_is_even_keeps_the_length_and_is_the_same_back(theta: float) -> None:
    one, other = units(seed=1), units(seed=2)
    between = slerp(one, other, theta)

    assert (between.norm(dim=1) - 1).abs().max() < 1e-6
    whole, part = ((one * each).sum(1).double().clamp(-1, 1).arccos() for each in (other, between))
    assert torch.allclose(part, theta * whole, atol=1e-5)
    assert torch.allclose(between, slerp(other, one, 1 - theta), atol=1e-6)


def test_quarter_turns_are_known() -> None:
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])

    assert torch.allclose(slerp(x, y, 0.5), torch.tensor([[math.sqrt(2), math.sqrt(2)]]))


def test_equal_and_opposite_ends_have_a_way() -> None:
    one = units()
    across = slerp(one, -one, 0.5)

    assert torch.allclose(slerp(one, one, 0.3), one, atol=1e-6)
    assert (across.norm(dim=1) - 1).abs().max() < 1e-6 and (across * one).sum(1).abs().max() < 1e-6
    assert torch.allclose(slerp(one, -one, 0.3), slerp(-one, one, 0.7), atol=1e-6)


def test_noise_keeps_its_shape_and_spread() -> None:
    one, other = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)

    between = slerp(one, other, 0.5)

    assert between.shape == one.shape and torch.allclose(between.std((1, 2, 3)), one.std((1, 2, 3)), rtol=0.05)


def test_a_difference_of_captions_turns_pictures_and_of_equal_ones_there_is_none() -> None:
    picture, shows, wanted = units(seed=1), units(seed=2), units(seed=3)
    away = F.normalize(wanted - shows, dim=1)

    assert turned(picture, shows, wanted, 0).equal(picture)
    assert torch.allclose(turned(picture, shows, wanted, 1), away, atol=1e-6)
    part = turned(picture, shows, wanted, 0.4)
    assert (part.norm(dim=1) - 1).abs().max() < 1e-6
    assert ((part * away).sum(1) > (picture * away).sum(1)).all()
    with pytest.raises(ConfigError, match="same to the CLIP"):
        turned(picture, shows, shows.clone(), 0.4)
