"""The contract between steps: a folder is done when its `manifest.json` is there and its outputs check out.

A step reads folders and writes one folder. The manifest, written last, holds the step's key (its name, version,
config and the digests of its inputs), the code version, counts, and size and sha256 of each output.
"""

import hashlib
import json
import os
import random
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import field_validator

from t2i_core import __version__
from t2i_core.canonical import canonical_json, digest_of
from t2i_core.config import Config
from t2i_core.door import create_file, is_file, open_file, read_file, remove_tree
from t2i_core.errors import ConfigError, DataError
from t2i_core.layout import MAX_MANIFEST_BYTES, MAX_NOTE_BYTES, STEP_KINDS, Kind, inspect_folder, require_local

MANIFEST_NAME = "manifest.json"
NOTE_NAME = "step.json"
PREVIOUS_SUFFIX = ".previous"
MAX_INHERITED_BYTES = 2**30
_OTHER_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}")


class OutputFile(Config):
    """One output of a step.

    `content` is False for files that differ from run to run (times, logs): they are checked but not part of the digest.
    """

    path: str
    size: int
    sha256: str
    content: bool = True

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        parts = path.split("/")
        if "\0" in path or any(part in ("", ".", "..") for part in parts):
            raise ValueError("is no path of a file in this folder")
        return path


class StepKey(Config):
    """What decides a step's outputs: same key, same outputs."""

    step: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str]


class StepRef(Config):
    """The small record that crosses a task line in place of data."""

    kind: Kind
    digest: str
    path: Path
    counts: dict[str, int]
    hit: bool = False


class Manifest(Config):
    """What a finished step wrote, and from what."""

    schema_version: int = 1
    kind: Kind
    key: StepKey
    code_version: str
    sources: dict[str, str]
    counts: dict[str, int]
    files: tuple[OutputFile, ...]

    @cached_property
    def files_by_path(self) -> dict[str, OutputFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}

    @property
    def digest(self) -> str:
        """Identity of the folder's content: the step's key and the content of its files."""
        content = {f.path: f.sha256 for f in self.files if f.content}
        return digest_of({"key": self.key.model_dump(mode="json"), "files": content})

    def ref(self, folder: Path) -> StepRef:
        """Give the reference of the folder that it lies in."""
        return StepRef(kind=self.kind, digest=self.digest, path=folder, counts=self.counts)


def sha256_of(path: Path) -> str:
    """Give the sha256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: it is a link, or no regular file.
        OSError: it is not there, or cannot be read.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(root: Path, path: Path, *, content: bool = True) -> OutputFile:
    """Measure one output file."""
    return OutputFile(
        path=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=sha256_of(path), content=content
    )


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
    output_dir = _behind(output_dir)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    stage = other_name(output_dir)
    stage.mkdir()
    try:
        yield stage
        remove_tree(output_dir)
        stage.replace(output_dir)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_manifest(
    folder: Path,
    *,
    kind: Kind,
    key: StepKey,
    sources: Mapping[str, str],
    counts: Mapping[str, int],
    files: list[OutputFile],
) -> StepRef:
    """Write the manifest, which says that the folder is done.

    Args:
        folder: the finished folder.
        kind: what the folder holds.
        key: what decided its content.
        sources: where each input was found, by its name in `key.inputs`; relative paths start at `folder`.
        counts: figures for reports.
        files: all outputs.
    """
    manifest = Manifest(
        kind=kind,
        key=key,
        code_version=__version__,
        sources=dict(sources),
        counts=dict(counts),
        files=tuple(sorted(files, key=lambda f: f.path)),
    )
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
    write_atomically(folder / MANIFEST_NAME, text.encode() + b"\n")
    return manifest.ref(folder)


def relative_source(source: Path, folder: Path) -> str:
    """Spell the path of an input folder relative to the folder made from it, so that both can be moved together."""
    return Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()


def read_manifest(folder: Path, *kinds: Kind) -> Manifest:
    """Read the manifest of a finished folder, which holds nothing that its kind does not.

    Args:
        folder: a finished folder.
        kinds: what it may be; anything if none is named.

    Raises:
        ConfigError: there is no such folder, it is not finished, or it holds another kind of thing.
        DataError: the manifest is damaged, or the folder holds a link, a pipe, an unknown name or an absurd size.
    """
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder}")
    manifest = _parsed_manifest(folder)
    if manifest is None:
        wanted = f"a finished {' or '.join(kinds)} folder" if kinds else "a finished folder"
        raise ConfigError(f"{folder} is not {wanted}: it has no {MANIFEST_NAME}. Run the step that makes it first.")
    if kinds and manifest.kind not in kinds:
        raise ConfigError(f"{folder} holds a {manifest.kind}, not a {' or a '.join(kinds)}.")
    _inspect(folder, manifest)
    return manifest


def _parsed_manifest(folder: Path) -> Manifest | None:
    """Read the manifest in a folder; None when there is none."""
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(read_file(path, MAX_MANIFEST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as err:
        raise DataError(f"{path} is damaged ({err!s:.500}). Delete it and run the step again.") from err


def _inspect(folder: Path, manifest: Manifest) -> None:
    inspect_folder(folder, manifest.kind, manifest.files_by_path.keys())


def finished_folders(root: Path) -> Iterator[tuple[Path, Manifest]]:
    """Find the finished folders at and below a folder, by path; hidden ones and links are left out.

    Raises:
        ConfigError: there is no such folder.
        DataError: one of them holds a link, a pipe, an unknown name or an absurd size.
    """
    if not root.is_dir():
        raise ConfigError(f"no such folder: {root}")
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST_NAME in names:
            folder = Path(place)
            try:
                manifest = _parsed_manifest(folder)
            except DataError:
                # Other programs write files of this name too.
                continue
            if manifest:
                _inspect(folder, manifest)
                yield folder, manifest


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
    manifest = _parsed_manifest(folder)
    if manifest is None:
        return None
    _inspect(folder, manifest)
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


def difference(old: StepKey, new: StepKey) -> str:
    """Name what differs between two keys, for a person."""
    rows = []
    for name, before, after in (("input", old.inputs, new.inputs), ("option", old.config, new.config)):
        for field in sorted(set(before) | set(after)):
            if before.get(field) != after.get(field):
                was, now = (f"{canonical_json(side.get(field)):.60}" for side in (before, after))
                rows.append(f"{name} {field} was {was}, now {now}")
    if old.step != new.step or old.version != new.version:
        rows.append(f"step was {old.step} v{old.version}, now {new.step} v{new.version}")
    return "; ".join(rows)


OnConflict = Literal["refuse", "replace"]


def claim_folder(folder: Path, key: StepKey, on_conflict: OnConflict, inherited: Iterable[str] = ()) -> None:
    """Take a folder for a step, and note the key in it so that an unfinished folder can be resumed safely.

    A folder made with another key is refused, or with "replace" (pipelines own their workspace) moved aside to
    `NAME.previous`.

    Args:
        folder: to take.
        key: of the step.
        on_conflict: what to do with a folder of another key.
        inherited: names of files of a replaced folder that its successor has from the first moment on.

    Raises:
        ConfigError: the folder holds something else, the message names the difference; or it is the URL of a store.
        DataError: the folder holds what no step leaves there, such as a link.
    """
    require_local(folder)
    folder = _behind(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --output-dir.")
    finish_claim(folder)
    # Who was killed while claiming the folder leaves a note without its name.
    if folder.is_dir() and any(not path.name.startswith(f".{NOTE_NAME}.") for path in folder.iterdir()):
        old = noted_key(folder)
        if old:
            inspect_folder(folder, STEP_KINDS.get(old.step))
        if old == key:
            return
        changed = difference(old, key) if old else "it was not made by this step"
        if on_conflict == "refuse" or old is None:
            advice = "Choose another --output-dir or delete it."
            if old is not None:
                advice = (
                    "Choose another --output-dir, or add --replace (in Python on_conflict='replace'), which keeps it "
                )
                advice += f"as {folder.name}{PREVIOUS_SUFFIX}."
            raise ConfigError(f"{folder} already holds other work ({changed}). {advice}")
        _replace(folder, key, inherited)
    else:
        write_key(folder, key)


def _replace(folder: Path, key: StepKey, inherited: Iterable[str]) -> None:
    """Move a folder aside for one that is claimed already."""
    successor = _successor(folder)
    for name in inherited:
        if is_file(folder / name):
            write_atomically(successor / name, read_file(folder / name, MAX_INHERITED_BYTES))
    write_key(successor, key)
    previous = folder.with_name(folder.name + PREVIOUS_SUFFIX)
    remove_tree(previous)
    folder.replace(previous)
    finish_claim(folder)


def _behind(folder: Path) -> Path:
    """Give the folder that a person's link leads to."""
    return folder.resolve() if folder.is_symlink() else folder


def finish_claim(folder: Path) -> None:
    """Let a successor take the place of the folder that was moved aside for it, if that was as far as it came.

    Raises:
        DataError: what has a successor's name was not made by a step.
    """
    successor = _successor(folder)
    if not os.path.lexists(successor):
        return None
    if successor.is_symlink() or not successor.is_dir() or folder.exists():
        return remove_tree(successor)
    inspect_folder(successor, "dataset")
    successor.replace(folder)
    return None


def _successor(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.successor")


def write_key(folder: Path, key: StepKey) -> None:
    """Note in a folder the key of the step that it is for."""
    note = json.dumps(key.model_dump(mode="json"), indent=2, sort_keys=True).encode() + b"\n"
    write_atomically(folder / NOTE_NAME, note)


def reopen_folder(folder: Path, key: StepKey) -> None:
    """Take up a finished folder under another key: what is in it is unfinished from now on."""
    write_key(folder, key)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)


def noted_key(folder: Path) -> StepKey | None:
    """Read the key that a folder was claimed or finished with; None where there is neither.

    Raises:
        DataError: its note is damaged.
    """
    note = folder / NOTE_NAME
    try:
        return StepKey.model_validate_json(read_file(note, MAX_NOTE_BYTES))
    except FileNotFoundError:
        manifest = _parsed_manifest(folder)
        return manifest.key if manifest else None
    except (OSError, ValueError) as err:
        raise DataError(f"{note} is damaged ({err!s:.500}). Delete {folder} and run the step again.") from err
