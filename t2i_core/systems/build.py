"""From a stage's config to the stage."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from t2i_core.config import Config
from t2i_core.errors import ConfigError
from t2i_core.machine import memory_bytes
from t2i_core.models.config import Sizes
from t2i_core.systems.clip import CLIPStage
from t2i_core.systems.config import (
    ARPriorStageConfig,
    CLIPConfig,
    DiffusionConfig,
    DiffusionPriorConfig,
    DirectConfig,
    EnlargingConfig,
    NoisedCLIPConfig,
    SystemConfig,
)
from t2i_core.systems.diffusion import DiffusionStage
from t2i_core.systems.direct import DirectStage
from t2i_core.systems.enlarging import EnlargingStage
from t2i_core.systems.noised_clip import NoisedCLIPStage
from t2i_core.systems.priors.ar_prior import ARPriorStage
from t2i_core.systems.priors.diffusion_prior import DiffusionPriorStage
from t2i_core.systems.stage import Stage
from t2i_core.systems.weights import size_bytes

STAGES: dict[type[Config], Callable[[Any, Sizes, Mapping[str, Stage]], Stage]] = {
    DirectConfig: DirectStage,
    DiffusionConfig: DiffusionStage,
    EnlargingConfig: EnlargingStage,
    DiffusionPriorConfig: DiffusionPriorStage,
    ARPriorStageConfig: ARPriorStage,
    CLIPConfig: CLIPStage,
    NoisedCLIPConfig: NoisedCLIPStage,
}


def build_stage(config: SystemConfig, sizes: Sizes, given: Mapping[str, Stage] = MappingProxyType({})) -> Stage:
    """Build a stage with fresh weights, if this machine has the memory for them.

    Args:
        config: of the stage.
        sizes: of the data.
        given: the stages that it stands on, by role; those that training alone needs may be missing to draw.

    Raises:
        ConfigError: the picture size does not fit the network, its parts do not fit together, or it is too large.
    """
    make = STAGES[type(config)]
    try:
        # Without memory for the weights, and so without any for those of an absurd size.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            size = size_bytes(make(config, sizes, given))
    except (ValueError, TypeError, RuntimeError, OverflowError) as err:
        raise ConfigError(f"a {config.kind} system of these sizes cannot be built: {str(err).splitlines()[0]}") from err
    if size > memory_bytes() > 0:
        raise ConfigError(
            f"the weights of this {config.kind} system take {size / 2**30:,.1f} GiB, more than the "
            f"{memory_bytes() / 2**30:,.1f} GiB of memory of this machine. Nothing was built; choose smaller sizes."
        )
    return make(config, sizes, given)
