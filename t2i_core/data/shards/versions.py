"""The versions of a dataset folder: what each holds more or less than the one before, and where it lies.

The folder itself holds the newest; `versions/N` in it, a dataset folder like any other, an earlier one. What they share
lies on the disk once. `versions.jsonl` is their history, a line a version, also of those that are not held any more.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from t2i_core.config import Config
from t2i_core.door import remove_tree
from t2i_core.errors import ConfigError
from t2i_core.folders.layout import VERSIONS_DIR
from t2i_core.folders.manifest import MANIFEST_NAME, read_manifest
from t2i_core.folders.records import read_records, write_records

LOG_NAME = "versions.jsonl"
_NUMBERED = re.compile(r"(.+)@([1-9][0-9]{0,8})")


class Version(Config):
    """One version of a dataset, as it was when it was made.

    Attributes:
        number: from 1 on.
        digest: of its content.
        parent: digest of the version before it, "" for the first.
        made_at: in seconds since 1970; 0 where that is not known.
        kept: samples in it.
        added: samples that the version before it did not have.
        changed: samples whose picture is another one now.
        restated: samples with the picture that they had, of which something else is said now.
        removed: samples of the version before it that are not in it any more, by reason.
        erased: pictures that only earlier versions had, and none may have any more.
    """

    number: int
    digest: str
    parent: str = ""
    made_at: int = 0
    kept: int
    added: int = 0
    changed: int = 0
    restated: int = 0
    removed: dict[str, int] = Field(default_factory=dict)
    erased: int = 0

    @property
    def story(self) -> str:
        """What it has more, less or otherwise than the version before it, in words."""
        told = {"added": self.added, "changed": self.changed, "restated": self.restated}
        words = [f"{number:,} {word}" for word, number in told.items() if number]
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in self.removed.items())
        words += [f"{sum(self.removed.values()):,} removed ({reasons})"] * bool(reasons)
        words += [f"{self.erased:,} erased from earlier versions"] * bool(self.erased)
        return ", ".join(words) or "the same samples"


def read_log(folder: Path) -> list[Version]:
    """Read the history of a dataset; a dataset that was never refreshed has none.

    Raises:
        DataError: the history is damaged.
    """
    return read_records(folder / LOG_NAME, Version, "Delete it: the next refresh begins a new one.")


def write_log(folder: Path, versions: Iterable[Version]) -> None:
    """Write the history."""
    write_records(folder / LOG_NAME, versions)


def current_number(folder: Path) -> int:
    """Give the number of the newest version.

    Raises:
        DataError: the history is damaged.
    """
    return max((version.number for version in read_log(folder)), default=1)


def held_versions(folder: Path) -> dict[int, Path]:
    """Give the folder of each version that is held, in the order of their numbers, the newest among them.

    Raises:
        DataError: the history is damaged.
    """
    earlier = (path.parent for path in (folder / VERSIONS_DIR).glob(f"*/{MANIFEST_NAME}"))
    numbered = {int(path.name): path for path in earlier if path.name.isdecimal()}
    return dict(sorted((numbered | {current_number(folder): folder}).items()))


def named_version(folder: Path) -> Path:
    """Give the folder that a person means: FOLDER itself, or with FOLDER@2 that of its second version.

    Raises:
        ConfigError: that version is not held; the message lists those that are.
        DataError: the history is damaged.
    """
    found = None if folder.exists() else _NUMBERED.fullmatch(str(folder))
    if found is None or not Path(found[1]).is_dir():
        return folder
    held = held_versions(Path(found[1]))
    if int(found[2]) not in held:
        told = ", ".join(f"@{number}" for number in held)
        raise ConfigError(f"{found[1]} does not hold its version {found[2]}; it holds {told}.")
    return held[int(found[2])]


def version_with(folder: Path, digest: str) -> Path:
    """Give the folder of the version that has a digest; the folder itself when no version that is held has it.

    Raises:
        DataError: a manifest or the history is damaged.
    """
    if read_manifest(folder).digest == digest or not (folder / VERSIONS_DIR).is_dir():
        return folder
    held = reversed(held_versions(folder).values())
    return next((place for place in held if read_manifest(place, "dataset").digest == digest), folder)


def drop_versions(folder: Path, num_kept: int) -> None:
    """Let go of earlier versions but for the newest of them.

    Args:
        folder: the dataset.
        num_kept: how many earlier ones stay.
    """
    earlier = [place for place in held_versions(folder).values() if place != folder]
    for place in earlier[: max(0, len(earlier) - num_kept)]:
        remove_tree(place)
