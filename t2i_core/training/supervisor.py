"""Runs training as processes of their own that never outlive the process that asked for it: one, or one a device.

Each trainer gets its own session, so a Ctrl-C at the terminal reaches only the supervisor, which then stops the whole
group: SIGTERM first, so that it writes a checkpoint, SIGKILL when that takes too long. Should the supervisor itself be
killed, the kernel tells the trainer (`die_with_parent`). Output goes to a file: an inherited pipe kept open by a
trainer would make whoever reads it wait for ever.

Trainings side by side are supervised by a thread each, which no signal reaches: see `side_by_side`.

Of several trainers none can go on without the others. When one fails, the others are ended, and its error is told.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from t2i_core.children import module_command, start
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.door import open_to_append, read_file
from t2i_core.errors import ConfigError, DataError, StoppedError, TrainingError, TransientError
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef
from t2i_core.machine import usable_cores
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.training.claim import claimed_run
from t2i_core.training.config import TrainConfig

PROGRESS_NAME = "progress.json"
EXIT_CONFIG, EXIT_STOPPED = ConfigError.exit_code, StoppedError.exit_code
# Of a trainer whose companion ended, which is the one to ask.
EXIT_LEFT = 3
# Of one that may do better another time; for a person it is 1, as any failure.
EXIT_TRANSIENT = 4
# A Prefect worker kills what has not ended 30 s after a cancel, so the trainer's own time is shorter.
GRACE_SECONDS = 20.0
POLL_SECONDS = 0.3
# glibc gives large blocks back to the kernel as soon as they are free, and a training frees the same ones again every
# step: some 25,000 page faults a step, which cost most where memory is shared with other machines.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_MMAP_THRESHOLD_": str(1 << 34)}
MAX_PROGRESS_BYTES = 1024 * 1024
MAX_LOG_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Beside:
    """Trainings side by side: how many, and whether all are to stop."""

    num: int = 1
    stop: threading.Event = field(default_factory=threading.Event)


_BESIDE: ContextVar[_Beside | None] = ContextVar("trainings side by side", default=None)


@contextmanager
def side_by_side(num: int) -> Iterator[None]:
    """Let so many trainings share the machine that threads with the context of this block start.

    When the block ends by an error or an interrupt, each writes a checkpoint and stops.
    """
    beside = _Beside(num)
    token = _BESIDE.set(beside)
    try:
        yield
    except BaseException:
        beside.stop.set()
        raise
    finally:
        _BESIDE.reset(token)


def attempted(train: Callable[[], StepRef]) -> StepRef | TrainingError:
    """Train, or give the reason why that cannot go on, where others may."""
    try:
        return train()
    except TrainingError as err:
        return err


@tells_disk_errors
def supervise_training(
    captions_dir: Path,
    config: TrainConfig,
    output_dir: Path,
    *,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Train in a process of its own and wait for it; a finished run of the same key is returned at once.

    Call it on the main thread, where signals come, or in a thread within `side_by_side`.

    Args:
        captions_dir: a finished captions folder.
        config: what to train, and for how long.
        output_dir: the run folder; an unfinished run of the same key is resumed.
        on_conflict: what to do with a folder that holds other work.
        on_progress: gets the trainer's progress about once a second.

    Raises:
        ConfigError: the trainer refused the request.
        StoppedError: the trainer was asked to stop and wrote a checkpoint.
        TransientError: the trainer was killed from outside, and the same call resumes; or another writes the folder.
        TrainingError: training cannot go on.
    """
    with claimed_run(captions_dir, config, output_dir, on_conflict) as (key, hit):
        if hit:
            return hit
        with _config_file(config) as config_path:
            folders = ("--captions-dir", str(captions_dir.absolute()), "--output-dir", str(output_dir.absolute()))
            options = ("--config", str(config_path), "--on-conflict", on_conflict)
            command = module_command("t2i_core.training", *folders, *options, "--rank")
            supervise([[*command, str(rank)] for rank in range(config.devices)], output_dir, on_progress=on_progress)
    done = find_hit(output_dir, key)
    if done is None:
        raise DataError(f"training ended well, but {output_dir} is not complete; see {output_dir / log_name(0)}.")
    return done.with_changes(hit=False)


def supervise(
    commands: Sequence[Sequence[str]],
    run_dir: Path,
    *,
    on_progress: OnProgress = ignore_progress,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Run trainers to their end, and end them when this process is told to stop or one of them fails.

    Args:
        commands: the program and its arguments of each, with absolute paths: it runs in another folder.
        run_dir: where the first writes `progress.json`; the output of each is appended to a log there.
        on_progress: gets each new progress record.
        grace_seconds: time between SIGTERM and SIGKILL.

    Raises:
        ConfigError, StoppedError, TransientError, TrainingError: as the exit code says (see `failure`).
    """
    watch, beside = ProgressWatch(run_dir / PROGRESS_NAME, on_progress), _BESIDE.get() or _Beside()
    trainers: list[_Started] = []
    with ExitStack() as logs:
        try:
            for rank, command in enumerate(commands):
                log = logs.enter_context(open_to_append(run_dir / log_name(rank)))
                trainers.append(_started(command, log, _environment(len(commands) * beside.num)))
            while not _is_over([trainer.process.poll() for trainer in trainers]):
                watch.look()
                if beside.stop.wait(POLL_SECONDS):
                    raise StoppedError("training was stopped with those beside it; the same command resumes.")
            # Asked again: of two that have ended, the one that ended first was perhaps looked at before it had.
            codes = [trainer.process.poll() for trainer in trainers]
        finally:
            _stop([trainer.process for trainer in trainers], grace_seconds)
        watch.look()
        # The one that failed is asked before those that it left alone, which end by themselves or are aborted.
        for rank in sorted(range(len(codes)), key=lambda rank: codes[rank] in (EXIT_LEFT, -signal.SIGABRT)):
            if (code := codes[rank]) and (error := failure(code, trainers[rank].message, run_dir / log_name(rank))):
                raise error


def log_name(rank: int) -> str:
    """Name the file that the output of a trainer goes to."""
    return f"train_{rank}.log" if rank else "train.log"


@dataclass(frozen=True, slots=True)
class _Started:
    process: "subprocess.Popen[bytes]"
    log: FileIO
    log_start: int

    @property
    def message(self) -> str:
        # Read from what is open: somebody may have deleted the file.
        return last_message(self.log, self.log_start)


def _started(command: Sequence[str], log: FileIO, extra: Mapping[str, str]) -> _Started:
    log_start = log.seek(0, os.SEEK_END)
    return _Started(start(command, stdout=log, stderr=subprocess.STDOUT, extra=extra), log, log_start)


def _is_over(codes: Sequence[int | None]) -> bool:
    """Tell whether all have ended, or one so that the others cannot go on."""
    return None not in codes or not {*codes} <= {None, 0, EXIT_STOPPED, EXIT_LEFT}


def failure(
    exit_code: int, message: str, log_path: Path
) -> ConfigError | StoppedError | TransientError | TrainingError | None:
    """Turn a trainer's exit code into the error to raise; None for success.

    Args:
        exit_code: as `subprocess` gives it: negative for a signal.
        message: the last line the trainer wrote.
        log_path: named in messages that the trainer could not write itself.
    """
    if exit_code == 0:
        return None
    if exit_code == EXIT_CONFIG:
        return ConfigError(message or f"the trainer refused the request; see {log_path}.")
    if exit_code == EXIT_STOPPED:
        return StoppedError(message or "training was stopped after a checkpoint; the same command resumes.")
    if exit_code == EXIT_TRANSIENT:
        return TransientError(message or f"the trainer could not go on for now; see {log_path}.")
    if exit_code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        name = signal.Signals(-exit_code).name
        return TransientError(
            f"the trainer was killed by {name}; the same command resumes from its last checkpoint"
            " (if memory ran out, choose a smaller batch)."
        )
    if exit_code < 0:
        return TrainingError(f"the trainer crashed with {signal.Signals(-exit_code).name}; see {log_path}.")
    return TrainingError(message or f"the trainer ended with exit code {exit_code}; see {log_path}.")


def last_message(log: FileIO, start: int = 0) -> str:
    """Give the last non-empty line of a log from byte `start` on, or ""."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(start, size - MAX_LOG_TAIL_BYTES))
    lines = log.read(MAX_LOG_TAIL_BYTES).decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@dataclass(slots=True)
class ProgressWatch:
    """Passes a progress file on each time it changes."""

    path: Path
    on_progress: OnProgress
    last: bytes = b""

    def look(self) -> None:
        """Read the file, which a finished trainer removes, and report it if it is new."""
        try:
            text = read_file(self.path, MAX_PROGRESS_BYTES)
        except FileNotFoundError:
            return
        if text != self.last:
            self.last = text
            self.on_progress(Progress(**json.loads(text)))


def _stop(processes: "Sequence[subprocess.Popen[bytes]]", grace_seconds: float) -> None:
    """End what is left of the trainers' groups, politely at first; a second interrupt ends them at once."""
    end = time.monotonic() + grace_seconds
    try:
        running = [process for process in processes if process.poll() is None]
        for process in running:
            _signal_group(process, signal.SIGTERM)
        for process in running:
            process.wait(max(0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in processes:
            _signal_group(process, signal.SIGKILL)
        for process in processes:
            process.wait()


def _environment(num: int) -> dict[str, str]:
    """Say what each of so many trainers needs, where the person says nothing else."""
    wanted = dict(KEEP_MEMORY)
    if num > 1:
        # A warning at the very end would stand where the cause is looked for.
        wanted |= {"OMP_NUM_THREADS": str(max(1, usable_cores() // num)), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def _config_file(config: TrainConfig) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t2i-train-") as folder:
        path = Path(folder) / "config.json"
        path.write_text(config.anchored().model_dump_json(), encoding="utf-8")
        yield path
