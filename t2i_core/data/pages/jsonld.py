"""Pictures that a page describes in JSON-LD, by schema.org: any page may hold any JSON, so all is capped."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.pages.file_names import is_file_name
from t2i_core.data.pages.markup import Base, absolute, one_line
from t2i_core.data.pages.mention import Mention
from t2i_core.data.text import license_text

MAX_SCRIPTS = 50
MAX_SCRIPT_CHARS = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_PICTURES = 1000
_PICTURE_TYPES = frozenset({"ImageObject", "Photograph"})
_PAGE_TYPES = frozenset({"WebPage", "ItemPage", "CollectionPage", "MediaGallery", "ImageGallery"})
# A publisher's logo and a smaller copy tell nothing that the pictures themselves do not.
_SKIPPED_KEYS = frozenset({"logo", "thumbnail", "thumbnailUrl", "@context"})
_CAPTION_KEYS = (("caption", "jsonld:caption"), ("description", "jsonld:description"), ("name", "jsonld:name"))
_SUBJECT_KEYS = ("name", "headline")
_LICENSE_KEYS = ("license", "acquireLicensePage", "copyrightNotice", "creditText")


@dataclass(frozen=True, slots=True)
class LinkedData:
    """What the scripts of a page say.

    Attributes:
        pictures: in the order of the text.
        license: of the page as a whole, "" when it says none.
    """

    pictures: list[Mention]
    license: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A value to look at.

    Attributes:
        value: any JSON.
        depth: how deep it lies.
        subject: the thing that it is an `image` of, None elsewhere.
    """

    value: Any
    depth: int
    subject: "dict[str, Any] | None" = None


def read_linked_data(tree: LexborHTMLParser, base: Base) -> LinkedData:
    """Read the JSON-LD scripts of a page; one that is broken or too long is passed over."""
    places = list(islice((place for script in _scripts(tree) for place in _walk(script)), MAX_NODES))
    pictures = (mention for place in places if (mention := _mention(place, base)) is not None)
    licenses = (_license(place.value, base) for place in places if _types(place.value) & _PAGE_TYPES)
    return LinkedData(list(islice(pictures, MAX_PICTURES)), next(filter(None, licenses), ""))


def _scripts(tree: LexborHTMLParser) -> Iterator[Any]:
    left = MAX_SCRIPT_CHARS
    for node in islice(tree.css("script[type='application/ld+json' i]"), MAX_SCRIPTS):
        text = node.text()
        left -= len(text)
        if left < 0:
            return
        try:
            yield parse_json(text)
        except ValueError:
            continue


def _walk(script: Any) -> Iterator[_Place]:
    """Give every object, and every text that stands for a picture, in the order of the text, without recursion."""
    waiting = [_Place(script, 0)]
    while waiting:
        place = waiting.pop()
        if isinstance(place.value, dict) or (place.subject is not None and isinstance(place.value, str)):
            yield place
        if place.depth < MAX_DEPTH:
            waiting.extend(reversed(list(islice(_inside(place), MAX_NODES))))


def _inside(place: _Place) -> Iterator[_Place]:
    if isinstance(place.value, list):
        for value in place.value:
            yield replace(place, value=value, depth=place.depth + 1)
    elif isinstance(place.value, dict):
        for key, value in place.value.items():
            if key not in _SKIPPED_KEYS:
                yield _Place(value, place.depth + 1, place.value if key == "image" else None)


def _mention(place: _Place, base: Base) -> Mention | None:
    """Describe a picture: an `ImageObject` anywhere, and whatever is the `image` of something."""
    described = place.value if isinstance(place.value, dict) else {"url": place.value}
    if place.subject is None and not _types(described) & _PICTURE_TYPES:
        return None
    urls = (absolute(base, text) for key in ("contentUrl", "url") for text in _texts(described.get(key)))
    url = next(filter(None, urls), "")
    if not url:
        return None
    caption, rule = _caption(described, place.subject or {})
    return Mention(
        url=url,
        caption=caption,
        rule=rule,
        license=_license(described, base) or _license(place.subject or {}, base),
    )


def _caption(described: dict[str, Any], subject: dict[str, Any]) -> tuple[str, str]:
    own = ((text, rule) for key, rule in _CAPTION_KEYS for text in _texts(described.get(key)))
    about = ((text, "jsonld:subject") for key in _SUBJECT_KEYS for text in _texts(subject.get(key)))
    text, rule = next((found for found in (*own, *about) if not is_file_name(found[0])), ("", ""))
    return one_line(text), rule


def _license(described: dict[str, Any], base: Base) -> str:
    """Give what an object says about its use: the license, else where to get one, else whose it is."""
    for key in _LICENSE_KEYS:
        for text in _texts(described.get(key)):
            is_address = text.startswith(("http://", "https://", "/"))
            stated = absolute(base, text) if is_address else license_text(text)
            if stated:
                return stated
    return ""


def _texts(value: Any) -> Iterator[str]:
    """Give the texts of a value: itself, those of a short list, or what an object in its place is called."""
    for item in value[:8] if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            named = (item.get(key) for key in ("@value", "url", "@id", "name", "text"))
            item = next((text for text in named if isinstance(text, str)), None)
        if isinstance(item, str) and item.strip():
            yield item.strip()


def _types(value: Any) -> set[str]:
    """Give the schema.org types of an object, also those written as addresses."""
    given = value.get("@type") if isinstance(value, dict) else None
    names = given[:8] if isinstance(given, list) else [given]
    return {name.rpartition("/")[2] for name in names if isinstance(name, str)}
