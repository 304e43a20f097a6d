"""Data without specifications: recall of training pictures in place of a table of tasks, and a CLIP to be stopped."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import StepKey, write_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

CONFIG = EvaluateConfig(prompts_per_task=12, images_per_prompt=2, num_train=200, bootstrap_resamples=200, num_real=30)
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


class Memory:
    """Draws every picture from memory, but every second time that of the next number."""

    drawn_with = "memory"
    image_size = 32

    def __init__(self, pictures):
        self.pictures = pictures

    def generate(self, prompts, seeds, config):
        numbers = [(int(prompt.split()[-1]) + i % 2) % len(self.pictures) for i, prompt in enumerate(prompts)]
        return np.stack([self.pictures[f"thing number {number}"] for number in numbers])

    def prompt_words_unknown(self, prompt):
        return ["zebra"] if prompt.endswith("7") else []


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    (root / "pictures").mkdir()
    rng = np.random.default_rng(0)
    pictures = {}
    for i in range(120):
        pixels = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), 4, axis=0), 4, axis=1)
        Image.fromarray(pixels).save(root / "pictures" / f"{i:03d}.png")
        (root / "pictures" / f"{i:03d}.txt").write_text(f"thing number {i}")
        pictures[f"thing number {i}"] = pixels
    ingest(str(root / "pictures"), IngestConfig(image_size=32, encode_format="png"), root / "dataset")
    ref = caption(root / "dataset", CaptionConfig(test_share=0.3), root / "captions")
    (root / "run").mkdir()
    key = StepKey(step="train", version=1, config={}, inputs={"captions": ref.digest})
    write_manifest(root / "run", kind="run", key=key, sources={"captions": "../captions"}, counts={}, files=[])
    clip = root / "clip" / "open_clip"
    clip.mkdir(parents=True)
    (clip / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**CLIP).state_dict(), clip / "open_clip_model.safetensors")
    return root, Memory(pictures)


@pytest.fixture(scope="module")
def evaluated(world):
    root, memory = world
    config = CONFIG.with_changes(clip=str(root / "clip" / "open_clip"))
    evaluate(root / "run", config, root / "evaluation", open_run=lambda run: memory)
    return root / "evaluation", json.loads((root / "evaluation" / "metrics.json").read_text())


def test_what_is_measured_is_recall_and_is_called_so(evaluated):
    folder, metrics = evaluated
    assert metrics["benchmark"]["kind"] == "captions" and metrics["composition"] is None
    # Half are right; a wrong one may be no training picture, and then lie nearest to the right one by chance.
    assert 0.5 <= metrics["copies"]["recall_at_1"]["value"] <= 0.6
    assert "recall of training data, not generalisation" in (folder / "report.html").read_text()


def test_a_run_is_judged_at_the_side_that_it_draws_in(world, evaluated):
    root, memory = world
    small = Memory({caption: pixels[::2, ::2] for caption, pixels in memory.pictures.items()})
    small.image_size = 16
    evaluate(root / "run", CONFIG, root / "small", open_run=lambda run: small)

    metrics = json.loads((root / "small" / "metrics.json").read_text())
    assert metrics["copies"]["recall_at_1"] == evaluated[1]["copies"]["recall_at_1"]


def test_a_clip_that_learned_nothing_is_withheld_with_the_reason(evaluated):
    folder, metrics = evaluated
    assert metrics["clip"]["withheld"] and metrics["clip"]["summary"] == {}
    assert "is needed" in metrics["clip"]["gate"]["reason"]
    html, short = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "score withheld" in html and "R-precision (chance" not in html
    assert "CLIP gate failed" in short and "Mean cosine" not in short
    assert any("withheld" in note for note in metrics["not_scored"])
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 24 and all("cosine" in json.loads(line) for line in lines)


def test_prompts_with_words_never_learned_are_listed(evaluated):
    assert any("never learned" in note for note in evaluated[1]["not_scored"])


def test_an_unknown_clip_ends_before_anything_is_touched(world, evaluated):
    root, memory = world
    before = sorted(path.name for path in (root / "evaluation").iterdir())
    config = CONFIG.with_changes(clip="ViT-Z/none")
    with pytest.raises(ConfigError, match="no model"):
        evaluate(root / "run", config, root / "evaluation", on_conflict="replace", open_run=lambda run: memory)
    assert sorted(path.name for path in (root / "evaluation").iterdir()) == before
    assert not (root / "evaluation.previous").exists()
