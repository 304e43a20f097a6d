"""A finished dataset in the other two forms that img2dataset has: plain files, or tables with the pictures in them.

One shard after the other is checked, read and written under another name, and takes its own when it is whole: what was
stopped goes on with the next shard. Nothing is decoded, so every picture keeps its bytes.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.config import Config
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.data.dataset.folder import files_by_shard, finish_rewrite, layout_of
from t2i_core.data.dataset.verify import require_whole
from t2i_core.data.shards.columns import table_of
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name, table_path
from t2i_core.data.shards.reader import stored_rows
from t2i_core.data.tables.cell_types import as_written
from t2i_core.data.tables.table import read_schema
from t2i_core.door import create_file, remove_tree
from t2i_core.errors import ConfigError
from t2i_core.folders.atomic import name_to_be, other_name, staged_folder
from t2i_core.folders.claim import OnConflict, claim_folder
from t2i_core.folders.manifest import Manifest, StepKey, read_manifest
from t2i_core.folders.one_writer import writes_alone
from t2i_core.progress import OnProgress, Progress, ignore_progress

ExportFormat = Literal["files", "parquet"]
VERSION = 1
# Rows, and bytes of pictures, that are held until they are written.
MAX_ROWS, MAX_BYTES = 1000, 2**25
_SHARD = re.compile(r"[0-9]{5,18}(\.parquet)?")
Row = tuple[dict[str, Any], dict[str, bytes]]


class ExportResult(Config):
    """What was written.

    Attributes:
        output_dir: where.
        num_shards: in it now.
        num_written: of them, by this call.
        num_pictures: in all of them.
    """

    output_dir: Path
    num_shards: int
    num_written: int
    num_pictures: int


@tells_disk_errors
@writes_alone
def export(
    dataset_dir: Path,
    output_dir: Path,
    form: ExportFormat,
    *,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
) -> ExportResult:
    """Write a finished dataset in another form; an export that was stopped goes on.

    Args:
        dataset_dir: the dataset.
        output_dir: gets a folder (files) or a table (parquet) for each shard.
        form: files are KEY.jpg (or .png, .webp), KEY.txt and KEY.json of each kept sample; a table has every row of the
            shard and one column more, named like the pictures' format, with their bytes: null for what was not kept.
        on_conflict: what to do with an export of something else that lies there.
        on_progress: gets shards written.

    Raises:
        ConfigError: the folder is not a finished dataset, or the other one holds something else.
        TransientError: the disk is full.
        ShardError: a shard is damaged; those before it have been written.
        DataError: the manifest or a shard's statistics are damaged.
    """
    if form not in get_args(ExportFormat):
        raise ConfigError(f"no such format: {form!r:.50}. Choose one of {', '.join(get_args(ExportFormat))}.")
    read_manifest(dataset_dir, "dataset")
    _require_apart(dataset_dir, output_dir)
    finish_rewrite(dataset_dir)
    manifest = read_manifest(dataset_dir, "dataset")
    key = StepKey(step="export", version=VERSION, config={"format": form}, inputs={"dataset": manifest.digest})
    claim_folder(output_dir, key, on_conflict)
    _remove_leftovers(output_dir)
    num_written = 0
    shards = files_by_shard(manifest)
    for done, (shard_id, files) in enumerate(shards.items(), start=1):
        place = output_dir / (shard_name(shard_id) + (".parquet" if form == "parquet" else ""))
        if not place.exists():
            require_whole(dataset_dir, shard_id, files)
            _WRITERS[form](dataset_dir, manifest, shard_id, place)
            num_written += 1
        on_progress(Progress(step="export", done=done, total=len(shards), unit="shards"))
    return ExportResult(
        output_dir=output_dir,
        num_shards=len(shards),
        num_written=num_written,
        num_pictures=manifest.counts.get("kept", 0),
    )


def _require_apart(dataset_dir: Path, output_dir: Path) -> None:
    inner, outer = output_dir.resolve(), dataset_dir.resolve()
    if inner == outer or outer in inner.parents:
        raise ConfigError(f"{output_dir} lies in the dataset itself; choose another --output-dir.")


def _remove_leftovers(output_dir: Path) -> None:
    """Remove what a killed export was writing."""
    for path in output_dir.glob(".*"):
        if _SHARD.fullmatch(name_to_be(path)):
            remove_tree(path)


def _write_files(dataset_dir: Path, _: Manifest, shard_id: int, place: Path) -> None:
    with staged_folder(place) as stage:
        for row, members in stored_rows(dataset_dir / SHARDS_DIR, shard_id):
            for suffix, body in members.items():
                with create_file(stage / f"{row['key']}.{suffix}") as file:
                    file.write(body)


def _write_table(dataset_dir: Path, manifest: Manifest, shard_id: int, place: Path) -> None:
    shards_dir = dataset_dir / SHARDS_DIR
    name = layout_of(dataset_dir, manifest, shard_id, shards_dir=shards_dir).encode_format
    schema = _schema(shards_dir, shard_id, name)
    with _renamed_when_whole(place) as file, pq.ParquetWriter(file, schema) as writer:
        for group in _groups(stored_rows(shards_dir, shard_id)):
            writer.write_table(_with_pictures(group, schema))


def _schema(shards_dir: Path, shard_id: int, picture: str) -> pa.Schema:
    """Give the columns of a shard's table, and last that of the pictures.

    Raises:
        ConfigError: the source of the dataset had a column of that name.
    """
    found = read_schema(table_path(shards_dir, shard_id))
    if picture in found.names:
        raise ConfigError(f"the dataset has a column {picture!r} already: no table can hold the pictures beside it.")
    columns = [pa.field(column.name, as_written(column.type)) for column in found]
    return pa.schema([*columns, pa.field(picture, pa.binary())])


@contextmanager
def _renamed_when_whole(place: Path) -> Iterator[BufferedWriter]:
    temporary = other_name(place)
    try:
        with create_file(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Put rows together until they or their pictures are many."""
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(map(len, row[1].values()))
        if len(group) == MAX_ROWS or size >= MAX_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _with_pictures(group: list[Row], schema: pa.Schema) -> pa.Table:
    *columns, picture = schema
    cells = table_of([row for row, _ in group], pa.schema(columns))
    return cells.append_column(picture, pa.array([members.get(picture.name) for _, members in group], picture.type))


_WRITERS: Mapping[str, Callable[[Path, Manifest, int, Path], None]] = {"files": _write_files, "parquet": _write_table}
