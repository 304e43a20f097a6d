"""Folders of text encoders in the layout of Hugging Face: sizes that are bounded before anything is built, and no code.

A config can ask for code, for other repositories and for sizes that fill any memory. So the known keys alone are read.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from t2i_core.config import Config, read_object
from t2i_core.encoders.bounds import Heads, Layers, TokenId, Vocabulary, require_inside
from t2i_core.errors import ConfigError

CONFIG_NAME, WEIGHTS_NAME, TOKENIZER_NAME = "config.json", "model.safetensors", "tokenizer.json"

Width = Annotated[int, Field(ge=1, le=16_384)]
Positions = Annotated[int, Field(ge=1, le=65_536)]
Epsilon = Annotated[float, Field(gt=0, le=1)]


class T5Sizes(Config):
    """What is known of the config of a T5, of which only the encoder is built."""

    model_type: Literal["t5", "mt5"]
    vocab_size: Vocabulary
    d_model: Width
    d_kv: Width
    d_ff: Annotated[int, Field(ge=1, le=131_072)]
    num_layers: Layers
    num_heads: Heads
    relative_attention_num_buckets: Annotated[int, Field(ge=1, le=1024)] = 32
    relative_attention_max_distance: Annotated[int, Field(ge=1, le=65_536)] = 128
    layer_norm_epsilon: Epsilon = 1e-6
    feed_forward_proj: Literal["relu", "gelu", "gated-gelu", "gated-silu"] = "relu"
    pad_token_id: TokenId = 0

    @property
    def max_length(self) -> int:
        """Most tokens that it reads; its positions have no end."""
        return 65_536

    @property
    def least_parameters(self) -> int:
        """Numbers that its matrices have at least."""
        attention = 4 * self.d_model * self.d_kv * self.num_heads
        return self.num_layers * (attention + 2 * self.d_model * self.d_ff) + self.vocab_size * self.d_model


class BertSizes(Config):
    """What is known of the config of a BERT."""

    model_type: Literal["bert"]
    vocab_size: Vocabulary
    hidden_size: Width
    intermediate_size: Annotated[int, Field(ge=1, le=131_072)]
    num_hidden_layers: Layers
    num_attention_heads: Heads
    max_position_embeddings: Positions
    type_vocab_size: Annotated[int, Field(ge=1, le=64)] = 2
    layer_norm_eps: Epsilon = 1e-12
    hidden_act: Literal["gelu", "gelu_new", "relu", "silu"] = "gelu"
    pad_token_id: TokenId = 0

    @property
    def num_layers(self) -> int:
        """Blocks that it has."""
        return self.num_hidden_layers

    @property
    def max_length(self) -> int:
        """Most tokens that it reads."""
        return self.max_position_embeddings

    @property
    def least_parameters(self) -> int:
        """Numbers that its matrices have at least."""
        block = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size
        return self.num_layers * block + self.vocab_size * self.hidden_size


Sizes = T5Sizes | BertSizes
KINDS = ("t5", "mt5", "bert")


def find_files(folder: Path) -> list[Path]:
    """List the config, the weights and the tokenizer of a folder.

    Raises:
        ConfigError: one of them is missing, or is a link that leaves the folder.
    """
    paths = [folder / name for name in (CONFIG_NAME, WEIGHTS_NAME, TOKENIZER_NAME)]
    for path in paths:
        if not path.is_file():
            raise ConfigError(
                f"{folder} has no {path.name}: a text encoder in the layout of Hugging Face is {CONFIG_NAME}, "
                f"{WEIGHTS_NAME} (safetensors in one file, which cannot hold code) and {TOKENIZER_NAME}."
            )
    require_inside(folder, paths)
    return paths


def read_sizes(path: Path) -> Sizes:
    """Read the sizes of an encoder from its config; other keys of it, which may ask for code, are passed over.

    Raises:
        ConfigError: it is no JSON, of another kind, or has sizes out of bounds.
    """
    data = read_object(path.resolve())
    kind = data.get("model_type")
    if kind not in KINDS:
        raise ConfigError(f"{path} is of a model of kind {kind!r:.40}; of these are read: {', '.join(KINDS)}.")
    known: type[Sizes] = BertSizes if kind == "bert" else T5Sizes
    return known.parse({name: data[name] for name in known.model_fields if data.get(name) is not None})
