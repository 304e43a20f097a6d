"""What every task shares: when to retry, how a hit is shown, and where progress goes.

The disk is the only cache. Each core step decides by its key (a digest of config, version and input content) and by
the outputs themselves whether its work is done, and Prefect shows such a hit as `Cached`. Prefect's own cache would
remember what was once returned, not what is on disk now.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from t2i_core.data.account.shortfall import shortfalls
from t2i_core.errors import TransientError
from t2i_core.manifest import StepRef
from t2i_core.progress import OnProgress, Progress, describe_progress

P = ParamSpec("P")
R = TypeVar("R")

NUM_RETRIES = 3
ARTIFACT_SECONDS = 5.0
LOG_SECONDS = 30.0

# Set by whoever runs a flow in its own process and wants to see the progress there.
LISTENER: ContextVar[OnProgress | None] = ContextVar("progress listener", default=None)


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry when the world was busy, and for nothing else."""
    with suppress(Exception):
        try:
            state.result()
        except TransientError:
            return True
    return False


def step_task(name: str, run_name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task of a core step: retried after a `TransientError`, five, ten, twenty seconds later or more.

    Args:
        name: the task's name.
        run_name: a run's name, with the step's arguments in braces.
    """
    return task(
        name=name,
        task_run_name=run_name,
        retries=NUM_RETRIES,
        retry_delay_seconds=exponential_backoff(5),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
    )


def outcome(ref: StepRef) -> State[StepRef]:
    """End a task with its reference; a folder that was done before shows as `Cached`."""
    message = f"{ref.kind} {ref.digest[:12]} in {ref.path}: {describe_counts(ref)}"
    return Completed(name="Cached" if ref.hit else None, message=message, data=ref)


def reference(state: State[Any]) -> StepRef:
    """Take the reference out of the state that a task or flow ended in."""
    return StepRef.model_validate(state.result())


def describe_counts(ref: StepRef) -> str:
    """Write a reference's counts in one line, and what a dataset lacks."""
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(ref.counts.items()))
    missing = shortfalls(ref.counts) if ref.kind == "dataset" else []
    return ". ".join([counts, *map(str, missing)])


@contextmanager
def reporting(key: str) -> Iterator[OnProgress]:
    """Pass a step's progress on: to the listener at once, to a progress artifact and the run's log now and then.

    The artifact is written from a thread of its own, so that a slow server never holds up the step.

    Args:
        key: key of the progress artifact.
    """
    listener, board = LISTENER.get(), ProgressBoard(key)
    thread = threading.Thread(target=copy_context().run, args=(board.publish,), name=f"progress {key}", daemon=True)
    thread.start()

    def on_progress(progress: Progress) -> None:
        board.latest = progress
        if listener:
            listener(progress)

    try:
        yield on_progress
    finally:
        board.finished.set()
        thread.join(timeout=ARTIFACT_SECONDS)


class ProgressBoard:
    """The latest progress of a step, published at a leisurely pace."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.latest: Progress | None = None
        self.finished = threading.Event()
        self._artifact_id: UUID | None = None
        self._logged_at = time.monotonic()

    def publish(self) -> None:
        """Show changes until the step has finished, then the last one."""
        shown: Progress | None = None
        while not self.finished.wait(ARTIFACT_SECONDS):
            shown = self._show(shown)
        self._show(shown)

    def _show(self, shown: Progress | None) -> Progress | None:
        latest = self.latest
        if latest is None or latest is shown:
            return shown
        # A view that cannot be written never fails the work.
        with suppress(Exception):
            self._update_artifact(latest)
        if time.monotonic() - self._logged_at > LOG_SECONDS:
            self._logged_at = time.monotonic()
            with suppress(MissingContextError):
                get_run_logger().info(describe_progress(latest))
        return latest

    def _update_artifact(self, progress: Progress) -> None:
        percent = 100 * min(1.0, progress.done / progress.total) if progress.total else 0.0
        text = describe_progress(progress)
        if self._artifact_id is None:
            self._artifact_id = create_progress_artifact(percent, key=self.key, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact_id, percent, description=text)
