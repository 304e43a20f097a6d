"""What every reader of a parsed page needs: attributes, texts, ancestors and absolute addresses, all bounded."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from selectolax.lexbor import LexborNode
from yarl import URL

from t2i_core.data.address import MAX_URL_CHARS, normalise_url, parse_url

# No page nests what belongs together deeper than this; a hostile one would make every walk as long as the page.
MAX_ANCESTORS = 64
# No text about one picture is longer, and a page may repeat one for each of its pictures.
MAX_TEXT_CHARS = 10_000


class Base(Protocol):
    """What the references on a page are resolved against; the URL of the page is one."""

    def join(self, url: URL, /) -> URL:
        """Resolve a reference.

        Raises:
            ValueError: that gives no URL.
        """
        ...


def attribute(node: LexborNode, name: str) -> str:
    """Give an attribute without the spaces around it, "" when it is not there."""
    return (node.attributes.get(name) or "").strip()


def tokens(node: LexborNode, name: str) -> list[str]:
    """Give the words of an attribute that is a list of words, such as `rel`, in lower case."""
    return attribute(node, name).lower().split()


def one_line(text: str) -> str:
    """Give a text the form in which it is told: single spaces between its words, bounded."""
    return " ".join(text[: 4 * MAX_TEXT_CHARS].split())[:MAX_TEXT_CHARS]


def text_of(node: LexborNode) -> str:
    """Give the text in an element, in one line."""
    return one_line(node.text(separator=" "))


def ancestors(node: LexborNode) -> Iterator[LexborNode]:
    """Give the elements around one, the nearest first."""
    return islice(_parents(node), MAX_ANCESTORS)


def _parents(node: LexborNode) -> Iterator[LexborNode]:
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def absolute(base: Base, reference: str) -> str:
    """Resolve a reference found on a page; "" when that gives nothing to ask for."""
    reference = re.sub(r"[\t\r\n]", "", reference.strip())
    if not reference or len(reference) > MAX_URL_CHARS:
        return ""
    try:
        url = normalise_url(str(base.join(parse_url(reference))))
    except ValueError:
        return ""
    return str(url) if isinstance(url, URL) else ""
