"""Held-out pairs of thing and style: features by hand, the choice of prompts, and models whose answers are known."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.drawings import (
    color_distance,
    color_histograms,
    copied,
    edge_histograms,
    features,
)
from t2i_core.evaluation.metrics import copies, pictures, styles
from t2i_core.evaluation.metrics.benchmark import Pair, Sample, choose_prompts
from t2i_core.evaluation.metrics.evidence import Drawn, Evidence

THINGS = ("disk", "box", "roof", "bar", "pole", "ring", "cross", "dot")
STYLES = {"red": (220, 30, 30), "blue": (30, 30, 220), "lined": None}
BOXES = {"disk": (8, 8, 56, 56), "box": (8, 8, 56, 56), "bar": (4, 24, 60, 40), "pole": (24, 4, 40, 60)}


def drawing(thing: str, style: str) -> np.ndarray:
    image = Image.new("RGB", (64, 64), "white")
    draw, color = ImageDraw.Draw(image), STYLES[style]
    how: dict[str, Any] = {"outline": "black", "width": 4} if color is None else {"fill": color}
    match thing:
        case "disk" | "dot":
            draw.ellipse((8, 8, 56, 56) if thing == "disk" else (24, 24, 40, 40), **how)
        case "ring":
            draw.ellipse((8, 8, 56, 56), outline=color or "black", width=10 if color else 2)
        case "roof":
            draw.polygon([(32, 6), (60, 56), (4, 56)], **how)
        case "cross":
            for box in ((4, 26, 60, 38), (26, 4, 38, 60)):
                draw.rectangle(box, **how)
        case _:
            draw.rectangle(BOXES[thing], **how)
    return np.asarray(image)


class Split:
    """Real pictures of some pairs."""

    image_size = 64

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self.captions = [f"{pair.thing}, {pair.style} style" for pair in pairs]
        self.keys = [str(n) for n in range(len(pairs))]
        self.attributes: list[dict[str, object]] = [{"concept": pair.thing, "style": pair.style} for pair in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def pictures(self, indices: Sequence[int]) -> np.ndarray:
        return np.stack([drawing(*self.pairs[n]) for n in indices])

    def samples(self) -> list[Sample]:
        rows = zip(self.keys, self.captions, self.pairs, self.attributes, strict=True)
        return [Sample(key, text, lambda pair=pair: drawing(*pair), said) for key, text, pair, said in rows]


HELD_OUT = [Pair(thing, list(STYLES)[n % 3]) for n, thing in enumerate(THINGS[:6])]
TEST = Split(HELD_OUT)
TRAIN = Split([pair for thing in THINGS for style in STYLES if (pair := Pair(thing, style)) not in HELD_OUT])


def evidence(answer: Any, **changes: Any) -> Evidence:
    """What a model drew that answers each pair with the pictures that `answer` gives."""
    config = EvaluateConfig(bootstrap_resamples=100, **changes)
    benchmark = choose_prompts(TEST.samples(), TRAIN.samples(), set(), prompts_per_task=100, seed=0)
    drawn = np.stack([np.stack(answer(prompt.pair)) for prompt in benchmark.prompts])
    seeds = np.arange(drawn.shape[0] * drawn.shape[1]).reshape(drawn.shape[:2])
    return Evidence(config, benchmark, {"model": Drawn(drawn, seeds)}, TEST, TRAIN, None)


def test_edges_know_their_angle_and_not_their_side() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    across = np.stack([ramp] * 3, axis=-1)[None]
    found = edge_histograms(across).reshape(7, 7, 4, 9)
    # All votes are in the first of nine angles, and a block of four equal cells has four values of a half, cut at 0.2.
    assert found[3, 3, :, 0] == pytest.approx([0.5] * 4, abs=1e-3)
    assert np.abs(found[..., 1:]).max() < 1e-6
    assert edge_histograms(255 - across) == pytest.approx(edge_histograms(across), abs=1e-5)
    along = edge_histograms(across.transpose(0, 2, 1, 3)).reshape(7, 7, 4, 9)
    # A right angle lies between the fifth and the sixth of nine.
    assert along[3, 3, 0, 4] == pytest.approx(along[3, 3, 0, 5]) and along[3, 3, 0, 0] == 0
    assert not edge_histograms(np.full((1, 64, 64, 3), 7, np.uint8)).any()


def test_colors_share_a_pixel_between_levels_and_count_to_one() -> None:
    black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    assert color_histograms(black)[0, 0] == color_histograms(white)[0, 63] == 1
    half = np.zeros((1, 2, 2, 3), np.uint8)
    half[..., 0] = 51  # 0.6 of the way from the first level to the second
    assert color_histograms(half)[0, [0, 16]] == pytest.approx([0.4, 0.6])
    assert color_distance(color_histograms(black), color_histograms(white)) == pytest.approx([1])
    assert color_distance(color_histograms(half), color_histograms(half)) == pytest.approx([0], abs=1e-3)
    mixed = color_histograms(np.concatenate([black, white], axis=1))
    assert color_distance(mixed, color_histograms(black)) == pytest.approx([np.sqrt(1 - np.sqrt(0.5))])


def test_features_are_of_unit_length_whatever_the_size_and_prefer_the_same_picture() -> None:
    all_pictures = TRAIN.pictures(range(len(TRAIN)))
    found = features(all_pictures)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(found)), abs=1e-4)
    assert ((found @ found.T).argmax(axis=1) == np.arange(len(found))).all()
    small = np.stack([np.asarray(Image.fromarray(picture).resize((48, 48))) for picture in all_pictures])
    assert (features(small) @ found.T).argmax(axis=1).tolist() == list(range(len(found)))
    assert ((features(copied(all_pictures)) @ found.T).argmax(axis=1) == np.arange(len(found))).all()
    assert (copied(all_pictures) != all_pictures).any(axis=(1, 2, 3)).all()


def test_prompts_are_pairs_that_training_lacks_the_styles_taking_turns() -> None:
    benchmark = choose_prompts(TEST.samples(), TRAIN.samples(), set(), prompts_per_task=3, seed=0)
    assert benchmark.kind == "styles" and benchmark.num_available == 6
    assert {prompt.pair.style for prompt in benchmark.prompts if prompt.pair} == set(STYLES)
    assert all(prompt.text == f"{prompt.pair.thing}, {prompt.pair.style} style" for prompt in benchmark.prompts)
    known = Split([*HELD_OUT, Pair("disk", "blue"), Pair("moon", "red"), Pair("disk", "oil")])
    whole = choose_prompts(known.samples(), TRAIN.samples(), set(), prompts_per_task=100, seed=0)
    assert {prompt.pair for prompt in whole.prompts} == set(HELD_OUT)
    assert whole.num_leaked == 1


def test_every_thing_is_asked_for_before_one_is_asked_for_twice() -> None:
    test = Split([Pair(thing, style) for thing in THINGS[:4] for style in ("red", "blue")])
    train = Split([Pair(thing, "lined") for thing in THINGS] + [Pair("dot", style) for style in ("red", "blue")])
    asked = choose_prompts(test.samples(), train.samples(), set(), prompts_per_task=5, seed=1).prompts
    assert len({prompt.pair.thing for prompt in asked[:4] if prompt.pair}) == 4
    assert len({prompt.pair for prompt in asked}) == 5


def test_without_held_out_pairs_prompts_are_training_captions() -> None:
    assert choose_prompts(TRAIN.samples(), TRAIN.samples(), set(), prompts_per_task=5, seed=0).kind == "captions"


def test_a_model_that_draws_the_truth_is_all_right() -> None:
    section = styles.measure(evidence(lambda pair: [drawing(*pair)] * 2))
    assert section.data is not None and section.data["num_candidates"] == 18
    model, real = section.data["rows"]["model"], section.data["rows"]["real"]
    assert [model[name].value for name in ("thing", "style", "both", "color_nearer")] == [1, 1, 1, 1]
    assert model["color_distance"].value == pytest.approx(0, abs=1e-3)
    assert 0.3 < model["color_distance_to_other_styles"].value < 1
    assert real["both"].value == 1
    assert section.figures[0].text == "100 %" and "among 18 real pictures" in section.figures[0].note
    assert section.by_picture is not None
    first = section.by_picture["model"][0][0]
    assert (first["thing_right"], first["style_right"]) == (True, True)
    assert first["color_distance"] == pytest.approx(0, abs=2e-3)


def test_a_model_that_knows_the_thing_or_the_style_alone_is_told_apart() -> None:
    def other(known: Sequence[str], value: str) -> str:
        return known[(list(known).index(value) + 1) % len(known)]

    wrong_style = styles.measure(evidence(lambda pair: [drawing(pair.thing, other(list(STYLES), pair.style))]))
    assert wrong_style.data is not None
    rows = wrong_style.data["rows"]["model"]
    assert [rows[name].value for name in ("thing", "style", "both", "color_nearer")] == [1, 0, 0, 0]
    wrong_thing = styles.measure(evidence(lambda pair: [drawing(other(THINGS[:6], pair.thing), pair.style)]))
    assert wrong_thing.data is not None
    rows = wrong_thing.data["rows"]["model"]
    assert [rows[name].value for name in ("thing", "style", "both")] == [0, 1, 0]


def test_the_grid_shows_truth_drawn_and_nearest_training_picture() -> None:
    # What is drawn is the thing in another style, which is a training picture.
    found = evidence(lambda pair: [drawing("dot", "blue")] * 3, images_per_prompt=3)
    (strip,) = [block for block in pictures.measure(found).blocks if hasattr(block, "rows")]
    _, _, groups = strip.rows[0]
    assert [group.head for group in groups] == ["real", "model", "nearest in training"]
    assert [picture.label for picture in groups[2].pictures] == ["dot, blue style"] * 2
    assert (groups[2].pictures[0].pixels == drawing("dot", "blue")).all()
    near = copies.measure(found)
    assert near.data is not None and near.data["num_closer_than_threshold"] == found.drawn["model"].seeds.size
    assert "recall_at_1" not in near.data


def test_other_data_has_no_such_section() -> None:
    section = styles.measure(SimpleNamespace(benchmark=SimpleNamespace(kind="captions")))  # type: ignore[arg-type]
    assert not section.blocks and not section.figures
