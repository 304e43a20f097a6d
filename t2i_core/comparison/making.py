"""A comparison that is not there yet: finished evaluations become one table and one picture grid.

Nothing is drawn and nothing is measured anew: what stands in a row is what the evaluation of that system found. They
stand beside each other only where they were made of the same prompts and seeds, and by the same judges.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from t2i_core.comparison.config import CompareConfig
from t2i_core.comparison.grid import picture_grid
from t2i_core.comparison.judged import Judged, Shot, require_alike
from t2i_core.comparison.report import GRID_NAME, shown, write_report
from t2i_core.errors import ConfigError, DataError
from t2i_core.evaluation.measure import open_benchmark
from t2i_core.folders.atomic import staged_folder
from t2i_core.folders.claim import OnConflict, claim_folder
from t2i_core.folders.manifest import StepKey, StepRef, describe_file, relative_source, write_manifest
from t2i_core.lineage.ancestors import captions_of
from t2i_core.report.pictures import open_picture

# No system has a name with a space in it.
REAL = "real pictures"
# Files with times in them, which differ when evaluations are made again.
CONTENT = frozenset({"metrics.json", GRID_NAME})


def make_comparison(
    folders: Mapping[str, Path], config: CompareConfig, output_dir: Path, key: StepKey, on_conflict: OnConflict
) -> StepRef:
    """Set finished evaluations side by side.

    Args:
        folders: of the evaluations, by name, in the order of the rows.
        config: what of them is shown.
        output_dir: the comparison folder.
        key: of the comparison.
        on_conflict: what to do when `output_dir` holds another comparison.

    Raises:
        ConfigError: two were not made alike, or the dataset behind them is gone.
        DataError: an evaluation is damaged.
    """
    judged = [Judged.read(name, folder) for name, folder in folders.items()]
    require_alike(judged)
    grid = _grid(judged, config)
    claim_folder(output_dir, key, on_conflict)
    with staged_folder(output_dir) as stage:
        write_report(stage, output_dir, judged, config, grid)
        ref = write_manifest(
            stage,
            kind="comparison",
            key=key,
            sources={name: relative_source(folder, output_dir) for name, folder in folders.items()},
            counts={"systems": len(judged), "prompts": len(judged[0].first_shots)},
            files=[describe_file(stage, path, content=path.name in CONTENT) for path in sorted(stage.iterdir())],
        )
    return ref.with_changes(path=output_dir)


def _grid(judged: Sequence[Judged], config: CompareConfig) -> Image.Image:
    """Lay out what everybody drew for the first prompts of each task."""
    chosen = [shown(each, config) for each in judged]
    rows = {
        each.name: [open_picture(_inside(each, shot)) for shot in shots]
        for each, shots in zip(judged, chosen, strict=True)
    }
    real = {REAL: _real_pictures(judged[0], chosen[0])} if config.real else {}
    return picture_grid(real | rows, [shot.prompt for shot in chosen[0]])


def _inside(judged: Judged, shot: Shot) -> Path:
    """Give the place of a picture, which the manifest knows.

    Raises:
        DataError: it does not.
    """
    if shot.file not in judged.manifest.files_by_path:
        raise DataError(f"{judged.folder} has no {shot.file:.200}: its samples.jsonl is damaged. Evaluate again.")
    return judged.folder / shot.file


def _real_pictures(judged: Judged, shots: Sequence[Shot]) -> list[Image.Image]:
    """Read the real pictures of prompts from the dataset behind an evaluation.

    Raises:
        ConfigError: it is gone, or has changed.
    """
    sources = judged.manifest.sources
    run_dir = (judged.folder / sources.get("run", "")).resolve()
    asked = (judged.folder / sources["captions"]).resolve() if "captions" in sources else None
    side = open_picture(_inside(judged, shots[0])).width
    try:
        with open_benchmark(asked or captions_of(run_dir), judged.config, side=side) as (benchmark, _, _):
            real = {prompt.text: Image.fromarray(prompt.real) for prompt in benchmark.prompts}
        return [real[shot.prompt] for shot in shots]
    except (ConfigError, KeyError) as err:
        raise ConfigError(
            f"the real pictures of {judged.folder} are not to be had ({err}): put the dataset back, or compare without "
            "them (--no-real)."
        ) from err
