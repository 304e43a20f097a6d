"""The checker must see what is there, whoever asks, and must never claim what is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2i_core.errors import DataError
from t2i_core.evaluation.judges.composition import Extraction, Found, extract
from t2i_core.evaluation.judges.shape_names import ALL_SHAPES
from t2i_core.evaluation.judges.verdict import holds, judge
from t2i_core.samples.scenes import (
    BACKGROUNDS,
    COLORS,
    OPPOSITE,
    RELATIONS,
    Scene,
    SceneObject,
    make_scene,
    render_scene,
)


def render(scene, size=64):
    return np.asarray(render_scene(scene, size))


def one(color="red", shape="circle", background="gray", **changes):
    item = SceneObject(**({"color": color, "shape": shape, "x": 0.5, "y": 0.5, "radius": 0.17} | changes))
    return Scene(task="single", background=background, objects=(item,))


def two(first, second, relation="left of"):
    return Scene(task="position", background="teal", relation=relation, objects=(first, second))


RED_LEFT = SceneObject(color="red", shape="circle", x=0.26, y=0.5, radius=0.15)
BLUE_RIGHT = SceneObject(color="blue", shape="square", x=0.74, y=0.52, radius=0.15)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("shape", ALL_SHAPES)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_kind_of_object_is_named(color, shape, background):
    extraction = extract(render(one(color, shape, background)))
    assert [o.kind for o in extraction.objects] == [(color, shape)]
    assert extraction.background == background


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 100_000), size=st.sampled_from([48, 64, 96, 128]))
def test_a_render_passes_its_own_prompt_at_any_size(index, size):
    scene = make_scene(12, index)
    verdict = judge(extract(render(scene, size)), scene)
    assert verdict.strict, (scene, verdict)
    assert verdict.lenient and verdict.reason == ""


def test_position_and_size_are_measured_in_fractions_of_the_side():
    found = extract(render(one("green", "triangle", x=0.4, y=0.6, radius=0.2))).objects[0]
    assert (found.x, found.y, found.radius) == pytest.approx((0.4, 0.6, 0.2), abs=0.01)


@settings(max_examples=30, deadline=None)
@given(index=st.integers(0, 10_000))
def test_mirroring_the_picture_swaps_left_and_right_and_nothing_else(index):
    scene = make_scene(3, index)
    mirrored = judge(extract(np.ascontiguousarray(render(scene)[:, ::-1])), scene)
    changed = {atom for atom, outcome in mirrored.atoms.items() if outcome != "pass"}
    assert changed == ({"relation"} if scene.relation in ("left of", "right of") else set())


def test_adding_an_object_fails_nothing_else_only():
    extra = SceneObject(color="white", shape="cross", x=0.5, y=0.13, radius=0.1)
    asked = two(RED_LEFT, BLUE_RIGHT)
    shown = two(RED_LEFT, BLUE_RIGHT).with_changes(objects=[o.model_dump() for o in (RED_LEFT, BLUE_RIGHT, extra)])
    verdict = judge(extract(render(shown)), asked)
    assert [atom for atom, outcome in verdict.atoms.items() if outcome == "fail"] == ["nothing_else"]
    assert verdict.lenient and not verdict.strict


def test_swapped_colors_fail_the_binding_but_not_colors_or_shapes():
    swapped = two(RED_LEFT.with_changes(color="blue"), BLUE_RIGHT.with_changes(color="red"))
    atoms = judge(extract(render(swapped)), two(RED_LEFT, BLUE_RIGHT)).atoms
    assert (atoms["shape"], atoms["color"], atoms["binding"]) == ("pass", "pass", "fail")


def test_a_count_must_be_exact():
    objects = tuple(SceneObject(color="red", shape="circle", x=x, y=0.5, radius=0.12) for x in (0.2, 0.5, 0.8))
    three = Scene(task="counting", background="pink", objects=objects)
    pair = three.with_changes(objects=[o.model_dump() for o in objects[:2]])
    assert judge(extract(render(three)), three).strict
    assert judge(extract(render(pair)), three).atoms["count"] == "fail"
    verdict = judge(extract(render(three)), pair)
    assert verdict.atoms["count"] == "fail" and not verdict.lenient


def test_a_size_that_the_prompt_names_is_held_to():
    small, large = one(size="small", radius=0.13), one(size="large", radius=0.32)
    assert judge(extract(render(small)), large).atoms["size"] == "fail"
    assert judge(extract(render(large)), large).atoms["size"] == "pass"
    assert "size" not in judge(extract(render(large)), one()).atoms


def test_the_background_must_be_the_named_one():
    verdict = judge(extract(render(one(background="teal"))), one(background="pink"))
    assert verdict.atoms["background"] == "fail" and verdict.lenient and not verdict.strict
    assert verdict.reason == "wrong background: shows red circle on teal"


def found(x, y):
    return Found("red", ("circle",), x, y, 0.1, 0.03, 1.0, None)


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_follow_the_dominant_axis_outside_a_dead_zone(relation):
    ends = {"left of": (0.2, 0.5), "right of": (0.8, 0.5), "above": (0.5, 0.2), "below": (0.5, 0.8)}
    first, second = found(*ends[relation]), found(*ends[OPPOSITE[relation]])
    assert holds(relation, first, second)
    assert not holds(relation, second, first)
    assert not holds(relation, found(0.5, 0.5), found(0.56, 0.56))
    assert sum(holds(r, found(0.2, 0.3), found(0.7, 0.6)) for r in RELATIONS) == 1


def test_a_two_colored_blob_is_unsure():
    picture = render(one("red", "circle", radius=0.2)).copy()
    red = (picture.astype(int) - COLORS["red"]).__abs__().sum(axis=2) < 30
    picture[red & (np.arange(64) < 32)[None]] = COLORS["blue"]
    verdict = judge(extract(picture), one("red", "circle"))
    assert extract(picture).objects[0].unsure in ("two colors", "no clear shape", "no clear color")
    assert verdict.unsure and not verdict.strict and not verdict.lenient


def paint(pixels, inside, color):
    """Color part of a picture, edges smoothed; `inside` is a function of x and y as fractions of the side."""
    steps = (np.arange(256) + 0.5) / 256
    share = inside(*np.meshgrid(steps, steps)).reshape(64, 4, 64, 4).mean(axis=(1, 3))[..., None]
    return np.rint(pixels * (1 - share) + np.array(COLORS[color]) * share).astype(np.uint8)


def blank(background="gray"):
    return np.full((64, 64, 3), BACKGROUNDS[background], dtype=np.uint8)


def rounded(x0, y0, power, radius=0.17):
    """Give the inside of what lies between a circle (power 2) and a square (a high power)."""
    return lambda x, y: (np.abs((x - x0) / radius) ** power + np.abs((y - y0) / radius) ** power) < 1


def test_what_lies_between_two_shapes_is_unsure_for_either_and_wrong_for_others():
    extraction = extract(paint(blank(), rounded(0.5, 0.5, 3.2), "red"))
    assert set(extraction.objects[0].shapes) == {"circle", "square"} and not extraction.sure
    assert (
        judge(extraction, one("red", "circle")).outcome == judge(extraction, one("red", "square")).outcome == "unsure"
    )
    # Neither a cross nor anything blue, whichever of the two it is.
    assert judge(extraction, one("red", "cross")).outcome == judge(extraction, one("blue", "circle")).outcome == "fail"


def test_a_wrong_number_of_doubtful_things_is_wrong_not_unsure():
    picture = blank()
    for x in (0.2, 0.5, 0.8):
        picture = paint(picture, rounded(x, 0.5, 3.2, 0.11), "red")
    extraction = extract(picture)
    circles = [SceneObject(color="red", shape="circle", x=x, y=0.5, radius=0.11) for x in (0.2, 0.5, 0.8)]
    three = Scene(task="counting", background="gray", objects=tuple(circles))
    assert not any(o.shape for o in extraction.objects)
    assert judge(extraction, three).outcome == "unsure"
    assert judge(extraction, three.with_changes(objects=[o.model_dump() for o in circles[:2]])).outcome == "fail"


def test_a_thing_of_no_known_shape_is_wrong():
    bean = paint(blank(), lambda x, y: (np.abs(x - 0.5) < 0.3) & (np.abs(y - 0.5) < 0.08), "red")
    assert extract(bean).objects[0].unsure == "no known shape"
    verdict = judge(extract(bean), one("red", "square"))
    assert verdict.outcome == "fail" and verdict.reason.startswith("wrong shape")


def test_a_faint_stain_is_nothing_and_a_plain_speck_is_something():
    right = render(one("red", "circle"))
    stained, speckled = right.copy(), right.copy()
    stained[5:10, 5:9] = stained[5:10, 5:9] + 18
    speckled[5:10, 5:9] = COLORS["blue"]
    assert judge(extract(stained), one("red", "circle")).outcome == "pass"
    assert judge(extract(speckled), one("red", "circle")).outcome == "unsure"
    assert judge(extract(speckled), one("blue", "circle")).outcome == "fail"


def test_a_dent_counts_by_its_size_in_the_picture():
    def dented(radius):
        disc = rounded(0.5, 0.5, 2, radius)
        return extract(paint(blank(), lambda x, y: disc(x, y) & (x - y < radius), "red")).objects[0]

    assert dented(0.12).shape == "circle"
    assert dented(0.31).shape is None


def test_a_thing_cut_off_is_unsure_though_all_that_is_seen_fits():
    verdict = judge(extract(render(one("red", "circle", x=0.16))), one("red", "circle"))
    assert verdict.outcome == "unsure" and verdict.unsure and not verdict.strict


def test_touching_objects_are_not_taken_for_one_that_was_asked_for():
    squares = tuple(SceneObject(color="red", shape="square", x=x, y=0.5, radius=0.12) for x in (0.395, 0.605))
    merged = Scene(task="counting", background="gray", objects=squares)
    assert not judge(extract(render(merged)), merged).strict
    assert not judge(extract(render(merged)), one("red", "square")).strict


def test_a_picture_without_plain_border_is_refused():
    extraction = extract(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert extraction == Extraction(None, (), "no plain background")
    verdict = judge(extraction, one())
    assert set(verdict.atoms.values()) == {"unsure"} and verdict.reason == "no plain background"


def test_an_empty_background_holds_no_object():
    blank = np.full((64, 64, 3), BACKGROUNDS["gray"], dtype=np.uint8)
    assert extract(blank) == Extraction("gray", ())
    assert not judge(extract(blank), one()).lenient


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (3, 64, 64)])
def test_something_that_is_no_picture_is_refused_by_its_shape(shape):
    with pytest.raises(DataError, match="uint8"):
        extract(np.zeros(shape, dtype=np.uint8))
