"""Sitemaps: what a site itself lists as its pages, and the pictures on them.

A sitemap is untrusted XML: document types and entities are refused, and it is read as a stream, without a tree, in a
process of its own (`sitemap_worker.py`).
"""

import zlib
from dataclasses import dataclass, field
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import DefusedXMLParser
from yarl import URL

from t2i_core.data.address import MAX_URL_CHARS, origin_of
from t2i_core.data.pages.markup import absolute
from t2i_core.data.pages.mention import Mention

# The first two are the limits of the protocol itself, the third that of its extension for pictures.
MAX_SITEMAP_BYTES = 50 * 1024 * 1024
MAX_ENTRIES = 50_000
MAX_PICTURES_PER_PAGE = 1000
# Of one file, together; whatever comes after that is not read.
MAX_PICTURES = 100_000
MAX_KEPT_CHARS = 16_000_000
MAX_DEPTH = 16
MAX_LASTMOD_CHARS = 64
_CHUNK_BYTES = 65_536
_GZIP_MARK = b"\x1f\x8b"


@dataclass(slots=True)
class Sitemap:
    """What one file lists.

    Attributes:
        sitemaps: further files, of an index.
        pages: their URLs, with what is said about the pictures on each.
        changed: when each was last changed, in the site's own words, for those of which it says so.
    """

    sitemaps: list[str] = field(default_factory=list)
    pages: dict[str, list[Mention]] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)


def read_sitemap(body: bytes, url: str) -> Sitemap:
    """Read a sitemap or an index of sitemaps; of a broken or too long one, what comes before that.

    Args:
        body: XML, or XML packed with gzip.
        url: where it was found; what it lists of other sites is left out.
    """
    reader = _Reader(URL(url))
    parser = DefusedXMLParser(target=reader, forbid_dtd=True)
    text = _unpacked(body)
    try:
        for start in range(0, len(text), _CHUNK_BYTES):
            parser.feed(text[start : start + _CHUNK_BYTES])
    # The refusals of defusedxml and the reader's own limits are ValueErrors.
    except (ParseError, ValueError, LookupError):
        pass
    return reader.found


def _unpacked(body: bytes) -> bytes:
    if not body.startswith(_GZIP_MARK):
        return body[:MAX_SITEMAP_BYTES]
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MAX_SITEMAP_BYTES)
    except zlib.error:
        return b""


class _Reader:
    """Takes the events of the parser and keeps only the addresses and texts that are wanted."""

    def __init__(self, base: URL) -> None:
        self.found = Sitemap()
        self._base = base
        self._path: list[str] = []
        self._text = ""
        self._page = self._changed = ""
        self._picture: dict[str, str] = {}
        self._pictures: list[Mention] = []
        self._num_pictures = self._num_chars = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Enter an element.

        Raises:
            ValueError: it lies too deep, or enough has been read.
        """
        self._path.append(tag.rpartition("}")[2])
        self._text = ""
        num_entries = len(self.found.pages) + len(self.found.sitemaps)
        if len(self._path) > MAX_DEPTH or num_entries >= MAX_ENTRIES or self._num_pictures >= MAX_PICTURES:
            raise ValueError("more than a sitemap may hold")
        if self._num_chars >= MAX_KEPT_CHARS:
            raise ValueError("longer than a sitemap may be")

    def data(self, text: str) -> None:
        """Take a piece of text."""
        if len(self._text) <= MAX_URL_CHARS:
            self._text += text[:MAX_URL_CHARS]

    def end(self, tag: str) -> None:
        """Leave an element."""
        text = self._text.strip()
        match self._path[1:]:
            case ["sitemap", "loc"]:
                self.found.sitemaps.extend(filter(None, [self._own_address(text)]))
            case ["url", "loc"]:
                self._page = self._own_address(text)
            case ["url", "lastmod"]:
                self._changed = text[:MAX_LASTMOD_CHARS]
            case ["url", "image", name]:
                self._picture.setdefault(name, text)
            case ["url", "image"]:
                self._end_picture()
            case ["url"]:
                self._end_page()
        self._path.pop()
        self._text = ""

    def close(self) -> None:
        """End."""

    def _own_address(self, text: str) -> str:
        address = absolute(self._base, text)
        self._num_chars += len(address)
        return address if address and origin_of(URL(address)) == origin_of(self._base) else ""

    def _end_picture(self) -> None:
        named = self._picture
        self._picture = {}
        url = absolute(self._base, named.get("loc", ""))
        if not url or len(self._pictures) == MAX_PICTURES_PER_PAGE:
            return
        self._num_pictures += 1
        self._num_chars += len(url) + sum(map(len, named.values()))
        rule = next((rule for rule in ("caption", "title") if named.get(rule)), "")
        self._pictures.append(
            Mention(
                url=url,
                caption=named.get(rule, ""),
                rule=f"sitemap:{rule}" if rule else "",
                license=absolute(self._base, named.get("license", "")),
            )
        )

    def _end_page(self) -> None:
        if self._page:
            self.found.pages.setdefault(self._page, []).extend(self._pictures)
            self.found.changed.setdefault(self._page, self._changed)
        self._page, self._changed, self._pictures = "", "", []
