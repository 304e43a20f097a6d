"""The one door to files in folders that others may have made: no links, no pipes or devices, no absurd sizes.

What is checked is what is opened: a file below folders that are opened one by one, none of which may be a link. Opening
never waits, so a pipe cannot hold a command up.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter, FileIO
from pathlib import Path, PurePosixPath

from t2i_core.errors import DataError

# Without O_NONBLOCK, opening a pipe waits until somebody writes into it.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MODE = 0o666


def open_file(path: Path, max_bytes: int | None = None, *, levels: int = 0) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: of the file.
        max_bytes: that it may have; None for any number.
        levels: how many of the folders right above it belong to the same whole, so that they may be no links either.

    Raises:
        DataError: it is a link, no regular file, or larger than it may be.
        OSError: it is not there, or cannot be read.
    """
    return os.fdopen(_open(path, os.O_RDONLY, max_bytes, levels), "rb")


def read_file(path: Path, max_bytes: int, *, levels: int = 0) -> bytes:
    """Read a regular file whole.

    Raises:
        DataError: it is a link, no regular file, or larger than it may be.
        OSError: it is not there, or cannot be read.
    """
    with open_file(path, max_bytes, levels=levels) as file:
        return file.read(max_bytes)


def open_named(path: Path) -> BufferedReader:
    """Open a regular file that a person named, which may be a link to it.

    Raises:
        DataError: it is no regular file.
        OSError: it is not there, or cannot be read.
    """
    return open_file(path.resolve())


def create_file(path: Path) -> BufferedWriter:
    """Open a new file for writing, in place of whatever has its name.

    Raises:
        OSError: it cannot be made.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, _MODE)
    return os.fdopen(descriptor, "wb")


def open_to_append(path: Path, *, levels: int = 0) -> FileIO:
    """Open a file, made if need be, to read it and to write at its end; nothing is buffered.

    Raises:
        DataError: it is a link, no regular file, or one that has another name elsewhere.
        OSError: it cannot be opened.
    """
    descriptor = _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, None, levels)
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise DataError(f"{path} is the same file as another (a hard link), which would change too. Delete it.")
    return os.fdopen(descriptor, "a+b", buffering=0)


def is_file(path: Path) -> bool:
    """Tell whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _open(path: Path, flags: int, max_bytes: int | None, levels: int) -> int:
    if not levels:
        return _open_at(path, path, None, flags, max_bytes)
    with open_folder(path.parent, levels=levels) as folder:
        return _open_at(path, path.name, folder, flags, max_bytes)


def _open_at(path: Path, name: Path | str, folder: int | None, flags: int, max_bytes: int | None) -> int:
    """Open a file by its name in an open folder, or by its whole path."""
    try:
        # A device may do something when it is opened.
        _require_regular(path, os.stat(name, dir_fd=folder, follow_symlinks=False), max_bytes)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    try:
        descriptor = os.open(name, flags | _SAFELY, _MODE, dir_fd=folder)
    except OSError as err:
        raise _link(path) if err.errno == errno.ELOOP else err from err
    try:
        _require_regular(path, os.fstat(descriptor), max_bytes)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def open_folder(path: Path, *, levels: int = 0) -> Iterator[int]:
    """Hold a folder open, for what is done relative to it.

    Args:
        path: of the folder.
        levels: how many of the last names of the path may be no links; 0 where a person named the folder itself.

    Raises:
        DataError: one of these is a link, or no folder.
        OSError: it is not there, or cannot be opened.
    """
    names = path.parts[len(path.parts) - levels :]
    place = Path(*path.parts[: len(path.parts) - levels])
    descriptor = os.open(place, _FOLDER)
    try:
        for name in names:
            place /= name
            above, descriptor = descriptor, _open_below(descriptor, name, place)
            os.close(above)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_below(folder: int, name: str, place: Path) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as err:
        if err.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _link(place) if place.is_symlink() else DataError(f"{place} is not a folder. Delete it.") from err
        raise


def move_files(source: Path, target: Path, names: Iterable[PurePosixPath], *, levels: int) -> None:
    """Move files from one folder to the same names in another, through no link; folders that lack are made.

    Args:
        source: the folder that holds them.
        target: the folder that gets them.
        names: of the files, below both, in the order of moving.
        levels: how many of the last names of `source` may be no links.

    Raises:
        DataError: a folder on the way is a link, or no folder.
        OSError: a file is not there, or cannot be moved.
    """
    for name in names:
        below = len(name.parts) - 1
        (target / name.parent).mkdir(parents=True, exist_ok=True)
        with (
            open_folder(source / name.parent, levels=levels + below) as start,
            open_folder(target / name.parent, levels=below) as end,
        ):
            os.replace(name.name, name.name, src_dir_fd=start, dst_dir_fd=end)


def link_file(source: Path, target: Path) -> None:
    """Give a file that is never changed in place a second name; where that cannot be, copy it.

    Args:
        source: of the file, which is no link.
        target: its further name; folders that lack are made, what has the name is replaced.

    Raises:
        DataError: the source is a link, or no file.
        OSError: it is not there, or cannot be copied.
    """
    open_file(source).close()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # Another file system, or one that knows no second names.
        shutil.copyfile(source, target, follow_symlinks=False)


def remove_tree(path: Path) -> None:
    """Remove whatever has a name: a folder with all that is in it, or a file; of a link only the link itself."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def _require_regular(path: Path, status: os.stat_result, max_bytes: int | None) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _link(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is a {kind_of(status.st_mode)} and no file. Nothing was read; delete it.")
    if max_bytes is not None and status.st_size > max_bytes:
        raise DataError(
            f"{path} has {status.st_size:,} bytes; such a file has {max_bytes:,} at most. Nothing was read; delete it, "
            "or make it anew."
        )


def kind_of(mode: int) -> str:
    """Name what stands under a name, by its mode."""
    for tells, name in (
        (stat.S_ISLNK, "link"),
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
    ):
        if tells(mode):
            return name
    return "device"


def _link(path: Path) -> DataError:
    return DataError(
        f"{path} is a link, and may lead anywhere: there are none inside the folders that t2i makes. Nothing was read "
        "or written through it; put the real thing in its place, or delete it."
    )
