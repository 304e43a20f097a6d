"""A plan holds every source once, in order, with later repeats marked, however many there are."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.bounded import spill
from t2i_core.data.bounded.repeats import RepeatFinder
from t2i_core.data.dataset.parts import MAX_EXTRA_COLUMNS, PARTS_DIR, PartWriter, read_note, read_part
from t2i_core.data.record import SourceRecord
from t2i_core.data.tables.cell_types import as_written, column_type, is_known

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "ingest_memory.py"
# Few distinct ones, at both ends and in the middle of what 64 bits hold.
IDENTITIES = st.sampled_from([0, 1, 2**56 - 1, 2**56, 2**63, 2**64 - 2, 2**64 - 1])


def later_ones(identities: list[int | None]) -> list[int]:
    seen: set[int] = set()
    found = []
    for row, identity in enumerate(identities):
        if identity in seen:
            found.append(row)
        elif identity is not None:
            seen.add(identity)
    return found


@given(identities=st.lists(st.none() | IDENTITIES, max_size=60), in_memory=st.sampled_from([1, 3, 1000]))
def test_repeats_are_those_a_set_would_find(identities: list[int | None], in_memory: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "_ENTRIES_IN_MEMORY", in_memory)
        finder = RepeatFinder(Path(folder) / "identities")
        for row, identity in enumerate(identities):
            if identity is not None:
                finder.add(row, identity)
        marks = finder.find(len(identities))
        expected = later_ones(identities)
        for start in range(0, len(identities), 7):
            stop = min(start + 7, len(identities))
            assert [start + row for row in marks.between(start, stop)] == [n for n in expected if start <= n < stop]


@pytest.mark.parametrize("in_memory", [2, 1000])
def test_repeats_are_marked_in_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(spill, "_ENTRIES_IN_MEMORY", in_memory)
    writer = PartWriter(tmp_path, 3)
    sources = ["a", "b", "A", "a", "bad", "bad", "c", "b"]
    for name in sources:
        reason = "bad_row" if name == "bad" else ""
        writer.add(SourceRecord(url=f"http://{name}.example/", caption="x", reason=reason, extra={"from": name}))
    writer.add(SourceRecord(url="http://a.example", caption="another"))
    note = writer.finish("list.csv", {})
    parts = [read_part(tmp_path, part_id).records for part_id in range(note.num_parts)]
    assert [[record.reason for record in part] for part in parts] == [
        ["", "", "duplicate_url"],
        ["duplicate_url", "bad_row", "bad_row"],
        ["", "duplicate_url", ""],
    ]
    assert [record.extra.get("from") for part in parts for record in part] == [*sources, None]
    assert (note.num_records, note.extra_columns, read_note(tmp_path)) == (9, ("from",), note)
    assert {path.suffix for path in (tmp_path / PARTS_DIR).iterdir()} == {".parquet", ".json"}


def test_rows_may_not_have_columns_without_end(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, 10)
    for number in range(MAX_EXTRA_COLUMNS):
        writer.add(SourceRecord(url="u", extra={f"column{number}": ""}))
    writer.add(SourceRecord(url="u", extra={"one more": ""}))
    writer.add(SourceRecord(url="v", extra={"column1": "x"}))
    note = writer.finish("list.csv", {})
    assert len(note.extra_columns) == MAX_EXTRA_COLUMNS
    *_, refused, last = read_part(tmp_path, note.num_parts - 1).records
    assert (refused.reason, refused.detail) == (
        "bad_row", "with column 'one more' the source has more than 1,000 different ones"
    )  # fmt: skip
    assert (last.reason, last.extra) == ("", {"column1": "x"})


def test_a_part_holds_no_more_text_than_memory_is_to_hold(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, 1000)
    for number in range(1000):
        writer.add(SourceRecord(url=f"http://a/{number}", caption="x" * 65_536, extra={"more": "y" * 65_536}))
    note = writer.finish("list.csv", {})
    reasons = [record.reason for record in read_part(tmp_path, 0).records]
    assert (note.num_parts, len(reasons)) == (1, 1000)
    assert reasons == [""] * 122 + ["too_many_bytes"] * 878


def test_each_column_has_the_type_of_all_its_cells(tmp_path: Path) -> None:
    cells: dict[str, list[Any]] = {
        "bool": [True, None, False], "exact": [1, 2, None], "long": [2**60, 1, None], "float": [1, 0.5, None],
        "text": ["a", None, "b"], "mixed": [1, "a", True], "exact[]": [[1], [], [None, 3]],
        "float[]": [[1], [0.5], None], "text[]": [["a"], [], ["b", None]], "lists": [["a"], [1], []],
        "both": [[1], 2, None], "precise": [2**60, 0.5, 1], "nothing": [None, None, None], "empty[]": [[], None, []],
        "bool or int": [True, 1, 0],
    }  # fmt: skip
    writer = PartWriter(tmp_path, 10)
    for number in range(3):
        extra = {name: column[number] for name, column in cells.items()}
        writer.add(SourceRecord(url=f"http://a/{number}", extra=extra))
    types = {name: str(column_type(kind)) for name, kind in writer.finish("list", {}).extra_kinds.items()}
    assert types == {
        "bool": "bool", "exact": "int64", "long": "int64", "float": "double", "text": "string", "mixed": "string",
        "exact[]": "list<item: int64>", "float[]": "list<item: double>", "text[]": "list<item: string>",
        "lists": "string", "both": "string", "precise": "string", "nothing": "string", "empty[]": "string",
        "bool or int": "string",
    }  # fmt: skip


def test_a_plan_made_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, 10)
    writer.add(SourceRecord(url="u", caption="x"))
    writer.finish("list.csv", {})
    path = tmp_path / PARTS_DIR / "00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["checksum"]), path)
    assert read_part(tmp_path, 0).records == [SourceRecord(url="u", caption="x")]


@pytest.mark.parametrize("suffix", [".csv.gz", ".json", ".parquet"])
def test_planning_needs_the_same_memory_for_more_rows(suffix: str) -> None:
    command = [sys.executable, str(BENCHMARK), "--json", "--suffix", suffix, "--rows", "2000", "40000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = (json.loads(line) for line in done.stdout.splitlines())
    assert (few["rows"], many["rows"]) == (2000, 40_000)
    # Half a kilobyte kept for each row is more than this.
    assert many["peak_mb"] - few["peak_mb"] < 20


def test_a_type_that_was_stored_is_written_again_as_it_was(tmp_path: Path) -> None:
    written = column_type("float[]")
    pq.write_table(pa.table({"scores": pa.array([[0.5]], written)}), tmp_path / "table.parquet")
    read = pq.read_schema(tmp_path / "table.parquet").field("scores").type
    assert is_known(read) and str(as_written(read)) == str(written) != str(read)
