"""The noise that a picture is drawn from, and what is drawn from it, by DDIM and without guidance.

In float32 both ways, since every rounding counts on the way back.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from t2i_core.composition.config import BASE
from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.edits.canvas import Pixels
from t2i_core.generation.generator import Generator
from t2i_core.systems.condition import Condition
from t2i_core.systems.stage import DrawSettings


def inverted(
    generator: Generator, pictures: Pixels, prompts: Sequence[str], config: DrawConfig, iterations: int
) -> Tensor:
    """Find the noise of pictures.

    Args:
        generator: of a run that draws in one stage.
        pictures: (B, H, W, 3) uint8.
        prompts: what each shows.
        config: with how many steps.
        iterations: fixed-point rounds a step.

    Returns:
        (B, 3, H, W) float.

    Raises:
        ConfigError: it is drawn in several stages, or not from noise, or in other sizes.
    """
    height, width = pictures.shape[1:3]
    editor = generator.cascade.only_editor((height, width))
    given = to_unit(pictures).to(generator.compute.device)
    condition = Condition(text=generator.text(BASE, prompts))
    with torch.no_grad():
        return editor.invert(condition, given, DrawSettings(num_steps=config.steps), iterations=iterations)


def drawn_from(
    generator: Generator, noise: Tensor, prompts: Sequence[str], config: DrawConfig, *, again: bool
) -> Pixels:
    """Draw from the noise of pictures.

    Args:
        generator: which `inverted` went by.
        noise: (B, 3, H, W) float, of which it gave.
        prompts: what each is to show.
        config: with as many steps.
        again: whether they are the prompts that the noise was found by, and the pictures themselves are wanted.

    Returns:
        (B, H, W, 3) uint8.
    """
    height, width = noise.shape[2:]
    editor = generator.cascade.only_editor((height, width))
    condition = Condition(text=generator.text(BASE, prompts))
    with torch.no_grad():
        drawn = editor.redraw(condition, noise, DrawSettings(num_steps=config.steps), again=again)
    pictures: Pixels = to_uint8(drawn).cpu().numpy()
    return pictures
