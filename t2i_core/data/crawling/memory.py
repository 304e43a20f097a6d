"""The pages of a crawl as they were read, so that the next one asks for news alone.

Of each page the file has what its server said of it, what the sitemaps said, and what was found on it. A page that its
server calls unchanged, or of which the sitemap names the same day of change, is taken from there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Self

from t2i_core.data.address import text_digest, url_identity
from t2i_core.data.answer import Fetched, Validators
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.crawling.page_message import MAX_PAGE_BYTES, pack_page, unpack_page
from t2i_core.data.pages.page import Page
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.door import create_file, open_file

PAGES_NAME = "pages.jsonl"
# A page is cut to a quarter of this, as JSON that spells every letter out.
MAX_LINE_BYTES = 4 * MAX_PAGE_BYTES


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A page as it was read.

    Attributes:
        validators: what asks its server whether it is still the same.
        directives: of the headers that it came with.
        changed: when it last changed, as the sitemap says; "" where it does not.
        asked_at: when its server last answered, in seconds since 1970.
        page: what was found on it.
    """

    validators: Validators
    directives: frozenset[str]
    changed: str
    asked_at: int
    page: Page

    @classmethod
    def fetched(cls, answer: Fetched, changed: str, page: Page) -> Self:
        """Take a page that has just come."""
        return cls(answer.validators, answer.directives, changed, int(time()), page)

    def seen_again(self, changed: str) -> "KnownPage":
        """Give it as its server has just called it unchanged."""
        return replace(self, changed=changed, asked_at=int(time()))


@dataclass(slots=True)
class Evidence:
    """What a crawl learned of pages, by which the loss of what stood on them is judged.

    Attributes:
        read: digests of the pages that were read.
        vouched: digests of those of them that were not asked for, because the sitemap calls them unchanged.
        failed: those that were not, with the reason.
        closed: why no page may be read any more, None where any may.
        is_whole: no page was left out for want of time or room, and none failed in a way that may pass.
    """

    read: set[int] = field(default_factory=set)
    vouched: set[int] = field(default_factory=set)
    failed: dict[str, Rejection] = field(default_factory=dict)
    closed: Rejection | None = None
    is_whole: bool = True

    def loss(self, page: str) -> Rejection | None:
        """Say why a picture that stood on a page is not listed any more; None where that may be chance."""
        failed = self.failed.get(url_identity(page), self.closed)
        if failed is not None and failed.reason.is_refusal:
            return Rejection(failed.reason)
        may_be_chance = failed.reason.is_outage if failed else not self.is_whole and text_digest(page) not in self.read
        return None if may_be_chance else Rejection(RejectReason.GONE)


class PageMemory:
    """Recalls the pages of an earlier crawl, and writes down those of this one. Use as a context manager.

    Args:
        folder: that gets the file, and what is kept aside meanwhile.
        earlier: the folder that holds the file of the crawl before; None for a first one.
        vouched_seconds: for so long after its server's last answer a page is taken at the sitemap's word.
    """

    def __init__(self, folder: Path, earlier: Path | None, vouched_seconds: float) -> None:
        self.evidence = Evidence()
        self.is_refresh = earlier is not None
        self._folder = folder
        self._earlier = earlier
        self._vouched_seconds = vouched_seconds
        self._known = SideTable(folder / "_known_pages.sqlite")

    def __enter__(self) -> Self:
        self._known.__enter__()
        for row in self._read_earlier():
            self._known.add(row["url"], row)
        self._file = create_file(self._folder / PAGES_NAME)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._known.__exit__(kind, error, trace)

    def _read_earlier(self) -> Iterator[dict[str, Any]]:
        """Give the pages that were noted, up to the first one that is not as it was written."""
        if self._earlier is None:
            return
        try:
            with open_file(self._earlier / PAGES_NAME, levels=1) as file:
                while line := file.readline(MAX_LINE_BYTES):
                    row = json.loads(line)
                    if not isinstance(row, dict) or not isinstance(row.get("url"), str):
                        return
                    yield row
        except (FileNotFoundError, ValueError, RecursionError):
            return

    def recall(self, url: str) -> KnownPage | None:
        """Give a page as it was read before; None when it was not, or not noted as it should be."""
        try:
            row = self._known.find(url)[0]
            validators = Validators(row["final_url"], row["etag"], row["last_modified"])
            directives = frozenset(map(str, row["directives"]))
            page = unpack_page(row["page"])
            return KnownPage(validators, directives, row["changed"], int(row["asked_at"]), page)
        except (IndexError, KeyError, TypeError, ValueError, RecursionError):
            return None

    def fail(self, url: str, rejection: Rejection) -> None:
        """Note a page that was not read, under the address that it had after redirects too."""
        known, evidence = self.recall(url), self.evidence
        evidence.failed[url_identity(url)] = rejection
        if known is not None:
            evidence.failed[known.page.url] = rejection
        evidence.is_whole = evidence.is_whole and not rejection.reason.is_outage

    def vouches(self, known: KnownPage, changed: str) -> bool:
        """Tell whether the sitemap's word is enough that a page is as it was."""
        is_fresh = 0 <= time() - known.asked_at < self._vouched_seconds
        return bool(changed) and changed == known.changed and is_fresh

    def keep(self, url: str, known: KnownPage, *, vouched: bool = False) -> None:
        """Write a page down as it is now.

        Raises:
            OSError: the disk is full.
        """
        digest = text_digest(known.page.url)
        self.evidence.read.add(digest)
        if vouched:
            self.evidence.vouched.add(digest)
        row = {
            "url": url,
            "final_url": known.validators.url,
            "etag": known.validators.etag,
            "last_modified": known.validators.last_modified,
            "directives": sorted(known.directives),
            "changed": known.changed,
            "asked_at": known.asked_at,
            "page": pack_page(known.page),
        }
        self._file.write(json.dumps(row).encode() + b"\n")
