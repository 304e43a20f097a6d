"""Reads pages in a process of their own, so that a hostile one costs a moment and not the crawl."""

from typing import Self

from t2i_core.data.answer import Fetched
from t2i_core.data.crawling.page_message import unpack_page
from t2i_core.data.pages.page import Page
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.workers.pool import WorkerPool


class PageReader:
    """Reads one page at a time. Use as an async context manager; the process starts with the first page."""

    def __init__(self) -> None:
        self._pool = WorkerPool("t2i_core.data.crawling.page_worker", size=1)

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pool.__aexit__(*error)

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
        }
        read = await self._pool.ask(asked, answer.body)
        if read is None:
            return Rejection(RejectReason.PAGE_TOO_COMPLEX, final_url=answer.final_url)
        return unpack_page(read[0])
