"""What holds of every stage that a recipe trains: exact resume across a kill, and captions dropped as often as told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.step import features
from t2i_core.training.checkpoint import list_checkpoints
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.preset import load_preset, preset_names
from t2i_core.training.step import Run
from tests.t2i_core.data.fork_server import ForkServer
from tests.t2i_core.training.test_train import assert_same_run

STAGES = [name for name in preset_names() if name.endswith("-smoke")]
NUM_SAMPLES, RATE = 1000, 0.3
# Trains; kills itself as soon as a step is done and logged, and before it is saved.
TRAIN = """
import os, signal
from pathlib import Path
from t2i_core.training import step
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute

step.PROGRESS_SECONDS = 0

def act(order):
    def stop(progress):
        if progress.fields["step"] == order["killed_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    config, compute = TrainConfig.parse(order["config"]), Compute(device="cpu", precision="float32")
    step.train(Path(order["captions_dir"]), config, Path(order["run_dir"]), on_progress=stop, compute=compute)
"""


def changes(name: str) -> list[str]:
    """Fit a recipe to the pictures here, which have 32 pixels."""
    system = load_preset(name).system
    small = ["system.side=16"] if getattr(system, "side", 0) else []
    sides = ["system.side=32", "system.low_side=16"] if getattr(system, "low_side", 0) else small
    crop = ["system.crop=16"] if getattr(system, "crop", 0) else []
    return [*sides, *crop, "batch_size=4"]


@pytest.fixture(scope="session")
def embeddings_dir(captions_dir: Path, clip_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return features(
        captions_dir, clip_dir, FeaturesConfig(pictures=True), tmp_path_factory.mktemp("every") / "made"
    ).path


def uses(name: str, embeddings_dir: Path) -> list[str]:
    """Name what a recipe stands on."""
    return [f"{role}={embeddings_dir}" for role in load_preset(name).system.inputs]


@pytest.fixture(scope="module")
def trainer() -> Iterator[ForkServer]:
    with ForkServer(TRAIN) as server:
        yield server


@pytest.mark.parametrize("name", STAGES)
def test_a_run_killed_between_two_checkpoints_resumes_to_the_same_bits(
    trainer: ForkServer, captions_dir: Path, embeddings_dir: Path, tmp_path: Path, name: str
) -> None:
    config = {"preset": name, "set": changes(name), "uses": uses(name, embeddings_dir), "max_images": 24}
    config |= {"log_every": 1, "checkpoint_seconds": 1e-6}

    def run(folder: str, killed_at: int = -1) -> int:
        run_dir = str(tmp_path / folder)
        return trainer.run(captions_dir=str(captions_dir), config=config, run_dir=run_dir, killed_at=killed_at)

    assert run("whole") == 0
    assert run("killed", killed_at=4) == -9
    assert [path.name for path in list_checkpoints(tmp_path / "killed")][-1] == "step_00000003"
    assert run("killed") == 0

    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("name", STAGES)
def test_fields_are_dropped_as_often_as_the_recipe_says(
    captions_dir: Path, embeddings_dir: Path, tmp_path: Path, name: str
) -> None:
    """Of what the recipe always keeps, and a null is there for, a share of our own."""
    preset = load_preset(name)
    rates = dict.fromkeys(preset.system.nulls, RATE) | preset.drop_rates
    told = [f"drop.{field}={rate}" for field, rate in rates.items()]
    asked = {"preset": name, "set": [*changes(name), *told, "batch_size=100"], "uses": uses(name, embeddings_dir)}
    config = TrainConfig.parse(asked | {"max_images": 1000})
    claim_run(captions_dir, config, tmp_path / "run", "refuse")
    training = Run(
        captions_dir, config, tmp_path / "run", lambda progress: None, Compute(device="cpu", precision="float32")
    ).trainer

    dropped = dict.fromkeys(rates, 0.0)
    for training.position.images in range(0, NUM_SAMPLES, 100):
        keep = training.next_batch().condition.keep
        assert keep.keys() == rates.keys()
        for field, mask in keep.items():
            dropped[field] += float(torch.sum(~mask)) / NUM_SAMPLES

    for field, rate in rates.items():
        assert abs(dropped[field] - rate) < 3 * (rate * (1 - rate) / NUM_SAMPLES) ** 0.5, field
