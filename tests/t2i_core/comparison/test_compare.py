"""Evaluations side by side: known answers, what cannot be compared, and the same bytes each time."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.comparison.config import CompareConfig
from t2i_core.comparison.grid import GAP, LEFT, SIDE
from t2i_core.comparison.step import compare
from t2i_core.errors import ConfigError, DataError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.metrics.benchmark import DISTINCT_WORDINGS
from t2i_core.evaluation.metrics.evidence import Pictures
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import StepKey, StepRef, describe_file, read_manifest, write_manifest
from t2i_core.generation.config import DrawConfig
from t2i_core.lineage.ancestors import trace, training_samples
from t2i_core.lineage.holders import find_url
from t2i_core.samples.scenes import Scene, caption_scene, make_scene, render_scene
from tasks import compare as task

CONFIG = EvaluateConfig.parse(
    {"prompts_per_task": 3, "images_per_prompt": 2, "num_train": 40, "bootstrap_resamples": 100, "studies": ["seen"]}
)
NAMES = ("right", "blind")
FILES = ("grid.png", "metrics.json", "report.html", "report.md")
SCENES = [make_scene(0, i) for i in range(120)]


class Drawer:
    """Draws what the prompt says, or always the same."""

    drawn_with = "pencil, float32"
    image_size = 32

    def __init__(self, reads: bool) -> None:
        self.scenes = {caption_scene(scene, wording): scene for scene in SCENES for wording in DISTINCT_WORDINGS}
        self.reads = reads

    def scene(self, prompt: str) -> Scene:
        return self.scenes[prompt] if self.reads else SCENES[0]

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig) -> Pictures:
        return np.stack([np.asarray(render_scene(self.scene(prompt), 32)) for prompt in prompts])

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        return []


def finish(folder: Path, kind: Any, made_from: dict[str, Path], counts: dict[str, int]) -> Path:
    """Make a finished run or system that says what it was made from, and how large it is."""
    folder.mkdir(parents=True)
    files = []
    if kind == "run":
        (folder / "config.json").write_text(json.dumps({"preset": folder.name}))
        files = [describe_file(folder, folder / "config.json")]
    inputs = {name: read_manifest(source).digest for name, source in made_from.items()}
    key = StepKey(step="train" if kind == "run" else "compose", version=1, config={"name": folder.name}, inputs=inputs)
    sources = {name: str(source) for name, source in made_from.items()}
    write_manifest(folder, kind=kind, key=key, sources=sources, counts=counts, files=files)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, scenes_dir: Path) -> Path:
    """A run that reads and a system that does not, each evaluated."""
    root = tmp_path_factory.mktemp("work")

    def run(name: str, images: int, parameters: int, **made_from: Path) -> Path:
        counts = {"images": images, "parameters": parameters}
        return finish(root / "runs" / name, "run", {"captions": scenes_dir} | made_from, counts)

    eye = run("eye", 40, 9)
    roles = {
        "base": run("base", 30, 7, init=run("start", 60, 7), clip=eye),
        "upsampler": run("upsampler", 10, 5),
        "prior": run("prior", 200, 3, clip=eye),
        "inpaint": run("inpaint", 999, 999),
    }
    judged = {"right": run("plain", 5000, 11), "blind": finish(root / "system", "system", roles, {})}
    for name, folder in judged.items():
        evaluate(folder, CONFIG, root / "evaluations" / name, open_run=lambda _, reads=name == "right": Drawer(reads))  # type: ignore[misc]
    return root


def evaluations(work: Path) -> tuple[str, ...]:
    return tuple(str(work / "evaluations" / name) for name in NAMES)


@pytest.fixture(scope="module")
def compared(work: Path) -> StepRef:
    return compare(evaluations(work), CompareConfig(), work / "comparison")


@pytest.fixture
def metrics(compared: StepRef) -> dict[str, Any]:
    found = json.loads((compared.path / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


def cells(metrics: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """Give the cells of a table by row and column."""
    (table,) = metrics["sections"][section]["tables"]
    titles = [column["brief"] for column in table["columns"]]
    return {row["name"]: dict(zip(titles, row["cells"], strict=True)) for row in table["rows"]}


def test_a_row_is_what_the_evaluation_of_the_system_found(work: Path, metrics: dict[str, Any]) -> None:
    by_task, seen = cells(metrics, "accuracy"), cells(metrics, "seen")
    assert list(by_task) == [*NAMES, "Real pictures (ceiling)"] and list(seen) == list(NAMES)
    for name in NAMES:
        found = json.loads((work / "evaluations" / name / "metrics.json").read_text())
        model, held = found["composition"]["rows"]["model"], found["seen"]["rows"]["model"]
        assert by_task[name] == model["strict"] | {"all": model["overall"]}
        gap = found["seen"]["held_out_minus_seen"]["model"]["overall"]
        assert seen[name] == held["strict"] | {"all": held["overall"], "held out − seen": gap}
        distance = found["copies"]["median_generated"]
        assert cells(metrics, "figures")[name]["distance to training"] == f"{distance:.1f}"
        assert cells(metrics, "figures")[name]["CLIP score"] is None
        assert not any(title.startswith("strict") for title in cells(metrics, "figures")[name])
    assert by_task["right"]["all"]["value"] > 0.9 > 0.2 > by_task["blind"]["all"]["value"]
    assert by_task["Real pictures (ceiling)"] == by_task["right"]


def test_what_draws_is_counted_with_what_it_started_from_and_what_guides_apart(metrics: dict[str, Any]) -> None:
    effort = {name: system["effort"] for name, system in metrics["systems"].items()}
    assert effort["right"] == {"parameters": 11, "images": 5000, "beside_parameters": 0, "beside_images": 0}
    # base and upsampler, with the base's start; the prior and the eye, which both read by, apart.
    assert effort["blind"] == {"parameters": 12, "images": 100, "beside_parameters": 12, "beside_images": 240}
    assert cells(metrics, "effort")["right"] == {
        "parameters": "11", "image-steps": "5,000", "apart: parameters": "0", "apart: image-steps": "0"
    }  # fmt: skip


def test_the_grid_shows_the_same_prompt_all_the_way_down(work: Path, compared: StepRef) -> None:
    grid = Image.open(compared.path / "grid.png")
    rows = [json.loads(line) for line in (work / "evaluations/right/samples.jsonl").read_text().splitlines()]
    first = {row["prompt_id"]: row for row in reversed(rows)}
    asked = [first[f"{task}-{i:03d}"] for task in ("single", "pair", "position", "counting") for i in range(2)]
    assert grid.width == LEFT + 8 * (SIDE + GAP)
    drawer = Drawer(reads=True)
    real = [render_scene(drawer.scene(row["prompt"]), 32) for row in asked]
    shown = [Image.open(work / "evaluations" / name / row["file"]) for name in NAMES for row in asked]
    for number, picture in enumerate([*real, *shown]):
        row, column = divmod(number, len(asked))
        left, top = LEFT + column * (SIDE + GAP), grid.height - (len(NAMES) + 1 - row) * (SIDE + GAP)
        cut = grid.crop((left, top, left + SIDE, top + SIDE))
        assert cut.tobytes() == picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST).tobytes()


def test_the_times_stand_in_the_reports_and_are_no_part_of_the_figures(compared: StepRef) -> None:
    text, page = ((compared.path / name).read_text() for name in ("report.md", "report.html"))
    assert "Seconds a picture" in text and "no part of what identifies it" in text and "Seconds a picture" in page
    assert "econds" not in (compared.path / "metrics.json").read_text()
    content = {file.path for file in read_manifest(compared.path, "comparison").files if file.content}
    assert content == {"grid.png", "metrics.json"}
    assert "| right | " in text and "data:image/png;base64," in page and "../evaluations/blind/report.html" in page
    assert task.report(compared).count("data:image/jpeg;base64,") == 1


def test_the_same_evaluations_give_the_same_bytes_and_are_a_hit(work: Path, compared: StepRef) -> None:
    again = compare(evaluations(work), CompareConfig(), work / "again")
    assert again.digest == compared.digest and not again.hit
    for name in FILES:
        assert (work / "again" / name).read_bytes() == (compared.path / name).read_bytes(), name
    assert compare(evaluations(work), CompareConfig(), compared.path).hit
    with pytest.raises(ConfigError, match="rows was"):
        compare(evaluations(work)[::-1], CompareConfig(), compared.path)


def test_a_comparison_leads_back_to_the_sources_and_is_found_from_them(
    work: Path, compared: StepRef, tmp_path: Path
) -> None:
    kinds = {ancestor.manifest.kind for ancestor in trace(compared.path)}
    assert kinds == {"comparison", "evaluation", "run", "system", "captions", "dataset"}
    chain = trace(compared.path)
    (captions,) = (ancestor.folder for ancestor in chain if ancestor.manifest.kind == "captions")
    for folder in (captions.parent, work):
        shutil.copytree(folder, tmp_path / folder.name)
    holders = find_url(tmp_path, next(training_samples(chain)).url)
    assert tmp_path / work.name / "comparison" in [holder.folder for holder in holders]


def altered(work: Path, folder: Path, edit: Callable[[dict[str, Any]], object], name: str = "metrics.json") -> str:
    """Copy an evaluation and change what one of its files says."""
    shutil.copytree(work / "evaluations" / "blind", folder)
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()] if name != "metrics.json" else []
    data = lines or [json.loads((folder / name).read_text())]
    edit(data[0])
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in data))
    old = read_manifest(work / "evaluations" / "blind")
    files = [describe_file(folder, folder / file.path, content=file.content) for file in old.files]
    write_manifest(folder, kind="evaluation", key=old.key, sources=old.sources, counts=old.counts, files=files)
    return str(folder)


SCORER = {"identity": {"weights_sha256": "0123456789abcdef" * 4}}
ODD: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "prompt": ("samples.jsonl", lambda row: row.update(prompt="a cat"), "their prompts differ: “.*” and “a cat”"),
    "seed": ("samples.jsonl", lambda row: row.update(seed=7), r"their seeds differ: \d+ for single-000 and 7"),
    "scorer": ("metrics.json", lambda found: found.update(clip=SCORER), "differ: no CLIP and CLIP 0123456789abcdef"),
}


@pytest.mark.parametrize("odd", ODD)
def test_evaluations_that_were_not_made_alike_are_refused(work: Path, tmp_path: Path, odd: str) -> None:
    name, edit, told = ODD[odd]
    other = altered(work, tmp_path / "other", edit, name)
    with pytest.raises(ConfigError, match=told):
        compare((evaluations(work)[0], other), CompareConfig(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_settings_are_named(work: Path, tmp_path: Path) -> None:
    evaluate(
        work / "runs/plain", CONFIG.with_changes(prompts_per_task=2), tmp_path / "few", open_run=lambda _: Drawer(True)
    )
    with pytest.raises(ConfigError, match="settings differ: prompts_per_task 3 and prompts_per_task 2"):
        compare((evaluations(work)[0], str(tmp_path / "few")), CompareConfig(), tmp_path / "out")


def test_what_is_unfinished_damaged_or_alone_is_refused(work: Path, tmp_path: Path) -> None:
    def refused(other: str, told: str, error: type[Exception] = ConfigError) -> None:
        with pytest.raises(error, match=told):
            compare((evaluations(work)[0], other), CompareConfig(), tmp_path / "out")

    shutil.copytree(work / "evaluations/blind", tmp_path / "cut")
    (tmp_path / "cut/images/00000.png").unlink()
    refused(str(tmp_path / "cut"), "no longer whole: images/00000.png")
    (tmp_path / "cut/manifest.json").unlink()
    refused(str(tmp_path / "cut"), "not a finished evaluation")
    refused(str(work / "runs/plain"), "holds a run, not a evaluation")
    refused(evaluations(work)[0], "two evaluations are called right")
    refused(altered(work, tmp_path / "torn", lambda found: found.update(lineage=[1])), "are damaged", DataError)
    with pytest.raises(ConfigError, match="two evaluations or more"):
        compare(evaluations(work)[:1], CompareConfig(), tmp_path / "out")


def test_without_the_dataset_there_are_no_real_pictures(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "evaluations", tmp_path / "evaluations")
    with pytest.raises(ConfigError, match="--no-real"):
        compare(evaluations(tmp_path), CompareConfig(), tmp_path / "out")
    ref = compare(evaluations(tmp_path), CompareConfig(real=False, prompts_per_task=1), tmp_path / "out")
    with Image.open(ref.path / "grid.png") as grid:
        assert grid.width == LEFT + 4 * (SIDE + GAP) and grid.height < 3 * (SIDE + GAP)


def test_runs_of_different_captions_are_asked_the_same_of_one_of_them(
    work: Path, scenes_dir: Path, tmp_path: Path
) -> None:
    """The other run learned from fewer combinations; it is asked what the first one is, which it never saw either."""
    rules = CaptionConfig(test_share=0.5)
    caption(scenes_dir.parent / "dataset", rules, tmp_path / "captions")
    other = finish(tmp_path / "run", "run", {"captions": tmp_path / "captions"}, {"images": 1, "parameters": 1})

    def judged(run: Path, name: str) -> StepRef:
        return evaluate(run, CONFIG, tmp_path / name, captions_dir=scenes_dir, open_run=lambda _: Drawer(name != "own"))

    own, asked = judged(work / "runs/plain", "own"), judged(other, "asked")

    assert "captions" not in read_manifest(own.path).key.inputs
    assert read_manifest(asked.path).key.inputs["captions"] == read_manifest(scenes_dir).digest
    prompts = [json.loads(line)["prompt"] for line in (asked.path / "samples.jsonl").read_text().splitlines()]
    assert prompts == [json.loads(line)["prompt"] for line in (own.path / "samples.jsonl").read_text().splitlines()]
    page = (asked.path / "report.html").read_text()
    assert "--captions-dir" in page and "own training" not in page
    assert compare((str(own.path), str(asked.path)), CompareConfig(), tmp_path / "comparison").counts["systems"] == 2


def test_an_evaluation_says_when_the_run_was_trained_on_what_it_is_asked(
    work: Path, scenes_dir: Path, tmp_path: Path
) -> None:
    plain, asked = work / "runs/plain", tmp_path / "captions"
    caption(scenes_dir.parent / "dataset", CaptionConfig(test_share=0.5), asked)
    ref = evaluate(plain, CONFIG, tmp_path / "out", captions_dir=asked, open_run=lambda _: Drawer(True))
    notes = json.loads((ref.path / "metrics.json").read_text())["not_scored"]
    assert any("combinations that are asked for were in the run's own training" in note for note in notes)
