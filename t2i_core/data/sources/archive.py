"""Web archives as a source: their pages name the pictures, and most of those lie in the same archives.

A picture may be archived before or after the page that names it, so the archives are gone through once to learn where
everything lies, which is kept on disk, and the pages are read then. robots.txt was the matter of who made the archives;
what the archived answers and pages themselves ask for is honoured here.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from yarl import URL

from t2i_core.data.address import normalise_url, url_identity
from t2i_core.data.answer import MAX_REDIRECTS, Fetched
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.manners.signals import opts_out
from t2i_core.data.manners.tdmrep import RESERVED
from t2i_core.data.pages.markup import absolute
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.sources.source import Planning, ReadStored, Source, SourceOptions, digest_of_lines
from t2i_core.data.sources.stored import StoredPages, reading_pages
from t2i_core.data.sources.warc import MAX_HEADER_BYTES, Record, WarcError, iter_records, read_answer
from t2i_core.data.tables.list_files import (
    ListFile,
    find_archives,
    holds_archives,
    is_archive,
    is_glob,
    is_remote,
    lists_not_read,
    source_errors,
)
from t2i_core.data.text import clean_text
from t2i_core.errors import ConfigError

_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})


class Archives(Source):
    """Web archives: one, a folder or a pattern of them, here or remote."""

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return is_archive(name) or ((Path(name).is_dir() or is_remote(name) or is_glob(name)) and holds_archives(name))

    @cached_property
    def files(self) -> list[ListFile]:
        """The archives."""
        return find_archives(self.name)

    def identity(self) -> str:
        """Names, sizes and times stand for them, or what a store says of their versions."""
        with source_errors(self.name):
            return digest_of_lines(f"{file.name}\t{file.version()}" for file in self.files)

    async def records(self, planning: Planning) -> AsyncGenerator[SourceRecord]:
        """Give the pictures of all pages, and leave behind the counts of pages and archives."""
        planning.orphans.add_not_read(lists_not_read(self.name))
        async with reading_pages(planning, self.options) as pages:
            reader = ArchiveReader(self.name, self.files, pages, self.options.max_bytes, planning)
            async with aclosing(reader.pictures()) as pictures:
                async for record in pictures:
                    yield record

    def store(self) -> ReadStored:
        """Read pictures where they lie in the archives."""
        return ArchiveStore(self.files)


class ArchiveReader:
    """Reads the pages of archives and finds their pictures.

    Args:
        source: as it was named.
        files: the archives.
        pages: reads pages and says which pictures may be fetched.
        max_bytes: of one page.
        planning: has room for the index, and gets the counts of archives and records.
    """

    def __init__(
        self, source: str, files: list[ListFile], pages: StoredPages, max_bytes: int, planning: Planning
    ) -> None:
        self._source = source
        self._files = files
        self._pages = pages
        self._max_bytes = max_bytes
        self._planning = planning
        self._counts = planning.counts
        self._num_records = 0

    async def pictures(self) -> AsyncGenerator[SourceRecord]:
        """Give the pictures of all pages, in the order of the archives; first what of these cannot be read.

        Raises:
            ConfigError: there is no page in them.
            TransientError: a remote store does not answer.
        """
        with (
            SideTable(self._planning.scratch / "_pages.sqlite") as pages,
            SideTable(self._planning.scratch / "_answers.sqlite") as answers,
        ):
            damages = list(self._index(pages, answers))
            empty = True
            for number, offset, size in pages.firsts():
                empty = False
                answer = read_stored(self._files[number], offset, size, self._max_bytes)
                for record in await self._pages.read(answer):
                    yield self._placed(record, answers)
            if empty:
                told = f" {damages[0].detail}." if damages else ""
                raise ConfigError(f"there are no web pages in {self._source}.{told}")
            for damage in damages:
                yield damage

    def _index(self, pages: SideTable, answers: SideTable) -> Iterator[SourceRecord]:
        """Note where everything lies; gives a rejected row for each archive that is damaged."""
        for number, file in enumerate(self._files):
            self._counts["archives"] += 1
            with source_errors(str(file)), file.open_raw() as opened:
                try:
                    for record in iter_records(opened):
                        self._note(record, number, pages, answers)
                except (WarcError, EOFError) as err:
                    self._counts["archives_damaged"] += 1
                    detail = clean_text(f"{file.name} is {err}")
                    yield SourceRecord(url="", reason=RejectReason.BAD_ROW, detail=detail)

    def _note(self, record: Record, number: int, pages: SideTable, answers: SideTable) -> None:
        self._num_records += 1
        self._planning.on_records(self._num_records)
        url = normalise_url(record.url) if record.url else None
        if record.problem or isinstance(url, Rejection):
            self._counts["archive_records_unreadable"] += 1
        if not isinstance(url, URL):
            return
        key, place = str(url), [number, record.offset, record.size]
        if record.is_revisit or (300 <= record.status < 400):
            target = absolute(url, record.location)
            if target and target != key:
                answers.add(key, target)
        elif record.status == 200:
            is_page = record.content_type.split(";")[0].strip().lower() in _PAGE_TYPES
            (pages if is_page else answers).add(key, place)

    def _placed(self, record: SourceRecord, answers: SideTable) -> SourceRecord:
        """Say where a picture lies, if it is archived."""
        url = record.url
        for _ in range(MAX_REDIRECTS + 1):
            found = answers.find(url_identity(url))
            place = next((entry for entry in found if isinstance(entry, list)), None)
            if place is not None:
                number, offset, size = place
                return replace(record, location=_location(number, self._files[number]), offset=offset, size=size)
            if not found:
                break
            url = found[0]
        return self._pages.from_web(record)


def _location(number: int, file: ListFile) -> str:
    """Name an archive by its place in the set, which stays when the whole set is found by another path."""
    return f"{number}/{clean_text(file.name)}"


def read_stored(file: ListFile, offset: int, size: int, max_bytes: int) -> Fetched | Rejection:
    """Read the answer that lies at some place of an archive.

    Raises:
        ConfigError: the archive is gone.
        TransientError: a remote store does not answer.
    """
    if size > 2 * max_bytes + MAX_HEADER_BYTES:
        return Rejection(RejectReason.TOO_MANY_BYTES)
    with source_errors(str(file)):
        return read_answer(file.read_range(offset, size), max_bytes)


class ArchiveStore:
    """Gives the pictures that lie in archives.

    Args:
        files: all archives that there are.
    """

    def __init__(self, files: Iterable[ListFile]) -> None:
        self._files = {_location(number, file): file for number, file in enumerate(files)}

    def __call__(self, record: SourceRecord, max_bytes: int) -> Fetched | Rejection:
        """Read a picture, unless the answer that brought it asks not to use it.

        Raises:
            ConfigError: the archive is gone.
            TransientError: a remote store does not answer.
        """
        file = self._files.get(record.location)
        if file is None:
            return Rejection(RejectReason.UNREADABLE)
        answer: Any = read_stored(file, record.offset, record.size, max_bytes)
        if isinstance(answer, Rejection):
            return answer
        if opts_out(answer.directives):
            return Rejection(RejectReason.OPT_OUT_HEADER)
        return Rejection(RejectReason.TDM_RESERVED) if RESERVED in answer.directives else answer
