"""A local folder of pictures: a walk in fixed order, texts beside them, bounded reads, no links followed.

Which text belongs to which picture:

- Pictures are told by their endings, in any folder below; names that start with "." are left out, and so are links,
  which may lead anywhere: each is told in `orphans.txt`.
- A sidecar is a file in the picture's own folder with the same name and .txt, .caption or .json in place of the ending
  or after it (`a.txt` or `a.jpg.txt` for `a.jpg`); of the two the second counts. Capitals matter in names and not in
  endings. So `a.jpg` and `a.png` share `a.txt`, and `A.jpg` has no part in it.
- A table `metadata.csv`, `.jsonl` or `.parquet` tells in `file_name` which picture, in its folder or below, a row is
  about; of several tables the nearest counts. Two rows about one picture make two samples. Other columns are passed
  through.
- The caption is that of the table, else the .txt, else the .caption, else what the .json has in the caption column; its
  other keys are the attributes.
- An SVG drawing is a sidecar too, of the picture that it is and of others of its name: title, artist, keywords and
  license that it names for itself are attributes where the .json has none, and the title is the caption where there is
  no other.
- Sidecars may lie in a second folder of the same shape instead (`sidecars_from`); then none beside the pictures counts.
- A sidecar without a picture is an orphan, told in `orphans.txt`; a row without a picture is a rejected source.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from t2i_core.data.answer import Fetched
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.entry import LINK_ADVICE, entry_kind
from t2i_core.data.picture import READABLE_SUFFIXES
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.sources.drawing_metadata import MAX_DRAWING_BYTES, DrawingMetadata, read_drawing_metadata
from t2i_core.data.sources.folder_metadata import METADATA_NAMES, FolderMetadata, Told
from t2i_core.data.sources.orphans import OrphanLog
from t2i_core.data.sources.source import Planning, ReadStored, Source, SourceOptions, digest_of_lines
from t2i_core.data.tables.list_files import holds_archives, source_errors
from t2i_core.data.tables.reader import ListReader
from t2i_core.data.text import as_text, attributes_json, clean_text
from t2i_core.door import open_file, open_folder
from t2i_core.errors import ConfigError, DataError

# Formats that cannot be read are walked too, so that they are counted instead of silently missing.
WALKED_SUFFIXES = READABLE_SUFFIXES | {"avif", "heic", "jxl", "jp2", "svg"}
CAPTION_SUFFIXES = (".txt", ".caption")
DRAWING_SUFFIX = ".svg"
SIDECAR_SUFFIXES = (*CAPTION_SUFFIXES, ".json", DRAWING_SUFFIX)
MAX_SIDECAR_BYTES = 1_000_000
# Stands for what is read of sidecars, in the identities of folders that hold any; raise it when that is something else.
SIDECARS_READ = "sidecars\t2"


class PictureFolder(Source):
    """A folder of pictures with texts beside them."""

    is_fetched = False
    has_sidecars = True

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return Path(name).is_dir() and not holds_archives(name)

    def identity(self) -> str:
        """Names, sizes and times stand for the files."""
        return identity_of_pictures(self.name)

    def records(self, planning: Planning) -> Generator[SourceRecord]:
        """Give one record a picture, and one a row of a table about none."""
        root, beside = Path(self.name), Path(self.options.sidecars_from or self.name)
        planning.orphans.add_not_read(entries_not_read(root))
        with SideTable(planning.scratch / "_metadata.sqlite") as rows:
            yield from FolderReader(root, self.options.caption_column, rows, planning.orphans, beside).records()

    def store(self) -> ReadStored:
        """Read the pictures."""
        return partial(read_local, Path(self.name))


def identity_of_folder(source: str) -> str:
    """Give the digest that stands for the files in a folder.

    Raises:
        ConfigError: it cannot be read.
    """
    with source_errors(source):
        return digest_of_lines(folder_listing(Path(source)))


def identity_of_pictures(source: str) -> str:
    """Give the digest that stands for the pictures and sidecars in a folder.

    Raises:
        ConfigError: it cannot be read.
    """
    with source_errors(source):
        lines = folder_listing(Path(source))
    has_sidecars = any(line.partition("\t")[0].lower().endswith(SIDECAR_SUFFIXES) for line in lines)
    return digest_of_lines([*lines, SIDECARS_READ] if has_sidecars else lines)


@dataclass(frozen=True, slots=True)
class _Folder:
    """What a walk needs of one folder: its entries in order, which are folders, and what else there is, by its kind."""

    below: PurePosixPath
    names: tuple[str, ...]
    folders: frozenset[str]
    not_read: tuple[tuple[str, str], ...]

    @property
    def files(self) -> list[str]:
        return [name for name in self.names if name not in self.folders]


def folder_listing(root: Path) -> list[str]:
    """List a folder's files with size and time of change, one line each, in fixed order."""
    lines = []
    for path in walk_files(root):
        status = (root / path).lstat()
        lines.append(f"{path}\t{status.st_size}\t{status.st_mtime_ns}")
    return lines


def walk_files(root: Path) -> Iterator[PurePosixPath]:
    """Give the regular files below a folder in the order of their names, hidden ones and links left out."""
    for folder, name in _walk(root):
        if name:
            yield folder.below / name


def _walk(root: Path) -> Iterator[tuple[_Folder, str]]:
    """Give each folder, with "" for a name, when it is entered, and then each file in it and below."""
    # Folders can be nested more deeply than functions.
    waiting = [(folder := _list(root, PurePosixPath()), iter(folder.names))]
    yield folder, ""
    while waiting:
        folder, names = waiting[-1]
        name = next(names, None)
        if name is None:
            waiting.pop()
        elif name in folder.folders:
            inner = _list(root, folder.below / name)
            waiting.append((inner, iter(inner.names)))
            yield inner, ""
        else:
            yield folder, name


def entries_not_read(root: Path) -> Iterator[tuple[str, str]]:
    """Give the paths below a folder that no walk enters or reads, hidden ones left out, and what they are."""
    for folder, name in _walk(root):
        if not name:
            yield from ((_utf8(folder.below / entry), kind) for entry, kind in folder.not_read)


def _list(root: Path, below: PurePosixPath) -> _Folder:
    kinds: dict[str, str] = {}
    with open_folder(root / below, levels=len(below.parts)) as folder, os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                kinds[entry.name] = entry_kind(entry)
    names = sorted(name for name, kind in kinds.items() if kind in ("file", "folder"))
    folders = frozenset(name for name in names if kinds[name] == "folder")
    not_read = tuple((name, kind) for name, kind in sorted(kinds.items()) if kind not in ("file", "folder"))
    return _Folder(below, tuple(names), folders, not_read)


class FolderReader:
    """Reads the sources of a folder of pictures; the rules of pairing stand at the top of this module.

    Args:
        root: the folder.
        caption_column: of tables, and key of JSON sidecars; "" for none.
        rows: where to keep the rows of tables.
        orphans: is told of sidecars and rows without a picture.
        beside: the folder of sidecars, of the same shape as `root`; `root` itself where they lie beside the pictures.
    """

    def __init__(self, root: Path, caption_column: str, rows: SideTable, orphans: OrphanLog, beside: Path) -> None:
        self._root = root
        self._beside = beside
        self._caption_column = caption_column
        self._reader = ListReader()
        self._metadata = FolderMetadata(root, caption_column, rows, self._reader)
        self._orphans = orphans

    def records(self) -> Iterator[SourceRecord]:
        """Give the pictures in the order of their names, then the rows that are about none.

        Raises:
            ConfigError: there is no picture, or a table cannot be used.
        """
        with self._reader:
            yield from self._records()

    def _records(self) -> Iterator[SourceRecord]:
        empty, num_not_read, sidecars = True, 0, dict[PurePosixPath, dict[str, str]]()
        for folder, name in _walk(self._root):
            if not name:
                num_not_read += len(folder.not_read)
                # Of the folders around it more pictures may come after this one.
                sidecars = {around: sidecars[around] for around in sidecars if around in folder.below.parents}
                sidecars[folder.below] = _sidecars(self._files_beside(folder))
                self._note_orphans(folder, sidecars[folder.below])
                for table in METADATA_NAMES:
                    if table in folder.files:
                        yield from self._metadata.load(folder.below, table)
            elif _is_picture(name):
                empty = False
                yield from self._about(folder.below / name, sidecars[folder.below])
        if empty:
            told = f" Links left out: {num_not_read:,}; {LINK_ADVICE}." if num_not_read else ""
            endings = ", ".join(f".{suffix}" for suffix in sorted(WALKED_SUFFIXES))
            raise ConfigError(f"{self._root} holds no pictures ({endings}).{told}")
        for record in self._metadata.orphans():
            self._orphans.add("metadata_without_picture", record.detail, record.url)
            yield record

    def _files_beside(self, folder: _Folder) -> list[str]:
        """List the files of the folder in which the sidecars of a folder's pictures lie."""
        if self._beside == self._root:
            return folder.files
        try:
            return _list(self._beside, folder.below).files
        except (OSError, DataError):
            # There is no such folder there, or it is a link.
            return []

    def _note_orphans(self, folder: _Folder, sidecars: Mapping[str, str]) -> None:
        pictures = {name for name in folder.files if _is_picture(name)}
        owners = pictures | {_stem(name) for name in pictures}
        for spelled, name in sidecars.items():
            if _stem(spelled) not in owners:
                self._orphans.add("sidecars_without_picture", _utf8(folder.below / name), "no picture of this name")

    def _about(self, path: PurePosixPath, sidecars: Mapping[str, str]) -> Iterator[SourceRecord]:
        name = _utf8(path)
        if name != str(path):
            yield SourceRecord(url=name, reason=RejectReason.UNREADABLE, detail="its name is not UTF-8")
            return
        record = self._with_sidecars(SourceRecord(url=name, location=name), path, sidecars)
        for told in self._metadata.about(name) or [Told("", {})]:
            taken = replace(record, caption=told.caption, caption_source="metadata") if told.caption else record
            yield replace(taken, extra=told.extra)

    def _with_sidecars(self, record: SourceRecord, path: PurePosixPath, sidecars: Mapping[str, str]) -> SourceRecord:
        """Give a picture with the caption, the license and the attributes that lie beside it."""

        def find(suffix: str) -> PurePosixPath | None:
            spellings = (f"{path.name}{suffix}", f"{path.stem}{suffix}")
            found = next((sidecars[spelled] for spelled in spellings if spelled in sidecars), None)
            return path.parent / found if found else None

        drawing, data = self._drawing(find(DRAWING_SUFFIX)), self._object(find(".json"))
        captions = [self._text(find(suffix)) for suffix in CAPTION_SUFFIXES]
        captions.append(as_text(data.pop(self._caption_column, "")))
        text = clean_text(next(filter(None, captions), "")).strip()
        source = "sidecar" if text else "drawing" if drawing.title else ""
        return replace(
            record,
            caption=text or drawing.title,
            caption_source=source,
            license=drawing.license,
            attributes=attributes_json({**drawing.attributes, **data}),
        )

    def _object(self, path: PurePosixPath | None) -> dict[str, Any]:
        try:
            data = parse_json(text) if (text := self._text(path)) else None
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    def _text(self, path: PurePosixPath | None) -> str:
        body = self._read(path, MAX_SIDECAR_BYTES)
        return body.decode("utf-8-sig", "replace").strip()

    def _drawing(self, path: PurePosixPath | None) -> DrawingMetadata:
        return read_drawing_metadata(self._read(path, MAX_DRAWING_BYTES, only_start=True))

    def _read(self, path: PurePosixPath | None, max_bytes: int, *, only_start: bool = False) -> bytes:
        """Read a sidecar, or its start; nothing where there is none, or it cannot be read or is too large."""
        if path is None:
            return b""
        size, levels = max_bytes if only_start else 0, len(path.parts) - 1
        try:
            return _read_bounded(self._beside / path, max_bytes, size=size, levels=levels) or b""
        except (OSError, DataError):
            return b""


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower().removeprefix(".") in WALKED_SUFFIXES


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _sidecars(names: list[str]) -> dict[str, str]:
    """Give the names of sidecars by the name that they have with a small ending, which wins where both are there."""
    found: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in SIDECAR_SUFFIXES:
            # Capitals come before small letters.
            found[f"{path.stem}{path.suffix.lower()}"] = name
    return found


def _utf8(path: PurePosixPath) -> str:
    return os.fsencode(str(path)).decode("utf-8", "replace")


def read_local(root: Path, record: SourceRecord, max_bytes: int) -> Fetched | Rejection:
    """Read the bytes of a record that lies in the folder, without following links or leaving it."""
    body = read_inside(root, record.location, max_bytes, record.offset, record.size)
    return body if isinstance(body, Rejection) else Fetched(body, "", 0)


def read_inside(root: Path, location: str, max_bytes: int, offset: int = 0, size: int = 0) -> bytes | Rejection:
    """Read a file below a folder, or a part of it."""
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts:
        return Rejection(RejectReason.UNREADABLE)
    try:
        # A link among the folders on the way would lead out as well as one at the end.
        body = _read_bounded(root / path, max_bytes, offset, size, levels=len(path.parts) - 1)
    except (OSError, ValueError, DataError) as err:
        return Rejection(RejectReason.UNREADABLE, err.strerror or "" if isinstance(err, OSError) else "")
    return Rejection(RejectReason.TOO_MANY_BYTES) if body is None else body


def _read_bounded(path: Path, max_bytes: int, offset: int = 0, size: int = 0, *, levels: int = 0) -> bytes | None:
    """Read a regular file, or a part of it; None when that is more than the cap.

    Raises:
        DataError: it is no regular file, or a link.
        OSError: it is not there, or not readable.
    """
    with open_file(path, levels=levels) as file:
        length = size or os.fstat(file.fileno()).st_size
        if length > max_bytes:
            return None
        file.seek(offset)
        return file.read(length)
