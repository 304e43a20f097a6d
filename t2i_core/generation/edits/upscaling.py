"""Pictures enlarged by the upsamplers of a system alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.edits.canvas import Pixels
from t2i_core.generation.generator import Generator
from t2i_core.systems.condition import Condition


def upscaled(
    generator: Generator, pictures: Pixels, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig
) -> Pixels:
    """Enlarge pictures, one by one; what comes in gets no noise unless it is asked for.

    Args:
        generator: of a system with upsamplers.
        pictures: (B, H, W, 3) uint8, of any sides that its network takes.
        prompts: what they show.
        seeds: `image_seed` of each.
        config: with which settings of these.

    Returns:
        (B, factor H, factor W, 3) uint8.

    Raises:
        ConfigError: there is no upsampler, or the size does not fit it.
    """
    cascade, large = generator.cascade, []
    cascade.require_upsampler(tuple(generator.factor * side for side in pictures.shape[1:3]))
    settings = {role: generator.settings(role, config, 1) for role in cascade.upsamplers}
    first = cascade.upsamplers[0]
    settings[first] = replace(settings[first], low_level=settings[first].low_level or 0.0)
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        conditions = {role: Condition(text=generator.text(role, [prompt])) for role in settings}
        small = to_unit(pictures[number : number + 1]).to(generator.compute.device)
        with torch.no_grad(), generator.compute.autocast():
            drawn = cascade.enlarge(small, conditions, generator.chance([seed]), settings)
        large.append(to_uint8(drawn).cpu().numpy())
    return np.concatenate(large)
