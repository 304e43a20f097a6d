"""Does a system that imagines embeddings first do what unCLIP does (Ramesh et al. 2022, arXiv:2204.06125)?

What the CLIP inside keeps of a scene is the ceiling. Below it: how good the prior's embeddings are, what is drawn of
true embeddings, of the prior's, of the caption's own in their place and of the caption alone (section 5.1), and whether
guidance takes away what an embedding leaves open (section 5.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.composition import Extraction, extract
from t2i_core.evaluation.judges.statistics import Estimate
from t2i_core.evaluation.judges.verdict import Verdict, judge
from t2i_core.evaluation.metrics.accuracy import score_verdicts
from t2i_core.evaluation.metrics.benchmark import TASK_TITLES, Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.failures import judged_picture
from t2i_core.evaluation.metrics.section import (
    Beside,
    Block,
    Chart,
    Column,
    Figure,
    Group,
    Picture,
    Row,
    Section,
    Table,
    Text,
)
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.evaluation.studies.ceiling import LEAST_STD, NEAREST, PROBE, Embedded, Floats, Read, ceilings, embedded
from t2i_core.evaluation.studies.priors import COSINE, GAP, RETRIEVAL, SPREAD, captions_of, imagined, measured
from t2i_core.generation.asked import image_seed
from t2i_core.generation.eye import Eye, Remembered
from t2i_core.generation.generator import Generator

TITLE = "unCLIP"
SCALES, NUM_PROMPTS, NUM_SEEDS, NUM_SHOWN = (1.0, 2.0, 4.0), 8, 8, 2
GIVEN_TRUE, GIVEN_PRIOR, GIVEN_TEXT, GIVEN_NONE = "true embedding", "prior's", "caption's embedding", "caption alone"
FIXED, FREE = "embedding fixed", "caption alone"
LEAD = (
    "The CLIP inside the system sees held-out pictures; what can be read from its embeddings is the ceiling. Linear "
    "probes learned each attribute from training pictures; nearest caption: of those of all scenes of the task, to the "
    "CLIP itself. Right is a picture with everything right that its caption asks for."
)


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """What the decoder drew of something.

    Attributes:
        pictures: (P, H, W, 3) uint8, one a prompt.
        verdicts: of the checker.
    """

    pictures: Pictures
    verdicts: Sequence[Verdict]


def study(evidence: Evidence, generators: Mapping[str, Generator]) -> Section:
    """Measure the parts of a system, and draw by embeddings of several origins."""
    if not evidence.has_scenes:
        return Section(title=TITLE, key="unclip", not_scored=["unCLIP: the data has no scenes to check against."])
    generator = generators["model"]
    eye = generator.eye()
    train, test = embedded(evidence.train, eye), embedded(evidence.test, eye)
    read = ceilings(train, test, eye, evidence.resampling)
    captions = captions_of(evidence, test, eye)
    priors = measured(evidence, captions, generators)
    drawn = _ablation(evidence, generator, eye, train)
    strict = {name: _strict(evidence, each.verdicts) for name, each in drawn.items()}
    spread = _spread(evidence, generator)
    shares = _shares(read, strict[GIVEN_PRIOR])
    blocks: list[Block] = [Text(LEAD, quiet=True), _ceiling_table(read, strict[GIVEN_PRIOR], shares)]
    blocks += [_prior_table(priors, len(captions.texts)), _ablation_table(strict), _strip(evidence, drawn)]
    blocks.append(Beside("", _charts(spread)))
    data = {
        "ceiling": {t: {by: {"whole": r.whole, **r.attributes} for by, r in each.items()} for t, each in read.items()},
        "share_of_ceiling": shares,
        "priors": priors,
        "num_captions": len(captions.texts),
        "ablation": strict,
        "spread": spread,
    }
    return Section(title=TITLE, key="unclip", figures=_figures(evidence, shares), blocks=blocks, data=data)


def _ablation(evidence: Evidence, generator: Generator, eye: Eye, train: Embedded) -> dict[str, Ablation]:
    """Draw each prompt once by embeddings of several origins, with the seed of its first picture."""
    prompts, config = evidence.benchmark.prompts, evidence.config
    texts = [prompt.text for prompt in prompts]
    seeds = [image_seed(config.seed, text, 0) for text in texts]
    true = eye.see(np.stack([prompt.real for prompt in prompts])).double().numpy()
    given = {GIVEN_TRUE: true, GIVEN_TEXT: _as_pictures(eye.read(texts).double().numpy(), eye, train)}
    drawn = {name: generator.with_prior(_remembered(seeds, images)) for name, images in given.items()}
    drawn[GIVEN_NONE] = generator.with_prior(None)
    pictures = {name: each.generate(texts, seeds, config) for name, each in drawn.items()}
    # What the prior's gave is drawn already.
    pictures[GIVEN_PRIOR] = evidence.drawn["model"].pictures[:, 0]
    order = (GIVEN_TRUE, GIVEN_PRIOR, GIVEN_TEXT, GIVEN_NONE)
    return {name: Ablation(pictures[name], _verdicts(pictures[name], prompts)) for name in order}


def _as_pictures(texts: Floats, eye: Eye, train: Embedded) -> Floats:
    """Give embeddings of captions the mean and the variance that those of pictures have."""
    read = eye.read(train.captions).double().numpy()
    standard = (texts - read.mean(0)) / (read.std(0) + LEAST_STD)
    return np.asarray(train.images.mean(0) + train.images.std(0) * standard)


def _remembered(seeds: Sequence[int], images: Floats) -> Remembered:
    return Remembered(seeds, F.normalize(torch.from_numpy(images).float(), dim=1))


def _verdicts(pictures: Pictures, prompts: Sequence[Prompt]) -> list[Verdict]:
    pairs = zip(pictures, prompts, strict=True)
    return [judge(extract(picture), prompt.scene) for picture, prompt in pairs if prompt.scene]


def _strict(evidence: Evidence, verdicts: Sequence[Verdict]) -> dict[str, Estimate]:
    """Give strict accuracy by task, and over all; prompts of one combination are one draw."""
    row = score_verdicts(evidence.benchmark, [[verdict] for verdict in verdicts], **evidence.resampling)
    return row.strict | {"overall": row.overall}


def _shares(read: Mapping[str, Mapping[str, Read]], strict: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Divide strict accuracy by the higher ceiling, whose own doubt is left out; over all tasks, the means of both."""
    best = {task: max(each.whole.value for each in by.values()) for task, by in read.items() if task in strict}
    best["overall"] = float(np.mean(list(best.values()))) if best else 0.0
    return {task: _over(strict[task], value) for task, value in best.items() if value}


def _over(estimate: Estimate, by: float) -> Estimate:
    return Estimate(estimate.value / by, estimate.low / by, estimate.high / by, estimate.num)


def _spread(evidence: Evidence, generator: Generator) -> dict[str, dict[str, dict[str, float]]]:
    """Draw prompts with many seeds: how far positions and sizes differ, an embedding fixed or not, by guidance."""
    prompts = [p for p in evidence.benchmark.prompts if p.scene and p.scene.task in ("single", "position")]
    chosen = [prompts[i] for i in np.linspace(0, len(prompts) - 1, min(NUM_PROMPTS, len(prompts))).round().astype(int)]
    seeds = [image_seed(evidence.config.seed, prompt.text, i) for prompt in chosen for i in range(NUM_SEEDS)]
    images = imagined(generator, [prompt.text for prompt in chosen], 1, evidence.config)[:, 0]
    fixed = _remembered(seeds, np.repeat(images, NUM_SEEDS, axis=0))
    drawers = {FIXED: generator.with_prior(fixed), FREE: generator.with_prior(None)}
    return {
        how: {f"{scale:g}": _spread_at(chosen, seeds, drawer, evidence.config, scale) for scale in SCALES}
        for how, drawer in drawers.items()
    }


def _spread_at(
    prompts: Sequence[Prompt], seeds: Sequence[int], drawer: Generator, config: EvaluateConfig, scale: float
) -> dict[str, float]:
    texts = [prompt.text for prompt in prompts for _ in range(NUM_SEEDS)]
    pictures = drawer.generate(texts, seeds, config.with_changes(guidance_scale=scale))
    shown = [extract(picture) for picture in pictures]
    by_prompt = [shown[i : i + NUM_SEEDS] for i in range(0, len(shown), NUM_SEEDS)]
    found = [
        s for p, rows in zip(prompts, by_prompt, strict=True) if p.scene for s in spread_of(rows, len(p.scene.objects))
    ]
    means = dict(zip(("position", "size"), np.mean(found, axis=0).tolist(), strict=True)) if found else {}
    return means | {"prompts": float(len(found))}


def spread_of(shown: Sequence[Extraction], num_objects: int) -> list[tuple[float, float]]:
    """Measure how far objects differ in pictures of one prompt, in shares of the side.

    Args:
        shown: the pictures; those with more or fewer objects are left out.
        num_objects: that a picture is to have.

    Returns:
        Standard deviation of positions along an axis, and of half-extents; nothing where fewer than two are left.
    """
    whole = [sorted(each.objects, key=lambda o: o.x + o.y) for each in shown if len(each.objects) == num_objects]
    if len(whole) < 2:
        return []
    numbers = np.array([[(o.x, o.y, o.radius) for o in objects] for objects in whole])
    variances = numbers.var(axis=0, ddof=1).mean(axis=0)
    return [(float(np.sqrt(variances[:2].mean())), float(np.sqrt(variances[2])))]


def _figures(evidence: Evidence, shares: Mapping[str, Estimate]) -> list[Figure]:
    name = "strict accuracy, of what the CLIP inside keeps"
    if not evidence.checker_gate.passed:
        return [Figure(name, None, "the checker failed its gate", "bad")]
    return [Figure(name, shares.get("overall"), "held-out prompts, divided by what can be read from true embeddings")]


def _ceiling_table(
    read: Mapping[str, Mapping[str, Read]], strict: Mapping[str, Estimate], shares: Mapping[str, Estimate]
) -> Table:
    columns = [
        Column("Linear probes", "share", brief="probes"),
        Column("Nearest caption", "share", brief="nearest"),
        Column("Drawn", "share", brief="drawn", tone="model"),
        Column("Drawn, of the higher", "figure", brief="of the higher"),
        Column("Attributes right, by probe"),
    ]
    rows = []
    for task, by in read.items():
        told = ", ".join(f"{name} {share:.2f}" for name, share in by[PROBE].attributes.items())
        cells = [by[PROBE].whole, by[NEAREST].whole, strict.get(task), shares.get(task), told]
        rows.append(Row(TASK_TITLES[task], cells))
    return Table(
        "What the CLIP inside keeps of held-out pictures, and what is drawn", "Task", columns, rows, folds=True
    )


def _prior_table(priors: Mapping[str, Mapping[str, Estimate]], number: int) -> Table:
    note = (
        f"Retrieval: of the own caption among {number} that ask for different things, by chance {1 / number:.2f}. Gap: "
        "cosine to a picture of the caption above that to pictures of the others. Spread ratio: variance of embeddings "
        "of one caption, in that of true pictures of it. 1 is as pictures do; who gives the mean has 0."
    )
    columns = [Column(RETRIEVAL, "share", brief=RETRIEVAL)]
    columns += [Column(name, "figure", brief=name) for name in (COSINE, GAP, SPREAD)]
    rows = [
        Row(f"prior of the {who}" if who in ("model", "baseline") else who, [row[c.title] for c in columns])
        for who, row in priors.items()
    ]
    return Table("Embeddings that are imagined, and true ones", "Embeddings", columns, rows, note)


def _ablation_table(strict: Mapping[str, Mapping[str, Estimate]]) -> Table:
    tasks = list(strict[GIVEN_PRIOR])
    columns = [Column(TASK_TITLES.get(task, "All tasks"), "share", brief=task) for task in tasks]
    rows = [Row(name, [row[task] for task in tasks]) for name, row in strict.items()]
    note = "The same prompts and seeds; the caption's embedding is given the mean and variance of pictures' first."
    return Table("Strict accuracy of the decoder, given the caption and", "Embedding", columns, rows, note)


def _strip(evidence: Evidence, drawn: Mapping[str, Ablation]) -> Strip:
    """Show the first prompts of each task as drawn of everything."""
    rows = []
    for numbers in evidence.benchmark.by_task().values():
        for i in numbers[:NUM_SHOWN]:
            prompt = evidence.benchmark.prompts[i]
            groups = [Group([Picture(prompt.real, "real picture")], caption="real")]
            groups += [
                Group([judged_picture(each.pictures[i], f"by {name}: {prompt.text}", each.verdicts[i])], caption=name)
                for name, each in drawn.items()
            ]
            rows.append((prompt.text, prompt.id, groups))
    return Strip("The same prompts, drawn by different embeddings", rows)


def _charts(spread: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Chart]:
    """Show spread against guidance, of positions and of sizes, where enough pictures could be read."""
    charts = []
    for name in ("position", "size"):
        points = {how: {float(w): at[name] for w, at in by.items() if name in at} for how, by in spread.items()}
        lines = {how: (list(at), list(at.values())) for how, at in points.items() if at}
        charts.append(Chart(f"Spread of {name} over seeds, shares of the side", "guidance", lines=lines))
    return [chart for chart in charts if chart.lines]
