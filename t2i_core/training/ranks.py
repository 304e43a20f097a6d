"""Several processes that train one model: each works on its share of every batch, and all make the same step.

Samples are counted over the whole run, so a sample gets the same noise in whichever share it is. What the shares found
is averaged, and every process updates weights of its own alike. All run the same code; the first one writes the folder,
measures the time and says when to stop. The supervisor starts them, and ends all when one fails.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from t2i_core.errors import ConfigError, StoppedError, TrainingError
from t2i_core.training.device import Compute
from t2i_core.training.supervisor import EXIT_LEFT

MEETING_NAME = "meeting"
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
# The others wait while the first one looks at validation pictures and draws; whoever dies is seen by the supervisor.
PATIENCE = timedelta(days=30)


class LeftError(TrainingError):
    """Another process of the training ended, and says why."""

    exit_code = EXIT_LEFT


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    num: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    @contextmanager
    def meeting(self, folder: Path) -> Iterator[None]:
        """Meet the others in a folder that nobody else may write in; they can be reached from this machine only."""
        if self.num == 1:
            yield
            return
        os.environ |= {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            init_method=f"file://{folder / MEETING_NAME}",
            timeout=PATIENCE,
            rank=self.rank,
            world_size=self.num,
        )
        # Nobody can part from others of whom one failed; all stop at the same step.
        try:
            yield
        except StoppedError:
            distributed.destroy_process_group()
            raise
        distributed.destroy_process_group()

    def take_device(self, compute: Compute) -> None:
        """Work on the graphics card of this process's number; on a CPU there is nothing to take.

        Raises:
            ConfigError: there are fewer than processes.
        """
        there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(compute.device, self.num)
        if self.num > there:
            raise ConfigError(f"--devices {self.num}: this machine has {there}.")
        if compute.device == "cuda" and self.num > 1:
            torch.cuda.set_device(self.rank)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.num > 1:
            _call(distributed.all_reduce, torch.zeros(1))

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Let the others do the same only when the first process has done it."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def share(self, first: int, size: int) -> tuple[int, int]:
        """Give the first position of its share of a batch, and how many there are."""
        part = size // self.num
        return first + self.rank * part, part

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes."""
        if self.num > 1:
            whole = torch.cat([tensor.flatten() for tensor in tensors])
            _call(distributed.all_reduce, whole)
            means = torch.split(whole.div_(self.num), [tensor.numel() for tensor in tensors])
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean.view_as(tensor))

    def gather(self, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the figures of the whole batch: (B,) float each, of those (b,) of all shares in order."""
        if self.num == 1:
            return dict(figures)
        mine = torch.cat([figure.float() for figure in figures.values()])
        shares = [torch.empty_like(mine) for _ in range(self.num)]
        _call(distributed.all_gather, shares, mine)
        sizes = [len(figure) for figure in figures.values()]
        columns = zip(*(torch.split(share, sizes) for share in shares), strict=True)
        return {name: torch.cat(column) for name, column in zip(figures, columns, strict=True)}

    def agree(self, value: float) -> float:
        """Give the value that the first process has."""
        if self.num == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        _call(distributed.broadcast, shared, 0)
        return float(shared)


ALONE = Ranks()


def _call(collective: Callable[..., Any], *arguments: Any) -> None:
    try:
        collective(*arguments)
    except RuntimeError as err:
        raise LeftError(f"another process of this training ended ({str(err).splitlines()[0]:.200}).") from err
