"""The contract between steps: a folder is done when its `manifest.json` is there and its outputs check out.

A step reads folders and writes one folder. The manifest, written last, holds the step's key (its name, version,
config and the digests of its inputs), the code version, counts, and size and sha256 of each output.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from t2i_core import __version__
from t2i_core.config import Config, canonical_json, digest_of
from t2i_core.errors import ConfigError, DataError

MANIFEST_NAME = "manifest.json"
PREVIOUS_SUFFIX = ".previous"
Kind = Literal["dataset", "captions", "run", "evaluation"]


class OutputFile(Config):
    """One output of a step.

    `content` is False for files that differ from run to run (times, logs): they are checked but not part of the digest.
    """

    path: str
    size: int
    sha256: str
    content: bool = True


class StepKey(Config):
    """What decides a step's outputs: same key, same outputs."""

    step: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str]


class Manifest(Config):
    """What a finished step wrote, and from what."""

    schema_version: int = 1
    kind: Kind
    key: StepKey
    code_version: str
    sources: dict[str, str]
    counts: dict[str, int]
    files: tuple[OutputFile, ...]

    @property
    def digest(self) -> str:
        """Identity of the folder's content: the step's key and the content of its files."""
        content = {f.path: f.sha256 for f in self.files if f.content}
        return digest_of({"key": self.key.model_dump(mode="json"), "files": content})


class StepRef(Config):
    """The small record that crosses a task line in place of data."""

    kind: Kind
    digest: str
    path: Path
    counts: dict[str, int]
    hit: bool = False


def sha256_of(path: Path) -> str:
    """Give the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(root: Path, path: Path, *, content: bool = True) -> OutputFile:
    """Measure one output file."""
    return OutputFile(
        path=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=sha256_of(path), content=content
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(output_dir: Path) -> Iterator[Path]:
    """Give a temporary folder beside `output_dir` that takes its name when the block ends well.

    A folder that was there before is replaced only then.
    """
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        yield stage
        stage.chmod(0o755)
        if output_dir.exists():
            shutil.rmtree(output_dir)
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
    return StepRef(kind=kind, digest=manifest.digest, path=folder, counts=manifest.counts)


def relative_source(source: Path, folder: Path) -> str:
    """Spell the path of an input folder relative to the folder made from it, so that both can be moved together."""
    return Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()


def read_manifest(folder: Path, kind: Kind | None = None) -> Manifest:
    """Read the manifest of a finished folder.

    Raises:
        ConfigError: there is no such folder, it is not finished, or it holds another kind of thing.
        DataError: the manifest is damaged.
    """
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder}")
    if not path.is_file():
        wanted = f"a finished {kind} folder" if kind else "a finished folder"
        raise ConfigError(f"{folder} is not {wanted}: it has no {MANIFEST_NAME}. Run the step that makes it first.")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValueError as err:
        raise DataError(f"{path} is damaged ({err}). Delete it and run the step again.") from err
    if kind and manifest.kind != kind:
        raise ConfigError(f"{folder} holds a {manifest.kind}, not a {kind}.")
    return manifest


def finished_folders(root: Path) -> Iterator[tuple[Path, Manifest]]:
    """Find the finished folders at and below a folder, by path; hidden ones and links are left out.

    Raises:
        ConfigError: there is no such folder.
    """
    if not root.is_dir():
        raise ConfigError(f"no such folder: {root}")
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST_NAME in names:
            try:
                yield Path(place), read_manifest(Path(place))
            except DataError:
                # Other programs write files of this name too.
                continue


def missing_outputs(folder: Path, manifest: Manifest) -> list[str]:
    """List the outputs that are gone or have another size than the manifest says."""
    return [f.path for f in manifest.files if not _has_size(folder / f.path, f.size)]


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def find_hit(folder: Path, key: StepKey) -> StepRef | None:
    """Give the reference of a folder already made with this key, if all its outputs are there."""
    if not (folder / MANIFEST_NAME).is_file():
        return None
    manifest = read_manifest(folder)
    if manifest.key != key or missing_outputs(folder, manifest):
        return None
    return StepRef(kind=manifest.kind, digest=manifest.digest, path=folder, counts=manifest.counts, hit=True)


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
        ConfigError: the folder holds something else; the message names the difference.
    """
    note = folder / "step.json"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --output-dir.")
    finish_claim(folder)
    # Who was killed while claiming the folder leaves a note without its name.
    if folder.is_dir() and any(not path.name.startswith(f".{note.name}.") for path in folder.iterdir()):
        old = _noted_key(folder, note)
        if old == key:
            return
        changed = difference(old, key) if old else "it was not made by this step"
        if on_conflict == "refuse" or old is None:
            advice = "Choose another --output-dir or delete it."
            raise ConfigError(f"{folder} already holds other work ({changed}). {advice}")
        successor = _successor(folder)
        for name in inherited:
            if (folder / name).is_file():
                write_atomically(successor / name, (folder / name).read_bytes())
        _write_key(successor, key)
        previous = folder.with_name(folder.name + PREVIOUS_SUFFIX)
        shutil.rmtree(previous, ignore_errors=True)
        folder.replace(previous)
        finish_claim(folder)
    else:
        _write_key(folder, key)


def finish_claim(folder: Path) -> None:
    """Let a successor take the place of the folder that was moved aside for it, if that was as far as it came."""
    successor = _successor(folder)
    if not successor.is_dir():
        return
    if folder.exists():
        shutil.rmtree(successor)
    else:
        successor.replace(folder)


def _successor(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.successor")


def _write_key(folder: Path, key: StepKey) -> None:
    note = json.dumps(key.model_dump(mode="json"), indent=2, sort_keys=True).encode() + b"\n"
    write_atomically(folder / "step.json", note)


def _noted_key(folder: Path, note: Path) -> StepKey | None:
    try:
        return StepKey.model_validate_json(note.read_bytes())
    except FileNotFoundError:
        return read_manifest(folder).key if (folder / MANIFEST_NAME).is_file() else None
    except ValueError as err:
        raise DataError(f"{note} is damaged ({err}). Delete {folder} and run the step again.") from err
