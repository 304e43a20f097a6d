"""What reads features: unit variance a token, a null of its own, and nothing of what is dropped or padded."""

from collections.abc import Callable

import pytest
import torch

from t2i_core.models.feature_reader import FeatureReader, PooledFeatures

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


@pytest.mark.parametrize("reader", [reader, pooler])
def test_the_scale_of_features_does_not_matter_and_constant_ones_stay_finite(
    reader: Callable[[], FeatureReader | PooledFeatures],
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


@pytest.mark.parametrize("reader", [reader, pooler])
def test_padding_changes_nothing(reader: Callable[[], FeatureReader | PooledFeatures]) -> None:
    features = torch.randn(1, 3, 6)
    longer = torch.cat([features, torch.randn(1, 2, 6)], 1)

    short = reader()(features, MASK[:1])
    long = reader()(longer, torch.tensor([[True, True, True, False, False]]))

    torch.testing.assert_close(long.pooled, short.pooled)
    torch.testing.assert_close(long.tokens[:, :3], short.tokens)


def test_the_null_of_pooled_features_is_zeros_and_no_gradient_comes_back_from_it() -> None:
    made, features = pooler(), torch.randn(2, 3, 6, requires_grad=True)

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
