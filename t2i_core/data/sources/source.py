"""What a source is: opened once, it says who it is, gives its records, and reads the pictures that lie in it."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from t2i_core.data.answer import Fetched
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection
from t2i_core.data.sources.orphans import OrphanLog
from t2i_core.data.traffic import Traffic

if TYPE_CHECKING:
    from t2i_core.data.crawling.crawl import CrawlCounts
    from t2i_core.data.crawling.memory import Evidence
    from t2i_core.data.web.fetch import FetchOptions

ReadStored = Callable[[SourceRecord, int], Fetched | Rejection]
"""Gives the bytes of a picture that its source holds, at most so many."""
Records = Generator[SourceRecord] | AsyncGenerator[SourceRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        pages: a list holds the URLs of pages, not of pictures, and a folder the pages themselves.
        url_column: of lists.
        caption_column: of lists and tables, and key of JSON beside pictures; "" for none.
        hash_column: of lists, with the checksums of the pictures' bytes; "" for none.
        blur_column: of lists and shards, with boxes to blur; "" for none.
        sidecars_from: folder that holds the sidecars of a folder of pictures; "" where they lie beside the pictures.
        offline: pictures that a source of pages lacks are rejected, not fetched.
        keep_undescribed: pictures of pages that nothing describes are listed too.
        sitemaps: crawls also start from the pages that sitemaps list.
        max_pages: that a crawl asks for.
        max_depth: links that a crawl follows away from a start page.
        max_seconds: for a crawl, 0.0 for no limit.
        max_bytes: of one page.
    """

    pages: bool
    url_column: str
    caption_column: str
    hash_column: str
    blur_column: str
    sidecars_from: str
    offline: bool
    keep_undescribed: bool
    sitemaps: bool
    max_pages: int
    max_depth: int
    max_seconds: float
    max_bytes: int


@dataclass(slots=True, kw_only=True)
class Planning:
    """What the reading of a source for a plan works with, and what it leaves behind beside the records.

    Attributes:
        scratch: a folder for what is kept aside meanwhile.
        orphans: is told what lies in the source and belongs to nothing.
        fetching: how to ask the web, and what must not be taken from it.
        on_pages: told how many pages were read.
        on_wait: told now and then how long and for which host is waited; "" for none.
        on_records: told how many records of archives were gone through.
        pages: gets what became of the pages; None for a source without any.
        counts: gets further figures by name.
        traffic: gets what each host was asked for pages.
        earlier: folder of what an earlier reading of the source noted of its pages, None for a first one.
        vouched_seconds: for so long a site's own word is enough that a page is as it was.
        evidence: gets what was learned of each page; None for a source without any.
    """

    scratch: Path
    orphans: OrphanLog
    fetching: "FetchOptions"
    on_pages: "Callable[[CrawlCounts], None]"
    on_records: Callable[[int], None]
    on_wait: Callable[[str], None] = lambda whom: None
    pages: "CrawlCounts | None" = None
    counts: Counter[str] = field(default_factory=Counter)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    earlier: Path | None = None
    vouched_seconds: float = 0.0
    evidence: "Evidence | None" = None


class Source(ABC):
    """What can be ingested; each kind of it is a class, named in `open.KINDS`.

    Args:
        kind: its name in `open.KINDS`.
        name: a path, a pattern or a URL, as given.
        options: how to read it.
    """

    is_fetched: ClassVar[bool] = True
    """Whether any of its pictures are asked for over the network."""
    has_hashes: ClassVar[bool] = False
    """Whether its records can come with checksums (`hash_column`)."""
    has_boxes: ClassVar[bool] = False
    """Whether its records can come with boxes to blur (`blur_column`)."""
    has_sidecars: ClassVar[bool] = False
    """Whether files beside its pictures can describe these (`sidecars_from`)."""

    def __init__(self, kind: str, name: str, options: SourceOptions) -> None:
        self.kind = kind
        self.name = name
        self.options = options

    @classmethod
    @abstractmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """Tell whether a source is of this kind; those before it in `open.KINDS` have said no."""

    @abstractmethod
    def identity(self) -> str:
        """Give the digest that stands for its content.

        Raises:
            ConfigError: it cannot be read.
            TransientError: a remote store does not answer.
        """

    @abstractmethod
    def records(self, planning: Planning) -> Records:
        """Give its records in an order that never varies; asynchronously where it waits for others.

        Raises:
            ConfigError: it holds nothing, or cannot be read.
            TransientError: it cannot be reached.
        """

    def store(self) -> ReadStored | None:
        """Give what reads the pictures that it holds itself, None for a source of the web.

        Raises:
            ConfigError: it is not there any more.
            TransientError: a remote store does not answer.
        """
        return None


def digest_of_lines(lines: Iterable[str]) -> str:
    """Give the sha256 of lines, as identities of sources are made of, in hexadecimal."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
