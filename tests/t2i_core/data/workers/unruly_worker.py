"""A worker that does to itself what it is asked to."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from t2i_core.data.workers.worker import serve


def start(setup: Any) -> Any:
    if setup == "fail":
        sys.exit(3)
    return handle


def handle(asked: Any, body: bytes) -> tuple[Any, bytes]:
    if asked == "spin":
        while True:
            pass
    if asked == "sleep":
        time.sleep(1000)
    if asked == "eat":
        body = bytes(1024**3)
    if asked == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if asked == "wait for":
        while not Path(body.decode()).exists():
            time.sleep(0.01)
    if asked == "babble":
        os.write(0, b"\xff" * 100)
    return [asked, os.getpid()], body[::-1]


if __name__ == "__main__":
    serve(start, max_memory_bytes=512 * 1024**2, max_cpu_seconds=1)
