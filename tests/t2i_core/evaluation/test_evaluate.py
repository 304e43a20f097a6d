"""The whole step on a real data set, with stand-in systems whose answers are known: an oracle and one that is wrong."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from t2i_core.data.caption import caption
from t2i_core.data.caption_config import CaptionConfig
from t2i_core.data.ingest import ingest
from t2i_core.data.ingest_config import IngestConfig
from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.evaluate import evaluate, evaluate_key
from t2i_core.manifest import StepKey, describe_file, read_manifest, sha256_of, write_manifest
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

NUM_SCENES = 260
CONFIG = EvaluateConfig(prompts_per_task=5, images_per_prompt=2, num_train=50, bootstrap_resamples=200)
CHANNEL = "<script>alert(1)</script>"


class Oracle:
    """Draws exactly what the prompt says; the seed shows as a faint tint."""

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


def finish_run(folder, captions_ref):
    """Make a finished run folder with a log and a sample grid."""
    (folder / "samples").mkdir(parents=True)
    config = {"preset": CHANNEL, "system": "diffusion"}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [{"images": i * 100, "train/loss": 1 / i, "train/loss_band_0": 0.5 / i} for i in range(1, 50)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"cut short')
    Image.new("RGB", (128, 64), "red").save(folder / "samples" / "images_00000100.png")
    key = StepKey(step="train", version=1, config={"name": folder.name}, inputs={"captions": captions_ref.digest})
    files = [describe_file(folder, folder / "config.json")]
    return write_manifest(
        folder, kind="run", key=key, sources={"captions": "../captions"}, counts={"images": 4900}, files=files
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data set of scenes with its captions, and two finished runs on it."""
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
    return root, {caption_scene(scene): scene for scene in scenes}


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


def test_the_score_can_be_followed_back_to_the_data(evaluated, world):
    lineage = evaluated[2]["lineage"]
    assert [a["kind"] for a in lineage] == ["run", "captions", "dataset"]
    assert lineage[0]["inputs"]["captions"] == lineage[1]["digest"]
    assert lineage[1]["inputs"]["dataset"] == lineage[2]["digest"]
    assert lineage[2]["counts"]["kept"] == NUM_SCENES
    assert read_manifest(evaluated[1], "evaluation").key.inputs["run"] == lineage[0]["digest"]


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_stands_alone_and_runs_nothing(evaluated):
    html = (evaluated[1] / "report.html").read_text()
    parser = Links()
    parser.feed(html)
    assert "script" not in parser.tags and CHANNEL not in html and "&lt;script&gt;" in html
    assert not parser.links and "http://" not in html and "https://" not in html
    assert len(html) < 3_000_000
    for text in ("Accuracy by task", "Loss per noise band", "Not scored", "images_00000100", "Model − baseline"):
        assert text in html


def test_the_short_report_holds_the_table(evaluated):
    lines = (evaluated[1] / "report.md").read_text().splitlines()
    (position,) = [line for line in lines if line.startswith("| Position")]
    assert position.split("|")[3].strip().startswith("1.00")
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
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    makers = {"model": Oracle(scenes), "baseline": Contrary(scenes)}
    again = evaluate(
        root / "model", CONFIG, folder, baseline_dir=root / "baseline", open_run=lambda run: makers[run.name]
    )
    assert not again.hit and again.digest == ref.digest
    assert (folder / "report.html").read_bytes() == before


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
