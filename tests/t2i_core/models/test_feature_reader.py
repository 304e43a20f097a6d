"""What reads features: unit variance a token, a null of its own, and nothing of what is dropped or padded."""

import torch

from t2i_core.models.feature_reader import FeatureReader

MASK = torch.tensor([[True, True, True], [True, False, False]])


def reader() -> FeatureReader:
    torch.manual_seed(0)
    made = FeatureReader(6, 4)
    torch.nn.init.normal_(made.null)
    return made


def test_the_scale_of_features_does_not_matter_and_constant_ones_stay_finite() -> None:
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


def test_padding_changes_nothing() -> None:
    features = torch.randn(1, 3, 6)
    longer = torch.cat([features, torch.randn(1, 2, 6)], 1)

    short = reader()(features, MASK[:1])
    long = reader()(longer, torch.tensor([[True, True, True, False, False]]))

    torch.testing.assert_close(long.pooled, short.pooled)
    torch.testing.assert_close(long.tokens[:, :3], short.tokens)
