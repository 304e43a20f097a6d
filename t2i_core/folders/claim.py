"""Who takes a folder for a step notes the step's key in it, and is refused a folder that holds other work."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from t2i_core.canonical import canonical_json
from t2i_core.door import is_file, read_file, remove_tree
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.atomic import behind, write_atomically
from t2i_core.folders.layout import MAX_NOTE_BYTES, STEP_KINDS, inspect_folder, require_local
from t2i_core.folders.manifest import MANIFEST_NAME, StepKey, parsed_manifest

NOTE_NAME = "step.json"
PREVIOUS_SUFFIX = ".previous"
MAX_INHERITED_BYTES = 2**30
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
    folder = behind(folder)
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
        manifest = parsed_manifest(folder)
        return manifest.key if manifest else None
    except (OSError, ValueError) as err:
        raise DataError(f"{note} is damaged ({err!s:.500}). Delete {folder} and run the step again.") from err


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
