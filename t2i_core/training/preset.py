"""Presets: complete, named training recipes as JSON files beside this one."""

from importlib.resources import files

from pydantic import Field

from t2i_core.config import Config, names_of_presets, read_preset
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
    return names_of_presets(PRESET_DIR)


def load_preset(name: str) -> Preset:
    """Load a preset by name.

    Raises:
        ConfigError: there is none of this name.
    """
    return Preset.parse(read_preset(PRESET_DIR, name))
