"""A worker that tries to get out, and tells what stopped it."""

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from t2i_core.data.workers.worker import serve


def start(setup: Any) -> Any:
    opened = open(setup["open before"], "rb")  # noqa: PTH123, SIM115
    attempts: dict[str, Callable[[], Any]] = {
        "read what was open": opened.read,
        "read elsewhere": lambda: os.open(setup["secret"], os.O_RDONLY),
        "read the parent's environment": lambda: os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY),
        "write elsewhere": lambda: os.open(setup["victim"], os.O_WRONLY),
        "write anew": lambda: os.open(setup["victim"] + "2", os.O_RDWR | os.O_CREAT),
        "open by the oldest call": lambda: raw(setup["victim"]),
        "remove": lambda: os.unlink(setup["victim"]),  # noqa: PTH108
        "rename": lambda: os.rename(setup["victim"], setup["victim"] + "2"),  # noqa: PTH104
        "link": lambda: os.symlink(setup["secret"], setup["victim"] + "2"),  # noqa: PTH211
        "connect": lambda: socket.create_connection(("127.0.0.1", setup["port"])),
        "talk to a local service": lambda: socket.socket(socket.AF_UNIX),
        "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "start a program": lambda: subprocess.run(["/bin/true"], check=True),
        "become a program": lambda: os.execv("/bin/true", ["true"]),
        "fork": os.fork,
        "kill the parent": lambda: os.kill(os.getppid(), signal.SIGTERM),
        "limit the parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0)),
        "a file in memory": lambda: os.memfd_create("x"),
        "a thread": lambda: threading.Thread(target=int).start(),
        "an import": lambda: __import__("colorsys"),
        "the environment": lambda: dict(os.environ),
    }
    return lambda asked, body: (attempt(attempts[asked]), b"")


def raw(path: str) -> int:
    if os.uname().machine != "x86_64":
        raise PermissionError(errno.EPERM, "no such call")
    if ctypes.CDLL(None, use_errno=True).syscall(2, os.fsencode(path), os.O_WRONLY) < 0:
        raise OSError(ctypes.get_errno(), "open")
    return 1


def attempt(deed: Callable[[], Any]) -> Any:
    try:
        done = deed()
    except OSError as err:
        return errno.errorcode[err.errno or 0]
    return done if isinstance(done, dict) else "done"


if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit(2)
    serve(start, max_memory_bytes=512 * 1024**2)
