"""Lists that are compressed, many, remote or larger than memory read as one plain list does."""

import bz2
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractFileSystem
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.record import SourceRecord
from t2i_core.data.sources.lists import read_list
from t2i_core.data.sources.open import open_source
from t2i_core.data.tables import json_array
from t2i_core.data.tables.json_array import iter_array
from t2i_core.data.tables.text import Problem
from t2i_core.errors import ConfigError, TransientError
from t2i_core.ingestion.config import IngestConfig

PICTURES = IngestConfig().reading()
PAGES = IngestConfig(pages=True).reading()

ROOT = Path(__file__).parents[4]
TABLE = b'url,caption,license\nhttp://a.example/1.png,"a cat, red",CC0\nhttp://a.example/2.png,a dog,CC0\n'
LINES = b'{"url": "http://a.example/1.png", "caption": "a cat, red", "license": "CC0"}\n' * 2


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


COMPRESSORS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}


def records(source: str | Path, **columns: str) -> list[SourceRecord]:
    return list(read_list(source, "url", "caption", **columns))


def urls(source: str | Path) -> list[str]:
    return [record.url for record in records(source)]


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize(("name", "data"), [("list.csv", TABLE), ("list.jsonl", LINES), ("list.json", None)])
def test_a_compressed_list_reads_as_the_plain_one(tmp_path: Path, name: str, data: bytes | None, suffix: str) -> None:
    data = data or json.dumps([json.loads(line) for line in LINES.splitlines()], indent=1).encode("utf-16")
    plain, packed = tmp_path / name, tmp_path / f"{name.upper()}{suffix}"
    plain.write_bytes(data)
    packed.write_bytes(COMPRESSORS[suffix](data))
    assert open_source(str(packed), PICTURES).kind == "list"
    assert records(packed) == records(plain)
    assert len(records(packed)) == 2


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_several_streams_in_one_compressed_file_are_one_list(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list.txt{suffix}"
    path.write_bytes(COMPRESSORS[suffix](b"http://a\n") + COMPRESSORS[suffix](b"http://b\n"))
    assert urls(path) == ["http://a", "http://b"]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_what_is_not_compressed_as_its_name_says_is_no_list(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list.csv{suffix}"
    path.write_bytes(b"no stream " + COMPRESSORS[suffix](TABLE * 1000))
    with pytest.raises(ConfigError, match=rf"cannot read .*list\.csv\{suffix}"):
        records(path)


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_compressed_list_that_breaks_off_keeps_what_came_before(tmp_path: Path, suffix: str) -> None:
    random = Random(0)
    lines = [f"http://a.example/{random.getrandbits(64)},text {number}\n" for number in range(50_000)]
    packed = COMPRESSORS[suffix](("url,caption\n" + "".join(lines)).encode())
    path = tmp_path / f"list.csv{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    *kept, last = records(path)
    assert (last.reason, last.url) == ("bad_row", "")
    assert last.detail.startswith(f"row {len(kept) + 1}: the list cannot be read from here on: ")
    assert [f"{record.url},{record.caption}\n" for record in kept] == lines[: len(kept)]
    # bzip2 packs blocks of 900,000 bytes, and half of one is nothing.
    assert 0.25 < len(kept) / len(lines) < 0.75


BOMB = """
import collections, resource, sys
from t2i_core.data.tables import process as list_process
from t2i_core.data.sources.lists import read_list
from t2i_core.errors import ConfigError
try:
    found = collections.Counter(record.detail or record.url[:20] for record in read_list(sys.argv[1], "url", ""))
    print(*(f"{number} {text}" for text, number in found.items()), sep="; ")
except ConfigError as err:
    print(err)
for process in list_process._waiting:
    process.end()
# What getrusage tells of this process is no less than the peak of the one that started it.
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(own // 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
TOO_MUCH = "cannot be read from here on: it unpacks to more than "


def said_and_peaks(path: Path) -> tuple[str, list[int]]:
    """Read a list in a process of its own; give what became of its rows, and the peaks of that and its child in MB."""
    command = [sys.executable, "-c", BOMB, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said, peaks = done.stdout.splitlines()
    return said, [int(peak) for peak in peaks.split()]


@pytest.mark.parametrize(
    ("name", "head", "filling", "outcome"),
    [
        ("list.jsonl", b'{"url": "u"}\n', b" ", f"1 u; 1 row 2: the list {TOO_MUCH}"),
        ("list.jsonl", b"", b" ", "cannot read"),
        ("list.json", b'[{"url": "u"}, [' + b'"', b"a", f"1 u; 1 row 2: the list {TOO_MUCH}"),
        ("list.json", b'[{"url": "u"}, ', b"[", f"1 u; 1 row 2: the list {TOO_MUCH}"),
        ("list.csv", b'url\nu\n"', b"a", f"1 u; 1 row 2: the list {TOO_MUCH}"),
        ("list.csv", b"url\nu\n", b'"\n",', "longer than 4,000,000 characters. Is a quote left open?; "),
        ("list.txt", b"u\n", b"a\n", "the list cannot be read from here on: it has more rows than bytes"),
        ("list.txt", b"u\n", b"a", f"1 u; 1 row 2: the list {TOO_MUCH}"),
    ],
)
def test_a_bomb_does_not_fill_the_memory(tmp_path: Path, name: str, head: bytes, filling: bytes, outcome: str) -> None:
    path = tmp_path / f"{name}.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(head)
        for _ in range(5):
            file.write(filling * (2**24 // len(filling)))
    said, peaks = said_and_peaks(path)
    assert outcome in said
    assert max(peaks) < 200


# Made in a process of its own, for the peak of this one is inherited by those that are measured.
MAKE_TABLE = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
megabyte = "x" * 2**20
def repeated(value, number):
    return pa.DictionaryArray.from_arrays(pa.array([0] * number, pa.int32()), pa.array([value]))
def urls(number):
    return pa.array([f"http://a/{row}" for row in range(number)])
table, options = eval(sys.argv[2]), {}
if isinstance(table, tuple):
    table, options = table
pq.write_table(pa.table(table), sys.argv[1], compression="zstd", store_schema=False, **options)
"""
LEFT = "what is left of row group 0 takes too much memory"


@pytest.mark.parametrize(
    ("table", "outcome"),
    [
        # 1.3 GB of text, said once, none of it longer than a text may be.
        ('{"url": urls(20_000), "more": repeated("x" * 2**16, 20_000)}', TOO_MUCH),
        ('{"url": repeated("x" * 2**16, 20_000)}', TOO_MUCH),
        # Twenty times that, in texts that are too long.
        ('{"url": urls(20_000), "more": repeated(megabyte, 20_000)}', "a field has 1,048,576 characters"),
        # A page of hundreds of megabytes that is packed to nothing.
        (
            '{"url": urls(400), "more": pa.array([megabyte] * 400)}, '
            '{"use_dictionary": False, "data_page_size": 2**30, "write_batch_size": 400}',
            LEFT,
        ),
        # A hundred million numbers in one cell.
        (
            '{"url": urls(1), "more": pa.ListArray.from_arrays(pa.array([0, 10**8], pa.int32()), '
            "pa.nulls(10**8, pa.int8()))}",
            LEFT,
        ),
        ('{f"column{number}": [number] for number in range(5000)}', "it has 5,000 columns, more than 1,000"),
    ],
    ids=["dictionary", "addresses", "long texts", "page", "numbers", "columns"],
)
def test_a_table_does_not_fill_the_memory(tmp_path: Path, table: str, outcome: str) -> None:
    path = tmp_path / "list.parquet"
    subprocess.run([sys.executable, "-c", MAKE_TABLE, str(path), table], check=True)
    assert path.stat().st_size < 3_000_000
    said, peaks = said_and_peaks(path)
    assert outcome in said
    assert sum(peaks) < 500


def test_cells_nested_as_deeply_as_can_be_read_do_not_end_the_run(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    cells = ["[" * depth + "]" * depth for depth in range(1, 1200)]
    path.write_text("".join(f'{{"url": "http://a", "caption": "", "more": {cell}}}\n' for cell in cells))
    found = records(path)
    assert (found[0].extra, found[0].reason) == ({"more": []}, "")
    assert found[1].extra == {"more": "[[]]"}
    assert (found[-1].reason, found[-1].detail) == ("bad_row", "row 1199: not JSON: nested too deeply")


def folder_of_lists(root: Path) -> Path:
    root.mkdir()
    pq.write_table(pa.table({"url": ["http://b/1", "http://b/2"], "caption": ["x", "y"]}), root / "b.parquet")
    (root / "a.csv").write_text("caption,url\none,http://a/1\ntwo\n")
    (root / "c.jsonl.gz").write_bytes(gzip.compress(b'{"url": "http://c/1", "caption": "z", "more": 1}\n'))
    (root / "d.csv").write_text("url,caption\n")
    (root / "_SUCCESS").touch()
    (root / ".a.csv.crc").touch()
    return root


def test_a_folder_of_lists_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = folder_of_lists(tmp_path / "lists")
    assert open_source(str(folder), PICTURES).kind == "list"
    assert open_source(str(folder), PAGES).kind == "page_list"
    found = records(folder)
    assert [record.url for record in found] == ["http://a/1", "", "http://b/1", "http://b/2", "http://c/1"]
    assert found[1].reason == "bad_row"
    assert found[1].detail == "a.csv row 2: it has 1 fields, the header 2"


def test_a_pattern_names_lists(tmp_path: Path) -> None:
    folder = folder_of_lists(tmp_path / "lists")
    (folder / "e[1].txt").write_text("http://e\n")
    assert open_source(f"{folder}/*.parquet", PICTURES).kind == "list"
    assert urls(f"{folder}/[ac].*") == ["http://a/1", "", "http://c/1"]
    assert urls(f"{tmp_path}/**/b.parquet") == ["http://b/1", "http://b/2"]
    assert urls(f"{folder}/e[1].txt") == ["http://e"]
    with pytest.raises(ConfigError, match=r"no such source: there is no list at .*\*\.tsv"):
        records(f"{folder}/*.tsv")
    with pytest.raises(ConfigError, match=r"_SUCCESS is not a URL list"):
        records(f"{folder}/*")


@pytest.mark.parametrize("beside", ["picture.jpg", "README.md", "more/inner.csv"])
def test_a_folder_with_anything_else_is_a_folder_of_pictures(tmp_path: Path, beside: str) -> None:
    folder = folder_of_lists(tmp_path / "lists")
    (folder / beside).parent.mkdir(exist_ok=True)
    (folder / beside).touch()
    assert open_source(str(folder), PICTURES).kind == "folder"


def test_tables_of_one_source_share_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,caption,license\nhttp://a,x,CC0\n")
    (tmp_path / "b.tsv").write_text("licence\turl\tcaption\nCC0\thttp://b\ty\n")
    with pytest.raises(ConfigError, match=r"b\.tsv lacks 'license' and has 'licence' besides, unlike .*a\.csv"):
        next(read_list(tmp_path, "url", "caption"))
    (tmp_path / "b.tsv").write_text("license\turl\tcaption\nCC0\thttp://b\ty\n")
    assert urls(tmp_path) == ["http://a", "http://b"]
    (tmp_path / "c.jsonl").write_text('{"link": 1}\n')
    with pytest.raises(ConfigError, match=r"c\.jsonl has no column 'url'"):
        records(tmp_path)


def test_lists_without_rows_are_passed_over_unless_all_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").write_text("url,caption\n")
    with pytest.raises(ConfigError, match="is empty"):
        records(tmp_path)
    (tmp_path / "c.csv").write_text("url,caption\nhttp://c,x\n")
    assert urls(tmp_path) == ["http://c"]


def test_the_identity_of_many_lists_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = folder_of_lists(tmp_path / "lists")
    before = open_source(str(folder), PICTURES).identity()
    assert open_source(f"{folder}/*.*", PICTURES).identity() == before
    (folder / "d.csv").write_text("url,caption\nhttp://d,x\n")
    changed = open_source(str(folder), PICTURES).identity()
    (folder / "d.csv").rename(folder / "e.csv")
    assert len({before, changed, open_source(str(folder), PICTURES).identity()}) == 3


@pytest.fixture
def bucket() -> str:
    """A store of its own in memory, behind the same interface as s3:// and gs://."""
    return f"memory://{uuid4().hex}"


def put(url: str, data: bytes) -> str:
    with fsspec.open(url, "wb") as file:
        file.write(data)
    return url


def parquet_bytes(table: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    return buffer.getvalue()


def test_remote_lists_read_as_local_ones(tmp_path: Path, bucket: str) -> None:
    for path in folder_of_lists(tmp_path / "lists").iterdir():
        put(f"{bucket}/lists/{path.name}", path.read_bytes())
    assert open_source(f"{bucket}/lists", PICTURES).kind == "list"
    assert open_source(f"{bucket}/lists", PAGES).kind == "page_list"
    assert records(f"{bucket}/lists") == records(tmp_path / "lists")
    assert urls(f"{bucket}/lists/*.parquet") == urls(f"{bucket}/lists/b.parquet") == ["http://b/1", "http://b/2"]
    with pytest.raises(ConfigError, match=rf"no list at {bucket}/missing\.csv"):
        records(f"{bucket}/missing.csv")
    put(f"{bucket}/lists/README.md", b"")
    with pytest.raises(ConfigError, match=r"memory://.*/lists/README\.md is not a URL list"):
        records(f"{bucket}/lists")
    with pytest.raises(ConfigError, match=r"cannot read memory://.*/bad\.parquet"):
        records(put(f"{bucket}/bad.parquet", b"not parquet"))


def test_a_file_url_is_read_as_its_path(tmp_path: Path) -> None:
    folder = folder_of_lists(tmp_path / "lists")
    assert records(f"file://{folder}") == records(folder)
    assert records(f"file://{folder}/b.parquet") == records(folder / "b.parquet")


def test_the_identity_of_a_remote_list_follows_its_version(bucket: str) -> None:
    url = put(f"{bucket}/a.csv", b"url\nhttp://a\n")
    before = open_source(url, PICTURES).identity()
    assert open_source(url, PICTURES).identity() == before
    put(url, b"url\nhttp://b\n")
    assert open_source(url, PICTURES).identity() != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gs://bucket/list.parquet", "cannot open gs://bucket/list.parquet: Please install gcsfs"),
        ("nothing://bucket/list.csv", "Protocol not known: nothing"),
    ],
)
def test_a_store_that_cannot_be_opened_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=message):
        open_source(source, PICTURES).identity()


class AwayError(Exception):
    """As stores raise them: of no class that Python knows."""


class AwayStore(AbstractFileSystem):  # type: ignore[misc]
    """Knows its files, but fails when one is read."""

    protocol = "away"
    failure: Exception

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": len(TABLE)}

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (AwayError("slow down"), TransientError),
        (ConnectionResetError("slow down"), TransientError),
        (PermissionError("slow down"), ConfigError),
    ],
)
def test_a_store_that_is_busy_is_worth_another_try(failure: Exception, error: type[Exception]) -> None:
    fsspec.register_implementation("away", AwayStore, clobber=True)
    AwayStore.failure = failure
    with pytest.raises(error, match=r"cannot read away://bucket/list\.csv: slow down"):
        records("away://bucket/list.csv")


@pytest.mark.parametrize("source", ["https://example.com/list.csv", "http://example.com/list.parquet"])
def test_http_stays_a_page(source: str) -> None:
    assert open_source(source, PICTURES).kind == "page"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(rows=st.lists(VALUES), chunk=st.integers(1, 40), indent=st.none() | st.integers(0, 3))
def test_an_array_is_what_the_standard_parser_reads_however_it_is_cut(
    rows: list[Any], chunk: int, indent: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK_CHARS", chunk)
        assert list(iter_array(io.StringIO(json.dumps(rows, indent=indent)))) == rows


@given(text=st.text('[]{}",:1e.-Nalt \n\\'), chunk=st.integers(1, 9))
def test_what_is_no_array_is_refused_as_the_standard_parser_does(text: str, chunk: int) -> None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        expected = json.loads(f"[{text}", parse_constant=refuse)
    except ValueError:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK_CHARS", chunk)
        try:
            found = list(iter_array(io.StringIO(f"[{text}")))
        except ValueError:
            found = [Problem("the list breaks off")]
        if expected is None:
            assert any(isinstance(item, Problem) for item in found)
        else:
            assert found == expected
