"""One bad row is one rejected row, with its place, whatever is wrong with it; the rest of the list goes on."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.record import SourceRecord
from t2i_core.data.sources.lists import read_list
from t2i_core.data.tables.csv_rows import iter_cells
from t2i_core.data.tables.text import Problem
from t2i_core.errors import ConfigError

DEEP = "[" * 100_000 + "]" * 100_000


def records(path: Path) -> list[SourceRecord]:
    return list(read_list(path, "url", "caption"))


def told(found: list[SourceRecord]) -> list[str]:
    """Give the URL of each row, or what is wrong with it."""
    return [record.detail if record.reason == "bad_row" else record.url for record in found]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("b," + "x" * 65_537, "a field has 65,537 characters, more than 65,536"),
        ('b,"' + "x\n" * 100_000 + '"', "a field has 200,000 characters, more than 65,536"),
        ("b," + "x" * 5_000_000, "it is longer than 4,000,000 characters"),
        ("b,gr\udcfcn", "it is not UTF-8 or UTF-16 text; save the list as UTF-8"),
        ('b,"gr\udcfcn\nand more"', "it is not UTF-8 or UTF-16 text; save the list as UTF-8"),
        ("b,x,y", "it has 3 fields, the header 2"),
        ("b", "it has 1 fields, the header 2"),
        ('b,"x', "a quote is left open"),
        ('b,"' + "x" * 3_999_000, "it is longer than 4,000,000 characters. Is a quote left open?"),
    ],
)
def test_a_bad_row_of_a_table_is_one_row(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "list.csv"
    after = "c,x\n" * 1000
    path.write_text(f"url,caption\na,x\n{row}\n{after}", encoding="utf-8", errors="surrogateescape")
    assert told(records(path)) == ["a", f"row 2: {problem}", *["c"] * 1000]


def test_the_longest_text_is_kept_whole_and_no_longer_one_is_cut(tmp_path: Path) -> None:
    texts = ["x" * 65_536, "x" * 65_537]
    pq.write_table(pa.table({"url": ["a", "b"], "caption": texts}), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text(f"url,caption\na,{texts[0]}\nb,{texts[1]}\n")
    for path in tmp_path.iterdir():
        whole, longer = records(path)
        assert (whole.caption, longer.caption, longer.reason) == (texts[0], "", "bad_row")
    (tmp_path / "list.txt").write_text(f"a\n{texts[1]}\n")
    assert told(records(tmp_path / "list.txt")) == ["a", "row 2: a field has 65,537 characters, more than 65,536"]


def test_a_header_longer_than_any_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url," + "x" * 65_537 + "\na,b\n")
    with pytest.raises(ConfigError, match="its header: a field has 65,537 characters"):
        records(tmp_path / "list.csv")


def test_a_table_with_a_nul_and_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url,caption,n,n,url\na\0b,x,1,2,3\n")
    [record] = records(path)
    assert (record.url, dict(record.extra)) == ("ab", {"n": "1", "n_2": "2", "url_2": "3"})


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (DEEP, "nested too deeply"),
        ('{"url": ' + DEEP + "}", "nested too deeply"),
        ('{"url": NaN}', "NaN is not JSON"),
        ('{"url": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"url": "b" "c"}', "Expecting ',' delimiter"),
        ('{"url": ]}', "Expecting value"),
        ('{"a": "gr\udcfcn", "url": "b"}', "it is not UTF-8"),
        ("[1]", "not a JSON object"),
        ('{"url": "' + "x" * 65_537 + '"}', "a field has 65,537 characters, more than 65,536"),
        ('{"url": "' + "x" * 5_000_000 + '"}', "longer than 4,000,000 characters"),
        ("{" + ",".join(f'"{number}": 1' for number in range(2000)) + "}", "it has 2,000 cells, more than 1,000"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_bad_item_is_one_row(tmp_path: Path, suffix: str, item: str, problem: str) -> None:
    path = tmp_path / f"list{suffix}"
    good = '{"url": "a", "caption": "x, [y"}'
    items = [good, item, *[good] * 500]
    # What is no JSON but has its brackets in order ends where its brackets say.
    items = [line.replace("]}", "}") if suffix == ".json" and line == '{"url": ]}' else line for line in items]
    text = "[" + ",".join(items) + "]" if suffix == ".json" else "\n".join(items)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    first, bad, *rest = told(records(path))
    assert bad.startswith("row 2: ") and problem in bad
    assert [first, *rest] == ["a"] * 501


def test_a_parquet_cell_that_is_no_text_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    captions = pa.array([b"x", b"gr\xfcn", b"y"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"url": ["a", "b", "c"], "caption": captions}), path)
    assert told(records(path)) == ["a", "row 2: it is not UTF-8 or UTF-16 text; save the list as UTF-8", "c"]


def test_a_damaged_row_group_costs_its_rows_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    urls = [f"http://a.example/{number}" for number in range(30)]
    table = pa.table({"url": urls, "caption": ["x"] * 30})
    pq.write_table(table, path, row_group_size=10, use_dictionary=False, compression="none")
    body = path.read_bytes()
    place = body.index(b"http://a.example/15")
    path.write_bytes(body[: place - 4] + b"\xff\xff\xff\x7f" + body[place:])
    found = records(path)
    first, last = told(found[:10]), told(found[-10:])
    assert (first, last) == (urls[:10], urls[20:])
    bad = [record for record in found if record.reason]
    assert len(bad) == 1 and "row group 1 is damaged" in bad[0].detail


@pytest.mark.parametrize(
    "columns",
    [
        {"url": ["a", "b"], "caption": ["x", "y"], "n": [1, 2]},
        {"url": {"0": "a", "7": "b"}, "caption": {"0": "x", "7": "y"}, "n": {"0": 1, "7": 2}},
    ],
)
def test_json_column_by_column(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = tmp_path / "list.json"
    path.write_text(f"\ufeff \n{json.dumps(columns)}", encoding="utf-8")
    found = records(path)
    assert [(record.url, record.caption, record.extra["n"]) for record in found] == [("a", "x", 1), ("b", "y", 2)]


def test_json_columns_of_another_length(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"url": ["a", "b"], "caption": ["x"]}')
    assert told(records(path)) == ["a", "row 2: column 'caption' has no cell for it"]
    path.write_text('{"url": ["a"], "caption": "x"}')
    with pytest.raises(ConfigError, match="neither a JSON list of objects nor columns"):
        records(path)


def parsed(text: str) -> list[list[str] | Problem]:
    return list(iter_cells(io.StringIO(text, newline=""), ","))


@given(rows=st.lists(st.lists(st.text(), min_size=2, max_size=3), max_size=8))
def test_what_is_written_as_csv_is_read(rows: list[list[str]]) -> None:
    import csv

    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    text = buffer.getvalue()
    if "\udc80" not in text:
        assert parsed(text) == rows


@pytest.mark.parametrize("line", ['a","\n', 'a"","\n', '"\n', '"""\n', ',"x\n', '"",""""\n'])
def test_quotes_that_are_never_closed_take_time_that_grows_with_the_text(
    line: str, count_lines: Callable[[str], int]
) -> None:
    assert count_lines(line * 20_000) < 20 * 20_000


@pytest.fixture
def count_lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Give a function that reads a table and counts the lines that its reader was given."""
    from t2i_core.data.tables import csv_rows

    monkeypatch.setattr(csv_rows, "MAX_LINE_CHARS", 10_000)

    def count(text: str) -> int:
        given_lines = 0

        class Lines(csv_rows._Lines):
            def __next__(self) -> str:
                nonlocal given_lines
                given_lines += 1
                return super().__next__()

        monkeypatch.setattr(csv_rows, "_Lines", Lines)
        assert parsed(text)
        return given_lines

    return count
