"""Folders of pictures: which text belongs to which picture, and what belongs to none."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.dataset.verify import verify
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection
from t2i_core.data.sources.folder import FolderReader, identity_of_folder, identity_of_pictures, read_local
from t2i_core.data.sources.orphans import ORPHANS_NAME, OrphanLog
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

MakePng = Callable[..., bytes]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def write(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or f"bytes of {name}", encoding="utf-8")


def read(
    root: Path, caption_column: str = "caption", beside: Path | None = None
) -> tuple[list[SourceRecord], list[str]]:
    with SideTable(root.parent / "rows.sqlite") as rows, OrphanLog(root.parent) as orphans:
        records = list(FolderReader(root, caption_column, rows, orphans, beside or root).records())
    log = root.parent / ORPHANS_NAME
    return records, log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def captions(root: Path, caption_column: str = "caption") -> dict[str, str]:
    return {record.url: record.caption for record in read(root, caption_column)[0]}


def test_a_folder_is_walked_in_fixed_order_without_links(root: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.png", "sub/deep/d.webp", ".hidden.png", ".git/e.png", "sub.png"):
        write(root, name)
    write(root, "a.txt", " a caption \n")
    write(root, "b.json", '{"caption": "from json", "artist": "me", "year": 1999}')
    write(root, "sub/c.caption", "a third")
    (root / "link.png").symlink_to(root / "b.png")
    (root / "loop").symlink_to(root)
    records, orphans = read(root)
    assert [(record.url, record.caption, json.loads(record.attributes)) for record in records] == [
        ("a.JPG", "a caption", {}),
        ("b.png", "from json", {"artist": "me", "year": 1999}),
        ("sub/c.png", "a third", {}),
        ("sub/deep/d.webp", "", {}),
        ("sub.png", "", {}),
    ]
    assert orphans == []


def test_an_empty_folder_says_what_it_lacks(root: Path) -> None:
    with pytest.raises(ConfigError, match="holds no pictures"):
        read(root)


def test_pictures_of_one_stem_share_its_text_and_a_full_name_comes_first(root: Path) -> None:
    for name in ("a.jpg", "a.png", "a.gif", "b.v2.png"):
        write(root, name)
    write(root, "a.txt", "of both")
    write(root, "a.gif.txt", "of the gif")
    write(root, "b.v2.txt", "dots")
    assert captions(root) == {"a.jpg": "of both", "a.png": "of both", "a.gif": "of the gif", "b.v2.png": "dots"}


def test_capitals_matter_in_names_and_not_in_endings(root: Path) -> None:
    for name in ("a.jpg", "A.jpg", "b.PNG", "c.png"):
        write(root, name)
    write(root, "a.txt", "small")
    write(root, "b.TXT", "large ending")
    write(root, "C.txt", "of nobody")
    records, orphans = read(root)
    assert {record.url: record.caption for record in records} == {
        "a.jpg": "small", "A.jpg": "", "b.PNG": "large ending", "c.png": ""
    }  # fmt: skip
    assert orphans == ["C.txt\tno picture of this name"]


def test_the_order_of_what_tells_a_caption(root: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        write(root, name)
    write(root, "metadata.csv", "file_name,caption\na.png,from the table\nb.png,\n")
    for stem in "abc":
        write(root, f"{stem}.caption", "from caption")
        write(root, f"{stem}.json", '{"caption": "from json", "k": 1}')
    for stem in "ab":
        write(root, f"{stem}.txt", "from txt")
    write(root, "d.json", '{"caption": "from json"}')
    records, _ = read(root)
    assert [(record.caption, record.caption_source) for record in records] == [
        ("from the table", "metadata"), ("from txt", "sidecar"), ("from caption", "sidecar"), ("from json", "sidecar")
    ]  # fmt: skip
    assert [json.loads(record.attributes) for record in records] == [{"k": 1}, {"k": 1}, {"k": 1}, {}]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_tells_about_files_in_its_folder_and_below(root: Path, ending: str) -> None:
    for name in ("train/a.png", "train/x/b.png", "c.png"):
        write(root, name)
    rows = [
        {"file_name": "a.png", "text": "an a", "score": "0.5"},
        {"file_name": "./x/b.png", "text": "a b", "score": "7"},
        {"file_name": "gone.png", "text": "nothing", "score": ""},
        {"file_name": "../c.png", "text": "not below", "score": ""},
    ]
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), root / "train/metadata.parquet")
    elif ending == "csv":
        write(root, "train/metadata.csv", "file_name,text,score\n" + "\n".join(",".join(r.values()) for r in rows))
    else:
        write(root, "train/metadata.jsonl", "\n".join(map(json.dumps, rows)))
    records, orphans = read(root, "text")
    kept = {record.url: (record.caption, dict(record.extra)) for record in records if not record.reason}
    assert kept["train/a.png"] == ("an a", {"score": "0.5"})
    assert kept["train/x/b.png"] == ("a b", {"score": "7"})
    rejected = [(record.url, record.caption, record.reason) for record in records if record.reason]
    assert rejected == [("gone.png", "nothing", "unreadable"), ("../c.png", "not below", "unreadable")]
    place = f"train/metadata.{ending} row"
    assert orphans == [
        f"{place} 3: there is no such picture\tgone.png", f"{place} 4: there is no such picture\t../c.png"
    ]  # fmt: skip


def test_of_several_tables_the_nearest_counts_and_each_row_makes_a_sample(root: Path) -> None:
    for name in ("a.png", "x/b.png"):
        write(root, name)
    write(root, "metadata.csv", "file_name,caption\na.png,one\nx/b.png,far\na.png,two\n")
    write(root, "x/metadata.jsonl", '{"file_name": "b.png", "caption": "near"}')
    records, orphans = read(root)
    assert [(record.url, record.caption) for record in records] == [
        ("a.png", "one"), ("a.png", "two"), ("x/b.png", "near")
    ]  # fmt: skip
    assert orphans == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,caption\na.png,x\n", "no column 'file_name'; its columns are 'name', 'caption'"),
        ("file_name,text\na.png,x\n", "no column 'caption'; its columns are 'file_name', 'text'"),
    ],
)
def test_a_table_without_its_columns_says_so(root: Path, text: str, message: str) -> None:
    write(root, "a.png")
    write(root, "metadata.csv", text)
    with pytest.raises(ConfigError, match=message):
        read(root)


def test_rows_that_cannot_be_read_and_hostile_names_are_rejected_rows(root: Path) -> None:
    write(root, "a.png")
    secret = root.parent / "secret.png"
    secret.write_bytes(b"x")
    names = ["a.png,fine", f"{secret},absolute", "../secret.png,above", ",nothing", "a.png,too,many"]
    write(root, "metadata.csv", "file_name,caption\n" + "\n".join(names))
    records, _ = read(root)
    assert [(record.reason, record.location) for record in records] == [
        ("bad_row", ""), ("", "a.png"), ("unreadable", ""), ("unreadable", ""), ("bad_row", "")
    ]  # fmt: skip
    assert records[0].detail == "metadata.csv row 5: it has 3 fields, the header 2"


def test_names_that_are_not_utf8_are_rejected(root: Path) -> None:
    (root / os.fsdecode(b"b\xff.png")).write_bytes(b"x")
    [record] = read(root)[0]
    assert record.reason == "unreadable"


def test_a_link_among_the_folders_leads_nowhere(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(b"secret")
    (root / "out").symlink_to(outside)
    answer = read_local(root, SourceRecord(url="x", location="out/a.png"), 100)
    assert isinstance(answer, Rejection) and answer.reason == "unreadable"


def test_orphans_are_counted_and_named_in_the_data_set(root: Path, make_png: MakePng) -> None:
    (root / "a.png").write_bytes(make_png((1, 2, 3)))
    write(root, "a.txt", "an a")
    write(root, "lost.txt", "of nobody")
    write(root, "metadata.csv", "file_name,caption,score\na.png,from the table,3\ngone.png,x,4\n")
    out = root.parent / "ds"
    ref = ingest(str(root), IngestConfig(image_size=16), out)
    expected = {"seen": 2, "kept": 1, "rejected:unreadable": 1}
    expected |= {"sidecars_without_picture": 1, "metadata_without_picture": 1}
    assert {name: ref.counts[name] for name in expected} == expected
    rows: list[dict[str, Any]] = pq.read_table(out / "shards/00000.parquet").to_pylist()
    assert [(row["caption"], row["score"], row["reason"]) for row in rows] == [
        ("from the table", "3", ""), ("x", "4", "unreadable")
    ]  # fmt: skip
    assert (out / ORPHANS_NAME).read_text() == (
        "lost.txt\tno picture of this name\nmetadata.csv row 2: there is no such picture\tgone.png\n"
    )
    assert ORPHANS_NAME in {file.path for file in read_manifest(out).files}
    assert not verify(out).damaged


DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><metadata><rdf:RDF xmlns:cc="http://web.resource.org/cc/"
xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work>
<dc:title>{title}</dc:title><dc:creator>Ada</dc:creator><cc:license rdf:resource="http://free.example/"/></cc:Work></rdf:RDF>
</metadata><path d="M0 0h2v4h-2z"/></svg>"""


def described(records: list[SourceRecord]) -> dict[str, tuple[str, str, str, dict[str, Any]]]:
    return {r.url: (r.caption, r.caption_source, r.license, json.loads(r.attributes)) for r in records}


def test_a_drawing_describes_itself_and_the_pictures_of_its_name(root: Path) -> None:
    write(root, "a.svg", DRAWING.format(title="A leaf"))
    write(root, "a.png")
    write(root, "b.SVG", DRAWING.format(title="A tree"))
    write(root, "b.txt", "said beside it")
    write(root, "b.json", '{"artist": "Bob", "year": 1999}')
    write(root, "c.svg", "<svg>")
    records, orphans = read(root)
    leaf = ("A leaf", "drawing", "http://free.example/", {"title": "A leaf", "artist": "Ada"})
    tree = {"title": "A tree", "artist": "Bob", "year": 1999}
    assert described(records) == {
        "a.png": leaf,
        "a.svg": leaf,
        "b.SVG": ("said beside it", "sidecar", "http://free.example/", tree),
        "c.svg": ("", "", "", {}),
    }
    assert orphans == []


def test_sidecars_may_lie_in_a_second_folder_of_the_same_shape(root: Path, tmp_path: Path) -> None:
    beside = tmp_path / "texts"
    for name in ("a.png", "sub/b.png", "sub/c.png", "gone/d.png"):
        write(root, name)
    write(root, "a.txt", "not asked for")
    write(beside, "a.svg", DRAWING.format(title="A leaf"))
    write(beside, "sub/b.png.txt", "b")
    write(beside, "sub/e.svg", DRAWING.format(title="of no picture"))
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    (beside / "sub/c.txt").symlink_to(secret)
    (beside / "gone").symlink_to(beside)
    records, orphans = read(root, beside=beside)
    assert {record.url: record.caption for record in records} == {
        "a.png": "A leaf",
        "sub/b.png": "b",
        "sub/c.png": "",
        "gone/d.png": "",
    }
    assert [line for line in orphans if "sub/e.svg" in line]


def test_rows_lead_back_to_artist_and_license(root: Path, tmp_path: Path, make_png: MakePng) -> None:
    (root / "a.png").write_bytes(make_png((1, 2, 3)))
    beside = tmp_path / "texts"
    write(beside, "a.svg", DRAWING.format(title="A leaf"))
    config = IngestConfig(sidecars_from=str(beside), image_size=16, reject_blank=False)
    first = ingest(str(root), config, tmp_path / "ds")
    (row,) = pq.read_table(tmp_path / "ds/shards/00000.parquet").to_pylist()
    assert (row["caption"], row["caption_source"], row["license"]) == ("A leaf", "drawing", "http://free.example/")
    assert json.loads(row["attributes"]) == {"title": "A leaf", "artist": "Ada"}
    assert read_manifest(tmp_path / "ds").sources["sidecars_from"] == str(beside)
    write(beside, "a.svg", DRAWING.format(title="Another leaf"))
    assert ingest(str(root), config, tmp_path / "changed").digest != first.digest
    with pytest.raises(ConfigError, match="sidecars_from"):
        ingest(str(tmp_path / "ds/shards"), config, tmp_path / "of_shards")
    with pytest.raises(ConfigError, match="cannot read"):
        ingest(str(root), config.with_changes(sidecars_from=str(tmp_path / "none")), tmp_path / "of_none")


def test_pictures_behind_a_folder_have_their_sidecars_too(root: Path) -> None:
    for name in ("a/b/x.png", "a/z.png", "m.png", "z/a.png", "zz.png"):
        write(root, name)
        write(root, f"{name}.txt", f"of {name}")
    assert captions(root) == {name: f"of {name}" for name in ("a/b/x.png", "a/z.png", "m.png", "z/a.png", "zz.png")}


def test_folders_without_sidecars_are_known_as_before(root: Path) -> None:
    write(root, "a.png")
    assert identity_of_pictures(str(root)) == identity_of_folder(str(root))
    write(root, "b.SVG")
    assert identity_of_pictures(str(root)) != identity_of_folder(str(root))
