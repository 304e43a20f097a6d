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
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from t2i_core.data.account.shortfall import shortfalls
from t2i_core.errors import T2IError, TransientError
from t2i_core.folders.manifest import StepRef
from t2i_core.progress import OnProgress, Progress, describe_progress
from tasks.keys import slug

P = ParamSpec("P")
R = TypeVar("R")

NUM_RETRIES = 3
ARTIFACT_SECONDS = 5.0
LOG_SECONDS = 30.0
# Between lines of a step that only waits for somebody.
WAITING_SECONDS = 60.0

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
    make = task(
        name=name,
        task_run_name=run_name,
        retries=NUM_RETRIES,
        retry_delay_seconds=exponential_backoff(5),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
    )
    return lambda function: make(ending_in_words(function))


def ending_in_words(function: Callable[P, R]) -> Callable[P, R]:
    """Let a task or flow fail with the sentence that an error of ours is, and no traceback in the log.

    Where in the code it was found that a request is wrong helps nobody. Whoever asks for the result gets the error.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except T2IError as err:
            # What Prefect shows of the run, in the place of what the function would have given it.
            return Failed(message=str(err), data=err)  # type: ignore[return-value]

    return called


def outcome(ref: StepRef) -> State[StepRef]:
    """End a task with its reference; a folder that was done before shows as `Cached`."""
    message = f"{ref.kind} {ref.digest[:12]} in {ref.path}: {describe_counts(ref)}"
    return Completed(name="Cached" if ref.hit else None, message=message, data=ref)


def reference(state: State[Any]) -> StepRef:
    """Take the reference out of the state that a task or flow ended in, or raise what it failed with."""
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
        board.ended_well = True
    finally:
        board.finished.set()
        thread.join(timeout=ARTIFACT_SECONDS)


class ProgressBoard:
    """The latest progress of a step, published at a leisurely pace."""

    def __init__(self, key: str) -> None:
        self.key = slug(key)
        self.latest: Progress | None = None
        self.finished = threading.Event()
        self.ended_well = False
        self._artifact_id: UUID | None = None
        self._logged_at = self._moved_at = time.monotonic()
        self._said_who = False

    def publish(self) -> None:
        """Show changes until the step has finished, then the last one, which is all of it if the step ended well."""
        shown: Progress | None = None
        while not self.finished.wait(ARTIFACT_SECONDS):
            shown = self._show(shown)
        if self.latest and (self.ended_well or self.latest is not shown):
            self._publish(self.latest)

    def _show(self, shown: Progress | None) -> Progress | None:
        latest = self.latest
        if latest is None:
            return shown
        if latest is not shown:
            self._moved_at = time.monotonic()
            self._publish(latest)
        self._log(latest)
        return latest

    def _publish(self, progress: Progress) -> None:
        # A view that cannot be written never fails the work.
        with suppress(Exception):
            self._update_artifact(progress)

    def _log(self, latest: Progress) -> None:
        """Say now and then how far it is, also when it stands still, as while a host that was busy is left alone."""
        now = time.monotonic()
        if now - self._logged_at <= (WAITING_SECONDS if latest.waiting and self._said_who else LOG_SECONDS):
            return
        self._logged_at, self._said_who = now, bool(latest.waiting)
        still = f" (nothing new for {now - self._moved_at:.0f} s)" if now - self._moved_at > LOG_SECONDS else ""
        with suppress(MissingContextError):
            get_run_logger().info(f"{describe_progress(latest)}{still}")

    def _update_artifact(self, progress: Progress) -> None:
        text = describe_progress(progress)
        percent = 100.0 if self.ended_well else share_done(progress)
        if self._artifact_id is None:
            self._artifact_id = create_progress_artifact(percent, key=self.key, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact_id, percent, description=text)


def share_done(progress: Progress) -> float:
    """Give how much of a step under way is done, in percent."""
    return 100 * min(1.0, progress.done / progress.total) if progress.total else 0.0
