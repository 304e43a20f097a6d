"""A finished run or system as a function of prompts and seeds, whatever else is drawn beside a picture."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.canonical import canonical_json
from t2i_core.composition.config import Role, parts_of
from t2i_core.data.batches.pixels import to_uint8
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.generation.cascade import Cascade
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.prompts import Prompts, open_prompts
from t2i_core.systems.condition import Condition, Text, mapped
from t2i_core.systems.stage import Drawer, DrawSettings
from t2i_core.training.device import Compute, choose_compute
from t2i_core.training.finished import load_stage

# Kernels add up in an order that depends on the shape of a batch, so a picture is what comes of a batch of one size: of
# itself alone on a CPU, where a batch costs what is in it, and of many on a graphics card, which one does not fill.
SMALL_ON_CPU, LARGE_ON_CPU, SIZE_ON_CARD = 1, 8, 32
# Looks at pictures and draws none.
CLIP: Role = "clip"
DEFAULTS = DrawConfig()


class Generator:
    """A finished run or system, ready to draw."""

    def __init__(self, drawers: Mapping[Role, Drawer], prompts: Mapping[Role, Prompts], compute: Compute) -> None:
        self._cascade = Cascade(drawers)
        self._prompts, self._compute = prompts, compute
        self._alike: dict[str, bool] = {}

    @property
    def image_size(self) -> int:
        """Side of the pictures that it draws, pixels."""
        return self._cascade.side

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        return f"{self._compute.device}, {self._compute.precision}"

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the run never learned."""
        unknown = (word for role in self._cascade.roles for word in self._prompts[role].unknown_words(prompt))
        return list(dict.fromkeys(unknown))

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
        way = canonical_json([config.of(role).asked for role in self._cascade.roles])
        if way not in self._alike:
            prompts, seeds, size = [""] * LARGE_ON_CPU, range(LARGE_ON_CPU), SMALL_ON_CPU
            small = [self._draw(prompts[:size], seeds[i : i + size], config, steps=1) for i in seeds[::size]]
            large = self._draw(prompts, seeds, config, steps=1)
            # As bits, since what one step gives may be no number, which equals nothing.
            self._alike[way] = torch.equal(*(drawn.view(torch.int32) for drawn in (large, torch.cat(small))))
        return self._alike[way]

    def _padded(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig, size: int) -> NDArray[np.uint8]:
        padding = size - len(prompts)
        drawn = self._draw([*prompts, *[""] * padding], [*seeds, *[0] * padding], config)
        pictures: NDArray[np.uint8] = to_uint8(drawn).cpu().numpy()[: len(prompts)]
        return pictures

    def _draw(
        self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig, *, steps: int | None = None
    ) -> Tensor:
        """Draw a batch: (B, 3, H, W) float32; each stage in its own number of steps if none is given."""
        conditions = {role: Condition(text=self._text(role, prompts)) for role in self._cascade.roles}
        chance = Chance(0, torch.tensor(list(seeds), device=self._compute.device))
        settings = {role: self._settings(role, config.of(role), len(prompts), steps) for role in self._cascade.roles}
        with torch.no_grad(), self._compute.autocast():
            return self._cascade.draw(conditions, chance, settings).float()

    def _settings(self, role: Role, config: DrawConfig, size: int, steps: int | None) -> DrawSettings:
        negative = config.negative_prompt
        return DrawSettings(
            guidance_scale=config.guidance_scale,
            num_steps=steps or config.steps,
            sampler=config.sampler,
            negative=self._text(role, [negative] * size) if negative else None,
        )

    def _text(self, role: Role, prompts: Sequence[str]) -> Text:
        """Read prompts as a stage does."""
        return mapped(self._prompts[role].text(prompts), lambda tensor: tensor.to(self._compute.device))


def load_generator(
    folder: Path,
    compute: Compute | None = None,
    config: DrawConfig = DEFAULTS,
) -> Generator:
    """Load the averaged weights of a finished run, or of all runs of a system that draw.

    Args:
        folder: the run or system folder.
        compute: device and precision; None chooses.
        config: which weights of each run are wanted.

    Raises:
        ConfigError: the folder is not a finished run or system of this version, a run of it is gone, the run draws
            nothing (a CLIP), or the encoder that its captions were encoded with is gone.
        CheckpointError: a checkpoint is damaged.
    """
    compute = compute or choose_compute()
    drawers, prompts = dict[Role, Drawer](), dict[Role, Prompts]()
    for role, run_dir in parts_of(folder).items():
        if role != CLIP:
            drawers[role], prompts[role] = _load_drawer(run_dir, config.of(role), compute)
    return Generator(drawers, prompts, compute)


def _load_drawer(run_dir: Path, config: DrawConfig, compute: Compute) -> tuple[Drawer, Prompts]:
    run = load_stage(run_dir, config.checkpoint, config.ema)
    stage = run.stage
    if not isinstance(stage, Drawer):
        raise ConfigError(f"{run_dir} is a {run.preset.system.kind} run: it scores pictures and cannot draw them.")
    prompts = open_prompts(run_dir, run.sizes)
    stage.to(compute.device).to(memory_format=torch.channels_last).eval()
    return stage, prompts
