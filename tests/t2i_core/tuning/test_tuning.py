"""Trials of recipes: what is tried, which go on, what a search proposes, and that nothing is trained twice."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.steps import CoreSteps
from flows.tuning.recipe import run_tune
from t2i_core.errors import ConfigError, TrainingError
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.training.config import TrainConfig, TrainRequest
from t2i_core.training.curve import validation_curve
from t2i_core.training.device import Compute
from t2i_core.training.preset import load_preset
from t2i_core.training.step import train
from t2i_core.tuning.axis import Axis, parse_axis
from t2i_core.tuning.config import MAX_TRIALS, TuneConfig
from t2i_core.tuning.page import Ranking
from t2i_core.tuning.proposals import propose
from t2i_core.tuning.trial import Score, Trial, best_first, going_on

SMOKE = {"preset": "diffusion-smoke", "max_images": 160, "rungs": 2, "reduction": 2}


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("optim.learning_rate=1e-3,0.002", Axis("optim.learning_rate", (0.001, 0.002))),
        ("seed = 0,1,1", Axis("seed", (0, 1))),
        ("system.schedule=flow,cosine", Axis("system.schedule", ("flow", "cosine"))),
        ("ema.decays=[0.9],[0.9,0.99]", Axis("ema.decays", ([0.9], [0.9, 0.99]))),
        ("optim.learning_rate=1e-4..1e-2:log", Axis("optim.learning_rate", (1e-4, 1e-2), True, True)),
        ("optim.warmup_steps=5..50", Axis("optim.warmup_steps", (5, 50), True)),
    ],
)
def test_an_axis_is_a_list_or_a_range(text: str, axis: Axis) -> None:
    assert parse_axis(text, ranges=True) == axis


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "give --grid"),
        ({"grid": ["seed=0,1"], "search": ["seed=0..1"]}, "and not both"),
        ({"grid": ["seed"]}, "'seed' tries nothing"),
        ({"grid": ["a..b=1,2"]}, "tries nothing"),
        ({"grid": ["optim.learning_rate=1e-4..1e-2"]}, "is a range, of which there is no grid"),
        ({"search": ["optim.learning_rate=1e-2..1e-4"]}, "is no range"),
        ({"search": ["optim.learning_rate=a..b"]}, "is no range"),
        ({"search": ["optim.weight_decay=0..0.1:log"]}, "lies above 0"),
        ({"grid": ["seed=0,1"], "max_minutes": 2}, "--max-images in place of --max-minutes"),
        ({"grid": ["max_images=100,200"]}, "max_images cannot be tried"),
        ({"grid": ["seed=0,1", "seed=2"]}, "seed cannot be tried, or stands there twice"),
        ({"grid": [f"seed={','.join(map(str, range(MAX_TRIALS + 1)))}"]}, f"{MAX_TRIALS} recipes at most"),
        ({"grid": ["optim.lerning_rate=1,2"]}, "there is no optim.lerning_rate.*did you mean.*optim.learning_rate"),
        ({"grid": ["optim.learning_rate=1,-1"]}, "optim.learning_rate: Input should be greater than 0"),
        ({"search": ["optim.learning_rate=-1..1"]}, "optim.learning_rate: Input should be greater than 0"),
        ({"grid": ["seed=-1"]}, "seed: Input should be greater"),
        ({"grid": ["preset=diffusion-smok"]}, "unknown preset 'diffusion-smok'"),
        ({"grid": ["seed=0,1"], "preset": "diffusion-demo", "max_images": 0}, "counts no pictures"),
        ({"grid": ["seed=0,1"], "max_images": 16}, "a rung of 8 pictures leaves nothing to train until 16"),
        ({"grid": ["system.guidance_scale=1,2"]}, "differ in system.guidance_scale cannot.*--judge strict"),
        ({"grid": ["system.prediction=x_0,v"]}, "differ in system.prediction"),
        ({"grid": ["preset=diffusion-smoke,cnn-smoke"]}, "differ in preset"),
        ({"grid": ["batch_size=16,24"]}, "differ in batch_size"),
        ({"grid": ["batch_size=16,32"], "preset": "clip-smoke"}, "differ in batch_size"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_done(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TuneConfig.parse(SMOKE | asked).check()


@pytest.mark.parametrize(
    "asked",
    [
        {"grid": ["batch_size=16,32", "system.network.channels=[16,32],[16,16]"]},
        {"grid": ["system.guidance_scale=1,2", "preset=diffusion-smoke,cnn-smoke"], "judge": "strict", "rungs": 1},
        {"grid": ["system.embed_dim=16,32"], "preset": "clip-smoke"},
    ],
)
def test_what_can_be_compared_is_not_refused(asked: dict[str, Any]) -> None:
    config = TuneConfig.parse(SMOKE | asked)
    if asked.get("judge") == "strict":
        with pytest.raises(ConfigError, match=r"there is no system\.guidance_scale"):
            config.check()
    else:
        config.check()


def test_a_grid_is_all_combinations_and_each_is_a_training_of_its_own() -> None:
    config = TuneConfig.parse(SMOKE | {"grid": ["optim.learning_rate=1e-3,2e-3", "seed=0,7"], "set": ["drop.text=0.2"]})
    proposals = propose(config)

    assert proposals.next() == [
        {"optim.learning_rate": 0.001, "seed": 0},
        {"optim.learning_rate": 0.001, "seed": 7},
        {"optim.learning_rate": 0.002, "seed": 0},
        {"optim.learning_rate": 0.002, "seed": 7},
    ]
    assert proposals.next() == [] and config.budgets == (80, 160)
    training = config.training({"optim.learning_rate": 0.002, "seed": 7}, 80)
    assert type(training) is TrainConfig and (training.seed, training.max_images) == (7, 80)
    recipe = training.resolve()
    assert (recipe.optim.learning_rate, recipe.drop.text, recipe.max_images) == (0.002, 0.2, 80)


def test_a_trials_folder_is_named_by_what_it_sets_alone() -> None:
    names = [Trial({"optim.learning_rate": rate, "a": "../b c"}).name for rate in (0.001, 0.0010001)]

    assert names[0] == Trial({"optim.learning_rate": 0.001, "a": "../b c"}).name != names[1]
    assert all("/" not in name and not name.startswith(".") and len(name) < 80 for name in names)


def test_the_best_recipe_is_spelt_with_all_that_it_does_not_hold() -> None:
    asked = {"grid": ["seed=7"], "uses": ["clip=my run"], "weights": ["a=1", "b=2"], "log_every": 5}
    best = Trial({"seed": 7}, [Score(0.5)])
    command = Ranking(TuneConfig.parse(SMOKE | asked), [best], "loss").command(Path("w"))

    options = "--uses 'clip=my run' --seed 7 --weights a=1 --weights b=2"
    assert command == f"t2i train CAPTIONS --preset w/best.json {options} --output-dir RUN"


def test_those_that_came_furthest_come_first_and_what_failed_last() -> None:
    trials = [*scored([0.1], [0.5, 0.4], [0.3, 0.2], [0.2]), Trial({"seed": 9}, failure="no")]
    ranking = Ranking(TuneConfig.parse(SMOKE | {"grid": ["seed=0,1"]}), trials, "validation loss")

    assert ranking.trials == [trials[i] for i in (2, 1, 0, 3, 4)] and ranking.best is trials[2]
    told = "Best by validation loss: seed 2; 0.2 at 160 pictures. 5 trials, 2 stopped early, 1 failed."
    assert ranking.describe() == told


def scored(*losses: Sequence[float]) -> list[Trial]:
    return [Trial({"seed": number}, [Score(loss) for loss in each]) for number, each in enumerate(losses)]


def test_of_each_three_the_best_goes_on_and_a_late_one_only_if_it_is_among_the_best_of_all() -> None:
    trials = scored([0.5], [0.1], [0.4], [0.2], [0.3], [0.1], [])

    # Six came there, so two go on; of those alike the one that was proposed first comes first.
    assert going_on(trials, trials, 0, 3, lower_is_better=True) == [trials[1], trials[5]]
    assert going_on(trials, trials, 0, 3, lower_is_better=False) == [trials[0], trials[2]]
    assert going_on(trials[2:5], trials, 0, 3, lower_is_better=True) == []
    assert going_on(trials[:1], trials[:1], 0, 3, lower_is_better=True) == trials[:1]
    assert best_first(trials, 1, lower_is_better=True) == []


def found_by(config: TuneConfig, loss: Any, *, stop_after: int = 100) -> list[dict[str, Any]]:
    """Search without training: what a trial comes to is a formula of what it sets."""
    proposals, found = propose(config), list[dict[str, Any]]()
    while (group := proposals.next()) and len(found) < stop_after:
        trials = [Trial(settings, [Score(loss(settings))] * config.rungs) for settings in group]
        proposals.learn(trials)
        found += [dict(settings) for settings in group]
    return found


def test_the_same_scores_lead_to_the_same_proposals_and_these_to_the_best() -> None:
    asked = {"search": ["optim.learning_rate=1e-4..1e-1:log", "batch_size=16,32"], "trials": 40, "seed": 3}
    config = TuneConfig.parse(SMOKE | asked)

    def loss(settings: dict[str, Any]) -> float:
        return abs(settings["optim.learning_rate"] / 0.003 - 1) + settings["batch_size"] / 32

    found, again = found_by(config, loss), found_by(config, loss)

    assert found == again and len(found) == 40
    assert found_by(config, loss, stop_after=10) == found[:10]
    assert found_by(config, lambda settings: -loss(settings)) != found
    assert found_by(config.with_changes(seed=4), loss) != found
    assert sum(loss(each) for each in found[-10:]) < sum(loss(each) for each in found[:10])
    assert all(1e-4 <= each["optim.learning_rate"] <= 0.1 and each["batch_size"] in (16, 32) for each in found)
    assert all(float(f"{each['optim.learning_rate']:.4g}") == each["optim.learning_rate"] for each in found)


def test_a_search_without_optuna_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    config = TuneConfig.parse(SMOKE | {"search": ["optim.learning_rate=1e-4..1e-2:log"]})

    with pytest.raises(ConfigError, match=r"`t2i doctor` says how to add it.*--grid"):
        propose(config)


class Here(CoreSteps):
    """The steps in this process, which note what was not there already; they may be stopped."""

    made: list[str]
    last: int

    def __init__(self, last: int = 100) -> None:
        super().__init__()
        object.__setattr__(self, "made", [])
        object.__setattr__(self, "last", last)

    def train(self, request: TrainRequest) -> StepRef:
        if len(self.made) == self.last:
            raise KeyboardInterrupt
        return self._noted(train(**dict(request), compute=Compute(device="cpu", precision="float32")))

    def evaluate(self, request: EvaluateRequest) -> StepRef:
        return self._noted(super().evaluate(request))

    def _noted(self, ref: StepRef) -> StepRef:
        if not ref.hit:
            self.made.append(f"{ref.kind} {ref.path.name.rpartition('-')[0]} {ref.path.parent.name}")
        return ref


def test_a_tune_goes_on_where_it_was_and_what_it_found_trains(captions_dir: Path, tmp_path: Path) -> None:
    rates = "optim.learning_rate=1e-3,1e-6,3e-3"
    config = TuneConfig.parse(SMOKE | {"grid": [rates], "set": ["optim.muon_learning_rate=0"]})
    stopped, rest = Here(last=2), Here()
    with pytest.raises(KeyboardInterrupt):
        run_tune(stopped, captions_dir, config, tmp_path / "tune")
    found = run_tune(rest, captions_dir, config, tmp_path / "tune")

    assert stopped.made == ["run learning_rate-0.001 80", "run learning_rate-1e-06 80"]
    # Of three the two with the lower losses go on.
    runs = {run: validation_curve(run)[-1].loss for run in (tmp_path / "tune/trials").glob("80/*")}
    worst = max(runs, key=lambda run: runs[run])
    longer = sorted(f"run {run.name.rpartition('-')[0]} 160" for run in runs if run != worst)
    assert (
        rest.made[0] == "run learning_rate-0.003 80"
        and sorted(rest.made[1:]) == longer
        and len(set(runs.values())) == 3
    )
    again = Here()
    assert run_tune(again, captions_dir, config, tmp_path / "tune") == found and again.made == []
    assert found.startswith("Best by validation loss: optim.learning_rate ") and "3 trials, 1 stopped early" in found

    # A longer rung is the shorter run gone on, in a folder of its own.
    short = min(runs, key=lambda run: runs[run])
    long, rate = (
        tmp_path / "tune/trials/160" / short.name,
        json.loads((short / "config.json").read_text())["recipe"]["optim"]["learning_rate"],
    )
    assert read_manifest(long).key.inputs["goes_on_from"] == read_manifest(short).digest
    assert validation_curve(long)[: len(validation_curve(short))] == validation_curve(short)
    plain = config.training({"optim.learning_rate": rate}, 80)
    direct = train(captions_dir, plain, tmp_path / "plain", compute=Compute(device="cpu", precision="float32"))
    assert direct.digest == read_manifest(short).digest

    best = load_preset(str(tmp_path / "tune/best.json"))
    assert (
        f"optim.learning_rate {best.optim.learning_rate}; " in found
        and best.max_images == 160
        and best.optim.muon_learning_rate == 0
    )
    made = TrainConfig(preset=str(tmp_path / "tune/best.json"), set=("max_images=16",))
    assert (
        train(captions_dir, made, tmp_path / "run", compute=Compute(device="cpu", precision="float32")).counts["images"]
        == 16
    )
    page, text = ((tmp_path / "tune" / name).read_text() for name in ("report.html", "report.md"))
    assert f"t2i train CAPTIONS --preset {tmp_path / 'tune/best.json'} --output-dir RUN" in text
    assert page.count("<polyline") == 3 and "stopped early" in page
    assert text.index(f"| optim.learning_rate {best.optim.learning_rate} |") < text.index("| stopped early |")


def test_a_search_that_was_stopped_proposes_what_it_had_and_goes_on(captions_dir: Path, tmp_path: Path) -> None:
    asked = {"search": ["optim.learning_rate=1e-4..1e-2:log"], "trials": 5, "max_images": 32, "seed": 1}
    config, stopped, rest, whole = TuneConfig.parse(SMOKE | asked), Here(last=3), Here(), Here()
    with pytest.raises(KeyboardInterrupt):
        run_tune(stopped, captions_dir, config, tmp_path / "tune")
    found = run_tune(rest, captions_dir, config, tmp_path / "tune")

    assert run_tune(whole, captions_dir, config, tmp_path / "whole") == found
    assert stopped.made + rest.made == whole.made and len(set(whole.made)) == len(whole.made)
    # Of the first group of two one goes on.
    assert [name.rpartition(" ")[2] for name in whole.made[:3]] == ["16", "16", "32"]


def test_trials_are_judged_by_what_they_draw_where_losses_say_nothing(scenes_dir: Path, tmp_path: Path) -> None:
    config = TuneConfig.parse(
        SMOKE
        | {"grid": ["system.guidance_scale=1,3", "seed=5"], "judge": "strict", "rungs": 1, "max_images": 32}
        | {"prompts_per_task": 1, "images_per_prompt": 1}
    )
    steps = Here()
    found = run_tune(steps, scenes_dir, config, tmp_path / "tune")

    assert steps.made[2:] == ["evaluation guidance_scale-1_seed-5 32", "evaluation guidance_scale-3_seed-5 32"]
    assert found.startswith("Best by strict accuracy: system.guidance_scale ")
    assert "--seed 5 --output-dir RUN" in (tmp_path / "tune/report.md").read_text()
    assert json.loads((tmp_path / "tune/best.json").read_text())["system"]["guidance_scale"] in (1, 3)
    assert (tmp_path / "tune/report.html").read_text().count("<circle") == 2


def test_a_trial_that_fails_is_the_worst_and_all_that_fail_are_an_error(captions_dir: Path, tmp_path: Path) -> None:
    config = TuneConfig.parse(SMOKE | {"grid": ["optim.learning_rate=1e30,1e-3"], "max_images": 64})
    found = run_tune(Here(), captions_dir, config, tmp_path / "tune")

    assert "optim.learning_rate 0.001" in found and "2 trials, 0 stopped early, 1 failed" in found
    assert "is no number at step 2" in (tmp_path / "tune/report.html").read_text()
    with pytest.raises(TrainingError, match="no trial could be trained"):
        run_tune(Here(), captions_dir, config.with_changes(grid=["optim.learning_rate=1e30,2e30"]), tmp_path / "other")


def test_a_loss_needs_validation_pictures(eight_dir: Path, tmp_path: Path) -> None:
    config = TuneConfig.parse(SMOKE | {"grid": ["seed=0,1"], "max_images": 32, "rungs": 1})

    with pytest.raises(ConfigError, match=r"no validation loss.*--judge strict"):
        run_tune(Here(), eight_dir, config, tmp_path / "tune")
