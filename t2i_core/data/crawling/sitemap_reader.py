"""Collects what the sitemaps of sites list, on disk: it may be as much as the sites like."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields
from types import TracebackType
from typing import Self

from yarl import URL

from t2i_core.data.address import origin_of, text_digest, url_identity
from t2i_core.data.answer import Fetched
from t2i_core.data.bounded.distinct import DistinctCount
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.pages.markup import absolute
from t2i_core.data.pages.mention import Mention
from t2i_core.data.web.fetch import Fetcher
from t2i_core.data.web.verdict import Want
from t2i_core.data.workers.pool import WorkerPool

MAX_SITEMAPS_PER_SITE = 200
_FIELDS = tuple(field.name for field in fields(Mention))


class SitemapReader:
    """What it has found so far can be read at any time. Use as an async context manager.

    Args:
        fetcher: asks for sitemaps.
        max_pages: to collect.
        beyond: counts the others.
        table: takes the pages, with what is said about the pictures on each; open.

    Attributes:
        num_read: files that held anything.
    """

    def __init__(self, fetcher: Fetcher, max_pages: int, beyond: DistinctCount, table: SideTable) -> None:
        self.num_read = 0
        self._fetcher = fetcher
        self._max_pages = max_pages
        self._beyond = beyond
        self._table = table
        self._known: set[int] = set()
        self._pool = WorkerPool("t2i_core.data.crawling.sitemap_worker", size=1)

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    def pages(self) -> Iterator[str]:
        """Give the pages in the order of the sitemaps."""
        for page, _, _ in self._table.firsts():
            yield page

    async def read_site(self, origin: str) -> None:
        """Read the sitemaps that robots.txt names, then /sitemap.xml, then those that indexes among them name."""
        base = URL(origin)
        waiting: deque[str] = deque()
        seen: set[str] = set()
        named = [absolute(base, text) for text in await self._fetcher.sitemaps(base)]
        self._queue(waiting, seen, origin, [*named, f"{origin}/sitemap.xml"])
        while waiting and len(self._known) < self._max_pages:
            self._queue(waiting, seen, origin, await self._read(waiting.popleft(), origin))

    def _queue(self, waiting: deque[str], seen: set[str], origin: str, urls: Iterable[str]) -> None:
        """Note sitemaps of a site that are to be read, each once, no more than a site may have."""
        for url in urls:
            if url and url not in seen and len(seen) < MAX_SITEMAPS_PER_SITE and origin_of(URL(url)) == origin:
                seen.add(url)
                waiting.append(url)

    async def _read(self, url: str, origin: str) -> list[str]:
        async with self._fetcher.fetch(url, Want.SITEMAP) as answer:
            if not isinstance(answer, Fetched) or origin_of(URL(answer.final_url)) != origin:
                return []
            read = await self._pool.ask(answer.final_url, answer.body)
        # What ends the process is no sitemap.
        sitemaps, pages = read[0] if read else ([], [])
        self.num_read += bool(sitemaps or pages)
        for page, pictures, changed in pages:
            self._add(page, pictures, changed)
        return list(sitemaps[:MAX_SITEMAPS_PER_SITE])

    def _add(self, page: str, pictures: list[list[object]], changed: str) -> None:
        digest = text_digest(page)
        if digest not in self._known and len(self._known) >= self._max_pages:
            self._beyond.add(url_identity(page))
            return
        self._known.add(digest)
        self._table.add(page, [page, pictures, changed])


def mentions_in(table: SideTable, page: str) -> list[Mention]:
    """Give what the sitemaps say about the pictures on a page."""
    found = (values for _, pictures, _ in table.find(page) for values in pictures)
    return [Mention(**dict(zip(_FIELDS, values, strict=True))) for values in found]


def change_of_page(table: SideTable, page: str) -> str:
    """Give what the sitemaps say of when a page was last changed, "" for nothing."""
    return next((str(changed) for _, _, changed in table.find(page) if changed), "")
