"""What is drawn where a prompt has sentences or words that no training caption had?

This is what a pretrained language model is for (Saharia et al. 2022, arXiv:2205.11487): who learned words from captions
alone knows no others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2i_core.evaluation.judges.attributes import ATTRIBUTES, attributes_right, chance_of
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, mean_over_tasks, share_by_prompt
from t2i_core.evaluation.judges.verdict import Verdict, judge
from t2i_core.evaluation.metrics.benchmark import TASK_TITLES
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.failures import judged_picture
from t2i_core.evaluation.metrics.section import Cell, Column, Figure, Group, Row, Section, Table, Text
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.evaluation.studies.maker import PictureMaker
from t2i_core.generation.asked import image_seed
from t2i_core.samples.scenes import Scene, Task
from t2i_core.samples.wordings import HELD_OUT, WIDE, Language, told

TITLE = "Language"
PLAIN = "plain"
TASKS: tuple[Task, ...] = ("single", "position")
NUM_SHOWN = 4
LEAD = (
    "The same held-out scenes, one picture each with the same seeds, asked for in plain words, in the wide language "
    "(which only some are trained on), in new sentences, by new words of known things, and by both: no captions of a "
    "training have these sentences and words. Color and shape: of the objects asked for. A prompt with a word that the "
    "system never learned is refused, and counts as wrong in everything."
)


@dataclass(frozen=True, slots=True)
class Question:
    """A scene that is asked for.

    Attributes:
        prompt: its number in the benchmark.
        scene: what is to be drawn.
        text: the prompt.
        seed: of the picture, the same in all languages.
    """

    prompt: int
    scene: Scene
    text: str
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came of a question.

    Attributes:
        question: that was asked.
        picture: (H, W, 3) uint8, or None where the words were refused.
        verdict: of the checker, likewise.
        right: how much of each attribute that was asked for is right, 0 to 1.
    """

    question: Question
    picture: Pictures | None
    verdict: Verdict | None
    right: Mapping[str, float]

    @property
    def is_strict(self) -> bool:
        """Whether everything is right."""
        return self.verdict is not None and self.verdict.strict


def study(evidence: Evidence, makers: Mapping[str, PictureMaker]) -> Section:
    """Ask for held-out scenes in all languages, and have the checker look."""
    asked = questions(evidence)
    if not asked[PLAIN]:
        return Section(title=TITLE, key="language", not_scored=["Language: the data has no scenes to ask for."])
    found = {
        who: {name: _answers(evidence, maker, each) for name, each in asked.items()} for who, maker in makers.items()
    }
    tasks = [task for task in TASKS if any(each.scene.task == task for each in asked[PLAIN])]
    rows = {
        task: {who: {name: _row(evidence, _of(task, a)) for name, a in by.items()} for who, by in found.items()}
        for task in tasks
    }
    chance = {task: _chance([each.scene for each in asked[PLAIN] if each.scene.task == task]) for task in tasks}
    tables = [_table(task, rows[task], chance[task]) for task in tasks]
    records = [_record(who, name, a) for who, by in found.items() for name in by for a in by[name]]
    return Section(
        title=TITLE,
        key="language",
        figures=[_figure(evidence, name, found["model"][name], tasks) for name in HELD_OUT],
        blocks=[Text(LEAD, quiet=True), *tables, *(_strip(name, found) for name in asked)],
        data={"rows": rows, "chance": chance, "asked": records},
    )


def questions(evidence: Evidence) -> dict[str, list[Question]]:
    """Ask for the benchmark's scenes of one object, and of two in their places, in all languages."""
    seed = evidence.config.seed
    languages: list[tuple[str, Language]] = [("wide", WIDE), *HELD_OUT.items()]
    chosen = [
        Question(i, prompt.scene, prompt.text, image_seed(seed, prompt.text, 0))
        for i, prompt in enumerate(evidence.benchmark.prompts)
        if prompt.scene and prompt.scene.task in TASKS
    ]
    return {PLAIN: chosen} | {
        name: [Question(q.prompt, q.scene, told(q.scene, language, f"{seed}:{q.prompt}"), q.seed) for q in chosen]
        for name, language in languages
    }


def _answers(evidence: Evidence, maker: PictureMaker, asked: Sequence[Question]) -> list[Answer]:
    """Draw what is not refused."""
    heard = [i for i, each in enumerate(asked) if not maker.prompt_words_unknown(each.text)]
    texts, seeds = [asked[i].text for i in heard], [asked[i].seed for i in heard]
    drawn = dict(zip(heard, maker.generate(texts, seeds, evidence.config), strict=True)) if heard else {}
    return [_answer(each, drawn.get(i)) for i, each in enumerate(asked)]


def _answer(asked: Question, picture: Pictures | None) -> Answer:
    if picture is None:
        return Answer(asked, None, None, dict.fromkeys(chance_of(asked.scene), 0.0))
    shows = extract(picture)
    return Answer(asked, picture, judge(shows, asked.scene), attributes_right(shows, asked.scene))


def _of(task: Task, answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.question.scene.task == task]


def _row(evidence: Evidence, answers: Sequence[Answer]) -> dict[str, Estimate]:
    """Give the shares that are right, and that were refused."""

    def share(value: Callable[[Answer], float]) -> Estimate:
        return share_by_prompt(_by_scene(evidence, answers, value), **evidence.resampling)

    shares = {"strict": share(lambda answer: float(answer.is_strict))}
    shares |= {name: share(lambda answer, n=name: answer.right[n]) for name in answers[0].right}  # type: ignore[misc]
    return shares | {"refused": share(lambda answer: float(answer.picture is None))}


def _by_scene(evidence: Evidence, answers: Sequence[Answer], value: Callable[[Answer], float]) -> list[list[float]]:
    """Put what prompts of the same scene gave together: they are one draw."""
    values = {answer.question.prompt: value(answer) for answer in answers}
    return [[values[i] for i in group] for group in evidence.benchmark.groups(values)]


def _figure(evidence: Evidence, name: str, answers: Sequence[Answer], tasks: Sequence[Task]) -> Figure:
    outcomes: dict[str, list[list[float]]] = {
        task: _by_scene(evidence, _of(task, answers), lambda a: float(a.is_strict)) for task in tasks
    }
    title = f"strict accuracy, {name}" if name != "both" else "strict accuracy, new sentences and words"
    if not evidence.checker_gate.passed:
        return Figure(title, None, "the checker failed its gate", "bad")
    return Figure(title, mean_over_tasks(outcomes, **evidence.resampling), "of held-out scenes; no training has these")


def _chance(scenes: Sequence[Scene]) -> dict[str, float]:
    """Average what would be right without reading."""
    found = [chance_of(scene) for scene in scenes]
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def _table(task: Task, rows: Mapping[str, Mapping[str, Mapping[str, Estimate]]], chance: Mapping[str, float]) -> Table:
    names = [name for name in ATTRIBUTES if name in chance]
    columns = [Column(name, "share", brief=name) for name in ("strict", *names)]
    columns.append(Column("refused", "point", brief="refused"))
    asked_rows = [
        Row(name if who == "model" else f"{who}: {name}", [row[column.title] for column in columns])
        for who, by_name in rows.items()
        for name, row in by_name.items()
    ]
    guessed: list[Cell] = [None, *(f"{chance[name]:.3f}" for name in names), None]
    return Table(f"{TASK_TITLES[task]}, in other words", "Language", columns, [*asked_rows, Row("by chance", guessed)])


def _strip(name: str, found: Mapping[str, Mapping[str, Sequence[Answer]]]) -> Strip:
    """Show the first scenes of each task as everybody drew them."""
    shown = []
    for task in TASKS:
        drawn = [_of(task, by_name[name])[:NUM_SHOWN] for by_name in found.values()]
        shown += [
            (answers[0].question.text, "", [_group(each) for each in answers]) for answers in zip(*drawn, strict=True)
        ]
    return Strip(f"Asked: {name}", shown)


def _group(answer: Answer) -> Group:
    if answer.picture is None:
        return Group([], caption="refused")
    return Group([judged_picture(answer.picture, f"picture of {answer.question.text}", answer.verdict)])


def _record(who: str, name: str, answer: Answer) -> dict[str, Any]:
    """Say of a question in which words it stood, and what came of it."""
    asked, outcome = answer.question, answer.verdict.outcome if answer.verdict else "refused"
    return {"drawn_by": who, "language": name, "prompt": asked.text, "outcome": outcome, **answer.right}
