"""A dataset folder as a whole: which files its manifest names, and how some of its shards are changed, all or none.

New forms of files are written into a folder beside the shards. Giving that folder its final name is the one step
that decides; after it every command that works on the dataset first moves the files to their places.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import get_args

from t2i_core import __version__
from t2i_core.data.account.shortfall import UNFINISHED, unfinished_count
from t2i_core.data.counts import Counts
from t2i_core.data.dataset.duplicates import DUPLICATES_NAME, write_duplicates
from t2i_core.data.dataset.parts import PARTS_DIR, read_note, rules_name
from t2i_core.data.mark import MARKED_PREFIX
from t2i_core.data.picture import EncodeFormat
from t2i_core.data.shards.layout import SHARDS_DIR, ShardLayout, extra_columns, shard_name, table_path
from t2i_core.data.shards.stats import ShardReport
from t2i_core.data.shards.versions import Version, read_log
from t2i_core.data.tables.cell_types import as_written, is_known
from t2i_core.data.tables.table import read_schema
from t2i_core.data.traffic import Traffic
from t2i_core.door import move_files, open_folder, remove_tree
from t2i_core.errors import DataError
from t2i_core.folders.atomic import name_to_be
from t2i_core.folders.layout import PARTIAL_DIR, REWRITE_DIR, inspect_folder
from t2i_core.folders.manifest import (
    MANIFEST_NAME,
    Manifest,
    OutputFile,
    StepKey,
    StepRef,
    describe_file,
    write_manifest,
)

_BEGUN_SHARD = re.compile(r"\.[0-9]{5,18}\.(journal|tar\.partial)")
_SHARD_FILE = re.compile(SHARDS_DIR + r"/([0-9]{1,18})(\.tar|\.parquet|_stats\.json)")


def shard_outputs(folder: Path, report: ShardReport) -> list[OutputFile]:
    """List a shard's files; digests were taken while they were written, so nothing is read again."""
    stem = f"{SHARDS_DIR}/{shard_name(report.shard_id)}"
    files = [
        OutputFile(path=f"{stem}.{ending}", size=written.size, sha256=written.sha256)
        for ending, written in report.files.items()
    ]
    return [*files, describe_file(folder, folder / f"{stem}_stats.json", content=False)]


def write_dataset(
    folder: Path,
    *,
    key: StepKey,
    sources: Mapping[str, str],
    counts: Mapping[str, int],
    files: Iterable[OutputFile],
    places: Mapping[int, Path],
    planning: Mapping[str, Traffic],
    history: Sequence[Version] = (),
) -> StepRef:
    """Write what tells of a dataset as a whole: the accounts for people and programs, and the manifest last.

    Args:
        folder: gets them.
        key: what decided its content.
        sources: where each input was found.
        counts: figures of the whole.
        files: of its shards; of what is told anew, those there are do not count.
        places: the folder in which each shard lies, by its number.
        planning: what each host was asked for pages.
        history: its versions, this one the last; none for a dataset that was never refreshed.
    """
    # Only here, so that an ingest does not wait for what draws its report before it begins.
    from t2i_core.data.account.write import write_overview

    marked = write_duplicates(folder, places, int(key.config["samples_per_shard"]))
    counts = {name: count for name, count in counts.items() if not name.startswith((MARKED_PREFIX, UNFINISHED))}
    counts |= marked | unfinished_count(counts)
    files = [file for file in files if file.path != DUPLICATES_NAME]
    files.append(describe_file(folder, folder / DUPLICATES_NAME))
    manifest = Manifest(
        kind="dataset",
        key=key,
        code_version=__version__,
        sources=dict(sources),
        counts=counts,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    told = {file.path: file for file in write_overview(folder, manifest, places, planning, history)}
    kept = [file for file in manifest.files if file.path not in told]
    return write_manifest(
        folder, kind="dataset", key=key, sources=sources, counts=counts, files=[*kept, *told.values()]
    )


def files_by_shard(manifest: Manifest) -> dict[int, dict[str, OutputFile]]:
    """Give the files of each shard by their ending (.tar, .parquet, _stats.json), in order of the shards."""
    found: dict[int, dict[str, OutputFile]] = {}
    for file in manifest.files:
        match = _SHARD_FILE.fullmatch(file.path)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = file
    return dict(sorted(found.items()))


def layout_of(dataset_dir: Path, manifest: Manifest, shard_id: int, *, shards_dir: Path) -> ShardLayout:
    """Say how to write a shard of a finished dataset anew.

    Args:
        dataset_dir: the dataset.
        manifest: its own.
        shard_id: which shard.
        shards_dir: where to write it.

    Raises:
        DataError: the manifest does not say how the dataset was made.
    """
    config = manifest.key.config
    try:
        if config["encode_format"] not in get_args(EncodeFormat):
            raise ValueError(f"an encode_format, but has {config['encode_format']!r:.50}")
        schema = read_schema(table_path(dataset_dir / SHARDS_DIR, shard_id))
        extra = extra_columns(schema.names)
        odd = [name for name in extra if not is_known(schema.field(name).type)]
        if odd:
            raise ValueError(f"columns {', '.join(odd)} of types that it writes")
        return ShardLayout(
            shards_dir=shards_dir,
            samples_per_shard=int(config["samples_per_shard"]),
            encode_format=config["encode_format"],
            extra_columns=extra,
            extra_types={name: as_written(schema.field(name).type) for name in extra},
            has_exif=config.get("extract_exif") is True,
        )
    except (KeyError, TypeError, ValueError) as err:
        raise DataError(f"{dataset_dir} was not made by ingest: its manifest lacks {err}.") from err


@contextmanager
def staged_rewrite(dataset_dir: Path) -> Iterator[Path]:
    """Give a folder for new forms of the dataset's files; they take their places, all of them, when the block ends.

    Whatever ends the program before that leaves the dataset as it was; after that, `finish_rewrite` goes on.
    """
    finish_rewrite(dataset_dir)
    partial = dataset_dir / PARTIAL_DIR
    partial.mkdir()
    try:
        yield partial
        _sync_folder(partial)
        partial.replace(dataset_dir / REWRITE_DIR)
        _sync_folder(dataset_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    finish_rewrite(dataset_dir)


def finish_rewrite(dataset_dir: Path) -> None:
    """Move what a decided rewrite holds to its place, the manifest last, and remove one that was not decided.

    Raises:
        DataError: the dataset or the rewrite holds a link, an unknown name or an absurd size; nothing was moved.
        OSError: something cannot be moved.
    """
    stage, partial = dataset_dir / REWRITE_DIR, dataset_dir / PARTIAL_DIR
    if not (os.path.lexists(stage) or os.path.lexists(partial)):
        return
    inspect_folder(dataset_dir, "dataset")
    remove_tree(partial)
    if not stage.is_dir():
        return
    files = [PurePosixPath(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file()]
    move_files(stage, dataset_dir, sorted(files, key=lambda path: (path.name == MANIFEST_NAME, path)), levels=1)
    shutil.rmtree(stage)


def remove_leftovers(dataset_dir: Path) -> None:
    """Remove what is of no more use once all files are written, and what killed runs left of those under way."""
    for folder in (dataset_dir, dataset_dir / PARTS_DIR, dataset_dir / SHARDS_DIR):
        for path in folder.glob(".*"):
            if _BEGUN_SHARD.fullmatch(path.name) or name_to_be(path):
                path.unlink(missing_ok=True)
    for path in (dataset_dir / PARTS_DIR).glob(rules_name("*")):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    with open_folder(folder) as descriptor:
        os.fsync(descriptor)


def restate(
    stage: Path, dataset_dir: Path, manifest: Manifest, changes: Iterable[tuple[ShardReport, ShardReport]]
) -> StepRef:
    """Write into `stage` the manifest that the dataset has with some shards changed.

    Args:
        stage: holds the new forms of these shards.
        dataset_dir: where they go.
        manifest: of the dataset as it is.
        changes: the report of each such shard before and after.
    """
    files = dict(manifest.files_by_path)
    counts = Counter(manifest.counts)
    places = dict.fromkeys(files_by_shard(manifest), dataset_dir / SHARDS_DIR)
    for before, after in changes:
        places[after.shard_id] = stage / SHARDS_DIR
        files |= {file.path: file for file in shard_outputs(stage, after)}
        counts.subtract(_figures(before))
        counts.update(_figures(after))
    ref = write_dataset(
        stage,
        key=manifest.key,
        sources=manifest.sources,
        counts={name: count for name, count in counts.items() if count or ":" not in name},
        files=files.values(),
        places=places,
        planning=read_planning(dataset_dir),
        history=read_log(dataset_dir),
    )
    return ref.with_changes(path=dataset_dir)


def read_planning(folder: Path) -> dict[str, Traffic]:
    """Read what each host was asked for pages, as the plan in a folder notes it."""
    note = read_note(folder)
    return note.traffic if note else {}


def _figures(report: ShardReport) -> dict[str, int]:
    figures = {"seen": report.seen, "kept": report.kept, "rejected": sum(report.rejected.values())}
    return Counts(figures, report.rejected).noted()
