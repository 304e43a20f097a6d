"""Sweeps and tunes through Prefect: the same folders and the same words as without it."""

from pathlib import Path

import pytest

from flows.cli import run
from flows.steps import CoreSteps
from flows.sweeps.flow import sweep
from flows.sweeps.recipe import run_sweep
from flows.tuning.flow import tune
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.manifest import StepRef
from t2i_core.sweeps.config import SweepConfig
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train
from t2i_core.tuning.config import TuneConfig
from tests.t2i_core import conftest

captioned_scenes = conftest.scenes_dir


class Finished(CoreSteps):
    """Steps that find everything done."""

    def evaluate(self, request: EvaluateRequest) -> StepRef:
        ref = super().evaluate(request)
        assert ref.hit, request.output_dir
        return ref


@pytest.mark.usefixtures("prefect_server")
def test_ways_side_by_side_are_those_in_turn(captioned_scenes: Path, tmp_path: Path) -> None:
    config = TrainConfig.parse({"preset": "diffusion-smoke", "max_images": 32})
    train(captioned_scenes, config, tmp_path / "run", compute=Compute(device="cpu", precision="float32"))
    asked = {"prompts_per_task": 1, "images_per_prompt": 1, "num_train": 0, "bootstrap_resamples": 100}
    ways = SweepConfig.parse(asked | {"step_counts": [1, 2]})

    told = sweep(tmp_path / "run", tmp_path / "sweep", ways, num_at_once=3, return_state=True).result()

    assert told.startswith("Best by strict accuracy: ")
    assert run_sweep(Finished(), tmp_path / "run", ways, tmp_path / "sweep") == told


@pytest.mark.usefixtures("prefect_server")
def test_a_tune_passes_over_a_trial_that_fails(
    captioned_scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = "optim.learning_rate=1e30,1e-3"
    config = TuneConfig.parse({"preset": "cnn-smoke", "max_images": 32, "rungs": 1, "grid": [grid]})

    found = tune(captioned_scenes, tmp_path / "tune", config, num_at_once=2, return_state=True).result()

    assert "2 trials, 0 stopped early, 1 failed" in found
    options = ["--preset", "cnn-smoke", "--max-images", "32", "--rungs", "1", "--grid", grid, "--no-prefect"]
    assert run(["tune", str(captioned_scenes), "--output-dir", str(tmp_path / "tune"), *options]) == 0
    assert capsys.readouterr().out.startswith(found)
