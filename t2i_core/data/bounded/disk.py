"""What a failing disk means for a run: full is worth another try, anything else is not."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t2i_core.errors import ConfigError, TransientError
from t2i_core.folders.one_writer import around_output

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What to do, by what is wrong.
_ADVICE = {
    errno.EACCES: "Change its permissions, or choose another folder.",
    errno.EPERM: "Change its permissions, or choose another folder.",
    errno.EROFS: "Its file system can only be read: choose another folder.",
    errno.ENOTDIR: "A part of its path is a file: choose another folder.",
    errno.EEXIST: "A part of its path is a file: choose another folder.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n), or ask for fewer connections.",
    errno.EIO: "The disk does not answer well: look at the system's log.",
}


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn failures to write below `folder`, or to read what it is made from, into errors that say what to do.

    Raises:
        TransientError: the disk is full.
        ConfigError: the folder cannot be written, or another file cannot be used.
    """
    try:
        yield
    except OSError as err:
        raise explain(err, folder) from err


tells_disk_errors = around_output(disk_errors)


def explain(err: OSError, folder: Path | None = None) -> ConfigError | TransientError:
    """Say what a failing disk means.

    Args:
        err: what the system said; where it names a file outside `folder`, that one is at fault.
        folder: what was to be written, if that is known.
    """
    named = Path(err.filename) if isinstance(err.filename, str | Path) else None
    if err.errno in _FULL:
        return TransientError(
            f"no space left to write {folder or named or 'a file'}. Free some space and run the same command again: "
            "what is finished is kept."
        )
    reason = (err.strerror or str(err) or type(err).__name__).lower()
    advice = _ADVICE.get(err.errno or 0, "")
    if folder is not None and (named is None or _concerns(named, folder)):
        return ConfigError(f"cannot write {folder}: {reason}. {advice}".rstrip())
    return ConfigError(f"cannot use {named or 'a file'}: {reason}. {advice}".rstrip())


def _concerns(path: Path, folder: Path) -> bool:
    """Say whether a path is that of a folder, below it, above it, or beside it under the temporary name of it."""
    path, folder = path.absolute(), folder.absolute()
    beside = path.is_relative_to(folder.parent) and folder.name in path.relative_to(folder.parent).as_posix()
    return path.is_relative_to(folder) or folder.is_relative_to(path) or beside
