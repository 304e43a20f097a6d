"""What does the upsampler add to plain interpolation, on real pictures made small?"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import mean_by_prompt, share_by_prompt
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.benchmark import Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import Column, Figure, Group, Picture, Row, Section, Table, Text
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.generation.asked import image_seed
from t2i_core.generation.edits.canvas import psnrs
from t2i_core.generation.edits.upscaling import upscaled
from t2i_core.generation.generator import Generator

TITLE = "Upsampler"
NUM_PICTURES, NUM_SHOWN = 96, 4
# Standard deviation, pixels of the small picture, of what a base may leave unsharp.
BLUR = 1.0
LEAD = (
    "Held-out real pictures, averaged to the base's side and enlarged again, beside bicubic interpolation. Fidelity: "
    "PSNR to the real picture. Consistency: PSNR of the result, averaged again, to the small picture. Repair: strict "
    "accuracy where the small picture was blurred by one pixel before, as a base may draw it."
)


def study(evidence: Evidence, generator: Generator) -> Section:
    """Enlarge small versions of the prompts' real pictures, and judge what comes out."""
    prompts = evidence.benchmark.prompts
    chosen = [prompts[i] for i in np.linspace(0, len(prompts) - 1, min(NUM_PICTURES, len(prompts))).round().astype(int)]
    real = np.stack([prompt.real for prompt in chosen])
    small = averaged(real, generator.factor)
    texts = [prompt.text for prompt in chosen]
    seeds = [image_seed(evidence.config.seed, text, 0) for text in texts]
    soft = np.stack([_blurred(picture) for picture in small])
    large = {
        "upsampler": [upscaled(generator, part, texts, seeds, evidence.config) for part in (small, soft)],
        "bicubic": [_bicubic(part, generator.factor) for part in (small, soft)],
    }
    how = evidence.resampling
    figures = {
        name: {
            "fidelity": mean_by_prompt(psnrs(sharp, real), **how),
            "consistency": mean_by_prompt(psnrs(averaged(sharp, generator.factor), small), **how),
        }
        | ({"repair": share_by_prompt(_strict(mended, chosen), **how)} if evidence.has_scenes else {})
        for name, (sharp, mended) in large.items()
    }
    heads = list(figures["bicubic"])
    shows = {"fidelity": "figure", "consistency": "figure", "repair": "share"}
    columns = [Column(f"{head}, dB" if shows[head] == "figure" else head, shows[head], brief=head) for head in heads]  # type: ignore[arg-type]
    rows = [Row(name, [figures[name][head] for head in heads]) for name in figures]
    gain = psnrs(large["upsampler"][0], real) - psnrs(large["bicubic"][0], real)
    return Section(
        title=TITLE,
        key="upsampler",
        figures=[
            Figure("upsampler above bicubic", mean_by_prompt(gain, **how), "on real pictures made small", unit="dB")
        ],
        blocks=[
            Text(LEAD, quiet=True),
            Table("Real pictures, made small and large again", "By", columns, rows),
            Strip(
                "",
                [("", "", [_shown(i, real, soft, large, generator.factor) for i in range(min(NUM_SHOWN, len(real)))])],
            ),
        ],
        data={"rows": figures},
    )


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


def _shown(i: int, real: Pictures, soft: Pictures, large: dict[str, list[Pictures]], factor: int) -> Group:
    plain = np.repeat(np.repeat(soft[i], factor, axis=0), factor, axis=1)
    return Group(
        [
            Picture(plain, "blurred and small", "given"),
            Picture(large["bicubic"][1][i], "bicubic", "bicubic"),
            Picture(large["upsampler"][1][i], "upsampler", "upsampler"),
            Picture(real[i], "real picture", "real"),
        ]
    )
