"""What is drawn where a prompt has sentences or words that no training caption had?

This is what a pretrained language model is for (Saharia et al. 2022, arXiv:2205.11487): who learned words from captions
alone knows no others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from t2i_core.evaluation.judges.composition import Extraction, extract
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.judges.verdict import Verdict, judge
from t2i_core.evaluation.metrics.benchmark import Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import Column, Group, Level, Picture, Row, Section, Table, Text
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.generation.asked import image_seed
from t2i_core.generation.generator import Generator
from t2i_core.samples.scenes import BACKGROUNDS, COLORS, RELATIONS, SHAPES, Scene, Task
from t2i_core.samples.wordings import HELD_OUT, told

TITLE = "Language"
KNOWN = "as in training"
TASKS: Mapping[Task, str] = {"single": "one object", "position": "two objects"}
ATTRIBUTES = ("color", "shape", "background", "relation")
# Of one object drawn at random.
CHANCE = {"color": len(COLORS), "shape": len(SHAPES), "background": len(BACKGROUNDS), "relation": len(RELATIONS)}
NUM_SHOWN = 4
LEAD = (
    "The same held-out scenes, one picture each, asked for as training captions say it, in new sentences, by new words "
    "of known things, and by both; no caption of a training has these sentences and words. Color and shape: the share "
    "of the objects asked for whose color or shape is in the picture. A prompt with a word that the system never "
    "learned is refused, and counts as wrong."
)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came of a prompt: nothing where it was refused.

    Attributes:
        text: the prompt.
        scene: that it asks for.
        picture: (H, W, 3) uint8.
        shows: what the checker sees in it.
        verdict: of the checker.
    """

    text: str
    scene: Scene
    picture: Pictures | None = None
    shows: Extraction | None = None
    verdict: Verdict | None = None

    def right(self, attribute: str) -> float:
        """Give how much of an attribute is right, 0 to 1."""
        if self.shows is None or self.verdict is None:
            return 0.0
        if attribute in self.verdict.atoms and attribute in ("background", "relation"):
            return float(self.verdict.atoms[attribute] == "pass")
        wanted = Counter(getattr(item, attribute) for item in self.scene.objects)
        return (wanted & Counter(getattr(item, attribute) for item in self.shows.objects)).total() / wanted.total()


def study(evidence: Evidence, generators: Mapping[str, Generator]) -> Section:
    """Ask for held-out scenes in all languages, and have the checker look."""
    prompts = [prompt for prompt in evidence.benchmark.prompts if prompt.scene and prompt.scene.task in TASKS]
    if not prompts:
        return Section(title=TITLE, key="language", not_scored=["Language: the data has no scenes to ask for."])
    asked = {KNOWN: [prompt.text for prompt in prompts]}
    asked |= {
        name: [told(_scene(p), language, f"{evidence.config.seed}:{i}") for i, p in enumerate(prompts)]
        for name, language in HELD_OUT.items()
    }
    found = {name: _answers(evidence, generators["model"], prompts, texts) for name, texts in asked.items()}
    rows = {
        (name, task): _row(evidence, [answer for answer in answers if answer.scene.task == task])
        for name, answers in found.items()
        for task in TASKS
    }
    strips = [Strip(name, _shown(answers)) for name, answers in found.items()]
    data = {f"{name}, {TASKS[task]}": row for (name, task), row in rows.items()}
    return Section(title=TITLE, key="language", blocks=[Text(LEAD, quiet=True), _table(data), *strips], data=data)


def _scene(prompt: Prompt) -> Scene:
    assert prompt.scene is not None
    return prompt.scene


def _answers(evidence: Evidence, generator: Generator, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[Answer]:
    """Draw what is not refused; the seeds are those of the scenes' own prompts, whatever the language."""
    heard = [i for i, text in enumerate(texts) if not generator.prompt_words_unknown(text)]
    seeds = [image_seed(evidence.config.seed, prompts[i].text, 0) for i in heard]
    drawn = dict(zip(heard, generator.generate([texts[i] for i in heard], seeds, evidence.config), strict=True))
    return [_answer(texts[i], _scene(prompt), drawn.get(i)) for i, prompt in enumerate(prompts)]


def _answer(text: str, scene: Scene, picture: Pictures | None) -> Answer:
    if picture is None:
        return Answer(text, scene)
    shows = extract(picture)
    return Answer(text, scene, picture, shows, judge(shows, scene))


def _row(evidence: Evidence, answers: Sequence[Answer]) -> dict[str, Estimate | int]:
    """Give the shares that are right, and how many were refused."""
    told_of = [name for name in ATTRIBUTES if name != "relation" or any(a.scene.relation for a in answers)]
    strict = [[float(a.verdict is not None and a.verdict.strict)] for a in answers]
    shares = {"strict": share_by_prompt(strict, **evidence.resampling)}
    for name in told_of:
        shares[name] = mean_by_prompt(np.array([a.right(name) for a in answers]), **evidence.resampling)
    return shares | {"refused": sum(answer.picture is None for answer in answers)}


def _table(data: Mapping[str, Mapping[str, Estimate | int]]) -> Table:
    columns = [Column(name, "share", brief=name) for name in ("strict", *ATTRIBUTES)] + [Column("refused", "count")]
    rows = [Row(name, [row.get(column.title) for column in columns]) for name, row in data.items()]
    chance = [None, *(f"{1 / CHANCE[name]:.3f}" for name in ATTRIBUTES), None]
    return Table(
        "Scenes asked for in other words",
        "Prompts",
        columns,
        [*rows, Row("one object by chance", chance)],
        "refused: prompts, which count as wrong",
    )


def _shown(answers: Sequence[Answer]) -> list[tuple[str, str, list[Group]]]:
    """Show the first scenes of each task."""
    shown = [answer for task in TASKS for answer in [a for a in answers if a.scene.task == task][:NUM_SHOWN]]
    return [
        (a.text, "" if a.picture is not None else "refused", [Group([_picture(a)] if a.picture is not None else [])])
        for a in shown
    ]


def _picture(answer: Answer) -> Picture:
    assert answer.picture is not None and answer.verdict is not None
    level: Level = "good" if answer.verdict.strict else "warn" if answer.verdict.unsure else "bad"
    return Picture(answer.picture, answer.text, answer.verdict.outcome, level=level)
