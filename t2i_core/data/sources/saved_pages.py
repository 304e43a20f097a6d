"""A folder of saved pages as a source: what a browser saves, or a mirror made by wget.

Pictures that a page names by a path in the folder are read from there, and nothing outside the folder is; all others
are fetched from the address that the page was saved from, as its comment `saved from url=`, its canonical link and its
`<base>` tell.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_core.data.answer import Fetched
from t2i_core.data.pages.saved_base import place_of
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.sources.folder import entries_not_read, identity_of_folder, read_inside, read_local, walk_files
from t2i_core.data.sources.source import Planning, ReadStored, Source, SourceOptions
from t2i_core.errors import ConfigError

if TYPE_CHECKING:
    from t2i_core.data.sources.stored import StoredPages

PAGE_SUFFIXES = (".html", ".htm", ".xhtml")


class SavedPages(Source):
    """A folder of saved pages."""

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return options.pages and Path(name).is_dir()

    def identity(self) -> str:
        """Names, sizes and times stand for the files."""
        return identity_of_folder(self.name)

    async def records(self, planning: Planning) -> AsyncGenerator[SourceRecord]:
        """Give the pictures of all pages, and leave behind the counts of pages."""
        # No run is to wait for what it does not use.
        from t2i_core.data.sources.stored import reading_pages

        root = Path(self.name)
        planning.orphans.add_not_read(entries_not_read(root))
        async with (
            reading_pages(planning, self.options) as pages,
            aclosing(saved_pictures(root, pages, self.options.max_bytes)) as pictures,
        ):
            async for record in pictures:
                yield record

    def store(self) -> ReadStored:
        """Read pictures in the folder."""
        return partial(read_local, Path(self.name))


async def saved_pictures(root: Path, pages: "StoredPages", max_bytes: int) -> AsyncGenerator[SourceRecord]:
    """Give the pictures of all pages below a folder, in the order of the pages' names.

    Args:
        root: the folder.
        pages: reads pages and says which pictures may be fetched.
        max_bytes: of one page.

    Raises:
        ConfigError: there is no page in it.
        TransientError: the process that reads pages does not start.
    """
    empty = True
    for path in walk_files(root):
        if path.suffix.lower() in PAGE_SUFFIXES:
            empty = False
            body = read_inside(root, str(path), max_bytes)
            answer = body if isinstance(body, Rejection) else Fetched(body, _utf8(str(path)), 0)
            # The process that reads pages stands in another folder.
            for record in await pages.read(answer, str(root.absolute())):
                yield _placed(record, pages)
    if empty:
        raise ConfigError(f"{root} holds no pages ({', '.join(PAGE_SUFFIXES)}).")


def _utf8(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _placed(record: SourceRecord, pages: "StoredPages") -> SourceRecord:
    """Say which file a picture is, if it is one."""
    if licensed := place_of(record.license):
        record = replace(record, license=licensed.path)
    place = place_of(record.url)
    if place is None:
        return pages.from_web(record)
    if place.is_file:
        return replace(record, url=place.path, location=place.path)
    if record.reason:
        return replace(record, url=place.path)
    detail = "no such file in the folder, and the page does not say where it was saved from"
    return replace(record, url=place.path, reason=str(RejectReason.UNREADABLE), detail=detail)
