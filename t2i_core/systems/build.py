"""From a system's config to the system."""

from t2i_core.errors import ConfigError
from t2i_core.systems.clip import CLIPSystem
from t2i_core.systems.config import CLIPConfig, DiffusionConfig, DirectConfig
from t2i_core.systems.diffusion import DiffusionSystem
from t2i_core.systems.direct import DirectSystem

AnySystem = DirectSystem | DiffusionSystem | CLIPSystem


def build_system(
    config: DirectConfig | DiffusionConfig | CLIPConfig, *, vocab_size: int, context_length: int, image_size: int
) -> AnySystem:
    """Build a system with fresh weights.

    Raises:
        ConfigError: the picture size does not fit the network.
    """
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
