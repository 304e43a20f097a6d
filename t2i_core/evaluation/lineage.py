"""Where a score comes from: from the run back to its captions, its data set and the source list or pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_core.errors import ConfigError
from t2i_core.manifest import MANIFEST_NAME, Manifest, read_manifest


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One finished folder that a score rests on."""

    folder: Path
    manifest: Manifest

    def as_dict(self) -> dict[str, Any]:
        """Give what identifies the folder; paths of this machine are left out."""
        return {
            "kind": self.manifest.kind,
            "digest": self.manifest.digest,
            "step": f"{self.manifest.key.step} v{self.manifest.key.version}",
            "code_version": self.manifest.code_version,
            "inputs": self.manifest.key.inputs,
            "counts": self.manifest.counts,
        }


def trace(folder: Path) -> list[Ancestor]:
    """List a finished folder and all folders it was made from, the nearest first.

    Raises:
        ConfigError: the folder itself is not a finished one.
        DataError: a manifest is damaged.
    """
    return list(_walk(folder, set()))


def _walk(folder: Path, visited: set[str]) -> Iterator[Ancestor]:
    manifest = read_manifest(folder)
    if manifest.digest in visited:
        return
    visited.add(manifest.digest)
    yield Ancestor(folder, manifest)
    for source in manifest.sources.values():
        parent = folder / source
        if (parent / MANIFEST_NAME).is_file():
            yield from _walk(parent.resolve(), visited)


def captions_of(run_dir: Path) -> Path:
    """Find the captions folder that a run was trained on.

    Raises:
        ConfigError: the run is not finished, or its captions folder is gone.
        DataError: a manifest is damaged.
    """
    run = read_manifest(run_dir, "run")
    source = run.sources.get("captions")
    folder = (run_dir / source).resolve() if source else None
    if folder is None or not (folder / MANIFEST_NAME).is_file():
        raise ConfigError(f"the captions that {run_dir} was trained on are gone (looked in {folder}); put them back.")
    return folder
