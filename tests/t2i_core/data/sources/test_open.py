import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_core.data.answer import Fetched
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection
from t2i_core.data.shards.reader import iter_samples
from t2i_core.data.sources.folder import read_local
from t2i_core.data.sources.lists import read_list
from t2i_core.data.sources.open import KINDS, open_source
from t2i_core.data.sources.orphans import OrphanLog
from t2i_core.data.sources.shards import read_shards
from t2i_core.errors import ConfigError
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.step import finish_ingest, ingest, ingest_shard, plan_ingest

PICTURES = IngestConfig().reading()
PAGES = IngestConfig(pages=True).reading()

ROWS = [{"url": "http://a.example/1,2.png", "caption": 'a "red", cat', "license": "CC0"}]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def records(path: Path, url_column: str = "url", caption_column: str = "caption") -> list[SourceRecord]:
    return list(read_list(path, url_column, caption_column))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_list_reads_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif suffix in (".csv", ".tsv"):
        comma = "," if suffix == ".csv" else "\t"
        write(path, comma.join(ROWS[0]) + "\n" + comma.join(['"http://a.example/1,2.png"', '"a ""red"", cat"', "CC0"]))
    else:
        write(path, json.dumps(ROWS) if suffix == ".json" else json.dumps(ROWS[0]) + "\n\n")
    [record] = records(path)
    assert (record.url, record.caption, record.caption_source) == ("http://a.example/1,2.png", 'a "red", cat', "column")
    assert record.extra == {"license": "CC0"}
    assert record.reason == ""


def test_a_text_file_is_lines_not_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "list.txt", '\ufeffhttp://a.example/1,2,"x".png\r\n\r\n  http://a.example/b c.png  \n')
    assert [record.url for record in records(path)] == ['http://a.example/1,2,"x".png', "http://a.example/b c.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_are_told_by_their_mark(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "list.csv", "url,caption\nhttp://a.example/1,grün\n", encoding)
    [record] = records(path)
    assert (record.url, record.caption) == ("http://a.example/1", "grün")


def test_broken_rows_are_rejected_by_number_and_keep_their_place(tmp_path: Path) -> None:
    table = write(tmp_path / "list.csv", "url,caption\nhttp://a/1,fine\nhttp://a/2,a cat, sitting\nhttp://a/3,fine\n")
    lines = write(tmp_path / "list.jsonl", '{"url": "u", "caption": "c"}\n{"url": \n[1]\n{"url": "v"}\n')
    assert [record.reason for record in records(table)] == ["", "bad_row", ""]
    assert records(table)[1].detail == "row 2: it has 3 fields, the header 2"
    assert [record.reason for record in records(lines)] == ["", "bad_row", "bad_row", ""]


def test_cells_keep_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    columns: dict[str, Any] = {
        "url": ["u"], "caption": [None], "size": [3], "score": [float("nan")], "tags": [["a", "b"]],
        "jpg": [b"\xff"], "uid": ["theirs"], "bad": ["a\0b"], "when": [datetime(2020, 1, 2, 3, tzinfo=UTC)],
        "boxes": [[[0, 1.5]]], "scores": [[0.5, None]], "sure": [True],
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)
    [record] = records(path)
    assert record.caption == "" and record.caption_source == ""
    assert record.extra == {
        "size": 3, "score": None, "tags": ["a", "b"], "source_uid": "theirs", "bad": "ab",
        "when": "2020-01-02T03:00:00+00:00", "boxes": "[[0.0, 1.5]]", "scores": [0.5, None], "sure": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "link,text\nhttp://a,b\n", r"no column 'url'; its columns are 'link', 'text'"),
        ("list.csv", "url,text\nhttp://a,b\n", r"no column 'caption'; its columns are 'url', 'text'"),
        ("list.jsonl", '{"link": 1}\n', r"no column 'url'; its columns are 'link'"),
        ("list.csv", "", "is empty"),
        ("list.csv", "url,caption\n", "is empty"),
        ("list.txt", "\n \n", "is empty"),
        ("list.json", "[]", "is empty"),
        ("list.json", '{"url": 1}', "neither a JSON list of objects nor columns"),
        ("list.json", '{"url": [1], "caption"', "cannot read"),
        ("list.json", "[" * 100_000, "row 1: not JSON: nested too deeply"),
        ("list.parquet", "not parquet", "cannot read"),
    ],
)
def test_unusable_lists_say_why(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        records(write(tmp_path / name, text))


def test_text_in_an_unknown_encoding_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "url,caption\nhttp://a,grün\n", "latin-1")
    with pytest.raises(ConfigError, match=r"no row of .* can be read; the first: row 1: it is not UTF-8"):
        records(path)


def test_an_empty_caption_column_means_none(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "url,text\nhttp://a,b\n")
    assert [(record.caption, record.extra) for record in records(path, caption_column="")] == [("", {"text": "b"})]


def test_kinds_of_sources(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "url\n")
    assert open_source("https://example.com/", PICTURES).kind == "page"
    assert open_source(str(path), PICTURES).kind == "list"
    assert open_source(str(path), PAGES).kind == "page_list"
    (tmp_path / "a.png").touch()
    assert open_source(str(tmp_path), PICTURES).kind == "folder"
    (tmp_path / "00000.tar").touch()
    assert open_source(str(tmp_path), PICTURES).kind == "shards"
    with pytest.raises(ConfigError, match="no such source"):
        open_source(str(tmp_path / "missing.csv"), PICTURES)
    with pytest.raises(ConfigError, match="not a URL list"):
        open_source(str(write(tmp_path / "list.xls", "x")), PICTURES)


def test_identity_follows_content(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.csv", "url\nx\n"), write(tmp_path / "b.csv", "url\nx\n")
    assert open_source(str(first), PICTURES).identity() == open_source(str(second), PICTURES).identity()
    folder = tmp_path / "pictures"
    folder.mkdir()
    before = open_source(str(folder), PICTURES).identity()
    write(folder / "a.txt", "x")
    assert open_source(str(folder), PICTURES).identity() != before


def test_local_reads_stay_in_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "a.png").write_bytes(b"0123456789")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "pipe.png")

    def read(location: str, **more: int) -> bytes | str:
        answer = read_local(root, SourceRecord(url=location, location=location, **more), 10)
        return answer.body if isinstance(answer, Fetched) else str(answer.reason)

    assert read("a.png") == b"0123456789"
    assert read("a.png", offset=3, size=4) == b"3456"
    for location in ("../secret.png", "link.png", str(tmp_path / "secret.png"), "missing.png", "pipe.png", "."):
        assert read(location) == "unreadable"
    (root / "a.png").write_bytes(b"0123456789+")
    assert read("a.png") == "too_many_bytes"
    assert isinstance(read_local(root, SourceRecord(url="x", location="x"), 10), Rejection)


def test_a_damaged_tar_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(b"not a tar" * 1000)
    with pytest.raises(ConfigError, match="cannot read shard"):
        list(read_shards(tmp_path, OrphanLog(tmp_path)))


ZIPPED_PICTURES = '''
"""A zip of pictures, each captioned by its name."""
from pathlib import Path
from pkgutil import resolve_name
from zipfile import ZipFile

from t2i_core.data.answer import Fetched
from t2i_core.data.record import SourceRecord
from t2i_core.data.sources.source import Source
from t2i_core.folders.manifest import sha256_of


class ZippedPictures(Source):
    is_fetched = False

    @classmethod
    def fits(cls, name, options):
        return name.endswith(".zip")

    def identity(self):
        return sha256_of(Path(self.name))

    def records(self, planning):
        for name in ZipFile(self.name).namelist():
            yield SourceRecord(url=name, caption=Path(name).stem, location=name)

    def store(self):
        return lambda record, max_bytes: Fetched(ZipFile(self.name).read(record.location), "", 0)
'''


def test_a_new_kind_is_one_file_and_one_line(
    tmp_path: Path, make_png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe in the README, word by word."""
    write(tmp_path / "zipped_pictures.py", ZIPPED_PICTURES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(KINDS, "zip", "zipped_pictures:ZippedPictures")
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, name in enumerate(["a cat.png", "a dog.png", "a hen.png"]):
            archive.writestr(name, make_png((number, 99, 9)))
    config = IngestConfig(image_size=16, samples_per_shard=2)

    plan = plan_ingest(IngestRequest(source=str(tmp_path / "a.zip"), config=config, output_dir=tmp_path / "dataset"))
    for shard_id in range(plan.num_shards):
        ingest_shard(plan, shard_id)
    ref = finish_ingest(plan)

    assert plan.kind == "zip" and (ref.counts["kept"], ref.counts["shards"]) == (3, 2)
    tars = sorted((tmp_path / "dataset/shards").glob("*.tar"))
    assert [sample.caption for tar in tars for sample in iter_samples(tar)] == ["a cat", "a dog", "a hen"]
    assert ingest(str(tmp_path / "a.zip"), config, tmp_path / "dataset").hit


def test_a_worker_that_knows_the_kind_looks_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing scans folders; whoever is told the kind must not."""
    (tmp_path / "a.png").touch()
    guessed = open_source(str(tmp_path), PICTURES)
    for name in KINDS:
        monkeypatch.setattr(resolve_name(KINDS[name]), "fits", None)
    assert type(open_source(str(tmp_path), PICTURES, guessed.kind)) is type(guessed)


def test_reading_a_folder_loads_nothing_that_talks_to_the_web() -> None:
    code = "import sys, t2i_core.data.sources.folder, t2i_core.data.sources.open; print('pycurl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
