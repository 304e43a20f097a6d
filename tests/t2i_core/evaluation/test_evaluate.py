"""The whole step on a real dataset, with stand-in systems whose answers are known: an oracle and one that is wrong."""

import base64
import importlib
import io
import itertools
import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console

from flows.commands.evaluate import app
from flows.shell.options import build_config
from flows.shell.summary import score_tables
from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.errors import ConfigError
from t2i_core.evaluation import measure, metrics
from t2i_core.evaluation.circumstances import Circumstances
from t2i_core.evaluation.config import EvaluateConfig, evaluate_key
from t2i_core.evaluation.metrics.benchmark import DISTINCT_WORDINGS
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import StepKey, describe_file, read_manifest, sha256_of, write_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.machine import code_commit, describe_machine
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene
from tasks import evaluate as task

NUM_SCENES = 260
CONFIG = EvaluateConfig(prompts_per_task=5, images_per_prompt=2, num_train=50, bootstrap_resamples=200)
COUNTS = {"images": 4900, "steps": 77, "seconds": 61, "parameters": 123456}
CHANNEL = "<script>alert(1)</script>"


class Oracle:
    """Draws exactly what the prompt says; the seed shows as a faint tint."""

    drawn_with = "pencil, float32"
    image_size = 64

    def __init__(self, scenes):
        self.scenes = scenes

    def scene(self, prompt):
        return self.scenes[prompt]

    def generate(self, prompts, seeds, config):
        pictures = [
            np.asarray(render_scene(self.scene(p))).astype(int) + s % 3 for p, s in zip(prompts, seeds, strict=True)
        ]
        return np.stack([np.clip(picture, 0, 255).astype(np.uint8) for picture in pictures])

    def prompt_words_unknown(self, prompt):
        return []


class Contrary(Oracle):
    """Draws every relation the wrong way round."""

    def scene(self, prompt):
        scene = self.scenes[prompt]
        if not scene.relation:
            return scene
        first, second = scene.objects
        there = {"x": second.x, "y": second.y}, {"x": first.x, "y": first.y}
        moved = [o.with_changes(**place).model_dump() for o, place in zip(scene.objects, there, strict=True)]
        return scene.with_changes(objects=moved)


class Rote(Oracle):
    """Draws what training held, and of anything else always the same."""

    def __init__(self, scenes, groups):
        super().__init__(scenes)
        self.groups = groups

    def scene(self, prompt):
        scene = self.scenes[prompt]
        return scene if scene.combination in self.groups else next(iter(self.scenes.values()))


def finish_run(folder, captions_ref):
    """Make a finished run folder with a log and a sample grid."""
    (folder / "samples").mkdir(parents=True)
    recipe = {"system": {"sampler": "dpmpp_2m", "num_steps": 24}, "optim": {"learning_rate": 0.003}, "batch_size": 64}
    config = {"preset": CHANNEL, "system": "diffusion", "recipe": recipe, "train": {"seed": 7}}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [{"images": i * 100, "train/loss": 1 / i, "train/loss_band_0": 0.5 / i} for i in range(1, 50)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"cut short')
    Image.new("RGB", (128, 64), "red").save(folder / "samples" / "images_00000100.png")
    key = StepKey(step="train", version=1, config={"name": folder.name}, inputs={"captions": captions_ref.digest})
    files = [describe_file(folder, folder / "config.json")]
    return write_manifest(folder, kind="run", key=key, sources={"captions": "../captions"}, counts=COUNTS, files=files)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset of scenes with its captions, and two finished runs on it."""
    root = tmp_path_factory.mktemp("world")
    pictures = root / "pictures"
    pictures.mkdir()
    scenes = [make_scene(0, i) for i in range(NUM_SCENES)]
    for i, scene in enumerate(scenes):
        render_scene(scene).save(pictures / f"{i:05d}.png")
        side = {"caption": caption_scene(scene), "scene": scene.model_dump(mode="json"), "group": scene.combination}
        (pictures / f"{i:05d}.json").write_text(json.dumps(side))
    ingest(str(pictures), IngestConfig(image_size=64, encode_format="png"), root / "dataset")
    captions_ref = caption(root / "dataset", CaptionConfig(test_share=0.3), root / "captions")
    for name in ("model", "baseline"):
        finish_run(root / name, captions_ref)
    return root, {caption_scene(scene, wording): scene for scene in scenes for wording in DISTINCT_WORDINGS}


@pytest.fixture(scope="module")
def evaluated(world, tmp_path_factory):
    root, scenes = world
    makers = {"model": Oracle(scenes), "baseline": Contrary(scenes)}
    output_dir = tmp_path_factory.mktemp("out") / "evaluation"
    ref = evaluate(
        root / "model", CONFIG, output_dir, baseline_dir=root / "baseline", open_run=lambda run: makers[run.name]
    )
    return ref, output_dir, json.loads((output_dir / "metrics.json").read_text())


def test_the_oracle_scores_one_and_the_contrary_fails_position_alone(evaluated):
    _, _, metrics = evaluated
    rows = metrics["composition"]["rows"]
    assert {task: e["value"] for task, e in rows["model"]["strict"].items()} == {
        "single": 1, "pair": 1, "position": 1, "counting": 1
    }  # fmt: skip
    assert rows["baseline"]["strict"]["position"]["value"] == 0
    assert rows["baseline"]["atoms"]["position"]["relation"]["value"] == 0
    assert rows["baseline"]["atoms"]["position"]["binding"]["value"] == 1
    assert rows["baseline"]["strict"]["single"]["value"] == 1
    assert metrics["composition"]["model_minus_baseline"]["position"]["value"] == 1
    assert metrics["composition"]["checker"]["passed"]


def test_floor_and_ceiling_stand_in_the_same_table(evaluated):
    rows = evaluated[2]["composition"]["rows"]
    assert all(e["value"] == 1 for e in rows["real"]["strict"].values())
    assert rows["shuffled"]["overall"]["value"] < 0.05


def test_every_prompt_is_a_combination_that_training_never_saw(evaluated, world):
    root, scenes = world
    from t2i_core.evaluation.measure import train_groups

    seen = train_groups(root / "captions")
    asked = [json.loads(line)["prompt"] for line in (evaluated[1] / "samples.jsonl").read_text().splitlines()]
    assert seen and asked
    assert not {scenes[prompt].combination for prompt in asked} & seen


def test_every_picture_has_one_record_and_carries_its_origin(evaluated):
    ref, folder, metrics = evaluated
    records = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    num_prompts = sum(metrics["benchmark"]["num_prompts"].values())
    assert len(records) == len(list((folder / "images").iterdir())) == 2 * 2 * num_prompts
    assert ref.counts == {"prompts": num_prompts, "images": 2 * num_prompts, "strict_passes": 2 * num_prompts}
    for record in records:
        assert sha256_of(folder / record["file"]) == record["sha256"]
        with Image.open(folder / record["file"]) as picture:
            origin = json.loads(picture.text["t2i"])
        assert (origin["prompt"], origin["seed"], origin["run"]) == (record["prompt"], record["seed"], record["run"])
    assert len({record["run"] for record in records}) == 2


def test_who_learned_by_heart_is_right_on_seen_combinations_alone(world, tmp_path):
    root, scenes = world
    makers = {"model": Rote(scenes, measure.train_groups(root / "captions")), "baseline": Oracle(scenes)}
    config = CONFIG.with_changes(studies=["seen"])
    evaluate(
        root / "model", config, tmp_path / "out", baseline_dir=root / "baseline", open_run=lambda run: makers[run.name]
    )
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    seen = found["seen"]
    tasks = ["single", "pair", "position", "counting"]
    assert {task: e["value"] for task, e in seen["rows"]["model"]["strict"].items()} == dict.fromkeys(tasks, 1)
    assert {task: e["value"] for task, e in seen["held_out_minus_seen"]["baseline"].items()} == dict.fromkeys(
        [*tasks, "overall"], 0
    )
    gap, held_out = seen["held_out_minus_seen"]["model"], found["composition"]["rows"]["model"]
    assert gap["overall"]["value"] == pytest.approx(held_out["overall"]["value"] - 1) and gap["overall"]["high"] < -0.5
    assert "Strict accuracy of the model, held out and seen" in (tmp_path / "out" / "report.md").read_text()


def test_the_score_can_be_followed_back_to_the_data(evaluated, world):
    lineage = evaluated[2]["lineage"]
    assert [a["kind"] for a in lineage] == ["run", "captions", "dataset"]
    assert lineage[0]["inputs"]["captions"] == lineage[1]["digest"]
    assert lineage[1]["inputs"]["dataset"] == lineage[2]["digest"]
    assert lineage[2]["counts"]["kept"] == NUM_SCENES
    assert read_manifest(evaluated[1], "evaluation").key.inputs["run"] == lineage[0]["digest"]


class Page(HTMLParser):
    """Lists the tags of a page, what it loads, what it points to, its ids, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.loaded, self.links, self.ids, self.text = [], [], [], set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name == "src"]
        self.links += [value for name, value in attrs if name == "href"]
        self.ids |= {value for name, value in attrs if name == "id"}

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(evaluated):
    return Page((evaluated[1] / "report.html").read_text())


def test_the_page_stands_alone_and_runs_nothing(evaluated, page):
    html = (evaluated[1] / "report.html").read_text()
    assert "script" not in page.tags and CHANNEL not in html and "&lt;script&gt;" in html
    assert "http://" not in html and "https://" not in html
    assert len(html) < 3_000_000
    for text in ("Accuracy by task", "Loss per noise band", "Not scored", "images_00000100", "Model − baseline"):
        assert text in html


def test_pictures_are_in_the_page_as_they_were_drawn(evaluated, page):
    assert page.loaded and all(uri.startswith("data:image/png;base64,") for uri in page.loaded)
    shown = {b"".join(pixels_of(base64.b64decode(uri.partition(",")[2]))) for uri in page.loaded}
    first = evaluated[1] / "images" / "00000.png"
    assert b"".join(pixels_of(first.read_bytes())) in shown


def pixels_of(body):
    with Image.open(io.BytesIO(body), formats=("PNG",)) as picture:
        yield picture.convert("RGB").tobytes()


def test_every_link_leads_somewhere(evaluated, page):
    _, folder, _ = evaluated
    inside = [link[1:] for link in page.links if link.startswith("#")]
    assert len(inside) > 5 and set(inside) <= page.ids
    files = [link for link in page.links if not link.startswith("#")]
    assert all((folder / unquote(link)).exists() for link in files)
    names = {(folder / unquote(link)).resolve().relative_to(folder.parents[1]).as_posix() for link in files}
    assert any(name.endswith("dataset/report.html") for name in names)
    assert any(name.endswith("captions/report.html") for name in names)
    assert any(name.endswith("model/metrics.jsonl") for name in names)


def test_the_page_says_when_where_and_with_what_it_was_made(evaluated, page):
    _, folder, _ = evaluated
    made = Circumstances.load(folder / "circumstances.json")
    assert abs(datetime.now(UTC) - made.finished) < timedelta(hours=1)
    assert made.code_commit == code_commit()
    assert made.machine == describe_machine()
    assert made.drawn_with == {"model": "pencil, float32", "baseline": "pencil, float32"}
    assert {"drawing by the model", "drawing by the baseline"} <= made.seconds.keys()
    said = " ".join(page.text.split())
    for text in (
        made.finished.strftime("%H:%M UTC"), made.code_commit, made.machine.cpu, "pencil, float32", "4,900",
        "123,456", "0:01:01", "dpmpp_2m",
    ):  # fmt: skip
        assert text in said, text
    assert "<dt>optim.learning rate</dt><dd>0.003</dd>" in (folder / "report.html").read_text()


def test_all_intervals_are_drawn_on_one_scale_from_0_to_1(evaluated):
    html = (evaluated[1] / "report.html").read_text()
    tracks = re.findall(r'<svg class="bar [^>]*viewBox="([^"]*)"[^>]*><rect class="track" width="(\d+)"', html)
    assert len(tracks) > 20 and set(tracks) == {("0 0 100 10", "100")}
    widths = set(re.findall(r"\.bar\{width:(\S+?);", html))
    assert widths == {"110px"}


def test_the_page_can_be_read_without_seeing_it(evaluated):
    html = (evaluated[1] / "report.html").read_text()
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", html)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", html))
    assert all("aria-label=" in tag for tag in re.findall(r'<svg [^>]*role="img"[^>]*>', html))
    assert all("scope=" in tag for tag in re.findall(r"<th[ >][^>]*>?", html))
    # Whoever has no mouse can scroll what is too wide.
    assert all("tabindex" in tag for tag in re.findall(r'<div class="(?:card )?scroll"[^>]*>', html))


def test_a_printed_page_keeps_its_pictures_and_is_light(evaluated):
    html = (evaluated[1] / "report.html").read_text()
    assert "@media screen and (prefers-color-scheme:dark)" in html and "background-image" not in html
    printed = html.partition("@media print{")[2]
    assert "print-color-adjust:exact" in printed and "break-inside:avoid" in printed


def test_accuracy_is_broken_down_by_what_prompts_name(evaluated):
    composition = evaluated[2]["composition"]
    table = composition["breakdown"]
    assert set(table) == {"color", "shape", "size", "relation", "number", "background"}
    assert all(e["value"] == 1 for values in table.values() for e in values.values())
    assert composition["outcomes"]["single"] == {"pass": 10, "fail": 0, "unsure": 0}
    assert composition["doubts"] == {}


def test_the_command_in_the_page_makes_the_same_evaluation_again(evaluated, world, monkeypatch, tmp_path):
    root, scenes = world
    _, folder, _ = evaluated
    page = Page((folder / "report.html").read_text())
    (line,) = [line for line in page.text.splitlines() if line.startswith("t2i evaluate ")]
    arguments = typer.main.get_command(app).make_context("evaluate", shlex.split(line)[2:]).params
    given = {name: arguments.pop(name) for name in EvaluateConfig.model_fields}
    monkeypatch.chdir(folder)
    assert (Path(arguments["run_dir"]).resolve(), Path(arguments["baseline_dir"]).resolve()) == (
        (root / "model").resolve(), (root / "baseline").resolve()
    )  # fmt: skip
    again = Path(arguments["output_dir"])
    makers = {"model": Oracle(scenes), "baseline": Contrary(scenes)}
    evaluate(
        arguments["run_dir"],
        build_config(EvaluateConfig, None, given),
        again,
        baseline_dir=arguments["baseline_dir"],
        open_run=lambda run: makers[run.name],
    )
    for name in ("metrics.json", "samples.jsonl", "images/00000.png"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_the_short_report_holds_the_table(evaluated):
    lines = (evaluated[1] / "report.md").read_text().splitlines()
    (position,) = [line for line in lines if line.startswith("| Position")]
    assert position.split("|")[2].strip().startswith("1.00")
    assert any("no CLIP was given" in line for line in lines)


def test_a_second_run_is_a_hit_and_another_config_is_refused(evaluated, world):
    root, _ = world
    ref, folder, _ = evaluated

    def unused(run):
        raise AssertionError("a hit draws nothing")

    again = evaluate(root / "model", CONFIG, folder, baseline_dir=root / "baseline", open_run=unused)
    assert again.hit and again.digest == ref.digest
    with pytest.raises(ConfigError, match="prompts_per_task was 5, now 6"):
        evaluate(
            root / "model",
            CONFIG.with_changes(prompts_per_task=6),
            folder,
            baseline_dir=root / "baseline",
            open_run=lambda run: Oracle({}),
        )
    assert (folder / "report.html").is_file()


def test_a_deleted_output_is_made_again_the_same(evaluated, world):
    root, scenes = world
    ref, folder, _ = evaluated
    before = (folder / "metrics.json").read_bytes()
    (folder / "report.html").unlink()
    makers = {"model": Oracle(scenes), "baseline": Contrary(scenes)}
    again = evaluate(
        root / "model", CONFIG, folder, baseline_dir=root / "baseline", open_run=lambda run: makers[run.name]
    )
    assert not again.hit and again.digest == ref.digest
    assert (folder / "report.html").is_file() and (folder / "metrics.json").read_bytes() == before


def test_a_folder_that_is_no_run_is_refused(world, tmp_path):
    root, _ = world
    with pytest.raises(ConfigError, match="not a finished run"):
        evaluate_key(tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="holds a captions, not a run"):
        evaluate_key(root / "captions", CONFIG)
    with pytest.raises(ConfigError, match="no open_clip folder"):
        evaluate(root / "model", CONFIG, tmp_path / "out", clip_dir=root / "baseline", open_run=lambda run: Oracle({}))


def test_seeds_of_pictures_differ_and_do_not_depend_on_how_many_are_drawn(evaluated):
    records = [json.loads(line) for line in (evaluated[1] / "samples.jsonl").read_text().splitlines()]
    model = [r for r in records if r["drawn_by"] == "model"]
    baseline = [r for r in records if r["drawn_by"] == "baseline"]
    assert len({r["seed"] for r in model}) == len(model)
    assert [r["seed"] for r in model] == [r["seed"] for r in baseline]


def test_a_metric_added_as_the_docs_say_is_in_every_form_of_the_report(world, tmp_path, monkeypatch):
    root, scenes = world
    told = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text().partition("## A metric of your own")[2]
    file, line = re.findall(r"```python\n(.*?)```", told, re.DOTALL)
    (name,) = re.findall(r"This one, `(\w+)\.py`, is complete", told)
    (tmp_path / f"{name}.py").write_text(file)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    module = importlib.import_module(f"{metrics.__name__}.{name}")
    added = eval(f"{{{line}}}", {name: module})
    monkeypatch.setattr(measure, "METRICS", measure.METRICS | added)

    config = CONFIG.with_changes(prompts_per_task=1)
    ref = evaluate(root / "model", config, tmp_path / "evaluation", open_run=lambda run: Oracle(scenes))

    data = json.loads((ref.path / "metrics.json").read_text())
    shown = f"{data[name]['model']['value']:.2f}"
    assert 0 < data[name]["model"]["value"] < 255
    assert data["sections"][name]["figures"][0]["value"] == data[name]["model"]
    page = Page((ref.path / "report.html").read_text())
    assert name in page.ids and f"{shown} of 255" in page.text and page.text.count(shown) == 2
    artifact = task.report(ref)
    assert f"- **brightness: {shown} of 255**" in artifact and f"| model | {shown} [" in artifact
    console = Console(file=io.StringIO(), width=120)
    console.print(*score_tables(data))
    printed = console.file.getvalue()
    assert re.search(rf"^model +{re.escape(shown)} \[", printed, re.MULTILINE)
    assert re.search(rf"^brightness +{re.escape(shown)} of 255 ", printed, re.MULTILINE)
