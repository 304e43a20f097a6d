"""A finished run goes on with a larger budget, and its key says from what."""

import json
from pathlib import Path

import pytest

from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.training.checkpoint import list_checkpoints
from t2i_core.training.claim import GOES_ON_FROM, claim_run
from t2i_core.training.config import TrainConfig, train_key
from t2i_core.training.device import Compute
from t2i_core.training.step import train

CPU = Compute(device="cpu", precision="float32")


def config(max_images: int, **changes: object) -> TrainConfig:
    return TrainConfig.parse({"preset": "cnn-smoke", "max_images": max_images, "log_every": 1} | changes)


@pytest.fixture
def finished(captions_dir: Path, tmp_path: Path) -> Path:
    train(captions_dir, config(64), tmp_path / "run", compute=CPU)
    return tmp_path / "run"


def logged(run_dir: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "train/loss" in row]


def test_a_larger_budget_goes_on_from_the_last_checkpoint_and_is_found_again(
    captions_dir: Path, finished: Path
) -> None:
    before = read_manifest(finished, "run")

    ref = train(captions_dir, config(128), finished, compute=CPU)

    after = read_manifest(finished, "run")
    assert (ref.hit, ref.counts["images"], ref.counts["steps"]) == (False, 128, 8)
    assert [row["step"] for row in logged(finished)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert after.key.inputs == before.key.inputs | {GOES_ON_FROM: before.digest}
    assert train(captions_dir, config(128), finished, compute=CPU).hit


def test_the_learning_rate_is_the_one_that_the_longer_schedule_has_there(captions_dir: Path, finished: Path) -> None:
    train(captions_dir, config(128), finished, compute=CPU)
    rates = [row["train/learning_rate"] for row in logged(finished)]

    # At half of the budget: 0.5 / 0.7 of the peak, after it had fallen to 0.25 / 0.7 a quarter before the first end.
    assert rates[3] < rates[4]
    assert rates[4] == pytest.approx(0.001 * 0.5 / 0.7)


def test_a_run_killed_while_it_goes_on_is_resumed(captions_dir: Path, finished: Path) -> None:
    digest = read_manifest(finished, "run").digest

    key, hit = claim_run(captions_dir, config(128), finished, "refuse")

    assert hit is None
    assert not (finished / "manifest.json").exists()
    assert claim_run(captions_dir, config(128), finished, "refuse") == (key, None)
    assert key.inputs[GOES_ON_FROM] == digest
    assert train(captions_dir, config(128), finished, compute=CPU).counts["images"] == 128


def test_what_a_kill_left_between_note_and_manifest_goes_on(captions_dir: Path, finished: Path) -> None:
    manifest = (finished / "manifest.json").read_bytes()
    key, _ = claim_run(captions_dir, config(128), finished, "refuse")
    (finished / "manifest.json").write_bytes(manifest)

    assert claim_run(captions_dir, config(128), finished, "refuse") == (key, None)
    assert not (finished / "manifest.json").exists()


@pytest.mark.parametrize("changes", [{"max_images": 32}, {"max_images": 128, "seed": 1}, {"max_minutes": 1e-6}])
def test_another_run_and_a_smaller_budget_are_refused(
    captions_dir: Path, finished: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="already holds other work"):
        train(captions_dir, config(64).with_changes(**changes), finished, compute=CPU)

    assert read_manifest(finished, "run").counts["images"] == 64


def test_replace_starts_anew(captions_dir: Path, finished: Path) -> None:
    train(captions_dir, config(128), finished, compute=CPU, on_conflict="replace")

    assert read_manifest(finished, "run").key == train_key(captions_dir, config(128))
    assert len(list_checkpoints(finished.with_name("run.previous"))) == 1


def test_the_same_training_at_another_speed_is_the_same_run(captions_dir: Path, finished: Path, tmp_path: Path) -> None:
    again = train(captions_dir, config(64), tmp_path / "again", compute=CPU)
    states = [json.loads((list_checkpoints(run)[-1] / "state.json").read_text()) for run in (finished, again.path)]

    assert states[0]["seconds"] != states[1]["seconds"]
    assert again.digest == read_manifest(finished).digest
