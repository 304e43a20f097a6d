"""What is unCLIP's own: priors that make embeddings, a decoder that reads them, upsamplers trained on parts."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.models.embedding import Statistics
from t2i_core.systems.build import build_stage
from t2i_core.systems.condition import Condition, mapped
from t2i_core.systems.config import DiffusionConfig, EnlargingConfig
from t2i_core.systems.enlarging import EnlargingStage, worsened
from t2i_core.systems.priors.ar_prior import drawn_from
from t2i_core.systems.priors.diffusion_prior import DiffusionPriorStage, best_fitting
from t2i_core.systems.stage import Batch, DrawSettings, Prior, Stage
from t2i_core.systems.view import cut, shrunk
from tests.t2i_core.systems.test_stages import CONFIGS, PRIORS, SIZES, a_batch, draw, make, seen, shaken

NARROW = Statistics(
    image_mean=torch.full((8,), 0.3),
    image_covariance=0.01 * torch.eye(8),
    text_mean=torch.zeros(8),
    text_std=torch.ones(8),
    products=torch.linspace(0, 1, 65),
)


def imagined(stage: Stage, batch: Batch, **settings: float) -> Tensor:
    assert isinstance(stage, Prior)
    return stage.imagine(batch.condition, batch.chance, DrawSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PRIORS)
def test_what_a_prior_makes_is_counted_has_length_1_and_fits_its_caption(name: str) -> None:
    one = CONFIGS[name].with_changes(**({"candidates": 1} if name == "prior" else {}))
    stage, batch = shaken(name, one), a_batch(make(name))
    stage.measure(NARROW)
    stage.network.outer_layers()[-1].weight *= 10  # type: ignore[union-attr,operator,index]
    made = imagined(stage, batch)

    assert made.shape == (4, 8) and torch.allclose(made.norm(dim=1), torch.ones(4))
    alone = mapped(batch, lambda tensor: tensor[2:3])
    assert torch.allclose(imagined(stage, alone), made[2:3], atol=1e-5)
    text = batch.condition.text
    assert text is not None
    other = replace(batch, condition=replace(batch.condition, text=mapped(text, lambda tensor: tensor.flip(0))))
    assert imagined(stage, other)[3].equal(made[3])  # without a caption
    assert not torch.allclose(imagined(stage, other)[:2], made[:2], atol=1e-3)
    guided = imagined(stage, batch, guidance_scale=3)
    assert torch.allclose(guided[3], made[3], atol=1e-5) and not torch.allclose(guided[:3], made[:3], atol=1e-3)


def test_a_prior_estimates_standardised_embeddings() -> None:
    stage, batch = make("prior"), a_batch(make("prior"))
    stage.measure(NARROW)
    view = stage.view(batch)

    assert view.condition.image is None and batch.condition.image is not None
    assert torch.allclose(view.target, (batch.condition.image - 0.3) / 0.1, atol=1e-4)


def test_a_prior_that_knows_the_embedding_draws_it() -> None:
    """An estimate that is always the same is what any sampler ends on."""
    stage, batch = make("prior"), a_batch(make("prior"))
    assert isinstance(stage, DiffusionPriorStage)
    stage.measure(NARROW)
    with torch.no_grad():
        for p in stage.network.to_image.parameters():
            p.zero_()
        stage.network.to_image.bias += 2.0

    assert torch.allclose(imagined(stage, batch), F.normalize(torch.full((4, 8), 0.5), dim=1), atol=1e-5)


def test_a_prior_that_predicts_v_and_knows_nothing_draws_as_far_apart_as_embeddings_are() -> None:
    """The best v without a caption is 0 for standard normal ones, and what comes of it is as they are."""
    stage = make("prior", CONFIGS["prior"].with_changes(prediction="v", candidates=1, num_steps=64))
    assert isinstance(stage, DiffusionPriorStage)
    stage.measure(NARROW)
    with torch.no_grad():
        for p in stage.network.to_image.parameters():
            p.zero_()
    condition = mapped(a_batch(stage).condition, lambda tensor: tensor[:1].expand(2000, *tensor.shape[1:]))

    drawn = stage.imagine(condition, Chance(0, torch.arange(2000)), DrawSettings())

    alike = F.normalize(0.3 + 0.1 * torch.randn(20_000, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    assert float(drawn.detach().var(0).sum() / alike.var(0).sum()) == pytest.approx(1, abs=0.05)
    whole = replace(condition, image=0.3 + 0.1 * torch.randn(2000, 8, generator=torch.Generator().manual_seed(2)))
    batch = Batch(target=torch.zeros(2000, 8), condition=whole, chance=Chance(1, torch.arange(2000)))
    assert float(stage.loss(batch).total.detach()) == pytest.approx(1, abs=0.05)


def test_of_candidates_the_one_that_fits_its_caption_best_is_kept() -> None:
    texts = F.normalize(torch.randn(5, 8), dim=1)
    candidates = F.normalize(torch.randn(3, 5, 8), dim=1)
    products = (candidates * texts).sum(2)

    chosen = (best_fitting(candidates, texts) * texts).sum(1)

    assert torch.equal(chosen, products.amax(0))


def test_numbers_come_as_often_as_their_shares_say() -> None:
    shares = torch.tensor([0.1, 0.0, 0.6, 0.3])
    u = (torch.arange(1000) + 0.5) / 1000

    drawn = drawn_from(shares.log().expand(1000, 4), u)

    assert drawn.bincount(minlength=4).tolist() == [100, 0, 600, 300]
    assert int(drawn_from(torch.zeros(1, 4), torch.tensor([1.0]))) == 3


def test_a_decoder_draws_by_the_embedding_and_not_by_one_that_is_dropped() -> None:
    stage = shaken("decoder")
    batch = seen(stage)
    assert batch.condition.image is not None
    other = replace(batch, condition=replace(batch.condition, image=batch.condition.image + 1))

    mine, theirs = draw(stage, batch, guidance_scale=1), draw(stage, other, guidance_scale=1)  # type: ignore[arg-type]

    assert torch.equal(mine[3], theirs[3]) and (mine - theirs)[:3].abs().amax((1, 2, 3)).min() > 1e-4


def test_a_decoder_without_an_embedding_draws_as_if_it_were_dropped() -> None:
    stage = shaken("decoder")
    batch = seen(stage)
    none = replace(batch, condition=replace(batch.condition, image=None))
    dropped = replace(batch, condition=batch.condition.kept("image", torch.zeros(4, dtype=torch.bool)))

    assert draw(stage, none).equal(draw(stage, dropped))  # type: ignore[arg-type]


def test_of_a_dropped_embedding_no_gradient_is_left() -> None:
    stage, batch = shaken("decoder"), a_batch(make("decoder"))
    assert batch.condition.image is not None
    image = batch.condition.image.requires_grad_()

    stage.loss(replace(batch, condition=replace(batch.condition, image=image))).total.backward()

    assert image.grad is not None and image.grad[:3].any() and not image.grad[3].any()


def test_parts_are_cut_out_anywhere_and_as_they_are() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    pictures = torch.stack([rows, columns]).expand(400, -1, -1, -1)

    parts = cut(pictures, 4, Chance(0, torch.arange(400)))

    assert parts.shape == (400, 2, 4, 4)
    top, left = parts[:, 0, 0, 0], parts[:, 1, 0, 0]
    assert torch.equal(parts[:, 0] - top[:, None, None], rows[:4, :4].expand(400, -1, -1))
    assert torch.equal(parts[:, 1] - left[:, None, None], columns[:4, :4].expand(400, -1, -1))
    assert set(top.tolist()) == set(left.tolist()) == set(range(5))


def enlarging(**changes: object) -> EnlargingStage:
    config = CONFIGS["enlarging"].with_changes(**changes)
    stage = shaken("enlarging", config)
    assert isinstance(stage, EnlargingStage)
    return stage


def test_an_upsampler_learns_from_a_quarter_of_the_area_and_draws_the_whole_and_more() -> None:
    stage = enlarging(crop=16)
    batch = stage.view(a_batch(stage))
    low = batch.condition.low

    assert batch.target.shape == (4, 3, 16, 16) and low is not None and low.picture.shape == (4, 3, 8, 8)
    whole = enlarging().view(a_batch(stage))
    for larger, side in ((whole.condition, 32), (mapped(whole.condition, lambda t: t), 32)):
        drawn = stage.draw(larger, (3, side, side), whole.chance, DrawSettings())
        assert drawn.shape == (4, 3, side, side)
    wide = replace(low, picture=torch.cat([low.picture] * 6, dim=3))
    drawn = stage.draw(replace(batch.condition, low=wide), (3, 16, 96), batch.chance, DrawSettings())
    assert drawn.shape == (4, 3, 16, 96) and bool(drawn.isfinite().all())


def test_imagens_second_learns_from_parts_and_no_other_stage_can() -> None:
    config = CONFIGS["imagen_upsampler"]
    assert isinstance(config, DiffusionConfig)
    stage = make("imagen_upsampler", config.with_changes(crop=16))
    batch = stage.view(a_batch(stage))  # type: ignore[attr-defined]

    assert batch.target.shape == (4, 3, 16, 16) and batch.condition.low.picture.shape == (4, 3, 8, 8)
    for refused, said in ((64, "larger than pictures of 32"), (10, "multiple of")):
        with pytest.raises(ConfigError, match=said):
            make("imagen_upsampler", config.with_changes(crop=refused))
    with pytest.raises(ConfigError, match="for what enlarges"):
        CONFIGS["diffusion"].with_changes(crop=16)


def test_half_of_the_small_pictures_are_blurred_or_all_made_worse() -> None:
    config = CONFIGS["enlarging"]
    assert isinstance(config, EnlargingConfig)
    low, chance = torch.randn(600, 3, 8, 8).clamp(-1, 1), Chance(0, torch.arange(600))

    changed, worse = (
        (worsened(low, config.with_changes(low_worse=way), chance) - low).abs().amax((1, 2, 3)) > 1e-3
        for way in ("blur", "bsr")
    )

    assert 240 < int(changed.sum()) < 360 and bool(worse.all())


def test_an_upsampler_sees_neither_captions_nor_embeddings() -> None:
    stage = enlarging()
    batch = stage.view(a_batch(stage))
    bare = replace(batch, condition=Condition(low=batch.condition.low))

    assert draw(stage, batch).equal(draw(stage, bare))
    assert batch.condition.low is not None
    assert batch.condition.low.picture.shape == shrunk(batch.target, 2).shape


def test_priors_and_decoders_need_embeddings() -> None:
    for name in (*PRIORS, "decoder"):
        with pytest.raises(Exception, match="embeddings of a CLIP, and is given none"):
            build_stage(CONFIGS[name], SIZES.with_changes(embedding_width=0))
