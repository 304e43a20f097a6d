"""Files of records, one a line, beside what a step made: what happened to it since."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from t2i_core.config import Config
from t2i_core.door import read_file
from t2i_core.errors import DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import MAX_LOG_BYTES

R = TypeVar("R", bound=Config)


def read_records(path: Path, record: type[R], advice: str) -> list[R]:
    """Read the records of a file; none where there is no file.

    Args:
        path: of the file.
        record: what each line is.
        advice: what to do when one is none, as whole sentences.

    Raises:
        DataError: the file is damaged, a link or too large.
    """
    try:
        return [record.model_validate_json(line) for line in read_file(path, MAX_LOG_BYTES).splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as err:
        raise DataError(f"{path} is damaged ({err!s:.300}). {advice}") from err


def write_records(path: Path, records: Iterable[Config]) -> None:
    """Write the file, atomically.

    Raises:
        OSError: the disk is full.
    """
    write_atomically(path, "".join(f"{record.model_dump_json()}\n" for record in records).encode())
