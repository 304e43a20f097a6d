"""From pictures to score tables: strict accuracy by task with floors and ceilings, and the CLIP section."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.benchmark import Benchmark
from t2i_core.evaluation.metrics.clip_gate import ClipGate, RealPair, check_clip
from t2i_core.evaluation.metrics.clip_score import (
    ClipIdentity,
    ClipScorer,
    cosine_x100,
    hessel,
    r_precision,
    with_prefix,
)
from t2i_core.evaluation.metrics.composition import Extraction, extract
from t2i_core.evaluation.metrics.statistics import (
    Estimate,
    mean_by_prompt,
    mean_over_tasks,
    paired_difference,
    share_by_prompt,
    skill,
)
from t2i_core.evaluation.metrics.verdict import Verdict, judge
from t2i_core.samples.scenes import Scene

Floats = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]

NUM_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of the table of tasks: who drew, and how often every atom passed.

    Attributes:
        name: "real", "model", "shuffled" or "baseline".
        strict: strict accuracy by task.
        overall: unweighted mean of the task rates.
        lenient: the same by the lenient rule (extras and background ignored); empty for the shuffled floor.
        atoms: pass rate by task and atom; empty for the shuffled floor.
        unsure: share of pictures the checker could not tell; None for the shuffled floor.
        unsure_by_task: the same by task; empty for the shuffled floor.
        outcomes: strict outcomes by task, group of prompts that ask for the same thing, and picture.
    """

    name: str
    strict: dict[str, Estimate]
    overall: Estimate
    outcomes: dict[str, list[list[float]]]
    lenient: dict[str, Estimate]
    atoms: dict[str, dict[str, Estimate]]
    unsure: Estimate | None
    unsure_by_task: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """Give the row as plain data, outcomes left out."""
        return {
            "strict": {task: e.as_dict() for task, e in self.strict.items()},
            "overall": self.overall.as_dict(),
            "lenient": {task: e.as_dict() for task, e in self.lenient.items()},
            "atoms": {task: {a: e.as_dict() for a, e in atoms.items()} for task, atoms in self.atoms.items()},
            "unsure": self.unsure.as_dict() if self.unsure else None,
            "unsure_by_task": {task: e.as_dict() for task, e in self.unsure_by_task.items()},
        }


def look(pictures: Pictures) -> list[list[Extraction]]:
    """Extract every picture of (P, K, H, W, 3) uint8, prompt by prompt."""
    return [[extract(picture) for picture in row] for row in pictures]


def compare(benchmark: Benchmark, seen: Sequence[Sequence[Extraction]]) -> list[list[Verdict]]:
    """Judge every extraction against its own prompt's scene.

    Raises:
        ValueError: the benchmark has no scenes.
    """
    verdicts = []
    for prompt, row in zip(benchmark.prompts, seen, strict=True):
        if prompt.scene is None:
            raise ValueError("prompts without scenes cannot be judged")
        verdicts.append([judge(extraction, prompt.scene) for extraction in row])
    return verdicts


def score_verdicts(
    name: str, benchmark: Benchmark, verdicts: Sequence[Sequence[Verdict]], *, seed: int, resamples: int
) -> ScoreRow:
    """Sum up verdicts by task."""

    def outcomes_of(rows: list[int], passed: Callable[[Verdict], bool]) -> list[list[float]]:
        return [[float(passed(v)) for i in group for v in verdicts[i]] for group in benchmark.groups(rows)]

    def share(rows: list[int], passed: Callable[[Verdict], bool]) -> Estimate:
        return share_by_prompt(outcomes_of(rows, passed), seed=seed, resamples=resamples)

    tasks = benchmark.by_task()
    outcomes = {task: outcomes_of(rows, lambda v: v.strict) for task, rows in tasks.items()}
    atoms: dict[str, dict[str, Estimate]] = {}
    for task, rows in tasks.items():
        names = list(dict.fromkeys(atom for i in rows for v in verdicts[i] for atom in v.atoms))
        asked = {atom: [i for i in rows if verdicts[i] and atom in verdicts[i][0].atoms] for atom in names}
        atoms[task] = {atom: share(mine, lambda v, a=atom: v.atoms[a] == "pass") for atom, mine in asked.items()}  # type: ignore[misc]
    return ScoreRow(
        name=name,
        strict={t: share_by_prompt(rows, seed=seed, resamples=resamples) for t, rows in outcomes.items()},
        overall=mean_over_tasks(outcomes, seed=seed, resamples=resamples),
        outcomes=outcomes,
        lenient={task: share(rows, lambda v: v.lenient) for task, rows in tasks.items()},
        atoms=atoms,
        unsure=share(list(range(len(benchmark.prompts))), lambda v: v.unsure),
        unsure_by_task={task: share(rows, lambda v: v.unsure) for task, rows in tasks.items()},
    )


def score_shuffled(
    benchmark: Benchmark, seen: Sequence[Sequence[Extraction]], *, seed: int, resamples: int
) -> ScoreRow:
    """Judge every picture against all prompts of its task that ask for something else.

    That is what a model that ignores its prompt would score.
    """
    outcomes: dict[str, list[list[float]]] = {}
    for task, rows in benchmark.by_task().items():
        groups = benchmark.groups(rows)
        if len(groups) > 1:
            scenes = [benchmark.prompts[group[0]].scene for group in groups]
            outcomes[task] = [
                [_mean_pass(e, [s for j, s in enumerate(scenes) if j != g]) for i in group for e in seen[i]]
                for g, group in enumerate(groups)
            ]
    strict = {t: share_by_prompt(rows, seed=seed, resamples=resamples) for t, rows in outcomes.items()}
    overall = mean_over_tasks(outcomes, seed=seed, resamples=resamples)
    return ScoreRow("shuffled", strict, overall, outcomes, {}, {}, None, {})


def _mean_pass(extraction: Extraction, scenes: Sequence[Scene | None]) -> float:
    return float(np.mean([judge(extraction, scene).strict for scene in scenes if scene]))


def differences(first: ScoreRow, second: ScoreRow, *, seed: int, resamples: int) -> dict[str, Estimate]:
    """Compare two rows task by task on their shared prompts, first minus second."""
    return {
        task: paired_difference(rows, second.outcomes[task], seed=seed, resamples=resamples)
        for task, rows in first.outcomes.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """The CLIP section.

    Attributes:
        identity: which CLIP.
        gate: whether it may judge, and what it is blind to.
        cosines: (P, K) raw cosine of every picture with its own prompt.
        real: (P,) cosine of the real picture of each prompt.
        shuffled: (P,) mean cosine of a prompt's pictures with the other prompts of its task; NaN where there are none.
        summary: derived figures by name.
        chance: of R-precision by luck.
        num_truncated: texts that were cut.
    """

    identity: ClipIdentity
    gate: ClipGate
    cosines: Floats
    real: Floats
    shuffled: Floats
    summary: dict[str, Estimate]
    chance: float
    num_truncated: int

    def as_dict(self) -> dict[str, Any]:
        """Give the section as plain data; the figures are left out when the gate withholds them."""
        return {
            "identity": asdict(self.identity),
            "gate": {
                "passed": self.gate.passed,
                "reason": self.gate.reason,
                "blind_to": list(self.gate.blind_to),
                "num_real": self.gate.num_real,
                "checks": [check.as_dict() for check in self.gate.checks],
            },
            "withheld": not self.gate.passed,
            "no_headline": self.gate.why_no_headline,
            "summary": {n: e.as_dict() for n, e in self.summary.items()} if self.gate.passed else {},
            "r_precision_chance": round(self.chance, 6),
            "num_truncated": self.num_truncated,
        }


def score_clip(
    scorer: ClipScorer,
    benchmark: Benchmark,
    pictures: Pictures,
    pairs: Sequence[RealPair],
    *,
    min_auc: float,
    min_recall_lift: float,
    seed: int,
    resamples: int,
) -> ClipScores:
    """Pass a CLIP through its gate and score pictures with it.

    Args:
        scorer: the CLIP.
        benchmark: the prompts.
        pictures: (P, K, H, W, 3) uint8 of the model.
        pairs: real held-out pairs for the gate, distinct by caption.
        min_auc: see `check_clip`.
        min_recall_lift: see `check_clip`.
        seed: of shuffling and resampling.
        resamples: bootstrap resamples.
    """
    gate = check_clip(scorer, pairs, min_auc=min_auc, min_recall_lift=min_recall_lift, seed=seed)
    num_prompts, num_images = pictures.shape[:2]
    texts = [prompt.text for prompt in benchmark.prompts]
    images = scorer.embed_images(pictures.reshape(-1, *pictures.shape[2:]))
    own, prefixed = scorer.embed_texts(texts), scorer.embed_texts([with_prefix(text) for text in texts])
    owner = np.repeat(np.arange(num_prompts), num_images)
    cosines = (images * own[owner]).sum(axis=1).reshape(num_prompts, num_images)
    with_prefixes = (images * prefixed[owner]).sum(axis=1).reshape(num_prompts, num_images)
    real = (scorer.embed_images(np.stack([p.real for p in benchmark.prompts])) * own).sum(axis=1)
    shuffled = _shuffled_cosines(benchmark, (images @ own.T).reshape(num_prompts, num_images, num_prompts))
    hits, chance = _r_precision(scorer, benchmark, images, own, pairs, seed)
    groups = benchmark.groups(range(num_prompts))

    def mean(values: Floats) -> Estimate:
        by_prompt = values.mean(axis=1)
        grouped = np.array([by_prompt[group].mean() for group in groups])
        return mean_by_prompt(grouped, seed=seed, resamples=resamples)

    summary = {
        "cosine": mean(cosines),
        "cosine_x100": mean(cosine_x100(cosines)),
        "hessel": mean(hessel(with_prefixes)),
    }
    by_prompt = (cosines.mean(axis=1), shuffled, real)
    grouped = [np.array([values[group].mean() for group in groups]) for values in by_prompt]
    paired = ~np.isnan(grouped[1])
    placed = skill(*(values[paired] for values in grouped), seed=seed, resamples=resamples)
    if placed:
        summary["skill"] = placed
    by_picture = hits.reshape(num_prompts, num_images).astype(float)
    summary["r_precision"] = share_by_prompt(
        [by_picture[group].ravel().tolist() for group in groups], seed=seed, resamples=resamples
    )
    return ClipScores(scorer.identity, gate, cosines, real, shuffled, summary, chance, scorer.num_truncated)


def _r_precision(
    scorer: ClipScorer, benchmark: Benchmark, images: Floats, own: Floats, pairs: Sequence[RealPair], seed: int
) -> tuple[npt.NDArray[np.bool_], float]:
    """Rank each picture's own text among texts that ask for something else; `own` is (P, D), `images` (P * K, D)."""
    meanings = [prompt.meaning for prompt in benchmark.prompts]
    others = {p.scene.combination if p.scene else p.caption: p.caption for p in pairs}
    others = {meaning: text for meaning, text in others.items() if meaning not in set(meanings)}
    first = {meaning: row for row, meaning in reversed(list(enumerate(meanings)))}
    rivals = scorer.embed_texts(list(others.values())) if others else own[:0]
    hits = np.zeros(len(images), dtype=bool)
    chance = 1.0
    for p, meaning in enumerate(meanings):
        # The own text in the prompt's own words, all else once and in plain words.
        texts = np.concatenate([own[[p]], own[[row for m, row in first.items() if m != meaning]], rivals])
        mine = np.arange(len(images)) // (len(images) // len(own)) == p
        hits[mine], chance = r_precision(
            images[mine], [0] * int(mine.sum()), texts, num_candidates=NUM_CANDIDATES, seed=seed + p
        )
    return hits, chance


def _shuffled_cosines(benchmark: Benchmark, table: Floats) -> Floats:
    """Average each prompt's pictures against prompts of its task that ask for something else; `table` is (P, K, P)."""
    means = np.full(len(table), np.nan)
    for rows in benchmark.by_task().values():
        for group in benchmark.groups(rows):
            others = [row for row in rows if row not in group]
            if others:
                means[group] = table[group][:, :, others].mean(axis=(1, 2))
    return means
