"""What a process that takes untrusted bytes gives up before the first of them: files, the network, other processes.

Whoever takes such a process over with a picture finds no secrets in it, cannot send anything but an answer, cannot
write, and cannot start anything.
"""

import ctypes
import resource
import sys
from contextlib import suppress

from t2i_core.data.workers.readable_files import read_only_what_python_is
from t2i_core.data.workers.system_calls import refuse_system_calls

PR_SET_NO_NEW_PRIVS = 38


def confine() -> None:
    """Give them up, as far as this kernel lets; what is open already, and all that is imported, stays.

    Imports from where Python's packages lie still work afterwards.
    """
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    read_only_what_python_is()
    # Threads count as processes on Linux, where the filter tells one from the other.
    if not refuse_system_calls() and sys.platform != "linux":
        _limit(resource.RLIMIT_NPROC, 0)


def _limit(kind: int, most: int) -> None:
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (most, most))
