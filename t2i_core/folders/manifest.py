"""The manifest of a folder, which says that it is done: written last, with what decided its outputs and what they are.

It holds the step's key (its name, version, config and the digests of its inputs), the code version, counts, and size
and sha256 of each output.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import field_validator

from t2i_core import __version__
from t2i_core.canonical import digest_of
from t2i_core.config import Config
from t2i_core.door import open_file, read_file
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import MAX_MANIFEST_BYTES, Kind, inspect_folder

MANIFEST_NAME = "manifest.json"


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
    manifest = parsed_manifest(folder)
    if manifest is None:
        wanted = f"a finished {' or '.join(kinds)} folder" if kinds else "a finished folder"
        raise ConfigError(f"{folder} is not {wanted}: it has no {MANIFEST_NAME}. Run the step that makes it first.")
    if kinds and manifest.kind not in kinds:
        raise ConfigError(f"{folder} holds a {manifest.kind}, not a {' or a '.join(kinds)}.")
    inspect_finished(folder, manifest)
    return manifest


def parsed_manifest(folder: Path) -> Manifest | None:
    """Read the manifest in a folder; None when there is none."""
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(read_file(path, MAX_MANIFEST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as err:
        raise DataError(f"{path} is damaged ({err!s:.500}). Delete it and run the step again.") from err


def inspect_finished(folder: Path, manifest: Manifest) -> None:
    """Refuse a folder that holds what neither its kind nor its manifest names; see `inspect_folder`."""
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
                manifest = parsed_manifest(folder)
            except DataError:
                # Other programs write files of this name too.
                continue
            if manifest:
                inspect_finished(folder, manifest)
                yield folder, manifest
