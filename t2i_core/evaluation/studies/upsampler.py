"""What does the upsampler add to plain interpolation, on real pictures made small?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.benchmark import Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import (
    Column,
    Figure,
    Group,
    Picture,
    Row,
    Section,
    Shows,
    Table,
    Text,
)
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.generation.asked import image_seed
from t2i_core.generation.edits.canvas import psnrs
from t2i_core.generation.edits.upscaling import upscaled
from t2i_core.generation.generator import Generator

TITLE = "Upsampler"
NUM_PICTURES, NUM_SHOWN = 96, 4
# Standard deviation, pixels of the small picture, of what a base may leave unsharp.
BLUR = 1.0
# What an evaluation is compared with may have an upsampler of its own, such as a regressor.
NAMES, BICUBIC = {"model": "upsampler", "baseline": "the baseline's"}, "bicubic"
SHOWN: dict[str, tuple[str, Shows]] = {
    "fidelity": ("fidelity, dB", "figure"),
    "consistency": ("consistency, dB", "figure"),
    "repair": ("repair", "share"),
}
LEAD = (
    "Held-out real pictures, averaged to the base's side and enlarged again, beside bicubic interpolation. Fidelity: "
    "PSNR to the real picture. Consistency: PSNR of the result, averaged again, to the small picture. Repair: strict "
    "accuracy where the small picture was blurred by one pixel before, as a base may draw it."
)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What is to be enlarged, and how it looks large.

    Attributes:
        prompts: what the pictures show.
        real: (B, H, W, 3) uint8.
        small: (B, H / factor, W / factor, 3) uint8, averages of these.
        soft: like them, blurred.
        factor: how many times as long the sides are to be.
    """

    prompts: Sequence[Prompt]
    real: Pictures
    small: Pictures
    soft: Pictures
    factor: int


@dataclass(frozen=True, slots=True, eq=False)
class Enlarged:
    """What somebody made of `small` and of `soft`: (B, H, W, 3) uint8 each."""

    sharp: Pictures
    mended: Pictures


def study(evidence: Evidence, generators: Mapping[str, Generator]) -> Section:
    """Enlarge small versions of the prompts' real pictures, and judge what comes out."""
    given = _given(evidence, generators["model"].factor)
    large = {
        NAMES[who]: Enlarged(*(_upscaled(evidence, generator, given, part) for part in (given.small, given.soft)))
        for who, generator in generators.items()
        if generator.factor == given.factor
    }
    large[BICUBIC] = Enlarged(*(_bicubic(part, given.factor) for part in (given.small, given.soft)))
    figures = {name: _figures(evidence, given, each) for name, each in large.items()}
    gain = psnrs(large[NAMES["model"]].sharp, given.real) - psnrs(large[BICUBIC].sharp, given.real)
    above = mean_by_prompt(gain, **evidence.resampling)
    strips = [("", "", [_shown(i, given, large)]) for i in range(min(NUM_SHOWN, len(given.real)))]
    return Section(
        title=TITLE,
        key="upsampler",
        figures=[Figure("upsampler above bicubic", above, "on real pictures made small", unit="dB")],
        blocks=[Text(LEAD, quiet=True), _table(figures), Strip("", strips)],
        data={"rows": figures},
    )


def spread_over(evidence: Evidence, number: int) -> tuple[Sequence[Prompt], Pictures]:
    """Choose prompts evenly, at most so many, and give their real pictures: (B, H, W, 3) uint8."""
    prompts = evidence.benchmark.prompts
    chosen = [prompts[i] for i in np.linspace(0, len(prompts) - 1, min(number, len(prompts))).round().astype(int)]
    return chosen, np.stack([prompt.real for prompt in chosen])


def _given(evidence: Evidence, factor: int) -> Given:
    chosen, real = spread_over(evidence, NUM_PICTURES)
    small = averaged(real, factor)
    return Given(chosen, real, small, np.stack([_blurred(picture) for picture in small]), factor)


def _upscaled(evidence: Evidence, generator: Generator, given: Given, part: Pictures) -> Pictures:
    texts = [prompt.text for prompt in given.prompts]
    seeds = [image_seed(evidence.config.seed, text, 0) for text in texts]
    return upscaled(generator, part, texts, seeds, evidence.config)


def _figures(evidence: Evidence, given: Given, large: Enlarged) -> dict[str, Estimate]:
    how = evidence.resampling
    figures = {
        "fidelity": mean_by_prompt(psnrs(large.sharp, given.real), **how),
        "consistency": mean_by_prompt(psnrs(averaged(large.sharp, given.factor), given.small), **how),
    }
    if evidence.has_scenes:
        figures["repair"] = share_by_prompt(_strict(large.mended, given.prompts), **how)
    return figures


def _table(figures: Mapping[str, Mapping[str, Estimate]]) -> Table:
    heads = list(figures[BICUBIC])
    columns = [Column(*SHOWN[head], brief=head) for head in heads]
    rows = [Row(name, [found[head] for head in heads]) for name, found in figures.items()]
    return Table("Real pictures, made small and large again", "By", columns, rows)


def averaged(pictures: Pictures, factor: int) -> Pictures:
    """Average squares of pixels: (B, H, W, 3) uint8 to (B, H / factor, W / factor, 3)."""
    num, height, width = pictures.shape[:3]
    squares = pictures.reshape(num, height // factor, factor, width // factor, factor, 3).astype(np.float64)
    return np.asarray(squares.mean(axis=(2, 4)).round().astype(np.uint8))


def _bicubic(pictures: Pictures, factor: int) -> Pictures:
    size = (factor * pictures.shape[2], factor * pictures.shape[1])
    return np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures])


def _blurred(picture: Pictures) -> Pictures:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(BLUR)))


def _strict(pictures: Pictures, prompts: Sequence[Prompt]) -> list[list[float]]:
    scenes = [prompt.scene for prompt in prompts]
    return [[float(judge(extract(p), scene).strict)] for p, scene in zip(pictures, scenes, strict=True) if scene]


def _shown(i: int, given: Given, large: Mapping[str, Enlarged]) -> Group:
    plain = np.repeat(np.repeat(given.soft[i], given.factor, axis=0), given.factor, axis=1)
    return Group(
        [
            Picture(plain, "blurred and small", "given"),
            *(Picture(large[name].mended[i], name, name) for name in reversed(list(large))),
            Picture(given.real[i], "real picture", "real"),
        ]
    )
