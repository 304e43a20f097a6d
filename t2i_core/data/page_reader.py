"""Reads pages in a process of their own, so that a hostile one costs a moment and not the crawl."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from t2i_core.data.fetch import Fetched
from t2i_core.data.mention import Mention
from t2i_core.data.page_worker import READY
from t2i_core.data.pages import Page
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.errors import TransientError
from t2i_core.lifeline import child_environment

MAX_ANSWER_BYTES = 256 * 1024 * 1024

_Worker = subprocess.Popen[bytes]


class PageReader:
    """Reads one page at a time. Use as an async context manager; the process starts with the first page."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._worker: _Worker | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    async def read(self, answer: Fetched, folder: str = "") -> Page | Rejection:
        """Read a page, or say that it takes more time or memory than a page may.

        Args:
            answer: the page; the URL of a saved one is its path below the folder.
            folder: that a saved page lies in, "" for others.

        Raises:
            TransientError: the process does not start.
        """
        asked = {
            "url": answer.final_url,
            "content_type": answer.content_type,
            "directives": sorted(answer.directives),
            "folder": folder,
            "size": len(answer.body),
        }
        async with self._turn:
            if self._worker is None:
                self._worker = await asyncio.to_thread(_start)
            try:
                line = await asyncio.to_thread(
                    _exchange, self._worker, json.dumps(asked).encode() + b"\n" + answer.body
                )
            except asyncio.CancelledError:
                # What it would still answer belongs to nobody.
                self._end()
                raise
            if not line.endswith(b"\n"):
                self._end()
                return Rejection(RejectReason.PAGE_TOO_COMPLEX, final_url=answer.final_url)
            return _page(json.loads(line))

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            with suppress(OSError, ValueError):
                worker.communicate()


def _start() -> _Worker:
    environment = child_environment()
    places = (str(Path(__file__).parents[2]), environment.get("PYTHONPATH"))
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "t2i_core.data.page_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        start_new_session=True,
    )
    assert worker.stdout is not None
    if worker.stdout.readline() != READY:
        worker.kill()
        raise TransientError(f"the process that reads pages did not start (exit code {worker.wait()}). Try again.")
    return worker


def _exchange(worker: _Worker, request: bytes) -> bytes:
    """Ask and wait for the line that answers; it is cut short when the process ends before it is done."""
    assert worker.stdin is not None and worker.stdout is not None
    try:
        worker.stdin.write(request)
        worker.stdin.flush()
        return worker.stdout.readline(MAX_ANSWER_BYTES)
    # A pipe that was closed by another thread is a ValueError.
    except (OSError, ValueError):
        return b""


def _page(answer: dict[str, Any]) -> Page:
    mentions = tuple(Mention(**mention) for mention in answer.pop("mentions"))
    return Page(mentions=mentions, **answer)
