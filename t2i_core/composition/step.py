"""The compose step: runs that fit together become a system, a folder of roles. Nothing is copied."""

from pathlib import Path

from t2i_core.composition.config import Role, compose_key
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.folders.claim import OnConflict, claim_folder
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef, read_manifest, relative_source, write_manifest
from t2i_core.folders.one_writer import writes_alone


@tells_disk_errors
@writes_alone
def compose(runs: dict[Role, Path], output_dir: Path, *, on_conflict: OnConflict = "refuse") -> StepRef:
    """Make a system of finished runs; it names them by relative paths and digests.

    Args:
        runs: finished run folders by role; a base there must be.
        output_dir: the system folder.
        on_conflict: what to do with a folder that holds other work.

    Raises:
        ConfigError: a folder is not a finished run, the runs do not fit together, or `output_dir` holds other work.
        DataError: a manifest is damaged.
        CheckpointError: the config of a run is damaged.
        TransientError: another process is writing `output_dir`.
    """
    key = compose_key(runs)
    if hit := find_hit(output_dir, key):
        return hit
    # PyTorch, which a finished folder does not wait for.
    from t2i_core.composition.fit import require_fit

    require_fit(runs)
    claim_folder(output_dir, key, on_conflict)
    parameters = sum(read_manifest(folder).counts.get("parameters", 0) for folder in runs.values())
    return write_manifest(
        output_dir,
        kind="system",
        key=key,
        sources={role: relative_source(folder, output_dir) for role, folder in runs.items()},
        counts={"runs": len(runs), "parameters": parameters},
        files=[],
    )
