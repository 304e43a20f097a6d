"""Pages that are there already, in archives or folders, read as a crawl reads those that it fetches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from yarl import URL

from t2i_core.data.address import normalise_url
from t2i_core.data.answer import Fetched
from t2i_core.data.crawling.crawl import CrawlCounts, OnPage
from t2i_core.data.crawling.page_reader import PageReader
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.sources.source import Planning, SourceOptions


class StoredPages:
    """Reads pages and counts what became of them.

    Args:
        reader: of pages.
        deny_list: pages on it are not read.
        offline: pictures that are not stored are rejected, not fetched.
        keep_undescribed: pictures that nothing describes are listed too.
        on_page: told after each page.
    """

    def __init__(
        self,
        reader: PageReader,
        deny_list: DenyList,
        *,
        offline: bool,
        keep_undescribed: bool = False,
        on_page: OnPage,
    ) -> None:
        self._reader = reader
        self._deny_list = deny_list
        self._offline = offline
        self._keep_undescribed = keep_undescribed
        self._on_page = on_page
        self.counts = CrawlCounts()

    async def read(self, answer: Fetched | Rejection, folder: str = "") -> list[SourceRecord]:
        """Give the pictures of a page, none when it cannot or may not be read.

        Args:
            answer: the page.
            folder: that a saved page lies in, its path below that being its URL; "" for an archived one.

        Raises:
            TransientError: the process that reads pages does not start.
        """
        page = answer if isinstance(answer, Rejection) else await self._reader.read(answer, folder)
        if not isinstance(page, Rejection):
            url = normalise_url(page.url)
            page = (self._deny_list.refusal(url) if isinstance(url, URL) else None) or page
        if isinstance(page, Rejection):
            self.counts.rejected[page.reason] += 1
            found = []
        else:
            self.counts.read += 1
            found = self.counts.settle(page, keep_undescribed=self._keep_undescribed)
        self._on_page(self.counts)
        return found

    def from_web(self, record: SourceRecord) -> SourceRecord:
        """Give a picture that is not stored as it is to be planned."""
        if self._offline and not record.reason:
            return replace(record, reason=str(RejectReason.NOT_STORED))
        return record


@asynccontextmanager
async def reading_pages(planning: Planning, options: SourceOptions) -> AsyncIterator[StoredPages]:
    """Have pages read while the block runs, and counted in the planning.

    Args:
        planning: that the records are for.
        options: of their source.
    """
    async with PageReader() as reader:
        pages = StoredPages(
            reader,
            planning.fetching.deny_list,
            offline=options.offline,
            keep_undescribed=options.keep_undescribed,
            on_page=planning.on_pages,
        )
        planning.pages = pages.counts
        yield pages
