"""Presets: complete, named training recipes as JSON files beside this one."""

import json
from importlib.resources import files

from pydantic import Field

from t2i_core.config import Config
from t2i_core.errors import ConfigError
from t2i_core.systems.build import SystemConfig
from t2i_core.training.ema import EMAConfig
from t2i_core.training.optim import OptimConfig

PRESET_DIR = files("t2i_core.training") / "presets"


class Preset(Config):
    """Everything about a training but its data, its budget's override and its seed."""

    description: str = Field(description="What the preset is for, and what it costs.")
    system: SystemConfig
    optim: OptimConfig = OptimConfig()
    ema: EMAConfig = EMAConfig()
    batch_size: int = Field(32, gt=0, description="Pictures a step.")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="Share of captions replaced by the empty one.")
    max_minutes: float = Field(0, ge=0, description="Budget of training time, minutes; 0 = none.")
    max_images: int = Field(0, ge=0, description="Budget of pictures seen; 0 = none.")


def preset_names() -> list[str]:
    """List the presets."""
    return sorted(entry.name.removesuffix(".json") for entry in PRESET_DIR.iterdir() if entry.name.endswith(".json"))


def load_preset(name: str) -> Preset:
    """Load a preset by name.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}; choose one of: {', '.join(preset_names())}.")
    return Preset.parse(json.loads((PRESET_DIR / f"{name}.json").read_text(encoding="utf-8")))
