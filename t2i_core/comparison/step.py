"""The compare step: finished evaluations of several systems become one table and one picture grid."""

from pathlib import Path

from t2i_core.comparison.config import CompareConfig, compare_key
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef
from t2i_core.folders.one_writer import writes_alone
from t2i_core.naming import named_folders


@tells_disk_errors
@writes_alone
def compare(
    evaluations: tuple[str, ...], config: CompareConfig, output_dir: Path, *, on_conflict: OnConflict = "refuse"
) -> StepRef:
    """Compare finished evaluations, and write `report.html`, `report.md`, `metrics.json` and `grid.png`.

    Args:
        evaluations: two or more finished evaluation folders in the order of the rows; NAME=FOLDER names one, which
            otherwise is called as its folder is.
        config: what of them is shown.
        output_dir: the comparison folder.
        on_conflict: what to do when `output_dir` holds another comparison.

    Raises:
        ConfigError: a folder is no finished evaluation, two were not made alike, two have the same name, or the
            dataset behind them is gone.
        DataError: an evaluation is damaged.
        TransientError: another process is writing `output_dir`.
    """
    folders = named_folders(evaluations, "evaluations")
    key = compare_key(folders, config)
    if hit := find_hit(output_dir, key):
        return hit
    # PyTorch, which a finished folder does not wait for.
    from t2i_core.comparison.making import make_comparison

    return make_comparison(folders, config, output_dir, key, on_conflict)
