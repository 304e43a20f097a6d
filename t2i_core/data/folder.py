"""A local folder of pictures: a walk in fixed order, captions from sidecar files, bounded reads, no links followed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from t2i_core.data.fetch import Fetched
from t2i_core.data.record import SourceRecord, as_text, attributes_json, clean_text, parse_json
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.errors import ConfigError

# Formats that cannot be read are walked too, so that they are counted instead of silently missing.
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".svg"}
)
CAPTION_SUFFIXES = (".txt", ".caption")
MAX_SIDECAR_BYTES = 1_000_000


def folder_listing(root: Path) -> list[str]:
    """List a folder's files with size and time of change, one line each, in fixed order."""
    lines = []
    for path in _walk(root, PurePosixPath()):
        status = (root / path).lstat()
        lines.append(f"{path}\t{status.st_size}\t{status.st_mtime_ns}")
    return lines


def read_folder(root: Path, caption_column: str) -> Iterator[SourceRecord]:
    """Find the pictures below a folder, in the order of their names.

    A caption comes from the file of the same stem ending in .txt or .caption, or from the `caption_column` of one
    ending in .json, whose other keys become the attributes.

    Raises:
        ConfigError: there is no picture in it.
    """
    empty = True
    for path in _walk(root, PurePosixPath()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            empty = False
            yield _record(root, path, caption_column)
    if empty:
        raise ConfigError(f"{root} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}).")


def read_local(root: Path, record: SourceRecord, max_bytes: int) -> Fetched | Rejection:
    """Read the bytes of a record that lies in the folder, without following links or leaving it."""
    path = PurePosixPath(record.location)
    if path.is_absolute() or ".." in path.parts:
        return Rejection(RejectReason.UNREADABLE)
    try:
        body = _read_bounded(root / path, max_bytes, record.offset, record.size)
    except OSError as err:
        return Rejection(RejectReason.UNREADABLE, err.strerror or "")
    return Rejection(RejectReason.TOO_MANY_BYTES) if body is None else Fetched(body, "", 0)


def _walk(root: Path, below: PurePosixPath) -> Iterator[PurePosixPath]:
    """Give the regular files in a folder of `root` and in those below it, hidden ones left out."""
    with os.scandir(root / below) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, below / entry.name)
        elif entry.is_file(follow_symlinks=False):
            yield below / entry.name


def _record(root: Path, path: PurePosixPath, caption_column: str) -> SourceRecord:
    name = os.fsencode(str(path)).decode("utf-8", "replace")
    if name != str(path):
        return SourceRecord(url=name, reason=RejectReason.UNREADABLE, detail="its name is not UTF-8")
    caption, attributes = _sidecar(root / path, caption_column)
    return SourceRecord(
        url=name,
        caption=caption,
        caption_source="sidecar" if caption else "",
        attributes=attributes,
        location=name,
    )


def _sidecar(picture: Path, caption_column: str) -> tuple[str, str]:
    """Read caption and attributes that lie beside a picture."""
    caption, attributes = "", "{}"
    described = _read_text(picture.with_suffix(".json"))
    if described:
        try:
            data = parse_json(described)
        except ValueError:
            data = None
        if isinstance(data, dict):
            caption = as_text(data.pop(caption_column, ""))
            attributes = attributes_json(data)
    texts = (_read_text(picture.with_suffix(suffix)) for suffix in CAPTION_SUFFIXES)
    return clean_text(next((text for text in texts if text), caption)).strip(), attributes


def _read_text(path: Path) -> str:
    try:
        body = _read_bounded(path, MAX_SIDECAR_BYTES)
    except OSError:
        return ""
    return (body or b"").decode("utf-8-sig", "replace").strip()


def _read_bounded(path: Path, max_bytes: int, offset: int = 0, size: int = 0) -> bytes | None:
    """Read a regular file, or a part of it; None when that is more than the cap.

    Raises:
        OSError: it is not there, not a regular file, a link, or not readable.
    """
    # Without O_NONBLOCK, opening a pipe would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        length = size or status.st_size
        if length > max_bytes:
            return None
        file.seek(offset)
        return file.read(length)
