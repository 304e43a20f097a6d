"""Listings of files, as servers make them of folders without a page of their own: links straight to pictures.

Apache, nginx, lighttpd and Python's own server head them "Index of /..." or "Directory listing for /...". On other
pages a link to a picture may lead anywhere, and is not taken for one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from selectolax.lexbor import LexborHTMLParser
from yarl import URL

from t2i_core.data.address import origin_of
from t2i_core.data.pages.file_names import is_file_name
from t2i_core.data.pages.markup import Base, absolute, attribute, text_of
from t2i_core.data.pages.mention import Mention
from t2i_core.data.unlisted import Unlisted

MAX_LINKS = 100_000
_HEADING = re.compile(r"\s*(index of|directory listing (for|of))\s*/", re.IGNORECASE)
_PICTURE_FILE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic|jxl|jp2)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing: what it links to in its folder and below."""

    pictures: list[Mention]
    links: list[str]


def read_listing(tree: LexborHTMLParser, base: Base, url: str) -> Listing | None:
    """Read a page as a listing of files; None when it is none.

    Links to other orders of the same listing, or up, lead to nothing new and are left out.

    Args:
        tree: of the page.
        base: its own.
        url: where it was found.
    """
    heads = [node for name in ("title", "h1") if (node := tree.css_first(name)) is not None]
    if not any(_HEADING.match(text_of(node)) for node in heads):
        return None
    found = Listing([], [])
    for address, text in islice(_links_below(tree, base, url), MAX_LINKS):
        if not _PICTURE_FILE.search(URL(address).path):
            found.links.append(address)
        elif text and not is_file_name(text, address):
            found.pictures.append(Mention(url=address, caption=text, rule="link"))
        else:
            found.pictures.append(Mention(url=address, unlisted=Unlisted.NO_TEXT))
    return found


def _links_below(tree: LexborHTMLParser, base: Base, url: str) -> Iterator[tuple[str, str]]:
    here = URL(url)
    folder = here.raw_path.rpartition("/")[0] + "/"
    for node in tree.css("a[href]"):
        address = absolute(base, attribute(node, "href"))
        if not address:
            continue
        target = URL(address)
        is_below = target.raw_path.startswith(folder) and target.raw_path not in (folder, here.raw_path)
        if is_below and origin_of(target) == origin_of(here):
            yield address, text_of(node)
