"""A page as it comes back from the process that read it: each text once, and no more of them than a budget.

A page of one megabyte can name ten thousand pictures that share one long text, or a million links. What waits of many
pages at once must fit into a little memory, so a page gives what fits into its budget, and says how much it cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from t2i_core.data.pages.mention import Mention
from t2i_core.data.pages.page import Page

MAX_PAGE_BYTES = 4_000_000
MAX_LINKS = 10_000
# Of one mention or link, besides its texts.
_OVERHEAD_BYTES = 100
_FIELDS = tuple(field.name for field in fields(Mention))


class _Texts:
    """Numbers texts, the same text with the same number, until there is no room for more."""

    def __init__(self, size: int) -> None:
        self.numbers: dict[str, int] = {}
        self._left = size

    def number_all(self, rows: Iterator[tuple[str, ...]]) -> Iterator[list[int]]:
        """Give the numbers of the texts of each row, up to the first row that there is no room for."""
        for row in rows:
            new = [text for text in dict.fromkeys(row) if text not in self.numbers]
            self._left -= _OVERHEAD_BYTES + sum(len(text) * (1 if text.isascii() else 4) for text in new)
            if self._left < 0:
                return
            self.numbers |= {text: len(self.numbers) + place for place, text in enumerate(new)}
            yield [self.numbers[text] for text in row]


def pack_page(page: Page, size: int = MAX_PAGE_BYTES) -> dict[str, Any]:
    """Write a page as a JSON value of bounded size; its pictures come before its links.

    Args:
        page: what was read.
        size: of its texts and of what holds them, in bytes.
    """
    texts = _Texts(size)
    mentions = list(texts.number_all(tuple(getattr(mention, name) for name in _FIELDS) for mention in page.mentions))
    links = list(texts.number_all((link,) for link in page.links[:MAX_LINKS]))
    return {
        "texts": list(texts.numbers),
        "mentions": mentions,
        "links": [number for (number,) in links],
        "page": [page.url, page.license, page.reason],
        "cut": [
            page.num_pictures_cut + _num_cut(page.mentions, len(mentions)),
            page.num_links_cut + len(page.links) - len(links),
        ],
    }


def _num_cut(mentions: Sequence[Mention], num_kept: int) -> int:
    return len({mention.url for mention in mentions[num_kept:]} - {mention.url for mention in mentions[:num_kept]})


def unpack_page(packed: dict[str, Any]) -> Page:
    """Read a page that `pack_page` wrote; equal texts are the same object."""
    texts = packed["texts"]
    url, license, reason = packed["page"]
    num_pictures_cut, num_links_cut = packed["cut"]
    return Page(
        url=url,
        mentions=tuple(
            Mention(**{name: texts[number] for name, number in zip(_FIELDS, row, strict=True)})
            for row in packed["mentions"]
        ),
        links=[texts[number] for number in packed["links"]],
        license=license,
        reason=reason,
        num_pictures_cut=num_pictures_cut,
        num_links_cut=num_links_cut,
    )
