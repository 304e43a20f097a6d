"""Ties the life of a child process to its parent's: a child that calls `die_with_parent` never outlives it.

The parent starts the child with `parent_note` in its environment (see `children`), in a session of its own, so that an
interrupt at the terminal reaches only the parent, which then ends the child in its own way. Should the parent be
killed, the kernel tells the child.
"""

import ctypes
import os
import signal
import sys
import threading
import time

PARENT_VARIABLE = "T2I_PARENT"
POLL_SECONDS = 0.3
GRACE_SECONDS = 20.0
PR_SET_PDEATHSIG = 1


def parent_note() -> dict[str, str]:
    """Give the variable that names the parent to a child."""
    # The kernel's death signal comes when the starting thread ends, so only the main thread may count on it.
    started_by = "main" if threading.current_thread() is threading.main_thread() else "thread"
    return {PARENT_VARIABLE: f"{os.getpid()}:{started_by}"}


def die_with_parent(grace_seconds: float = GRACE_SECONDS) -> None:
    """Called by the child first thing: end when the parent does, even one that was killed.

    Asks the kernel for SIGTERM at the parent's death, and watches the parent from a thread for the cases in which the
    kernel's signal does not come or does not end the process. Does nothing in a process started by hand.

    Args:
        grace_seconds: time the child has to end well before it is killed, with its group.
    """
    note = os.environ.pop(PARENT_VARIABLE, "")
    if not note:
        return
    parent_pid, started_by = note.split(":")
    if started_by == "main" and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    threading.Thread(
        target=_end_after_parent, args=(int(parent_pid), grace_seconds), name="parent watch", daemon=True
    ).start()


def _end_after_parent(parent_pid: int, grace_seconds: float) -> None:
    while os.getppid() == parent_pid:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    # A child that leads its group takes its own children with it.
    os.killpg(os.getpgrp(), signal.SIGKILL)
