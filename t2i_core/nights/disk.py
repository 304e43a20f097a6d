"""What of earlier nights stays on disk: all of the last ones, and whatever the champion and the previous one are of."""

from pathlib import Path

from t2i_core.door import remove_tree
from t2i_core.folders.manifest import finished_folders
from t2i_core.lineage.ancestors import trace
from t2i_core.nights.record import RECORD_NAME, night_folder, read_nights
from t2i_core.promotion.registry import ALIASES, current


def collect_nights(workspace: Path, keep: int) -> list[Path]:
    """Remove the folders of nights before the last ones; their records stay.

    Nothing goes that the champion or the previous one is made from, the runs that it started from and all captions
    among it, so that a sample can be followed to it whatever else went.

    Args:
        workspace: of the nightly job.
        keep: how many nights stay whole.

    Returns:
        What was removed.

    Raises:
        DataError: a record or manifest is damaged.
    """
    needed, removed = _needed(workspace), list[Path]()
    for night in read_nights(workspace)[:-keep]:
        folder = night_folder(workspace, night.name)
        removed += (path for path in _parts(folder) if not any(each.is_relative_to(path.resolve()) for each in needed))
    for path in removed:
        remove_tree(path)
    return removed


def _needed(workspace: Path) -> set[Path]:
    """Give the folders that the champion and the previous one are made from, and their own."""
    promotion = current(workspace)
    entries = [promotion.entry(alias) for alias in ALIASES] if promotion else []
    folders = [(workspace / entry.path).resolve() for entry in entries if entry]
    return {ancestor.folder.resolve() for folder in folders if folder.is_dir() for ancestor in trace(folder)}


def _parts(folder: Path) -> list[Path]:
    """Give what steps made in a night's folder, and what they had begun."""
    finished = [path for path, _ in finished_folders(folder)]
    begun = [path for path in folder.iterdir() if path.name != RECORD_NAME]
    rest = [path for path in begun if not any(each.is_relative_to(path) for each in finished)]
    return [*finished, *rest]
