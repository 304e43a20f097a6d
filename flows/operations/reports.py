"""Serves the reports of a workspace on loopback, read-only, so that links in Prefect's UI open them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flows.shell.terminal import say
from t2i_core.door import read_file
from t2i_core.errors import DataError
from tasks.pages import served_at

PORT = 4201
HOST = "127.0.0.1"
# Reports and the pictures beside them; nothing else of a workspace is anybody's business.
TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
MAX_BYTES = 256 * 1024 * 1024
HEADERS = {
    # A page of a foreign folder may show itself, and ask nobody anything.
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; font-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@contextmanager
def serving_reports(folder: Path, port: int = PORT) -> Iterator[dict[str, str]]:
    """Serve a folder while the block runs.

    Args:
        folder: the workspace.
        port: on loopback, always the same, for links are kept; 0 for any.

    Yields:
        The variable that lets runs link to it.
    """
    root = folder.resolve()
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Pages, root))
    except OSError as err:
        # Another worker of this machine serves them.
        say(f"reports are not served here: port {port} of {HOST} is taken ({err.strerror}).")
        yield served_at(f"http://{HOST}:{port}", root)
        return
    with server:
        threading.Thread(target=server.serve_forever, name="reports", daemon=True).start()
        try:
            yield served_at(f"http://{HOST}:{server.server_port}", root)
        finally:
            server.shutdown()


class _Pages(BaseHTTPRequestHandler):
    """Answers with files of one folder."""

    def __init__(self, root: Path, *args: object) -> None:
        self.root = root
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send a page or a picture, to whoever asks for this machine by its own name."""
        path = self.root / unquote(urlsplit(self.path).path).lstrip("/")
        data = self._read(path) if self._is_asked_by_name() else None
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {"Content-Type": TYPES[path.suffix], "Content-Length": str(len(data)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _is_asked_by_name(self) -> bool:
        """Tell whether a page of another site, whose name leads here, is kept out."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        return host in (HOST, "localhost")

    def _read(self, path: Path) -> bytes | None:
        """Read a file that may be shown, if it is there and really lies in the folder."""
        if path.suffix not in TYPES:
            return None
        try:
            return read_file(path, MAX_BYTES) if path.resolve().is_relative_to(self.root) else None
        except (OSError, ValueError, DataError):
            return None

    def log_message(self, *_: object) -> None:
        """Say nothing: what is looked at is no news."""
