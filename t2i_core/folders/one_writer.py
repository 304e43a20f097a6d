"""A folder has one writer: while one process makes it, another that would is refused by a sentence."""

import fcntl
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import wraps
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from t2i_core.door import open_to_append
from t2i_core.errors import TransientError

P = ParamSpec("P")
T = TypeVar("T")
_MAX_NUMBER_BYTES = 20


def around_output(
    context: Callable[[Path], AbstractContextManager[None]],
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a decorator for steps, which are run in a context of the folder that their `output_dir` names."""

    def decorate(step: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(step)

        @wraps(step)
        def within(*args: P.args, **kwargs: P.kwargs) -> T:
            with context(Path(signature.bind(*args, **kwargs).arguments["output_dir"])):
                return step(*args, **kwargs)

        return within

    return decorate


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Keep other processes and threads from writing a folder, by a lock on `.NAME.lock` beside it.

    The lock lies beside the folder because the folder itself may be moved aside or replaced, and is gone with its
    holder, however that ends. Where nothing can be written there, or the file system knows no locks, there is none:
    what the step says of that is clearer.

    Raises:
        TransientError: another process is writing the folder.
        DataError: what has the name of the lock is a link, or no file.
    """
    place = folder.resolve()
    lock = place.with_name(f".{place.name}.lock")
    above = [path for path in lock.parents if not path.exists()]
    file = _locked(lock, folder)
    try:
        yield
    finally:
        if file is not None:
            with file, suppress(OSError):
                lock.unlink()
            # A folder that was made for a lock alone is none of the user's.
            with suppress(OSError):
                for path in above:
                    path.rmdir()


writes_alone = around_output(one_writer)


def _locked(lock: Path, folder: Path) -> FileIO | None:
    """Take a lock, and note who has it."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = open_to_append(lock)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                with file:
                    raise TransientError(_busy(folder, file)) from err
            # Who had it before may have removed the file since it was opened.
            if _is_at(lock, file):
                file.truncate(0)
                file.write(str(os.getpid()).encode())
                return file
            file.close()
    except OSError:
        return None


def _busy(folder: Path, file: FileIO) -> str:
    file.seek(0)
    number = file.read(_MAX_NUMBER_BYTES).decode("ascii", "replace")
    who = f"another process (number {number})" if number.isdecimal() else "another process"
    return f"{who} is writing {folder}. Wait until it has ended, or choose another --output-dir."


def _is_at(path: Path, file: FileIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
