"""Prompts to files with a finished run or system."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from t2i_core.canonical import canonical_json
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.errors import ConfigError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.manifest import read_manifest
from t2i_core.folders.one_writer import writes_alone
from t2i_core.generation.asked import image_seed, refuse_ignored, refuse_unknown_words, require_new
from t2i_core.generation.config import DrawConfig, GenerateConfig, weaker_digests
from t2i_core.generation.generator import load_generator
from t2i_core.lineage.mark import png_bytes
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.report.pictures import MAX_PIXELS, side_by_side

# Pictures between two reports of progress.
REPORT_EVERY = 32
# Of a grid with one picture a prompt; with more, each prompt has a row.
GRID_COLUMNS = 8


class GeneratedImage(DrawConfig):
    """One picture drawn, and with which settings; a line of images.jsonl.

    Attributes:
        file: name of the picture.
        prompt: that was drawn.
        index: number of the picture among those of its prompt.
        seed: that was asked for.
        image_seed: of the picture's noise.
        run: digest of what drew it.
        led_away_from: digests of the runs that it was led away from, by the option that names each.
        sha256: of the file.
    """

    file: str
    prompt: str
    index: int
    seed: int
    image_seed: int
    run: str
    led_away_from: dict[str, str]
    sha256: str


@tells_disk_errors
@writes_alone
def generate(
    run_dir: Path,
    prompts: Sequence[str],
    output_dir: Path,
    config: GenerateConfig,
    *,
    on_progress: OnProgress = ignore_progress,
) -> list[GeneratedImage]:
    """Draw prompts with a finished run or system: 00000.png ... prompt by prompt, and images.jsonl, one line a picture.

    Args:
        run_dir: the run or system folder.
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
    require_new(output_dir)
    refuse_ignored(run_dir, config)
    generator = load_generator(run_dir, config=config)
    refuse_unknown_words(generator.prompt_words_unknown, [*prompts, config.negative_prompt])
    if config.grid:
        _require_room(len(prompts) * config.num_images * generator.image_size**2)
    shared = _shared(run_dir, config)
    wanted = [(prompt, i, image_seed(config.seed, prompt, i)) for prompt in prompts for i in range(config.num_images)]
    records: list[GeneratedImage] = []
    drawn: list[Image.Image] = []
    for start in range(0, len(wanted), REPORT_EVERY):
        part = wanted[start : start + REPORT_EVERY]
        pictures = generator.generate([p for p, _, _ in part], [s for _, _, s in part], config)
        for each, picture in zip(part, pictures, strict=True):
            records.append(_save(output_dir, len(records), picture, each, shared))
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


def _shared(run_dir: Path, config: GenerateConfig) -> dict[str, Any]:
    """Give what the records of all pictures have in common."""
    settings = config.model_dump(include=set(DrawConfig.model_fields))
    run = read_manifest(run_dir, "run", "system").digest
    return settings | {"seed": config.seed, "run": run, "led_away_from": weaker_digests(config)}


def _save(
    output_dir: Path,
    number: int,
    picture: NDArray[np.uint8],
    wanted: tuple[str, int, int],
    shared: Mapping[str, Any],
) -> GeneratedImage:
    prompt, index, seed = wanted
    path = output_dir / f"{number:05d}.png"
    data = png_bytes(picture, {"prompt": prompt, "seed": seed, "run": shared["run"]})
    write_atomically(path, data)
    return GeneratedImage(
        file=path.name,
        prompt=prompt,
        index=index,
        image_seed=seed,
        sha256=hashlib.sha256(data).hexdigest(),
        **shared,
    )
