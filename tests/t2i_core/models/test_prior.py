"""Priors see what comes before alone, and embeddings come back from numbers as near as buckets are wide."""

import pytest
import torch

from t2i_core.models.ar_prior import KEPT, REACH, ARPrior, Buckets, Fits
from t2i_core.models.config import ARPriorConfig, PriorConfig, TextTransformerConfig
from t2i_core.models.embedding import EmbeddingReader, Standardised
from t2i_core.models.prior import CausalTransformer, PriorTransformer

SIZES = {"vocab_size": 12, "context_length": 6, "embedding_width": 8}
PRIOR = PriorConfig(**SIZES, width=32, num_layers=2, num_heads=2)
TEXT = TextTransformerConfig(vocab_size=12, context_length=6, width=16, num_layers=1, num_heads=2)
AR = ARPriorConfig(text=TEXT, embedding_width=8, width=32, num_layers=2, num_heads=2, num_buckets=16, num_fits=4)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn_like(p)
    return module.eval()


def captions() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mask = torch.arange(4).expand(3, 4) < torch.tensor([[2], [4], [1]])
    return torch.randint(2, 12, (3, 4)), mask, torch.randn(3, 8)


def test_each_place_sees_itself_and_those_before() -> None:
    causal = shaken(CausalTransformer(16, 2, 2, 5))
    x = torch.randn(1, 5, 16)
    changed = x.clone()
    changed[:, 3] += 1

    same = (causal(x) == causal(changed)).all(-1)[0]

    assert same.tolist() == [True, True, True, False, False]


def test_an_estimate_depends_on_all_that_is_given() -> None:
    torch.manual_seed(0)
    prior = shaken(PriorTransformer(PRIOR))
    ids, mask, caption = captions()
    x_t, t = torch.randn(3, 8), torch.rand(3)
    estimate = prior(x_t, t, prior.read(ids, mask, caption))

    assert estimate.shape == (3, 8)
    longer = prior.read(torch.nn.functional.pad(ids, (0, 2), value=7), torch.nn.functional.pad(mask, (0, 2)), caption)
    assert torch.equal(prior(x_t, t, longer), estimate)
    for other in (
        prior(x_t + 1, t, prior.read(ids, mask, caption)),
        prior(x_t, 1 - t, prior.read(ids, mask, caption)),
        prior(x_t, t, prior.read((ids + 1) % 12, mask, caption)),
        prior(x_t, t, prior.read(ids, mask, caption + 1)),
    ):
        assert (other - estimate).abs().amax(1).min() > 1e-4


def test_what_is_dropped_has_no_part_in_an_estimate() -> None:
    prior = shaken(PriorTransformer(PRIOR))
    ids, mask, caption = captions()
    caption.requires_grad_()
    keep = torch.tensor([True, False, False])

    beginning = prior.read(ids, mask, caption, keep)
    prior(torch.randn(3, 8), torch.rand(3), beginning).sum().backward()

    assert caption.grad is not None
    assert caption.grad[0].any() and not caption.grad[1:].any()
    assert beginning[1].equal(beginning[2]) and not beginning[0].equal(beginning[1])


def test_embeddings_are_read_standardised_and_their_null_is_none_of_them() -> None:
    reader = EmbeddingReader(8, 16, 4)
    z = 5 + 0.01 * torch.randn(1000, 8)
    reader.standardised.fit(z.mean(0), z.std(0))
    x = reader.standardised(z)

    assert x.mean(0).abs().max() < 1e-3 and (x.std(0) - 1).abs().max() < 1e-3
    assert torch.allclose(reader.standardised.back(x), z, atol=1e-5)
    keep = torch.arange(1000) % 2 == 0
    whole, tokens = reader(z.requires_grad_(), keep)
    assert (whole.shape, tokens.shape) == ((1000, 16), (1000, 4, 16))
    (whole.sum() + tokens.sum()).backward()
    assert z.grad is not None and not z.grad[1::2].any() and z.grad[::2].any()
    mean = reader(z.mean(0, keepdim=True))
    assert not torch.allclose(whole[1:2], mean[0]) and not torch.allclose(tokens[1:2], mean[1])


def test_a_dimension_that_never_changes_is_not_made_large() -> None:
    standardised = Standardised(2)
    standardised.fit(torch.tensor([0.5, 0.5]), torch.tensor([0.1, 0.0]))

    assert standardised(torch.tensor([[0.6, 0.50001]])).abs().max() < 1.1


def correlated(number: int = 4000, width: int = 8) -> torch.Tensor:
    torch.manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(width, width))
    spread = torch.tensor([3.0, 2.0, 1.0, *[0.01] * (width - 3)])
    return torch.randn(number, width) * spread @ turn.T + 7


def test_components_are_sorted_and_as_many_as_hold_the_variance() -> None:
    z, buckets = correlated(), Buckets(8, 256)
    buckets.fit(z.mean(0), z.T.cov())

    assert int(buckets.kept) == 3
    assert torch.allclose(buckets.scales[:3], torch.tensor([3.0, 2.0, 1.0]), rtol=0.05)
    assert buckets.scales.diff().max() <= 0
    shares = buckets.scales.double().square().cumsum(0) / buckets.scales.double().square().sum()
    assert shares[1] < KEPT <= shares[2]


def test_numbers_are_as_near_as_buckets_are_wide() -> None:
    z, buckets = correlated(), Buckets(8, 256)
    buckets.fit(z.mean(0), z.T.cov())
    numbers = buckets.numbers(z)
    back = buckets.embeddings(numbers)

    assert numbers.shape == (4000, 3) and numbers.dtype == torch.int64
    assert numbers.min() >= 0 and numbers.max() <= 255
    inside = ((numbers > 0) & (numbers < 255)).all(1)
    lost = (z - back)[inside] @ buckets.axes[:, :3]
    assert inside.float().mean() > 0.999
    assert (lost.abs() <= REACH / 256 * buckets.scales[:3] * 1.01).all()
    assert torch.equal(buckets.numbers(back), numbers)


def test_how_well_pairs_fit_is_told_by_equal_shares_and_the_better_half_is_chosen() -> None:
    products, fits = torch.rand(10_000) ** 3, Fits(16)
    fits.fit(torch.quantile(products, torch.linspace(0, 1, 65)))
    counts = fits.numbers(products).bincount(minlength=16)

    assert len(counts) == 16 and (counts - 625).abs().max() < 30
    assert (fits.numbers(products.sort().values).diff() >= 0).all()
    chosen = fits.good(torch.linspace(1e-6, 1 - 1e-6, 800))
    assert set(chosen.tolist()) == set(range(8, 16))


def test_numbers_are_foretold_from_those_before() -> None:
    torch.manual_seed(0)
    prior = shaken(ARPrior(AR))
    assert isinstance(prior, ARPrior)
    ids, mask, caption = captions()
    text, fits, numbers = prior.text(ids, mask), torch.tensor([3, 1, 2]), torch.randint(0, 16, (3, 5))
    logits = prior(prior.read(text, caption, fits), numbers)
    changed = numbers.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 16

    other = prior(prior.read(text, caption, fits), changed)

    assert logits.shape == (3, 6, 16)
    assert torch.equal(logits[:, :3], other[:, :3]) and not torch.allclose(logits[:, 3:], other[:, 3:])
    assert torch.allclose(prior(prior.read(text, caption, fits), numbers[:, :2]), logits[:, :3], atol=1e-5)
    for beginning in (prior.read(text, caption + 1, fits), prior.read(text, caption, fits - 1)):
        assert (prior(beginning, numbers) - logits).abs().amax((1, 2)).min() > 1e-4


@pytest.mark.parametrize("config", [PRIOR, AR], ids=["diffusion", "autoregressive"])
def test_outer_layers_are_its_own(config: PriorConfig | ARPriorConfig) -> None:
    prior = PriorTransformer(config) if isinstance(config, PriorConfig) else ARPrior(config)

    assert {id(layer) for layer in prior.outer_layers()} <= {id(layer) for layer in prior.modules()}
