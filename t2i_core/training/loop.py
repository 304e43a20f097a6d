"""The loop that trains every stage of every system.

All randomness is counted: noise, times, what is dropped and data order are functions of (seed, stream, number of the
sample), so N steps equal k steps, a stop, and N - k more, bit for bit on a CPU.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from t2i_core.canonical import digest_of
from t2i_core.data.batches.feed import Feed
from t2i_core.data.batches.pixels import to_unit
from t2i_core.data.batches.read import Rows
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import CheckpointError, TrainingError
from t2i_core.systems.condition import Condition, Text
from t2i_core.systems.stage import Batch, Stage
from t2i_core.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizers
from t2i_core.training.device import Compute
from t2i_core.training.optim import EMA, build_optimizers, climbed, rate_factor
from t2i_core.training.preset import Preset
from t2i_core.training.ranks import ALONE, Ranks

MAX_SKIPPED_IN_A_ROW = 20


class Sums:
    """Figures added up since the last log line; they stay on the device until they are read.

    Attributes:
        steps: added so far.
    """

    def __init__(self, figures: Mapping[str, tuple[float, float]] | None = None, steps: int = 0) -> None:
        self.steps = steps
        self._sums = {name: torch.tensor(pair, dtype=torch.float32) for name, pair in (figures or {}).items()}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Count one step: a sum and a number of samples by name, leaving out what is NaN."""
        self.steps += 1
        for name, value in figures.items():
            pair = torch.stack([value.nansum(), value.isfinite().sum()]).float()
            self._sums[name] = self._sums[name].to(pair.device) + pair if name in self._sums else pair

    def state(self) -> dict[str, Any]:
        """Read the sums from the device, as plain data for a checkpoint."""
        return {"steps": self.steps, "figures": {name: pair.tolist() for name, pair in self._sums.items()}}

    def means(self) -> dict[str, float]:
        """Read the means from the device."""
        return {name: total / count for name, (total, count) in self.state()["figures"].items() if count}


@dataclass(slots=True)
class Position:
    """Where a run is."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    skipped: int = 0
    sums: Sums = field(default_factory=Sums)

    def state(self) -> dict[str, Any]:
        """Give plain data for a checkpoint."""
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "sums": self.sums.state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Position":
        """Undo `state`.

        Raises:
            KeyError, TypeError, ValueError: it is no such state.
        """
        counts = {name: state[name] for name in ("step", "images", "skipped")}
        if any(type(count) is not int or count < 0 for count in counts.values()):
            raise ValueError(f"no counts: {counts!r:.100}")
        return cls(**counts, seconds=float(state["seconds"]), sums=Sums(**state["sums"]))


class Trainer:
    """A stage in training: weights, their averages, optimizers, and the position in the data."""

    def __init__(
        self, stage: Stage, feed: Feed, preset: Preset, seed: int, compute: Compute, ranks: Ranks = ALONE
    ) -> None:
        self.ranks = ranks
        self.stage = stage.to(compute.device).to(memory_format=torch.channels_last)
        self.feed, self.preset, self.seed, self.compute = feed, preset, seed, compute
        self.ema = EMA(self.stage, preset.ema)
        self.optimizers = build_optimizers(self.stage, self.stage.hidden_matrices(), preset.optim, compute.dtype)
        self.base_rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.position = Position()
        self._skipped_in_a_row = 0

    @property
    def progress(self) -> float:
        """Share of the budget used; with two budgets the one that is nearer its end."""
        budgets = [
            (self.position.seconds, 60 * self.preset.max_minutes),
            (self.position.images, self.preset.max_images),
        ]
        return max((done / budget for done, budget in budgets if budget), default=1.0)

    def step(self) -> None:
        """Train on one batch.

        Raises:
            TrainingError: gradients stay non-finite.
        """
        start = time.perf_counter()
        rate = self._set_rates()
        figures = self._gather_sharply(self.next_batch())
        norm = torch.nn.utils.clip_grad_norm_(self.stage.parameters(), self.preset.optim.max_grad_norm)
        finite = bool(norm.isfinite())
        self._update(finite, rate)
        if finite:
            self.position.sums.add(figures | {"grad_norm": norm})
        self.position.step += 1
        self.position.images += self.preset.batch_size
        self.position.seconds += self.ranks.agree(time.perf_counter() - start)

    def _set_rates(self) -> float:
        factor = rate_factor(self.preset.optim, self.position.step, self.progress)
        groups = (group for optimizer in self.optimizers for group in optimizer.param_groups)
        for group, base in zip(groups, self.base_rates, strict=True):
            group["lr"] = base * factor
        return factor

    def _gather_sharply(self, batch: Batch) -> dict[str, Tensor]:
        """Work out the gradient of a batch and its figures, with SAM that of other weights beside these."""
        figures = self._gather(batch)
        if rho := self.preset.optim.sam_rho:
            with climbed(self.stage, rho):
                self._gather(batch)
        return figures

    def _gather(self, batch: Batch) -> dict[str, Tensor]:
        """Work out the gradient of a batch, share by share and part by part, and its figures."""
        # Dropout, which PyTorch's own generator decides, is counted too: by the step, whose parts follow each other.
        first, _ = self.ranks.share(self.position.images, self.preset.batch_size)
        torch.manual_seed(int(digest_of({"seed": self.seed, "images": first})[:15], 16))
        found = []
        for part in batch.parts(self.preset.micro_batch_size):
            with self.compute.autocast():
                losses = self.stage.loss(part)
            torch.autograd.backward(losses.total * (len(part) / len(batch)))
            found.append(losses.figures)
        self.ranks.average([p.grad for p in self.stage.parameters() if p.grad is not None])
        figures = {name: torch.cat([each[name].reshape(-1) for each in found]) for name in found[0]}
        return self.ranks.gather(figures | _dropped(batch.condition))

    def _update(self, finite: bool, rate: float) -> None:
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if finite:
            for optimizer in self.optimizers:
                optimizer.step()
            self.ema.update(self.stage, self.position.step)
        else:
            self.position.skipped += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"gradients were not finite for {MAX_SKIPPED_IN_A_ROW} steps in a row at step {self.position.step} "
                f"(learning rate x {rate:.3g}): lower the learning rate; the last checkpoint is intact."
            )
        self.stage.zero_grad()

    def next_batch(self) -> Batch:
        """Make the batch of the current position, or this process's share of it, some of what it must fit dropped."""
        batch = self.batch(*self.ranks.share(self.position.images, self.preset.batch_size), self.seed)
        return replace(batch, condition=batch.condition.dropped(self.preset.drop_rates, batch.chance))

    def batch(self, first: int, size: int, seed: int) -> Batch:
        """Give the samples at `size` positions from one on, all of them whole.

        Args:
            first: position in the endless order of the data.
            size: how many.
            seed: of their chance.
        """
        return batch_of(self.feed.take(first, size), first, seed, self.compute.device)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Give all that a checkpoint must hold."""
        return {
            "model": self.stage.state_dict(),
            "optimizer": optimizer_tensors(self.optimizers, self.stage),
        } | {name: average.state_dict() for name, average in self.ema.by_name.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint.

        Raises:
            CheckpointError: it is damaged, or of another model.
        """
        checkpoint.restore(self.stage, "model")
        for name, average in self.ema.by_name.items():
            checkpoint.restore(average, name)
        restore_optimizers(self.optimizers, self.stage, checkpoint.tensors("optimizer"))
        try:
            self.position = Position.from_state(checkpoint.state)
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise CheckpointError(f"checkpoint {checkpoint.path} is damaged: {err!r:.200}") from err


def batch_of(rows: Rows, first: int, seed: int, device: str) -> Batch:
    """Make a batch of samples as they were read.

    Args:
        rows: the samples.
        first: number of the first one over the whole run.
        seed: of their chance.
        device: where they are to be.
    """
    text = Text.of(rows.token_ids, rows.token_mask, rows.caption_embeddings).trimmed()
    condition = Condition(text=text, image=rows.picture_embeddings)
    return Batch(
        target=to_unit(rows.pixels.to(device, non_blocking=True)).contiguous(memory_format=torch.channels_last),
        condition=condition.map(lambda tensor: tensor.to(device, non_blocking=True)),
        chance=Chance(seed, torch.arange(first, first + len(rows), device=device)),
    )


def _dropped(condition: Condition) -> dict[str, Tensor]:
    """Tell which samples are without each field that may be dropped: (B,) float, 1 = without."""
    return {f"dropped_{name}": 1 - mask.float() for name, mask in condition.keep.items()}


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and SIGINT into a question that the loop asks between steps.

    Outside the main thread signals cannot be caught, and the question is always answered no.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
