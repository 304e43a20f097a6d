"""The gate on CLIPs whose eyesight is known: one sees all, one reads bags of words, one sees nothing."""

import re

import numpy as np
import pytest

from t2i_core.evaluation.judges.clip_gate import RealPair, check_clip, flipped, miscounted, swapped
from t2i_core.evaluation.judges.composition import extract
from t2i_core.samples.scenes import (
    BACKGROUNDS,
    COLORS,
    OPPOSITE,
    SHAPES,
    Scene,
    SceneObject,
    caption_scene,
    make_scene,
    render_scene,
)


def unit(counts):
    return counts / np.linalg.norm(counts)


class BagOfWords:
    """Sees colors, shapes and backgrounds, but not which belongs to which, where they are or how many."""

    def words_of_image(self, image):
        extraction = extract(image)
        return [extraction.background, *(word for o in extraction.objects for word in o.kind)]

    def words_of_text(self, text):
        return re.findall("|".join([*COLORS, *SHAPES, *BACKGROUNDS]), text)

    def vector(self, words):
        vocabulary = [*COLORS, *SHAPES, *BACKGROUNDS]
        return unit(np.array([0.01 + (word in words) for word in vocabulary]))

    def embed_images(self, images):
        return np.stack([self.vector(self.words_of_image(image)) for image in images])

    def embed_texts(self, texts):
        return np.stack([self.vector(self.words_of_text(text)) for text in texts])


class Sighted:
    """Knows each picture's caption by heart, and that a caption read from the other end says the same."""

    def __init__(self, pairs):
        self.captions = {pair.image.tobytes(): pair.caption for pair in pairs}

    def vector(self, text):
        return np.random.default_rng(list(text.encode())).normal(size=64)

    def embed_texts(self, texts):
        return np.stack([unit(self.vector(text)) for text in texts])

    def embed_images(self, images):
        return self.embed_texts([self.captions[image.tobytes()] for image in images])


class Blind(Sighted):
    """Gives every picture the same vector."""

    def embed_images(self, images):
        return np.tile(unit(np.ones(64)), (len(images), 1))


@pytest.fixture(scope="module")
def pairs():
    scenes = {scene.combination: scene for scene in (make_scene(4, i) for i in range(160))}
    return [RealPair(np.asarray(render_scene(s)), caption_scene(s), s) for s in scenes.values()]


def check(scorer, pairs):
    return check_clip(scorer, pairs, min_auc=0.9, min_recall_lift=10, seed=0)


def test_a_clip_that_sees_everything_passes_every_check(pairs):
    gate = check(Sighted(pairs), pairs)
    assert gate.passed and gate.blind_to == () and gate.reason == ""
    assert {c.value.value for c in gate.checks} == {1.0}
    assert len(gate.checks) == 9 and gate.num_real == len(pairs)


def test_a_bag_of_words_is_labelled_blind_to_order_and_number(pairs):
    gate = check(BagOfWords(), pairs)
    assert gate.passed
    assert gate.blind_to == ("binding", "relations", "counts")
    by_name = {c.name: c.value.value for c in gate.checks}
    assert by_name["zero-shot color and shape"] == 1
    assert by_name["told from wrong relations"] == 0


def test_a_blind_clip_is_stopped_with_the_reason(pairs):
    gate = check(Blind(pairs), pairs)
    assert not gate.passed
    assert "recall@1 is 0" in gate.reason and "is needed" in gate.reason


def test_without_scenes_only_recall_and_auc_are_checked(pairs):
    plain = [RealPair(p.image, p.caption) for p in pairs]
    gate = check(Sighted(pairs), plain)
    assert gate.passed and gate.blind_to == ()
    assert [c.name for c in gate.checks] == [
        "image to text recall@1",
        "text to image recall@1",
        "AUC of real against shuffled pairs",
    ]


def test_hard_negatives_change_one_thing_only():
    red = SceneObject(color="red", shape="circle", x=0.3, y=0.5, radius=0.1)
    blue = SceneObject(color="blue", shape="square", x=0.7, y=0.5, radius=0.1)
    scene = Scene(task="position", background="gray", objects=(red, blue), relation="left of")
    assert swapped(scene) == "a blue circle left of a red square on a gray background"
    assert flipped(scene) == "a red circle right of a blue square on a gray background"
    assert miscounted(scene) == ""
    two = Scene(task="counting", background="teal", objects=(red, red))
    assert miscounted(two) == "three red circles on a teal background"
    assert (swapped(two), flipped(two)) == ("", "")
    assert set(OPPOSITE) == {"left of", "right of", "above", "below"}
