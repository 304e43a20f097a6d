"""Prompts to pictures with a finished run: the same picture for the same prompt, seed and index, whatever the batch."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from t2i_core.canonical import canonical_json
from t2i_core.config import Config
from t2i_core.data.batches.pixels import to_uint8
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.generation.config import DrawConfig, GenerateConfig
from t2i_core.layout import require_local
from t2i_core.lineage.mark import png_bytes
from t2i_core.manifest import read_manifest, write_atomically
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.report.pictures import MAX_PIXELS, side_by_side
from t2i_core.systems.condition import Condition, Text
from t2i_core.systems.stage import Drawer, DrawSettings
from t2i_core.training.curve import CheckpointName
from t2i_core.training.device import Compute, choose_compute
from t2i_core.training.finished import load_stage, read_run_config

BATCH_SIZE = 32
# Of a grid with one picture a prompt; with more, each prompt has a row.
GRID_COLUMNS = 8


class GeneratedImage(Config):
    """One picture drawn; a line of images.jsonl."""

    file: str
    prompt: str
    index: int
    seed: int
    image_seed: int
    guidance_scale: float | None
    steps: int | None
    sampler: str | None
    negative_prompt: str
    checkpoint: str
    ema: float | None
    run: str
    sha256: str


def image_seed(seed: int, prompt: str, index: int) -> int:
    """Derive the seed of one picture: 63 bits of a hash of (seed, prompt, index)."""
    digest = hashlib.sha256(canonical_json([seed, prompt, index]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Generator:
    """A finished run, ready to draw."""

    def __init__(self, drawer: Drawer, tokenizer: Tokenizer, image_size: int, compute: Compute) -> None:
        self.image_size = image_size
        self._drawer, self._tokenizer, self._compute = drawer, tokenizer, compute

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        return f"{self._compute.device}, {self._compute.precision}"

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the run never learned."""
        return self._tokenizer.unknown_words(prompt)

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
            self._draw(prompts[i : i + BATCH_SIZE], seeds[i : i + BATCH_SIZE], config)
            for i in range(0, len(prompts), BATCH_SIZE)
        ]
        side = self.image_size
        return np.concatenate(parts) if parts else np.empty((0, side, side, 3), np.uint8)

    def _draw(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig) -> NDArray[np.uint8]:
        device, side = self._compute.device, self.image_size
        # Every batch has one shape, so that a picture does not depend on which others are drawn with it.
        padding = BATCH_SIZE - len(prompts)
        condition = Condition(text=self._text([*prompts, *[""] * padding]))
        chance = Chance(0, torch.tensor([*seeds, *[0] * padding], device=device))
        settings = DrawSettings(
            guidance_scale=config.guidance_scale,
            num_steps=config.steps,
            sampler=config.sampler,
            negative=self._text([config.negative_prompt] * BATCH_SIZE) if config.negative_prompt else None,
        )
        with torch.no_grad(), self._compute.autocast():
            drawn = self._drawer.draw(condition, (3, side, side), chance, settings)
        pictures: NDArray[np.uint8] = to_uint8(drawn).cpu().numpy()[: len(prompts)]
        return pictures

    def _text(self, prompts: Sequence[str]) -> Text:
        ids, mask = (torch.from_numpy(array).to(self._compute.device) for array in self._tokenizer.encode(prompts))
        return Text(ids=ids, mask=mask)


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
        ConfigError: the folder is not a finished run of this version, or the run draws nothing (a CLIP).
        CheckpointError: its checkpoint is damaged.
    """
    run = load_stage(run_dir, checkpoint, ema)
    stage, sizes = run.stage, run.sizes
    if not isinstance(stage, Drawer):
        raise ConfigError(f"{run_dir} is a {run.preset.system.kind} run: it scores pictures and cannot draw them.")
    tokenizer = Tokenizer.load(run_dir / "tokenizer.json")
    if (tokenizer.vocab_size, tokenizer.context_length) != (sizes.vocab_size, sizes.context_length):
        raise CheckpointError(f"{run_dir / 'tokenizer.json'} does not fit its config.json: one was changed.")
    compute = compute or choose_compute()
    stage.to(compute.device).to(memory_format=torch.channels_last).eval()
    return Generator(stage, tokenizer, sizes.image_size, compute)


@tells_disk_errors
def generate(
    run_dir: Path,
    prompts: Sequence[str],
    output_dir: Path,
    config: GenerateConfig,
    *,
    on_progress: OnProgress = ignore_progress,
) -> list[GeneratedImage]:
    """Draw prompts with a finished run: 00000.png ... prompt by prompt, and images.jsonl, one line a picture.

    Args:
        run_dir: the run folder.
        prompts: what to draw.
        output_dir: gets the pictures; it must be new or empty.
        config: how many, from which seed, with which settings.
        on_progress: gets pictures drawn.

    Raises:
        ConfigError: there are no prompts, a prompt has words the run never learned, or the folder is in use.
        CheckpointError: the run is damaged.
    """
    if not any(prompt.strip() for prompt in prompts):
        raise ConfigError("there is no prompt to draw: give --prompt TEXT, or a --prompts-file with one prompt a line.")
    require_local(output_dir)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise ConfigError(f"{output_dir} is not an empty folder; choose another --output-dir.")
    refuse_ignored(run_dir, config)
    generator = load_generator(run_dir, checkpoint=config.checkpoint, ema=config.ema)
    refuse_unknown_words(generator.prompt_words_unknown, [*prompts, config.negative_prompt])
    if config.grid:
        _require_room(len(prompts) * config.num_images * generator.image_size**2)
    digest = read_manifest(run_dir, "run").digest
    wanted = [(prompt, i, image_seed(config.seed, prompt, i)) for prompt in prompts for i in range(config.num_images)]
    records: list[GeneratedImage] = []
    drawn: list[Image.Image] = []
    for start in range(0, len(wanted), BATCH_SIZE):
        part = wanted[start : start + BATCH_SIZE]
        pictures = generator.generate([p for p, _, _ in part], [s for _, _, s in part], config)
        for (prompt, index, seed), picture in zip(part, pictures, strict=True):
            record = _save(output_dir, len(records), picture, prompt, index, seed, config, digest)
            records.append(record)
        drawn += map(Image.fromarray, pictures) if config.grid else ()
        on_progress(Progress(step="generate", done=len(records), total=len(wanted), unit="pictures"))
    lines = "".join(canonical_json(record.model_dump(mode="json")) + "\n" for record in records)
    write_atomically(output_dir / "images.jsonl", lines.encode())
    if config.grid:
        sheet = side_by_side(drawn, config.num_images if config.num_images > 1 else GRID_COLUMNS)
        write_atomically(output_dir / "grid.png", png_bytes(np.asarray(sheet), {}))
    return records


def _require_room(num_pixels: int) -> None:
    """Refuse a grid that would be too large to be looked at.

    Raises:
        ConfigError: it would be.
    """
    if num_pixels > MAX_PIXELS:
        raise ConfigError(
            f"--grid would be a picture of {num_pixels:,} pixels, and may have {MAX_PIXELS:,}: draw fewer pictures, or "
            "leave it out."
        )


def refuse_ignored(run_dir: Path, config: DrawConfig) -> None:
    """Refuse settings of drawing that the system of a run would ignore.

    Args:
        run_dir: a finished run.
        config: what was asked for.

    Raises:
        ConfigError: one was asked for, and would change nothing.
    """
    asked = config.asked
    if not asked:
        return
    system = read_run_config(run_dir)[0].system
    ignored = [name for name in asked if name not in system.draw_settings]
    if ignored:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise ConfigError(
            f"{run_dir} is a {system.kind} run, which draws without {flags}: "
            f"{'they' if len(ignored) > 1 else 'it'} would change nothing. Leave out what it does not take."
        )
    if "negative_prompt" in asked and asked.get("guidance_scale", getattr(system, "guidance_scale", 1)) == 1:
        raise ConfigError(
            "--negative-prompt changes nothing without guidance: set --guidance-scale above 1, such as 3."
        )


def refuse_unknown_words(unknown_words: Callable[[str], list[str]], prompts: Sequence[str]) -> None:
    """Refuse prompts with words that the run never learned.

    Args:
        unknown_words: of a prompt.
        prompts: to be drawn.

    Raises:
        ConfigError: there are some.
    """
    unknown = sorted({word for prompt in prompts for word in unknown_words(prompt)})
    if unknown:
        raise ConfigError(
            f"this run never learned: {', '.join(unknown[:20])}. Use words of its captions; they are listed in its "
            "tokenizer.json."
        )


def _save(
    output_dir: Path,
    number: int,
    picture: NDArray[np.uint8],
    prompt: str,
    index: int,
    seed: int,
    config: GenerateConfig,
    run: str,
) -> GeneratedImage:
    path = output_dir / f"{number:05d}.png"
    data = png_bytes(picture, {"prompt": prompt, "seed": seed, "run": run})
    write_atomically(path, data)
    return GeneratedImage(
        file=path.name,
        prompt=prompt,
        index=index,
        seed=config.seed,
        image_seed=seed,
        guidance_scale=config.guidance_scale,
        steps=config.steps,
        sampler=config.sampler,
        negative_prompt=config.negative_prompt,
        checkpoint=config.checkpoint,
        ema=config.ema,
        run=run,
        sha256=hashlib.sha256(data).hexdigest(),
    )
