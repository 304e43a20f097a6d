"""Files and folders that appear whole, or not at all: made under another name, and moved into place."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t2i_core.door import create_file, remove_tree

_OTHER_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = other_name(path)
    try:
        with create_file(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def other_name(path: Path) -> Path:
    """Give a hidden name beside a path that nothing has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def name_to_be(other: Path) -> str:
    """Give the name that a path from `other_name` was to take, "" when it is none of those."""
    found = _OTHER_NAME.fullmatch(other.name)
    return found[1] if found else ""


@contextmanager
def staged_folder(output_dir: Path) -> Iterator[Path]:
    """Give a temporary folder beside `output_dir` that takes its name when the block ends well.

    A folder that was there before is replaced only then; where a link leads to it, the link stays.
    """
    output_dir = behind(output_dir)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    stage = other_name(output_dir)
    stage.mkdir()
    try:
        yield stage
        remove_tree(output_dir)
        stage.replace(output_dir)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def behind(folder: Path) -> Path:
    """Give the folder that a person's link leads to."""
    return folder.resolve() if folder.is_symlink() else folder
