import pytest
import torch

from t2i_core.models.config import UNetConfig
from t2i_core.models.unet import CaptionMap

CONFIG = UNetConfig(channels=(16, 32), num_blocks=(1, 1), text_width=32, head_width=16)


def test_a_caption_map_puts_words_in_places_and_ignores_padding():
    torch.manual_seed(0)
    caption_map = CaptionMap(CONFIG, num_maps=2)
    tokens = torch.randn(2, 5, 32)
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])

    early, late = caption_map(8, 8, tokens, mask)
    tokens[0, 3:] = 9.0
    again, _ = caption_map(8, 8, tokens, mask)

    assert early.shape == late.shape == (2, 16, 8, 8)
    assert torch.allclose(early, again)
    assert float((early[0] - early[1]).detach().abs().max()) > 1e-3, "captions must differ"
    assert float((early[0, :, 0, 0] - early[0, :, 7, 7]).detach().abs().max()) > 1e-3, "places must differ"


def test_a_caption_map_may_be_drawn_for_any_side():
    assert CaptionMap(CONFIG, num_maps=1)(32, 16, torch.randn(1, 3, 32), torch.ones(1, 3).bool())[0].shape[-2:] == (
        32,
        16,
    )


def test_channels_that_do_not_split_into_groups_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        UNetConfig(channels=(12, 32))
