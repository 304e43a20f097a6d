"""A run stands on a finished one: a CNN that is also judged by a CLIP while it is trained."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.generation.generator import load_generator
from t2i_core.lineage.ancestors import trace
from t2i_core.training.checkpoint import list_checkpoints
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train

CPU = Compute(device="cpu", precision="float32")


def config(preset: str = "cnn-smoke", **changes: object) -> TrainConfig:
    return TrainConfig.parse({"preset": preset, "max_images": 160, "log_every": 5} | changes)


def judged_by(run: Path, **changes: object) -> TrainConfig:
    return config(set=["system.clip_weight=0.5"], uses=[f"clip={run}"], **changes)


@pytest.fixture(scope="module")
def clip_run(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(captions_dir, config("clip-smoke"), tmp_path_factory.mktemp("uses") / "clip", compute=CPU).path


@pytest.fixture(scope="module")
def judged(captions_dir: Path, clip_run: Path) -> Path:
    return train(captions_dir, judged_by(clip_run), clip_run.parent / "judged", compute=CPU).path


def test_key_manifest_and_lineage_tell_of_the_run_below(captions_dir: Path, clip_run: Path, judged: Path) -> None:
    manifest = read_manifest(judged, "run")

    assert manifest.key.inputs["clip"] == read_manifest(clip_run).digest
    assert [a.folder.resolve() for a in trace(judged) if a.manifest.kind == "run"] == [judged, clip_run.resolve()]
    assert train(captions_dir, judged_by(clip_run), judged, compute=CPU).hit


def test_what_it_stands_on_is_neither_trained_nor_saved_and_changes_what_is_learned(
    captions_dir: Path, clip_run: Path, judged: Path
) -> None:
    alone = train(captions_dir, config(), clip_run.parent / "alone", compute=CPU).path

    for name in ("model", "ema", "optimizer"):
        mine, others = (load_file(list_checkpoints(run)[-1] / f"{name}.safetensors") for run in (judged, alone))
        assert mine.keys() == others.keys()
        assert name == "optimizer" or any(not mine[key].equal(others[key]) for key in mine)
    assert "train/clip_distance" in (judged / "metrics.jsonl").read_text()
    assert "train/clip_distance" not in (alone / "metrics.jsonl").read_text()
    assert read_manifest(judged).counts["parameters"] == read_manifest(alone).counts["parameters"]


def test_it_draws_where_the_run_below_is_gone(judged: Path, tmp_path: Path) -> None:
    shutil.copytree(judged, tmp_path / "alone")

    assert load_generator(tmp_path / "alone", CPU).image_size == 32


def test_runs_that_do_not_fit_are_refused(captions_dir: Path, clip_run: Path, judged: Path, tmp_path: Path) -> None:
    for wrong, words in (
        (judged_by(judged), "run of another kind"),
        (config(set=["system.clip_weight=0.5"]), "name a finished one with --uses clip=RUN"),
        (config(uses=[f"clip={clip_run}"]), "stands on no clip run"),
        (judged_by(captions_dir), "holds a captions, not a run"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(captions_dir, wrong, tmp_path / "run", compute=CPU)
    with pytest.raises(ConfigError, match="uses"):
        config(uses=["clip"])
