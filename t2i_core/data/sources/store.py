"""How to get at the pictures that a source itself holds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from t2i_core.data.answer import Fetched
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection
from t2i_core.data.sources.folder import read_local
from t2i_core.data.sources.kind import SourceKind, source_kind
from t2i_core.data.tables.list_files import find_archives

ReadStored = Callable[[SourceRecord, int], Fetched | Rejection]
"""Gives the bytes of a picture that its source holds, at most so many."""


def picture_store(source: str, *, pages: bool) -> ReadStored | None:
    """Give what reads the pictures that a source holds, None for one that holds none.

    Args:
        source: as given.
        pages: it is one of pages.

    Raises:
        ConfigError: it is not there any more.
        TransientError: a remote store does not answer.
    """
    kind = source_kind(source, pages=pages)
    if kind is SourceKind.ARCHIVES:
        # Few runs need it, and no run is to wait for what it does not use.
        from t2i_core.data.sources.archive import ArchiveStore

        return ArchiveStore(find_archives(source))
    return partial(read_local, Path(source)) if kind.holds_pictures else None
