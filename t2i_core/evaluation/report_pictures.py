"""The pictures of the report: which are shown, in which order, with which words.

Prompts are never hand-picked: the grid shows the first prompts of each task in the benchmark's own order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2i_core.errors import DataError
from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.metrics.verdict import Verdict
from t2i_core.report.charts import png_uri
from t2i_core.report.pictures import open_picture

GRID_PROMPTS, GRID_SEEDS, NUM_FAILURES, NUM_CLOSEST, NUM_SAMPLE_GRIDS = 8, 4, 6, 12, 4
MAX_GRID_SIDE = 520


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture in the page: its data URI, what to call it, and the verdict (None when not judged)."""

    uri: str
    label: str
    verdict: Verdict | None = None

    @property
    def outcome(self) -> str:
        """ "pass", "fail", "unsure", or "" when not judged."""
        return self.verdict.outcome if self.verdict else ""


@dataclass(frozen=True, slots=True)
class GridRow:
    """One prompt of the picture grid."""

    prompt: str
    id: str
    real: Shown
    model: list[Shown]
    baseline: list[Shown]


@dataclass(frozen=True, slots=True)
class SampleGrid:
    """A grid of samples that the run drew while it trained."""

    name: str
    uri: str
    width: int
    height: int


def picture_grid(evaluation: Evaluation) -> dict[str, list[GridRow]]:
    """Lay out the first prompts of each task with their real picture, the model's and the baseline's."""
    grid: dict[str, list[GridRow]] = {}
    for task, rows in evaluation.benchmark.by_task().items():
        per_task = GRID_PROMPTS if len(evaluation.benchmark.by_task()) > 1 else 4 * GRID_PROMPTS
        for p in rows[:per_task]:
            prompt = evaluation.benchmark.prompts[p]
            real = Shown(png_uri(prompt.real), f"real picture of {prompt.text}")
            shown = {who: _of_prompt(evaluation, who, p) for who in evaluation.drawn}
            row = GridRow(prompt.text, prompt.id, real, shown["model"], shown.get("baseline", [])[:2])
            grid.setdefault(task, []).append(row)
    return grid


def _of_prompt(evaluation: Evaluation, who: str, p: int) -> list[Shown]:
    num = min(GRID_SEEDS, len(evaluation.drawn[who].pictures[p]))
    return [show(evaluation, who, p, k) for k in range(num)]


def show(evaluation: Evaluation, who: str, p: int, k: int) -> Shown:
    """Show picture `k` of prompt `p` that the model or the baseline drew."""
    drawn, prompt = evaluation.drawn[who], evaluation.benchmark.prompts[p]
    label = f"{who}'s picture of {prompt.text}, seed {drawn.seeds[p, k]}"
    verdict = evaluation.composition.verdicts[who][p][k] if evaluation.composition else None
    return Shown(png_uri(drawn.pictures[p, k]), label, verdict)


def worst_failures(evaluation: Evaluation) -> dict[str, list[tuple[str, Shown]]]:
    """Pick the pictures of each task with the most failed atoms."""
    if evaluation.composition is None:
        return {}
    verdicts = evaluation.composition.verdicts["model"]
    failures = {}
    for task, rows in evaluation.benchmark.by_task().items():
        failed = [(p, k) for p in rows for k, verdict in enumerate(verdicts[p]) if not verdict.strict]
        failed.sort(key=lambda at: -sum(outcome != "pass" for outcome in verdicts[at[0]][at[1]].atoms.values()))
        failures[task] = [
            (evaluation.benchmark.prompts[p].text, show(evaluation, "model", p, k)) for p, k in failed[:NUM_FAILURES]
        ]
    return failures


def closest_pairs(evaluation: Evaluation) -> list[tuple[Shown, Shown, float]]:
    """Pair the generated pictures that are nearest to training with what they are near to."""
    copies, model = evaluation.copies, evaluation.drawn["model"]
    if copies is None:
        return []
    per_prompt = model.seeds.shape[1]
    pairs = []
    for index in np.argsort(copies.neighbours.generated, kind="stable")[:NUM_CLOSEST]:
        p, k = divmod(int(index), per_prompt)
        train = Shown(png_uri(copies.nearest[index]), "nearest training picture")
        pairs.append((show(evaluation, "model", p, k), train, float(copies.neighbours.generated[index])))
    return pairs


def disagreements(evaluation: Evaluation) -> list[tuple[Shown, str, str]]:
    """List the pictures on which checker and eye disagree: picture, prompt, and what the eye said."""
    if evaluation.composition is None:
        return []
    found = []
    for compared in evaluation.composition.agreement.disagreements:
        judged = compared.judged
        said = "right" if judged.right else f"wrong {judged.wrong.replace('_', ' ')}"
        shown = Shown(png_uri(compared.picture), f"generated picture of {judged.prompt}", compared.verdict)
        found.append((shown, judged.prompt, said + (", doubtful" if judged.doubtful else "")))
    return found


def sample_grids(run_dir: Path) -> list[SampleGrid]:
    """Take a few of the run's own sample grids, first to last; one that is no sound PNG is left out."""
    paths = sorted((run_dir / "samples").glob("*.png"))
    if not paths:
        return []
    picked = sorted({round(i) for i in np.linspace(0, len(paths) - 1, NUM_SAMPLE_GRIDS)})
    return [grid for i in picked if (grid := _sample_grid(paths[i]))]


def _sample_grid(path: Path) -> SampleGrid | None:
    try:
        pixels = np.asarray(open_picture(path))
    except DataError:
        return None
    return SampleGrid(path.stem, png_uri(pixels, MAX_GRID_SIDE), pixels.shape[1], pixels.shape[0])
