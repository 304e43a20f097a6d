"""A small CLIP of the pipeline's own (Radford et al. 2021, arXiv:2103.00020), for where no weights are to be had.

The networks and the tokenizer are open_clip's, so the finished run is an ordinary open_clip folder. It is trained apart
from every text-to-image system and shares no weights with one.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from t2i_core.folders.atomic import write_atomically
from t2i_core.models.config import Sizes
from t2i_core.systems.condition import Text
from t2i_core.systems.config import CLIPConfig
from t2i_core.systems.stage import Batch, Losses, Stage
from t2i_core.systems.weights import save_tensors

# Pixels in [-1, 1] are what these give to a picture in [0, 1].
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
MAX_LOG_SCALE = 4.6052  # ln 100, as in the paper


@lru_cache(maxsize=1)
def _tokenizer(context_length: int) -> Any:
    # Reading its vocabulary takes as long as many batches.
    return open_clip.SimpleTokenizer(context_length=context_length)


def open_clip_config(config: CLIPConfig, image_size: int) -> dict[str, Any]:
    """Write the sizes as an `open_clip_config.json`."""
    return {
        "model_cfg": {
            "embed_dim": config.embed_dim,
            "vision_cfg": {
                "image_size": image_size,
                "layers": config.image_layers,
                "width": config.width,
                "head_width": 32,
                "patch_size": config.patch_size,
            },
            "text_cfg": {
                "context_length": config.context_length,
                "vocab_size": 49408,
                "width": config.width,
                "heads": config.width // 32,
                "layers": config.text_layers,
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


class CLIPStage(Stage):
    """Image tower, text tower and a temperature."""

    def __init__(self, config: CLIPConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__()
        if sizes.image_size % config.patch_size:
            raise ValueError(f"pictures of {sizes.image_size} pixels do not fit patches of {config.patch_size}.")
        self.image_size = sizes.image_size
        self.config = open_clip_config(config, sizes.image_size)
        self.clip = open_clip.CLIP(**self.config["model_cfg"])

    def read(self, captions: Sequence[str]) -> Text:
        """Turn captions into open_clip's token ids."""
        tokenizer = _tokenizer(self.clip.context_length)
        known = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
        ids = tokenizer(list(known))[[known[caption] for caption in captions]]
        return Text(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures (B, 3, H, W): (B, D) float32, of length 1."""
        embedding: Tensor = self.clip.encode_image(pictures, normalize=True)
        return embedding.float()

    def loss(self, batch: Batch) -> Losses:
        """Contrast pictures and captions within the batch."""
        assert batch.condition.text is not None
        ids = batch.condition.text.ids
        assert ids is not None
        image = self(batch.target)
        text = self.clip.encode_text(ids, normalize=True).float()
        scale = self.clip.logit_scale.clamp(max=MAX_LOG_SCALE).exp()
        each = contrast(scale * image @ text.T, same_captions(ids))
        return Losses(total=each.mean(), figures={"loss": each.detach()})

    def export(self, folder: Path) -> list[Path]:
        """Write the folder that open_clip loads."""
        folder = folder / "open_clip"
        folder.mkdir(exist_ok=True)
        write_atomically(folder / "open_clip_config.json", json.dumps(self.config, indent=2).encode())
        save_tensors(folder / "open_clip_model.safetensors", self.clip.state_dict())
        return sorted(folder.iterdir())


def same_captions(ids: Tensor) -> Tensor:
    """Say which captions of a batch, as ids (B, L), are equal: (B, B) bool."""
    return (ids[:, None] == ids[None]).all(-1)


def contrast(logits: Tensor, same: Tensor) -> Tensor:
    """Give the loss of each picture and its caption, both ways: (B,) float.

    Equal captions are positives of each other, since a small world repeats them (Khosla et al. 2020, arXiv:2004.11362).

    Args:
        logits: (B, B) float, pictures by captions.
        same: (B, B) bool, which captions are equal.
    """
    targets = same.float() / same.sum(1, keepdim=True)
    of_pictures, of_captions = ((rows.log_softmax(1) * targets).sum(1) for rows in (logits, logits.T))
    return -0.5 * (of_pictures + of_captions)
