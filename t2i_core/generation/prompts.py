"""Prompts as a run reads them: by the tokenizer of its captions, or through the frozen encoder of its features.

A prior reads the embedding that a CLIP makes of a prompt as well.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.encoders.encoder import FrozenEncoder
from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.models.config import Sizes
from t2i_core.systems.condition import Text
from t2i_core.systems.config import PriorStageConfig
from t2i_core.training.config import EMBEDDINGS, ENCODERS, FEATURES
from t2i_core.training.finished import read_origins, read_run_config

MAX_REMEMBERED = 256


class Prompts(Protocol):
    """Reads prompts."""

    def text(self, prompts: Sequence[str]) -> Text:
        """Give B prompts, all of one length, on the CPU."""

    def unknown_words(self, prompt: str) -> list[str]:
        """List the words of a prompt that the run never learned."""


class TokenizedPrompts:
    """Prompts in the words of the captions that a run was trained on."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def text(self, prompts: Sequence[str]) -> Text:
        """See `Prompts.text`."""
        return Text.of(*map(torch.from_numpy, self._tokenizer.encode(prompts)))

    def unknown_words(self, prompt: str) -> list[str]:
        """See `Prompts.unknown_words`."""
        return self._tokenizer.unknown_words(prompt)


class EncodedPrompts:
    """Prompts in any words: features of a frozen encoder, the same bits as those of equal captions."""

    def __init__(self, encoder: FrozenEncoder) -> None:
        self._encoder = encoder
        # Pictures of one prompt are drawn one by one.
        self._encode_one = lru_cache(MAX_REMEMBERED)(self._encode)

    def _encode(self, prompt: str) -> tuple[Tensor, Tensor]:
        features = self._encoder.encode([prompt])
        return features.tokens, features.mask

    def text(self, prompts: Sequence[str]) -> Text:
        """See `Prompts.text`."""
        tokens, masks = zip(*map(self._encode_one, prompts), strict=True)
        return Text.of(torch.cat(tokens), torch.cat(masks))

    def unknown_words(self, prompt: str) -> list[str]:
        """See `Prompts.unknown_words`: an encoder of words in general knows of none."""
        return []


class EmbeddedPrompts:
    """Prompts as something else reads them, and beside that what a CLIP makes of them."""

    def __init__(self, prompts: Prompts, clip: FrozenEncoder) -> None:
        self._prompts, self._clip = prompts, clip
        self._embed_one = lru_cache(MAX_REMEMBERED)(self._embed)

    def _embed(self, prompt: str) -> Tensor:
        return self._clip.encode([prompt]).pooled.float()

    def text(self, prompts: Sequence[str]) -> Text:
        """See `Prompts.text`."""
        return replace(self._prompts.text(prompts), embedding=torch.cat([*map(self._embed_one, prompts)]))

    def unknown_words(self, prompt: str) -> list[str]:
        """See `Prompts.unknown_words`."""
        return self._prompts.unknown_words(prompt)


def open_prompts(run_dir: Path, sizes: Sizes) -> Prompts:
    """Load what reads prompts for a finished run.

    Raises:
        ConfigError: the encoder of its features or embeddings is gone, or another one.
        CheckpointError: its tokenizer is of another run.
    """
    prompts = _read_by_itself(run_dir, sizes)
    reads_embeddings = isinstance(read_run_config(run_dir)[0].system, PriorStageConfig)
    return EmbeddedPrompts(prompts, open_encoder(run_dir, EMBEDDINGS)) if reads_embeddings else prompts


def open_encoder(run_dir: Path, role: str) -> FrozenEncoder:
    """Load the encoder of the features or embeddings that a finished run was trained on.

    Raises:
        ConfigError: it is gone, or another one; or the run was trained on none.
        CheckpointError: the config of the run is damaged.
    """
    origins = read_origins(run_dir)
    if role not in origins:
        raise ConfigError(f"{run_dir} was trained on no {role}: name a run or system that was.")
    source = read_manifest(run_dir, "run").sources.get(ENCODERS[role], "")
    return origins[role].open((run_dir / source).resolve())


def _read_by_itself(run_dir: Path, sizes: Sizes) -> Prompts:
    if FEATURES in read_origins(run_dir):
        return EncodedPrompts(open_encoder(run_dir, FEATURES))
    tokenizer = Tokenizer.load(run_dir / "tokenizer.json")
    if (tokenizer.vocab_size, tokenizer.context_length) != (sizes.vocab_size, sizes.context_length):
        raise CheckpointError(f"{run_dir / 'tokenizer.json'} does not fit its config.json: one was changed.")
    return TokenizedPrompts(tokenizer)
