"""The search for copies: what it says of copies and of strangers, and that it decodes each picture once."""

import numpy as np
import pytest

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.metrics import copies
from t2i_core.evaluation.metrics.benchmark import Benchmark, Prompt
from t2i_core.evaluation.metrics.evidence import PART, Drawn, Evidence, in_parts
from t2i_core.samples.scenes import make_scene

NUM_TRAIN = 2 * PART + 50


class Pile:
    """Pictures of noise that are made when they are asked for, and a list of what was asked for."""

    image_size = 32

    def __init__(self, seed, num):
        self.seed, self.num, self.asked = seed, num, []
        self.captions = self.keys = [f"thing {i}" for i in range(num)]
        self.attributes = [{} for _ in range(num)]

    def __len__(self):
        return self.num

    def pictures(self, indices):
        self.asked.append(list(indices))
        return np.stack([self.picture(i) for i in indices])

    def picture(self, index):
        return np.random.default_rng((self.seed, index)).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def evidence(drawn, scene=None):
    """Give evidence of one picture a prompt; the real picture of a prompt is the training picture of its number."""
    train, test = Pile(0, NUM_TRAIN), Pile(1, 120)
    prompts = tuple(
        Prompt(f"p-{i}", scene.task if scene else "recall", f"thing {i}", scene, train.picture(i), str(i))
        for i in range(len(drawn))
    )
    benchmark = Benchmark("scenes" if scene else "captions", prompts, 0, len(prompts))
    seeds = np.arange(len(drawn))[:, None]
    return Evidence(EvaluateConfig(), benchmark, {"model": Drawn(np.stack(drawn)[:, None], seeds)}, test, train, None)


def test_each_picture_is_decoded_once_in_parts_and_those_shown_again():
    given = evidence([Pile(2, 20).picture(i) for i in range(20)])
    section = copies.measure(given)
    *searched, shown = given.train.asked
    assert [i for part in searched for i in part] == list(range(NUM_TRAIN)) and max(map(len, searched)) == PART
    assert len(shown) == copies.NUM_CLOSEST == len(section.blocks[-1].rows[0][2])
    assert given.test.asked == [list(range(120))]


def test_training_pictures_drawn_again_turn_the_card_amber():
    train, strangers = Pile(0, NUM_TRAIN), Pile(2, 20)
    scene = make_scene(0, 0)
    honest = copies.measure(evidence([strangers.picture(i) for i in range(20)], scene)).figures[0]
    copied = copies.measure(evidence([train.picture(i + 7) for i in range(20)], scene)).figures[0]
    assert (honest.level, copied.level) == ("good", "warn")
    assert copied.text == "100 %" and honest.value.value < 0.2


def test_where_prompts_are_training_captions_the_figure_is_recall():
    train = Pile(0, NUM_TRAIN)
    half = [train.picture(i if i % 2 else i + 30) for i in range(20)]
    section = copies.measure(evidence(half))
    assert section.figures[0].value.value == 0.5 and section.data["recall_at_1"] == section.figures[0].value


@pytest.mark.parametrize(("limit", "sizes"), [(None, [256, 256, 50]), (300, [256, 44]), (10_000, [256, 256, 50])])
def test_a_split_is_read_in_parts(limit, sizes):
    assert [len(part) for part in in_parts(Pile(0, NUM_TRAIN), limit)] == sizes
