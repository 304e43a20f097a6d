"""The `<img>` elements of a page: the best address of each, the texts beside it, and whether it is decoration."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode
from yarl import URL

from t2i_core.data.address import origin_of
from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.pages.file_names import is_file_name
from t2i_core.data.pages.markup import Base, absolute, ancestors, attribute, one_line
from t2i_core.data.pages.mention import Mention
from t2i_core.data.pages.near_captions import NearCaptions
from t2i_core.data.pages.srcset import largest_candidate
from t2i_core.data.text import MAX_ATTRIBUTES_BYTES, attributes_json
from t2i_core.data.unlisted import Unlisted

MAX_IMG_ELEMENTS = 10_000
MAX_LABELS = 16
LAZY_URL_ATTRIBUTES = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-url")
LAZY_SET_ATTRIBUTES = ("data-srcset", "data-lazy-srcset")
_SET_ATTRIBUTES = ("srcset", *LAZY_SET_ATTRIBUTES)
_UNREADABLE_TYPES = frozenset({"image/avif", "image/heic", "image/jxl", "image/jp2", "image/svg+xml"})
_PICTURE_FILE = re.compile(r"\.(jpe?g|png|webp)$", re.IGNORECASE)
_SVG_FILE = re.compile(r"\.svgz?($|[?#])", re.IGNORECASE)
_SIZE_PREFIX = re.compile(r"^(thumb|thumbnail|tn|small|preview|\d+px)[-_]", re.IGNORECASE)
_SIZE_SUFFIX = re.compile(r"[-_](thumb|thumbnail|tn|small|preview|\d+x\d+|\d+px)$", re.IGNORECASE)
MAX_ICON_SIDE = 32


@dataclass(frozen=True, slots=True)
class _Image:
    """One `<img>`.

    Attributes:
        node: the element.
        attributes: its own.
        around: the elements around it, the nearest first.
        figure: the nearest `<figure>` among them.
    """

    node: LexborNode
    attributes: Mapping[str, str]
    around: list[LexborNode]
    figure: LexborNode | None

    def get(self, name: str) -> str:
        """Give an attribute without the spaces around it, "" when it is not there."""
        return self.attributes.get(name, "").strip()

    @property
    def is_decoration(self) -> bool:
        """Whether it is marked as one that means nothing: to be passed over by who cannot see it."""
        if "alt" in self.attributes and not self.get("alt"):
            return True
        if not {"presentation", "none"}.isdisjoint(self.get("role").lower().split()):
            return True
        nodes = (self.node, *self.around)
        return any(attribute(node, "aria-hidden").lower() == "true" for node in nodes)

    def is_within(self, side: int) -> bool:
        """Tell whether both sides are declared, and none is larger than so many pixels."""
        sides = [self.get(name).removesuffix("px") for name in ("width", "height")]
        return all(text.isdecimal() and 0 < int(text[:9]) <= side for text in sides)


class ImgElements:
    """Reads the `<img>` elements of one page; what several of them share is read once.

    Attributes:
        num_cut: pictures beyond the limit, which are not looked at.
    """

    def __init__(self, tree: LexborHTMLParser, base: Base) -> None:
        images = tree.css("img")
        self.num_cut = max(0, len(images) - MAX_IMG_ELEMENTS)
        self._images = images[:MAX_IMG_ELEMENTS]
        self._tree = tree
        self._base = base
        self._shared: dict[tuple[str, int], Any] = {}
        self._by_id: dict[str, LexborNode] | None = None
        self._near = NearCaptions(tree, self._images)

    def mentions(self) -> Iterator[Mention]:
        """Give a mention for each text of each picture, in document order."""
        for node in self._images:
            attributes = {name: value or "" for name, value in node.attributes.items()}
            around = list(ancestors(node))
            figure = next((parent for parent in around if parent.tag == "figure"), None)
            yield from self._mentions(_Image(node, attributes, around, figure))

    def _mentions(self, image: _Image) -> Iterator[Mention]:
        addresses = (absolute(self._base, reference) for reference in self._references(image))
        url = next((address for address in addresses if address), "")
        if not url:
            yield _without_address(image)
            return
        texts = [(rule, text) for rule, text in self._texts(image) if not is_file_name(text, url)]
        rule, caption = texts[0] if texts else ("", "")
        yield Mention(
            url=url,
            caption=caption,
            rule=rule,
            license=self._once("license", image.figure, partial(_stated_license, self._base)),
            attributes=attributes_json(_data_attributes(image.attributes)),
            unlisted="" if texts else _why_unlisted(image, url),
        )
        for rule, text in texts[1:]:
            yield Mention(url=url, caption=text, rule=rule)

    def _once(self, what: str, node: LexborNode | None, read: Callable[[LexborNode], Any]) -> Any:
        """Read something of an element that many pictures may share, such as their figure, only once."""
        if node is None:
            return ""
        key = what, node.mem_id
        if key not in self._shared:
            self._shared[key] = read(node)
        return self._shared[key]

    def _references(self, image: _Image) -> Iterator[str]:
        """Give a picture's addresses, the best first: its largest version, wherever lazy loading may hide it."""
        yield self._linked_original(image)
        for name in _SET_ATTRIBUTES:
            yield largest_candidate(image.get(name))
        for name in LAZY_URL_ATTRIBUTES:
            yield image.get(name)
        if image.around and image.around[0].tag == "picture":
            yield self._once("sources", image.around[0], partial(_best_source, self._base))
        yield image.get("src")

    def _linked_original(self, image: _Image) -> str:
        """Give the picture that a thumbnail links to, when both names say that it is the same one.

        The link must lead to a picture file of the same site whose name is the thumbnail's without its size; a link
        to any other picture, or to a page about it, is not followed.
        """
        anchor = next((node for node in image.around if node.tag == "a"), None)
        href = attribute(anchor, "href") if anchor is not None else ""
        if not _PICTURE_FILE.search(href):
            return ""
        original, thumbnail = absolute(self._base, href), absolute(self._base, image.get("src"))
        return original if original and thumbnail and _is_thumbnail(URL(thumbnail), URL(original)) else ""

    def _texts(self, image: _Image) -> Iterator[tuple[str, str]]:
        """Give the texts of a picture, each with the rule that found it, the best first.

        What is marked as decoration has none of its own, but a caption beside it is about it all the same, unless
        another picture of the same figure is described.
        """
        is_decoration = image.is_decoration
        if not is_decoration:
            yield from _named("alt", one_line(image.get("alt")))
        if not is_decoration or not self._once("described", image.figure, _has_described_picture):
            yield from _named("figcaption", self._near.figcaption(image.around))
            for text in self._near.texts(image.node, image.around):
                yield "caption", text
        yield from _named("aria-labelledby", self._labels(image, "aria-labelledby"))
        yield from _named("aria-label", one_line(image.get("aria-label")))
        yield from _named("aria-describedby", self._labels(image, "aria-describedby"))
        if not is_decoration:
            yield from _named("title", one_line(image.get("title")))

    def _labels(self, image: _Image, name: str) -> str:
        names = image.get(name)[:8192].split()[:MAX_LABELS]
        if not names:
            return ""
        if self._by_id is None:
            # Backwards, so that the first element of an id counts.
            self._by_id = {attribute(node, "id"): node for node in reversed(self._tree.css("[id]"))}
        texts = (self._near.read(self._by_id.get(name)) for name in names)
        return one_line(" ".join(text for text in texts if text))


def _named(rule: str, text: str) -> Iterator[tuple[str, str]]:
    if text:
        yield rule, text


def _without_address(image: _Image) -> Mention:
    """Note a picture that cannot be asked for; what stands for its address only tells it from others."""
    reference = image.get("src")
    rule = Unlisted.DATA_URI if reference[:5].lower() == "data:" else Unlisted.NO_ADDRESS
    return Mention(url=f"{rule}:{hashlib.sha256(reference.encode('utf-8', 'replace')).hexdigest()[:16]}", unlisted=rule)


def _why_unlisted(image: _Image, url: str) -> str:
    """Say why a picture without a text is not to be listed, "" when it is."""
    if image.is_within(1):
        return Unlisted.TRACKING_PIXEL
    if not image.is_decoration:
        return ""
    if _SVG_FILE.search(url):
        return Unlisted.SVG
    return Unlisted.ICON if image.is_within(MAX_ICON_SIDE) else Unlisted.DECORATION


def _has_described_picture(figure: LexborNode) -> bool:
    return any(not is_file_name(alt) for node in figure.css("img[alt]")[:100] if (alt := attribute(node, "alt")))


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


def _stated_license(base: Base, figure: LexborNode) -> str:
    """Give the license that a figure links to; "" when it links to several, because none is then surely this one's."""
    found = {absolute(base, attribute(node, "href")) for node in figure.css("[rel~=license][href]")} - {""}
    return found.pop() if len(found) == 1 else ""


def _data_attributes(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Collect `data-*` attributes, those of lazy loading left out; values that are JSON are read as such."""
    skipped = {*LAZY_URL_ATTRIBUTES, *LAZY_SET_ATTRIBUTES}
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith("data-") and name not in skipped:
            try:
                # A longer one does not fit into a row, whatever it is.
                fits = len(value) <= MAX_ATTRIBUTES_BYTES
                found[name.removeprefix("data-")] = parse_json(value) if fits else value[: MAX_ATTRIBUTES_BYTES + 1]
            except ValueError:
                found[name.removeprefix("data-")] = value
    return found
