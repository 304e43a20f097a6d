"""Whose a run folder is: taken for a new run, found finished, or taken up again by a run that goes on.

A finished run goes on in its folder when the same training is asked for with a larger budget. What comes of it is not
what one run of that length would have given, since the learning rate fell once in between: its key names the run that
it goes on from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t2i_core.door import remove_tree
from t2i_core.errors import ConfigError
from t2i_core.folders.claim import PREVIOUS_SUFFIX, OnConflict, claim_folder, noted_key, reopen_folder
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepKey, StepRef, read_manifest
from t2i_core.folders.one_writer import one_writer
from t2i_core.training.config import TrainConfig, train_key

GOES_ON_FROM = "goes_on_from"
BUDGETS = frozenset({"max_images", "max_minutes"})


def claim_run(
    captions_dir: Path, config: TrainConfig, run_dir: Path, on_conflict: OnConflict
) -> tuple[StepKey, StepRef | None]:
    """Take a folder for a training.

    Args:
        captions_dir: a finished captions folder.
        config: what to train.
        run_dir: the folder. A finished run of a smaller budget goes on in it, but with "replace" starts anew.
        on_conflict: what to do with a folder that holds other work.

    Returns:
        The key, and the reference of the folder if all is done in it already.

    Raises:
        ConfigError: an input or the preset is wrong, or the folder holds other work.
        DataError: the folder holds what no step leaves there.
    """
    key = train_key(captions_dir, config)
    if on_conflict == "refuse":
        key = _going_on(run_dir, key)
    if hit := find_hit(run_dir, key):
        return key, hit
    if GOES_ON_FROM in key.inputs:
        reopen_folder(run_dir, key)
    claim_folder(run_dir, key, on_conflict)
    return key, None


@contextmanager
def claimed_run(
    captions_dir: Path, config: TrainConfig, run_dir: Path, on_conflict: OnConflict
) -> Iterator[tuple[StepKey, StepRef | None]]:
    """Take a folder for a training, as `claim_run` does, and give it back if the training is refused.

    What was moved aside for a run that has learned nothing stands in its place again.
    """
    folder = run_dir.resolve()
    # The trainer locks the folder itself, and longer: it may still write when whoever started it is gone.
    with one_writer(run_dir):
        before = noted_key(folder) if folder.is_dir() else None
        key, hit = claim_run(captions_dir, config, run_dir, on_conflict)
    try:
        yield key, hit
    except ConfigError:
        if not any((folder / "checkpoints").glob("step_*")):
            remove_tree(folder)
            if on_conflict == "replace" and before not in (None, key):
                folder.with_name(folder.name + PREVIOUS_SUFFIX).replace(folder)
        raise


def _going_on(run_dir: Path, key: StepKey) -> StepKey:
    """Give the key of a run that goes on, where the folder holds one; else the key itself."""
    before = noted_key(run_dir) if run_dir.is_dir() else None
    if before is None or not _differs_in_budget_alone(before, key):
        return key
    came_from = before.inputs.get(GOES_ON_FROM)
    if came_from and before == _from(key, came_from):
        return before
    try:
        finished = read_manifest(run_dir, "run")
    except ConfigError:
        return key
    return _from(key, finished.digest) if _is_left(finished.counts, key) else key


def _from(key: StepKey, digest: str) -> StepKey:
    return key.with_changes(inputs=key.inputs | {GOES_ON_FROM: digest})


def _differs_in_budget_alone(before: StepKey, key: StepKey) -> bool:
    bare = [
        other.with_changes(
            config={name: value for name, value in other.config.items() if name not in BUDGETS},
            inputs={name: digest for name, digest in other.inputs.items() if name != GOES_ON_FROM},
        )
        for other in (before, key)
    ]
    return bare[0] == bare[1]


def _is_left(counts: dict[str, int], key: StepKey) -> bool:
    """Tell whether a run that saw as much has something left of a budget."""
    used = {"max_images": counts.get("images", 0), "max_minutes": counts.get("seconds", 0) / 60}
    return all(used[name] < key.config[name] for name in BUDGETS if key.config[name])
