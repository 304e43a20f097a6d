"""The loop that trains every stage of every system.

All randomness is counted: noise, times, caption dropout and data order are functions of (seed, stream, pictures seen),
so N steps equal k steps, a stop, and N - k more, bit for bit on a CPU.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2i_core.canonical import digest_of
from t2i_core.data.batches.loader import Split
from t2i_core.data.batches.order import sample_at
from t2i_core.data.batches.pixels import to_unit
from t2i_core.diffusion.loss import NUM_BANDS
from t2i_core.errors import CheckpointError, TrainingError
from t2i_core.systems.build import AnySystem
from t2i_core.systems.diffusion import null_like
from t2i_core.systems.system import Batch, Condition, Losses
from t2i_core.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizers
from t2i_core.training.device import Compute
from t2i_core.training.ema import EMA
from t2i_core.training.optim import build_optimizers, rate_factor
from t2i_core.training.preset import Preset

MAX_SKIPPED_IN_A_ROW = 20


@dataclass(slots=True)
class Sums:
    """What has been added up since the last log line."""

    steps: int = 0
    grad_norm: float = 0.0
    error: list[float] = field(default_factory=lambda: [0.0] * NUM_BANDS)
    count: list[int] = field(default_factory=lambda: [0] * NUM_BANDS)

    def add(self, losses: Losses, grad_norm: float) -> None:
        """Count one step."""
        self.steps += 1
        self.grad_norm += grad_norm
        band = losses.band.cpu()
        for b in range(NUM_BANDS):
            chosen = losses.each.cpu()[band == b]
            self.error[b] += float(chosen.double().sum())
            self.count[b] += len(chosen)

    def metrics(self, *, by_band: bool) -> dict[str, float]:
        """Give the means."""
        out = {
            "train/loss": sum(self.error) / max(1, sum(self.count)),
            "train/grad_norm": self.grad_norm / max(1, self.steps),
        }
        if by_band:
            rows = enumerate(zip(self.error, self.count, strict=True))
            out |= {f"train/loss_band_{b}": error / count for b, (error, count) in rows if count}
        return out


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
        s = self.sums
        sums = {"steps": s.steps, "grad_norm": s.grad_norm, "error": s.error, "count": s.count}
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "sums": sums,
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
    """A system in training: weights, their average, optimizers, and the position in the data."""

    def __init__(
        self, system: AnySystem, split: Split, condition: Condition, preset: Preset, seed: int, compute: Compute
    ) -> None:
        self.system = system.to(compute.device).to(memory_format=torch.channels_last)
        self.split, self.condition, self.preset, self.seed, self.compute = split, condition, preset, seed, compute
        self.ema = EMA(self.system, preset.ema)
        self.optimizers = build_optimizers(self.system, self.system.hidden_matrices(), preset.optim, compute.dtype)
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
        losses = self._loss(self.next_batch())
        torch.autograd.backward(losses.total)
        norm = float(torch.nn.utils.clip_grad_norm_(self.system.parameters(), self.preset.optim.max_grad_norm))
        self._update(math.isfinite(norm), rate)
        if math.isfinite(norm):
            self.position.sums.add(losses, norm)
        self.position.step += 1
        self.position.images += self.preset.batch_size
        self.position.seconds += time.perf_counter() - start

    def _set_rates(self) -> float:
        factor = rate_factor(self.preset.optim, self.position.step, self.progress)
        groups = (group for optimizer in self.optimizers for group in optimizer.param_groups)
        for group, base in zip(groups, self.base_rates, strict=True):
            group["lr"] = base * factor
        return factor

    def _loss(self, batch: Batch) -> Losses:
        with self.autocast():
            losses: Losses = self.system.loss(batch)
        return losses

    def autocast(self) -> torch.autocast:
        """Give the context in which networks run."""
        return torch.autocast(self.compute.device, torch.bfloat16, enabled=self.compute.precision == "bfloat16")

    def _update(self, finite: bool, rate: float) -> None:
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if finite:
            for optimizer in self.optimizers:
                optimizer.step()
            self.ema.update(self.system, self.position.step)
        else:
            self.position.skipped += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"gradients were not finite for {MAX_SKIPPED_IN_A_ROW} steps in a row at step {self.position.step} "
                f"(learning rate x {rate:.3g}): lower the learning rate; the last checkpoint is intact."
            )
        self.system.zero_grad()

    def next_batch(self) -> Batch:
        """Make the batch of the current position."""
        size, first = self.preset.batch_size, self.position.images
        rows = [sample_at(self.seed, first + i, len(self.split)) for i in range(size)]
        pixels = torch.from_numpy(self.split.pictures(rows)).to(self.compute.device, non_blocking=True)
        x_0 = to_unit(pixels).contiguous(memory_format=torch.channels_last)
        eps = torch.empty(size, 0, device=x_0.device)
        if self.system.uses_noise:
            eps = torch.empty_like(x_0).normal_(generator=self._generator("eps", x_0.device))
        jitter = torch.rand(size, generator=self._generator("time"))
        u = ((torch.arange(size) + jitter) / size).to(x_0.device)  # stratified: one time in each of B equal slices
        return Batch(x_0=x_0, condition=self._condition(rows), eps=eps, u=u)

    def _condition(self, rows: list[int]) -> Condition:
        chosen = Condition(token_ids=self.condition.token_ids[rows], token_mask=self.condition.token_mask[rows])
        drop = torch.rand(len(rows), generator=self._generator("caption_dropout")) < self.preset.caption_dropout
        null = null_like(chosen)
        ids = torch.where(drop[:, None], null.token_ids, chosen.token_ids)
        mask = torch.where(drop[:, None], null.token_mask, chosen.token_mask)
        return Condition(token_ids=ids, token_mask=mask).trimmed().to(self.compute.device)

    def _generator(self, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
        entropy = digest_of({"seed": self.seed, "stream": stream, "images": self.position.images})
        return torch.Generator(device).manual_seed(int(entropy[:15], 16))

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Give all that a checkpoint must hold."""
        return {
            "model": self.system.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": optimizer_tensors(self.optimizers, self.system),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint.

        Raises:
            CheckpointError: it is damaged, or of another model.
        """
        checkpoint.restore(self.system, "model")
        checkpoint.restore(self.ema.module, "ema")
        restore_optimizers(self.optimizers, self.system, checkpoint.tensors("optimizer"))
        try:
            self.position = Position.from_state(checkpoint.state)
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise CheckpointError(f"checkpoint {checkpoint.path} is damaged: {err!r:.200}") from err


def caption_condition(ids: "np.typing.NDArray[np.int64]", mask: "np.typing.NDArray[np.bool_]") -> Condition:
    """Wrap a tokenizer's output."""
    return Condition(token_ids=torch.from_numpy(ids), token_mask=torch.from_numpy(mask))


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
