"""The `<img>` elements of a page: the best address of each, the text beside it, and whether it is decoration."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode
from yarl import URL

from t2i_core.data.address import origin_of
from t2i_core.data.markup import Base, absolute, ancestors, attribute, text_of, tokens
from t2i_core.data.mention import Mention
from t2i_core.data.record import attributes_json, parse_json
from t2i_core.data.srcset import largest_candidate

MAX_IMG_ELEMENTS = 10_000
MAX_LABELS = 16
LAZY_URL_ATTRIBUTES = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-url")
LAZY_SET_ATTRIBUTES = ("data-srcset", "data-lazy-srcset")
_SET_ATTRIBUTES = ("srcset", *LAZY_SET_ATTRIBUTES)
_UNREADABLE_TYPES = frozenset({"image/avif", "image/heic", "image/jxl", "image/jp2", "image/svg+xml"})
_PICTURE_FILE = re.compile(r"\.(jpe?g|png|webp)$", re.IGNORECASE)
_SIZE_PREFIX = re.compile(r"^(thumb|thumbnail|tn|small|preview|\d+px)[-_]", re.IGNORECASE)
_SIZE_SUFFIX = re.compile(r"[-_](thumb|thumbnail|tn|small|preview|\d+x\d+|\d+px)$", re.IGNORECASE)


class ImgElements:
    """Reads the `<img>` elements of one page; what several of them share is read once."""

    def __init__(self, tree: LexborHTMLParser, base: Base) -> None:
        self._tree = tree
        self._base = base
        self._shared: dict[tuple[str, int], str] = {}
        self._by_id: dict[str, LexborNode] | None = None

    def mentions(self) -> Iterator[Mention]:
        """Give those that have an address, in document order."""
        for image in islice(self._tree.css("img"), MAX_IMG_ELEMENTS):
            mention = self._mention(image)
            if mention is not None:
                yield mention

    def _mention(self, image: LexborNode) -> Mention | None:
        around = list(ancestors(image))
        addresses = (absolute(self._base, reference) for reference in self._references(image, around))
        url = next((address for address in addresses if address), "")
        if not url:
            return None
        if _is_decoration(image, around):
            return Mention(url=url, is_decoration=True)
        figure = next((node for node in around if node.tag == "figure"), None)
        caption, rule = self._caption(image, figure)
        return Mention(
            url=url,
            caption=caption,
            rule=rule,
            license=self._once("license", figure, partial(_stated_license, self._base)),
            attributes=attributes_json(_data_attributes(image)),
        )

    def _once(self, what: str, node: LexborNode | None, read: Callable[[LexborNode], str]) -> str:
        """Read something of an element that many pictures may share, such as their figure, only once."""
        if node is None:
            return ""
        key = what, node.mem_id
        if key not in self._shared:
            self._shared[key] = read(node)
        return self._shared[key]

    def _references(self, image: LexborNode, around: list[LexborNode]) -> Iterator[str]:
        """Give a picture's addresses, the best first: its largest version, wherever lazy loading may hide it."""
        yield self._linked_original(image, around)
        for name in _SET_ATTRIBUTES:
            yield largest_candidate(attribute(image, name))
        for name in LAZY_URL_ATTRIBUTES:
            yield attribute(image, name)
        if around and around[0].tag == "picture":
            yield self._once("sources", around[0], partial(_best_source, self._base))
        yield attribute(image, "src")

    def _linked_original(self, image: LexborNode, around: list[LexborNode]) -> str:
        """Give the picture that a thumbnail links to, when both names say that it is the same one.

        The link must lead to a picture file of the same site whose name is the thumbnail's without its size; a link
        to any other picture, or to a page about it, is not followed.
        """
        anchor = next((node for node in around if node.tag == "a"), None)
        href = attribute(anchor, "href") if anchor is not None else ""
        if not _PICTURE_FILE.search(href):
            return ""
        original, thumbnail = absolute(self._base, href), absolute(self._base, attribute(image, "src"))
        return original if original and thumbnail and _is_thumbnail(URL(thumbnail), URL(original)) else ""

    def _caption(self, image: LexborNode, figure: LexborNode | None) -> tuple[str, str]:
        """Find the text of a picture and name the rule that found it."""
        rules: tuple[tuple[str, Callable[[], str]], ...] = (
            ("alt", lambda: attribute(image, "alt")),
            ("figcaption", lambda: self._once("figcaption", figure, _figcaption)),
            ("aria-labelledby", lambda: self._labels(image)),
            ("aria-label", lambda: attribute(image, "aria-label")),
            ("title", lambda: attribute(image, "title")),
        )
        found = ((text, rule) for rule, read in rules if (text := read()))
        return next(found, ("", ""))

    def _labels(self, image: LexborNode) -> str:
        names = attribute(image, "aria-labelledby").split()[:MAX_LABELS]
        if not names:
            return ""
        if self._by_id is None:
            # Backwards, so that the first element of an id counts.
            self._by_id = {attribute(node, "id"): node for node in reversed(self._tree.css("[id]"))}
        texts = (self._once("label", self._by_id.get(name), text_of) for name in names)
        return " ".join(text for text in texts if text)


def _is_decoration(image: LexborNode, around: list[LexborNode]) -> bool:
    """Tell whether a picture is marked as one that means nothing: to be passed over by who cannot see it."""
    if "alt" in image.attributes and not attribute(image, "alt"):
        return True
    if not {"presentation", "none"}.isdisjoint(tokens(image, "role")):
        return True
    return any(attribute(node, "aria-hidden").lower() == "true" for node in (image, *around))


def _best_source(base: Base, picture: LexborNode) -> str:
    """Give the first usable address that the `<source>`s of a `<picture>` name."""
    for source in picture.css("source"):
        if attribute(source, "type").lower() not in _UNREADABLE_TYPES:
            for name in _SET_ATTRIBUTES:
                address = absolute(base, largest_candidate(attribute(source, name)))
                if address:
                    return address
    return ""


def _is_thumbnail(thumbnail: URL, original: URL) -> bool:
    small, large = PurePosixPath(thumbnail.path).stem, PurePosixPath(original.path).stem
    bare = _SIZE_SUFFIX.sub("", _SIZE_PREFIX.sub("", small))
    return origin_of(thumbnail) == origin_of(original) and bool(large) and large in (small, bare)


def _figcaption(figure: LexborNode) -> str:
    caption = figure.css_first("figcaption")
    return text_of(caption) if caption is not None else ""


def _stated_license(base: Base, figure: LexborNode) -> str:
    """Give the license that a figure links to; "" when it links to several, because none is then surely this one's."""
    found = {absolute(base, attribute(node, "href")) for node in figure.css("[rel~=license][href]")} - {""}
    return found.pop() if len(found) == 1 else ""


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
