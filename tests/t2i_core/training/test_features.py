"""A training that reads features of a frozen encoder beside its pictures, and draws with that encoder."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches import split
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.step import features
from t2i_core.errors import ConfigError, DataError, StoppedError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import MANIFEST_NAME, read_manifest
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.generator import load_generator
from t2i_core.lineage.ancestors import outdated, trace
from t2i_core.progress import Progress
from t2i_core.training import step
from t2i_core.training.checkpoint import list_checkpoints
from t2i_core.training.config import TrainConfig, train_key
from t2i_core.training.device import Compute
from t2i_core.training.step import train

CPU = Compute(device="cpu", precision="float32")


def config(features_dir: Path, **changes: object) -> TrainConfig:
    options = {"preset": "diffusion-features-smoke", "max_images": 160, "log_every": 5}
    return TrainConfig.parse(options | {"uses": [f"features={features_dir}"]} | changes)


@pytest.fixture(scope="module")
def clip_run(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = TrainConfig(preset="clip-smoke", max_images=160)
    return train(captions_dir, options, tmp_path_factory.mktemp("features") / "clip", compute=CPU).path


@pytest.fixture(scope="module")
def stored(captions_dir: Path, clip_run: Path) -> Path:
    return features(captions_dir, clip_run, FeaturesConfig(), clip_run.parent / "features").path


@pytest.fixture(scope="module")
def trained(captions_dir: Path, stored: Path) -> Path:
    return train(captions_dir, config(stored), stored.parent / "run", compute=CPU).path


def assert_same_weights(one: Path, other: Path) -> None:
    for name in ("model", "ema", "optimizer"):
        left, right = (load_file(list_checkpoints(run)[-1] / f"{name}.safetensors") for run in (one, other))
        assert left.keys() == right.keys()
        assert all(left[key].equal(right[key]) for key in left), name


def test_key_manifest_and_lineage_name_features_and_their_encoder(
    captions_dir: Path, clip_run: Path, stored: Path, trained: Path
) -> None:
    manifest = read_manifest(trained, "run")

    assert manifest.key.inputs["features"] == read_manifest(stored).digest
    assert manifest.key.inputs["encoder"] == read_manifest(clip_run).digest
    chain = trace(trained)
    folders = [captions_dir, captions_dir.parent / "dataset", stored, clip_run, trained]
    assert {ancestor.folder.resolve() for ancestor in chain} == {folder.resolve() for folder in folders}
    assert outdated(chain) == []
    assert train(captions_dir, config(stored), trained, compute=CPU).hit
    weights = load_file(list_checkpoints(trained)[-1] / "model.safetensors")
    assert weights["network.text.project.weight"].shape == (32, 32)
    assert not any("text.tokens" in name for name in weights)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(step, "PROGRESS_SECONDS", 0.0)
    yield


def test_a_stopped_run_goes_on_to_the_same_bits_from_memory_or_streamed(
    captions_dir: Path,
    stored: Path,
    trained: Path,
    tmp_path: Path,
    every_step: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(progress: Progress) -> None:
        if progress.fields["step"] == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="step 4"):
        train(captions_dir, config(stored), tmp_path / "run", compute=CPU, on_progress=stop)
    monkeypatch.setattr(split, "MAX_MEMORY_SHARE", 0.0)
    train(captions_dir, config(stored, workers=2), tmp_path / "run", compute=CPU)

    assert_same_weights(trained, tmp_path / "run")


def test_its_score_is_followed_back_to_the_features_and_the_encoder(trained: Path, tmp_path: Path) -> None:
    brief = {"prompts_per_task": 2, "images_per_prompt": 1, "num_real": 10, "num_train": 10, "steps": 1}
    evaluate(trained, EvaluateConfig.parse(brief), tmp_path / "evaluation")

    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert "features/manifest.json" in page and "clip/config.json" in page


def test_it_draws_any_words_and_each_caption_as_it_was_trained_on(trained: Path) -> None:
    generator = load_generator(trained, CPU)
    prompts = ["a red circle on a gray background", "an entirely unknown zebra", "a red circle on a gray background"]

    drawn = generator.generate(prompts, [1, 1, 1], DrawConfig(guidance_scale=3, negative_prompt="a blue square"))

    assert generator.prompt_words_unknown(prompts[1]) == []
    assert drawn.shape == (3, 32, 32, 3)
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])


def test_it_trains_and_draws_in_bfloat16_too(captions_dir: Path, stored: Path, tmp_path: Path) -> None:
    compute = Compute(device="cpu", precision="bfloat16")

    train(captions_dir, config(stored, max_images=32), tmp_path / "run", compute=compute)

    drawn = load_generator(tmp_path / "run", compute).generate(["a zebra"], [1], DrawConfig())
    assert drawn.shape == (1, 32, 32, 3)


def test_an_encoder_that_is_gone_or_changed_is_named(trained: Path, stored: Path, clip_run: Path) -> None:
    moved, config_file = clip_run.parent / "moved", clip_run / "open_clip" / "open_clip_config.json"
    clip_run.rename(moved)
    try:
        with pytest.raises(ConfigError, match=r"encoder of its captions is gone \(looked in .*/clip\); put it back"):
            load_generator(trained, CPU)
    finally:
        moved.rename(clip_run)
    before = config_file.read_text()
    config_file.write_text(before + " ")
    try:
        with pytest.raises(ConfigError, match=r"open_clip_config\.json has changed since"):
            load_generator(trained, CPU)
    finally:
        config_file.write_text(before)
    # The features themselves are needed no more.
    stored.rename(moved)
    try:
        assert load_generator(trained, CPU).image_size == 32
    finally:
        moved.rename(stored)


def copied(stored: Path, target: Path, **key: object) -> Path:
    """Copy a features folder, with another encoder's place and another key."""
    shutil.copytree(stored, target)
    manifest = json.loads((target / MANIFEST_NAME).read_text())
    manifest["sources"] = {name: str((stored / place).resolve()) for name, place in manifest["sources"].items()}
    manifest["key"] |= key
    (target / MANIFEST_NAME).write_text(json.dumps(manifest))
    return target


def test_stale_features_are_refused(captions_dir: Path, stored: Path, clip_run: Path, tmp_path: Path) -> None:
    caption(captions_dir.parent / "dataset", CaptionConfig(max_words=9), tmp_path / "captions")
    inputs = read_manifest(stored).key.inputs
    other_version = copied(stored, tmp_path / "version", version=0)
    other_encoder = copied(stored, tmp_path / "encoder", inputs=inputs | {"encoder": "0" * 64})
    for captions, folder, words in (
        (tmp_path / "captions", stored, "features of other captions"),
        (captions_dir, other_version, "version 0 of the features step"),
        (captions_dir, other_encoder, r"clip has changed since .* Run the features step again"),
        (captions_dir, clip_run, "holds a run, not a features"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(captions, config(folder), tmp_path / "run", compute=CPU)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    lacks = copied(stored, tmp_path / "lacks")
    (lacks / "00000.safetensors").unlink()
    with pytest.raises(DataError, match=r"00000\.safetensors is missing"):
        train(captions_dir, config(lacks), tmp_path / "run", compute=CPU)


def test_features_and_recipe_must_fit(captions_dir: Path, stored: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands on a folder of features: name a finished one with --uses features="):
        train_key(captions_dir, config(stored, uses=[]))
    with pytest.raises(ConfigError, match="stands on no features"):
        train_key(captions_dir, config(stored, preset="diffusion-smoke"))
    with pytest.raises(ConfigError, match="cannot be the start"):
        own = TrainConfig(preset="diffusion-smoke", max_images=32, init_from=str(trained))
        train(captions_dir, own, tmp_path / "own", compute=CPU)
    pooled = features(captions_dir, stored.parent / "clip", FeaturesConfig(pooling="mean"), tmp_path / "pooled")
    with pytest.raises(ConfigError, match="it learned other features"):
        train(captions_dir, config(pooled.path, init_from=str(trained)), tmp_path / "other", compute=CPU)
    train(captions_dir, config(stored, init_from=str(trained), max_images=32), tmp_path / "same", compute=CPU)
