"""A small CLIP of the pipeline's own (Radford et al. 2021, arXiv:2103.00020), for where no weights are to be had.

The networks and the tokenizer are open_clip's, so the finished run is an ordinary open_clip folder. It is trained apart
from every text-to-image system and shares no weights with one.
"""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from t2i_core.systems.config import CLIPConfig
from t2i_core.systems.system import Batch, Condition, DrawSettings, Losses, no_bands

# Pixels in [-1, 1] are what these give to a picture in [0, 1].
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
MAX_LOG_SCALE = 4.6052  # ln 100, as in the paper


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


class CLIPSystem(nn.Module):
    """Image tower, text tower and a temperature."""

    uses_noise = False
    can_draw = False

    def __init__(self, config: CLIPConfig, image_size: int) -> None:
        super().__init__()
        self.config = config
        self.clip = open_clip.CLIP(**open_clip_config(config, image_size)["model_cfg"])

    def encode(self, captions: Sequence[str]) -> Condition:
        """Turn captions into open_clip's token ids."""
        tokenizer = open_clip.SimpleTokenizer(context_length=self.config.context_length)
        known = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
        ids = tokenizer(list(known))[[known[caption] for caption in captions]]
        return Condition(token_ids=ids, token_mask=torch.ones_like(ids, dtype=torch.bool))

    def loss(self, batch: Batch) -> Losses:
        """Contrast pictures and captions within the batch.

        Equal captions are positives of each other, since a small world repeats them (Khosla et al. 2020,
        arXiv:2004.11362).
        """
        ids = batch.condition.token_ids
        image = self.clip.encode_image(batch.x_0, normalize=True).float()
        text = self.clip.encode_text(ids, normalize=True).float()
        scale = self.clip.logit_scale.clamp(max=MAX_LOG_SCALE).exp()
        logits = scale * image @ text.T
        same = (ids[:, None] == ids[None]).all(-1).float()
        targets = same / same.sum(1, keepdim=True)
        each = -0.5 * ((logits.log_softmax(1) * targets).sum(1) + (logits.T.log_softmax(1) * targets).sum(1))
        return Losses(total=each.mean(), each=each.detach(), band=no_bands(each))

    def draw(self, condition: Condition, noise: Tensor, settings: DrawSettings) -> Tensor:
        """Refuse: a CLIP draws nothing.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a CLIP scores pictures; it cannot draw them")

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """Leave all weights to Adam, as the field does."""
        return ()
