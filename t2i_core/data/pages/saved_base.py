"""What the references on a saved page mean: files that were saved with it, else addresses where it came from."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from selectolax.lexbor import LexborHTMLParser
from yarl import URL

from t2i_core.data.address import normalise_url, parse_url
from t2i_core.data.pages.markup import attribute
from t2i_core.data.text import clean_text

# Pages are read with one kind of address. Names that cannot exist, known to this file alone, stand for a file in the
# folder, and for what has no address at all.
_LOCAL_HOST = "folder.invalid"
_NOWHERE_HOST = "nowhere.invalid"
_SAVED_FROM = re.compile(r"saved from url=\(\d{4}\)(\S+)")
_HEAD_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """What an address on a saved page stands for that is none of the web.

    Attributes:
        path: below the folder, or as the page gives it.
        is_file: whether there is a file; else there is nothing, and no address to ask for it.
    """

    path: str
    is_file: bool


def place_of(url: str) -> Place | None:
    """Give what an address that a `SavedBase` resolved stands for, None for one of the web."""
    try:
        parsed = parse_url(url)
    except ValueError:
        return None
    if parsed.host not in (_LOCAL_HOST, _NOWHERE_HOST):
        return None
    return Place(clean_text(unquote(parsed.raw_path).removeprefix("/")), parsed.host == _LOCAL_HOST)


class SavedBase:
    """Resolves the references of one saved page, in place of the URL that a page on the web has.

    Args:
        folder: that was saved; nothing outside it is looked at.
        path: of the page below it.
        text: the page's HTML.
        tree: the same, parsed.
    """

    def __init__(self, folder: str, path: str, text: str, tree: LexborHTMLParser) -> None:
        self._root = Path(folder).resolve()
        self.page_url = _address_of(text, tree)
        node = tree.css_first("base[href]")
        base = _reference(attribute(node, "href") if node else "")
        from_page = URL(self.page_url) if self.page_url else URL(f"http://{_NOWHERE_HOST}/")
        self._web = from_page.join(base) if base is not None else from_page
        # A base that names a folder counts for the files as well.
        beside = base.path if base is not None and not base.absolute and not base.path.startswith("/") else ""
        self._place = posixpath.join(posixpath.dirname(path), posixpath.dirname(beside))

    def join(self, reference: URL) -> URL:
        """Resolve a reference: to a file, whose URL only `place_of` understands, or to an address on the web."""
        path = self._file(reference)
        return URL.build(scheme="http", host=_LOCAL_HOST, path=f"/{path}") if path else self._web.join(reference)

    def _file(self, reference: URL) -> str:
        """Give the path of the file that a reference names, "" when there is none in the folder."""
        if reference.scheme or reference.raw_host or not reference.path or reference.path.startswith("/"):
            return ""
        # A mirror keeps the query in the name of the file, a browser leaves it out.
        names = [f"{reference.path}?{reference.query_string}"] * bool(reference.query_string) + [reference.path]
        paths = (posixpath.normpath(posixpath.join(self._place, name)) for name in names)
        return next((path for path in paths if self._is_inside(path)), "")

    def _is_inside(self, path: str) -> bool:
        if ".." in PurePosixPath(path).parts:
            return False
        try:
            file = self._root / path
            return file.parent.resolve().is_relative_to(self._root) and file.is_file() and not file.is_symlink()
        except (OSError, ValueError, RuntimeError):
            return False


def _address_of(text: str, tree: LexborHTMLParser) -> str:
    """Give the address that a page was saved from, "" when it does not say."""
    node = tree.css_first("link[rel~=canonical][href]")
    for address in (_noted_address(text[:_HEAD_CHARS]), attribute(node, "href") if node else ""):
        url = normalise_url(address)
        if isinstance(url, URL):
            return str(url)
    return ""


def _noted_address(head: str) -> str:
    """Give the address in the comment that a browser writes on the pages it saves, "" when there is none."""
    # Comment by comment: one pattern for all of it would read what follows each start of a comment to the end.
    for comment in head.split("<!--")[1:]:
        body, closing, _ = comment.partition("-->")
        if closing and (noted := _SAVED_FROM.fullmatch(body.strip())):
            return noted[1]
    return ""


def _reference(text: str) -> URL | None:
    try:
        return parse_url(text) if text else None
    except ValueError:
        return None
