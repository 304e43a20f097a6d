import pytest
import torch

from t2i_core.errors import ConfigError
from t2i_core.models.config import CNNConfig, UNetConfig
from t2i_core.systems.build import build_system
from t2i_core.systems.config import CLIPConfig, DiffusionConfig, DirectConfig
from t2i_core.systems.diffusion import null_like
from t2i_core.systems.system import Batch, Condition, DrawSettings

SIZES = {"vocab_size": 12, "context_length": 8, "image_size": 32}
UNET = UNetConfig(channels=(16, 32), text_width=32, embedding_width=32, head_width=16)
SYSTEMS = {
    "direct": DirectConfig(text_width=32, text_layers=1, cnn=CNNConfig(channels=(32, 16))),
    "diffusion": DiffusionConfig(text_layers=1, unet=UNET, num_steps=3),
    "clip": CLIPConfig(embed_dim=16, width=32, image_layers=1, text_layers=1),
}


def a_batch(size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(8).expand(size, 8) < torch.tensor([[3], [8], [5], [1]])
    ids = torch.where(mask, torch.randint(2, 12, (size, 8), generator=generator), 0)
    x_0, eps = (torch.randn(size, 3, 32, 32, generator=generator) for _ in range(2))
    u = (torch.arange(size) + 0.5) / size
    return Batch(x_0=x_0, condition=Condition(token_ids=ids, token_mask=mask), eps=eps, u=u)


def make(name: str):
    torch.manual_seed(0)
    return build_system(SYSTEMS[name], **SIZES)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_weight_gets_a_gradient(name):
    system, batch = make(name), a_batch()
    if name == "clip":
        batch = Batch(x_0=batch.x_0, condition=system.encode(["a", "b c", "d", "e"]), eps=batch.eps, u=batch.u)
    for _ in range(4):  # layers that start at zero hide those before them in the first steps
        loss = system.loss(batch).total
        loss.backward()
        with torch.no_grad():
            for p in system.parameters():
                p -= 0.1 * p.grad
        unused = [n for n, p in system.named_parameters() if not p.grad.any()]
        system.zero_grad()

    assert unused == []


@pytest.mark.parametrize("name", ["direct", "diffusion"])
def test_eight_pictures_can_be_learned_by_heart(name):
    system, batch = make(name), a_batch()
    flat = batch.x_0.mean((2, 3), keepdim=True).expand_as(batch.x_0).contiguous()
    batch = Batch(x_0=flat, condition=batch.condition, eps=batch.eps, u=batch.u)
    optimizer = torch.optim.Adam(system.parameters(), 3e-3)
    first = float(system.loss(batch).each.mean())
    for _ in range(60):
        system.zero_grad()
        system.loss(batch).total.backward()
        optimizer.step()

    assert float(system.loss(batch).each.mean()) < 0.2 * first


@pytest.mark.parametrize("name", ["direct", "diffusion"])
def test_padding_does_not_change_what_is_drawn(name):
    system, batch = make(name).eval(), a_batch()
    condition = batch.condition
    with torch.no_grad():
        for p in system.parameters():
            p += 0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        short = Condition(token_ids=condition.token_ids[:1], token_mask=condition.token_mask[:1])
        padded = system.draw(short, batch.eps[:1], DrawSettings())
        trimmed = system.draw(short.trimmed(), batch.eps[:1], DrawSettings())

    assert torch.allclose(padded, trimmed, atol=1e-4)


def test_words_and_their_order_change_what_is_drawn():
    system, batch = make("diffusion").eval(), a_batch()
    ids = torch.tensor([[3, 4, 5, 2]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        for p in system.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        drawn = [
            system.draw(Condition(token_ids=i, token_mask=mask), batch.eps[:1], DrawSettings(guidance_scale=1))
            for i in (ids, ids[:, [1, 0, 2, 3]])
        ]

    assert float((drawn[0] - drawn[1]).abs().max()) > 1e-4


def test_guidance_and_steps_reach_the_sampler():
    system, batch = make("diffusion").eval(), a_batch()
    with torch.no_grad():
        for p in system.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        drawn = [
            system.draw(batch.condition, batch.eps, DrawSettings(guidance_scale=g, num_steps=s))
            for g, s in ((1, 3), (4, 3), (1, 4))
        ]

    assert float((drawn[0] - drawn[1]).abs().max()) > 1e-4
    assert float((drawn[0] - drawn[2]).abs().max()) > 1e-4


def test_the_null_caption_is_one_end_token():
    null = null_like(a_batch().condition)

    assert null.token_ids[:, 0].tolist() == [2] * 4
    assert null.token_mask.sum(1).tolist() == [1] * 4


def test_equal_captions_are_no_negatives_of_each_other():
    system, batch = make("clip"), a_batch()
    same = Batch(x_0=batch.x_0, condition=system.encode(["a"] * 4), eps=batch.eps, u=batch.u)

    # With one caption for all, every picture is as right as any other: the loss is ln 4, and cannot be lowered by text.
    assert system.loss(same).total.item() == pytest.approx(torch.log(torch.tensor(4.0)).item(), rel=0.35)


def test_a_picture_size_that_does_not_fit_is_refused_with_what_would():
    with pytest.raises(ConfigError, match="multiple of 16"):
        build_system(SYSTEMS["diffusion"], **(SIZES | {"image_size": 36}))
    with pytest.raises(ConfigError, match="multiple of 8"):
        build_system(SYSTEMS["direct"], **(SIZES | {"image_size": 36}))
