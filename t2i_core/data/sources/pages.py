"""Pages of the web as a source: one that a person names, or a list of them, and what they link to on their sites."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from urllib.parse import urlsplit

from t2i_core.data.record import SourceRecord
from t2i_core.data.sources.lists import identity_of_lists, read_list
from t2i_core.data.sources.source import Planning, Source, SourceOptions, digest_of_lines
from t2i_core.data.tables.list_files import lists_not_read, names_lists

PAGES_AHEAD = 32


class Page(Source):
    """A page, and the further pages of its site."""

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return urlsplit(name).scheme in ("http", "https")

    def identity(self) -> str:
        """A page's content is not known before it is read, so its URL stands for it."""
        return digest_of_lines([self.name])

    def starts(self, planning: Planning) -> Iterable[str]:
        """Give the URLs of the pages to start from."""
        return [self.name]

    async def records(self, planning: Planning) -> AsyncGenerator[SourceRecord]:
        """Give the pictures of all pages, and leave behind the counts of pages and the traffic by host."""
        # Reading a local source is not to wait for what talks to the web.
        from t2i_core.data.crawling.crawl import Crawler, CrawlLimits
        from t2i_core.data.crawling.memory import PageMemory
        from t2i_core.data.web.fetch import Fetcher
        from t2i_core.data.web.waits import telling

        options = self.options
        limits = CrawlLimits(
            max_pages=options.max_pages,
            max_depth=options.max_depth,
            max_seconds=options.max_seconds,
            sitemaps=options.sitemaps,
            keep_undescribed=options.keep_undescribed,
        )
        starts = self.starts(planning)
        memory = PageMemory(planning.scratch, planning.earlier, planning.vouched_seconds)
        with memory:
            async with (
                Fetcher(planning.fetching) as fetcher,
                telling(fetcher.waits, planning.on_wait),
            ):
                crawler = Crawler(
                    fetcher,
                    limits,
                    pages_ahead=PAGES_AHEAD,
                    on_page=planning.on_pages,
                    scratch=planning.scratch,
                    memory=memory,
                )
                async with aclosing(crawler.pictures(starts)) as pictures:
                    async for record in pictures:
                        yield record
                planning.pages, planning.traffic = crawler.counts, fetcher.take_traffic()
        memory.evidence.is_whole &= not crawler.counts.beyond_pages
        planning.evidence = memory.evidence


class PageList(Page):
    """A list of pages, and the further pages of their sites."""

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return options.pages and names_lists(name)

    def identity(self) -> str:
        """The bytes of the lists stand for them."""
        return identity_of_lists(self.name)

    def starts(self, planning: Planning) -> Iterable[str]:
        """Give the URLs in the lists."""
        planning.orphans.add_not_read(lists_not_read(self.name))
        return (record.url for record in read_list(self.name, self.options.url_column, ""))
