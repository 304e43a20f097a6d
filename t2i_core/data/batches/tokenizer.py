"""Captions to token ids: a word-level vocabulary with everything it needs in one `tokenizer.json`."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, normalizers, pre_tokenizers, processors

from t2i_core.door import read_file
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.manifest import read_manifest

PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[EOS]"
SPECIAL_TOKENS = (PAD, UNKNOWN, END)
TOKENIZER_NAME = "tokenizer.json"
MAX_FILE_BYTES = 64 * 1024 * 1024


class Tokenizer:
    """Splits captions at spaces and punctuation, in lower case, and numbers the words.

    Ids 0, 1 and 2 are [PAD], [UNK] and [EOS]. [EOS] closes every caption, so an empty one has one real token.
    """

    def __init__(self, words: dict[str, int], context_length: int) -> None:
        """Number the given words; `train` and `load` are the ways to get them.

        Args:
            words: ids from 3 on, without holes.
            context_length: tokens a caption, [EOS] included.
        """
        self.context_length = context_length
        self._backend = _build(words, context_length)

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int, context_length: int) -> "Tokenizer":
        """Learn the vocabulary: the most frequent words, ties in alphabetical order.

        Args:
            captions: the text to learn from.
            vocab_size: largest number of tokens, the three special ones included.
            context_length: tokens a caption, [EOS] included; longer captions are cut.

        Raises:
            ConfigError: there is no room for a single word.
        """
        if vocab_size <= len(SPECIAL_TOKENS) or context_length < 2:
            raise ConfigError(
                f"a tokenizer needs vocab_size > {len(SPECIAL_TOKENS)} and context_length > 1, "
                f"got {vocab_size} and {context_length}."
            )
        empty = _build({}, context_length)
        counts: Counter[str] = Counter()
        for caption, repeats in Counter(captions).items():
            for word in _words(empty, caption):
                counts[word] += repeats
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        known = [word for word in ranked if word not in SPECIAL_TOKENS][: vocab_size - len(SPECIAL_TOKENS)]
        return cls({word: i for i, word in enumerate(known, len(SPECIAL_TOKENS))}, context_length)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a tokenizer that `save` wrote.

        Raises:
            ConfigError: there is no such file.
            DataError: the file is not one of ours.
        """
        try:
            return cls(*_parse(read_file(path, MAX_FILE_BYTES)))
        except FileNotFoundError as err:
            raise ConfigError(f"no such tokenizer: {path}") from err
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as err:
            raise DataError(f"{path} is not a tokenizer of t2i ({err!r:.200}). Run the caption step again.") from err

    def save(self, path: Path) -> None:
        """Write the tokenizer, in the `tokenizers` library's format, as one file."""
        write_atomically(path, self._backend.to_str(pretty=True).encode() + b"\n")

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the three special ones included."""
        return self._backend.get_vocab_size()

    def encode(self, captions: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Number the words of captions; too long ones lose their last words and keep [EOS].

        Returns:
            ids: (B, L) int64, padded with 0 to L = `context_length`.
            mask: (B, L) bool, True where a real token is.
        """
        rows = self._backend.encode_batch_fast([_whole(caption) for caption in captions])
        shape = (len(rows), self.context_length)
        ids = np.array([row.ids for row in rows], dtype=np.int64).reshape(shape)
        mask = np.array([row.attention_mask for row in rows], dtype=np.bool_).reshape(shape)
        return ids, mask

    def places_in(self, other: "Tokenizer") -> dict[int, int]:
        """Give the number in another tokenizer of each token that both know, by its number here."""
        theirs = other._backend.get_vocab()
        return {place: theirs[word] for word, place in self._backend.get_vocab().items() if word in theirs}

    def words(self, caption: str) -> list[str]:
        """Split a caption into its tokens, normalised, [EOS] left out and nothing cut."""
        return _words(self._backend, caption)

    def unknown_words(self, caption: str) -> list[str]:
        """List the words of a caption that the vocabulary lacks, in their order."""
        return [word for word in self.words(caption) if self._backend.token_to_id(word) is None]


def load_tokenizer(captions_dir: Path) -> Tokenizer:
    """Load the tokenizer of a finished captions folder.

    Raises:
        ConfigError: it is none.
        DataError: it is damaged.
    """
    read_manifest(captions_dir, "captions")
    return Tokenizer.load(captions_dir / TOKENIZER_NAME)


def _words(backend: tokenizers.Tokenizer, caption: str) -> list[str]:
    normalized = backend.normalizer.normalize_str(_whole(caption))
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized)]


def _whole(text: str) -> str:
    # Half surrogate pairs, which command lines and JSON can carry, are not text that can be encoded.
    return text.encode(errors="replace").decode()


def _build(words: dict[str, int], context_length: int) -> tokenizers.Tokenizer:
    vocabulary = {token: i for i, token in enumerate(SPECIAL_TOKENS)} | words
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, vocabulary[END])])
    backend.enable_truncation(max_length=context_length)
    backend.enable_padding(length=context_length, pad_id=vocabulary[PAD], pad_token=PAD)
    return backend


def _parse(data: bytes) -> tuple[dict[str, int], int]:
    """Take from a saved tokenizer what decides it; the rest is rebuilt, so that a file cannot change how text is split.

    Raises:
        KeyError, TypeError, ValueError: the file has another structure.
    """
    fields = json.loads(data)
    vocabulary, context_length = fields["model"]["vocab"], fields["truncation"]["max_length"]
    if not isinstance(context_length, int) or not 2 <= context_length <= 4096:
        raise ValueError(f"context length {context_length!r}")
    ids = sorted(vocabulary.values())
    if not all(type(i) is int for i in ids):
        raise TypeError("token ids are not all integers")
    if ids != list(range(len(ids))) or any(vocabulary[token] != i for i, token in enumerate(SPECIAL_TOKENS)):
        raise ValueError("token ids are not 0, 1, 2, ... with the special tokens first")
    return {word: i for word, i in vocabulary.items() if word not in SPECIAL_TOKENS}, context_length
