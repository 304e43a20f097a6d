"""From a system's config to the system."""

import torch

from t2i_core.errors import ConfigError
from t2i_core.machine import memory_bytes
from t2i_core.systems.clip import CLIPSystem
from t2i_core.systems.config import CLIPConfig, DiffusionConfig, DirectConfig
from t2i_core.systems.diffusion import DiffusionSystem
from t2i_core.systems.direct import DirectSystem

AnySystem = DirectSystem | DiffusionSystem | CLIPSystem


def build_system(
    config: DirectConfig | DiffusionConfig | CLIPConfig, *, vocab_size: int, context_length: int, image_size: int
) -> AnySystem:
    """Build a system with fresh weights, if this machine has the memory for them.

    Raises:
        ConfigError: the picture size does not fit the network, its parts do not fit together, or it is too large.
    """
    try:
        # Without memory for the weights, and so without any for those of an absurd size.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            size = size_bytes(_build(config, vocab_size, context_length, image_size))
    except (ValueError, TypeError, RuntimeError, OverflowError) as err:
        raise ConfigError(f"a {config.kind} system of these sizes cannot be built: {str(err).splitlines()[0]}") from err
    if size > memory_bytes() > 0:
        raise ConfigError(
            f"the weights of this {config.kind} system take {size / 2**30:,.1f} GiB, more than the "
            f"{memory_bytes() / 2**30:,.1f} GiB of memory of this machine. Nothing was built; choose smaller sizes."
        )
    return _build(config, vocab_size, context_length, image_size)


def size_bytes(system: torch.nn.Module) -> int:
    """Give the bytes of all that a system saves: weights and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in system.state_dict().values())


def _build(
    config: DirectConfig | DiffusionConfig | CLIPConfig, vocab_size: int, context_length: int, image_size: int
) -> AnySystem:
    match config:
        case DirectConfig():
            try:
                return DirectSystem(config, vocab_size, context_length, image_size)
            except ValueError as err:
                raise ConfigError(str(err)) from err
        case DiffusionConfig():
            if image_size % config.unet.side_multiple:
                raise ConfigError(
                    f"pictures of {image_size} pixels do not fit this U-Net: use a multiple of "
                    f"{config.unet.side_multiple}."
                )
            return DiffusionSystem(config, vocab_size, context_length)
        case CLIPConfig():
            if image_size % config.patch_size:
                raise ConfigError(f"pictures of {image_size} pixels do not fit patches of {config.patch_size}.")
            return CLIPSystem(config, image_size)
