"""HTML pages: their pictures with the text beside them, the links they hold, and what they ask not to be done."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode
from yarl import URL

from t2i_core.data.address import MAX_URL_CHARS, normalise_url
from t2i_core.data.politeness import NO_FOLLOW_DIRECTIVES, PRODUCT_TOKEN, opts_out
from t2i_core.data.record import SourceRecord, attributes_json, clean_text, parse_json
from t2i_core.data.reject import RejectReason
from t2i_core.data.tdmrep import FIELD as TDM_FIELD
from t2i_core.data.tdmrep import is_page_reserved, reservation

LAZY_URL_ATTRIBUTES = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-url")
LAZY_SET_ATTRIBUTES = ("data-srcset", "data-lazy-srcset")
_UNREADABLE_TYPES = frozenset({"image/avif", "image/heic", "image/jxl", "image/jp2", "image/svg+xml"})
_NOT_PAGES = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|svg|avif|pdf|zip|gz|tar|mp[34]|webm|css|js|json|xml)$", re.I)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([a-z0-9_-]+)", re.IGNORECASE)
_CHARSET_HEADER = re.compile(r"charset\s*=\s*\"?([\w-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page offers.

    Attributes:
        url: where it was found, after redirects.
        pictures: in document order; those of a page that opts out carry that as their reason.
        links: absolute URLs of pages it links to, in document order; none when it asks not to follow them.
    """

    url: str
    pictures: list[SourceRecord]
    links: list[str]


def read_page(body: bytes, url: str, content_type: str = "", directives: Iterable[str] = ()) -> Page:
    """Read one HTML page.

    Args:
        body: the page's bytes.
        url: where it was found, after redirects.
        content_type: the header, for its charset.
        directives: of X-Robots-Tag headers, as far as they concern this agent.
    """
    tree = LexborHTMLParser(_decode(body, content_type))
    base = _base(tree, url)
    header, meta = set(directives), _meta_directives(tree)
    told = header | meta
    reason = _page_reason(header, meta)
    pictures = [record for image in tree.css("img") if (record := _picture(image, base, url, reason)) is not None]
    links = [] if told & NO_FOLLOW_DIRECTIVES else list(_links(tree, base))
    return Page(url, pictures, links)


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
    except LookupError:
        return body.decode("utf-8", "replace")


def _base(tree: LexborHTMLParser, url: str) -> URL:
    node = tree.css_first("base[href]")
    return URL(_absolute(URL(url), _attribute(node, "href")) or url) if node else URL(url)


def _absolute(base: URL, reference: str) -> str:
    """Resolve a reference found on a page; "" when that gives nothing to ask for."""
    reference = re.sub(r"[\t\r\n]", "", reference.strip())
    if not reference or len(reference) > MAX_URL_CHARS:
        return ""
    try:
        url = normalise_url(str(base.join(URL(reference))))
    except ValueError:
        return ""
    return str(url) if isinstance(url, URL) else ""


def _attribute(node: LexborNode, name: str) -> str:
    return (node.attributes.get(name) or "").strip()


def _meta_directives(tree: LexborHTMLParser) -> set[str]:
    """Collect what `<meta name="robots">`, or one with this agent's name, asks for, and what TDMRep's one says."""
    found: set[str] = set()
    for node in tree.css("meta[name][content]"):
        name = _attribute(node, "name").lower()
        if name in ("robots", PRODUCT_TOKEN):
            found.update(item.strip().lower() for item in _attribute(node, "content").split(","))
        elif name == TDM_FIELD:
            found |= reservation([_attribute(node, "content")])
    return found


def _page_reason(header: set[str], meta: set[str]) -> str:
    """Say why the pictures of a page must be left out, "" when they need not."""
    if opts_out(header | meta):
        return RejectReason.OPT_OUT_PAGE
    return RejectReason.TDM_RESERVED if is_page_reserved(header, meta) else ""


def _links(tree: LexborHTMLParser, base: URL) -> Iterator[str]:
    for node in tree.css("a[href]"):
        if "nofollow" in _attribute(node, "rel").lower().split():
            continue
        url = _absolute(base, _attribute(node, "href"))
        if url and not _NOT_PAGES.search(URL(url).path):
            yield url


def _picture(image: LexborNode, base: URL, page_url: str, reason: str) -> SourceRecord | None:
    """Describe one picture; None for decoration (`alt=""`) and for pictures without an address."""
    if "alt" in image.attributes and not _attribute(image, "alt"):
        return None
    addresses = (_absolute(base, reference) for reference in _references(image))
    url = next((address for address in addresses if address), "")
    if not url:
        return None
    caption, rule = _caption(image)
    return SourceRecord(
        url=url,
        caption=clean_text(caption),
        page_url=page_url,
        caption_source=rule,
        attributes=attributes_json(_data_attributes(image)),
        reason=reason,
    )


def _references(image: LexborNode) -> Iterator[str]:
    """Give a picture's addresses, the best first: its largest version, wherever lazy loading may hide it."""
    for name in ("srcset", *LAZY_SET_ATTRIBUTES):
        yield largest_candidate(_attribute(image, name))
    for name in LAZY_URL_ATTRIBUTES:
        yield _attribute(image, name)
    parent = image.parent
    if parent is not None and parent.tag == "picture":
        for source in parent.css("source"):
            if _attribute(source, "type").lower() not in _UNREADABLE_TYPES:
                for name in ("srcset", *LAZY_SET_ATTRIBUTES):
                    yield largest_candidate(_attribute(source, name))
    yield _attribute(image, "src")


def largest_candidate(srcset: str) -> str:
    """Pick the reference with the largest width or density of a `srcset`; the first of equals, "" of none."""
    best, best_size = "", 0.0
    for reference, size in _candidates(srcset):
        if size > best_size and not reference.startswith("data:"):
            best, best_size = reference, size
    return best


def _candidates(srcset: str) -> Iterator[tuple[str, float]]:
    """Split a `srcset` as browsers do: an address may hold commas, but not at its end."""
    rest = srcset
    while rest := rest.lstrip(" \t\r\n\f,"):
        reference, _, rest = _partition_space(rest)
        if reference.endswith(","):
            yield reference.rstrip(","), 1.0
            continue
        descriptor, _, rest = rest.partition(",")
        match = re.fullmatch(r"\s*([0-9.]{1,12})[wx](\s+[0-9]+h)?\s*", descriptor)
        try:
            yield reference, float(match[1]) if match else 1.0
        except ValueError:
            yield reference, 1.0


def _partition_space(text: str) -> tuple[str, str, str]:
    parts = text.split(None, 1)
    return parts[0], " ", parts[1] if len(parts) > 1 else ""


def _caption(image: LexborNode) -> tuple[str, str]:
    """Find the text of a picture and name the rule that found it."""
    alt = _attribute(image, "alt")
    if alt:
        return alt, "alt"
    figcaption = _figcaption(image)
    if figcaption:
        return figcaption, "figcaption"
    title = _attribute(image, "title")
    return (title, "title") if title else ("", "")


def _figcaption(image: LexborNode) -> str:
    node = image.parent
    while node is not None and node.tag != "figure":
        node = node.parent
    caption = node.css_first("figcaption") if node is not None else None
    return " ".join(caption.text(separator=" ").split()) if caption is not None else ""


def _data_attributes(image: LexborNode) -> dict[str, Any]:
    """Collect `data-*` attributes, those of lazy loading left out; values that are JSON are read as such."""
    skipped = {*LAZY_URL_ATTRIBUTES, *LAZY_SET_ATTRIBUTES}
    found: dict[str, Any] = {}
    for name, value in image.attributes.items():
        if name.startswith("data-") and name not in skipped:
            try:
                found[name.removeprefix("data-")] = parse_json(value or "")
            except ValueError:
                found[name.removeprefix("data-")] = value or ""
    return found
