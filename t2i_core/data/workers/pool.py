"""Worker processes that may crash, hang or run out of memory: that costs one job, and not the run."""

import asyncio
import json
import signal
import socket
from collections import deque
from dataclasses import dataclass
from typing import Any, Self, cast

from t2i_core.data.workers.early import start_worker
from t2i_core.data.workers.worker import FRAME, frame
from t2i_core.errors import TransientError

MAX_ANSWER_BYTES = 512 * 1024 * 1024
# While one job is worked on, others are already there: many short ones, which are done before this program looks again.
MIN_JOBS_AHEAD, MAX_JOBS_AHEAD = 3, 16
BYTES_AHEAD = 1_000_000
# What a process ends in may not be its job's doing: somebody may have killed it. A limit that it ran into is.
MAX_TRIES = 2
# Its processor time is limited from within; this is for a process that stands still.
MAX_WALL_SECONDS = 120.0

Answer = tuple[Any, bytes]


class WorkerPool:
    """Gives jobs to processes of one kind. Use as an async context manager; it starts them with the first job.

    Args:
        module: their main module, which calls `worker.serve`.
        size: how many.
        setup: a JSON value for the first message.
    """

    def __init__(self, module: str, size: int, setup: Any = None) -> None:
        self._module = module
        self._size = size
        self._setup = setup
        self._waiting: deque[_Job] = deque()
        self._workers: list[_Worker] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()

    def start(self) -> None:
        """Start the processes now, so that they are ready when the first job comes."""
        while len(self._workers) < self._size:
            self._workers.append(_Worker(self, self._module, self._setup))

    async def ask(self, value: Any, body: bytes) -> Answer | None:
        """Give one job to a process, and wait for its answer.

        Returns:
            None when a process runs out of time in it, or when processes end in it twice for whatever reason.

        Raises:
            TransientError: the processes do not start.
        """
        job = _Job((value, body), asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self.start()
        self.hand_out()
        return await job.answer

    def hand_out(self) -> None:
        """Give waiting jobs to the processes that have the least to do."""
        self._share_out()
        for worker in self._workers:
            worker.send()

    def _share_out(self) -> None:
        while self._waiting:
            able = (worker for worker in self._able(self._waiting[0]) if worker.has_room)
            worker = min(able, key=_num_jobs, default=None)
            if worker is None:
                return
            job = self._waiting.popleft()
            if not job.answer.done():
                worker.give(job)

    def _able(self, job: "_Job") -> "list[_Worker]":
        """Give the processes that may do a job: it must not be blamed for one that was killed with its last one."""
        return [worker for worker in self._workers if worker.is_alive] if job.tries else self._workers

    def replace(self, worker: "_Worker") -> None:
        """Start another process for one that ended, with the jobs that it had left."""
        if worker not in self._workers:
            return
        jobs = list(worker.jobs)
        worker.end()
        self._workers.remove(worker)
        if not worker.is_ready:
            told = f"the process {self._module} did not start (exit code {worker.exit_code}). Try again."
            _fail([*jobs, *self._waiting], TransientError(told))
            self._waiting.clear()
            return
        jobs[:1] = [job for job in jobs[:1] if not job.blame(is_sure=worker.ran_out_of_time)]
        self._waiting.extendleft(reversed(jobs))
        self.start()
        self.hand_out()


@dataclass(slots=True)
class _Job:
    message: Answer
    answer: asyncio.Future[Answer | None]
    tries: int = 0

    def blame(self, *, is_sure: bool) -> bool:
        """Count a process that ended in this job; when there are too many, or the job is sure to be why, answer so."""
        self.tries += 1
        if self.tries < MAX_TRIES and not is_sure:
            return False
        if not self.answer.done():
            self.answer.set_result(None)
        return True


def _num_jobs(worker: "_Worker") -> int:
    return len(worker.jobs)


def _fail(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(error)


class _Worker(asyncio.Protocol):
    """One process, and the jobs it has, the oldest first."""

    def __init__(self, pool: WorkerPool, module: str, setup: Any) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = list(frame(setup))
        self._received = bytearray()
        self._loop = asyncio.get_running_loop()
        self.jobs: deque[_Job] = deque()
        self._num_bytes = 0
        self.is_ready = False
        self._stood_still = False
        self._process, ours = start_worker(module)
        self._connecting = self._loop.create_task(self._connect(ours))
        self._idle_since = self._loop.time()
        self._watch()

    async def _connect(self, line: socket.socket) -> None:
        await self._loop.create_connection(lambda: self, sock=line)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send()

    def give(self, job: _Job) -> None:
        """Let the process do a job after those it has, once it is sent."""
        self.jobs.append(job)
        self._num_bytes += len(job.message[1])
        self._unsent += frame(*job.message)
        if len(self.jobs) == 1:
            self._idle_since = self._loop.time()

    def send(self) -> None:
        """Send all jobs that were given since, together."""
        if self._transport is not None and self._unsent:
            self._transport.writelines(self._unsent)
            self._unsent = []

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            self._take_whole_ones()
        except ValueError:
            return self._pool.replace(self)
        return self._pool.hand_out()

    def _take_whole_ones(self) -> None:
        """Take the answers that have arrived.

        Raises:
            ValueError: something is no answer.
        """
        while len(self._received) >= FRAME.size:
            text_size, body_size = FRAME.unpack_from(self._received)
            end = FRAME.size + text_size + body_size
            if end > MAX_ANSWER_BYTES:
                raise ValueError("an answer that is too long")
            if len(self._received) < end:
                return
            with memoryview(self._received) as view:
                text = bytes(view[FRAME.size : FRAME.size + text_size])
                body = bytes(view[FRAME.size + text_size : end])
            del self._received[:end]
            self._take((json.loads(text), body))

    def _take(self, answer: Answer) -> None:
        self._idle_since = self._loop.time()
        if not self.is_ready:
            self.is_ready = True
            return
        if not self.jobs:
            raise ValueError("an answer to nothing")
        job = self.jobs.popleft()
        self._num_bytes -= len(job.message[1])
        if not job.answer.done():
            job.answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.replace(self)

    def _watch(self) -> None:
        """Look whether the process stands still, and again when it next may have for too long."""
        idle_seconds = self._loop.time() - self._idle_since
        if (self.jobs or not self.is_ready) and idle_seconds >= MAX_WALL_SECONDS:
            self._stood_still = True
            self._pool.replace(self)
            return
        left = MAX_WALL_SECONDS - idle_seconds if self.jobs or not self.is_ready else MAX_WALL_SECONDS
        self._watchdog = self._loop.call_later(left, self._watch)

    @property
    def has_room(self) -> bool:
        """Whether it is to have another job."""
        is_short = len(self.jobs) < MAX_JOBS_AHEAD and self._num_bytes < BYTES_AHEAD
        return is_short or len(self.jobs) < MIN_JOBS_AHEAD

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended, as far as can be told."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The process's exit code, after its end; negative for a signal."""
        return self._process.returncode

    @property
    def ran_out_of_time(self) -> bool:
        """Whether a limit of time ended the process, after its end."""
        return self._stood_still or self.exit_code == -signal.SIGXCPU

    def end(self) -> None:
        """Kill the process; its jobs are left as they are."""
        self._process.kill()
        self._process.wait()
        self._connecting.cancel()
        self._watchdog.cancel()
        if self._transport is not None:
            self._transport.abort()
