"""The CLIP section on vectors made by hand, and the shuffled floor against a count by hand."""

from dataclasses import replace

import numpy as np
import pytest

from t2i_core.evaluation.judges.clip_gate import GateCheck, RealPair
from t2i_core.evaluation.judges.clip_score import ClipIdentity
from t2i_core.evaluation.judges.statistics import wilson
from t2i_core.evaluation.metrics.accuracy import score_shuffled, score_verdicts, unsure_level
from t2i_core.evaluation.metrics.benchmark import Benchmark, Prompt
from t2i_core.evaluation.metrics.clip import score_clip, section_of
from t2i_core.evaluation.metrics.evidence import compare, look
from t2i_core.evaluation.report import level_of
from t2i_core.samples.scenes import WORDINGS, caption_scene, make_scene, render_scene


class Numbered:
    """Reads a picture's number from its first pixel and a text's from its end: cosine 1 for a pair, else 0."""

    identity = ClipIdentity("numbered", "0" * 64, 8, "none", 16, False)
    num_truncated = 0

    def embed_images(self, images):
        return np.eye(64)[images[:, 0, 0, 0]]

    def embed_texts(self, texts):
        return np.eye(64)[[int(text.split()[-1]) for text in texts]]


def numbered(i):
    return np.full((8, 8, 3), i, dtype=np.uint8)


PROMPTS = tuple(Prompt(f"recall-{i}", "recall", f"thing {i}", None, numbered(i), str(i)) for i in range(20))
PAIRS = [RealPair(numbered(i), f"thing {i}") for i in range(40)]


def clip(drawn):
    pictures = np.stack([[numbered(i) for i in row] for row in drawn])
    benchmark = Benchmark("captions", PROMPTS, 0, 20)
    return score_clip(Numbered(), benchmark, pictures, PAIRS, min_auc=0.9, min_recall_lift=10, seed=0, resamples=200)


def test_right_pictures_have_skill_one():
    scores = clip([[i, i] for i in range(20)])
    values = {name: e.value for name, e in scores.summary.items()}
    assert values == {"cosine": 1, "cosine_x100": 100, "hessel": 2.5, "skill": 1, "r_precision": 1}
    assert scores.gate.passed and scores.chance == 1 / 40


def test_pictures_of_other_prompts_have_no_skill():
    scores = clip([[(i + 1) % 20, (i + 2) % 20] for i in range(20)])
    assert scores.cosines.max() == 0 and scores.shuffled == pytest.approx(1 / 19)
    assert scores.summary["skill"].value == pytest.approx((0 - 1 / 19) / (1 - 1 / 19))
    assert scores.summary["r_precision"].value == 0


def test_half_right_is_half():
    scores = clip([[i, 63] for i in range(20)])
    assert scores.summary["cosine"].value == 0.5
    assert scores.summary["r_precision"].value == 0.5
    assert 0 < scores.summary["skill"].value == pytest.approx(0.5)


def medium_singles():
    """Three prompts that ask for different things."""
    scenes = (make_scene(0, i) for i in range(200))
    distinct = {s.combination: s for s in scenes if s.task == "single" and s.objects[0].size == "medium"}
    return list(distinct.values())[:3]


def asked(scenes, wordings=None):
    words = wordings or [WORDINGS[0]] * len(scenes)
    return Benchmark(
        "scenes",
        tuple(
            Prompt(f"single-{i}", "single", caption_scene(s, w), s, np.asarray(render_scene(s)), str(i))
            for i, (s, w) in enumerate(zip(scenes, words, strict=True))
        ),
        0,
        3,
    )


def drawn(scenes):
    return look(np.stack([np.asarray(render_scene(s)) for s in scenes])[:, None])


def card_of(scores):
    section = section_of(scores)
    return section.figures[0], section.gates[0], level_of([section])


def test_the_skill_of_a_clip_that_failed_any_check_is_no_headline():
    good = clip([[i, i] for i in range(20)])
    figure, _, level = card_of(good)
    assert (level, figure.text) == ("good", "1.00")
    # A check that only labels: the score itself may be shown further down.
    blind = GateCheck("zero-shot shape", wilson(7, 24), 0.25, None, False)
    figure, gate, level = card_of(replace(good, gate=replace(good.gate, checks=(*good.gate.checks, blind))))
    assert figure.text == "withheld" and "zero-shot shape (0.29, chance 0.25)" in figure.note
    assert level == "warn" and gate.text == "CLIP gate passed in part"
    needed = replace(blind, needed=0.5)
    figure, _, level = card_of(replace(good, gate=replace(good.gate, checks=(needed,))))
    assert figure.text == "withheld" and level == "bad"


@pytest.mark.parametrize(
    ("share", "level"), [(0.0, "good"), (0.05, "good"), (0.1, "warn"), (0.25, "warn"), (0.5, "bad")]
)
def test_the_card_turns_amber_and_red_with_what_the_checker_could_not_tell(share, level):
    assert unsure_level(wilson(100 * share, 100)) == level


def test_the_shuffled_floor_counts_how_often_another_prompt_fits():
    a, b, c = medium_singles()
    # The first two pictures fit each other's prompt (1 of 2 others), the third fits nobody else's.
    floor = score_shuffled(asked([a, b, c]), drawn([b, a, c]), seed=0, resamples=100)
    assert floor.outcomes == {"single": [[0.5], [0.5], [0.0]]}


def test_the_same_thing_asked_in_other_words_is_one_draw_and_no_rival():
    a, b, _ = medium_singles()
    benchmark = asked([a, a, b], [WORDINGS[0], WORDINGS[-1], WORDINGS[0]])
    seen = drawn([a, b, b])
    row = score_verdicts(benchmark, compare(benchmark, seen), seed=0, resamples=100)
    assert row.outcomes == {"single": [[1.0, 0.0], [1.0]]}
    assert row.strict["single"].num == 2 and row.strict["single"].value == 0.75
    # A picture of the first prompt fits the second as well, which is no luck and not counted.
    assert score_shuffled(benchmark, seen, seed=0, resamples=100).outcomes == {"single": [[0.0, 1.0], [0.0]]}
