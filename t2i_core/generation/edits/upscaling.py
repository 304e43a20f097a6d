"""Pictures enlarged by the upsampler of a system alone."""

from collections.abc import Sequence

import numpy as np
import torch

from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.generation.cascade import enlarged
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.edits.canvas import Pixels
from t2i_core.generation.generator import Generator
from t2i_core.systems.condition import Condition
from t2i_core.systems.view import clean_low


def upscaled(
    generator: Generator, pictures: Pixels, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig
) -> Pixels:
    """Enlarge pictures, one by one.

    Args:
        generator: of a system with an upsampler.
        pictures: (B, H, W, 3) uint8, of any sides that its network takes.
        prompts: what they show.
        seeds: `image_seed` of each.
        config: with which settings of the upsampler.

    Returns:
        (B, factor H, factor W, 3) uint8.

    Raises:
        ConfigError: there is no upsampler, or the size does not fit it.
    """
    cascade, factor = generator.cascade, generator.factor
    drawer = cascade.upsampler(tuple(factor * side for side in pictures.shape[1:3]))
    role, large = cascade.roles[-1], []
    settings = generator.settings(role, config, 1)
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        condition, chance = Condition(text=generator.text(role, [prompt])), generator.chance([seed])
        low = clean_low(to_unit(pictures[number : number + 1]).to(generator.compute.device))
        with torch.no_grad(), generator.compute.autocast():
            drawn = enlarged(drawer, low, factor, condition, chance, settings)
        large.append(to_uint8(drawn).cpu().numpy())
    return np.concatenate(large)
