"""Every error that ends a run.

T2IError
├─ ConfigError          the request cannot be right; says what to change             exit 2
├─ TransientError       the world was busy; the only one that is retried             exit 1
├─ DataError            something on disk is not what it claims to be                exit 1
│  ├─ ShardError        a damaged shard, with the number of samples lost
│  └─ CheckpointError   a damaged checkpoint, or one of another model
├─ TrainingError        training cannot go on (diverged, ran out of memory)          exit 1
└─ StoppedError         stopped on request; the same command resumes                 exit 75

A bad *sample* never raises: it is counted under a `RejectReason`.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any


class T2IError(Exception):
    """Base of all errors that t2i raises on purpose; its message says what happened and what to do."""

    exit_code = 1


class ConfigError(T2IError):
    """The request cannot be right. Never retried."""

    exit_code = 2


class TransientError(T2IError):
    """The world was busy: time-out, refused connection, full disk. The only error that is retried."""


class DataError(T2IError):
    """Something on disk is not what it claims to be."""


class ShardError(DataError):
    """A shard is damaged.

    Attributes:
        path: the shard.
        num_lost: how many of its samples cannot be read.
    """

    def __init__(self, message: str, *, path: str, num_lost: int) -> None:
        super().__init__(message)
        self.path = path
        self.num_lost = num_lost

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross from one process to another whole."""
        return partial(type(self), path=self.path, num_lost=self.num_lost), self.args


class CheckpointError(DataError):
    """A checkpoint is damaged, or belongs to another model."""


class TrainingError(T2IError):
    """Training cannot go on."""


class StoppedError(T2IError):
    """Stopped on request after a checkpoint; the same command resumes."""

    exit_code = 75


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Write " (did you mean 'X'?)" for the known word that is most like a mistyped one; "" when none is."""
    nearest = get_close_matches(word, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
