"""Finds the texts that stand beside the pictures of a page as captions, in the forms in which real pages write them.

`<figcaption>` in `<figure>`; WordPress's `wp-caption-text`, MediaWiki's `thumbcaption` and `gallerytext`, Sphinx's and
Bootstrap's `caption` and `figure-caption`; DocBook's `caption` in `mediaobject` and `title` in `figure`; the
`<caption>` of a table that holds one picture. What an element is called must say that it is a caption, and where it
stands that it is this picture's: in a frame of the picture's own, or directly before or after it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from t2i_core.data.pages.markup import ancestors, one_line, tokens

MAX_CAPTIONS = 10_000
# Of all captions of a page together, before they are cut; what comes after that is left out.
MAX_TEXT_CHARS = 16_000_000
_LEVELS_TO_PICTURE, _LEVELS_TO_CAPTION, _MAX_TEXTS = 8, 3, 3
_SELECTOR = (
    "figcaption, [class*=caption i], .gallerytext, .figure > .title, .informalfigure > .title, .mediaobject > .title, "
    "table > caption"
)
_CAPTION_CLASS = re.compile(
    r"((fig(ure)?|image|img|photo|pic(ture)?|thumb(nail)?|media|gallery|wp|element|article|slide|lightbox)[-_]*)*"
    r"caption([-_]*(text|title))?|gallerytext|title"
)
_FRAME_CLASS = re.compile(
    r"(^|[-_])(fig(ure)?|img|image|photo|picture|attachment)|caption|thumb|gallery|mediaobject|figure"
)
_SHARED_FRAME_CLASS = re.compile(r"(^|[-_])(fig(ure)?|mediaobject|thumbinner)|caption|figure")
# Whose pictures have nothing in common but the page.
_SECTIONS = frozenset({"section", "article", "main", "body", "html"})


class NearCaptions:
    """The captions of one page; each is read once, however many pictures share it.

    Args:
        tree: of the page.
        images: its pictures.
    """

    def __init__(self, tree: LexborHTMLParser, images: Iterable[LexborNode]) -> None:
        self._num_images: Counter[int] = Counter()
        for image in images:
            self._num_images.update(node.mem_id for node in islice(ancestors(image), _LEVELS_TO_PICTURE))
        self._of_figure: dict[int, LexborNode] = {}
        self._below: dict[int, list[LexborNode]] = {}
        self._holders: set[int] = set()
        self._inside: set[int] = set()
        self._texts: dict[int, str] = {}
        self._left = MAX_TEXT_CHARS
        for node in tree.css(_SELECTOR)[:MAX_CAPTIONS]:
            self._note(node)

    def _note(self, node: LexborNode) -> None:
        if node.tag == "figcaption":
            figure = next((parent for parent in ancestors(node) if parent.tag == "figure"), None)
            if figure is not None:
                self._of_figure.setdefault(figure.mem_id, node)
        elif node.tag == "caption" or any(map(_CAPTION_CLASS.fullmatch, tokens(node, "class"))):
            around = list(islice(ancestors(node), _LEVELS_TO_CAPTION))
            if any(parent.tag == "figcaption" or parent.mem_id in self._inside for parent in around):
                return
            if node.mem_id in self._num_images:
                # It holds the picture itself, and all its text is the caption, unless a part of it is.
                self._holders.add(node.mem_id)
                return
            self._inside.add(node.mem_id)
            for parent in around:
                self._below.setdefault(parent.mem_id, []).append(node)

    def figcaption(self, around: Sequence[LexborNode]) -> str:
        """Give the text of the nearest figure around a picture that has one.

        Args:
            around: the elements around the picture, the nearest first.
        """
        figures = (self._of_figure.get(node.mem_id) for node in around if node.tag == "figure")
        return next((text for caption in figures if caption and (text := self.read(caption))), "")

    def texts(self, image: LexborNode, around: Sequence[LexborNode]) -> list[str]:
        """Give the captions that belong to a picture, the nearest first.

        Args:
            image: the picture.
            around: the elements around it, the nearest first.
        """
        found = (self.read(node) for node in self._nodes(image, around[:_LEVELS_TO_PICTURE]))
        return list(islice(dict.fromkeys(text for text in found if text), _MAX_TEXTS))

    def _nodes(self, image: LexborNode, around: Sequence[LexborNode]) -> Iterator[LexborNode]:
        inner = image
        for frame in around:
            if frame.tag in _SECTIONS:
                return
            captions = self._below.get(frame.mem_id, [])
            if not captions and frame.mem_id in self._holders and self._num_images[frame.mem_id] == 1:
                captions = [frame]
            own = bool(captions) and self._is_frame(frame, len(captions))
            yield from (node for node in captions if own or (node.tag != "caption" and self._is_beside(node, inner)))
            inner = frame

    def _is_frame(self, node: LexborNode, num_captions: int) -> bool:
        """Tell whether an element is there to hold a picture, or several, with one caption."""
        num_images, names = self._num_images[node.mem_id], tokens(node, "class")
        if num_images == 1:
            return node.tag in ("figure", "dl", "table") or any(map(_FRAME_CLASS.search, names))
        return num_captions == 1 and node.tag != "table" and any(map(_SHARED_FRAME_CLASS.search, names))

    def _is_beside(self, node: LexborNode, inner: LexborNode) -> bool:
        """Tell whether a caption comes directly after what holds a picture, or before and after no other picture."""
        before, after = _sibling(node, "prev"), _sibling(node, "next")
        if before is not None and (before.tag == "img" or before.mem_id in self._num_images):
            return before.mem_id == inner.mem_id
        return after is not None and after.mem_id == inner.mem_id

    def read(self, node: LexborNode | None) -> str:
        """Give the text of an element, "" for none."""
        if node is None:
            return ""
        if node.mem_id not in self._texts:
            # What Sphinx writes around it is a number and a link.
            text = (node.css_first(".caption-text") or node).text(separator=" ")
            self._left -= len(text)
            self._texts[node.mem_id] = one_line(text) if self._left >= 0 else ""
        return self._texts[node.mem_id]


def _sibling(node: LexborNode, way: str) -> LexborNode | None:
    """Give the next element before or after one, over nothing but white space."""
    neighbour: LexborNode | None = getattr(node, way)
    while neighbour is not None and neighbour.tag in ("-text", "-comment", "br"):
        if neighbour.tag == "-text" and (neighbour.text(deep=False) or "").strip():
            return None
        neighbour = getattr(neighbour, way)
    return neighbour
