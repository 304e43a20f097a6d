from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.systems.build import build_stage
from t2i_core.systems.condition import Known, LowRes
from t2i_core.systems.config import DiffusionConfig, DynamicThreshold
from t2i_core.systems.diffusion import DiffusionStage
from t2i_core.systems.noised_clip import NoisedCLIPStage
from t2i_core.systems.pictures.masks import random_masks
from t2i_core.systems.pictures.worse import blurred
from t2i_core.systems.stage import Batch, DrawSettings, Start
from t2i_core.systems.view import known_at, low_at, low_of, shrunk
from tests.t2i_core.systems.test_stages import CONFIGS, DIFFUSION, GLIDE, SIZES, UNET, a_batch, draw, seen, shaken

CHANCE = Chance(3, torch.arange(2000))


def test_masks_hide_strokes_boxes_halves_all_or_nothing_each_as_often():
    masks = random_masks(CHANCE, 16, 16)

    shares = masks.float().mean((1, 2, 3))
    assert masks.shape == (2000, 1, 16, 16) and masks.dtype == torch.bool
    # Boxes may hide a half or nearly nothing, so the three plain kinds are at least a fifth each, within 3 sigma.
    for share in (0.0, 0.5, 1.0):
        assert abs(float((shares == share).float().mean()) - 0.2) < 3 * (0.2 * 0.8 / 2000) ** 0.5 + 0.01
    x = (torch.arange(16) < 8).expand(16, 16)
    for half in (x, ~x, x.T, ~x.T):
        assert abs(float((masks[:, 0] == half).flatten(1).all(1).float().mean()) - 0.05) < 0.015
    again = random_masks(Chance(3, torch.arange(500, 510)), 16, 16)
    assert torch.equal(again, masks[500:510])


def test_pictures_are_averaged_and_what_is_partly_known_is_not():
    picture = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 0, 0] = False

    small = known_at(Known(picture=picture, mask=mask), (3, 2, 2))

    assert small.picture[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert small.mask[0, 0].tolist() == [[False, True], [True, True]]
    assert known_at(small, (3, 2, 2)) is small


def test_a_blur_of_nothing_changes_nothing_and_one_of_a_pixel_spreads_a_dot_like_a_gaussian():
    dot = torch.zeros(2, 3, 9, 9)
    dot[..., 4, 4] = 1

    none, one = blurred(dot, torch.tensor([0.0, 1.0]))

    assert torch.equal(none, dot[0])
    assert one.sum((1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert float(one[0, 4, 5] / one[0, 4, 4]) == pytest.approx(2.718281828**-0.5, rel=1e-4)


def test_small_pictures_are_averages_half_of_them_as_they_are_and_noise_keeps_variance():
    pictures = torch.randn(2000, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    plain = low_of(pictures, 2, CHANCE, blur=0, noise=0)
    soft = low_of(pictures, 2, CHANCE, blur=1, noise=0)
    noisy = low_of(2 * pictures, 2, CHANCE, blur=0, noise=1)

    assert torch.equal(plain.picture, shrunk(pictures, 2)) and not plain.level.any()
    same = (soft.picture == plain.picture).flatten(1).all(1).float().mean()
    # Beside those that are not blurred, those whose blur is too narrow to reach the next pixel.
    assert 0.5 - 3 * 0.5 / 2000**0.5 < float(same) < 0.65
    assert float(noisy.level.min()) > 0 and float(noisy.level.max()) < 1
    # Averages of four pixels of variance four have variance one, which the noise keeps.
    assert float(noisy.picture.var()) == pytest.approx(1, rel=0.05)


class NoChance(Chance):
    """Nothing may be drawn of it."""

    def normal(self, stream, shape):
        raise AssertionError(f"noise for {stream} was drawn")


def test_no_noise_is_drawn_for_small_pictures_that_get_none():
    small = torch.randn(2, 3, 4, 4)

    clean = low_at(small, 0, NoChance(0, torch.arange(2)))

    assert clean.picture is small and clean.level.tolist() == [0, 0]
    with pytest.raises(AssertionError, match="noise for low/eps was drawn"):
        low_at(small, 0.1, NoChance(0, torch.arange(2)))


def test_the_side_of_a_stage_must_divide_the_datas_and_fit_its_network():
    for changes, told in (
        ({"side": 12}, "averaged to 12"),
        ({"low_side": 7}, "averaged to 7"),
        ({"side": 1}, "multip"),
    ):
        with pytest.raises(ConfigError, match=told):
            build_stage(GLIDE.with_changes(**changes), SIZES)


@pytest.mark.parametrize("name", DIFFUSION)
def test_what_is_known_stays_to_the_bit_on_any_stage(name):
    stage = shaken(name)
    batch = seen(stage)
    mask = random_masks(Chance(1, batch.chance.samples), stage.side, stage.side)
    known = Known(picture=batch.target.clamp(-1, 1), mask=mask)

    drawn = draw(stage, replace(batch, condition=replace(batch.condition, known=known)))

    assert torch.equal(torch.where(mask, drawn, 0), torch.where(mask, known.picture, 0))
    assert not torch.allclose(drawn, known.picture)


@pytest.mark.parametrize("name", ["inpaint", "inpaint_upsampler", "diffusion"])
def test_where_nothing_is_known_all_is_drawn_as_without(name):
    stage = shaken(name)
    batch = seen(stage)
    nothing = Known(picture=batch.target, mask=torch.zeros(4, 1, stage.side, stage.side, dtype=torch.bool))

    told = draw(stage, replace(batch, condition=replace(batch.condition, known=nothing)))
    untold = draw(stage, replace(batch, condition=replace(batch.condition, known=None)))

    assert torch.equal(told, untold)


def test_a_stage_that_fills_in_begins_as_the_one_that_it_starts_from():
    base, inpaint = shaken("base"), shaken("inpaint")
    weights = dict(base.state_dict())
    stem = weights["network.unet.stem.weight"]
    wider = torch.zeros_like(inpaint.state_dict()["network.unet.stem.weight"])
    wider[:, : stem.shape[1]] = stem
    inpaint.load_state_dict(weights | {"network.unet.stem.weight": wider})
    batch = seen(inpaint)

    ours, theirs = (
        stage._predictor(batch.condition, batch.target.shape[1:])(batch.target, torch.full((4,), 0.5))
        for stage in (inpaint, base)
    )

    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_picture_to_begin_from_is_kept_at_strength_0_and_unknown_at_strength_1():
    stage = shaken("base")
    batch = seen(stage)
    pictures = batch.target.clamp(-1, 1)

    drawn = {
        strength: draw(stage, batch, num_steps=6, start=Start(picture=pictures, strength=strength))
        for strength in (0, 0.5, 1)
    }

    assert torch.equal(drawn[0], pictures)
    assert torch.equal(drawn[1], draw(stage, batch, num_steps=6))
    assert not torch.equal(drawn[0.5], drawn[1]) and not torch.equal(drawn[0.5], pictures)


def test_the_noise_of_a_picture_leads_back_to_it():
    # Its head starts at zero, so that what it thinks of x_t is alpha x_t: not the picture, but something to invert.
    config = DiffusionConfig(network=UNET, schedule="cosine", time_shift=1, prediction="v", weighting="uniform")
    torch.manual_seed(0)
    stage = build_stage(config, SIZES).eval().requires_grad_(False)
    assert isinstance(stage, DiffusionStage)
    batch = seen(stage)
    back = {}
    for iterations in (1, 10):
        settings = DrawSettings(num_steps=5)
        noise = stage.invert(batch.condition, batch.target, settings, iterations=iterations)
        back[iterations] = stage.redraw(batch.condition, noise, settings, again=True)

    plain, exact = (float((back[n] - batch.target).abs().mean()) for n in (1, 10))
    assert 10 * exact < plain < 0.2


def test_a_run_that_predicts_the_picture_finds_again_what_it_would_not_draw() -> None:
    stage, settings = shaken("diffusion"), DrawSettings(num_steps=20)
    batch = seen(stage)
    noise = stage.invert(batch.condition, batch.target, settings, iterations=10)
    back = stage.redraw(batch.condition, noise, settings, again=True)
    ended = stage.redraw(batch.condition, noise, settings, again=False)

    # Under a new condition it ends where drawing always does: on its own estimate.
    drawn = draw(stage, batch, num_steps=20, sampler="ddim", noise=noise, guidance_scale=1)
    assert torch.equal(ended, drawn)
    assert 20 * (back - batch.target).abs().mean() < (ended - batch.target).abs().mean()
    with pytest.raises(ConfigError, match="at least 2 --steps"):
        stage.invert(batch.condition, batch.target, DrawSettings(num_steps=1))


def test_a_recipe_may_space_its_steps_unevenly_and_who_draws_may_ask_for_other_ones():
    stage = shaken("upsampler")
    stage.config = stage.config.with_changes(spacing=(3, 1))
    counts = []
    for settings in ({}, {"num_steps": 5}, {"time_shift": 2.0}, {"num_steps": 5, "time_shift": 2.0}):
        numbers: list[int] = []
        draw(stage, seen(stage), on_step=lambda number, *_, numbers=numbers: numbers.append(number), **settings)
        counts.append(numbers[-1] + 1)

    assert counts == [4, 5, 4, 5]


def test_guidance_acts_in_its_interval_alone_and_may_keep_the_contrast():
    stage = shaken("base")
    batch = seen(stage)
    free, strong = draw(stage, batch, guidance_scale=1), draw(stage, batch, guidance_scale=3)

    assert torch.equal(draw(stage, batch, guidance_scale=3, interval=(0.0, 0.0)), free)
    assert not torch.equal(draw(stage, batch, guidance_scale=3, interval=(0.0, 0.5)), strong)
    assert not torch.equal(draw(stage, batch, guidance_scale=3, rescale=1.0), strong)


def test_losses_without_a_caption_stand_beside_the_others():
    stage = shaken("base")
    batch = seen(stage)
    whole = replace(batch, target=torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))

    figures = stage.loss(whole).figures

    assert figures["loss_without_text"].isnan().tolist() == [True, True, True, False]
    assert figures["loss_without_text"][3] == figures["loss"][3]
    assert 0 <= float(figures["variance_beyond"].min()) <= float(figures["variance_beyond"].max()) <= 1


def test_an_upsampler_draws_larger_pictures_and_sees_the_small_ones():
    stage = shaken("upsampler")
    batch = seen(stage)
    low = batch.condition.low
    other = replace(batch.condition, low=LowRes(picture=low.picture.flip(0), level=low.level))

    mine, theirs = draw(stage, batch), draw(stage, replace(batch, condition=other))

    assert mine.shape[-1] == 2 * low.picture.shape[-1]
    assert not torch.allclose(mine, theirs)
    with pytest.raises(ValueError, match="given none"):
        draw(stage, replace(batch, condition=replace(batch.condition, low=None)))


def test_what_adds_to_the_small_picture_begins_with_it_enlarged():
    torch.manual_seed(0)
    config = CONFIGS["upsampler"].with_changes(adds_low=True, prediction="x_0", weighting="uniform")
    stage = build_stage(config, SIZES)
    low = seen(stage).condition.low.picture
    drawn = draw(stage, seen(stage), guidance_scale=1)

    assert torch.allclose(drawn, F.interpolate(low, scale_factor=2.0, mode="bilinear").clamp(-1, 1), atol=1e-6)
    with pytest.raises(ConfigError, match="for what enlarges pictures"):
        DiffusionConfig.parse({"adds_low": True})
    with pytest.raises(ConfigError, match="predicts x_0"):
        DiffusionConfig.parse({"adds_low": True, "low_side": 32, "prediction": "eps"})


def test_a_regressor_draws_in_one_step_what_its_loss_looked_at():
    config = CONFIGS["upsampler"].with_changes(
        time_sampling="noise",
        prediction="x_0",
        weighting="uniform",
        schedule="flow",
        learned_variance=False,
        clips=False,
    )
    stage = shaken("upsampler", config)
    batch = seen(stage)
    noise = batch.chance.normal("eps", batch.target.shape[1:])

    told: list[float] = []
    drawn = draw(
        stage,
        batch,
        guidance_scale=1,
        num_steps=1,
        sampler="ddim",
        noise=noise,
        on_step=lambda _, x_t, __: told.append(float((x_t - noise).abs().max())),
    )

    losses = stage.loss(a_batch(stage))
    assert told == [0]  # what it starts from is noise and nothing else
    assert torch.allclose(losses.figures["loss"], (drawn - batch.target).square().flatten(1).mean(1), rtol=1e-4)
    assert torch.allclose(losses.total, losses.figures["loss"].mean())


def test_an_upsampler_has_noise_of_its_own():
    told: dict[str, torch.Tensor] = {}
    for name in ("base", "upsampler"):
        stage = shaken(name)
        draw(stage, seen(stage), on_step=lambda number, x_t, _, name=name: told.setdefault(name, x_t))

    # By the same counter, numbers of one stream would begin alike whatever the size of the picture.
    base, upsampler = told["base"].movedim(1, -1).flatten(1), told["upsampler"].movedim(1, -1).flatten(1)
    assert not torch.isclose(base, upsampler[:, : base.shape[1]]).any(1).all()


def test_an_efficient_unet_is_told_the_level_of_noise_unless_the_small_picture_is_dropped():
    stage = shaken("imagen_upsampler")
    batch = seen(stage)
    levels = {level: replace(batch.condition.low, level=torch.full((4,), level)) for level in (0.1, 0.9)}
    kept = [draw(stage, replace(batch, condition=replace(batch.condition, low=low))) for low in levels.values()]
    nothing = batch.condition.kept("low", torch.zeros(4, dtype=torch.bool))
    dropped = [draw(stage, replace(batch, condition=replace(nothing, low=low))) for low in levels.values()]

    assert float((kept[0] - kept[1]).abs().amax((1, 2, 3)).min()) > 1e-4
    assert torch.equal(*dropped)


def test_estimates_are_brought_back_as_the_recipe_says_or_as_is_asked():
    stage = shaken("imagen_upsampler")
    stage.network.unet.head.bias += 3
    batch = seen(stage)
    by_hand = {
        "none": draw(stage, batch, threshold=False),
        "static": draw(stage, batch, threshold=True),
        "dynamic": draw(stage, batch, threshold=DynamicThreshold(percentile=1, cap=100)),
        "capped": draw(stage, batch, threshold=DynamicThreshold(percentile=1, cap=1)),
    }
    stage.config = stage.config.with_changes(clips=DynamicThreshold(percentile=1, cap=100))

    assert float(by_hand["none"].max()) > 2 and float(by_hand["static"].max()) == 1
    assert torch.equal(draw(stage, batch), by_hand["dynamic"]) and torch.equal(by_hand["capped"], by_hand["static"])
    # What is divided keeps its differences, what is cut off loses them.
    assert float(by_hand["dynamic"].std()) > 1.5 * float(by_hand["static"].std())
    for config, how in ((True, "static"), (False, "none")):
        stage.config = stage.config.with_changes(clips=config)
        assert torch.equal(draw(stage, batch), by_hand[how])


@pytest.mark.parametrize("name", ["base", "inpaint_upsampler"])
def test_no_gradient_passes_through_what_is_dropped(name):
    stage = shaken(name)
    batch = stage.view(a_dropped_batch(stage))
    words = stage.network.text.tokens.weight.requires_grad_()

    stage.loss(batch).total.backward()

    # Only the last sample has the word 11, and its caption is dropped.
    assert words.grad[11].tolist() == [0.0] * words.shape[1]
    assert words.grad[5].any()


@pytest.mark.parametrize("name", ["imagen_base", "imagen_upsampler"])
def test_no_gradient_passes_through_features_that_are_dropped(name):
    stage = shaken(name)
    batch = seen(stage)
    features = batch.condition.text.features.clone().requires_grad_()
    text = replace(batch.condition.text, features=features)
    whole = torch.randn(4, 3, SIZES.image_size, SIZES.image_size, generator=torch.Generator().manual_seed(0))

    stage.loss(replace(batch, target=whole, condition=replace(batch.condition, text=text))).total.backward()

    assert batch.condition.keep["text"].tolist() == [True, True, True, False]
    assert [bool(row.any()) for row in features.grad] == [True, True, True, False]


def a_dropped_batch(stage: DiffusionStage) -> Batch:
    batch = seen(stage)
    ids = torch.full((4, 8), 5)
    ids[3] = 11
    text = replace(batch.condition.text, ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))
    whole = torch.randn(4, 3, SIZES.image_size, SIZES.image_size, generator=torch.Generator().manual_seed(0))
    return replace(batch, target=whole, condition=replace(batch.condition, text=text))


def test_the_bound_trains_the_variance_and_nothing_else():
    stage = shaken("base").requires_grad_(True)
    stage.learned_weight = None
    stage.config = GLIDE.with_changes(weighting="uniform", learned_variance=True)
    head = stage.network.unet.head
    batch = seen(stage)
    whole = replace(batch, target=torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    gradients = []
    for learned in (True, False):
        stage.zero_grad()
        stage.config = stage.config.with_changes(learned_variance=learned)
        stage.loss(whole).total.backward()
        gradients.append(head.bias.grad.clone())

    mean = slice(0, 3 * 2**2)
    assert torch.allclose(gradients[0][mean], gradients[1][mean], atol=1e-6)
    assert gradients[0][mean.stop :].abs().max() > 0 and not gradients[1][mean.stop :].any()


def test_a_variance_beyond_its_bounds_is_brought_back():
    stage = shaken("base")
    bias = stage.network.unet.head.bias
    bias[3 * 2**2 :] = 20
    bias.requires_grad_()
    batch = seen(stage)
    whole = replace(batch, target=torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))

    losses = stage.loss(whole)
    losses.total.backward()

    assert losses.figures["variance_beyond"].mean() > 0.9
    assert float(bias.grad[3 * 2**2 :].min()) > 0
    share = stage.denoiser(batch.condition, batch.target.shape[1:])(batch.target, torch.full((4,), 0.5)).variance
    assert share.detach().max() == 1


def test_every_kind_of_stage_reads_as_many_channels_as_its_recipe_says():
    # An Efficient U-Net is told the level beside the time, in place of a channel.
    wanted = {"diffusion": 3, "base": 3, "upsampler": 7, "inpaint": 7, "inpaint_upsampler": 10, "imagen_upsampler": 6}

    assert {name: len(CONFIGS[name].channels) for name in wanted} == wanted


def a_guide() -> NoisedCLIPStage:
    guide = shaken("noised_clip")
    assert isinstance(guide, NoisedCLIPStage)
    return guide


def test_the_gradient_of_a_noised_clip_is_that_of_its_logits():
    guide, batch = a_guide(), seen(shaken("base"))
    t = torch.tensor([0.2, 0.5, 0.7, 0.9])
    x, way = batch.target, torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        gradient = guide.gradient(batch.condition)(x, t)
        texts = guide.captions(batch.condition)
        up, down = (guide.scale * (guide(x + step * way, t) * texts).sum(1) for step in (1e-2, -1e-2))

    slopes = (gradient * way).flatten(1).sum(1)
    assert torch.allclose(slopes, (up - down) / 2e-2, rtol=0.02, atol=0.02)
    assert all(p.grad is None for p in guide.parameters())


def test_a_noised_clip_leads_drawing_to_what_it_takes_for_the_caption():
    stage, guide = shaken("base"), a_guide()
    batch = seen(stage)
    texts, clean = guide.captions(batch.condition), torch.zeros(4)

    scores = {
        scale: float((guide(draw(stage, batch, clip=guide, clip_guidance_scale=scale), clean) * texts).sum(1).mean())
        for scale in (0.0, 30.0)
    }

    assert torch.equal(draw(stage, batch), draw(stage, batch, clip=guide, clip_guidance_scale=0.0))
    assert scores[30.0] > scores[0.0] + 0.01


def test_a_noised_clip_tells_how_often_it_is_right_by_noise_band():
    guide, batch = a_guide(), seen(shaken("base"))
    whole = replace(batch, target=torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))

    figures = guide.loss(whole).figures

    bands = [value for name, value in figures.items() if name.startswith("accuracy_band")]
    assert torch.equal(torch.stack(bands).nansum(0), figures["accuracy"])
    assert set(figures["accuracy"].tolist()) <= {0.0, 1.0}
