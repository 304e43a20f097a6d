"""Validation: the same pictures and noise each time, within its share of the time, and over-fitting said in words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches.read import Rows
from t2i_core.data.batches.split import load_split
from t2i_core.errors import ConfigError, DataError
from t2i_core.evaluation.background import training_section
from t2i_core.evaluation.logged import charts_of, tables_of
from t2i_core.evaluation.metrics.section import Beside, Chart, Table, Text
from t2i_core.folders.manifest import read_manifest
from t2i_core.generation.config import DrawConfig, GenerateConfig
from t2i_core.generation.generate import generate
from t2i_core.generation.generator import load_generator
from t2i_core.training.checkpoint import best_checkpoint, list_checkpoints, save_checkpoint
from t2i_core.training.config import TrainConfig
from t2i_core.training.curve import LOSS, MAX_LINES, WITHOUT_TEXT, Point, log_rows, validation_curve, verdict
from t2i_core.training.device import Compute
from t2i_core.training.step import Run, train
from t2i_core.training.validation import INTERVAL, load_validation

CPU = Compute(device="cpu", precision="float32")
NULL = f"validation/{WITHOUT_TEXT}"


def config(preset: str = "diffusion-smoke", **changes: object) -> TrainConfig:
    return TrainConfig.parse({"preset": preset, "max_images": 320} | changes)


@pytest.fixture(scope="module")
def finished(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    train(captions_dir, config(), run_dir, compute=CPU)
    return run_dir


def as_they_are(rows: Rows) -> Rows:
    return rows


def rows(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if LOSS in line]


def test_losses_by_band_are_logged_at_intervals_and_at_the_end(captions_dir: Path, finished: Path) -> None:
    num, logged = len(load_split(captions_dir, "validation")), rows(finished)
    every = -(-INTERVAL * num // 16)

    assert [row["step"] for row in logged] == [*range(every, 20, every), 20]
    assert logged[-1]["images"] == 320
    bands = {name: loss for name, loss in logged[-1].items() if name.startswith("validation/loss_band_")}
    assert len(bands) >= 3
    assert min(bands.values()) <= logged[-1][LOSS] <= max(bands.values())
    assert [point.loss for point in validation_curve(finished)] == [row[LOSS] for row in logged]


def test_the_same_weights_have_the_same_loss_and_nothing_is_learned(captions_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run(captions_dir, config(), tmp_path / "run", lambda progress: None, CPU)
    stage = run.stage
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}

    twice = [load_validation(captions_dir, config(), run.preset, run.words.encode, as_they_are, CPU) for _ in range(2)]
    losses = [validation.losses(stage) for validation in twice if validation]

    assert losses[0] == losses[1]
    assert all(tensor.equal(before[name]) for name, tensor in stage.state_dict().items())
    assert all(p.grad is None for p in stage.parameters())


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_at_most_one_picture_in_sixteen_is_looked_at(captions_dir: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "run").mkdir()
    run = Run(captions_dir, config("cnn-smoke"), tmp_path / "run", lambda progress: None, CPU)

    class Counted(torch.nn.Module):
        seen = 0

        def loss(self, batch):  # type: ignore[no-untyped-def]
            Counted.seen += len(batch.target)
            return run.stage.loss(batch)

    validation = load_validation(
        captions_dir, config(), run.preset.with_changes(batch_size=size), run.words.encode, as_they_are, CPU
    )
    assert validation is not None
    assert validation.losses(Counted()).keys() == {"loss"}  # type: ignore[arg-type]
    assert 0 < INTERVAL * Counted.seen <= validation.every * size


def test_an_empty_validation_split_is_done_without(captions_dir: Path, tmp_path: Path) -> None:
    dataset = (captions_dir / read_manifest(captions_dir).sources["dataset"]).resolve()
    caption(dataset, CaptionConfig(validation_share=0), tmp_path / "captions")
    train(tmp_path / "captions", config("cnn-smoke", max_images=32), tmp_path / "run", compute=CPU)

    assert rows(tmp_path / "run") == []
    assert best_checkpoint(tmp_path / "run") is None
    with pytest.raises(ConfigError, match="no best checkpoint"):
        load_generator(tmp_path / "run", CPU, DrawConfig(checkpoint="best"))


def test_a_validation_split_that_cannot_be_read_is_no_empty_one(captions_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run(captions_dir, config("cnn-smoke"), tmp_path / "run", lambda progress: None, CPU)

    gone = config("cnn-smoke", shards=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="nowhere"):
        load_validation(captions_dir, gone, run.preset, run.words.encode, as_they_are, CPU)


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path: Path) -> None:
    for step, loss in enumerate([0.5, 0.3, 0.4, None, 0.6, float("nan")]):
        save_checkpoint(tmp_path, step, {"ema": {"a": torch.zeros(1)}}, {LOSS: loss})

    assert [int(path.name[-1]) for path in list_checkpoints(tmp_path)] == [1, 4, 5]
    assert best_checkpoint(tmp_path) == list_checkpoints(tmp_path)[0]


def test_best_and_last_can_be_drawn_with(finished: Path, captions_dir: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "run"
    shutil.copytree(finished, run_dir)
    last = list_checkpoints(run_dir)[-1]
    tensors = {name: load_file(last / f"{name}.safetensors") for name in ("model", "ema", "optimizer")}
    tensors["ema"] = {name: torch.zeros_like(tensor) for name, tensor in tensors["ema"].items()}
    state = json.loads((last / "state.json").read_text())
    save_checkpoint(run_dir, 1, tensors, {name: state[name] for name in state if name != "files"} | {LOSS: 0.0})

    drawn = {}
    for which in ("last", "best"):
        settings = GenerateConfig.parse({"checkpoint": which, "steps": 2})
        generate(run_dir, ["a red circle"], tmp_path / which, settings)
        drawn[which] = (tmp_path / which / "00000.png").read_bytes()
    assert drawn["last"] != drawn["best"]


def test_over_fitting_is_said_in_words() -> None:
    falling = [Point(1, 100, 0.5), Point(2, 200, 0.4), Point(3, 300, 0.404)]
    rising = [Point(1, 100, 0.5), Point(2, 2000, 0.4), Point(3, 3000, 0.5)]

    assert verdict(falling) == "validation loss 0.404 at the end, the lowest was 0.4: no over-fitting."
    assert verdict(rising).startswith(
        "over-fits: validation loss was lowest, 0.4, at 2,000 pictures, and is 0.5 at the end"
    )
    assert "25% more" in verdict(rising)
    assert verdict(falling[:1]) == ""


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "images": 16, "validation/loss": 0.5}',
        '{"step": 2}',
        "{",
        "[1]",
        '{"step": 3, "images": "x"',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))

    assert validation_curve(tmp_path) == [Point(1, 16, 0.5)]
    assert validation_curve(tmp_path / "nothing") == []


def test_the_report_draws_the_curve_and_says_what_came_of_it(finished: Path) -> None:
    _, charts, said, gap, bands, *_ = training_section(finished).blocks

    assert isinstance(charts, Beside) and isinstance(said, Text)
    drawn = {chart.title: chart.lines for chart in charts.blocks if isinstance(chart, Chart)}
    assert list(drawn["Loss"] or {}) == ["validation"]  # of the other there is one line alone, every fifty steps
    assert verdict(validation_curve(finished)) in said.text
    assert "band 4" in (drawn["Validation loss per noise band"] or {})
    last = rows(finished)[-1]
    assert isinstance(gap, Table) and [row.cells for row in gap.rows] == [
        [f"{last[LOSS]:.3g}", f"{last[NULL]:.3g}", f"{last[NULL] / last[LOSS]:.2f}"]
    ]
    assert isinstance(bands, Table)
    assert {row.name: row.cells for row in bands.rows}["band 4"][-1] == f"{last['validation/loss_band_4']:.3g}"


def test_the_loss_without_captions_is_of_the_same_pictures_and_noise(captions_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run(captions_dir, config(), tmp_path / "run", lambda progress: None, CPU)
    assert run.validation is not None

    # What is new begins with layers at zero, and heeds no caption.
    fresh = run.validation.losses(run.stage)[LOSS.removeprefix("validation/")]
    assert run.validation.losses_without_text(run.stage) == {WITHOUT_TEXT: fresh}
    for _ in range(8):
        run.trainer.step()
    learned = run.validation.losses(run.stage)["loss"]
    assert run.validation.losses_without_text(run.stage)[WITHOUT_TEXT] != learned != fresh


def test_the_gap_is_logged_at_the_end_and_before_a_run_that_starts_from_another(
    captions_dir: Path, finished: Path, tmp_path: Path
) -> None:
    train(captions_dir, config(max_images=240, init_from=str(finished)), tmp_path / "tuned", compute=CPU)
    train(captions_dir, config("clip-smoke", max_images=32), tmp_path / "clip", compute=CPU)

    assert [row["step"] for row in rows(finished) if NULL in row] == [20]
    tuned, alone = rows(tmp_path / "tuned"), rows(finished)[-1]
    assert [row["step"] for row in tuned if NULL in row] == [0, 15]
    assert tuned[0][LOSS] == pytest.approx(alone[LOSS]) and tuned[0][NULL] == pytest.approx(alone[NULL])
    assert not any(NULL in row for row in rows(tmp_path / "clip"))  # it has no null
    gap = next(block for block in training_section(tmp_path / "tuned").blocks if isinstance(block, Table))
    assert [row.name for row in gap.rows] == ["at the start", "in the end"]


def test_a_start_is_no_part_of_the_course_that_is_judged() -> None:
    course = [Point(10, 100, 0.6), Point(20, 200, 0.5)]

    assert verdict([Point(0, 0, 0.4), *course]) == verdict(course)


def test_tables_and_charts_of_a_log_of_unknown_origin(tmp_path: Path) -> None:
    """What is no number is left out, and a log that no run writes is refused."""
    huge = "1" + "0" * 400
    lines = [
        '{"step": 0, "images": 0, "validation/loss": 0.5, "validation/loss_without_text": 2.0}',
        '{"step": 1, "images": 16, "train/accuracy_band_0": 0.75, "train/loss_band_1": "high"}',
        f'{{"step": 2, "images": 32, "train/accuracy_band_0": {huge}, "validation/accuracy_band_3": NaN}}',
        '{"step": 3, "images": 48, "validation/loss": 0.25, "validation/loss_without_text": 0.5, "train/loss": true}',
        '{"step": 4, "images": 64, "validation/accuracy_band_3": 0.5}',
        "[1]",
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    logged = list(log_rows(tmp_path))

    assert {chart.title: chart.lines for chart in charts_of(logged)} == {"Loss": {"validation": ([0, 48], [0.5, 0.25])}}
    gap, bands = tables_of(logged)
    assert [(row.name, row.cells) for row in gap.rows] == [
        ("at the start", ["0.5", "2", "4.00"]),
        ("in the end", ["0.25", "0.5", "2.00"]),
    ]
    assert [column.title for column in bands.columns] == ["Accuracy", "Validation accuracy"]
    assert [(row.name, row.cells) for row in bands.rows] == [("band 0", ["0.75", None]), ("band 3", [None, "0.5"])]
    assert tables_of(logged[1:2])[0].rows[0].cells == ["0.75"] and tables_of([]) == []
    (tmp_path / "metrics.jsonl").write_text("{}\n" * (MAX_LINES + 1))
    with pytest.raises(DataError, match="more than 1,000,000 lines"):
        list(log_rows(tmp_path))


def test_pictures_of_several_shapes_are_looked_at_shape_by_shape(captions_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shaped = config("diffusion-smoke", set=["shapes.side=32", "shapes.step=16", "batch_size=2"])
    run = Run(captions_dir, shaped, tmp_path / "run", lambda progress: None, CPU)

    assert run.validation is not None
    assert run.validation.losses(run.stage)["loss"] > 0
