"""A finished run as a function of prompts and seeds: the same picture for the same two, whatever is drawn beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.canonical import canonical_json
from t2i_core.data.batches.pixels import to_uint8
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.prompts import Prompts, open_prompts
from t2i_core.systems.condition import Condition, Text, mapped
from t2i_core.systems.stage import Drawer, DrawSettings
from t2i_core.training.curve import CheckpointName
from t2i_core.training.device import Compute, choose_compute
from t2i_core.training.finished import load_stage

# Kernels add up in an order that depends on the shape of a batch, so a picture is what comes of a batch of one size: of
# itself alone on a CPU, where a batch costs what is in it, and of many on a graphics card, which one does not fill.
SMALL_ON_CPU, LARGE_ON_CPU, SIZE_ON_CARD = 1, 8, 32


class Generator:
    """A finished run, ready to draw."""

    def __init__(self, drawer: Drawer, prompts: Prompts, image_size: int, compute: Compute) -> None:
        self.image_size = image_size
        self._drawer, self._prompts, self._compute = drawer, prompts, compute
        self._alike: dict[str, bool] = {}

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        return f"{self._compute.device}, {self._compute.precision}"

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the run never learned."""
        return self._prompts.unknown_words(prompt)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig) -> NDArray[np.uint8]:
        """Draw one picture a prompt and seed.

        Args:
            prompts: what to draw.
            seeds: `image_seed` of each picture.
            config: with which settings.

        Returns:
            (B, H, W, 3) uint8.
        """
        parts = [
            self._padded(prompts[start : start + size], seeds[start : start + size], config, size)
            for start, size in self._batches(len(prompts), config)
        ]
        side = self.image_size
        return np.concatenate(parts) if parts else np.empty((0, side, side, 3), np.uint8)

    def _batches(self, number: int, config: DrawConfig) -> Iterator[tuple[int, int]]:
        """Give the first picture and the size of each batch."""
        start = 0
        while start < number:
            size = self._size(number - start, config)
            yield start, size
            start += size

    def _size(self, number: int, config: DrawConfig) -> int:
        if self._compute.device != "cpu":
            return SIZE_ON_CARD
        return LARGE_ON_CPU if number >= LARGE_ON_CPU and self._large_is_alike(config) else SMALL_ON_CPU

    def _large_is_alike(self, config: DrawConfig) -> bool:
        """Tell whether a large batch, which costs less a picture, gives the bits of small ones on this machine.

        The order of sums is a matter of shapes alone, so one step of sampling shows it, once for each way of drawing.
        """
        way = canonical_json(config.asked)
        if way not in self._alike:
            brief, seeds = config.with_changes(steps=1), range(LARGE_ON_CPU)
            small = [self._draw([""] * SMALL_ON_CPU, seeds[i : i + SMALL_ON_CPU], brief) for i in seeds[::SMALL_ON_CPU]]
            self._alike[way] = torch.equal(self._draw([""] * LARGE_ON_CPU, seeds, brief), torch.cat(small))
        return self._alike[way]

    def _padded(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig, size: int) -> NDArray[np.uint8]:
        padding = size - len(prompts)
        drawn = self._draw([*prompts, *[""] * padding], [*seeds, *[0] * padding], config)
        pictures: NDArray[np.uint8] = to_uint8(drawn).cpu().numpy()[: len(prompts)]
        return pictures

    def _draw(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig) -> Tensor:
        """Draw a batch: (B, 3, H, W) float."""
        condition = Condition(text=self._text(prompts))
        chance = Chance(0, torch.tensor(list(seeds), device=self._compute.device))
        settings = DrawSettings(
            guidance_scale=config.guidance_scale,
            num_steps=config.steps,
            sampler=config.sampler,
            negative=self._text([config.negative_prompt] * len(prompts)) if config.negative_prompt else None,
        )
        with torch.no_grad(), self._compute.autocast():
            return self._drawer.draw(condition, (3, self.image_size, self.image_size), chance, settings)

    def _text(self, prompts: Sequence[str]) -> Text:
        return mapped(self._prompts.text(prompts), lambda tensor: tensor.to(self._compute.device))


def load_generator(
    run_dir: Path,
    compute: Compute | None = None,
    *,
    checkpoint: CheckpointName = "last",
    ema: float | None = None,
) -> Generator:
    """Load the averaged weights of a finished run.

    Args:
        run_dir: the run folder.
        compute: device and precision; None chooses.
        checkpoint: the last one, or the one with the lowest loss on validation pictures.
        ema: decay of the average; None for the first of the recipe.

    Raises:
        ConfigError: the folder is not a finished run of this version, the run draws nothing (a CLIP), or the encoder
            that its captions were encoded with is gone.
        CheckpointError: its checkpoint is damaged.
    """
    run = load_stage(run_dir, checkpoint, ema)
    stage = run.stage
    if not isinstance(stage, Drawer):
        raise ConfigError(f"{run_dir} is a {run.preset.system.kind} run: it scores pictures and cannot draw them.")
    prompts = open_prompts(run_dir, run.sizes)
    compute = compute or choose_compute()
    stage.to(compute.device).to(memory_format=torch.channels_last).eval()
    return Generator(stage, prompts, stage.side, compute)
