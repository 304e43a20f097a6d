"""What a failing disk means for a run: full is worth another try, anything else is not."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t2i_core.errors import ConfigError, TransientError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn failures to write below `folder` into errors that say what to do.

    Raises:
        TransientError: the disk is full.
        ConfigError: the folder cannot be written.
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            raise TransientError(
                f"no space left to write {folder}. Free some space and run the same command again: "
                "what is finished is kept."
            ) from err
        raise ConfigError(f"cannot write {folder}: {err.strerror or err}.") from err
