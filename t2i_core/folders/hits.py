"""Whether a folder is already what a step would make: of the same key, with all its outputs."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, get_args

from t2i_core.door import is_file
from t2i_core.errors import DataError
from t2i_core.folders.layout import require_local
from t2i_core.folders.manifest import (
    Manifest,
    OutputFile,
    StepKey,
    StepRef,
    inspect_finished,
    parsed_manifest,
    sha256_of,
)


def missing_outputs(folder: Path, manifest: Manifest) -> list[str]:
    """List the outputs that are gone or have another size than the manifest says."""
    return [f.path for f in manifest.files if not _has_size(folder / f.path, f.size)]


def _has_size(path: Path, size: int) -> bool:
    return is_file(path) and path.lstat().st_size == size


def change_of(path: Path, noted: OutputFile) -> str:
    """Say how a file differs from what was written; "" when it does not.

    Raises:
        OSError: it cannot be read.
    """
    if not is_file(path):
        return "is gone"
    size = path.lstat().st_size
    if size != noted.size:
        return f"has {size:,} bytes instead of {noted.size:,}"
    return "" if sha256_of(path) == noted.sha256 else "has other bytes than were written"


HitCheck = Literal["size", "sample", "all"]

# Of the larger files, every tenth is read, and all that are no larger than this, bytes.
SAMPLE_SHARE, SMALL_BYTES = 0.1, 1_000_000

_ASKED: ContextVar[HitCheck] = ContextVar("how hits are checked", default="size")


@contextmanager
def hits_checked(how: HitCheck) -> Iterator[None]:
    """Have hits checked at least this well while the block runs.

    Args:
        how: size: that all files are there in their sizes; sample: also the bytes of the small and of some others; all:
            the bytes of all.
    """
    levels = get_args(HitCheck)
    token = _ASKED.set(max(how, _ASKED.get(), key=levels.index))
    try:
        yield
    finally:
        _ASKED.reset(token)


def files_to_read(files: Sequence[OutputFile]) -> Sequence[OutputFile]:
    """Choose the files of a folder whose bytes are to be compared now, others each time."""
    if _ASKED.get() == "all":
        return files
    if _ASKED.get() == "size":
        return ()
    large = [file for file in files if file.size > SMALL_BYTES]
    chosen = random.sample(large, -(-len(large) // round(1 / SAMPLE_SHARE)))
    return [file for file in files if file.size <= SMALL_BYTES or file in chosen]


def find_hit(folder: Path, key: StepKey) -> StepRef | None:
    """Give the reference of a folder already made with this key, if all its outputs are there.

    Raises:
        ConfigError: it is the URL of a store.
        DataError: the folder holds a link, a pipe, an unknown name or an absurd size, or its manifest is damaged; or a
            file has other bytes than were written, if `hits_checked` asks for that.
    """
    require_local(folder)
    manifest = parsed_manifest(folder)
    if manifest is None:
        return None
    inspect_finished(folder, manifest)
    if manifest.key != key or missing_outputs(folder, manifest):
        return None
    _require_unchanged(folder, manifest)
    return manifest.ref(folder).with_changes(hit=True)


def _require_unchanged(folder: Path, manifest: Manifest) -> None:
    """Compare the bytes of as many files as `hits_checked` asks for with the manifest."""
    for file in files_to_read(manifest.files):
        if change := change_of(folder / file.path, file):
            advice = "`t2i verify --repair` moves it aside, and the same ingest" if manifest.kind == "dataset" else ""
            raise DataError(
                f"{folder / file.path} {change}. "
                f"{advice or 'Delete the folder, or restore it; the same command'} makes it anew."
            )
