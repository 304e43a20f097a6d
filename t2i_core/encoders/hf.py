"""Text encoders of Hugging Face's transformers, loaded from a folder without code.

transformers gets the weights, and a config of the known keys alone, in a folder of their own; the tokenizer is read
without it.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import Tensor

from t2i_core.door import read_file
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.encoder import FrozenEncoder, TokenIds
from t2i_core.encoders.hf_folder import CONFIG_NAME, WEIGHTS_NAME, Sizes, find_files, read_sizes
from t2i_core.errors import ConfigError

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
DEFAULT_LENGTH = 64


class HFEncoder(FrozenEncoder):
    """A text encoder of Hugging Face's transformers, which must be installed.

    Raises:
        ConfigError: transformers is not installed, or the folder does not hold a whole encoder that is understood.
    """

    def __init__(self, folder: Path, config: FeaturesConfig, device: torch.device) -> None:
        config_path, weights, tokenizer_path = find_files(folder)
        sizes = read_sizes(config_path)
        super().__init__(config, device, sizes.num_layers + 1)
        if sizes.least_parameters > weights.stat().st_size:
            raise ConfigError(
                f"{weights} has {weights.stat().st_size:,} bytes, and its config describes at least "
                f"{sizes.least_parameters:,} parameters."
            )
        self._length = config.max_length or min(DEFAULT_LENGTH, sizes.max_length)
        if self._length > sizes.max_length:
            raise ConfigError(
                f"the encoder in {folder} reads {sizes.max_length} tokens: choose a smaller --max-length."
            )
        self._tokenizer = _tokenizer(tokenizer_path, sizes, self._length)
        self._model = _load(sizes, weights).to(device)

    def tokenize(self, captions: Sequence[str]) -> TokenIds:
        """Number the tokens of captions, with those that the encoder's own tokenizer puts around them."""
        rows = self._tokenizer.encode_batch(list(captions))
        lengths = torch.tensor([max(1, sum(row.attention_mask)) for row in rows])
        return TokenIds(
            ids=torch.tensor([row.ids for row in rows]),
            lengths=lengths,
            num_cut=sum(bool(row.overflowing) for row in rows),
        )

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Sequence[Tensor], Tensor | None]:
        """Give the tokens of some layers; there is no vector of the whole that was trained as one."""
        out = self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        return [out.hidden_states[-layer] for layer in self.config.layers], None


def _tokenizer(path: Path, sizes: Sizes, length: int) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_str(read_file(path.resolve(), MAX_TOKENIZER_BYTES).decode())
    except Exception as err:
        raise ConfigError(f"{path} is no tokenizer that is understood: {err!s:.200}") from err
    if max(backend.get_vocab().values(), default=0) >= sizes.vocab_size:
        raise ConfigError(f"{path} has more tokens than its encoder knows, {sizes.vocab_size:,}: it is of another one.")
    backend.enable_truncation(max_length=length)
    backend.enable_padding(direction="right", length=length, pad_id=sizes.pad_token_id)
    return backend


def _load(sizes: Sizes, weights: Path) -> Any:
    """Load the weights of an encoder, every one of which must be there.

    Raises:
        ConfigError: transformers is not installed, or they do not fit.
    """
    try:
        import transformers
    except ImportError as err:
        raise ConfigError(
            "this encoder needs the package transformers; `t2i doctor` says how to add it, or name a CLIP."
        ) from err
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    classes = {"t5": transformers.T5EncoderModel, "mt5": transformers.MT5EncoderModel, "bert": transformers.BertModel}
    options = {"add_pooling_layer": False} if sizes.model_type == "bert" else {}
    with tempfile.TemporaryDirectory(prefix="t2i-encoder-") as place:
        (Path(place) / CONFIG_NAME).write_text(json.dumps(sizes.model_dump(mode="json")), encoding="utf-8")
        (Path(place) / WEIGHTS_NAME).symlink_to(weights.resolve())
        try:
            model, found = classes[sizes.model_type].from_pretrained(
                place,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
        except Exception as err:
            first = (str(err).strip() or type(err).__name__).splitlines()[0]
            raise ConfigError(f"{weights} does not fit its config: {first:.200}") from err
    if lacking := sorted(found["missing_keys"]) + sorted(map(str, found["mismatched_keys"])):
        raise ConfigError(f"{weights} does not fit its config: it lacks {lacking[0]:.100}.")
    return model.eval()
