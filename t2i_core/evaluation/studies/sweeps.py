"""What do guidance and noise on small pictures change? Imagen's sweeps (Saharia et al. 2022, arXiv:2205.11487, 4.5).

The same prompts and seeds at rising guidance, once with estimates cut off at their bounds and once brought back to them
by a percentile; and real pictures made small, enlarged with more and more noise put on them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.benchmark import Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import Beside, Block, Chart, Section, Text
from t2i_core.evaluation.studies.upsampler import averaged, spread_over
from t2i_core.generation.asked import image_seed
from t2i_core.generation.edits.canvas import psnrs
from t2i_core.generation.edits.upscaling import upscaled
from t2i_core.generation.generator import Generator

TITLE = "Sweeps"
SCALES, LEVELS, NUM_PICTURES = (1.0, 3.0, 7.0), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), 32
BOUNDS = ("static", "dynamic")
LEAD = (
    "Guidance: the same prompts and seeds, estimates cut off at their bounds (static) or divided by a percentile of "
    "themselves (dynamic); apart: mean difference of the two, gray levels. Noise: real pictures made small and then "
    "enlarged; fidelity: PSNR to the real picture; consistency: that of the result, averaged again, to the small one."
)
Lines = dict[str, tuple[list[float], list[float]]]


def study(evidence: Evidence, generators: Mapping[str, Generator]) -> Section:
    """Draw at every scale and, where there is an upsampler that learned with noise, enlarge at every level."""
    generator = generators["model"]
    data: dict[str, dict[str, dict[str, float]]] = {"guidance": _guidance(evidence, generator)}
    levels = [level for level in LEVELS if level <= _most(generator)]
    if len(levels) > 1:
        data["level"] = _levels(evidence, generator, levels)
    charts = [Chart(title, x_label, lines=_lines(data, name, figures)) for title, x_label, name, figures in CHARTS]
    blocks: list[Block] = [Text(LEAD, quiet=True), Beside("", [chart for chart in charts if chart.lines])]
    return Section(title=TITLE, key="sweeps", blocks=blocks, data=data)


# Title, what lies along the axis, the sweep, and its figures.
CHARTS = (
    ("Strict accuracy", "guidance", "guidance", ("strict, static", "strict, dynamic")),
    ("Static and dynamic threshold, gray levels apart", "guidance", "guidance", ("apart",)),
    ("Enlarged, dB", "noise on small pictures", "level", ("fidelity", "consistency")),
)


def _lines(data: Mapping[str, Mapping[str, Mapping[str, float]]], name: str, figures: tuple[str, ...]) -> Lines:
    rows = data.get(name, {})
    there = [figure for figure in figures if all(figure in row for row in rows.values())] if rows else []
    return {figure: ([float(x) for x in rows], [row[figure] for row in rows.values()]) for figure in there}


def _guidance(evidence: Evidence, generator: Generator) -> dict[str, dict[str, float]]:
    prompts, _ = spread_over(evidence, NUM_PICTURES)
    texts = [prompt.text for prompt in prompts]
    seeds = [image_seed(evidence.config.seed, text, 0) for text in texts]
    found = {}
    for scale in SCALES:
        ways = {how: evidence.config.with_changes(guidance_scale=scale, threshold=how) for how in BOUNDS}
        drawn = {how: generator.generate(texts, seeds, config) for how, config in ways.items()}
        apart = np.abs(drawn["static"].astype(float) - drawn["dynamic"].astype(float)).mean()
        strict = {f"strict, {how}": _right(each, prompts) for how, each in drawn.items()} if evidence.has_scenes else {}
        found[f"{scale:g}"] = strict | {"apart": float(apart)}
    return found


def _right(pictures: Pictures, prompts: Sequence[Prompt]) -> float:
    pairs = zip(pictures, prompts, strict=True)
    return float(np.mean([judge(extract(picture), prompt.scene).strict for picture, prompt in pairs if prompt.scene]))


def _most(generator: Generator) -> float:
    """Give the most noise on small pictures that the first upsampler learned with; 0 without one."""
    upsamplers = generator.cascade.upsamplers
    return generator.cascade.drawers[upsamplers[0]].low_noise if upsamplers else 0.0


def _levels(evidence: Evidence, generator: Generator, levels: list[float]) -> dict[str, dict[str, float]]:
    prompts, real = spread_over(evidence, NUM_PICTURES)
    small = averaged(real, generator.factor)
    texts = [prompt.text for prompt in prompts]
    seeds = [image_seed(evidence.config.seed, text, 0) for text in texts]
    found = {}
    for level in levels:
        told = (*evidence.config.set, f"upsampler.low_level={level}")
        large = upscaled(generator, small, texts, seeds, evidence.config.with_changes(set=told))
        near = psnrs(averaged(large, generator.factor), small)
        found[f"{level:g}"] = {"fidelity": float(psnrs(large, real).mean()), "consistency": float(near.mean())}
    return found
