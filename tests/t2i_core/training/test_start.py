"""A finished run is the start of another: its averaged weights and nothing else, and lineage follows."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.lineage.ancestors import trace
from t2i_core.manifest import read_manifest
from t2i_core.training.checkpoint import latest_checkpoint, list_checkpoints
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import Run, train

CPU = Compute(device="cpu", precision="float32")


def config(preset: str = "cnn-smoke", **changes: object) -> TrainConfig:
    return TrainConfig.parse({"preset": preset, "max_images": 32} | changes)


@pytest.fixture(scope="module")
def first(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "first"
    train(captions_dir, config(), run_dir, compute=CPU)
    return run_dir


def test_a_run_starts_with_the_averaged_weights_of_another(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    second = config(init_from=str(first), seed=1)
    claim_run(captions_dir, second, tmp_path / "run", "refuse")

    trainer = Run(captions_dir, second, tmp_path / "run", lambda progress: None, CPU).trainer

    averaged = load_file(list_checkpoints(first)[-1] / "ema.safetensors")
    for module in (trainer.stage, trainer.ema.module):
        assert all(tensor.equal(averaged[name]) for name, tensor in module.state_dict().items())
    assert (trainer.position.step, trainer.position.images) == (0, 0)


def test_key_manifest_and_lineage_tell_of_the_start(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    ref = train(captions_dir, config(init_from=str(first)), tmp_path / "second", compute=CPU)

    manifest = read_manifest(tmp_path / "second", "run")
    assert manifest.key.inputs["init"] == read_manifest(first).digest
    assert [a.folder.resolve() for a in trace(ref.path) if a.manifest.kind == "run"] == [ref.path, first.resolve()]
    assert str(first) not in (tmp_path / "second" / "config.json").read_text()
    assert train(captions_dir, config(init_from=str(first)), tmp_path / "second", compute=CPU).hit
    with pytest.raises(ConfigError, match="input init was"):
        train(captions_dir, config(), tmp_path / "second", compute=CPU)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"set": ["system.text_width=64"]}, r"its weight .* is of shape \[.*\], here it is of shape \["),
        ({"preset": "clip-smoke"}, "here it is missing|is missing, here it is"),
        ({"init_from": "nowhere"}, "no such folder: nowhere"),
    ],
)
def test_weights_of_other_shapes_are_refused(
    captions_dir: Path, first: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(captions_dir, config().with_changes(**{"init_from": str(first)} | changes), tmp_path / "run", compute=CPU)
    assert latest_checkpoint(tmp_path / "run") is None


def test_weights_for_other_words_are_refused(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "first"
    shutil.copytree(first, run_dir)
    words = (run_dir / "tokenizer.json").read_bytes()
    (run_dir / "tokenizer.json").write_bytes(words.replace(b'"red"', b'"der"'))

    with pytest.raises(ConfigError, match="the words of other captions"):
        train(captions_dir, config(init_from=str(run_dir)), tmp_path / "run", compute=CPU)


def test_damaged_weights_are_refused(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "first"
    shutil.copytree(first, run_dir)
    weights = list_checkpoints(run_dir)[-1] / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    with pytest.raises(CheckpointError, match="does not match its sha256"):
        train(captions_dir, config(init_from=str(run_dir)), tmp_path / "run", compute=CPU)
