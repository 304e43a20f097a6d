"""New captions and filters while a source is planned: lists, folders and the shards of other datasets."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_core.data.dataset.parts import read_part
from t2i_core.data.shards.layout import sample_uid
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.plan import plan_ingest
from t2i_core.ingestion.step import ingest

MakePng = Callable[..., bytes]
CONFIG = IngestConfig(image_size=16, min_image_size=8)


def add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    tar.addfile(member, io.BytesIO(body))


@pytest.fixture
def shards(tmp_path: Path, make_png: MakePng) -> Path:
    """Shards as img2dataset writes them, with a column of scores."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, (width, score) in enumerate([(64, 0.1), (32, 0.35), (64, 0.5), (64, None)]):
            key = f"00000000{number}"
            told = {"url": f"http://a.example/{number}.png", "caption": f"old {number}", "width": width, "height": 64,
                    "key": key, "status": "success", "similarity": score}  # fmt: skip
            add(tar, f"{key}.png", make_png((number, 0, 0), (width, 64)))
            add(tar, f"{key}.txt", told["caption"].encode())
            add(tar, f"{key}.json", json.dumps(told).encode())
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "shards/00000.parquet").to_pylist()
    return found


def outcome(folder: Path) -> list[tuple[str, str]]:
    return [(row["caption"], row["reason"]) for row in rows(folder)]


def test_shards_are_filtered_by_their_own_columns_and_scores(shards: Path, tmp_path: Path) -> None:
    ref = ingest(str(shards), CONFIG.with_changes(filter="width >= 64 and similarity >= 0.3"), tmp_path / "ds")
    assert outcome(tmp_path / "ds") == [
        ("old 0", "filtered"),
        ("old 1", "filtered"),
        ("old 2", ""),
        ("old 3", "filtered"),
    ]
    assert (ref.counts["kept"], ref.counts["rejected:filtered"]) == (1, 3)
    assert rows(tmp_path / "ds")[0]["error_message"] == "the filter leaves it out"


def test_samples_without_a_picture_are_counted_and_named(shards: Path, tmp_path: Path) -> None:
    with tarfile.open(shards / "00001.tar", "w") as tar:
        add(tar, "000010000.txt", b"no picture")
        add(tar, "000010000.json", b"{}")
    ref = ingest(str(shards), CONFIG, tmp_path / "ds")
    assert (ref.counts["seen"], ref.counts["samples_without_picture"]) == (4, 1)
    assert (tmp_path / "ds/orphans.txt").read_text() == "00001.tar: 000010000\tno picture\n"


def test_an_unknown_column_lists_those_there_are_and_leaves_nothing(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"asks for 'aesthetic', which no source has; there are .*'similarity'"):
        ingest(str(shards), CONFIG.with_changes(filter="aesthetic > 5"), tmp_path / "ds")
    assert not (tmp_path / "ds").exists()


def test_a_column_of_another_type_is_an_error(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'caption' with a number, but it holds 'old 0', and no source has"):
        ingest(str(shards), CONFIG.with_changes(filter="caption > 5"), tmp_path / "ds")


def test_a_cell_that_cannot_be_compared_is_one_rejected_row(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    cells: list[Any] = ["N/A", 300, 10**400, "1e999", None, 100]
    rows_told = [{"url": f"http://a/{i}", "caption": "x", "num": cell} for i, cell in enumerate(cells)]
    path.write_text("\n".join(map(json.dumps, rows_told)))
    plan = plan_ingest(
        IngestRequest(source=str(path), config=CONFIG.with_changes(filter="num >= 256"), output_dir=tmp_path / "ds")
    )
    records = read_part(plan.output_dir, 0).records
    assert [record.reason for record in records] == ["bad_row", "", "", "", "filtered", "filtered"]
    assert records[0].detail == "row 1: the filter compares column 'num' with a number, but it holds 'N/A'"


def test_a_bad_filter_is_refused_with_the_options() -> None:
    with pytest.raises(ConfigError, match="cannot read the filter"):
        CONFIG.with_changes(filter="width = 3")


def test_captions_are_joined_by_url_and_bring_columns_to_filter_by(shards: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text(
        "url,caption,aesthetic\nHTTP://A.example/0.png#x,new 0,6\nhttp://a.example/2.png,,7\n"
        "http://a.example/0.png,later,1\nhttp://a.example/9.png,nobody,9\n"
    )
    config = CONFIG.with_changes(captions_from=str(table), filter="aesthetic >= 6")
    ref = ingest(str(shards), config, tmp_path / "ds")
    assert outcome(tmp_path / "ds") == [("new 0", ""), ("old 1", "filtered"), ("old 2", ""), ("old 3", "filtered")]
    first, _, third, _ = rows(tmp_path / "ds")
    assert (first["caption_source"], first["source_caption"], first["aesthetic"]) == ("table", "old 0", "6")
    assert (third["caption_source"], third["source_caption"], third["aesthetic"]) == ("shard", "", "7")
    assert (ref.counts["recaptioned"], ref.counts["captions_unused"]) == (1, 1)
    assert read_manifest(tmp_path / "ds").sources["captions_from"] == str(table)


def test_the_uid_survives_a_new_caption_and_joins_again(shards: Path, tmp_path: Path) -> None:
    uid = sample_uid("http://a.example/1.png", "old 1")
    table = tmp_path / "new.parquet"
    # What has both is joined by uid: the URL names another picture.
    columns = {"uid": [uid], "url": ["http://a.example/0.png"], "text": ["new 1"]}
    pq.write_table(pa.table(columns), table)
    config = CONFIG.with_changes(captions_from=str(table), caption_column="text")
    ingest(str(shards), config, tmp_path / "once")
    assert [row["caption"] for row in rows(tmp_path / "once")] == ["old 0", "new 1", "old 2", "old 3"]
    assert rows(tmp_path / "once")[1]["uid"] == uid
    pq.write_table(pa.table(columns | {"text": ["newer 1"]}), table)
    ingest(str(tmp_path / "once"), config, tmp_path / "twice")
    again = rows(tmp_path / "twice")[1]
    assert (again["caption"], again["uid"], again["source_caption"]) == ("newer 1", uid, "new 1")


def test_resharding_keeps_uids_and_bytes_whatever_the_size(shards: Path, tmp_path: Path) -> None:
    config = CONFIG.with_changes(resize_mode="no", encode_format="png")
    ingest(str(shards), config, tmp_path / "one")
    ingest(str(tmp_path / "one"), config.with_changes(samples_per_shard=2), tmp_path / "two")
    tables = [pq.read_table(tmp_path / "two/shards" / name).to_pylist() for name in ("00000.parquet", "00001.parquet")]
    names = ("uid", "caption", "url", "similarity")
    told = [{name: row[name] for name in names} for table in tables for row in table]
    assert told == [{name: row[name] for name in names} for row in rows(tmp_path / "one")]


def test_a_changed_table_or_shard_is_another_source(shards: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text("url,caption\nhttp://a.example/0.png,new\n")
    config = CONFIG.with_changes(captions_from=str(table))
    ingest(str(shards), config, tmp_path / "ds")
    assert ingest(str(shards), config, tmp_path / "ds").hit
    table.write_text("url,caption\nhttp://a.example/0.png,newer\n")
    with pytest.raises(ConfigError, match="captions_from"):
        ingest(str(shards), config, tmp_path / "ds")
    table.write_text("url,caption\nhttp://a.example/0.png,new\n")
    with tarfile.open(shards / "00001.tar", "w"):
        pass
    with pytest.raises(ConfigError, match="source"):
        ingest(str(shards), config, tmp_path / "ds")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("link,caption\nx,y\n", "no column 'uid' or 'url'; its columns are 'link', 'caption'"),
        ("url,text\nx,y\n", "no column 'caption'; its columns are 'url', 'text'"),
        ("url,caption\n", "is empty"),
    ],
)
def test_a_table_that_cannot_be_joined_says_why(shards: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        ingest(str(shards), CONFIG.with_changes(captions_from=str(tmp_path / "new.csv")), tmp_path / "ds")
    with pytest.raises(ConfigError, match="no such source"):
        ingest(str(shards), CONFIG.with_changes(captions_from=str(tmp_path / "gone.csv")), tmp_path / "ds")


def test_what_a_list_filters_out_is_never_asked_for(site: Any, tmp_path: Path, make_png: MakePng) -> None:
    site.content |= {f"/{number}.png": make_png((number, 0, 0)) for number in range(3)}
    lines = ["url,caption,punsafe"] + [f"{site.url(f'/{number}.png')},c,{number / 10}" for number in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    config = CONFIG.with_changes(filter="punsafe < 0.15", allow_private=("localhost",))
    ref = ingest(str(tmp_path / "list.csv"), config, tmp_path / "ds")
    assert (ref.counts["kept"], ref.counts["rejected:filtered"]) == (2, 1)
    assert "/2.png" not in site.requests
