"""A table on disk to look things up in: what grows with the source stays out of memory."""

import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self


class SideTable:
    """Values under keys, in the order in which they were added. Use as a context manager, which removes the file.

    Args:
        path: of the file to make, in a folder that is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_indexed = False

    def __enter__(self) -> Self:
        # Few runs need it, and no run is to wait for what it does not use.
        import sqlite3

        self._path.unlink(missing_ok=True)
        self._full = sqlite3.SQLITE_FULL
        self._error = sqlite3.OperationalError
        # Pages are read by several threads in turn, never at once.
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for statement in (
            # A table that a killed run leaves behind is never read again.
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE entries(number INTEGER PRIMARY KEY, key BLOB NOT NULL, value TEXT NOT NULL, used INTEGER)",
            "BEGIN",
        ):
            self._db.execute(statement)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    def add(self, key: str, value: Any) -> None:
        """Add a value, which JSON can hold, under a key that may have others.

        Raises:
            OSError: the disk is full.
        """
        with self._disk_errors():
            row = (key_digest(key), json.dumps(value))
            self._db.execute("INSERT INTO entries(key, value, used) VALUES (?, ?, 0)", row)

    def find(self, key: str) -> list[Any]:
        """Give the values under a key, and note that they were asked for.

        Raises:
            OSError: the disk is full.
        """
        with self._disk_errors():
            if not self._is_indexed:
                # Made once over all keys, it costs a fraction of what keeping it up from the start would.
                self._db.execute("CREATE INDEX keys ON entries(key)")
                self._is_indexed = True
            rows = self._db.execute(
                "SELECT value FROM entries WHERE key = ? ORDER BY number", (key_digest(key),)
            ).fetchall()
            if rows:
                self._db.execute("UPDATE entries SET used = 1 WHERE key = ?", (key_digest(key),))
        return [json.loads(value) for (value,) in rows]

    def firsts(self) -> Iterator[Any]:
        """Give the first value under each key."""
        query = "SELECT value, MIN(number) AS first FROM entries GROUP BY key ORDER BY first"
        for value, _ in self._db.execute(query):
            yield json.loads(value)

    def num_keys(self) -> int:
        """Count the different keys."""
        return int(self._db.execute("SELECT COUNT(DISTINCT key) FROM entries").fetchone()[0])

    def by_key(self) -> Iterator[tuple[bytes, Any]]:
        """Give each key's digest with the first value under it, in the order of the digests."""
        for digest, value, _ in self._db.execute("SELECT key, value, MIN(number) FROM entries GROUP BY key"):
            yield digest, json.loads(value)

    def unused(self) -> Iterator[Any]:
        """Give the values that nobody asked for."""
        for (value,) in self._db.execute("SELECT value FROM entries WHERE used = 0 ORDER BY number"):
            yield json.loads(value)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except self._error as err:
            if err.sqlite_errorcode == self._full:
                raise OSError(errno.ENOSPC, str(err)) from err
            raise


def key_digest(key: str) -> bytes:
    """Give the 16 bytes by which a key is found."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
