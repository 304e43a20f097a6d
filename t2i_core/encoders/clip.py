"""CLIPs as open_clip loads them, and their text towers as encoders."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.encoders.clip_folder import check_size, find_files, read_clip_config, understood
from t2i_core.encoders.config import MAX_TOKENS, FeaturesConfig
from t2i_core.encoders.encoder import BATCH, FrozenEncoder, TokenIds
from t2i_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Clip:
    """A CLIP with its weights, in float32.

    Attributes:
        model: both towers, in evaluation mode.
        preprocess: makes a picture ready for the image tower.
        tokenizer: makes token ids of texts.
    """

    model: Any
    preprocess: Callable[[Any], Tensor]
    tokenizer: Any


def create_clip(name: str, tag: str | None, device: str, *, quick_gelu: bool = False) -> Clip:
    """Have open_clip load a model by its name, and its weights by their tag or, where it names a folder, from there."""
    # Imported late: open_clip takes seconds to import.
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(
        name, pretrained=tag, precision="fp32", device=device, force_quick_gelu=quick_gelu, weights_only=True
    )
    # Only transformers' tokenizers, of some models on open_clip's list, know of code to trust.
    foreign = "hf_tokenizer_name" in (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    tokenizer = open_clip.get_tokenizer(name, **({"trust_remote_code": False} if foreign else {}))
    return Clip(model.eval().float(), preprocess, tokenizer)


def load_clip_files(config_path: Path, weights: Path, device: str) -> Clip:
    """Load a CLIP whose config is from elsewhere.

    Raises:
        ConfigError: the config is not understood, or does not fit the weights' size.
    """
    config = read_clip_config(config_path)
    check_size(config, weights)
    with understood(config, weights) as name:
        return create_clip(name, None, device)


@contextmanager
def clear_errors(spec: str) -> Iterator[None]:
    """Say in one sentence why a CLIP could not be loaded, whatever open_clip or the hub raised.

    Raises:
        ConfigError: it could not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ConfigError:
        raise
    except Exception as err:
        first = (str(err).strip() or type(err).__name__).splitlines()[0]
        raise ConfigError(
            f"no weights for CLIP {spec!r}: {first:.200}. Check the name and the network, or give a local folder with "
            "open_clip_config.json and open_clip_model.safetensors."
        ) from err


class ClipTextEncoder(FrozenEncoder):
    """The text tower of a CLIP, and beside it the one of pictures.

    Attributes:
        side: of the squares that it reads, pixels.

    Raises:
        ConfigError: the folder holds none, or it reads another number of tokens than is wanted.
    """

    # Some towers read nothing shorter than what they were trained on.
    grain = MAX_TOKENS

    def __init__(self, folder: Path, config: FeaturesConfig, device: torch.device) -> None:
        with clear_errors(str(folder)):
            clip = load_clip_files(*find_files(folder), str(device))
        super().__init__(config, device, len(getattr(clip.model, "text", clip.model).transformer.resblocks))
        self._model, self._tokenizer = clip.model, clip.tokenizer
        self._length = int(clip.model.context_length)
        size = clip.model.visual.image_size
        self.side = int(size[0] if isinstance(size, Sequence) else size)
        if config.max_length not in (0, self._length):
            raise ConfigError(f"the CLIP in {folder} reads {self._length} tokens: leave --max-length out.")

    def tokenize(self, captions: Sequence[str]) -> TokenIds:
        """Number the tokens of captions; the last of a caption, which closes it, is the largest number."""
        long = self._tokenizer(list(captions), context_length=2 * self._length)
        lengths, is_cut = long.argmax(1) + 1, long.argmax(1) >= self._length
        ids = long[:, : self._length].clone()
        ids[is_cut, -1] = long.max()
        return TokenIds(ids=ids, lengths=lengths.clamp(max=self._length), num_cut=int(is_cut.sum()))

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Sequence[Tensor], Tensor | None]:
        """Give the tokens after the tower's last norm, whatever the layer, and the embedding of length 1."""
        layers = self.config.layers
        out = self._model.forward_intermediates(text=ids, text_indices=max(layers), normalize_intermediates=True)
        return [out["text_intermediates"][-layer] for layer in layers], out["text_features"]

    @torch.inference_mode()
    def embed(self, pictures: Tensor) -> Tensor:
        """See `PictureEncoder.embed`."""
        parts = [self._embed_batch(part) for part in torch.split(pictures, BATCH)]
        return self._stored(torch.cat(parts))

    def _embed_batch(self, pictures: Tensor) -> Tensor:
        """Embed some pictures, in a batch of the one size there is."""
        visual, count = self._model.visual, len(pictures)
        mean, std = (
            torch.tensor(values, device=self.device)[:, None, None] for values in (visual.image_mean, visual.image_std)
        )
        padded = F.pad(pictures, (0, 0, 0, 0, 0, 0, 0, BATCH - count)).to(self.device)
        pixels = (padded.permute(0, 3, 1, 2).float() / 255 - mean) / std
        embeddings: Tensor = self._model.encode_image(pixels, normalize=True)
        return embeddings[:count].float()
