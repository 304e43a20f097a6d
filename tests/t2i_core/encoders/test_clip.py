"""The text tower of a CLIP as an encoder: what open_clip itself gives, whatever else is encoded beside it."""

from pathlib import Path

import open_clip
import pytest
import torch

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.encoder import BATCH, FrozenEncoder
from t2i_core.encoders.open import find_encoder
from t2i_core.errors import ConfigError

TEXTS = ["a red circle", "two blue squares on a gray background", ""]


def encoder(folder: Path, **config: object) -> FrozenEncoder:
    return find_encoder(folder).open(FeaturesConfig.parse({"dtype": "float32"} | config))


@torch.inference_mode()
def test_it_gives_what_open_clip_gives(clip_dir: Path, clip_model: open_clip.CLIP) -> None:
    ids = open_clip.SimpleTokenizer(context_length=12)(TEXTS)

    found = encoder(clip_dir).encode(TEXTS)

    ends = ids.argmax(1)
    assert found.mask.sum(1).tolist() == (ends + 1).tolist() == [5, 9, 2]
    torch.testing.assert_close(found.pooled, clip_model.encode_text(ids, normalize=True))
    # The embedding is the last token, projected.
    projected = found.tokens[torch.arange(3), ends] @ clip_model.text_projection
    torch.testing.assert_close(torch.nn.functional.normalize(projected, dim=-1), found.pooled)
    assert found.tokens.shape == (3, 12, 24)
    assert not found.tokens[~found.mask].any()


@torch.inference_mode()
def test_a_layer_before_the_last_is_that_of_a_clip_without_the_last(clip_dir: Path, clip_model: open_clip.CLIP) -> None:
    last, before = (encoder(clip_dir, layers=(layer,)).encode(TEXTS) for layer in (1, 2))

    x = (
        clip_model.token_embedding(open_clip.SimpleTokenizer(context_length=12)(TEXTS))
        + clip_model.positional_embedding
    )
    x = clip_model.ln_final(clip_model.transformer.resblocks[0](x, attn_mask=clip_model.attn_mask))
    torch.testing.assert_close(before.tokens[before.mask], x[before.mask])
    assert not last.tokens.allclose(before.tokens)
    assert last.pooled.equal(before.pooled)
    with pytest.raises(ConfigError, match="from 1 to 2"):
        encoder(clip_dir, layers=(3,))


def test_the_mean_is_over_real_tokens(clip_dir: Path) -> None:
    found = encoder(clip_dir, pooling="mean").encode(TEXTS)

    torch.testing.assert_close(found.pooled[1], found.tokens[1, :9].mean(0))


def test_a_caption_gives_the_same_bits_whatever_is_encoded_beside_it(clip_dir: Path) -> None:
    own = encoder(clip_dir)
    texts = [f"{number} red circles" for number in range(BATCH + 5)]

    whole = own.encode(texts)

    for row in (0, 7, BATCH - 1, BATCH, BATCH + 4):
        alone = own.encode(texts[row : row + 1])
        assert alone.tokens[0].equal(whole.tokens[row]) and alone.pooled[0].equal(whole.pooled[row])


def test_long_captions_are_cut_counted_and_closed(clip_dir: Path) -> None:
    read = encoder(clip_dir).tokenize(["a " * 10, "a " * 11, "a " * 500])

    assert (read.lengths.tolist(), read.num_cut) == ([12, 12, 12], 2)
    assert read.ids[:, -1].unique().tolist() == [49407]


def test_half_surrogates_are_text_too(clip_dir: Path) -> None:
    assert encoder(clip_dir).encode(["\ud800 red"]).tokens.isfinite().all()


def test_what_cannot_be_given_is_refused(clip_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave --max-length out"):
        encoder(clip_dir, max_length=8)
    with pytest.raises(ConfigError, match="is no text encoder"):
        find_encoder(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        find_encoder(tmp_path / "gone")


def test_an_encoder_is_known_again_by_its_weights(clip_dir: Path, tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes((clip_dir / name).read_bytes())

    before = find_encoder(tmp_path).digest
    with (tmp_path / "open_clip_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")

    assert before == find_encoder(clip_dir).digest != find_encoder(tmp_path).digest
