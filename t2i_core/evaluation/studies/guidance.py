"""Does guidance help, and of which kind? GLIDE's comparison (Nichol et al. 2021, arXiv:2112.10741, section 5).

The same prompts and seeds without guidance, with classifier-free guidance and with CLIP guidance, judged by the
checker, by a CLIP that had no part in drawing, and by the CLIP that guides: what is pulled towards a judge pleases it,
which says little.
"""

from collections.abc import Mapping

import numpy as np

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.clip_score import cosine_x100
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import Column, Row, Section, Table, Text
from t2i_core.generation.asked import image_seed
from t2i_core.generation.generator import Generator

TITLE = "Guidance"
SCALE, CLIP_SCALE = 3.0, 2.0
LEAD = (
    "One picture a prompt, the same seeds in every row. CLIP score: 100 x cosine, by the CLIP of this report, which "
    "had no part in drawing. Guiding CLIP: logit scale x cosine, by the CLIP of noised pictures itself (the paper's "
    "score, which is pleased by what it asked for)."
)


def study(evidence: Evidence, generators: Mapping[str, Generator]) -> Section:
    """Draw the prompts in every way there is, and have all judges look."""
    generator = generators["model"]
    if not evidence.has_scenes:
        return Section(title=TITLE, key="guidance", not_scored=["Guidance: the data has no scenes to check against."])
    rows = {name: _judged(evidence, generator, config) for name, config in _ways(evidence, generator).items()}
    heads = {name: None for row in rows.values() for name in row}
    columns = [Column(name, "share" if name == "strict accuracy" else "figure", brief=name) for name in heads]
    table = Table(
        "Ways of guidance",
        "Guidance",
        columns,
        [Row(name, [row[head] for head in heads]) for name, row in rows.items()],
    )
    return Section(title=TITLE, key="guidance", blocks=[Text(LEAD, quiet=True), table], data={"rows": rows})


def _ways(evidence: Evidence, generator: Generator) -> dict[str, EvaluateConfig]:
    config = evidence.config
    ways = {
        "none": config.with_changes(guidance_scale=1.0),
        f"classifier-free, {SCALE:g}": config.with_changes(guidance_scale=SCALE, autoguide=""),
    }
    if config.autoguide:
        ways[f"away from a weaker run, {SCALE:g}"] = config.with_changes(guidance_scale=SCALE)
    if generator.has_clip:
        name = f"CLIP, {CLIP_SCALE:g}"
        ways[name] = config.with_changes(guidance_scale=1.0, clip_guidance_scale=CLIP_SCALE)
    return ways


def _judged(evidence: Evidence, generator: Generator, config: EvaluateConfig) -> Mapping[str, Estimate]:
    prompts = [prompt for prompt in evidence.benchmark.prompts if prompt.scene]
    texts = [prompt.text for prompt in prompts]
    pictures = generator.generate(texts, [image_seed(config.seed, text, 0) for text in texts], config)
    strict = [
        [float(judge(extract(p), prompt.scene).strict)]
        for p, prompt in zip(pictures, prompts, strict=True)
        if prompt.scene
    ]
    figures = {"strict accuracy": share_by_prompt(strict, **evidence.resampling)}
    if evidence.scorer is not None:
        figures["CLIP score"] = mean_by_prompt(_scores(evidence, pictures, texts), **evidence.resampling)
    if generator.has_clip:
        own = generator.clip_logits(pictures, texts)
        figures["guiding CLIP"] = mean_by_prompt(own, **evidence.resampling)
    return figures


def _scores(evidence: Evidence, pictures: Pictures, texts: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert evidence.scorer is not None
    cosines = (evidence.scorer.embed_images(pictures) * evidence.scorer.embed_texts(texts)).sum(axis=1)
    return np.asarray(cosine_x100(cosines))
