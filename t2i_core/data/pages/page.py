"""HTML pages: their pictures with the text beside them, the links they hold, and what they ask not to be done."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from selectolax.lexbor import LexborHTMLParser
from yarl import URL

from t2i_core.data.manners.signals import NO_FOLLOW_DIRECTIVES, PRODUCT_TOKEN, opts_out
from t2i_core.data.manners.tdmrep import FIELD as TDM_FIELD
from t2i_core.data.manners.tdmrep import is_page_reserved, reservation
from t2i_core.data.pages.declared import declared_license, declared_pictures
from t2i_core.data.pages.img_elements import ImgElements
from t2i_core.data.pages.jsonld import read_linked_data
from t2i_core.data.pages.listing import read_listing
from t2i_core.data.pages.markup import Base, absolute, attribute, tokens
from t2i_core.data.pages.mention import Mention, Settled, settle
from t2i_core.data.pages.saved_base import SavedBase
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason

_NOT_PAGES = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|svg|avif|pdf|zip|gz|tar|mp[34]|webm|css|js|json|xml)$", re.I)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([a-z0-9_-]+)", re.IGNORECASE)
_CHARSET_HEADER = re.compile(r"charset\s*=\s*\"?([\w-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page offers.

    Attributes:
        url: where it was found, after redirects; the path of a saved page that does not say where it was found.
        mentions: the places that name pictures, in document order, those in its head last.
        links: absolute URLs of pages it links to, in document order; none when it asks not to follow them.
        license: of its pictures that have none of their own, "" when it states none.
        reason: a `RejectReason` when it rules its pictures out, else "".
        num_pictures_cut: it names more pictures than are taken from one page, so many.
        num_links_cut: so many links more than are taken from one page.
    """

    url: str
    mentions: tuple[Mention, ...]
    links: list[str]
    license: str = ""
    reason: str = ""
    num_pictures_cut: int = 0
    num_links_cut: int = 0

    @property
    def pictures(self) -> list[SourceRecord]:
        """One record for each picture; those of a page that opts out carry that as their reason."""
        return self.settled().records

    def settled(self, *, keep_undescribed: bool = False) -> Settled:
        """Give the pictures, and those that are not listed, with the reasons."""
        return settle(self.mentions, self.url, self.license, self.reason, keep_undescribed=keep_undescribed)

    def also_naming(self, mentions: Iterable[Mention]) -> "Page":
        """Give the page with what was said elsewhere about pictures on it."""
        return replace(self, mentions=(*self.mentions, *mentions))


def read_page(body: bytes, url: str, content_type: str = "", directives: Iterable[str] = (), folder: str = "") -> Page:
    """Read one HTML page.

    Args:
        body: the page's bytes.
        url: where it was found, after redirects; of a saved page its path below the folder.
        content_type: the header, for its charset.
        directives: of X-Robots-Tag headers, as far as they concern this agent.
        folder: that a saved page lies in, "" for others; what it names is then looked for there first.
    """
    text = _decode(body, content_type)
    tree = LexborHTMLParser(text)
    base: Base
    if folder:
        base = SavedBase(folder, url, text, tree)
        url = base.page_url or url
    else:
        base = _base(tree, url)
    header, meta = set(directives), _meta_directives(tree)
    told = header | meta
    reason = _page_reason(header, meta)
    linked_data = read_linked_data(tree, base)
    images = ImgElements(tree, base)
    # A saved page is part of a folder that is read anyway.
    listing = None if folder else read_listing(tree, base, url)
    shown = listing.pictures if listing else images.mentions()
    links = [] if told & NO_FOLLOW_DIRECTIVES else listing.links if listing else list(_links(tree, base))
    return Page(
        url,
        (*shown, *linked_data.pictures, *declared_pictures(tree, base)),
        links,
        license=declared_license(tree, base) or linked_data.license,
        reason=reason,
        num_pictures_cut=images.num_cut,
    )


def _decode(body: bytes, content_type: str) -> str:
    declared = _CHARSET_HEADER.search(content_type)
    sniffed = _CHARSET.search(body[:4096])
    charset = declared[1] if declared else sniffed[1].decode("ascii") if sniffed else "utf-8"
    if body.startswith(b"\xef\xbb\xbf"):
        charset = "utf-8-sig"
    # Browsers read Latin-1 as the code page that real pages mean by it.
    if charset.lower() in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"):
        charset = "cp1252"
    try:
        return body.decode(charset, "replace")
    except (LookupError, UnicodeError):
        # No such charset, or one of Python's own that pages are not written in.
        return body.decode("utf-8", "replace")


def _base(tree: LexborHTMLParser, url: str) -> URL:
    node = tree.css_first("base[href]")
    return URL(absolute(URL(url), attribute(node, "href")) or url) if node else URL(url)


def _meta_directives(tree: LexborHTMLParser) -> set[str]:
    """Collect what `<meta name="robots">`, or one with this agent's name, asks for, and what TDMRep's one says."""
    found: set[str] = set()
    for node in tree.css("meta[name][content]"):
        name = attribute(node, "name").lower()
        if name in ("robots", PRODUCT_TOKEN):
            found.update(item.strip().lower() for item in attribute(node, "content").split(","))
        elif name == TDM_FIELD:
            found |= reservation([attribute(node, "content")])
    return found


def _page_reason(header: set[str], meta: set[str]) -> str:
    """Say why the pictures of a page must be left out, "" when they need not."""
    if opts_out(header | meta):
        return RejectReason.OPT_OUT_PAGE
    return RejectReason.TDM_RESERVED if is_page_reserved(header, meta) else ""


def _links(tree: LexborHTMLParser, base: Base) -> Iterator[str]:
    for node in tree.css("a[href]"):
        if "nofollow" in tokens(node, "rel"):
            continue
        url = absolute(base, attribute(node, "href"))
        if url and not _NOT_PAGES.search(URL(url).path):
            yield url
