"""What a CLIP keeps, how good a prior is and how far drawings spread, where the answer is known."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.probe import Probe
from t2i_core.evaluation.judges.statistics import Estimate
from t2i_core.evaluation.metrics.benchmark import Benchmark
from t2i_core.evaluation.metrics.evidence import Evidence, Resampling
from t2i_core.evaluation.studies.ceiling import NEAREST, PROBE, Embedded, attributes_of, ceilings, is_right
from t2i_core.evaluation.studies.priors import COSINE, GAP, RETRIEVAL, SPREAD, TRUE, Captions, Floats, measured
from t2i_core.evaluation.studies.unclip import spread_of
from t2i_core.samples.scenes import Scene, caption_scene, laid_out_anew, make_scene, render_scene

HOW: Resampling = {"seed": 0, "resamples": 100}
WIDTH, NUM_CAPTIONS, NUM_SAMPLES = 64, 20, 8


def code_of(scene: Scene, without: str = "") -> Floats:
    """An embedding with a direction for each value of each attribute, but for one."""
    shown = [pair for pair in attributes_of(scene).items() if not without or not pair[0].startswith(without)]
    code = sum(np.random.default_rng([*":".join(pair).encode()]).normal(size=256) for pair in shown)
    return np.asarray(code / np.linalg.norm(code))


class KnownEye:
    """Reads captions of scenes as their codes."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._codes = {caption_scene(scene): code_of(scene) for scene in scenes}

    def read(self, captions: Sequence[str]) -> Tensor:
        return torch.from_numpy(np.stack([self._codes.get(caption, np.zeros(256)) for caption in captions]))


def embedded(seed: int, number: int, without: str = "") -> Embedded:
    scenes = [make_scene(seed, index) for index in range(number)]
    codes = np.stack([code_of(scene, without) for scene in scenes])
    return Embedded(scenes, [caption_scene(scene) for scene in scenes], codes, range(number))


def test_what_an_embedding_holds_is_read_by_both_readers_and_what_it_lacks_by_chance() -> None:
    train, test = embedded(1, 1500), embedded(2, 200)
    eye = KnownEye(test.scenes)
    for task, by in ceilings(train, test, eye, HOW).items():  # type: ignore[arg-type]
        assert by[NEAREST].whole.value == 1 and set(by[NEAREST].attributes.values()) == {1.0}, task
        assert by[PROBE].whole.value > 0.9, task

    blind, seen = embedded(1, 1500, "shape"), embedded(2, 200, "shape")
    single = ceilings(blind, seen, eye, HOW)["single"][PROBE]  # type: ignore[arg-type]
    assert single.attributes["color"] > 0.95 and single.attributes["shape"] < 0.5 and single.whole.value < 0.5


def test_a_medium_size_is_not_told_and_so_cannot_be_wrong() -> None:
    medium, large = (
        next(s for s in (make_scene(0, i) for i in range(99)) if s.task == "single" and s.objects[0].size == size)
        for size in ("medium", "large")
    )
    for scene, right in ((medium, True), (large, False)):
        assert is_right(attributes_of(scene) | {"size": "small"}, scene) == right
        assert not is_right(attributes_of(scene) | {"background": "none"}, scene)


def test_objects_are_named_as_they_lie_whoever_the_caption_names_first() -> None:
    scene = next(s for s in (make_scene(0, i) for i in range(99)) if s.relation == "right of")
    shows, (first, second) = attributes_of(scene), scene.objects
    assert shows["axis"] == "beside"
    assert (shows["color 1"], shows["shape 2"]) == (second.color, first.shape)


def test_of_two_objects_in_no_order_either_may_be_guessed_first() -> None:
    for task, right in (("pair", True), ("position", False)):
        scene = next(s for s in (make_scene(0, i) for i in range(99)) if s.task == task)
        shows = attributes_of(scene)
        turned = {name.translate({49: 50, 50: 49}): value for name, value in shows.items()}
        assert turned != shows and is_right(shows, scene) and is_right(turned, scene) == right


def test_a_scene_is_laid_out_anew_in_the_same_words() -> None:
    for index in range(12):
        scene = make_scene(3, index)
        others = list(laid_out_anew(scene, 0, 4))
        assert {caption_scene(other) for other in others} == {caption_scene(scene)}
        assert {attributes_of(other).get("count") for other in others} == {attributes_of(scene).get("count")}
        assert len({tuple((o.x, o.y) for o in other.objects) for other in others}) == 4


def test_a_probe_of_one_class_or_of_nothing_guesses_the_commonest() -> None:
    features = np.zeros((5, 3))
    assert Probe.learn(features, ["a", "b", "a", "a", "b"], 0.1).guess(np.ones((2, 3))) == ["a", "a"]
    assert Probe.learn(features, ["c"] * 5, 0.1).guess(features) == ["c"] * 5


class KnownPrior:
    """Gives the embeddings that it is told, in turn."""

    def __init__(self, once: Floats, several: Floats) -> None:
        self._answers = [once, several.reshape(-1, several.shape[-1])]

    def imagined(self, prompts: Sequence[str], seeds: Sequence[int], config: EvaluateConfig) -> Tensor:
        assert len(set(seeds)) == len(prompts)
        return torch.from_numpy(self._answers.pop(0))


def test_who_gives_the_mean_is_nearest_and_is_found_out_by_its_spread() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(NUM_CAPTIONS, WIDTH))
    pictures = means[:, None] + 0.8 * rng.normal(size=(NUM_CAPTIONS, 2 * NUM_SAMPLES + 2, WIDTH))
    unit = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (means, pictures)]
    others, drawn = unit[1][:, 2 : 2 + NUM_SAMPLES], unit[1][:, 2 + NUM_SAMPLES :]
    captions = Captions([f"caption {i}" for i in range(NUM_CAPTIONS)], unit[0], unit[1][:, 0], others)
    mean = np.repeat(unit[0][:, None], NUM_SAMPLES, axis=1)
    priors = {
        "as pictures": KnownPrior(unit[1][:, 1], drawn),
        "mean": KnownPrior(unit[0], mean),
        "deaf": KnownPrior(unit[1][::-1, 1].copy(), drawn[::-1].copy()),
    }
    evidence = Evidence(EvaluateConfig(), Benchmark("scenes", (), 0, 0), {}, None, None, None)  # type: ignore[arg-type]

    found = measured(evidence, captions, priors)  # type: ignore[arg-type]

    def value(who: str, figure: str) -> float:
        estimate: Estimate = found[who][figure]
        return estimate.value

    assert value(TRUE, RETRIEVAL) == value("as pictures", RETRIEVAL) == value("mean", RETRIEVAL) == 1
    assert value("deaf", RETRIEVAL) == 0 and abs(value("deaf", GAP)) < 0.2 < value("as pictures", GAP)
    assert value(TRUE, SPREAD) == pytest.approx(1) and value("as pictures", SPREAD) == pytest.approx(1, abs=0.1)
    assert value("mean", SPREAD) == pytest.approx(0, abs=1e-9)
    assert value("mean", COSINE) > value(TRUE, COSINE) + 0.05


def test_spread_is_of_places_and_sizes_where_all_objects_are_found() -> None:
    scene = next(s for s in (make_scene(0, i) for i in range(99)) if s.task == "single")
    item = scene.objects[0].with_changes(x=0.45, y=0.5, radius=0.2)
    moved = [
        np.asarray(render_scene(scene.with_changes(objects=[item.with_changes(x=x, radius=r)])))
        for x, r in ((0.45, 0.2), (0.55, 0.24))
    ]
    empty = np.asarray(render_scene(scene.with_changes(objects=[])))

    still = spread_of([extract(moved[0])] * 3, 1)
    assert still == [(0.0, 0.0)]
    [(place, size)] = spread_of([extract(picture) for picture in (*moved, empty)], 1)
    assert place == pytest.approx(0.05, abs=0.01) and size == pytest.approx(0.04 / 2**0.5, abs=0.01)
    assert spread_of([extract(moved[0]), extract(empty)], 1) == []
