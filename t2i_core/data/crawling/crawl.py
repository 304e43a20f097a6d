"""From start pages to pictures: breadth first over the pages of the same sites, in an order that never varies."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from yarl import URL

from t2i_core.data.address import origin_of, text_digest, url_identity
from t2i_core.data.answer import Fetched
from t2i_core.data.bounded.distinct import DistinctCount
from t2i_core.data.bounded.lines import Lines
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.crawling.frontier import Frontier
from t2i_core.data.crawling.memory import KnownPage, PageMemory
from t2i_core.data.crawling.page_message import pack_page, unpack_page
from t2i_core.data.crawling.page_reader import PageReader
from t2i_core.data.crawling.sitemap_reader import SitemapReader, change_of_page, mentions_in
from t2i_core.data.manners.robots import may_pass
from t2i_core.data.pages.mention import Mention
from t2i_core.data.pages.page import Page
from t2i_core.data.pages.unlisted_count import UnlistedCount
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.unlisted import Unlisted
from t2i_core.data.web.fetch import Fetcher
from t2i_core.data.web.verdict import Want
from t2i_core.errors import ConfigError, TransientError

MAX_LINKS_AHEAD = 100_000


@dataclass(frozen=True, slots=True)
class CrawlLimits:
    """How far to go.

    Attributes:
        max_pages: pages asked for.
        max_depth: links away from a start page; 0 reads only the start pages.
        max_seconds: for all of it, 0.0 for no limit; pages that have not arrived by then are given up.
        sitemaps: pages that the start pages' sites list in their sitemaps are start pages too.
        keep_undescribed: pictures that nothing describes are listed too, where they have an address.
    """

    max_pages: int
    max_depth: int
    max_seconds: float = 0.0
    sitemaps: bool = False
    keep_undescribed: bool = False


@dataclass(slots=True)
class CrawlCounts:
    """What became of the pages.

    Attributes:
        read: pages of the sites.
        rejected: pages that could not or may not be read, by reason.
        given_up: pages that were known when the time was up.
        sitemaps: files that listed pages.
        beyond_pages: pages found when there was no room for more.
        beyond_depth: pages found at the last level, further away than is read.
        links_cut: links of pages that hold more of them than are taken from one page.
        unlisted: pictures that pages name and that are not listed.
    """

    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    sitemaps: int = 0
    beyond_pages: DistinctCount = field(default_factory=DistinctCount)
    beyond_depth: int = 0
    links_cut: int = 0
    unlisted: UnlistedCount = field(default_factory=UnlistedCount)

    def settle(self, page: Page, *, keep_undescribed: bool) -> list[SourceRecord]:
        """Give the pictures of a page that are listed, and count what is not."""
        settled = page.settled(keep_undescribed=keep_undescribed)
        self.unlisted.add(settled)
        self.unlisted.add_number(Unlisted.OVER_LIMIT, page.num_pictures_cut)
        self.links_cut += page.num_links_cut
        return settled.records


OnPage = Callable[[CrawlCounts], None]


class Crawler:
    """Reads pages many at a time and gives their pictures in breadth-first, then document order."""

    def __init__(
        self,
        fetcher: Fetcher,
        limits: CrawlLimits,
        *,
        pages_ahead: int,
        on_page: OnPage,
        scratch: Path | None = None,
        memory: PageMemory | None = None,
    ) -> None:
        self.counts = CrawlCounts()
        self._memory = memory
        self._fetcher = fetcher
        self._reader = PageReader()
        self._limits = limits
        self._pages_ahead = pages_ahead
        self._on_page = on_page
        self._scratch = scratch
        self._seen: set[int] = set()
        self._origins: set[str] = set()
        self._last_failure: Rejection | None = None
        self._deadline: float | None = None
        self._mapped: SideTable | None = None

    async def pictures(self, start_urls: Iterable[str]) -> AsyncGenerator[SourceRecord]:
        """Crawl.

        Raises:
            TransientError: no start page could be reached.
            ConfigError: no start page may or can be read.
        """
        if self._limits.max_seconds:
            self._deadline = asyncio.get_running_loop().time() + self._limits.max_seconds
        with TemporaryDirectory(prefix="_crawl", dir=self._scratch) as folder:
            self._folder = Path(folder)
            async with self._reader, aclosing(self._all_levels(self._new_pages(start_urls))) as pictures:
                async for picture in pictures:
                    yield picture

    async def _all_levels(self, level: Lines) -> AsyncGenerator[SourceRecord]:
        for depth in range(self._limits.max_depth + 1):
            links = Frontier(self._folder)
            read = self._read_starts if depth == 0 and self._limits.sitemaps else self._read_level
            async with aclosing(read(level)) as pages:
                async for page in pages:
                    # A sitemap's pictures come with their page, so that what the page asks for counts for them too.
                    page = page.also_naming(self._mentions_on(page))
                    for picture in self.counts.settle(page, keep_undescribed=self._limits.keep_undescribed):
                        yield picture
                    self._note_links(links, page.links)
            if depth == 0 and not self._origins:
                if self._memory is not None and self._is_refused_now():
                    self._memory.evidence.closed = self._last_failure
                    return
                raise _no_start_page(level, self._last_failure)
            level = self._new_pages(link for link in links if origin_of(URL(link)) in self._origins)
            if not level:
                return
        self.counts.beyond_depth = len(level)

    def _is_refused_now(self) -> bool:
        """Tell whether a site that was read before does not want to be read any more, which is an answer too."""
        was_read = self._memory is not None and self._memory.is_refresh
        return was_read and self._last_failure is not None and self._last_failure.reason.is_refusal

    def _note_links(self, links: Frontier, found: Iterable[str]) -> None:
        """Keep the links of a page for the next level, as many as a level may need."""
        for link in found:
            if link in links or len(links) < max(MAX_LINKS_AHEAD, 2 * self._limits.max_pages):
                links.add(link)
            elif (
                origin_of(URL(link)) in self._origins and text_digest(identity := url_identity(link)) not in self._seen
            ):
                self.counts.beyond_pages.add(identity)

    async def _read_starts(self, urls: Lines) -> AsyncGenerator[Page]:
        """Read the start pages, which tell the sites, then the pages that the sites' sitemaps list."""
        starts = Lines(self._folder)
        async for page in self._read_level(urls):
            starts.add(json.dumps(pack_page(page)))
        with SideTable(self._folder / "sitemaps.sqlite") as self._mapped:
            mapped = await self._read_sitemaps(self._mapped)
            for line in starts:
                yield unpack_page(json.loads(line))
            if starts:
                async with aclosing(self._read_level(mapped)) as pages:
                    async for page in pages:
                        yield page
        self._mapped = None

    async def _read_sitemaps(self, table: SideTable) -> Lines:
        """Collect what the sitemaps list, and give the pages that are new."""
        limits = self._limits
        async with SitemapReader(self._fetcher, limits.max_pages, self.counts.beyond_pages, table) as reader:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    for origin in sorted(self._origins):
                        await reader.read_site(origin)
        self.counts.sitemaps = reader.num_read
        return self._new_pages(reader.pages())

    def _mentions_on(self, page: Page) -> list[Mention]:
        return mentions_in(self._mapped, page.url) if self._mapped is not None else []

    async def _read_level(self, urls: Lines) -> AsyncGenerator[Page]:
        """Read pages at once but give them in order."""
        is_start = not self._origins
        pending: deque[asyncio.Task[Page | Rejection | None]] = deque()
        waiting = iter(urls)
        try:
            while True:
                while len(pending) < self._pages_ahead and (url := next(waiting, None)) is not None:
                    pending.append(asyncio.create_task(self._read(url)))
                if not pending:
                    return
                answer = await self._in_time(pending[0])
                pending.popleft()
                page = self._admit(answer, is_start=is_start) if answer is not None else None
                if page is not None:
                    yield page
                self._on_page(self.counts)
        finally:
            for task in pending:
                task.cancel()

    async def _in_time(self, task: "asyncio.Task[Page | Rejection | None]") -> Page | Rejection | None:
        """Wait for a page; None when the time is up before it is there."""
        if self._deadline is not None:
            left = self._deadline - asyncio.get_running_loop().time()
            await asyncio.wait([task], timeout=max(left, 0.0))
            if not task.done():
                task.cancel()
                self._give_up()
                return None
        return await task

    def _give_up(self) -> None:
        self.counts.given_up += 1
        if self._memory is not None:
            self._memory.evidence.is_whole = False
        self._last_failure = Rejection(RejectReason.TIMEOUT, "the time for the crawl was up")

    async def _read(self, url: str) -> Page | Rejection | None:
        if self._deadline is not None and asyncio.get_running_loop().time() >= self._deadline:
            self._give_up()
            return None
        read = await self._read_anew(url) if self._memory is None else await self._look_again(url, self._memory)
        if isinstance(read, Rejection) and self._memory is not None:
            self._memory.fail(url, read)
        return read

    async def _read_anew(self, url: str) -> Page | Rejection:
        async with self._fetcher.fetch(url, Want.PAGE) as answer:
            return answer if isinstance(answer, Rejection) else await self._take(url, answer)

    async def _take(self, url: str, answer: Fetched) -> Page | Rejection:
        """Read a page that has come, and keep it for the next crawl."""
        page = await self._reader.read(answer)
        if self._memory is not None and not isinstance(page, Rejection):
            self._memory.keep(url, KnownPage.fetched(answer, self._change_of(url), page))
        return page

    async def _look_again(self, url: str, memory: PageMemory) -> Page | Rejection:
        """Take a page as it is known, if its site still says that it is so; else read it."""
        known, changed = memory.recall(url), self._change_of(url)
        if known is None:
            return await self._read_anew(url)
        if memory.vouches(known, changed):
            refusal = await self._fetcher.refusal(url, Want.PAGE)
            if refusal is None:
                memory.keep(url, known, vouched=True)
            return refusal or known.page
        async with self._fetcher.fetch_if_changed(url, Want.PAGE, known.validators) as answer:
            if isinstance(answer, Rejection):
                return answer
            if isinstance(answer, Fetched):
                return await self._take(url, answer)
        if answer.directives - known.directives:
            # The page is the same, but its headers ask for something that they did not ask for.
            return await self._read_anew(url)
        memory.keep(url, known.seen_again(changed))
        return known.page

    def _change_of(self, url: str) -> str:
        return change_of_page(self._mapped, url) if self._mapped is not None else ""

    def _admit(self, page: Page | Rejection, *, is_start: bool) -> Page | None:
        """Count a page, and keep it when it belongs to one of the sites; start pages decide which those are."""
        if isinstance(page, Rejection):
            self._last_failure = page
            self.counts.rejected[page.reason] += 1
            return None
        origin = origin_of(URL(page.url))
        if is_start:
            self._origins.add(origin)
        if origin not in self._origins:
            self.counts.rejected[RejectReason.NOT_A_PAGE] += 1
            return None
        self._seen.add(text_digest(page.url))
        self.counts.read += 1
        return page

    def _new_pages(self, urls: Iterable[str]) -> Lines:
        """Keep the URLs not met before, as long as there is room for more pages."""
        found = Lines(self._folder)
        for url in urls:
            identity = url_identity(url)
            digest = text_digest(identity)
            if digest in self._seen:
                continue
            if len(self._seen) < self._limits.max_pages:
                self._seen.add(digest)
                found.add(url)
            else:
                self.counts.beyond_pages.add(identity)
        return found


def _no_start_page(urls: Lines, failure: Rejection | None) -> ConfigError | TransientError:
    what = f"page {next(iter(urls))}" if len(urls) == 1 else f"any of the {len(urls)} pages"
    why = f"{failure.message} ({failure.reason})" if failure else "no URL was given"
    if failure and (failure.reason.is_unreachable or may_pass(failure.http_status)):
        return TransientError(f"cannot reach {what}: {why}. Check the address and the network, then run again.")
    return ConfigError(f"cannot read {what}: {why}.")
