"""Does one thing again and again, each time in a process forked from one that has imported it: none has to start."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOOP = """
import json, os, sys
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(act(json.loads(line)) or 0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class ForkServer:
    """Runs one process after the other. Use as a context manager.

    Args:
        program: Python that imports what is needed and defines `act`, which takes an order and may give an exit code.
    """

    def __init__(self, program: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-c", program + _LOOP]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, **order: Any) -> int:
        """Start a process, and give its id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """Give the exit code of the process, or the negative number of the signal that killed it."""
        return self._answer()

    def run(self, **order: Any) -> int:
        """Run a process to its end, and give its exit code."""
        self.start(**order)
        return self.wait()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())
