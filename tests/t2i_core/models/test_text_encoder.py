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

    tokens, pooled = an_encoder()(ids, mask)

    assert float((tokens[0, 1] - tokens[1, 1]).detach().abs().max()) > 1e-3
    assert torch.allclose(pooled.var(-1, unbiased=False), torch.ones(2), atol=1e-3)


def test_padding_is_finite_and_changes_nothing():
    ids, mask = torch.tensor([[3, 4, 2, 0, 0]]), torch.tensor([[True, True, True, False, False]])
    encoder = an_encoder()

    tokens, pooled = encoder(ids, mask)
    short, short_pooled = encoder(ids[:, :3], mask[:, :3])

    assert bool(tokens.isfinite().all())
    assert torch.allclose(tokens[:, :3], short, atol=1e-6) and torch.allclose(pooled, short_pooled, atol=1e-6)
