"""The inside of a worker process: it takes untrusted bytes, one job at a time, with little memory and time for each.

`worker_pool` starts it as `python -m MODULE`, with a socket as its input. A message is a frame in each direction: the
sizes of its two parts, one JSON value, and bytes. Nothing that comes back can run code in the program that asked.
"""

import json
import os
import resource
import socket
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from t2i_core.data.workers.confine import confine

FRAME = struct.Struct(">II")
MAX_CPU_SECONDS = 5
_BUFFER_BYTES = 256 * 1024

# From a JSON value and bytes to a JSON value and bytes.
Handler = Callable[[Any, bytes], tuple[Any, bytes]]


def frame(value: Any, body: bytes = b"") -> tuple[bytes, bytes]:
    """Give a message in two pieces, so that a long body need not be copied."""
    text = json.dumps(value).encode()
    return FRAME.pack(len(text), len(body)) + text, body


def serve(start: Callable[[Any], Handler], *, max_memory_bytes: int, max_cpu_seconds: int = MAX_CPU_SECONDS) -> None:
    """Answer jobs until the input ends, as it does with the program that asks.

    The first message says how to handle them, and is answered with null. After it this process can no longer write,
    connect or start anything, and opens only files that Python and its packages are made of (see `confine`).

    Args:
        start: makes the handler from the first message, with all that the process may do; files that it opens stay
            readable. What it imports is ready for the first job.
        max_memory_bytes: of data; with more, what is asked for is refused, which ends most jobs with an error.
        max_cpu_seconds: of one job.
    """
    limit_memory(max_memory_bytes)
    with socket.socket(fileno=os.dup(0)) as line, line.makefile("rb", buffering=_BUFFER_BYTES) as received:
        requests = cast(BinaryIO, received)
        handler = start(read_frame(requests)[0])
        confine()
        answer: tuple[Any, bytes] = (None, b"")
        while True:
            line.sendall(b"".join(frame(*answer)))
            try:
                value, body = read_frame(requests)
            except EOFError:
                return
            limit_cpu(max_cpu_seconds)
            answer = handler(value, body)


def read_frame(requests: BinaryIO) -> tuple[Any, bytes]:
    """Read one message.

    Raises:
        EOFError: there are no more.
    """
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        raise EOFError
    text_size, body_size = FRAME.unpack(head)
    return json.loads(requests.read(text_size)), requests.read(body_size)


def limit_cpu(seconds: int) -> None:
    """Let the kernel end this process when it has worked so much longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def limit_memory(size: int) -> None:
    """Let the kernel refuse this process more data than so many bytes."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))
