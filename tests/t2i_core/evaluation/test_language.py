"""The study of language on stand-ins whose answers are known, and attributes judged each by itself."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.attributes import attributes_right, chance_of
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.metrics.benchmark import DISTINCT_WORDINGS, Benchmark, Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.step import evaluate
from t2i_core.evaluation.studies.language import PLAIN, questions, study
from t2i_core.folders.manifest import StepKey, describe_file, write_manifest
from t2i_core.generation.config import DrawConfig
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import Scene, caption_scene, make_scene, render_scene
from t2i_core.samples.wordings import HELD_OUT, WIDE, told

SCENES = [scene for scene in (make_scene(3, i) for i in range(60)) if scene.task in ("single", "position")]
PAIRS = [scene for scene in SCENES if scene.relation]
NEXT = {"red": "green", "green": "blue", "blue": "red"}


@dataclass
class Drawer:
    """Draws what it was told of, as it likes to, and refuses everything else."""

    scenes: dict[str, Scene]
    changed: Callable[[Scene], Scene] = lambda scene: scene
    seeds: list[int] = field(default_factory=list)
    drawn_with = "pencil, float32"
    image_size = 64

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig) -> Pictures:
        self.seeds += seeds
        return np.stack([np.asarray(render_scene(self.changed(self.scenes[prompt]))) for prompt in prompts])

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        return [] if prompt in self.scenes or not prompt else [prompt]


def changed(scene: Scene, *each: Mapping[str, object], **of_scene: object) -> Scene:
    objects = [
        o.model_dump() | dict(new) for o, new in zip(scene.objects, each or ({},) * len(scene.objects), strict=True)
    ]
    return Scene.model_validate(scene.model_dump() | {"objects": objects} | of_scene)


def swapped(scene: Scene) -> Scene:
    places = [{"x": o.x, "y": o.y} for o in reversed(scene.objects)]
    return changed(scene, *places)


def recolored(scene: Scene) -> Scene:
    return changed(scene, *({"color": NEXT.get(o.color, "red")} for o in scene.objects))


def right(drawn: Scene, asked: Scene) -> dict[str, float]:
    return attributes_right(extract(np.asarray(render_scene(drawn))), asked)


def evidence_of(scenes: Sequence[Scene]) -> Evidence:
    pictures = [np.asarray(render_scene(scene)) for scene in scenes]
    prompts = tuple(Prompt(str(i), s.task, caption_scene(s), s, pictures[i], str(i)) for i, s in enumerate(scenes))
    real = type("Real", (), {"image_size": 64})()
    config = EvaluateConfig(bootstrap_resamples=100)
    return Evidence(config, Benchmark("scenes", prompts, 0, len(prompts)), {}, real, real, None)


def test_attributes_are_right_each_by_itself() -> None:
    for scene in SCENES:
        asked = {"color": 1.0, "shape": 1.0, "background": 1.0} | ({"relation": 1.0} if scene.relation else {})
        assert right(scene, scene) == asked
        assert right(changed(scene, background="gray"), changed(scene, background="teal")) == asked | {"background": 0}
    for scene in PAIRS:
        assert right(swapped(scene), scene) == {"color": 1, "shape": 1, "background": 1, "relation": 0}
    empty = changed(PAIRS[0]).model_copy(update={"objects": ()})
    assert right(empty, PAIRS[0]) == {"color": 0, "shape": 0, "background": 1, "relation": 0}


def test_a_relation_is_judged_though_a_color_is_wrong_and_what_is_in_excess_helps_nobody() -> None:
    base = changed(PAIRS[0], {"color": "red", "shape": "circle"}, {"color": "blue", "shape": "square"})
    other = changed(base, {"color": "green"}, {})
    assert right(other, base) == {"color": 0.5, "shape": 1, "background": 1, "relation": 1}
    assert right(swapped(other), base) == {"color": 0.5, "shape": 1, "background": 1, "relation": 0}
    # Neither is what was asked for, so that either may be the first.
    strange = changed(base, {"color": "white", "shape": "cross"}, {"color": "black", "shape": "triangle"})
    assert right(strange, base) == {"color": 0, "shape": 0, "background": 1, "relation": 0.5}
    lone = changed(base).model_copy(update={"objects": base.objects[:1]})
    assert right(lone, base) == {"color": 0.5, "shape": 0.5, "background": 1, "relation": 0}
    single = changed(base).model_copy(update={"objects": base.objects[1:], "task": "single", "relation": None})
    small, large = base.objects[1].with_changes(radius=0.12), base.objects[0].with_changes(radius=0.19)
    assert right(base.model_copy(update={"objects": (small, large)}), single)["color"] == 0


def test_chance_is_what_pictures_of_other_scenes_get() -> None:
    single = next(scene for scene in SCENES if not scene.relation)
    assert chance_of(single) == pytest.approx({"color": 1 / 8, "shape": 1 / 4, "background": 1 / 3})

    others = [scene for scene in (make_scene(8, i) for i in range(900)) if scene.relation]
    seen = [extract(np.asarray(render_scene(scene))) for scene in others]
    for asked in PAIRS[:2]:
        chance = chance_of(asked)
        found = [attributes_right(picture, asked) for picture in seen]
        assert chance["relation"] == 1 / 4
        for name, expected in chance.items():
            assert np.mean([each[name] for each in found]) == pytest.approx(expected, abs=0.09)


def test_who_reads_everything_is_right_in_all_languages_and_who_does_not_is_wrong_where_it_does_not() -> None:
    evidence = evidence_of(SCENES)
    asked = questions(evidence)
    scenes = {each.text: each.scene for name in asked for each in asked[name]}
    reader = Drawer(scenes)
    plain = Drawer({each.text: each.scene for each in asked[PLAIN]}, recolored)
    section = study(evidence, {"model": reader, "baseline": plain})

    assert section.data is not None
    names = [PLAIN, "wide", *HELD_OUT]
    for task, row in section.data["rows"].items():
        attributes = ["color", "shape", "background"] + ["relation"] * (task == "position")
        assert list(row["model"]) == list(row["baseline"]) == names
        for name in names:
            found = {attribute: estimate.value for attribute, estimate in row["model"][name].items()}
            assert found == {"strict": 1} | dict.fromkeys(attributes, 1) | {"refused": 0}
            found = {attribute: estimate.value for attribute, estimate in row["baseline"][name].items()}
            if name == PLAIN:
                assert found["refused"] == found["strict"] == 0 and found["shape"] == found["background"] == 1
                assert found["color"] < 0.3
            else:
                assert found == {"strict": 0} | dict.fromkeys(attributes, 0) | {"refused": 1}
        assert list(section.data["chance"][task]) == attributes
    assert [figure.value.value for figure in section.figures if figure.value] == [1, 1, 1]
    assert {each["outcome"] for each in section.data["asked"] if each["drawn_by"] == "model"} == {"pass"}
    assert "refused" in {each["outcome"] for each in section.data["asked"]}
    assert len(set(map(tuple, np.reshape(reader.seeds, (len(names), -1)).tolist()))) == 1


def test_data_told_in_the_wide_language_is_judged_and_unknown_words_are_reported(tmp_path: Path) -> None:
    scenes = [make_scene(0, i) for i in range(220)]
    (tmp_path / "pictures").mkdir()
    for i, scene in enumerate(scenes):
        render_scene(scene).save(tmp_path / "pictures" / f"{i:05d}.png")
        text = told(scene, WIDE, str(i))
        side = {"caption": text, "scene": scene.model_dump(mode="json"), "group": scene.combination}
        (tmp_path / "pictures" / f"{i:05d}.json").write_text(json.dumps(side))
    ingest(str(tmp_path / "pictures"), IngestConfig(image_size=64, encode_format="png"), tmp_path / "dataset")
    captions = caption(tmp_path / "dataset", CaptionConfig(test_share=0.3), tmp_path / "captions")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"preset": "none", "system": "direct", "recipe": {}, "train": {}}))
    key = StepKey(step="train", version=1, config={}, inputs={"captions": captions.digest})
    files = [describe_file(run, run / "config.json")]
    write_manifest(run, kind="run", key=key, sources={"captions": "../captions"}, counts={"images": 1}, files=files)
    drawer = Drawer({caption_scene(scene, wording): scene for scene in scenes for wording in DISTINCT_WORDINGS})
    settings = {"prompts_per_task": 4, "images_per_prompt": 1, "num_train": 20, "bootstrap_resamples": 100}

    out = tmp_path / "evaluation"
    evaluate(run, EvaluateConfig.parse(settings | {"studies": ["language"]}), out, open_run=lambda _: drawer)
    metrics = json.loads((out / "metrics.json").read_text())

    strict = metrics["composition"]["rows"]["model"]["strict"]
    assert {task: each["value"] for task, each in strict.items()} == dict.fromkeys(strict, 1) and len(strict) == 4
    rows = metrics["language"]["rows"]["position"]["model"]
    assert [rows[name]["strict"]["value"] for name in (PLAIN, "new words", "both")] == [1, 0, 0]
    assert [rows[name]["refused"]["value"] for name in (PLAIN, "new words", "both")] == [0, 1, 1]
    report = (out / "report.html").read_text()
    assert "Asked: new words" in report and "refused" in report
    assert "| by chance |" in (out / "report.md").read_text()
