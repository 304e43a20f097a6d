"""Do edits do what they are asked? Every one that a run or system can do, on real pictures, with outcomes checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import (
    Block,
    Chart,
    Column,
    Figure,
    Group,
    Level,
    Picture,
    Row,
    Section,
    Table,
    Text,
)
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.evaluation.studies.edit_tasks import Task, edge_of, halves_of, tasks_of, turns_of
from t2i_core.evaluation.studies.upsampler import averaged
from t2i_core.generation.asked import image_seed
from t2i_core.generation.edits.canvas import psnrs, veiled
from t2i_core.generation.edits.inversion import drawn_from, inverted
from t2i_core.generation.edits.upscaling import upscaled
from t2i_core.generation.generator import Generator
from t2i_core.generation.given import Given
from t2i_core.samples.scenes import Scene

TITLE = "Edits"
NUM_SHOWN, NUM_MOVED, NUM_IN_TURN, NUM_INVERTED, INVERSION_STEPS = 4, 16, 8, 8, 100
# Evaluations of each step back to noise: the plain way, and fixed-point rounds.
INVERSIONS = {"plain": 1, "fixed point": 5}
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
TURNS, ROUNDS = 3, 5
LEAD = (
    "Real held-out pictures of two objects; green frames are right, red ones wrong. Replaced: an object is masked with "
    "a margin and drawn anew as another one; right only if everything in the new scene is, and nothing else is there. "
    "Edge: how wrong the two pixels along the inside of the mask's border are, in errors further inside; up to 1 there "
    "is no seam. Outpainted: a half is cut off and drawn again. In turn: three objects replaced, each on what came of "
    "the last. Image-to-image: the same new prompt without a mask, from the picture, by strength."
)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What one kind of edit gives to the section."""

    data: Mapping[str, Any]
    blocks: Sequence[Block]
    figures: Sequence[Figure] = field(default=())


def study(evidence: Evidence, generators: Mapping[str, Generator]) -> Section:
    """Edit real pictures in every way that there is."""
    generator = generators["model"]
    if not tasks_of(evidence):
        return Section(
            title=TITLE, key="edits", not_scored=["Edits: the data has no pictures of two objects to change."]
        )
    found = [edit(evidence, generator) for edit in _edits(generator)]
    return Section(
        title=TITLE,
        key="edits",
        figures=[figure for part in found for figure in part.figures],
        blocks=[Text(LEAD, quiet=True), *(block for part in found for block in part.blocks)],
        data={name: value for part in found for name, value in part.data.items()},
    )


def _edits(generator: Generator) -> list[Callable[[Evidence, Generator], Found]]:
    return [_replaced, _outpainted, _in_turn, _by_strength, _inversion if generator.factor == 1 else _upscaled]


def _replaced(evidence: Evidence, generator: Generator) -> Found:
    """Replace an object; a run that was not trained to fill in only pastes what is known, or resamples."""
    tasks = tasks_of(evidence)
    ways = {"trained to fill in" if generator.fills else "known pixels pasted": 1}
    if not generator.fills and evidence.config.steps != 1:
        ways[f"RePaint, {ROUNDS} rounds"] = ROUNDS
    drawn = {way: [_filled(evidence, generator, task, rounds) for task in tasks] for way, rounds in ways.items()}
    rows = {way: _judged(evidence, pictures, tasks) for way, pictures in drawn.items()}
    right, edge = next(iter(rows.values()))
    data = {"replaced": right, "edge": edge, "ways": {w: {"replaced": r, "edge": e} for w, (r, e) in rows.items()}}
    columns = [Column("replaced rightly", "share", brief="replaced"), Column("edge", "figure", brief="edge")]
    table = Table("Objects replaced", "Way", columns, [Row(way, list(row)) for way, row in rows.items()])
    shown = [_masked(task) + [_result(p[i], task.wanted, way) for way, p in drawn.items()] for i, task in _some(tasks)]
    note = "in real pictures, everything else kept to the byte"
    figures = [Figure("objects replaced rightly", right, note)]
    return Found(data, [table, _changes("Replaced", tasks, shown)], figures)


def _outpainted(evidence: Evidence, generator: Generator) -> Found:
    """Draw a half again that was cut off."""
    tasks = halves_of(evidence)[:NUM_MOVED]
    drawn = [_filled(evidence, generator, task) for task in tasks]
    right, _ = _judged(evidence, drawn, tasks)
    shown = [[*_masked(task), _result(drawn[i], task.wanted, "outpainted")] for i, task in _some(tasks)]
    title, asked = f"Outpainted: {_spelt(right)} right", [task.shows for task in tasks]
    return Found({"outpainted": right}, [_strips(title, asked, shown)])


def _in_turn(evidence: Evidence, generator: Generator) -> Found:
    """Replace one object, the other one and the first again."""
    turns = turns_of(evidence, TURNS)[:NUM_IN_TURN]
    shown = [[Picture(tasks[0].picture, "real picture", "real")] for tasks in turns]
    rights = []
    for number in range(TURNS):
        tasks = [each[number] for each in turns]
        before = [pictures[-1].pixels for pictures in shown]
        drawn = [_filled(evidence, generator, task, on=last) for task, last in zip(tasks, before, strict=True)]
        rights.append(_judged(evidence, drawn, tasks)[0])
        for pictures, picture, task in zip(shown, drawn, tasks, strict=True):
            pictures.append(_result(picture, task.wanted, f"edit {number + 1}"))
    title = f"In turn: {', '.join(map(_spelt, rights))} right after each edit"
    return Found({"in_turn": rights}, [_changes(title, [each[-1] for each in turns], shown[:NUM_SHOWN])])


def _by_strength(evidence: Evidence, generator: Generator) -> Found:
    """Go from pictures to their new prompts: how far they move, and how often what is asked for is there."""
    tasks, moved, right = tasks_of(evidence)[:NUM_MOVED], [0.0], [0.0]
    shown = [Picture(tasks[0].picture, "real picture", "0")]
    for strength in STRENGTHS:
        drawn = [_drawn(evidence, generator, task, Given(task.picture[None], strength=strength)) for task in tasks]
        far = [np.abs(p.astype(int) - t.picture).mean() for p, t in zip(drawn, tasks, strict=True)]
        moved.append(float(np.mean(far)))
        right.append(float(np.mean(_right(drawn, tasks))))
        shown.append(_result(drawn[0], tasks[0].wanted, f"{strength:g}"))
    at = [0.0, *STRENGTHS]
    lines = {"right, share": (at, right), "distance, of its end": (at, [m / max(moved[-1], 1e-9) for m in moved])}
    data = {f"{s:g}": {"distance": m, "strict": r} for s, m, r in zip(at, moved, right, strict=True)}
    strip = _changes("Image to image, strength 0 to 1", tasks, [shown])
    return Found({"image_to_image": data}, [Chart("Image to image", "strength", lines=lines), strip])


def _inversion(evidence: Evidence, generator: Generator) -> Found:
    """Find the noise of pictures, and draw from it by their own captions and, from the nearest, by the new ones."""
    tasks, config = tasks_of(evidence)[:NUM_INVERTED], evidence.config.with_changes(steps=INVERSION_STEPS)
    real, shows = np.stack([task.picture for task in tasks]), [task.shows for task in tasks]
    noises = {name: inverted(generator, real, shows, config, rounds) for name, rounds in INVERSIONS.items()}
    again = {name: drawn_from(generator, noise, shows, config, again=True) for name, noise in noises.items()}
    near = {name: psnrs(drawn, real) for name, drawn in again.items()}
    values = {name: mean_by_prompt(each, **evidence.resampling) for name, each in near.items()}
    texts = [task.text for task in tasks[:NUM_SHOWN]]
    others = drawn_from(generator, noises["fixed point"][:NUM_SHOWN], texts, config, again=False)
    shown = [
        [
            Picture(task.picture, "real picture", "real"),
            *(Picture(again[name][i], f"drawn from its noise, {name}", f"{near[name][i]:.1f} dB") for name in again),
            _result(others[i], task.wanted, "new prompt"),
        ]
        for i, task in _some(tasks)
    ]
    title = f"Inverted: {INVERSION_STEPS} steps to noise and back"
    columns = [Column("Rounds a step", "count"), Column("PSNR, dB", "figure", brief="PSNR, dB")]
    table = Table(title, "Way", columns, [Row(name, [INVERSIONS[name], value]) for name, value in values.items()])
    return Found({"inversion": values}, [table, _changes("Inverted, and drawn again", tasks, shown)])


def _upscaled(evidence: Evidence, generator: Generator) -> Found:
    """Enlarge real pictures that were made small."""
    tasks = tasks_of(evidence)[:NUM_SHOWN]
    real = np.stack([task.picture for task in tasks])
    texts, side = [task.shows for task in tasks], real.shape[1]
    seeds = [image_seed(evidence.config.seed, text, 0) for text in texts]
    small = averaged(real, generator.factor)
    large = upscaled(generator, small, texts, seeds, evidence.config)
    plain = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.NEAREST)) for p in small]
    near = psnrs(large, real)
    shown = [
        [
            Picture(plain[i], "made small", "given"),
            Picture(large[i], "upscaled", f"{near[i]:.1f} dB"),
            Picture(task.picture, "real picture", "real"),
        ]
        for i, task in _some(tasks)
    ]
    return Found({}, [_strips("Upscaled", texts, shown)])


def _filled(
    evidence: Evidence, generator: Generator, task: Task, rounds: int = 1, *, on: Pictures | None = None
) -> Pictures:
    given = task.picture if on is None else on
    return _drawn(evidence, generator, task, Given(given[None], task.redraw, resamples=rounds))


def _drawn(evidence: Evidence, generator: Generator, task: Task, given: Given) -> Pictures:
    seed = image_seed(evidence.config.seed, task.text, 0)
    return np.asarray(generator.generate([task.text], [seed], evidence.config, given)[0])


def _judged(evidence: Evidence, drawn: Sequence[Pictures], tasks: Sequence[Task]) -> tuple[Estimate, Estimate]:
    """Give the share that is right, and how the border of the mask is beside what is further inside."""
    edges = [edge_of(picture, task.ideal, task.redraw) for picture, task in zip(drawn, tasks, strict=True)]
    right = share_by_prompt(_right(drawn, tasks), **evidence.resampling)
    return right, mean_by_prompt(np.array(edges), **evidence.resampling)


def _right(pictures: Sequence[Pictures], tasks: Sequence[Task]) -> list[list[float]]:
    return [[float(judge(extract(p), task.wanted).strict)] for p, task in zip(pictures, tasks, strict=True)]


def _some(tasks: Sequence[Task]) -> list[tuple[int, Task]]:
    return list(enumerate(tasks[:NUM_SHOWN]))


def _masked(task: Task) -> list[Picture]:
    return [
        Picture(task.picture, "real picture", "real"),
        Picture(veiled(task.picture, task.redraw), "what is drawn anew", "given"),
    ]


def _result(picture: Pictures, wanted: Scene, caption: str) -> Picture:
    verdict = judge(extract(picture), wanted)
    level: Level = "good" if verdict.strict else "warn" if verdict.unsure else "bad"
    return Picture(picture, caption, caption, level=level)


def _strips(title: str, asked: Sequence[str], shown: Sequence[list[Picture]], notes: Sequence[str] = ()) -> Strip:
    """Lay pictures in a row for each thing that was asked for, or that they show."""
    rows = zip(asked, notes or [""] * len(asked), shown, strict=False)
    return Strip(title, [(text, note, [Group(pictures)]) for text, note, pictures in rows])


def _changes(title: str, tasks: Sequence[Task], shown: Sequence[list[Picture]]) -> Strip:
    return _strips(title, [task.text for task in tasks], shown, [f"from: {task.shows}" for task in tasks])


def _spelt(share: Estimate) -> str:
    return f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}]"
