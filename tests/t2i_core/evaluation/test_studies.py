"""Studies of a small system, and what they measure on pictures whose answer is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.benchmark import Benchmark, Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.step import evaluate
from t2i_core.evaluation.studies.edit_tasks import around, edge_of, halves_of, tasks_of, turns_of
from t2i_core.evaluation.studies.upsampler import averaged
from t2i_core.progress import Progress
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

STRIPS = ("Objects replaced", "Replaced", "Outpainted: ", "In turn: ", "Image to image, strength 0 to 1")
BRIEF: dict[str, Any] = {"prompts_per_task": 2, "images_per_prompt": 1, "num_real": 10, "num_train": 10, "steps": 2}


def prompts_of_pairs(num: int) -> tuple[Prompt, ...]:
    scenes = [scene for scene in (make_scene(5, i) for i in range(6 * num)) if scene.task in ("pair", "position")]
    return tuple(
        Prompt(f"pair-{i}", scene.task, caption_scene(scene), scene, np.asarray(render_scene(scene)), str(i))
        for i, scene in enumerate(scenes[:num])
    )


def evidence_of(prompts: tuple[Prompt, ...]) -> Evidence:
    # Nothing else is read of it.
    benchmark = Benchmark("scenes", prompts, 0, len(prompts))
    return Evidence(EvaluateConfig(), benchmark, {}, None, None, None)  # type: ignore[arg-type]


def test_who_draws_the_new_scene_into_the_mask_is_right_and_seamless() -> None:
    tasks = tasks_of(evidence_of(prompts_of_pairs(12)))
    drawn = [np.where(t.redraw[..., None], np.asarray(render_scene(t.wanted)), t.picture) for t in tasks]

    assert len(tasks) == 12
    assert all(judge(extract(picture), task.wanted).strict for picture, task in zip(drawn, tasks, strict=True))
    assert not any(judge(extract(task.picture), task.wanted).strict for task in tasks)
    assert [edge_of(p, task.ideal, task.redraw) for p, task in zip(drawn, tasks, strict=True)] == [1.0] * 12


def test_one_object_of_each_scene_is_another_one_in_its_place() -> None:
    prompts = prompts_of_pairs(12)
    for number, (task, prompt) in enumerate(zip(tasks_of(evidence_of(prompts)), prompts, strict=True)):
        assert prompt.scene is not None
        changed = [a != b for a, b in zip(task.wanted.objects, prompt.scene.objects, strict=True)]
        assert changed == [number % 2 == 0, number % 2 == 1]
        assert task.shows == prompt.text and task.text != prompt.text


def test_the_mask_holds_all_of_an_object() -> None:
    for prompt in prompts_of_pairs(12):
        assert prompt.scene is not None
        first, second = prompt.scene.objects
        without = np.asarray(render_scene(prompt.scene.with_changes(objects=[second])))
        assert not (without != prompt.real).any(axis=2)[~around(first, 64)].any()


def test_objects_are_replaced_in_turn_each_in_what_came_of_the_last() -> None:
    prompts = prompts_of_pairs(12)
    for prompt, tasks in zip(prompts, turns_of(evidence_of(prompts), 3), strict=True):
        scene = prompt.scene
        assert scene is not None
        for number, task in enumerate(tasks):
            changed = [a != b for a, b in zip(task.wanted.objects, scene.objects, strict=True)]
            assert changed == [number != 1, number == 1]
            before = np.asarray(render_scene(scene))
            drawn = np.where(task.redraw[..., None], task.ideal, before)
            assert judge(extract(drawn), task.wanted).strict and not judge(extract(before), task.wanted).strict
            scene = task.wanted


def test_the_half_that_is_cut_off_holds_all_of_one_object_and_nothing_of_the_other() -> None:
    for number, task in enumerate(halves_of(evidence_of(prompts_of_pairs(12)))):
        first, second = task.wanted.objects
        gone, kept = (first, second) if number % 2 == 0 else (second, first)
        without, alone = (np.asarray(render_scene(task.wanted.with_changes(objects=[item]))) for item in (kept, gone))
        background = np.asarray(render_scene(task.wanted.with_changes(objects=[])))

        assert task.redraw.mean() == 0.5
        assert (without == task.picture).all(axis=2)[~task.redraw].all()
        assert (alone == background).all(axis=2)[~task.redraw].all()
        assert judge(extract(task.picture), task.wanted).strict and not judge(extract(without), task.wanted).strict


def test_a_seam_is_seen() -> None:
    wanted = np.full((64, 64, 3), 100, np.uint8)
    mask, inside = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[20:40, 20:40] = inside[22:38, 22:38] = True
    seamed = np.where((mask & ~inside)[..., None], np.uint8(110), wanted)
    even = np.where(mask[..., None], np.uint8(110), wanted)

    assert edge_of(wanted, wanted, mask) == edge_of(even, wanted, mask) == 1
    assert edge_of(seamed, wanted, mask) == pytest.approx(10.5 / 0.5)
    assert edge_of(seamed, wanted, np.zeros((64, 64), bool)) == 1


def test_averaging_is_of_squares_of_pixels() -> None:
    picture: Pictures = np.zeros((1, 4, 4, 3), np.uint8)
    picture[0, :2, 2:] = 40
    picture[0, 0, 0] = 8

    assert averaged(picture, 2)[0, ..., 0].tolist() == [[2, 40], [0, 0]]


def test_a_system_is_studied(system_runs: dict[str, Path], tmp_path: Path) -> None:
    names = ["guidance", "upsampler", "edits", "sweeps"]
    config = EvaluateConfig.parse(BRIEF | {"studies": names, "bootstrap_resamples": 100})
    told: list[Progress] = []
    evaluate(
        system_runs["system"],
        config,
        tmp_path / "evaluation",
        baseline_dir=system_runs["regressed"],
        clip_dir=system_runs["scorer"],
        on_progress=told.append,
    )

    studies = [(each.done, each.total, each.fields["next"]) for each in told if each.unit == "studies"]
    assert studies == [(number, 4, name) for number, name in enumerate(names)]

    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert set(metrics["guidance"]["rows"]) == {"none", "classifier-free, 3", "CLIP, 2"}
    for row in metrics["guidance"]["rows"].values():
        assert set(row) == {"strict accuracy", "CLIP score", "guiding CLIP"}
    upsampler = metrics["upsampler"]["rows"]
    assert list(upsampler) == ["upsampler", "the baseline's", "bicubic"]
    assert upsampler["bicubic"]["consistency"]["value"] > upsampler["bicubic"]["fidelity"]["value"] > 20
    assert set(metrics["edits"]["image_to_image"]) == {"0", "0.2", "0.4", "0.6", "0.8", "1"}
    assert metrics["edits"]["image_to_image"]["0"] == {"distance": 0, "strict": 0}
    assert set(metrics["edits"]["ways"]) == {"trained to fill in"}
    sweeps = metrics["sweeps"]
    assert list(sweeps["guidance"]) == ["1", "3", "7"] and list(sweeps["level"]) == ["0", "0.1", "0.2"]
    assert set(sweeps["guidance"]["1"]) == {"strict, static", "strict, dynamic", "apart"}
    assert 0 <= sweeps["guidance"]["1"]["apart"] < 1
    plain = upsampler["upsampler"]
    assert sweeps["level"]["0"]["fidelity"] == pytest.approx(plain["fidelity"]["value"], abs=0.01)
    assert sweeps["level"]["0.2"] != sweeps["level"]["0"]
    page = (tmp_path / "evaluation" / "report.html").read_text()
    for title in (
        "Ways of guidance",
        "Real pictures, made small and large again",
        "Image to image",
        *STRIPS,
        "Upscaled",
    ):
        assert title in page
    assert "Inverted: " not in page


def test_what_has_no_upsampler_is_not_compared_with(system_runs: dict[str, Path], tmp_path: Path) -> None:
    config = EvaluateConfig.parse(BRIEF | {"studies": ["upsampler"], "bootstrap_resamples": 100})
    evaluate(system_runs["system"], config, tmp_path / "evaluation", baseline_dir=system_runs["plain"])

    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert list(metrics["upsampler"]["rows"]) == ["upsampler", "bicubic"]


def test_a_run_shows_every_edit_that_it_can_do(system_runs: dict[str, Path], tmp_path: Path) -> None:
    config = EvaluateConfig.parse(BRIEF | {"studies": ["edits"], "bootstrap_resamples": 100})
    evaluate(system_runs["plain"], config, tmp_path / "evaluation")

    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    found = {name: estimate["value"] for name, estimate in metrics["edits"]["inversion"].items()}
    assert 5 < found["plain"] < found["fixed point"] < 99
    assert "Inverted: 100 steps to noise and back" in (tmp_path / "evaluation" / "report.md").read_text()
    assert list(metrics["edits"]["ways"]) == ["known pixels pasted", "RePaint, 5 rounds"]
    assert metrics["edits"]["ways"]["known pixels pasted"]["edge"] == metrics["edits"]["edge"]
    assert len(metrics["edits"]["in_turn"]) == 3
    page = (tmp_path / "evaluation" / "report.html").read_text()
    for title in (*STRIPS, "Inverted: "):
        assert title in page
    assert "Upscaled" not in page


def test_words_that_a_run_never_learned_are_reported_whatever_draws(
    system_runs: dict[str, Path], tmp_path: Path
) -> None:
    settings = {name: value for name, value in BRIEF.items() if name != "steps"}
    config = EvaluateConfig.parse(settings | {"studies": ["language"], "bootstrap_resamples": 100})
    evaluate(system_runs["direct"], config, tmp_path / "evaluation", baseline_dir=system_runs["plain"])

    rows = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["language"]["rows"]
    for who in ("model", "baseline"):
        refused = {told: row["refused"]["value"] for told, row in rows["single"][who].items()}
        assert refused["plain"] == 0 and refused["new sentences"] == refused["new words"] == refused["both"] == 1


@pytest.mark.parametrize(
    ("name", "study", "told"),
    [
        ("direct", "edits", "needs a run or system that draws from noise"),
        ("plain", "upsampler", "no upsampler to study"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_is_drawn(
    system_runs: dict[str, Path], tmp_path: Path, name: str, study: str, told: str
) -> None:
    config = EvaluateConfig.parse({"prompts_per_task": 2, "studies": [study]})
    with pytest.raises(ConfigError, match=told):
        evaluate(system_runs[name], config, tmp_path / "evaluation")

    assert not (tmp_path / "evaluation").exists()
