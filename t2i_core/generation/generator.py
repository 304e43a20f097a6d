"""A finished run or system as a function of prompts and seeds, whatever else is drawn beside a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.canonical import canonical_json
from t2i_core.composition.config import BASE, Role, parts_of
from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.generation.cascade import Cascade, enlarged
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.given import Given
from t2i_core.generation.prompts import Prompts, open_prompts
from t2i_core.systems.condition import Condition, LowRes, Text, mapped
from t2i_core.systems.stage import Drawer, DrawSettings, Editor, Guide, Stage
from t2i_core.training.device import Compute, choose_compute
from t2i_core.training.finished import load_stage, read_run_config

# Kernels add up in an order that depends on the shape of a batch, so a picture is what comes of a batch of one size: of
# itself alone on a CPU, where a batch costs what is in it, and of many on a graphics card, which one does not fill.
SMALL_ON_CPU, LARGE_ON_CPU, SIZE_ON_CARD = 1, 8, 32
# Looks at noised pictures and draws none.
CLIP: Role = "clip"
DEFAULTS = DrawConfig()


class Generator:
    """A finished run or system, ready to draw."""

    def __init__(
        self,
        drawers: Mapping[Role, Drawer],
        prompts: Mapping[Role, Prompts],
        compute: Compute,
        guide: Guide | None = None,
    ) -> None:
        self._cascade, self._guide = Cascade(drawers), guide
        self._prompts, self._compute = prompts, compute
        self._alike: dict[str, bool] = {}

    @property
    def image_size(self) -> int:
        """Side of the pictures that it draws, pixels."""
        return self._cascade.side

    @property
    def factor(self) -> int:
        """How many times as long as its base's the sides of its pictures are; 1 without an upsampler."""
        return self._cascade.factor

    @property
    def can_edit(self) -> bool:
        """Whether it draws from noise, and so changes pictures."""
        return all(isinstance(drawer, Editor) for drawer in self._cascade.drawers.values())

    @property
    def has_clip(self) -> bool:
        """Whether there is a CLIP of noised pictures to be guided by."""
        return self._guide is not None

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        return f"{self._compute.device}, {self._compute.precision}"

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the run never learned."""
        unknown = (word for role in self._cascade.roles for word in self._prompts[role].unknown_words(prompt))
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
            self._cascade.require_editor(given.shape)
        if config.clip_guidance_scale and self._guide is None:
            raise ConfigError("there is no CLIP to be guided by: name a system with one (`t2i compose`).")
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
        known = given.known(self._compute.device) if given else None
        acting = {role: self._cascade.acting(role, fills=known is not None) for role in self._cascade.roles}
        conditions = {role: Condition(text=self._text(who, prompts), known=known) for role, who in acting.items()}
        settings = {role: self._settings(role, config.of(role), len(prompts), steps) for role in acting}
        if given is not None:
            settings[BASE] = replace(settings[BASE], start=given.start(self._compute.device))
        shape = given.shape if given else None
        with torch.no_grad(), self._compute.autocast():
            return self._cascade.draw(conditions, self._chance(seeds), settings, shape).float()

    def upscale(
        self, pictures: NDArray[np.uint8], prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig
    ) -> NDArray[np.uint8]:
        """Enlarge pictures by the upsampler alone.

        Args:
            pictures: (B, H, W, 3) uint8, of any sides that its network takes.
            prompts: what they show.
            seeds: `image_seed` of each.
            config: with which settings.

        Raises:
            ConfigError: there is no upsampler, or the size does not fit it.
        """
        factor = self._cascade.factor
        shape = tuple(factor * side for side in pictures.shape[1:3])
        drawer = self._cascade.upsampler(shape)
        role = self._cascade.roles[-1]
        enlarging = []
        for i in range(len(pictures)):
            condition, chance = Condition(text=self._text(role, prompts[i : i + 1])), self._chance(seeds[i : i + 1])
            picture = to_unit(pictures[i : i + 1]).to(self._compute.device)
            small = LowRes(picture=picture, level=torch.zeros(1, device=picture.device))
            with torch.no_grad(), self._compute.autocast():
                settings = self._settings(role, config.of(role), 1, None)
                enlarging.append(enlarged(drawer, small, factor, condition, chance, settings))
        large: NDArray[np.uint8] = to_uint8(torch.cat(enlarging)).cpu().numpy()
        return large

    def invert(self, picture: NDArray[np.uint8], prompt: str, config: DrawConfig, iterations: int) -> Tensor:
        """Find the noise that a picture is drawn from, in float32, since every rounding counts on the way back.

        Args:
            picture: (H, W, 3) uint8.
            prompt: what it shows.
            config: with how many steps.
            iterations: fixed-point rounds a step.

        Returns:
            (1, 3, H, W) float.

        Raises:
            ConfigError: it is drawn in several stages, or not from noise, or in other sizes.
        """
        height, width = picture.shape[:2]
        editor = self._cascade.only_editor((height, width))
        given = to_unit(picture[None]).to(self._compute.device)
        with torch.no_grad():
            settings = DrawSettings(num_steps=config.steps)
            return editor.invert(Condition(text=self._text(BASE, [prompt])), given, settings, iterations=iterations)

    def from_noise(self, noise: Tensor, prompt: str, config: DrawConfig) -> NDArray[np.uint8]:
        """Draw by DDIM and without guidance from noise (B, 3, H, W) that `invert` gave: (B, H, W, 3) uint8."""
        settings = DrawSettings(guidance_scale=1.0, num_steps=config.steps, sampler="ddim", noise=noise)
        condition = Condition(text=self._text(BASE, [prompt] * len(noise)))
        with torch.no_grad():
            drawn = self._cascade.drawers[BASE].draw(
                condition, noise.shape[1:], self._chance([0] * len(noise)), settings
            )
        pictures: NDArray[np.uint8] = to_uint8(drawn).cpu().numpy()
        return pictures

    def clip_logits(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Ask the CLIP of noised pictures how well clean ones (B, H, W, 3) uint8 fit prompts: (B,) logits.

        Raises:
            ConfigError: there is none.
        """
        if self._guide is None:
            raise ConfigError("there is no CLIP of noised pictures: name a system with one (`t2i compose`).")
        condition = Condition(text=self._text(CLIP, prompts))
        with torch.no_grad():
            logits = self._guide.logits(to_unit(pictures).to(self._compute.device), condition)
        return logits.cpu().numpy().astype(np.float64)

    def _chance(self, seeds: Sequence[int]) -> Chance:
        return Chance(0, torch.tensor(list(seeds), device=self._compute.device))

    def _settings(self, role: Role, config: DrawConfig, size: int, steps: int | None) -> DrawSettings:
        negative = config.negative_prompt
        return DrawSettings(
            guidance_scale=config.guidance_scale,
            num_steps=steps or config.steps,
            sampler=config.sampler,
            negative=self._text(role, [negative] * size) if negative else None,
            clip=self._guide if config.clip_guidance_scale else None,
            clip_guidance_scale=config.clip_guidance_scale or 1.0,
        )

    def _text(self, role: Role, prompts: Sequence[str]) -> Text:
        """Read prompts as a stage does."""
        return mapped(self._prompts[role].text(prompts), lambda tensor: tensor.to(self._compute.device))


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
    compute = compute or choose_compute()
    drawers, prompts, guide = dict[Role, Drawer](), dict[Role, Prompts](), None
    for role, run_dir in parts_of(folder).items():
        stage, prompts[role] = _load_stage(run_dir, config.of(role), compute)
        if role == CLIP and isinstance(stage, Guide):
            guide = stage
        elif isinstance(stage, Drawer):
            drawers[role] = stage
        else:
            kind = read_run_config(run_dir)[0].system.kind
            raise ConfigError(f"{run_dir} is a {kind} run: it scores pictures and cannot draw them.")
    return Generator(drawers, prompts, compute, guide)


def _load_stage(run_dir: Path, config: DrawConfig, compute: Compute) -> tuple[Stage, Prompts]:
    run = load_stage(run_dir, config.checkpoint, config.ema)
    stage, prompts = run.stage, open_prompts(run_dir, run.sizes)
    stage.to(compute.device).to(memory_format=torch.channels_last).eval()
    return stage, prompts
