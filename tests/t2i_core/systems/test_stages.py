from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.kinds import SamplerName
from t2i_core.errors import ConfigError
from t2i_core.models.config import (
    CNNConfig,
    FeatureTransformerSizes,
    NoisedViTSizes,
    PriorSizes,
    Sizes,
    TextTransformerSizes,
)
from t2i_core.systems.build import STAGES, build_stage
from t2i_core.systems.condition import Condition, Text, mapped
from t2i_core.systems.config import (
    ADMNetworkConfig,
    ARPriorStageConfig,
    CLIPConfig,
    DiffusionConfig,
    DiffusionPriorConfig,
    DirectConfig,
    DynamicThreshold,
    EfficientNetworkConfig,
    EnlargingConfig,
    NoisedCLIPConfig,
    PlainADMNetworkConfig,
    SystemConfig,
    UnCLIPNetworkConfig,
    UNetNetworkConfig,
)
from t2i_core.systems.diffusion import DiffusionStage
from t2i_core.systems.stage import Batch, Drawer, DrawSettings, Exporter, Prior, Reader, Stage

SIZES = Sizes(vocab_size=12, context_length=8, image_size=32, feature_width=16, embedding_width=8)
SHAPE = (3, 32, 32)
UNET = UNetNetworkConfig(text_layers=1, channels=(16, 32), text_width=32, embedding_width=32, head_width=16)
ADM = ADMNetworkConfig(
    patch_size=2,
    multiples=(1, 1),
    num_blocks=1,
    positions=True,
    carries=True,
    head_width=16,
    text=TextTransformerSizes(width=32, num_layers=1, num_heads=2, directional=True),
)
EFFICIENT = EfficientNetworkConfig(
    patch_size=2, channels=(16, 32), num_blocks=(1, 2), num_heads=2, positions=True, groups=8, embedding_width=32
)
GLIDE = DiffusionConfig(
    network=ADM,
    side=16,
    schedule="cosine_1000",
    time_shift=0,
    prediction="eps",
    weighting="learned",
    learned_variance=True,
    clips=True,
    num_steps=3,
)
CONFIGS = {
    "direct": DirectConfig(text_width=32, text_layers=1, cnn=CNNConfig(channels=(32, 16))),
    "diffusion": DiffusionConfig(network=UNET, num_steps=3),
    "base": GLIDE,
    "upsampler": GLIDE.with_changes(side=0, low_side=16, low_blur=1, low_noise=0.3),
    "inpaint": GLIDE.with_changes(inpaints=True),
    "inpaint_upsampler": GLIDE.with_changes(side=0, low_side=16, inpaints=True),
    "imagen_base": GLIDE.with_changes(network=ADM.with_changes(text="features"), prediction="x_0"),
    "imagen_base_reading_on": GLIDE.with_changes(
        network=ADM.with_changes(text=FeatureTransformerSizes(width=32, num_layers=1, num_heads=2, noise=0.5)),
        prediction="x_0",
    ),
    "decoder": GLIDE.with_changes(
        network=UnCLIPNetworkConfig(**ADM.model_dump(exclude={"kind"}), image_tokens=2), prediction="x_0"
    ),
    "enlarging": EnlargingConfig(
        network=PlainADMNetworkConfig(
            multiples=(1, 1), num_blocks=1, attention=(False, False), middle_attention=False, carries=True
        ),
        prediction="eps",
        weighting="uniform",
        low_side=16,
        schedule="cosine_1000",
        time_shift=0,
        num_steps=3,
    ),
    "prior": DiffusionPriorConfig(network=PriorSizes(width=32, num_layers=1, num_heads=2), num_steps=3),
    "ar_prior": ARPriorStageConfig(
        text=TextTransformerSizes(width=32, num_layers=1, num_heads=2),
        network=PriorSizes(width=32, num_layers=1, num_heads=2),
        num_buckets=8,
        num_fits=4,
    ),
    "imagen_upsampler": GLIDE.with_changes(
        side=0,
        low_side=16,
        low_noise=1,
        low_level=0.1,
        network=EFFICIENT,
        prediction="x_0",
        learned_variance=False,
        clips=DynamicThreshold(),
    ),
    "noised_clip": NoisedCLIPConfig(
        side=16,
        embed_dim=16,
        image=NoisedViTSizes(width=32, num_layers=1, num_heads=2),
        text=TextTransformerSizes(width=32, num_layers=1, num_heads=2),
    ),
    "clip": CLIPConfig(embed_dim=16, width=32, image_layers=1, text_layers=1),
}
DRAWERS = [name for name in CONFIGS if "clip" not in name and "prior" not in name]
PRIORS = ["prior", "ar_prior"]
READERS = [name for name in DRAWERS if name != "enlarging"]
DIFFUSION = [name for name in READERS if name != "direct"]


def a_batch(stage: Stage, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(8).expand(size, 8) < torch.tensor([[3], [8], [5], [1]])
    ids = torch.where(mask, torch.randint(2, 12, (size, 8), generator=generator), 0)
    text = stage.read(["a", "b c", "d", "e"]) if isinstance(stage, Reader) else Text(ids=ids, mask=mask)
    if reads_features(stage):
        text = as_features(text)
    target = torch.randn(size, *SHAPE, generator=generator)
    image, embedding = (F.normalize(torch.randn(size, 8, generator=generator), dim=1) for _ in range(2))
    kept = torch.tensor([True, True, True, False])
    condition = Condition(text=replace(text, embedding=embedding), image=image, keep={"text": kept, "image": kept})
    return Batch(target=target, condition=condition, chance=Chance(0, torch.arange(size)))


def reads_features(stage: Stage) -> bool:
    return isinstance(stage, DiffusionStage) and "features" in stage.config.inputs


def as_features(text: Text) -> Text:
    """Give each word of captions features of its own."""
    words = torch.randn(SIZES.vocab_size, SIZES.feature_width, generator=torch.Generator().manual_seed(1))
    return Text(features=words[text.ids], mask=text.mask)


def make(name: str, config: SystemConfig | None = None) -> Stage:
    torch.manual_seed(0)
    return build_stage(config or CONFIGS[name], SIZES)


def shaken(name: str, config: SystemConfig | None = None) -> Stage:
    """Give a stage in which no layer starts at zero any more."""
    stage = make(name, config).eval().requires_grad_(False)
    for p in stage.parameters():
        p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    return stage


def seen(stage: Stage) -> Batch:
    """Give a batch as a stage sees it; of pictures to be completed the left half is known."""
    batch = stage.view(a_batch(stage))
    known = batch.condition.known
    if known is None:
        return batch
    mask = (torch.arange(known.mask.shape[-1]) < known.mask.shape[-1] // 2).expand_as(known.mask)
    return replace(batch, condition=replace(batch.condition, known=replace(known, mask=mask)))


def draw(stage: Drawer, batch: Batch, **settings: Any) -> Tensor:
    return stage.draw(batch.condition, batch.target.shape[1:], batch.chance, DrawSettings(**settings))


def test_every_stage_is_tried_here():
    assert {type(config) for config in CONFIGS.values()} == STAGES.keys()
    stages = {name: make(name) for name in CONFIGS}
    assert [name for name, stage in stages.items() if isinstance(stage, Drawer)] == DRAWERS
    assert [name for name, stage in stages.items() if isinstance(stage, Exporter)] == ["clip"]
    assert [name for name, stage in stages.items() if isinstance(stage, Prior)] == PRIORS


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_gets_a_gradient(name):
    stage = make(name)
    batch = a_batch(stage)
    for _ in range(4):  # layers that start at zero hide those before them in the first steps
        stage.loss(batch).total.backward()
        with torch.no_grad():
            for p in stage.parameters():
                p -= 0.1 * p.grad
        unused = [n for n, p in stage.named_parameters() if not p.grad.any()]
        stage.zero_grad()

    assert unused == []


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_of_each_sample_is_among_the_figures(name):
    stage = make(name)

    figures = stage.loss(a_batch(stage)).figures

    assert figures["loss"].shape == (4,)
    bands = [value for figure, value in figures.items() if figure.startswith("loss_band")]
    assert not bands or torch.equal(torch.stack(bands).nansum(0), figures["loss"])
    assert not any(value.requires_grad for value in figures.values())


@pytest.mark.parametrize("name", DRAWERS)
def test_eight_pictures_can_be_learned_by_heart(name):
    stage = make(name)
    batch = a_batch(stage)
    flat = batch.target.mean((2, 3), keepdim=True).expand_as(batch.target).contiguous()
    batch = replace(batch, target=flat, condition=replace(batch.condition, keep={}))
    optimizer = torch.optim.Adam(stage.parameters(), 3e-3)
    first = float(stage.loss(batch).figures["loss"].mean())
    for _ in range(60):
        stage.zero_grad()
        stage.loss(batch).total.backward()
        optimizer.step()

    assert float(stage.loss(batch).figures["loss"].mean()) < 0.2 * first


@pytest.mark.parametrize("name", DRAWERS)
def test_padding_does_not_change_what_is_drawn(name):
    stage = shaken(name)
    short = mapped(seen(stage), lambda tensor: tensor[:1])
    text = short.condition.text

    padded = draw(stage, short)
    trimmed = draw(stage, replace(short, condition=replace(short.condition, text=text.trimmed())))

    assert torch.allclose(padded, trimmed, atol=1e-4)


@pytest.mark.parametrize("name", READERS)
def test_what_is_dropped_changes_nothing_and_what_is_kept_does(name):
    stage = shaken(name)
    batch = seen(stage)
    text = batch.condition.text
    other = replace(batch.condition, text=mapped(text, lambda tensor: tensor.flip(0)))

    mine, theirs = draw(stage, batch), draw(stage, replace(batch, condition=other))

    assert torch.equal(mine[3], theirs[3])
    assert float((mine[0] - theirs[0]).abs().max()) > 1e-4


@pytest.mark.parametrize("name", DIFFUSION)
def test_words_and_their_order_change_what_is_drawn(name):
    stage = shaken(name)
    batch = mapped(seen(stage), lambda tensor: tensor[:1])
    mask = torch.ones(1, 4, dtype=torch.bool)

    texts = [Text(ids=torch.tensor([ids]), mask=mask) for ids in ([3, 4, 5, 2], [4, 3, 5, 2])]
    if reads_features(stage):
        # A frozen encoder tells the order itself: here it is another word that stands there.
        texts = [as_features(Text(ids=torch.tensor([ids]), mask=mask)) for ids in ([3, 4, 5, 2], [3, 4, 6, 2])]
    drawn = [
        draw(stage, replace(batch, condition=replace(batch.condition, text=text)), guidance_scale=1) for text in texts
    ]

    assert float((drawn[0] - drawn[1]).abs().max()) > 1e-4


@pytest.mark.parametrize("name", DIFFUSION)
def test_guidance_and_steps_reach_the_sampler(name):
    stage = shaken(name)
    batch = seen(stage)

    drawn = [draw(stage, batch, guidance_scale=g, num_steps=s) for g, s in ((1, 3), (4, 3), (1, 4))]

    assert float((drawn[0] - drawn[1]).abs().max()) > 1e-4
    assert float((drawn[0] - drawn[2]).abs().max()) > 1e-4


def test_equal_captions_are_no_negatives_of_each_other():
    stage = make("clip")
    same = replace(a_batch(stage), condition=Condition(text=stage.read(["a"] * 4)))

    # With one caption for all, every picture is as right as any other: the loss is ln 4, and cannot be lowered by text.
    assert stage.loss(same).total.item() == pytest.approx(torch.log(torch.tensor(4.0)).item(), rel=0.35)


def test_a_picture_size_that_does_not_fit_is_refused_with_what_would():
    small = SIZES.with_changes(image_size=36)

    for name, multiple in (("diffusion", "multiple of 16"), ("direct", "multiple of 8"), ("clip", "patches of 8")):
        with pytest.raises(ConfigError, match=multiple):
            build_stage(CONFIGS[name], small)


@pytest.fixture
def on_card(request: pytest.FixtureRequest) -> tuple[Stage, Batch, FakeTensorMode]:
    """Put a stage and a batch on a GPU that need not be there: fake tensors have a device and a shape, and no values.

    What a module has not registered stays behind, as with `module.to`, and fails where it meets the rest.
    """
    card = FakeTensorMode()

    def put(tensor: Tensor) -> Tensor:
        with card:
            return card.from_tensor(tensor).to("cuda")

    stage = make(request.param)
    batch = a_batch(stage)
    for module in stage.modules():
        weights = {key: nn.Parameter(put(p.detach())) for key, p in module.named_parameters(recurse=False)}
        buffers = {key: put(buffer) for key, buffer in module.named_buffers(recurse=False)}
        module._parameters.update(weights)
        module._buffers.update(buffers)
    chance = Chance(0, put(batch.chance.samples))
    return stage, replace(batch, target=put(batch.target), condition=batch.condition.map(put), chance=chance), card


# How many numbers an embedding is, is data.
@pytest.mark.parametrize("on_card", [name for name in CONFIGS if name != "ar_prior"], indirect=True)
def test_the_loss_of_every_stage_stays_on_the_card(on_card):
    stage, batch, card = on_card

    with card:
        losses = stage.loss(batch)

    assert {value.device.type for value in (losses.total, *losses.figures.values())} == {"cuda"}


@pytest.mark.parametrize("sampler", get_args(SamplerName))
@pytest.mark.parametrize("on_card", DRAWERS, indirect=True)
def test_drawing_stays_on_the_card(on_card, sampler):
    stage, batch, card = on_card

    with card, torch.no_grad():
        batch = stage.view(batch)
        drawn = draw(stage, batch, guidance_scale=2, sampler=sampler)

    assert drawn.device.type == "cuda" and drawn.shape == (4, 3, stage.side, stage.side) == batch.target.shape


@pytest.mark.parametrize("on_card", ["diffusion"], indirect=True)
def test_what_was_left_behind_is_noticed(on_card):
    stage, batch, card = on_card
    behind = replace(batch, chance=Chance(0, torch.arange(4)))

    with card, pytest.raises(Exception, match="FakeTensors first"):
        stage.loss(behind)
