import pytest
import torch
from torch import Tensor

from t2i_core.models.config import TextTransformerConfig
from t2i_core.models.text_transformer import TextTransformer


def a_transformer() -> TextTransformer:
    torch.manual_seed(0)
    config = TextTransformerConfig(vocab_size=12, context_length=6, width=16, num_layers=2, num_heads=4)
    transformer = TextTransformer(config)
    with torch.no_grad():
        for p in transformer.parameters():
            p += 0.2 * torch.randn(p.shape)
    return transformer


IDS = torch.tensor([[3, 4, 2, 0], [5, 2, 0, 0], [3, 4, 2, 7]])
MASK = torch.tensor([[True, True, True, False], [True, True, False, False], [True, True, True, False]])


def test_the_pooled_feature_is_the_last_of_the_full_length() -> None:
    tokens, pooled, mask = a_transformer()(IDS, MASK)

    assert tokens.shape == (3, 6, 16) and mask is None
    assert torch.equal(pooled, tokens[:, -1])


def test_padding_is_the_same_however_it_is_written() -> None:
    transformer = a_transformer()
    tokens = transformer(IDS, MASK).tokens

    assert torch.equal(tokens[0], tokens[2])
    torch.testing.assert_close(transformer(IDS[:1, :3], MASK[:1, :3]).tokens, tokens[:1])


def test_a_dropped_caption_is_the_empty_sequence_and_its_words_get_no_gradient() -> None:
    transformer = a_transformer()
    keep = torch.tensor([False, False, True])

    tokens, pooled, _ = transformer(IDS, MASK, keep)
    empty = transformer(IDS, torch.zeros_like(MASK)).tokens
    pooled[:2].sum().backward()

    torch.testing.assert_close(tokens[:2], empty[:2])
    torch.testing.assert_close(tokens[2], transformer(IDS, MASK).tokens[2])
    assert gradient(transformer.tokens.weight).count_nonzero() == 0
    assert gradient(transformer.positions).count_nonzero() == 0
    assert gradient(transformer.padding).count_nonzero() > 0


def test_every_word_reaches_the_last_position() -> None:
    transformer = a_transformer()

    transformer(IDS, MASK).pooled[0].sum().backward()

    learned = gradient(transformer.tokens.weight).abs().sum(1) > 0
    assert learned.nonzero().flatten().tolist() == [2, 3, 4]


def test_heads_may_look_one_way_through_the_caption() -> None:
    transformer = a_transformer()
    other = IDS[:1].clone()
    other[0, 0] = 9
    moved = {}
    for directional, heads in ((False, 1), (True, 1), (True, 2)):
        transformer.config = transformer.config.with_changes(directional=directional, num_heads=heads)
        for block in transformer.blocks:
            block.attention.num_heads = heads
        ours, theirs = (transformer(ids, MASK[:1]).tokens[0] for ids in (IDS[:1], other))
        moved[directional, heads] = (ours != theirs).any(1).tolist()

    # A single head looks ahead, where the first word is seen by itself alone; with two, the first one looks back.
    assert moved == {(False, 1): [True] * 6, (True, 1): [True] + [False] * 5, (True, 2): [True] * 6}


def test_heads_split_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of num_heads"):
        TextTransformerConfig(vocab_size=12, context_length=6, width=16, num_heads=3)


def gradient(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad
