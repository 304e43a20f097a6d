"""Processes that read or decode, each with a socket as its input: started when one is needed, or early.

They import what they work with for as long as the program that needs them takes to get there. So whoever knows that it
will need some starts them first, and both go on side by side.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from t2i_core.children import start_exposed

DECODER, LIST_READER = "t2i_core.data.pictures.worker", "t2i_core.data.tables.worker"
_BUFFER_BYTES = 1024 * 1024

# A process, and this program's end of the socket.
Started = tuple["subprocess.Popen[bytes]", socket.socket]

_waiting: dict[str, list[Started]] = {}


def num_decoders() -> int:
    """Say how many processes decode pictures: one for each core."""
    return os.cpu_count() or 1


def start_worker(module: str) -> Started:
    """Start `python -m MODULE` with one end of a socket as its input, and give the other; or give one started early."""
    waiting = _waiting.get(module, [])
    while waiting:
        process, line = waiting.pop()
        if process.poll() is None:
            return process, line
        line.close()
    return _start(module)


@contextmanager
def started_early(source: str, *, decodes: bool = True) -> Iterator[None]:
    """Start what an ingest of this source needs; what is left when the block ends is ended.

    Pages are read for long before the first picture is decoded, so nothing waits for these.

    Args:
        source: as a person named it.
        decodes: there will be pictures to decode.
    """
    is_page = source.startswith(("http://", "https://"))
    wanted = {} if is_page else {LIST_READER: 1, DECODER: num_decoders() if decodes else 0}
    for module, number in wanted.items():
        waiting = _waiting.setdefault(module, [])
        waiting += [_start(module) for _ in range(number - len(waiting))]
    try:
        yield
    finally:
        for waiting in _waiting.values():
            while waiting:
                _end(*waiting.pop())


def _start(module: str) -> Started:
    ours, theirs = socket.socketpair()
    with theirs:
        process = start_exposed(module, theirs.fileno())
    with suppress(OSError):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    ours.setblocking(False)
    return process, ours


def _end(process: "subprocess.Popen[bytes]", line: socket.socket) -> None:
    process.kill()
    process.wait()
    line.close()
