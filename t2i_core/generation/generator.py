"""A finished run or system as a function of prompts and seeds, whatever else is drawn beside a picture."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.canonical import canonical_json
from t2i_core.composition.config import BASE, PRIOR, Role, parts_of
from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.guidance import Projection
from t2i_core.errors import ConfigError
from t2i_core.generation.asked import CLIP
from t2i_core.generation.cascade import Cascade
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.eye import Eye
from t2i_core.generation.given import Given
from t2i_core.generation.leaders import Leaders, ready_stage
from t2i_core.generation.prompts import Prompts, open_prompts
from t2i_core.systems.condition import Condition, Text, mapped
from t2i_core.systems.stage import Drawer, DrawSettings, Editor, Prior
from t2i_core.training.device import Compute, choose_compute
from t2i_core.training.finished import read_run_config

# Kernels add up in an order that depends on the shape of a batch, so a picture is what comes of a batch of one size: of
# itself alone on a CPU, where a batch costs what is in it, and of many on a graphics card, which one does not fill.
SMALL_ON_CPU, LARGE_ON_CPU, SIZE_ON_CARD = 1, 8, 32
DEFAULTS = DrawConfig()


class Generator:
    """A finished run or system, ready to draw.

    Attributes:
        cascade: its stages.
        compute: device and precision that draw.
    """

    def __init__(
        self,
        drawers: Mapping[Role, Drawer],
        prompts: Mapping[Role, Prompts],
        compute: Compute,
        leaders: Leaders | None = None,
        prior: Prior | None = None,
        open_eye: Callable[[], Eye] | None = None,
    ) -> None:
        self.cascade, self.compute = Cascade(drawers), compute
        self._prompts, self._leaders = prompts, leaders or Leaders({}, DEFAULTS, compute)
        self._prior, self._open_eye = prior, open_eye
        self._alike: dict[str, bool] = {}

    @property
    def image_size(self) -> int:
        """Side of the pictures that it draws, pixels."""
        return self.cascade.side

    @property
    def factor(self) -> int:
        """How many times as long as its base's the sides of its pictures are; 1 without upsamplers."""
        return self.cascade.factor

    @property
    def can_edit(self) -> bool:
        """Whether it draws from noise, and so changes pictures."""
        return all(isinstance(drawer, Editor) for drawer in self.cascade.drawers.values())

    @property
    def fills(self) -> bool:
        """Whether its base, or who takes its place, was trained to fill in, and sees what is known."""
        drawer = self.cascade.drawers[self.cascade.acting(BASE, fills=True)]
        return isinstance(drawer, Editor) and drawer.inpaints

    @property
    def has_clip(self) -> bool:
        """Whether there is a CLIP of noised pictures to be guided by."""
        return self._leaders.has_clip

    @property
    def has_prior(self) -> bool:
        """Whether what it draws is imagined as an embedding first."""
        return self._prior is not None

    def with_prior(self, prior: Prior | None) -> "Generator":
        """Put another in the place of its prior; None draws from captions alone."""
        other = copy.copy(self)
        other._prior = prior
        return other

    def eye(self) -> Eye:
        """Load the CLIP that its decoder was trained with.

        Raises:
            ConfigError: there is none, or it is gone.
        """
        if self._open_eye is None:
            raise ConfigError("there is no CLIP whose embeddings are drawn: name a system with a decoder.")
        return self._open_eye()

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        return f"{self.compute.device}, {self.compute.precision}"

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the run never learned."""
        unknown = (word for role in self.cascade.roles for word in self._prompts[role].unknown_words(prompt))
        return list(dict.fromkeys(unknown))

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig, given: Given | None = None
    ) -> NDArray[np.uint8]:
        """Draw one picture a prompt and seed.

        Args:
            prompts: what to draw.
            seeds: `image_seed` of each picture.
            config: with which settings.
            given: pictures to be changed, one a prompt; None draws from noise alone.

        Returns:
            (B, H, W, 3) uint8; pixels that are known come back as they were, to the byte.

        Raises:
            ConfigError: what is given is of a size that the run cannot draw, or it can change no pictures.
        """
        if given is not None:
            self.cascade.require_editor(given.shape)
        parts = [
            self._padded(
                prompts[start : start + size], seeds[start : start + size], config, size, _rows(given, start, size)
            )
            for start, size in self._batches(len(prompts), config)
        ]
        side = self.image_size
        drawn = np.concatenate(parts) if parts else np.empty((0, side, side, 3), np.uint8)
        return drawn if given is None else given.pasted(drawn)

    def _batches(self, number: int, config: DrawConfig) -> Iterator[tuple[int, int]]:
        """Give the first picture and the size of each batch."""
        start = 0
        while start < number:
            size = self._size(number - start, config)
            yield start, size
            start += size

    def _size(self, number: int, config: DrawConfig) -> int:
        if self.compute.device != "cpu":
            return SIZE_ON_CARD
        return LARGE_ON_CPU if number >= LARGE_ON_CPU and self._large_is_alike(config) else SMALL_ON_CPU

    def _large_is_alike(self, config: DrawConfig) -> bool:
        """Tell whether a large batch, which costs less a picture, gives the bits of small ones on this machine.

        The order of sums is a matter of shapes alone, so one step of sampling shows it, once for each way of drawing.
        """
        way = canonical_json([config.of(role).asked for role in (*self.cascade.roles, PRIOR)])
        if way not in self._alike:
            prompts, seeds, size = [""] * LARGE_ON_CPU, range(LARGE_ON_CPU), SMALL_ON_CPU
            small = [self._draw(prompts[:size], seeds[i : i + size], config, steps=1) for i in seeds[::size]]
            large = self._draw(prompts, seeds, config, steps=1)
            # As bits, since what one step gives may be no number, which equals nothing.
            self._alike[way] = torch.equal(*(drawn.view(torch.int32) for drawn in (large, torch.cat(small))))
        return self._alike[way]

    def _padded(
        self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig, size: int, given: Given | None
    ) -> NDArray[np.uint8]:
        padding = size - len(prompts)
        drawn = self._draw([*prompts, *[""] * padding], [*seeds, *[0] * padding], config, given)
        pictures: NDArray[np.uint8] = to_uint8(drawn).cpu().numpy()[: len(prompts)]
        return pictures

    def _draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        config: DrawConfig,
        given: Given | None = None,
        *,
        steps: int | None = None,
    ) -> Tensor:
        """Draw a batch: (B, 3, H, W) float32; each stage in its own number of steps if none is given."""
        known = given.known(self.compute.device) if given else None
        acting = {role: self.cascade.acting(role, fills=known is not None) for role in self.cascade.roles}
        conditions = {role: Condition(text=self.text(who, prompts), known=known) for role, who in acting.items()}
        if self._prior is not None:
            image = self.imagined(prompts, seeds, config, steps=steps)
            conditions[BASE] = replace(conditions[BASE], image=image)
        settings = {role: self.settings(role, config, len(prompts)) for role in acting}
        if steps is not None:
            settings = {role: replace(asked, num_steps=steps) for role, asked in settings.items()}
        # Who was trained to fill in knows more than a run that is weaker than another one.
        settings |= {role: replace(settings[role], weaker=None) for role, who in acting.items() if who != role}
        if given is not None:
            settings[BASE] = replace(
                settings[BASE],
                start=given.start(self.compute.device),
                resamples=given.resamples,
                jump_length=given.jump_length,
            )
        shape = given.shape if given else None
        with torch.no_grad(), self.compute.autocast():
            return self.cascade.draw(conditions, self.chance(seeds), settings, shape).float()

    def imagined(
        self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig, *, steps: int | None = None
    ) -> Tensor:
        """Make embeddings (B, E) float of pictures that fit prompts; in the prior's number of steps if none is given.

        Raises:
            ConfigError: there is no prior.
        """
        if self._prior is None:
            raise ConfigError("there is no prior that makes embeddings: name a system with one (`t2i compose`).")
        condition, settings = Condition(text=self.text(PRIOR, prompts)), self.settings(PRIOR, config, len(prompts))
        if steps is not None:
            settings = replace(settings, num_steps=steps)
        with torch.no_grad(), self.compute.autocast():
            return self._prior.imagine(condition, self.chance(seeds), settings).float()

    def clip_logits(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Ask the CLIP of noised pictures how well clean ones (B, H, W, 3) uint8 fit prompts: (B,) logits.

        Raises:
            ConfigError: there is none.
        """
        # It reads captions as the base does, or they would be no system.
        condition = Condition(text=self.text(BASE, prompts))
        with torch.no_grad():
            logits = self._leaders.clip().logits(to_unit(pictures).to(self.compute.device), condition)
        return logits.cpu().numpy().astype(np.float64)

    def chance(self, seeds: Sequence[int]) -> Chance:
        """Give the noise of pictures by their seeds."""
        return Chance(0, torch.tensor(list(seeds), device=self.compute.device))

    def text(self, role: Role, prompts: Sequence[str]) -> Text:
        """Read prompts as a stage does."""
        return mapped(self._prompts[role].text(prompts), lambda tensor: tensor.to(self.compute.device))

    def settings(self, role: Role, config: DrawConfig, size: int) -> DrawSettings:
        """Give what was asked for of a stage, for some pictures at a time; what draws in one step heeds nothing."""
        if role != PRIOR and not isinstance(self.cascade.drawers[role], Editor):
            return DrawSettings()
        asked = config.of(role)
        return DrawSettings(
            guidance_scale=asked.guidance_scale,
            num_steps=asked.steps,
            time_shift=asked.time_shift,
            low_level=asked.low_level,
            threshold=asked.bounds,
            sampler=asked.sampler,
            eta=asked.eta or 0.0,
            interval=asked.interval,
            rescale=asked.guidance_rescale or 0.0,
            projection=_projection(asked),
            weaker=self._leaders.weaker(asked.autoguide) if asked.autoguide else None,
            negative=self.text(role, [asked.negative_prompt] * size) if asked.negative_prompt else None,
            clip=self._leaders.clip() if asked.clip_guidance_scale else None,
            clip_guidance_scale=asked.clip_guidance_scale or 1.0,
        )


def _projection(asked: DrawConfig) -> Projection:
    kept = 1.0 if asked.apg_parallel is None else asked.apg_parallel
    return Projection(kept, asked.apg_momentum or 0.0, asked.apg_radius or math.inf)


def _rows(given: Given | None, first: int, size: int) -> Given | None:
    return None if given is None else given.rows(first, size)


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
    compute, parts = compute or choose_compute(), parts_of(folder)
    reading = {role: run_dir for role, run_dir in parts.items() if role != CLIP}
    prompts = {role: open_prompts(run_dir, read_run_config(run_dir)[1]) for role, run_dir in reading.items()}
    drawers = {
        role: _load_drawer(run_dir, config.of(role), compute) for role, run_dir in reading.items() if role != PRIOR
    }
    prior = ready_stage(parts[PRIOR], config.of(PRIOR), compute) if PRIOR in parts else None
    assert prior is None or isinstance(prior, Prior)
    leaders = Leaders(parts, config, compute)
    return Generator(drawers, prompts, compute, leaders, prior, partial(Eye, folder))


def _load_drawer(run_dir: Path, config: DrawConfig, compute: Compute) -> Drawer:
    stage = ready_stage(run_dir, config, compute)
    if not isinstance(stage, Drawer):
        kind = read_run_config(run_dir)[0].system.kind
        raise ConfigError(f"{run_dir} is a {kind} run: it scores pictures and cannot draw them.")
    return stage
