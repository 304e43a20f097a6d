"""A process that reads lists and tables, and the line to it; idle ones wait for the next who reads."""

import json
import os
import signal
import struct
import subprocess
from contextlib import suppress
from typing import Any, BinaryIO, cast

from t2i_core.data.workers.early import LIST_READER, start_worker
from t2i_core.data.workers.worker import FRAME, frame
from t2i_core.errors import TransientError

MAX_ANSWER_BYTES = 512 * 1024 * 1024
# The process limits the time that it works; this is for one that stands still.
MAX_WALL_SECONDS = 1800.0
MAX_WAITING = 2


class ReadError(Exception):
    """A list or a table cannot be read, from its start or from here on."""


class TiredError(Exception):
    """The process ended because nobody asked it anything for too long."""


class ListProcess:
    """One process. It answers questions about one file after the other."""

    def __init__(self) -> None:
        self._popen, self._line = start_worker(LIST_READER)
        self._line.settimeout(MAX_WALL_SECONDS)
        self._received = cast(BinaryIO, self._line.makefile("rb", buffering=1 << 18))
        self._parent_id = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether it is alive, and was started by this very process and not by one that this one is a fork of."""
        return self._parent_id == os.getpid() and self._popen.poll() is None

    def end(self) -> None:
        """Kill it, if it is ours to kill."""
        self._received.close()
        self._line.close()
        if self._parent_id == os.getpid():
            self._popen.kill()
            self._popen.wait()

    def send(self, value: Any, body: bytes = b"") -> None:
        """Ask something, or give what was asked for."""
        with suppress(BrokenPipeError, ConnectionResetError):
            # How the process ended is found when its answer is read.
            self._line.sendall(b"".join(frame(value, body)))

    def receive(self) -> tuple[Any, bytes]:
        """Wait for an answer.

        Raises:
            ReadError: what the process reads ended it.
            TiredError: it was idle for too long before.
            TransientError: somebody else ended it, or it did not start.
        """
        try:
            text_size, body_size = FRAME.unpack(self._received.read(FRAME.size))
            if text_size + body_size > MAX_ANSWER_BYTES:
                raise ReadError("reading it gives too much at once")
            text, body = self._received.read(text_size), self._received.read(body_size)
            if len(text) + len(body) == text_size + body_size:
                return json.loads(text), body
        except (struct.error, ConnectionError, TimeoutError, ValueError):
            pass
        raise self._failure()

    def _failure(self) -> Exception:
        """Say why the process gives no answer."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(5)
        code = self._popen.returncode
        if code == 0:
            return TiredError()
        if code == -signal.SIGXCPU:
            return ReadError("that takes too much time")
        if code is None or code == -signal.SIGKILL or code > 0:
            told = f"the process {LIST_READER} was killed, or did not start (exit code {code}). Run again."
            return TransientError(told)
        return ReadError(f"the reader ended with signal {-code}, as it does with too little memory")


# Starting takes longer than reading most tables, so that a process waits here for the next, until it is tired of it.
_waiting: list[ListProcess] = []


def take_process() -> ListProcess:
    """Give a process that nobody else asks anything."""
    while _waiting:
        process = _waiting.pop()
        if process.is_ours:
            return process
        process.end()
    return ListProcess()


def leave_process(process: ListProcess) -> None:
    """Let a process, which has answered all it was asked, wait for the next who needs one."""
    if process.is_ours and len(_waiting) < MAX_WAITING:
        _waiting.append(process)
    else:
        process.end()
