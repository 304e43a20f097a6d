import torch

from t2i_core.models.config import TextEncoderConfig
from t2i_core.models.text_encoder import TextEncoder, visible_tokens


def test_half_of_the_heads_look_back_and_half_ahead_and_padding_is_seen_by_itself_alone():
    ((back, ahead),) = visible_tokens(torch.tensor([[True, True, True, False]]), 2).int().tolist()

    assert back == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert ahead == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def an_encoder() -> TextEncoder:
    torch.manual_seed(0)
    encoder = TextEncoder(TextEncoderConfig(vocab_size=12, context_length=8, width=32, num_layers=1, num_heads=4))
    with torch.no_grad():
        encoder.positions.zero_()  # what is left must come from the directions alone
        for p in encoder.parameters():
            p += 0.1 * torch.randn(p.shape)
        encoder.positions.zero_()
    return encoder


def test_words_know_on_which_side_of_them_another_stands_without_positions():
    ids, mask = torch.tensor([[3, 4, 5], [5, 4, 3]]), torch.ones(2, 3, dtype=torch.bool)

    tokens, pooled, _ = an_encoder()(ids, mask)

    assert float((tokens[0, 1] - tokens[1, 1]).detach().abs().max()) > 1e-3
    assert torch.allclose(pooled.var(-1, unbiased=False), torch.ones(2), atol=1e-3)


def test_padding_is_finite_and_changes_nothing():
    ids, mask = torch.tensor([[3, 4, 2, 0, 0]]), torch.tensor([[True, True, True, False, False]])
    encoder = an_encoder()

    tokens, pooled, _ = encoder(ids, mask)
    short, short_pooled, _ = encoder(ids[:, :3], mask[:, :3])

    assert bool(tokens.isfinite().all())
    assert torch.allclose(tokens[:, :3], short, atol=1e-6) and torch.allclose(pooled, short_pooled, atol=1e-6)


def test_a_dropped_caption_is_the_null_whatever_it_was():
    ids = torch.tensor([[3, 4, 2], [5, 2, 0], [3, 4, 2]])
    mask = ids > 0
    encoder = an_encoder()

    tokens, pooled, seen = encoder(ids, mask, torch.tensor([False, False, True]))

    assert seen.tolist() == [[True, False, False], [True, False, False], [True, True, True]]
    assert torch.equal(pooled[0], pooled[1]) and torch.equal(tokens[0, 0], tokens[1, 0])
    assert torch.allclose(pooled[2], encoder(ids, mask).pooled[2])
    pooled[:2].sum().backward()
    assert encoder.tokens.weight.grad[3:].count_nonzero() == 0
