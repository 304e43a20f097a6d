from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_core.data.batches.captions import (
    CAPTIONS_NAME,
    SCHEMA,
    CaptionRow,
    ShardRows,
    index_captions,
    read_captions,
    write_captions,
)
from t2i_core.errors import DataError

ROW = CaptionRow("", 0, "u", "raw", "clean", "train", "kept", "", 2, False, "g", "{}", 8, 8)


def row(shard: int, number: int, split: str = "train", status: str = "kept") -> CaptionRow:
    return replace(ROW, key=f"{shard}{number:04d}", shard=shard, split=split, status=status)


def write(folder: Path, rows: list[CaptionRow]) -> None:
    write_captions(folder / CAPTIONS_NAME, rows)


ROWS = [
    *(row(0, number) for number in range(3)),
    row(0, 3, split="test"),
    row(2, 0, status="rejected"),
    *(row(5, number, split="train" if number % 2 else "test") for number in range(3000)),
]


def test_a_row_group_holds_the_rows_of_one_shard(tmp_path):
    write(tmp_path, ROWS)

    metadata = pq.ParquetFile(tmp_path / CAPTIONS_NAME).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 1, 3000]


def test_samples_are_counted_and_read_shard_by_shard(tmp_path):
    write(tmp_path, ROWS)
    index = index_captions(tmp_path, "train")

    assert index == [ShardRows(0, 0, 4, (3,)), ShardRows(5, 5, 3005, (1500,))]
    by_shard = [list(read_captions(tmp_path, "train", ["key"], rows)) for rows in index]
    assert by_shard[1] == [{"key": f"5{number:04d}"} for number in range(1, 3000, 2)]
    assert [*by_shard[0], *by_shard[1]] == list(read_captions(tmp_path, "train", ["key"]))


def test_tables_whose_row_groups_are_no_shards_are_read_too(tmp_path):
    columns = {name: [getattr(each, name) for each in ROWS] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), tmp_path / CAPTIONS_NAME, row_group_size=700)

    last = index_captions(tmp_path, "test")[-1]
    assert last == ShardRows(5, 5, 3005, (1500,))
    assert list(read_captions(tmp_path, "test", ["key"], last))[-1] == {"key": "52998"}


@pytest.mark.parametrize("shards", [[0, 1, 0], [0, -1], [None]])
def test_a_table_whose_shards_cannot_be_is_refused(tmp_path, shards):
    write(tmp_path, [replace(ROW, shard=shard) for shard in shards])

    with pytest.raises(DataError, match="Run the caption step again"):
        index_captions(tmp_path, "train")


def test_a_table_that_lacks_a_column_is_refused(tmp_path):
    pq.write_table(pa.table({"key": ["1"], "split": ["train"]}), tmp_path / CAPTIONS_NAME)

    with pytest.raises(DataError, match="lacks status"):
        list(read_captions(tmp_path, "train", ["key"]))
