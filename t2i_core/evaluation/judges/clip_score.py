"""CLIP score with any open_clip model: raw cosines per picture, and every derived scale under its own name.

Four different figures are called "CLIP score" in the literature. Here the raw cosine is what is kept; `cosine_x100`
(clamped at 0 per picture) and `hessel` (2.5 * max(cos, 0), prefix "A photo depicts "; Hessel et al. 2021, eq. 1)
are derived from cosines and named as such.
"""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from t2i_core.encoders.clip import Clip, clear_errors, create_clip, load_clip_files
from t2i_core.encoders.clip_folder import download_files, find_files
from t2i_core.errors import ConfigError

Floats = npt.NDArray[np.float64]

HESSEL_PREFIX, HESSEL_WEIGHT = "A photo depicts ", 2.5
LOCAL_DIR, HUB = "local-dir:", "hf-hub:"
BATCH = 128


@dataclass(frozen=True, slots=True)
class ClipIdentity:
    """Which CLIP gave a score.

    Attributes:
        spec: model and tag, or the last two parts of a folder's path.
        weights_sha256: of all weights by name.
        image_size: side of the picture that the model sees, in pixels.
        preprocessing: resizing, cropping and normalisation, in words.
        context_length: tokens the text tower can read.
        quick_gelu: whether the activation is QuickGELU.
    """

    spec: str
    weights_sha256: str
    image_size: int
    preprocessing: str
    context_length: int
    quick_gelu: bool


class ClipScorer:
    """Embeds pictures and texts with one open_clip model, in float32.

    Attributes:
        identity: which model this is.
        num_truncated: texts so far that were longer than the model reads.
    """

    def __init__(self, clip: Clip, spec: str) -> None:
        self._model, self._preprocess, self._tokenizer = clip.model, clip.preprocess, clip.tokenizer
        self._device = next(clip.model.parameters()).device
        self.identity = _identify(clip.model, clip.preprocess, clip.tokenizer, spec)
        self.num_truncated = 0

    @torch.inference_mode()
    def embed_images(self, images: npt.NDArray[np.uint8]) -> Floats:
        """Embed pictures, (N, H, W, 3) uint8, as unit vectors, (N, D)."""
        rows = []
        for start in range(0, len(images), BATCH):
            batch = torch.stack([self._preprocess(Image.fromarray(image)) for image in images[start : start + BATCH]])
            rows.append(self._encode("encode_image", batch))
        return _unit(rows)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Embed texts as unit vectors, (N, D); texts that are too long are cut and counted."""
        rows = []
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            self.num_truncated += _count_truncated(self._tokenizer, part, self.identity.context_length)
            rows.append(self._encode("encode_text", self._tokenizer(part)))
        return _unit(rows)

    def _encode(self, name: str, batch: torch.Tensor) -> torch.Tensor:
        encoded: torch.Tensor = getattr(self._model, name)(batch.to(self._device))
        return encoded.float().cpu()


def _unit(rows: list[torch.Tensor]) -> Floats:
    if not rows:
        return np.zeros((0, 1))
    vectors = torch.cat(rows).numpy().astype(np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def load_clip(spec: str, *, device: str | None = None) -> ClipScorer:
    """Load an open_clip model with its weights; random weights are refused.

    Args:
        spec: "MODEL/PRETRAINED_TAG" (such as "ViT-B-32/laion2b_s34b_b79k"), "hf-hub:ORG/NAME", "local-dir:PATH" or the
            path of a folder that holds `open_clip_config.json` and the weights.
        device: where to run; by default CUDA where there is one.

    Raises:
        ConfigError: the model or tag is unknown, or its weights cannot be had.
    """
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with clear_errors(spec):
        if spec.startswith(HUB):
            return ClipScorer(load_clip_files(*download_files(spec.removeprefix(HUB)), place), spec)
        folder = Path(spec.removeprefix(LOCAL_DIR))
        if spec.startswith(LOCAL_DIR) or folder.is_dir():
            # Names it without saying where this machine keeps it.
            label = "/".join(folder.absolute().parts[-2:])
            return ClipScorer(load_clip_files(*find_files(folder), place), label)
        return _load_known(spec, place)


def _load_known(spec: str, place: str) -> ClipScorer:
    """Load a model by its name and its weights by their tag, both of open_clip's own lists."""
    name, tag, quick_gelu = _resolve(spec)
    return ClipScorer(create_clip(name, tag, place, quick_gelu=quick_gelu), f"{name}/{tag}")


def _resolve(spec: str) -> tuple[str, str, bool]:
    """Split a spec into model name, tag, and whether the tag's weights need QuickGELU."""
    import open_clip

    name, slash, tag = spec.partition("/")
    if not slash or not tag:
        raise ConfigError(f"clip={spec!r} is neither a folder nor MODEL/PRETRAINED_TAG, such as ViT-B-32/openai.")
    if name not in open_clip.list_models():
        raise ConfigError(f"open_clip has no model {name!r}{_closest(name, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise ConfigError(f"open_clip has no weights {tag!r} for {name}{_closest(tag, tags)}")
    return name, tag, bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))


def _closest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=4, cutoff=0.3) or list(known)[:4]
    return f"; did you mean {', '.join(near)}?" if near else "; it has none at all."


def _identify(model: torch.nn.Module, preprocess: Any, tokenizer: Any, spec: str) -> ClipIdentity:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    size = getattr(model.visual, "image_size", 224)
    return ClipIdentity(
        spec=spec,
        weights_sha256=digest.hexdigest(),
        image_size=int(size[0] if isinstance(size, tuple | list) else size),
        preprocessing=" ".join(str(preprocess).split()),
        context_length=int(getattr(model, "context_length", None) or tokenizer.context_length),
        quick_gelu=any(type(module).__name__ == "QuickGELU" for module in model.modules()),
    )


def _count_truncated(tokenizer: Any, texts: list[str], context_length: int) -> int:
    """Count texts whose tokens do not fit, by tokenising with twice the room."""
    roomy = tokenizer(texts, context_length=2 * context_length)
    beyond = roomy[:, context_length:]
    return int((beyond != tokenizer([""], context_length=2 * context_length)[:, -1:]).any(dim=1).sum())


def cosine_x100(cosines: Floats) -> Floats:
    """Scale cosines to 100 * max(cos, 0), clamped picture by picture."""
    return np.asarray(100 * np.maximum(cosines, 0))


def hessel(prefixed_cosines: Floats) -> Floats:
    """Scale cosines with prefixed texts to 2.5 * max(cos, 0) (Hessel et al. 2021, eq. 1)."""
    return np.asarray(HESSEL_WEIGHT * np.maximum(prefixed_cosines, 0))


def with_prefix(text: str) -> str:
    """Put the prefix of Hessel et al. before a text."""
    return HESSEL_PREFIX + text


def r_precision(
    image_vectors: Floats, own_text: Sequence[int], text_vectors: Floats, *, num_candidates: int, seed: int
) -> tuple[npt.NDArray[np.bool_], float]:
    """Ask, for each picture, whether its own text ranks first among random other texts (AttnGAN's R-precision, R = 1).

    Args:
        image_vectors: (N, D) unit vectors of the pictures.
        own_text: for each picture, the row of its text.
        text_vectors: (M, D) unit vectors of texts that are all distinct by specification.
        num_candidates: texts a picture is ranked among, its own included; at most M are used.
        seed: of the draw of candidates.

    Returns:
        (N,) whether the own text is strictly first, and the chance of that by luck.
    """
    num_texts = len(text_vectors)
    num_others = min(num_candidates, num_texts) - 1
    similarities = image_vectors @ text_vectors.T
    rng = np.random.default_rng(seed)
    hits = np.zeros(len(image_vectors), dtype=bool)
    for row, own in enumerate(own_text):
        others = rng.choice(np.delete(np.arange(num_texts), own), size=num_others, replace=False)
        hits[row] = bool(np.all(similarities[row, own] > similarities[row, others]))
    return hits, 1 / (num_others + 1)
