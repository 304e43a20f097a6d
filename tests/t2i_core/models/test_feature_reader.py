"""What reads features: unit variance a token, a null of its own, and nothing of what is dropped or padded."""

from collections.abc import Callable

import pytest
import torch

from t2i_core.models.config import FeatureTransformerSizes
from t2i_core.models.feature_reader import FeatureReader, FeatureTransformer, PooledFeatures

MASK = torch.tensor([[True, True, True], [True, False, False]])


def reader() -> FeatureReader:
    torch.manual_seed(0)
    made = FeatureReader(6, 4)
    torch.nn.init.normal_(made.null)
    return made


def pooler() -> PooledFeatures:
    """Give one whose norms have biases, which would show through a null in front of them."""
    torch.manual_seed(0)
    made = PooledFeatures(6)
    for norm in (made.norm, made.norm_pooled):
        torch.nn.init.normal_(norm.bias)
    return made


def reading_on(*, noise: float = 0.5, directional: bool = True) -> FeatureTransformer:
    """Give one in evaluation, whose output norm has a bias, which would show through a null in front of it."""
    torch.manual_seed(0)
    sizes = FeatureTransformerSizes(width=8, num_layers=2, num_heads=2, noise=noise, directional=directional)
    made = FeatureTransformer(6, sizes).eval()
    torch.nn.init.normal_(made.norm_out.bias)
    for block in made.blocks:
        for weight in block.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return made


@pytest.mark.parametrize("reader", [reader, pooler, reading_on])
def test_the_scale_of_features_does_not_matter_and_constant_ones_stay_finite(
    reader: Callable[[], FeatureReader | PooledFeatures | FeatureTransformer],
) -> None:
    features = torch.randn(2, 3, 6)

    scaled, plain = (reader()(values, MASK).tokens for values in (1000 * features + 5, features))
    torch.testing.assert_close(scaled, plain, atol=1e-3, rtol=0)
    constant = reader()(torch.full((2, 3, 6), 7.0, requires_grad=True), MASK)
    assert constant.tokens.isfinite().all() and constant.pooled.isfinite().all()


def test_what_is_dropped_is_the_same_null_whatever_it_was() -> None:
    made = reader()
    one, other = (made(torch.randn(2, 3, 6), MASK, torch.tensor([True, False])) for _ in range(2))

    assert one.mask.tolist() == [[True, True, True], [True, False, False]]
    assert one.tokens[1].equal(other.tokens[1]) and one.pooled[1].equal(other.pooled[1])
    assert one.tokens[1, 0].equal(made.null)
    assert not one.tokens[0].allclose(other.tokens[0])


@pytest.mark.parametrize("reader", [reader, pooler, reading_on, lambda: reading_on(directional=False)])
def test_padding_changes_nothing(reader: Callable[[], FeatureReader | PooledFeatures | FeatureTransformer]) -> None:
    features = torch.randn(1, 3, 6)
    longer = torch.cat([features, torch.randn(1, 2, 6)], 1)

    short = reader()(features, MASK[:1])
    long = reader()(longer, torch.tensor([[True, True, True, False, False]]))

    torch.testing.assert_close(long.pooled, short.pooled)
    torch.testing.assert_close(long.tokens[:, :3], short.tokens)


@pytest.mark.parametrize("reader", [pooler, reading_on])
def test_a_null_of_zeros_gives_no_gradient_back(reader: Callable[[], PooledFeatures | FeatureTransformer]) -> None:
    made, features = reader(), torch.randn(2, 3, 6, requires_grad=True)

    read = made(features, torch.ones(2, 3, dtype=torch.bool), torch.tensor([True, False]))
    (read.tokens.square().sum() + read.pooled.square().sum()).backward()

    assert read.mask.tolist() == [[True, True, True], [True, False, False]]
    assert not read.tokens[1].any() and not read.pooled[1].any()
    assert features.grad is not None and features.grad[0].any() and not features.grad[1].any()


def test_attention_pooling_follows_its_queries() -> None:
    made, features = pooler(), torch.randn(1, 3, 6)
    tokens = made.norm(features)[0]
    with torch.no_grad():
        made.queries.weight.zero_()
        even = made(features, MASK[:1]).pooled[0]
        # Both heads look for what the second token is.
        made.queries.weight.copy_(1000 * (tokens[1] - tokens.mean(0)).expand(2, 6))
        second = made(features, MASK[:1]).pooled[0]

    torch.testing.assert_close(even, made.norm_pooled(tokens.mean(0)))
    torch.testing.assert_close(second, made.norm_pooled(tokens[1]))


def test_in_training_each_caption_gets_an_amount_of_noise_of_its_own() -> None:
    made = reading_on(noise=3.0)
    made.config = made.config.with_changes(num_layers=0)
    made.blocks, made.norm_out = torch.nn.ModuleList(), torch.nn.Identity()
    made.project = torch.nn.Identity()
    features, mask = torch.randn(4000, 3, 6), torch.ones(4000, 3, dtype=torch.bool)

    clean = made(features, mask).tokens
    noise = made.train()(features, mask).tokens - clean
    amounts = noise.square().mean((1, 2)).sqrt()

    assert clean.equal(made.norm(features))
    # Evenly between none and three: the mean square is a third of the largest one.
    torch.testing.assert_close(amounts.square().mean(), torch.tensor(3.0), atol=0.2, rtol=0)
    assert amounts.min() < 0.1 and amounts.max() > 2.5


def test_a_word_hears_those_before_and_behind_it_by_heads_of_their_own() -> None:
    features = torch.randn(1, 3, 6, requires_grad=True)
    mask = torch.ones(1, 3, dtype=torch.bool)
    for made in (reading_on(), reading_on(directional=False)):
        (heard,) = torch.autograd.grad(made(features, mask).tokens[0, 1, 0], features)
        assert heard.abs().sum(-1).min() > 0
    swapped = features[:, [1, 0, 2]]
    kept = {
        on: torch.allclose(
            *(reading_on(directional=on)(given, mask).pooled for given in (swapped, features)), atol=1e-5
        )
        for on in (True, False)
    }
    # Who hears all others alike cannot tell an order that its features do not.
    assert kept == {True: False, False: True}


def test_noise_is_put_on_features_in_training_alone() -> None:
    features, mask = torch.randn(1, 3, 6), torch.ones(1, 3, dtype=torch.bool)
    made = reading_on()
    assert made(features, mask).tokens.equal(made(features, mask).tokens)
    made.train()
    assert not made(features, mask).tokens.allclose(made(features, mask).tokens)
    without = reading_on(noise=0).train()
    assert without(features, mask).tokens.equal(without.eval()(features, mask).tokens)
