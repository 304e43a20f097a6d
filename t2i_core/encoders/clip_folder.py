"""Open_clip folders from elsewhere: a config of known keys and sizes, weights without code, and nothing else.

A config can name other repositories to fetch, code to run with `trust_remote_code`, and sizes that fill any memory. So
it is read here, and open_clip gets what was understood, beside the weights, in a folder of its own.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from t2i_core.config import Config, read_object
from t2i_core.encoders.bounds import Heads, Layers, TokenId, Vocabulary, require_inside
from t2i_core.errors import ConfigError

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
# The largest vision tower that open_clip names reads 1,369 patches.
MAX_PATCHES = 5_000

Width = Annotated[int, Field(ge=1, le=8192)]
Side = Annotated[int, Field(ge=8, le=2048)]
Ratio = Annotated[float, Field(gt=0, le=16)]
Tokens = Annotated[int, Field(ge=1, le=2048)]
Scale = Annotated[float, Field(ge=-1000, le=1000)]
Triple = tuple[Scale, Scale, Scale]


class ActivationConfig(Config):
    """Options of GELU."""

    approximate: Literal["none", "tanh"] = "none"


class NormConfig(Config):
    """Options of LayerNorm."""

    eps: float = Field(1e-5, gt=0, le=1)


class TowerConfig(Config):
    """What both towers share."""

    width: Width | None = None
    mlp_ratio: Ratio | None = None
    ls_init_value: Scale | None = None
    final_ln_after_pool: bool | None = None
    output_tokens: bool | None = None
    act_kwargs: ActivationConfig | None = None
    norm_kwargs: NormConfig | None = None
    block_type: Literal["default", "custom"] | None = None
    qk_norm: bool | None = None
    scaled_cosine_attn: bool | None = None
    scale_heads: bool | None = None
    scale_attn_inner: bool | None = None
    scale_attn: bool | None = None
    scale_fc: bool | None = None


class VisionConfig(TowerConfig):
    """The image tower; timm's are left out, for their names can mean a repository."""

    layers: Layers | tuple[Layers, Layers, Layers, Layers] | None = None
    head_width: Heads | None = None
    patch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    image_size: Side | tuple[Side, Side] | None = None
    patch_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    attentional_pool: bool | None = None
    attn_pooler_queries: Tokens | None = None
    attn_pooler_heads: Heads | None = None
    no_ln_pre: bool | None = None
    pos_embed_type: Literal["learnable", "sin_cos_2d"] | None = None
    pool_type: Literal["tok", "avg", "none"] | None = None


class TokenizerConfig(Config):
    """Options of open_clip's own tokenizer."""

    clean: Literal["whitespace", "lower", "canonicalize"] | None = None


class TextConfig(TowerConfig):
    """The text tower; those of transformers are left out, for they are fetched, and may bring code."""

    context_length: Tokens | None = None
    vocab_size: Vocabulary | None = None
    tokenizer_kwargs: TokenizerConfig | None = None
    heads: Heads | None = None
    layers: Layers | None = None
    embed_cls: bool | None = None
    pad_id: TokenId | None = None
    eos_id: TokenId | None = None
    no_causal_mask: bool | None = None
    pool_type: Literal["argmax", "first", "last", "eos", "none"] | None = None
    proj_bias: bool | None = None
    proj_type: Literal["linear", "none"] | None = None


class ModelConfig(Config):
    """Both towers."""

    embed_dim: Width
    vision_cfg: VisionConfig
    text_cfg: TextConfig
    quick_gelu: bool | None = None
    custom_text: bool | None = None
    init_logit_scale: Scale | None = None
    init_logit_bias: Scale | None = None
    nonscalar_logit_scale: bool | None = None


class PreprocessConfig(Config):
    """How a picture is made ready for the image tower."""

    size: Side | tuple[Side, Side] | None = None
    mode: Literal["RGB"] = "RGB"
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None
    fill_color: int | None = Field(None, ge=0, le=255)


class ClipFolderConfig(Config):
    """An `open_clip_config.json`."""

    model_cfg: ModelConfig
    preprocess_cfg: PreprocessConfig = PreprocessConfig()


def find_files(folder: Path) -> tuple[Path, Path]:
    """Name the config and the weights of a local folder.

    Raises:
        ConfigError: one of them is missing, or is a link that leaves the folder.
    """
    config = folder / CONFIG_NAME
    weights = next((folder / name for name in WEIGHTS_NAMES if (folder / name).is_file()), None)
    if not config.is_file():
        raise ConfigError(f"{folder} is no open_clip folder: it has no {CONFIG_NAME}.")
    if weights is None:
        raise ConfigError(f"no weights in {folder}: it needs {WEIGHTS_NAMES[0]} (safetensors, which cannot hold code).")
    require_inside(folder, (config, weights))
    return config, weights


def tokenizer_file() -> Path:
    """Find the vocabulary of open_clip's own tokenizer, which every folder's texts are read with.

    Raises:
        ConfigError: open_clip is not installed.
    """
    package = find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("open_clip is not installed; `t2i doctor` says how to add it.")
    return Path(package.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"


def download_files(repository: str) -> tuple[Path, Path]:
    """Fetch the config and the weights of a repository on the Hugging Face hub, the config first.

    Raises:
        ConfigError: the config is not understood, or there are no weights of a known name.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    config = Path(hf_hub_download(repository, CONFIG_NAME))
    read_clip_config(config)
    for name in WEIGHTS_NAMES:
        try:
            return config, Path(hf_hub_download(repository, name))
        except EntryNotFoundError:
            continue
    raise ConfigError(f"hf-hub:{repository} has no weights named {' or '.join(WEIGHTS_NAMES)}.")


def read_clip_config(path: Path) -> ClipFolderConfig:
    """Read a config, and refuse whatever in it is not known.

    Raises:
        ConfigError: it is too long, no JSON, has unknown keys or values out of bounds.
    """
    data = read_object(path.resolve())
    if not isinstance(data.get("model_cfg"), dict):
        raise ConfigError(f"{path} has no model_cfg.")
    config = ClipFolderConfig.parse({name: data[name] for name in ClipFolderConfig.model_fields if name in data})
    _check_patches(config, path)
    return config


def _check_patches(config: ClipFolderConfig, path: Path) -> None:
    vision = config.model_cfg.vision_cfg
    size = vision.image_size or 224
    height, width = size if isinstance(size, tuple) else (size, size)
    patches = (height // (vision.patch_size or 16)) * (width // (vision.patch_size or 16))
    if patches > MAX_PATCHES:
        raise ConfigError(f"{path}: {patches:,} patches a picture; at most {MAX_PATCHES:,} are read.")


def check_size(config: ClipFolderConfig, weights: Path) -> None:
    """Refuse, before anything is built, a model that its weights cannot fill.

    Raises:
        ConfigError: the config describes far more parameters than the file has bytes for.
    """
    least = _least_parameters(config.model_cfg)
    if least > weights.stat().st_size:
        raise ConfigError(
            f"{weights} has {weights.stat().st_size:,} bytes, and its config describes at least {least:,} parameters."
        )


def _least_parameters(model: ModelConfig) -> int:
    vision, text = model.vision_cfg, model.text_cfg
    towers = _least_layers(text.layers or 12, text.width or 512, text.mlp_ratio or 4)
    towers += (text.vocab_size or 49408) * (text.width or 512)
    if isinstance(vision.layers, tuple):
        stages = enumerate(vision.layers)
        return towers + sum(_least_layers(layers, (vision.width or 64) * 2**stage, 1) for stage, layers in stages)
    return towers + _least_layers(vision.layers or 12, vision.width or 768, vision.mlp_ratio or 4)


def _least_layers(layers: int, width: int, mlp_ratio: float) -> int:
    return int(layers * (4 + 2 * mlp_ratio) * width**2)


@contextmanager
def understood(config: ClipFolderConfig, weights: Path) -> Iterator[str]:
    """Give the name under which open_clip finds the config as it was understood, and its weights."""
    with tempfile.TemporaryDirectory(prefix="t2i-clip-") as place:
        data: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
        (Path(place) / CONFIG_NAME).write_text(json.dumps(data), encoding="utf-8")
        (Path(place) / WEIGHTS_NAMES[0]).symlink_to(weights.resolve())
        yield f"local-dir:{place}"
