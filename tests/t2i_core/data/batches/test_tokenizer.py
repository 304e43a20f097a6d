"""Tokenizer: ids known by hand, round trips, and files that are not tokenizers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.errors import ConfigError, DataError

CAPTIONS = ["a red circle on a gray background", "a blue cross, pink background"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS, vocab_size=64, context_length=6)


def test_ids_follow_frequency_then_alphabet(tokenizer: Tokenizer) -> None:
    # a x3, background x2, then one each in order: , blue circle cross gray on pink red
    ids, mask = tokenizer.encode(["A red  CIRCLE"])
    assert ids.tolist() == [[3, 12, 7, 2, 0, 0]]
    assert mask.tolist() == [[True, True, True, True, False, False]]
    assert ids.dtype == np.int64 and mask.dtype == np.bool_
    assert tokenizer.vocab_size == 13


def test_long_caption_is_cut_and_keeps_its_end(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer.encode(["a a a a a a a a"])
    assert ids.tolist() == [[3, 3, 3, 3, 3, 2]]
    assert mask.all()
    assert len(tokenizer.words("a a a a a a a a")) == 8


def test_empty_caption_has_one_real_token(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer.encode([""])
    assert ids.tolist() == [[2, 0, 0, 0, 0, 0]]
    assert mask.sum() == 1


def test_no_captions_give_empty_arrays(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer.encode([])
    assert ids.shape == mask.shape == (0, 6)


def test_unknown_words_in_order(tokenizer: Tokenizer) -> None:
    assert tokenizer.unknown_words("a Zebra, on a unicycle!") == ["zebra", "unicycle", "!"]
    assert tokenizer.unknown_words(CAPTIONS[0]) == []
    ids, _ = tokenizer.encode(["zebra"])
    assert ids[0, 0] == 1


def test_words_are_unicode_normalised() -> None:
    tokenizer = Tokenizer.train(["caf\u00e9"], vocab_size=9, context_length=4)
    assert tokenizer.unknown_words("CAFE\u0301") == []


def test_vocabulary_is_capped_by_frequency() -> None:
    tokenizer = Tokenizer.train(["b b b a a c"], vocab_size=5, context_length=4)
    assert tokenizer.vocab_size == 5
    assert tokenizer.unknown_words("a b c") == ["c"]


def test_special_tokens_cannot_be_written_in_a_caption(tokenizer: Tokenizer) -> None:
    assert tokenizer.words("[EOS] [PAD]") == ["[", "eos", "]", "[", "pad", "]"]
    ids, _ = tokenizer.encode(["a [PAD] a"])
    assert 0 not in ids[0]


@given(st.lists(st.text(max_size=40), max_size=5))
def test_every_caption_ends_once_and_is_padded_after_it(captions: list[str]) -> None:
    tokenizer = Tokenizer.train(CAPTIONS, vocab_size=64, context_length=6)
    ids, mask = tokenizer.encode(captions)
    for row, real, caption in zip(ids, mask, captions, strict=True):
        length = min(len(tokenizer.words(caption)) + 1, 6)
        assert real.tolist() == [i < length for i in range(6)]
        assert row[length - 1] == 2
        assert not row[length:].any()


def test_save_and_load_give_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    texts = [*CAPTIONS, "", "zebra"]
    assert np.array_equal(loaded.encode(texts)[0], tokenizer.encode(texts)[0])


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"{}", b'{"model": {"vocab": {}}, "truncation": null}', b"[" * 100_000],
)
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer.load(path)


def test_holes_in_the_ids_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    fields = json.loads(path.read_text())
    fields["model"]["vocab"]["red"] = 99
    path.write_text(json.dumps(fields))
    with pytest.raises(DataError, match="token ids"):
        Tokenizer.load(path)


def test_ids_that_are_not_integers_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    fields = json.loads(path.read_text())
    fields["model"]["vocab"]["red"] = float(fields["model"]["vocab"]["red"])
    path.write_text(json.dumps(fields))
    with pytest.raises(DataError, match="integers"):
        Tokenizer.load(path)


def test_half_surrogates_are_unknown_words_not_crashes(tokenizer: Tokenizer) -> None:
    assert tokenizer.unknown_words("a \udc80") == ["?"]
    assert tokenizer.encode(["a \udc80"])[0].tolist() == [[3, 1, 2, 0, 0, 0]]


def test_missing_file_and_no_room_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match="vocab_size"):
        Tokenizer.train(CAPTIONS, vocab_size=3, context_length=8)
