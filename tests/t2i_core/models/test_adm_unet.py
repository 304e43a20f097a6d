import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.adm_unet import ADMUNet, Resample, ScaleShiftBlock, TextAttention
from t2i_core.models.config import ADMConfig

SMALL = ADMConfig(
    width=32, multiples=(1, 2), num_blocks=1, attention=(False, True), head_width=16, text_width=24, embedding_width=12
)


def shaken(module: nn.Module) -> nn.Module:
    """Move every weight, those too that start at zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.2 * torch.randn(p.shape)
    return module


def group_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    groups = x.reshape(len(x), 32, -1)
    groups = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return groups.reshape(x.shape) * weight[None, :, None, None] + bias[None, :, None, None]


def halved(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.mark.parametrize(
    ("resample", "change"), [("none", nn.Identity()), ("down", halved), ("up", doubled)], ids=["none", "down", "up"]
)
@pytest.mark.parametrize("out_channels", [32, 64])
def test_a_block_is_what_the_paper_writes(
    resample: Resample, change: Callable[[Tensor], Tensor], out_channels: int
) -> None:
    block = shaken(ScaleShiftBlock(32, out_channels, SMALL, resample))
    w = dict(block.named_parameters())
    x, embedding = torch.randn(2, 32, 4, 6), torch.randn(2, 128)

    h = group_norm(x, w["norm_in.weight"], w["norm_in.bias"])
    h = F.conv2d(change(h * torch.sigmoid(h)), w["conv_in.weight"], w["conv_in.bias"], padding=1)
    scale, shift = (embedding @ w["modulation.weight"].T + w["modulation.bias"])[..., None, None].split(out_channels, 1)
    h = group_norm(h, w["norm_out.weight"], w["norm_out.bias"]) * (1 + scale) + shift
    h = F.conv2d(h * torch.sigmoid(h), w["conv_out.weight"], w["conv_out.bias"], padding=1)
    passed = change(x)
    if out_channels != 32:
        passed = F.conv2d(passed, w["skip.weight"], w["skip.bias"])

    torch.testing.assert_close(block(x, embedding), passed + h, atol=2e-5, rtol=1e-4)


def test_attention_looks_up_words_and_places_with_one_softmax() -> None:
    attention = shaken(TextAttention(64, SMALL))
    w = dict(attention.named_parameters())
    x, tokens = torch.randn(2, 64, 2, 3), torch.randn(2, 5, 24)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])

    places = group_norm(x, w["norm.weight"], w["norm.bias"]).flatten(2).transpose(1, 2)
    expected = torch.empty(2, 6, 64)
    for sample in range(2):
        words = tokens[sample][mask[sample]] @ w["text_to_kv.weight"].T + w["text_to_kv.bias"]
        own = places[sample] @ w["to_qkv.weight"].T + w["to_qkv.bias"]
        for head in (slice(start, start + 16) for start in range(0, 64, 16)):
            q, k, v = own[:, :64][:, head], own[:, 64:128][:, head], own[:, 128:][:, head]
            k, v = torch.cat([words[:, :64][:, head], k]), torch.cat([words[:, 64:][:, head], v])
            expected[sample][:, head] = (q @ k.T / math.sqrt(16)).softmax(1) @ v
    expected = (expected @ w["to_out.weight"].T + w["to_out.bias"]).transpose(1, 2).reshape(x.shape)

    torch.testing.assert_close(attention(x, tokens, mask), x + expected, atol=2e-5, rtol=1e-4)


def test_places_that_look_alike_attend_alike_unless_they_know_where_they_are() -> None:
    x, tokens = torch.ones(1, 64, 3, 4), torch.randn(1, 5, 24)

    plain, placed = (
        shaken(TextAttention(64, SMALL.with_changes(positions=positions)))(x, tokens, None)
        for positions in (False, True)
    )

    torch.testing.assert_close(plain, plain[..., :1, :1].expand_as(plain))
    assert placed.flatten(2).std(2).min() > 1e-3


def test_the_noised_picture_goes_straight_to_the_prediction_and_to_nothing_else() -> None:
    net = ADMUNet(SMALL.with_changes(in_channels=7, out_channels=6, carries=True, patch_size=2))
    x = torch.randn(2, 7, 8, 12)
    assert net.carry is not None
    with torch.no_grad():
        net.carry.bias.copy_(torch.tensor([1.0, 2.0, 0.5]))

    out = net(x, *arguments()[1:])

    # Its head starts at zero, so that nothing else is there yet.
    assert torch.equal(out[:, :3], torch.tensor([1.0, 2.0, 0.5])[:, None, None] * x[:, :3])
    assert out.shape[1] == 6 and not out[:, 3:].any()


def arguments(height: int = 8, width: int = 12) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return torch.randn(2, 3, height, width), torch.rand(2), torch.randn(2, 12), torch.randn(2, 5, 24), mask


@pytest.mark.parametrize("patch_size", [1, 2])
def test_every_weight_learns_and_the_first_prediction_is_zero(patch_size: int) -> None:
    torch.manual_seed(0)
    net = ADMUNet(SMALL.with_changes(patch_size=patch_size, out_channels=6, num_blocks=2))

    first = net(*arguments())
    shaken(net)(*arguments()).square().mean().backward()

    assert first.shape == (2, 6, 8, 12) and first.count_nonzero() == 0
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.count_nonzero()]


def test_all_that_is_given_counts_and_hidden_words_do_not() -> None:
    net = shaken(ADMUNet(SMALL))
    x, t, embedding, tokens, mask = arguments()
    seen = net(x, t, embedding, tokens, mask)

    hidden = tokens + 9 * ~mask[..., None]
    torch.testing.assert_close(net(x, t, embedding, hidden, mask), seen)
    for other in (
        net(x, t, embedding, tokens + mask[..., None], mask),
        net(x, t, embedding + 1, tokens, mask),
        net(x, 1 - t, embedding, tokens, mask),
        net(x, t, embedding, tokens),
        net(x, t, embedding),
        net(x, t),
    ):
        assert float((other - seen)[1].detach().abs().max()) > 1e-3


def test_a_picture_is_drawn_alike_alone_and_among_others() -> None:
    net = shaken(ADMUNet(SMALL))
    together = net(*arguments())

    torch.testing.assert_close(net(*(a[1:] for a in arguments())), together[1:], atol=2e-5, rtol=1e-4)


def test_without_attention_nothing_attends() -> None:
    plain = SMALL.with_changes(attention=(False, False), middle_attention=False, text_width=0)
    net = shaken(ADMUNet(plain))

    assert not [m for m in net.modules() if isinstance(m, TextAttention)]
    assert net(*arguments()[:3]).shape == (2, 3, 8, 12)


def test_dropout_drops_in_training_alone() -> None:
    net = shaken(ADMUNet(SMALL.with_changes(dropout=0.5)))

    given = arguments()
    assert not torch.equal(net(*given), net(*given))
    assert torch.equal(net.eval()(*given), net(*given))


def test_sides_are_multiples_of_what_the_levels_and_the_stem_take() -> None:
    config = SMALL.with_changes(patch_size=2, multiples=(1, 1, 1), attention=(False, False, True))

    assert config.side_multiple == 8
    assert ADMUNet(config)(torch.randn(1, 3, 8, 24), torch.rand(1)).shape == (1, 3, 8, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multiples": (1,)}, "one entry a level"),
        ({"width": 24}, "multiple of 32"),
        ({"head_width": 24}, "multiples of head_width"),
        ({"attention": (False, False), "middle_attention": False}, "needs attention"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ADMConfig.model_validate(SMALL.model_dump() | changes)
