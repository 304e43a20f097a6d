"""The embedded Prefect server that ad-hoc runs use where none is configured.

Prefect starts one by itself, but in the terminal's process group, where a Ctrl-C ends the server before the run could
report; and it outlives a run that is killed.
"""

import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from t2i_core.children import start
from t2i_core.doctor import Finding
from t2i_core.errors import T2IError

# A first start migrates a fresh database, which takes long on a busy machine.
START_SECONDS = 300.0
STOP_SECONDS = 10.0
# The server's own process: uvicorn, after tying its life to ours. The command line of uvicorn would import from the
# working folder.
PROGRAM = """
from t2i_core.lifeline import die_with_parent
die_with_parent()
import gc
# Half a second of its start goes into looking through what was imported, which stays.
gc.set_threshold(200_000, 20, 50)
import sys, uvicorn
application = "prefect.server.api.server:create_app"
uvicorn.run(application, factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""
# Prefect's own marks of an embedded server: no UI, and only the services that runs need.
ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: of its API.
        auth: what whoever asks has to know, as "name:password"; other programs and web pages on this machine do not.
    """

    url: str
    auth: str = field(repr=False)


@contextmanager
def embedded_server(home: Path | None = None) -> Iterator[RunningServer]:
    """Run a server on loopback until the block ends.

    Args:
        home: where it keeps its database; None for the user's own Prefect home.

    Raises:
        T2IError: it did not start; the message has its last words.
    """
    with tempfile.TemporaryFile() as log:
        port = free_port()
        running = RunningServer(f"http://127.0.0.1:{port}/api", f"t2i:{secrets.token_urlsafe(32)}")
        command = [sys.executable, "-P", "-c", PROGRAM, str(port)]
        process = start(command, stdout=log, stderr=log, extra=_environment(running, port, home))
        try:
            if not _becomes_healthy(process, f"{running.url}/health"):
                log.seek(0)
                lines = log.read().decode(errors="replace").split("\n")
                words = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
                raise T2IError(
                    f"the embedded Prefect server did not start ({words}). Run `t2i doctor`, or add --no-prefect."
                )
            yield running
        finally:
            _stop(process)


def _environment(running: RunningServer, port: int, home: Path | None) -> dict[str, str]:
    """Give the server its settings; a password on the command line could be read by everybody."""
    closed = {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}"}
    secret = {"PREFECT_SERVER_API_AUTH_STRING": running.auth, "PREFECT_API_AUTH_STRING": running.auth}
    return ENVIRONMENT | closed | secret | ({"PREFECT_HOME": str(home)} if home else {})


def try_server() -> Finding:
    """Start a server for real in a throw-away home, and stop it."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="t2i-doctor-") as home, embedded_server(Path(home)):
            detail = f"started in {time.monotonic() - started:.0f} s"
            return Finding(name="prefect server", works=True, detail=detail)
    except T2IError as err:
        advice = "run `make install` again; until then add --no-prefect to every command"
        return Finding(name="prefect server", works=False, detail=str(err), advice=advice)


def free_port() -> int:
    """Find a port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _becomes_healthy(process: "subprocess.Popen[bytes]", url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
