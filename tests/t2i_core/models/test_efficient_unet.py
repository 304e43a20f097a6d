"""The Efficient U-Net: where its work lies, what it is told, and who may look where."""

import pytest
import torch
from pydantic import ValidationError

from t2i_core.errors import ConfigError
from t2i_core.models.config import EfficientConfig
from t2i_core.models.efficient_unet import EfficientUNet, WideAttention

CONFIG = EfficientConfig(
    patch_size=2,
    channels=(16, 32),
    num_blocks=(1, 3),
    attention=(False, True),
    num_heads=2,
    groups=8,
    embedding_width=16,
    text_width=12,
)
T, POOLED = torch.tensor([0.2, 0.9]), torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])


def network(config: EfficientConfig = CONFIG) -> EfficientUNet:
    """Give one in which no layer is zero any more."""
    torch.manual_seed(0)
    made = EfficientUNet(config).eval().requires_grad_(False)
    for p in made.parameters():
        p += 0.05 * torch.randn(p.shape)
    return made


def test_each_level_shrinks_before_its_blocks_and_grows_behind_them() -> None:
    made, seen = network(), dict[str, int]()
    for name, module in made.named_modules():
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.shape[-1]}))
    out = made(torch.randn(2, 6, 32, 24), T, POOLED, TOKENS, MASK)

    assert out.shape == (2, 3, 32, 24)
    assert seen["stem"] == 12
    assert [seen[name] for name in ("shrink.0", "down.0", "shrink.1", "down.1")] == [6, 6, 3, 3]
    assert [seen[name] for name in ("up.1", "grow.1", "up.0", "grow.0")] == [3, 6, 6, 12]
    assert [len(stack.blocks) for stack in (*made.down, *made.up)] == [1, 3, 1, 3]


def test_all_that_it_is_told_counts_and_padding_does_not() -> None:
    made, x = network(), torch.randn(2, 6, 16, 16)
    plain = made(x, T, POOLED, TOKENS, MASK)

    others = [
        made(x, T.flip(0), POOLED, TOKENS, MASK),
        made(x, T, POOLED.flip(0), TOKENS, MASK),
        made(x, T, POOLED, TOKENS.flip(0), MASK),
        made(x, T, POOLED, TOKENS, MASK, torch.full((2,), 0.3)),
    ]

    for other in others:
        assert float((plain - other).abs().amax((1, 2, 3)).min()) > 1e-4
    assert torch.equal(made(x, T, POOLED, TOKENS, MASK, torch.zeros(2)), plain)
    padded = torch.where(MASK[..., None], TOKENS, 7.0)
    torch.testing.assert_close(made(x, T, POOLED, padded, MASK), plain)


@pytest.mark.parametrize("self_attention", [True, False])
def test_without_self_attention_places_see_the_caption_alone(self_attention: bool) -> None:
    torch.manual_seed(0)
    attention = WideAttention(32, CONFIG.with_changes(self_attention=self_attention))
    torch.nn.init.normal_(attention.to_out.weight)
    attention.norm = torch.nn.Identity()  # which goes over all places
    x = torch.randn(1, 32, 2, 2)
    other = x.clone()
    other[..., 0, 0] += 1

    elsewhere = [attention(each, TOKENS[:1], None)[..., 1, 1] for each in (x, other)]

    assert torch.allclose(*elsewhere) is not self_attention


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_blocks": (1,)}, "one entry a level"),
        ({"groups": 32}, "multiples of 32 groups"),
        ({"attention": (False, False)}, "some level must attend"),
        ({"num_heads": 5}, "multiples of num_heads 5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=words):
        EfficientConfig.parse(CONFIG.model_dump() | changes)
