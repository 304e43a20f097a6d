"""Whether a finished folder, of whatever kind, still holds what was written; a system is what its runs are."""

from pathlib import Path

from t2i_core.config import Config
from t2i_core.folders.hits import change_of
from t2i_core.folders.manifest import read_manifest
from t2i_core.lineage.ancestors import outdated, trace
from t2i_core.progress import OnProgress, Progress, ignore_progress


class Wholeness(Config):
    """What was checked and what is wrong.

    Attributes:
        folders: what was looked through: the folder, and the runs of a system.
        num_files: that their manifests name.
        problems: one sentence each.
    """

    folders: tuple[Path, ...]
    num_files: int
    problems: tuple[str, ...]


def verify_whole(folder: Path, *, on_progress: OnProgress = ignore_progress) -> Wholeness:
    """Compare every file of a finished folder with its manifest, and the digests of what it was made from with theirs.

    Args:
        folder: what a step made.
        on_progress: gets files checked.

    Raises:
        ConfigError: it is not finished, or the run of a system is not there.
        DataError: a manifest is damaged, or a folder holds what no step leaves there.
    """
    manifest = read_manifest(folder)
    runs = [folder / source for source in manifest.sources.values()] if manifest.kind == "system" else []
    folders = [folder, *runs]
    files = [(place / noted.path, noted) for place in folders for noted in read_manifest(place).files]
    problems = []
    for done, (path, noted) in enumerate(files, start=1):
        if change := change_of(path, noted):
            problems.append(f"{path} {change}")
        fields = {"damaged": len(problems)}
        on_progress(Progress(step="verify", done=done, total=len(files), unit="files", fields=fields))
    return Wholeness(folders=folders, num_files=len(files), problems=(*problems, *outdated(trace(folder))))
