"""The train step: a captions folder to a run folder, by a preset and a budget."""

import io
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from t2i_core.data.batches.feed import worker_errors
from t2i_core.data.batches.pixels import to_uint8
from t2i_core.data.batches.split import OpenSplit
from t2i_core.data.batches.tokenizer import load_tokenizer
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.door import is_file, open_to_append, read_file
from t2i_core.encoding.origin import encoder_folder, origin_of
from t2i_core.encoding.stored import open_stored
from t2i_core.encoding.words import FeatureWords, TokenWords, Words
from t2i_core.errors import ConfigError, DataError, StoppedError, TrainingError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.layout import MAX_LOG_BYTES
from t2i_core.folders.manifest import StepKey, StepRef, describe_file, read_manifest, relative_source, write_manifest
from t2i_core.folders.one_writer import one_writer
from t2i_core.models.config import Sizes
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.report.pictures import side_by_side
from t2i_core.systems.build import build_stage
from t2i_core.systems.stage import Drawer, DrawSettings, Exporter, Stage
from t2i_core.training.checkpoint import (
    STATE_NAME,
    best_checkpoint,
    checkpoint_dir,
    latest_checkpoint,
    list_checkpoints,
    save_checkpoint,
)
from t2i_core.training.claim import claim_run
from t2i_core.training.config import ENCODERS, TrainConfig
from t2i_core.training.curve import LOSS, METRICS_NAME, validation_curve
from t2i_core.training.device import Compute, choose_compute, choose_device, compute_on
from t2i_core.training.finished import load_stage, start_from
from t2i_core.training.loop import Trainer, stop_requests
from t2i_core.training.ranks import ALONE, Ranks
from t2i_core.training.validation import load_validation

# Shares of the budget after which some samples are drawn, always the same.
GRID_AT = (0.1, 0.25, 0.5, 0.75, 1.0)
NUM_GRID_PICTURES = 16
PROGRESS_SECONDS = 1.0
CONFIG_NAME = "config.json"
# Files that tell how long it took or what was measured to choose: the same training at another speed is the same run.
TIMED_NAMES = frozenset({"compute.json", STATE_NAME})


@tells_disk_errors
def train(
    captions_dir: Path,
    config: TrainConfig,
    output_dir: Path,
    *,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
    compute: Compute | None = None,
    ranks: Ranks = ALONE,
) -> StepRef:
    """Train one system; an unfinished run of the same key goes on from its last checkpoint, a finished one of a smaller
    budget likewise.

    Args:
        captions_dir: a finished captions folder.
        config: what to train.
        output_dir: the run folder.
        on_conflict: what to do when `output_dir` holds another run.
        on_progress: gets pictures seen (or minutes), loss and pictures/s about once a second.
        compute: device and precision; None chooses the best, or keeps those that the run began with.
        ranks: which of the processes this one is that train together, whatever the config says.

    Raises:
        ConfigError: an input or the preset is wrong, or the folder holds other work.
        ShardError: a shard of the dataset is damaged.
        CheckpointError: all checkpoints are damaged.
        DataError: the run folder was deleted while it was trained.
        TrainingError: training diverged or memory ran out.
        StoppedError: SIGTERM or SIGINT came; a checkpoint was written, and the same call resumes.
        TransientError: another process writes the folder, one that decodes was killed, or a store does not answer.
    """
    with one_writer(output_dir) if ranks.is_first else nullcontext():
        with ranks.first_ahead():
            key, hit = claim_run(captions_dir, config, output_dir, on_conflict)
            if hit:
                return hit
            compute = compute or _chosen_compute(output_dir, config)
            ranks.take_device(compute)
            run = Run(captions_dir, config, output_dir, on_progress, compute, ranks)
        with worker_errors(), closing(run.trainer.feed):
            with ranks.first_ahead():
                run.resume()
            run.fit()
        with ranks.first_ahead():
            return run.finish(key) if ranks.is_first else read_manifest(output_dir, "run").ref(output_dir)


def _chosen_compute(run_dir: Path, config: TrainConfig) -> Compute:
    """Keep the compute that a run began with, so that its numbers stay the same; else choose."""
    path = run_dir / "compute.json"
    kept = Compute.load(path) if is_file(path) else None
    if kept is not None and (kept.device == "cpu" or torch.cuda.is_available()):
        return kept
    compute = choose_compute() if config.precision == "auto" else compute_on(choose_device(), config.precision)
    write_atomically(path, compute.model_dump_json(indent=2).encode())
    return compute


class Run:
    """One training and its folder: metrics, checkpoints and sample grids around a `Trainer`."""

    def __init__(
        self,
        captions_dir: Path,
        config: TrainConfig,
        run_dir: Path,
        on_progress: OnProgress,
        compute: Compute,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.config, self.run_dir, self.on_progress = config, run_dir, on_progress
        self.captions_dir = captions_dir
        self.preset = config.resolve()
        self.tokenizer = load_tokenizer(captions_dir)
        self.data = OpenSplit(captions_dir, "train", config.shards, self.preset.shapes)
        self.stored = open_stored(config.encoded, captions_dir)
        self.stage = self._build()
        features = self.stored.features
        self.words: Words = FeatureWords(features) if features else TokenWords(self.tokenizer, self.stage)
        feed = self.data.feed(
            config.seed,
            self.words.number,
            group=self.preset.batch_size,
            workers=config.workers or None,
            stride=self.preset.batch_size,
            processes=ranks.num,
            pin=compute.device == "cuda",
            weights=config.weights,
        )
        whole = self.stored.looked_up(self.words.looked_up(feed))
        self.trainer = Trainer(self.stage, whole, self.preset, config.seed, compute, ranks)
        # Taken before training begins, which goes on from batch to batch.
        self._grid_batch = self.trainer.batch(0, min(NUM_GRID_PICTURES, self.preset.batch_size), seed=0)
        looks = (captions_dir, config, self.preset, self.words.encode, self.stored.with_rows, compute)
        self.validation = load_validation(*looks) if ranks.is_first else None
        self._validated: dict[int, float] = {}
        self._grids_done = 0
        self._last_report = self._last_save = time.monotonic()
        self._speed = (time.monotonic(), 0)
        self._writer = _tensorboard(run_dir) if config.tensorboard and ranks.is_first else None

    def _build(self) -> Stage:
        if self.ranks.is_first:
            self.tokenizer.save(self.run_dir / "tokenizer.json")
        given = {role: load_stage(Path(run)).stage for role, run in self.config.roles.items() if role not in ENCODERS}
        torch.manual_seed(self.config.seed)
        sizes = Sizes(
            vocab_size=self.tokenizer.vocab_size,
            context_length=self.tokenizer.context_length,
            image_size=self.data.image_size,
            feature_width=self.stored.features.width if self.stored.features else 0,
            embedding_width=self.stored.embeddings.width if self.stored.embeddings else 0,
        )
        stage = build_stage(self.preset.system, sizes, given)
        if self.stored.embeddings:
            stage.measure(self.stored.embeddings.statistics)
        start = Path(self.config.init_from) if self.config.init_from else None
        origins = {role: origin_of(read_manifest(folder)) for role, folder in self.config.encoded.items()}
        fits = (stage, self.preset.system.channels, self.run_dir / "tokenizer.json", origins)
        self.new = start_from(start, *fits) if start else {}
        resolved = {
            "schema_version": 1,
            "preset": self.config.preset_name,
            "system": self.preset.system.kind,
            "sizes": sizes.model_dump(),
        }
        resolved |= {"recipe": self.preset.model_dump(mode="json"), "train": self.config.record()}
        resolved |= {"new": list(self.new)} if self.new else {}
        resolved |= {role: origin.model_dump(mode="json") for role, origin in origins.items()}
        if self.ranks.is_first:
            write_atomically(self.run_dir / CONFIG_NAME, json.dumps(resolved, indent=2).encode() + b"\n")
        return stage

    def _sources(self) -> dict[str, Path]:
        sources = {"captions": self.captions_dir} | {name: Path(run) for name, run in self.config.runs.items()}
        return sources | {ENCODERS[role]: encoder_folder(folder) for role, folder in self.config.encoded.items()}

    @property
    def metrics_path(self) -> Path:
        """Where one line a log step is appended."""
        return self.run_dir / METRICS_NAME

    def resume(self) -> None:
        """Go back to the newest intact checkpoint, and forget what was logged after it."""
        checkpoint = latest_checkpoint(self.run_dir, self.stage)
        if checkpoint is not None:
            self.trainer.restore(checkpoint)
        if self.ranks.is_first:
            self._take_up_logs()

    def _take_up_logs(self) -> None:
        step = self.trainer.position.step
        lines = read_file(self.metrics_path, MAX_LOG_BYTES).splitlines() if is_file(self.metrics_path) else []
        kept = [line for line in lines if _step_of(line) <= step]
        write_atomically(self.metrics_path, b"".join(line + b"\n" for line in kept))
        self._validated = {point.step: point.loss for point in validation_curve(self.run_dir)}
        self._grids_done = sum(share <= self.trainer.progress for share in GRID_AT if step)
        self._speed = (time.monotonic(), self.trainer.position.images)

    def fit(self) -> None:
        """Train until the budget is used up.

        Raises:
            StoppedError: a signal asked to stop; a checkpoint was written.
            DataError: the folder is gone.
            TrainingError: training diverged.
        """
        with stop_requests() as stop_requested:
            self.report(force=True)
            if self.config.init_from and not self.trainer.position.step:
                self.validate()
            self.ranks.wait()
            while self.trainer.progress < 1:
                self.trainer.step()
                if self.ranks.is_first:
                    self._look()
                stops = bool(self.ranks.agree(stop_requested()))
                if self.ranks.is_first and (stops or self._save_is_due()):
                    self.save()
                if stops:
                    step, share = self.trainer.position.step, self.trainer.progress
                    raise StoppedError(f"stopped at step {step} ({share:.0%}); run the same command again to go on.")
            self.report(force=True)

    def _save_is_due(self) -> bool:
        return time.monotonic() - self._last_save > self.config.checkpoint_seconds

    def _look(self) -> None:
        """Write down what is due after a step."""
        self._require_folder()
        if self.trainer.position.step % self.config.log_every == 0:
            self.log()
        if self.validation and self.trainer.position.step % self.validation.every == 0:
            self.validate()
        self.draw_grids()
        self.report()

    def _require_folder(self) -> None:
        """Write nothing more where the folder is gone: it would come back as half a run."""
        if not is_file(self.run_dir / CONFIG_NAME):
            raise DataError(
                f"{self.run_dir} was deleted or moved while it was trained, at step {self.trainer.position.step}: "
                "what was not moved is lost. Run the same command again."
            )

    def log(self) -> None:
        """Append one line of metrics."""
        position = self.trainer.position
        now, (then, before) = time.monotonic(), self._speed
        speed = (position.images - before) / max(1e-9, now - then)
        self._speed = (now, position.images)
        row: dict[str, float] = {"step": position.step, "images": position.images}
        row |= {f"train/{name}": mean for name, mean in position.sums.means().items()}
        row |= {
            "train/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "train/skipped_steps": position.skipped,
            "perf/images_per_second": round(speed, 2),
            "perf/seconds": round(position.seconds, 2),
        }
        position.sums = type(position.sums)()
        self._note(row)

    def _note(self, row: Mapping[str, float]) -> None:
        with open_to_append(self.metrics_path) as file:
            file.write(json.dumps(row).encode() + b"\n")
        if self._writer is not None:
            for name in row.keys() - {"step", "images"}:
                self._writer(name, row[name], self.trainer.position.images)

    def validate(self) -> None:
        """Log the losses of averaged weights on validation pictures, once a step; at both ends without captions too.

        Raises:
            TrainingError: no loss is a number, since the weights are none any more.
        """
        position, averaged = self.trainer.position, self.trainer.ema.module
        if self.validation is None or position.step in self._validated:
            return
        losses = self.validation.losses(averaged)
        if not math.isfinite(losses["loss"]):
            raise TrainingError(
                f"the loss on validation pictures is no number at step {position.step}: lower the learning rate."
            )
        if not position.step or self.trainer.progress >= 1:
            losses |= self.validation.losses_without_text(averaged)
        self._validated[position.step] = losses["loss"]
        row: dict[str, float] = {"step": position.step, "images": position.images}
        self._note(row | {f"validation/{name}": loss for name, loss in losses.items()})

    def report(self, *, force: bool = False) -> None:
        """Tell how far the run is, at most once a second."""
        if not force and time.monotonic() - self._last_report < PROGRESS_SECONDS:
            return
        self._last_report = time.monotonic()
        position, preset = self.trainer.position, self.preset
        by_time = bool(preset.max_minutes) and not preset.max_images
        now, (then, before) = time.monotonic(), self._speed
        fields: dict[str, float | int | str] = {"step": position.step, "pictures": position.images}
        if "loss" in (means := position.sums.means()):
            fields |= {
                "loss": round(means["loss"], 4),
                "pictures/s": round((position.images - before) / max(1e-9, now - then), 1),
            }
        self.on_progress(
            Progress(
                step=f"train {self.run_dir.name}",
                done=round(position.seconds, 1) if by_time else min(position.images, preset.max_images),
                total=60 * preset.max_minutes if by_time else preset.max_images,
                unit="seconds" if by_time else "pictures",
                fields=fields,
            )
        )

    def save(self) -> None:
        """Write a checkpoint, with the loss by which the best one is kept."""
        position = self.trainer.position
        loss = self._validated.get(position.step)
        if loss is None and self.validation:
            # Not for the log, which is to be the same whenever checkpoints are written.
            loss = self.validation.losses(self.trainer.ema.module)["loss"]
        state = position.state() | {LOSS: loss}
        save_checkpoint(self.run_dir, position.step, self.trainer.tensors(), state)
        self._last_save = time.monotonic()

    def draw_grids(self) -> None:
        """Draw the same samples each time the next share of the budget is reached."""
        due = sum(share <= self.trainer.progress for share in GRID_AT)
        if due == self._grids_done:
            return
        self._grids_done = due
        if isinstance(drawer := self.trainer.ema.module, Drawer):
            path = self.run_dir / "samples" / f"images_{self.trainer.position.images:09d}.png"
            picture = io.BytesIO()
            self._grid(drawer).save(picture, "PNG")
            write_atomically(path, picture.getvalue())

    def _grid(self, drawer: Drawer) -> Image.Image:
        batch = drawer.view(self._grid_batch)
        with torch.no_grad(), self.trainer.compute.autocast():
            drawn = drawer.draw(batch.condition, batch.target.shape[1:], batch.chance, DrawSettings())
        return side_by_side([Image.fromarray(picture) for picture in to_uint8(drawn).cpu().numpy()], columns=8)

    def finish(self, key: StepKey) -> StepRef:
        """Write the last checkpoint and the manifest."""
        self._require_folder()
        if self.trainer.position.sums.steps:
            self.log()
        self.validate()
        path = checkpoint_dir(self.run_dir, self.trainer.position.step)
        if path not in list_checkpoints(self.run_dir):
            self.save()
        (self.run_dir / "progress.json").unlink(missing_ok=True)
        outputs = [self.run_dir / CONFIG_NAME, self.run_dir / "tokenizer.json"]
        outputs += [measured] if (measured := self.run_dir / "compute.json").is_file() else []
        outputs += [p for folder in {path, best_checkpoint(self.run_dir) or path} for p in sorted(folder.iterdir())]
        files = [describe_file(self.run_dir, p, content=p.name not in TIMED_NAMES) for p in outputs]
        if isinstance(averaged := self.trainer.ema.module, Exporter):
            files += [describe_file(self.run_dir, p) for p in averaged.export(self.run_dir)]
        logs = [self.metrics_path, *sorted((self.run_dir / "samples").glob("*.png"))]
        files += [describe_file(self.run_dir, p, content=False) for p in logs]
        position = self.trainer.position
        return write_manifest(
            self.run_dir,
            kind="run",
            key=key,
            sources={name: relative_source(folder, self.run_dir) for name, folder in self._sources().items()},
            counts={
                "steps": position.step,
                "images": position.images,
                "seconds": round(position.seconds),
                "skipped_steps": position.skipped,
                "parameters": sum(p.numel() for p in self.stage.parameters()),
            }
            | ({"new_parameters": sum(self.new.values())} if self.new else {}),
            files=files,
        )


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")  # a line torn by a kill is dropped


def _tensorboard(run_dir: Path) -> Callable[[str, Any, int], None]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as err:
        raise ConfigError(
            "tensorboard is not installed; `t2i doctor` says how to add it, or leave --tensorboard out."
        ) from err
    writer: Callable[[str, Any, int], None] = SummaryWriter(str(run_dir / "tensorboard")).add_scalar
    return writer
