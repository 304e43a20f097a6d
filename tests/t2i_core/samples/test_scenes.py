"""Scenes: the picture, the caption and the specification agree."""

import math
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.samples.scenes import (
    BACKGROUNDS,
    COLORS,
    OPPOSITE,
    WORDINGS,
    Scene,
    SceneObject,
    Task,
    caption_scene,
    make_scene,
    pick_wording,
    render_scene,
)

SCENES = [make_scene(seed=7, index=i) for i in range(600)]
THING = r"(?:a|an) (?:(?:small|large) )?[a-z]+ [a-z]+"
GRAMMAR: dict[Task, str] = {
    "single": rf"{THING} on a [a-z]+ background",
    "pair": rf"{THING} and {THING} on a [a-z]+ background",
    "position": rf"{THING} (?:left of|right of|above|below) {THING} on a [a-z]+ background",
    "counting": r"(?:two|three) [a-z]+ [a-z]+s on a [a-z]+ background",
}


def _object(color: str, shape: str, x: float, y: float) -> SceneObject:
    return SceneObject.parse({"shape": shape, "color": color, "x": x, "y": y, "radius": 0.15})


def test_object_centres_have_their_colour_and_corners_the_background() -> None:
    for scene in SCENES:
        picture = render_scene(scene, image_size=64)
        assert picture.size == (64, 64) and picture.mode == "RGB"
        for item in scene.objects:
            assert picture.getpixel((int(item.x * 64), int(item.y * 64))) == COLORS[item.color]
        assert picture.getpixel((0, 0)) == BACKGROUNDS[scene.background]


@pytest.mark.parametrize("image_size", [16, 32, 128])
def test_every_size_shows_the_same_scene(image_size: int) -> None:
    for scene in SCENES[:50]:
        picture = render_scene(scene, image_size)
        for item in scene.objects:
            assert picture.getpixel((int(item.x * image_size), int(item.y * image_size))) == COLORS[item.color]


def test_objects_stay_inside_and_apart() -> None:
    for scene in SCENES:
        for item in scene.objects:
            assert item.radius <= min(item.x, item.y, 1 - item.x, 1 - item.y)
        for i, first in enumerate(scene.objects):
            for second in scene.objects[:i]:
                along = max(abs(first.x - second.x), abs(first.y - second.y))
                assert along - first.radius - second.radius >= 0.03, scene


def test_relation_is_what_the_centres_show() -> None:
    for scene in SCENES:
        if scene.relation is None:
            continue
        first, second = scene.objects
        shown = {
            "left of": first.x < second.x,
            "right of": first.x > second.x,
            "above": first.y < second.y,
            "below": first.y > second.y,
        }
        assert shown[scene.relation]
        along, across = abs(first.x - second.x), abs(first.y - second.y)
        assert (along > across) == (scene.relation in ("left of", "right of"))


def test_combination_ignores_which_object_is_named_first() -> None:
    red, blue = _object("red", "circle", 0.3, 0.5), _object("blue", "square", 0.7, 0.5)
    one = Scene(task="position", background="gray", objects=(red, blue), relation="left of")
    other = Scene(task="position", background="gray", objects=(blue, red), relation="right of")
    assert one.combination == other.combination == "red circle left of blue square on gray"
    mirrored = Scene(task="position", background="gray", objects=(red, blue), relation="right of")
    assert mirrored.combination != one.combination


def test_combination_of_any_related_scene_survives_turning_the_sentence_round() -> None:
    for scene in SCENES:
        if scene.relation:
            turned = Scene(
                task=scene.task,
                background=scene.background,
                objects=scene.objects[::-1],
                relation=OPPOSITE[scene.relation],
            )
            assert turned.combination == scene.combination


def test_pairs_without_relation_have_no_order() -> None:
    red, blue = _object("red", "circle", 0.3, 0.5), _object("blue", "square", 0.7, 0.5)
    one = Scene(task="pair", background="pink", objects=(red, blue))
    assert one.combination == Scene(task="pair", background="pink", objects=(blue, red)).combination


@given(st.integers(0, 2**31), st.integers(0, 10**7))
def test_scene_is_a_function_of_seed_and_index_and_survives_json(seed: int, index: int) -> None:
    scene = make_scene(seed, index)
    assert make_scene(seed, index) == scene
    assert Scene.model_validate_json(scene.model_dump_json()) == scene
    assert make_scene(seed, index + 1) != scene


def test_same_scene_gives_the_same_pixels() -> None:
    assert render_scene(SCENES[3]).tobytes() == render_scene(make_scene(7, 3)).tobytes()


def test_plain_captions_follow_the_grammar() -> None:
    for scene in SCENES:
        caption = caption_scene(scene)
        assert re.fullmatch(GRAMMAR[scene.task], caption), caption
        for item in scene.objects:
            assert item.color in caption and item.shape in caption
        assert "a orange" not in caption


def test_captions_known_by_hand() -> None:
    red, blue = _object("red", "circle", 0.3, 0.5), _object("blue", "square", 0.7, 0.5)
    single = Scene(task="single", background="gray", objects=(red,))
    assert caption_scene(single) == "a red circle on a gray background"
    related = Scene(task="position", background="pink", objects=(red, blue), relation="left of")
    assert caption_scene(related) == "a red circle left of a blue square on a pink background"
    green = _object("green", "triangle", 0.5, 0.5)
    counted = Scene(task="counting", background="teal", objects=(green, green, green))
    assert caption_scene(counted) == "three green triangles on a teal background"
    crosses = Scene(task="counting", background="teal", objects=(_object("red", "cross", 0.5, 0.5),) * 2)
    assert caption_scene(crosses) == "two red crosses on a teal background"


def test_other_wordings_say_the_same_things_and_the_plain_one_leads() -> None:
    chosen = [pick_wording(0, i) for i in range(2000)]
    assert set(chosen) == set(WORDINGS)
    assert chosen.count(WORDINGS[0]) > len(chosen) / 2
    for wording in set(WORDINGS):
        caption = caption_scene(SCENES[0], wording)
        assert SCENES[0].background in caption and SCENES[0].objects[0].color in caption


def test_every_task_relation_and_kind_occurs() -> None:
    assert {scene.task for scene in SCENES} == set(GRAMMAR)
    assert {scene.relation for scene in SCENES} == {None, *OPPOSITE}
    assert {item.color for scene in SCENES for item in scene.objects} == set(COLORS)
    assert {scene.background for scene in SCENES} == set(BACKGROUNDS)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "cross", "star", "heart"])
def test_shapes_cover_a_fair_part_of_their_box(shape: str) -> None:
    item = SceneObject.parse({"shape": shape, "color": "red", "x": 0.5, "y": 0.5, "radius": 0.4})
    picture = render_scene(Scene(task="single", background="gray", objects=(item,)), image_size=100)
    covered = sum(count for count, pixel in picture.getcolors(10_000) or [] if pixel == COLORS["red"]) / 80**2
    expected = {"circle": math.pi / 4, "square": 0.88**2, "triangle": 0.45, "cross": 1 - 0.66**2}
    assert covered == pytest.approx(expected.get(shape, covered), abs=0.03)
    assert 0.2 < covered < 0.8


def test_objects_joined_by_and_are_named_in_reading_order() -> None:
    pairs = [scene for scene in (make_scene(0, i) for i in range(600)) if scene.task == "pair"]

    assert pairs
    for scene in pairs:
        first, second = scene.objects
        dx, dy = second.x - first.x, second.y - first.y
        assert max(dx, dy) > 0.3 and min(dx, dy) > -0.1


def test_a_relation_is_said_about_twice_as_often_as_its_opposite() -> None:
    said = Counter(scene.relation for scene in (make_scene(0, i) for i in range(3000)) if scene.relation)

    assert 1.6 < said["left of"] / said["right of"] < 2.5
    assert 1.6 < said["above"] / said["below"] < 2.5
