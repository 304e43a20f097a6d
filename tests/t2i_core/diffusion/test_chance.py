import pytest
import torch

from t2i_core.diffusion.chance import Chance

SHAPE = (3, 8, 6)


def chance(*numbers: int, seed: int = 0) -> Chance:
    return Chance(seed, torch.tensor(numbers))


@pytest.mark.parametrize(
    "draw",
    [lambda c: c.uniform("a"), lambda c: c.spread("a"), lambda c: c.normal("a", SHAPE), lambda c: c.normal("a", (5,))],
)
def test_a_sample_gets_the_same_bits_whoever_else_is_in_the_batch(draw):
    whole = draw(chance(*range(100, 132)))

    for parts in (range(100, 132, 8), range(100, 132, 1)):  # four ranks, or batches of one
        step = parts.step
        again = torch.cat([draw(chance(*range(first, first + step))) for first in parts])
        assert torch.equal(again, whole)
    assert torch.equal(draw(chance(131, 100)), whole[[-1, 0]])


@pytest.mark.parametrize("other", [chance(1), chance(0, seed=1)], ids=["sample", "seed"])
def test_samples_seeds_and_streams_differ(other):
    mine = chance(0)

    assert not torch.equal(mine.normal("a", SHAPE), other.normal("a", SHAPE))
    assert not torch.equal(mine.normal("a", SHAPE), mine.normal("b", SHAPE))
    assert float(mine.uniform("a")) != float(other.uniform("a"))
    assert float(mine.spread("a")) != float(other.spread("a"))


def test_normal_numbers_have_the_moments_of_the_distribution_and_nothing_in_common():
    x = chance(*range(64)).normal("eps", (3, 32, 32)).double()

    assert x.shape == (64, 3, 32, 32) and x.is_contiguous(memory_format=torch.channels_last)
    assert [float((x**power).mean()) for power in (1, 2, 3, 4)] == pytest.approx([0, 1, 0, 3], abs=0.05)
    # Correlations of pictures, channels and neighbours are those of chance, 1 / sqrt(numbers compared).
    flat = x.flatten(1)
    between = (flat @ flat.T / flat.shape[1]).fill_diagonal_(0)
    assert float(between.abs().max()) < 5 / flat.shape[1] ** 0.5
    for shifted in (x.roll(1, 1), x.roll(1, 2), x.roll(1, 3)):
        assert abs(float((x * shifted).mean())) < 5 / x.numel() ** 0.5


def test_uniform_numbers_fill_the_range_evenly():
    counts = chance(*range(10_000)).uniform("a").histc(10, 0, 1)

    chi_squared = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi_squared < 28  # nine degrees of freedom, one in a thousand


@pytest.mark.parametrize("first", [0, 12_345, 3_000_000_000])
def test_spread_numbers_of_any_samples_in_a_row_leave_no_gap(first):
    u = chance(*range(first, first + 64)).spread("time").sort().values

    ends = torch.tensor([0.0, 1.0])
    gaps = torch.cat([ends[:1], u, ends[1:]]).diff()
    assert float(gaps.max()) < 2 / 64
    assert u[0] > 0 and u[-1] < 1


def test_an_odd_number_of_values_is_the_start_of_an_even_one():
    assert chance(4).normal("a", (7,)).shape == (1, 7)
    assert chance(4).normal("a", (1,)).shape == (1, 1)
