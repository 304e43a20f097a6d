"""Where the lists or web archives of a source lie: one, a folder or a glob of them, here or behind a URL of fsspec."""

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from t2i_core.canonical import digest_of
from t2i_core.data.entry import LINK_ADVICE, entry_kind
from t2i_core.data.tables.list_format import LIST_NAMES, list_format
from t2i_core.door import open_named
from t2i_core.errors import ConfigError, T2IError, TransientError
from t2i_core.folders.manifest import sha256_of

ARCHIVE_SUFFIXES = (".warc", ".warc.gz")
_MAGIC = frozenset("*?[")
# What object stores and file servers call the version of a file; the first that one knows stands for the content.
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "blob_id", "LastModified", "last_modified", "mtime", "created")


@dataclass(frozen=True, slots=True)
class ListFile:
    """One list, or one archive.

    Attributes:
        path: as its file system spells it.
        remote: the fsspec file system it lies on, None for this machine's own.
    """

    path: str
    remote: Any = None

    def __str__(self) -> str:
        return self.path if self.remote is None else str(self.remote.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @property
    def format(self) -> str:
        """What it is, by its name: one of `LIST_SUFFIXES`, or "" for no list."""
        return list_format(self.path)

    def open_raw(self) -> BinaryIO:
        """Open its bytes as they are stored.

        Raises:
            OSError: it cannot be opened.
        """
        # Who reads it closes it.
        return open_named(Path(self.path)) if self.remote is None else self.remote.open(self.path, "rb")

    def read_range(self, offset: int, size: int) -> bytes:
        """Read a part of its bytes as they are stored; fewer than asked for at the end.

        Raises:
            OSError: it cannot be read.
        """
        if self.remote is not None:
            return bytes(self.remote.cat_file(self.path, offset, offset + size))
        with open_named(Path(self.path)) as file:
            file.seek(offset)
            return file.read(size)

    def fingerprint(self) -> str:
        """Give what changes with its content: the digest of its bytes, or what a remote store says of its version."""
        return sha256_of(Path(self.path).resolve()) if self.remote is None else self.version()

    def version(self) -> str:
        """Give what changes whenever it is written: size and time, or what a remote store says of its version."""
        if self.remote is None:
            status = Path(self.path).stat()
            return f"{status.st_size}\t{status.st_mtime_ns}"
        info = self.remote.info(self.path)
        version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
        return digest_of([str(self), info.get("size"), version])


def is_archive(name: str) -> bool:
    """Tell whether a file name, or a pattern, promises web archives."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_remote(source: str) -> bool:
    """Tell whether a source is a URL of a store; http(s) is none, it names pages."""
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.lower() not in ("http", "https")


def is_glob(source: str) -> bool:
    """Tell whether a source is a pattern, and not the name of a file that happens to look like one."""
    return not _MAGIC.isdisjoint(source) and not Path(source).exists()


def names_lists(source: str) -> bool:
    """Tell whether a source is a list, or a folder or pattern of them, here or remote.

    Raises:
        ConfigError: a package to look is missing.
        TransientError: a remote store does not answer.
    """
    if is_archive(source):
        return False
    if is_remote(source) or is_glob(source):
        # A name that promises lists need not be looked up.
        return bool(list_format(source)) or not holds_archives(source)
    path = Path(source)
    return is_list_folder(path) if path.is_dir() else path.exists() and bool(list_format(path.name))


def is_list_folder(folder: Path) -> bool:
    """Tell whether a folder holds lists and nothing else; names that start with "." or "_" do not count."""
    has_lists = False
    with os.scandir(folder) as entries:
        for entry in entries:
            # Links are told when the lists are read.
            if _is_aside(entry.name) or entry.is_symlink():
                continue
            if not (entry.is_file() and list_format(entry.name)):
                return False
            has_lists = True
    return has_lists


def find_lists(source: str) -> list[ListFile]:
    """Find the lists of a source, in the order of their names, which is that of reading.

    Raises:
        ConfigError: there is none, one of the files is no list, or a package to reach them is missing.
        TransientError: a remote store does not answer.
    """
    files = _find_files(source)
    if not files:
        raise ConfigError(f"no such source: there is no list at {source}.{_told_of_links(source)}")
    for file in files:
        if not file.format:
            raise ConfigError(f"{file} is not a URL list: its name must end in one of {LIST_NAMES}.")
    return files


def find_archives(source: str) -> list[ListFile]:
    """Find the archives of a source, in the order of their names; what lies beside them is passed over.

    Raises:
        ConfigError: there is none, or a package to reach them is missing.
        TransientError: a remote store does not answer.
    """
    files = [file for file in _find_files(source) if is_archive(file.path)]
    if not files:
        names = ", ".join(ARCHIVE_SUFFIXES)
        raise ConfigError(f"no such source: there is no archive ({names}) at {source}.{_told_of_links(source)}")
    return files


def _told_of_links(source: str) -> str:
    links = sum(1 for _ in lists_not_read(source))
    return f" Links left out: {links:,}; {LINK_ADVICE}." if links else ""


def holds_archives(source: str) -> bool:
    """Tell whether there are archives in a folder, or among what a pattern names.

    Raises:
        ConfigError: a package to look is missing.
        TransientError: a remote store does not answer.
    """
    return any(is_archive(file.path) for file in _find_files(source))


def _find_files(source: str) -> list[ListFile]:
    with source_errors(source):
        return _remote_files(source) if is_remote(source) else _local_files(source)


def _local_files(source: str) -> list[ListFile]:
    if Path(source).is_dir() or is_glob(source):
        return [ListFile(str(path)) for path, kind in _local_entries(source) if kind in ("file", "folder")]
    return [ListFile(source)]


def lists_not_read(source: str) -> Iterator[tuple[str, str]]:
    """Give the names in a local folder, or of a pattern, that are never opened, and what they are; links above all."""
    if not is_remote(source) and (Path(source).is_dir() or is_glob(source)):
        yield from ((str(path), kind) for path, kind in _local_entries(source) if kind not in ("file", "folder"))


def _local_entries(source: str) -> Iterator[tuple[Path, str]]:
    """Give what lies in a folder, or is named by a pattern, in the order of the names, and what each is."""
    if not is_glob(source):
        for path in sorted(Path(source).iterdir()):
            if not _is_aside(path.name):
                yield path, entry_kind(path)
        return
    named = next(number for number, part in enumerate(Path(source).parts) if not _MAGIC.isdisjoint(part))
    # Unlike Path.glob, this takes a whole path as the pattern.
    for path in sorted(map(Path, glob.glob(source, recursive=True))):  # noqa: PTH207
        # The folders up to the pattern are those that a person named.
        found = [path, *path.parents][: len(path.parts) - named]
        kind = "link" if any(part.is_symlink() for part in found) else entry_kind(path)
        if kind != "folder":
            yield path, kind


def _remote_files(source: str) -> list[ListFile]:
    # Importing it takes a tenth of a second that most runs need not spend.
    from fsspec.core import url_to_fs

    store, path = url_to_fs(source)
    if store.isdir(path):
        entries = [entry["name"] for entry in store.ls(path, detail=True) if _is_plain(entry)]
        paths = [name for name in entries if not _is_aside(PurePosixPath(name).name)]
    elif not _MAGIC.isdisjoint(path):
        paths = [name for name in store.glob(path) if store.isfile(name)]
    else:
        paths = [path] if store.exists(path) else []
    return [ListFile(name, store) for name in sorted(paths)]


def _is_plain(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry of a store, which may be a folder of this machine, is neither a link nor a pipe."""
    return entry.get("type") in ("file", "directory") and not entry.get("islink")


def _is_aside(name: str) -> bool:
    """Tell whether a file lies beside the lists: hidden, or a writer's note such as Spark's `_SUCCESS`."""
    return name.startswith((".", "_"))


@contextmanager
def source_errors(source: str) -> Iterator[None]:
    """Turn failures to read a source into errors that name it.

    Raises:
        ConfigError: it cannot be read as what its name says.
        TransientError: a remote store failed; it may be back later.
    """
    try:
        yield
    except T2IError:
        raise
    except ImportError as err:
        raise ConfigError(f"cannot open {source}: {err}. It is a Python package; install it beside t2i.") from err
    except (FileNotFoundError, PermissionError, ValueError) as err:
        raise ConfigError(f"cannot read {source}: {err}") from err
    except Exception as err:
        # Each store has exceptions of its own, with no class in common.
        if is_remote(source):
            advice = "Check address, credentials and network, then run again."
            raise TransientError(f"cannot read {source}: {err}. {advice}") from err
        if isinstance(err, OSError):
            raise ConfigError(f"cannot read {source}: {err}") from err
        raise
