"""What a drawing may be led by beside the runs that draw, each loaded when it is first asked for."""

from collections.abc import Mapping
from pathlib import Path

import torch

from t2i_core.composition.config import Role
from t2i_core.errors import ConfigError
from t2i_core.generation.asked import CLIP
from t2i_core.generation.config import DrawConfig
from t2i_core.systems.stage import Editor, Guide, Stage
from t2i_core.training.device import Compute
from t2i_core.training.finished import load_stage


class Leaders:
    """A CLIP of noised pictures, if there is one, and weaker runs."""

    def __init__(self, runs: Mapping[Role, Path], config: DrawConfig, compute: Compute) -> None:
        self._runs, self._config, self._compute = runs, config, compute
        self._clip: Guide | None = None
        self._weaker: dict[str, Editor] = {}

    @property
    def has_clip(self) -> bool:
        """Whether there is a CLIP."""
        return CLIP in self._runs

    def clip(self) -> Guide:
        """Give the CLIP.

        Raises:
            ConfigError: there is none.
            CheckpointError: it is damaged.
        """
        if CLIP not in self._runs:
            raise ConfigError("there is no CLIP to be guided by: name a system with one (`t2i compose`).")
        if self._clip is None:
            stage = ready_stage(self._runs[CLIP], self._config.of(CLIP), self._compute)
            if not isinstance(stage, Guide):
                raise ConfigError(f"{self._runs[CLIP]} cannot guide: it is no CLIP of noised pictures.")
            self._clip = stage
        return self._clip

    def weaker(self, folder: str) -> Editor:
        """Give a run that another is led away from (Karras et al. 2024, arXiv:2406.02507).

        Raises:
            ConfigError: the folder is not a finished run, or draws in one step.
            CheckpointError: it is damaged.
        """
        if folder not in self._weaker:
            stage = ready_stage(Path(folder), DrawConfig(), self._compute)
            if not isinstance(stage, Editor):
                raise ConfigError(f"{folder} does not draw from noise, and nothing can be led away from it.")
            self._weaker[folder] = stage
        return self._weaker[folder]


def ready_stage(run_dir: Path, config: DrawConfig, compute: Compute) -> Stage:
    """Load the averaged weights of a finished run onto the device that draws.

    Raises:
        ConfigError: the folder is not a finished run of this version, or has no such weights.
        CheckpointError: they are damaged.
    """
    stage = load_stage(run_dir, config.checkpoint, config.ema).stage
    return stage.to(compute.device).to(memory_format=torch.channels_last).eval()
