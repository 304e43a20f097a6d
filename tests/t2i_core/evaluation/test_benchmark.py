"""Prompts are held out, distinct, and always the same."""

import numpy as np
import pytest

from t2i_core.errors import DataError
from t2i_core.evaluation.metrics.benchmark import Benchmark, Sample, choose_prompts, scene_of, seen_scenes
from t2i_core.samples.scenes import caption_scene, make_scene

PIXELS = np.zeros((8, 8, 3), dtype=np.uint8)


def scene_sample(index, wording="there is {things} on a {background} background"):
    scene = make_scene(0, index)
    attributes = {"scene": scene.model_dump(mode="json"), "group": scene.combination}
    return Sample(f"{index:09d}", caption_scene(scene, wording), lambda: PIXELS, attributes)


SCENES = [scene_sample(i) for i in range(300)]


def choose(test=SCENES, train=(), groups=frozenset(), **changes):
    return choose_prompts(test, train, set(groups), **({"prompts_per_task": 10, "seed": 0} | changes))


def test_prompts_are_distinct_plainly_worded_and_fill_every_task():
    benchmark = choose()
    assert {task: len(rows) for task, rows in benchmark.by_task().items()} == {
        "single": 10, "pair": 10, "position": 10, "counting": 10
    }  # fmt: skip
    assert len({p.scene.combination for p in benchmark.prompts}) == 40
    assert not any(p.text.startswith("there is") for p in benchmark.prompts)
    assert all(p.text == caption_scene(p.scene) for p in benchmark.prompts)


def test_few_combinations_are_asked_again_in_other_words_beside_other_pictures():
    counting = [s for s in SCENES if s.attributes["scene"]["task"] == "counting"]
    twin = Sample("twin", counting[0].caption, lambda: PIXELS + 1, counting[0].attributes)
    benchmark = choose(test=[counting[0], twin, counting[1]], prompts_per_task=5)
    texts = [p.text for p in benchmark.prompts]
    assert len(set(texts)) == len(texts) == 5
    assert [len(group) for group in benchmark.groups(range(5))] == [3, 2]
    assert all(text == caption_scene(p.scene) for text, p in zip(texts[:2], benchmark.prompts, strict=False))
    of_first = [p.key for p in benchmark.prompts if p.meaning == benchmark.prompts[0].meaning]
    of_twins = of_first if "twin" in of_first else [p.key for p in benchmark.prompts if p.key not in of_first]
    assert {counting[0].key, "twin"} == set(of_twins)
    assert benchmark.num_available == 2


def test_the_choice_follows_the_seed_and_not_the_order_of_samples():
    texts = [p.text for p in choose().prompts]
    assert [p.text for p in choose(test=SCENES[::-1]).prompts] == texts
    assert [p.text for p in choose(seed=1).prompts] != texts


def test_a_combination_seen_in_training_is_left_out_and_counted():
    seen = {SCENES[i].attributes["group"] for i in range(100)}
    benchmark = choose(groups=seen, prompts_per_task=1000)
    assert benchmark.num_leaked == len(seen)
    assert not seen & {p.scene.combination for p in benchmark.prompts}


def test_prompts_of_seen_combinations_are_chosen_likewise():
    held_out, seen = choose(), seen_scenes(SCENES, prompts_per_task=10, seed=0)
    assert [(p.id, p.text, p.key) for p in seen.prompts] == [(p.id, p.text, p.key) for p in held_out.prompts]
    without = [Sample("bare", "no scene", lambda: PIXELS, {})]
    assert seen_scenes(without, prompts_per_task=10, seed=0).prompts == ()


def test_only_the_pictures_of_chosen_prompts_are_decoded():
    decoded = []
    samples = [Sample(s.key, s.caption, lambda s=s: decoded.append(s.key) or PIXELS, s.attributes) for s in SCENES]
    benchmark = choose(test=samples, prompts_per_task=2)
    assert decoded == [p.key for p in benchmark.prompts]


def test_nothing_held_out_is_an_error_that_says_so():
    with pytest.raises(DataError, match="never saw"):
        choose(groups={s.attributes["group"] for s in SCENES})


def test_data_without_scenes_asks_for_training_captions():
    train = [Sample(str(i), f"emoji {i % 20}", lambda: PIXELS, {"emoji": {"name": "x"}}) for i in range(60)]
    benchmark = choose(test=train[:5], train=train, prompts_per_task=15)
    assert benchmark.kind == "captions"
    assert len({p.text for p in benchmark.prompts}) == len(benchmark.prompts) == 15
    assert set(benchmark.by_task()) == {"recall"}
    with pytest.raises(DataError, match="empty"):
        choose(test=[], train=[])


def test_a_damaged_scene_is_named():
    assert scene_of({}) is None
    with pytest.raises(DataError, match="damaged"):
        scene_of({"scene": {"task": "single"}})


def test_held_out_pairs_are_not_called_recall() -> None:
    kinds = ("scenes", "styles", "captions")
    said = {kind: Benchmark(kind, (), 0, 0).novelty for kind in kinds}  # type: ignore[arg-type]

    assert "recall" in said["captions"] and not any("recall" in said[kind] for kind in ("scenes", "styles"))
    assert len(set(said.values())) == 3
