"""A picture of somebody's and what it is to show, to changed pictures and a strip that shows them in a row."""

import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from t2i_core.canonical import canonical_json
from t2i_core.config import Config
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.errors import ConfigError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.manifest import read_manifest
from t2i_core.folders.one_writer import one_writer
from t2i_core.generation.asked import image_seed, refuse_ignored, refuse_unknown_words, require_new
from t2i_core.generation.config import weaker_digests
from t2i_core.generation.edits.canvas import Mask, Pixels, box_mask, enlarged, psnrs, read_mask, read_picture, veiled
from t2i_core.generation.edits.config import READS, WORDLESS, EditConfig, EditKind, EditRequest
from t2i_core.generation.edits.imagined import Imagination, thetas
from t2i_core.generation.edits.inversion import drawn_from, inverted
from t2i_core.generation.edits.sphere import turned
from t2i_core.generation.edits.upscaling import upscaled
from t2i_core.generation.generator import Generator, load_generator
from t2i_core.generation.given import Given
from t2i_core.lineage.mark import png_bytes
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.report.pictures import side_by_side


@dataclass(frozen=True, slots=True)
class Span:
    """All numbers between two."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


# Of the kinds that draw their own way: values of the settings of drawing that they go by, and why of no others.
READS_OF_DRAWING: dict[EditKind, tuple[Mapping[str, Container[object]], str]] = {
    "invert": (
        {"steps": range(1, 1001), "sampler": {"ddim"}, "guidance_scale": {1}},
        "goes back by DDIM and without guidance, or it would be no way back",
    ),
    "variations": (
        {"steps": range(1, 1001), "sampler": {"ddim"}, "guidance_scale": Span(0, 100), "eta": Span(0, 1)},
        "draws by DDIM from the noise that the picture is drawn from, by its embedding alone",
    ),
    "interpolate": (
        {"steps": range(1, 1001), "sampler": {"ddim"}, "guidance_scale": Span(0, 100)},
        "draws by DDIM from the noise that both pictures are drawn from, by their embeddings alone",
    ),
    "text-diff": (
        {"steps": range(1, 1001), "sampler": {"ddim"}, "guidance_scale": Span(0, 100)},
        "draws by DDIM from the noise that the picture is drawn from, by its embedding alone",
    ),
    "upscale": ({}, "draws with the upsampler alone, whose settings are such as --set upsampler.steps=8"),
}
STRENGTH, ITERATIONS, THETA, ETA = 0.6, 5, 0.4, 1.0
# Results that the strip shows.
NUM_SHOWN = 8


class EditedImage(Config):
    """One picture changed; a line of images.jsonl.

    Attributes:
        file: name of the picture.
        kind: of edit.
        prompts: that it was drawn by, in turn.
        index: number of the picture.
        image_seeds: of the noise, one a prompt.
        settings: all else that was asked for.
        source: SHA-256 of the picture's file that was changed.
        run: digest of what drew it.
        led_away_from: digests of the runs that it was led away from, by the option that names each.
        figures: what was measured of it.
        sha256: of the file.
    """

    file: str
    kind: EditKind
    prompts: tuple[str, ...]
    index: int
    image_seeds: tuple[int, ...]
    settings: dict[str, Any]
    source: str
    run: str
    led_away_from: dict[str, str]
    figures: dict[str, float]
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """An edit and what it works with.

    Attributes:
        generator: that draws.
        config: what to change.
        prompts: what to show, in turn.
        picture: (H, W, 3) uint8, to be changed.
        folder: of the run or system that draws.
        on_drawn: called after each pass over all pictures.
    """

    generator: Generator
    config: EditConfig
    prompts: Sequence[str]
    picture: Pixels
    folder: Path
    on_drawn: Callable[[], None]

    def seeds(self, prompt: str) -> list[int]:
        """Give the seed of each picture's noise."""
        return [image_seed(self.config.seed, prompt, index) for index in range(self.config.num_images)]

    def drawn(self, prompt: str, given: Given) -> Pixels:
        """Draw all pictures anew from what is given: (N, H, W, 3) uint8."""
        seeds = self.seeds(prompt)
        pictures = self.generator.generate([prompt] * len(seeds), seeds, self.config, given)
        self.on_drawn()
        return pictures

    def filled(self, prompt: str, pictures: Pixels, redraw: Mask) -> Pixels:
        """Draw a part (H, W) of all pictures anew: (N, H, W, 3) uint8."""
        rounds, jump = self.config.resamples or 1, self.config.jump_length
        return self.drawn(prompt, Given(pictures, redraw=redraw, resamples=rounds, jump_length=jump))

    def copies(self, picture: Pixels) -> Pixels:
        """Give as many of a picture as are to be drawn: (N, H, W, 3)."""
        return np.repeat(picture[None], self.config.num_images, axis=0)


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of an edit.

    Attributes:
        pictures: (N, H, W, 3) uint8.
        shown: what the strip shows before them, (H, W, 3) uint8 each.
        figures: measured of each picture.
    """

    pictures: Pixels
    shown: Sequence[Pixels]
    figures: Sequence[Mapping[str, float]] = ()


def edit(request: EditRequest, *, on_progress: OnProgress = ignore_progress) -> list[EditedImage]:
    """Change a picture: 00000.png ..., images.jsonl with one line a picture, and strip.png, which shows them in a row.

    Args:
        request: what to change, how, and where the results go.
        on_progress: gets pictures drawn.

    Raises:
        ConfigError: the request does not fit its kind, the picture, or what the run can do.
        CheckpointError: the run is damaged.
    """
    with one_writer(request.output_dir):
        return _edited(request, on_progress)


def _edited(request: EditRequest, on_progress: OnProgress) -> list[EditedImage]:
    config, kind = request.config, request.kind
    require_new(request.output_dir)
    _require_fit(request)
    refuse_ignored(request.run_dir, config)
    picture = read_picture(request.picture)
    generator = load_generator(request.run_dir, config=config)
    _require_weaker_heeded(generator, config, kind)
    refuse_unknown_words(
        generator.prompt_words_unknown, [*request.prompts, config.source_prompt, config.negative_prompt]
    )
    prompts = request.prompts or ("",)
    steps = iter(range(1, len(prompts) + 1))

    def told() -> None:
        done = next(steps, len(prompts)) * config.num_images
        on_progress(Progress(step=f"edit {kind}", done=done, total=len(prompts) * config.num_images, unit="pictures"))

    edited = EDITS[kind](Job(generator, config, prompts, picture, request.run_dir, told))
    with disk_errors(request.output_dir):
        return _written(request, edited, hashlib.sha256(request.picture.read_bytes()).hexdigest())


def _inpaint(job: Job) -> Edited:
    """Draw masked parts anew, one prompt after the other (GLIDE, arXiv:2112.10741, figures 1 and 3)."""
    masks = _masks(job.config, job.picture)
    if len(masks) != len(job.prompts):
        raise ConfigError(f"there are {len(job.prompts)} prompts and {len(masks)} masks or boxes: give one for each.")
    pictures, shown = job.copies(job.picture), [job.picture]
    for prompt, mask in zip(job.prompts, masks, strict=True):
        shown.append(veiled(pictures[0], mask))
        pictures = job.filled(prompt, pictures, mask)
    return Edited(pictures, shown)


def _outpaint(job: Job) -> Edited:
    """Draw around a picture."""
    canvas, mask = enlarged(job.picture, job.config.around)
    pictures = job.copies(canvas)
    return Edited(job.filled(job.prompts[0], pictures, mask), [veiled(canvas, mask)])


def _image_to_image(job: Job) -> Edited:
    """Go part of the way to noise, and back by another prompt (Meng et al. 2021, SDEdit, arXiv:2108.01073)."""
    strength = STRENGTH if job.config.strength is None else job.config.strength
    pictures = job.copies(job.picture)
    if strength:
        pictures = job.drawn(job.prompts[0], Given(pictures, strength=strength))
    return Edited(pictures, [job.picture])


def _upscale(job: Job) -> Edited:
    """Enlarge a picture by the upsampler alone."""
    seeds = job.seeds(job.prompts[0])
    pictures = upscaled(job.generator, job.copies(job.picture), [job.prompts[0]] * len(seeds), seeds, job.config)
    job.on_drawn()
    enlarged_plainly = Image.fromarray(job.picture).resize(pictures.shape[2:0:-1], Image.Resampling.BICUBIC)
    return Edited(pictures, [np.asarray(enlarged_plainly)])


def _invert(job: Job) -> Edited:
    """Find the noise that a picture is drawn from, and draw from it (Song et al. 2020, arXiv:2010.02502, 4.3)."""
    config, prompt = job.config, job.prompts[0]
    shows, iterations = config.source_prompt or prompt, config.iterations or ITERATIONS
    noise = inverted(job.generator, job.picture[None], [shows], config, iterations)
    pictures = drawn_from(job.generator, noise, [prompt], config, again=shows == prompt)
    job.on_drawn()
    return Edited(pictures, [job.picture], [{"psnr": float(psnrs(pictures, job.picture[None])[0])}])


def _variations(job: Job) -> Edited:
    """Draw what a CLIP sees in a picture again, with noise on the way (unCLIP, arXiv:2204.06125, section 3.1)."""
    imagination = Imagination(job.folder, job.generator, job.config)
    latent = imagination.latent(job.picture, job.config.iterations or ITERATIONS)
    eta = ETA if job.config.eta is None else job.config.eta
    pictures = imagination.drawn([latent] * job.config.num_images, job.seeds(""), eta)
    job.on_drawn()
    return Edited(pictures, [job.picture])


def _interpolate(job: Job) -> Edited:
    """Draw what lies between two pictures (section 3.2)."""
    config, imagination = job.config, Imagination(job.folder, job.generator, job.config)
    iterations, other = config.iterations or ITERATIONS, read_picture(Path(config.other))
    one, end = (imagination.latent(picture, iterations) for picture in (job.picture, other))
    places = thetas(config.num_images, 1.0 if config.theta is None else config.theta)
    # On the way nothing is by chance but what upsamplers add, which is to be the same all along.
    pictures = imagination.drawn([one.towards(end, theta) for theta in places], [job.seeds("")[0]] * len(places))
    job.on_drawn()
    return Edited(pictures, [job.picture, other])


def _text_diff(job: Job) -> Edited:
    """Turn a picture to what tells two captions apart (section 3.3)."""
    config, imagination = job.config, Imagination(job.folder, job.generator, job.config)
    latent = imagination.latent(job.picture, config.iterations or ITERATIONS)
    shows, wanted = (imagination.caption(text) for text in (config.source_prompt, job.prompts[0]))
    places = thetas(config.num_images, THETA if config.theta is None else config.theta)
    latents = [replace(latent, image=turned(latent.image, shows, wanted, theta)) for theta in places]
    pictures = imagination.drawn(latents, [job.seeds("")[0]] * len(places))
    job.on_drawn()
    return Edited(pictures, [job.picture])


EDITS: dict[EditKind, Callable[[Job], Edited]] = {
    "inpaint": _inpaint,
    "outpaint": _outpaint,
    "image-to-image": _image_to_image,
    "iterative": _inpaint,
    "upscale": _upscale,
    "invert": _invert,
    "variations": _variations,
    "interpolate": _interpolate,
    "text-diff": _text_diff,
}


def _require_fit(request: EditRequest) -> None:
    """Refuse what a kind of edit does not read, and what it lacks.

    Raises:
        ConfigError: there is something.
    """
    kind, config, num_prompts = request.kind, request.config, len(request.prompts)
    if ignored := config.ignored_by(kind):
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise ConfigError(f"{kind} does not read {flags}: leave out what would change nothing.")
    if kind in WORDLESS and request.prompts:
        raise ConfigError(f"{kind} goes by what the CLIP sees in pictures: leave out --prompt.")
    if kind == "interpolate" and not config.other:
        raise ConfigError("interpolate needs --other FILE: the picture at the other end of the way.")
    if kind == "text-diff" and not config.source_prompt.strip():
        raise ConfigError("text-diff needs --source-prompt TEXT: what the picture shows, beside what it is to show.")
    if kind not in {"upscale", *WORDLESS} and not all(prompt.strip() for prompt in request.prompts or ("",)):
        raise ConfigError(f"{kind} needs --prompt TEXT: what the result is to show.")
    if kind != "iterative" and num_prompts > 1:
        raise ConfigError(f"{kind} takes one --prompt, not {num_prompts}; several in turn are for iterative.")
    if kind == "outpaint" and not config.margins:
        raise ConfigError("outpaint needs --margins LEFT,TOP,RIGHT,BOTTOM: how far to draw around the picture.")
    if kind == "invert" and config.num_images > 1:
        raise ConfigError("invert finds the one noise of a picture: leave out --num-images.")
    if kind in READS_OF_DRAWING:
        _require_read(kind, config)


def _require_read(kind: EditKind, config: EditConfig) -> None:
    """Refuse settings of drawing that a kind of edit which draws its own way would ignore.

    Raises:
        ConfigError: there are some.
    """
    read, why = READS_OF_DRAWING[kind]
    if ignored := [name for name, value in config.asked.items() if value not in read.get(name, ())]:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise ConfigError(f"{kind} {why}: leave out {flags}.")


def _require_weaker_heeded(generator: Generator, config: EditConfig, kind: EditKind) -> None:
    """Refuse a weaker run where another one fills in, which is led away from nothing.

    Raises:
        ConfigError: so it is.
    """
    fills = bool(READS[kind] & {"mask", "margins"})
    for role in generator.cascade.roles:
        acting = generator.cascade.acting(role, fills=fills)
        if acting != role and config.of(role).autoguide:
            raise ConfigError(
                f"the {acting} of this system fills in, and is led away from no other: leave out --autoguide."
            )


def _masks(config: EditConfig, picture: Pixels) -> list[Mask]:
    if bool(config.mask) == bool(config.box):
        raise ConfigError("say what to draw anew: by --mask FILE, or by --box LEFT,TOP,WIDTH,HEIGHT.")
    shape = picture.shape
    return [read_mask(path, shape) for path in map(Path, config.mask)] + [box_mask(box, shape) for box in config.boxes]


def _written(request: EditRequest, edited: Edited, source: str) -> list[EditedImage]:
    folder, config = request.output_dir, request.config
    folder.mkdir(parents=True, exist_ok=True)
    run = read_manifest(request.run_dir).digest
    settings, weaker = config.model_dump(mode="json", exclude_defaults=True), weaker_digests(config)
    records = []
    for index, picture in enumerate(edited.pictures):
        seeds = tuple(image_seed(config.seed, prompt, index) for prompt in request.prompts)
        origin = {"prompt": "; ".join(request.prompts), "seed": seeds[-1] if seeds else 0, "run": run}
        data = png_bytes(picture, origin | {"edit": request.kind, "source": source})
        path = folder / f"{index:05d}.png"
        write_atomically(path, data)
        records.append(
            EditedImage(
                file=path.name,
                kind=request.kind,
                prompts=request.prompts,
                index=index,
                image_seeds=seeds,
                settings=settings,
                source=source,
                run=run,
                led_away_from=weaker,
                figures=dict(edited.figures[index]) if edited.figures else {},
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    strip = [Image.fromarray(picture) for picture in [*edited.shown, *edited.pictures[:NUM_SHOWN]]]
    write_atomically(folder / "strip.png", png_bytes(np.asarray(side_by_side(strip, len(strip))), {}))
    lines = "".join(canonical_json(record.model_dump(mode="json")) + "\n" for record in records)
    write_atomically(folder / "images.jsonl", lines.encode())
    return records
