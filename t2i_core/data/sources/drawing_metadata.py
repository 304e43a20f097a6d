"""What an SVG drawing says about itself: Dublin Core and Creative Commons in the RDF of its first <metadata>.

The file is hostile text: no entity is expanded, nothing outside is asked for, no tree is built, and reading stops where
the metadata end. Whatever cannot be read says nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from t2i_core.data.text import MAX_TEXT_CHARS, clean_text, license_text

MAX_DRAWING_BYTES = 1_000_000
_BYTES_AT_ONCE = 16_384
# Many old drawings do not say that they are SVG, so their own elements are known by name alone.
_SVG = "{http://www.w3.org/2000/svg}"
_ROOT, _METADATA, _OWN_TITLE = ["svg"], "metadata", "title"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_ITEM, _RESOURCE = f"{_RDF}li", f"{_RDF}resource"
_CREATIVE_COMMONS = ("{http://creativecommons.org/ns#}", "{http://web.resource.org/cc/}")
# What is said of the drawing itself stands right in one of these.
_ABOUT = frozenset({f"{_RDF}Description", *(f"{space}Work" for space in _CREATIVE_COMMONS)})
_FIELDS = {
    _OWN_TITLE: "own_title",
    **{f"{_DUBLIN_CORE}{name}": name for name in ("title", "creator", "subject", "description")},
    **{f"{space}license": "license" for space in _CREATIVE_COMMONS},
}


@dataclass(frozen=True, slots=True)
class DrawingMetadata:
    """What is said about a drawing.

    Attributes:
        title: "" when nothing is said.
        license: its URL or text, likewise.
        attributes: of `title`, `artist`, `keywords` (a list) and `description`, those that are said.
    """

    title: str = ""
    license: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def read_drawing_metadata(body: bytes) -> DrawingMetadata:
    """Read what a drawing says about itself.

    Args:
        body: the file, or as much of its beginning as is to be read.
    """
    listener = _Listener()
    parser = DefusedXMLParser(target=listener)
    try:
        for start in range(0, len(body), _BYTES_AT_ONCE):
            parser.feed(body[start : start + _BYTES_AT_ONCE])
            if listener.is_over:
                break
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        if not listener.is_over:
            return DrawingMetadata()
    return _as_said(listener.said)


def _as_said(said: Mapping[str, list[str]]) -> DrawingMetadata:
    def first(name: str) -> str:
        return next(iter(said.get(name, ())), "")

    title = first("title") or first("own_title")
    listed = said.get("subject", ())
    # Some write all keywords into one text.
    keywords = listed[0].split(",") if len(listed) == 1 else listed
    attributes = {
        "title": title,
        "artist": ", ".join(dict.fromkeys(said.get("creator", ()))),
        "keywords": [*dict.fromkeys(word for keyword in keywords if (word := keyword.strip()))],
        "description": first("description"),
    }
    return DrawingMetadata(
        title, license_text(first("license")), {name: value for name, value in attributes.items() if value}
    )


class _Listener:
    """Hears a drawing's elements as they are read, and keeps the texts of those that say something about it."""

    def __init__(self) -> None:
        self.said: dict[str, list[str]] = {}
        self.is_over = False
        self._path: list[str] = []
        self._field, self._depth, self._pieces, self._room = "", 0, [""], MAX_TEXT_CHARS

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Hear that an element begins."""
        tag = tag.removeprefix(_SVG)
        name = _FIELDS.get(tag, "")
        if self._field:
            if tag == _ITEM:
                self._pieces.append("")
        elif name and self._counts(tag):
            self._field, self._depth, self._pieces = name, len(self._path), [attributes.get(_RESOURCE, "")]
        self._path.append(tag)

    def _counts(self, tag: str) -> bool:
        if self.is_over:
            return False
        if tag == _OWN_TITLE:
            return self._path == _ROOT
        return self._path[:1] == _ROOT and self._path[1:2] == [_METADATA] and self._path[-1] in _ABOUT

    def data(self, text: str) -> None:
        """Hear text; what is more than can be stored is left out."""
        if self._field:
            kept = text[: self._room]
            self._room -= len(kept)
            self._pieces[-1] += kept

    def end(self, tag: str) -> None:
        """Hear that an element ends."""
        self._path.pop()
        tag = tag.removeprefix(_SVG)
        if self._field and len(self._path) == self._depth:
            texts = (" ".join(clean_text(piece).split()) for piece in self._pieces)
            self.said.setdefault(self._field, []).extend(text for text in texts if text)
            self._field = ""
        self.is_over = self.is_over or (tag == _METADATA and self._path == _ROOT)

    def close(self) -> None:
        """Hear the end of the file."""
