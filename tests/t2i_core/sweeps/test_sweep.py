"""Ways of drawing: which is best, which as good, and that a sweep goes on where it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from flows.steps import CoreSteps
from flows.sweeps.recipe import run_sweep
from t2i_core.comparison.judged import Judged
from t2i_core.errors import ConfigError
from t2i_core.evaluation.circumstances import Circumstances
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.sweeps.config import MAX_POINTS, OWN, SweepConfig
from t2i_core.sweeps.page import best_of, describe, fastest_of, judge_ways, write_sweep
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train
from tests.t2i_core.promotion.conftest import judged

TRIED = {OWN: {}, "g1": {"guidance_scale": 1.0}, "g3": {"guidance_scale": 3.0}, "g9": {"guidance_scale": 9.0}}
# Of forty things, how many each way draws right, and how long it takes for a picture.
RIGHT, SECONDS = {OWN: 30, "g1": 12, "g3": 34, "g9": 33}, {OWN: 3.0, "g1": 0.5, "g3": 2.0, "g9": 1.0}


def way(name: str) -> Judged:
    right = {"one": [[float(i < RIGHT[name])] for i in range(40)]}
    circumstances = Circumstances.model_construct(seconds={"drawing by the model": SECONDS[name] * 40}, drawn_with={})
    return replace(judged("run", right), circumstances=circumstances)


def test_the_best_way_and_the_fastest_that_is_as_good(tmp_path: Path) -> None:
    figure, ways = judge_ways({name: way(name) for name in TRIED}, TRIED)

    assert best_of(ways).name == "g3" and best_of(ways).score.value == pytest.approx(34 / 40)
    # One thing of forty behind is within the interval, and so is the run's own; but for g1 the interval is far away.
    assert [each.name for each in ways if each.is_as_good] == ["g3", "g9"]
    assert fastest_of(ways).name == "g9" and "g9" in describe(figure, ways) and "1.000 s" in describe(figure, ways)

    write_sweep(tmp_path, figure, ways)

    assert json.loads((tmp_path / "best.json").read_text()) == {"guidance_scale": 3.0}
    assert json.loads((tmp_path / "fastest.json").read_text()) == {"guidance_scale": 9.0}
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert page.count("<circle") == 3, "the run's own scale is not known, so it has no place on the axis"
    assert text.index("| g3 |") < text.index("| g9 |") < text.index("| own |") < text.index("| g1 |")


def test_all_combinations_are_tried_once_and_the_runs_own_settings_first() -> None:
    config = SweepConfig(guidance_scales=(1, 3, 3), step_counts=(8,), samplers=("ddim", "ddpm"), seed=4)

    assert list(config.points) == [OWN, "g1_s8_ddim", "g1_s8_ddpm", "g3_s8_ddim", "g3_s8_ddpm"]
    point = config.points["g3_s8_ddpm"]
    assert (point.guidance_scale, point.steps, point.sampler, point.seed) == (3, 8, "ddpm", 4)
    assert config.points[OWN].guidance_scale is None
    other = SweepConfig(time_shifts=(0.5, 2), emas=(0.99995, 0.999951))
    assert list(other.points)[1:3] == ["t0.5_ema0.99995", "t0.5_ema0.999951"] and len(other.points) == 5
    assert (other.points["t2_ema0.99995"].time_shift, other.points["t2_ema0.99995"].ema) == (2, 0.99995)
    with pytest.raises(ConfigError, match="tries something"):
        SweepConfig.parse({})
    with pytest.raises(ConfigError, match=f"{MAX_POINTS} ways at most, and these are 400"):
        SweepConfig.parse({"guidance_scales": [1 + i for i in range(20)], "step_counts": [1 + i for i in range(20)]})


class Counting(CoreSteps):
    """Steps that note what was evaluated and not there already."""

    made: ClassVar[list[str]] = []

    def evaluate(self, request: EvaluateRequest) -> StepRef:
        ref = super().evaluate(request)
        if not ref.hit:
            self.made.append(request.output_dir.name)
        return ref


def test_a_sweep_over_a_trained_run_goes_on_where_it_was(scenes_dir: Path, tmp_path: Path) -> None:
    config = TrainConfig.parse({"preset": "diffusion-smoke", "max_images": 32, "set": ["ema.decays=[0.5,0.9]"]})
    train(scenes_dir, config, tmp_path / "run", compute=Compute(device="cpu", precision="float32"))
    asked = {"prompts_per_task": 1, "images_per_prompt": 1, "num_train": 0, "bootstrap_resamples": 100}
    few = SweepConfig.parse(asked | {"step_counts": [1]})

    run_sweep(Counting(), tmp_path / "run", few, tmp_path / "sweep")
    told = run_sweep(Counting(), tmp_path / "run", few.with_changes(step_counts=[1, 2]), tmp_path / "sweep")

    assert Counting.made == [OWN, "s1", "s2"] and told.startswith("Best by strict accuracy: ")
    assert read_manifest(tmp_path / "sweep/ways/s2", "evaluation").key.config["steps"] == 2
    run_sweep(Counting(), tmp_path / "run", few.with_changes(emas=[0.9], time_shifts=[2]), tmp_path / "sweep")
    assert Counting.made[3:] == ["s1_t2_ema0.9"]
    with pytest.raises(ConfigError, match=r"no average of decay 0\.7; there is 0\.5, 0\.9"):
        run_sweep(Counting(), tmp_path / "run", few.with_changes(step_counts=[3], emas=[0.7]), tmp_path / "sweep")
    assert len(Counting.made) == 4, "nothing is judged before all ways are known to be there"
