import hashlib
import io
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shards.layout import ShardLayout, sample_key, sample_uid
from t2i_core.data.shards.reader import check_shard, iter_samples
from t2i_core.data.shards.stats import ShardReport, read_report
from t2i_core.data.shards.writer import ShardWriter, indented_json
from t2i_core.errors import DataError, ShardError
from t2i_core.folders.manifest import OutputFile, StepKey, read_manifest, write_manifest

IMG2DATASET_KEYS = [
    "caption", "url", "key", "status", "error_message", "width", "height", "original_width", "original_height",
    "sha256",
]  # fmt: skip
IMG2DATASET_STATS = [
    "count", "successes", "failed_to_download", "failed_to_resize", "duration", "start_time", "end_time", "status_dict",
]  # fmt: skip


def stored(color: tuple[int, int, int]) -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return Picture(buffer.getvalue(), 8, 8, 16, 16, hashlib.sha256(bytes(color)).hexdigest())


def attempts() -> list[Attempt]:
    found = []
    for number in range(10):
        record = SourceRecord(
            url=f"http://a.example/{number}.png",
            caption=f"picture {number}",
            caption_source="alt",
            page_url="http://a.example/",
            attributes=json.dumps({"group": number}),
            extra={"license": "CC0"} if number % 2 else {},
        )
        if number == 3:
            found.append(
                Attempt(record, Rejection(RejectReason.HTTP_4XX, "HTTP Error 404: Not Found"), 404, record.url)
            )
        elif number == 5:
            found.append(Attempt(record, Rejection(RejectReason.TOO_SMALL), 200, record.url))
        else:
            found.append(Attempt(record, stored((number, 0, 0)), 200, record.url))
    return found


def write_shard(dataset_dir: Path, shard_id: int = 1) -> ShardReport:
    layout = ShardLayout(
        shards_dir=dataset_dir / "shards", samples_per_shard=1000, encode_format="png", extra_columns=("license",)
    )
    with ShardWriter(layout, shard_id, "digest of the part") as writer:
        writer.add(attempts()[:4])
        writer.add(attempts()[4:])
        return writer.finish()


def write_dataset(dataset_dir: Path) -> None:
    report = write_shard(dataset_dir)
    write_manifest(
        dataset_dir,
        kind="dataset",
        key=StepKey(step="ingest", version=1, config={}, inputs={}),
        sources={},
        counts={},
        files=[
            OutputFile(path=f"shards/00001.{ending}", size=written.size, sha256=written.sha256)
            for ending, written in report.files.items()
        ],
    )


@pytest.mark.parametrize(
    ("shard_id", "index", "samples_per_shard", "key"),
    [
        (0, 0, 1000, "00000000"),
        (1, 7, 1000, "00001007"),
        (1, 0, 10_000, "000010000"),
        (3, 1, 2, "000031"),
        (12, 999, 1000, "00012999"),
        (4, 1000, 1001, "000041000"),
        (7, 0, 1, "00007"),
    ],
)
def test_keys_are_img2datasets(shard_id: int, index: int, samples_per_shard: int, key: str) -> None:
    assert sample_key(shard_id, index, samples_per_shard) == key


def test_the_uid_survives_another_spelling_of_the_url() -> None:
    expected = hashlib.sha256(b"http://a.example/b%20c\na caption").hexdigest()[:32]
    assert sample_uid("HTTP://A.example:80/b c#top", "a caption") == expected
    assert sample_uid("http://a.example/b%20c", "another") != expected


def test_members_are_plain_ordered_and_timeless(tmp_path: Path) -> None:
    write_shard(tmp_path)
    with tarfile.open(tmp_path / "shards/00001.tar") as tar:
        members = tar.getmembers()
    kept = [0, 1, 2, 4, 6, 7, 8, 9]
    assert [m.name for m in members] == [f"0000100{n}.{suffix}" for n in kept for suffix in ("json", "png", "txt")]
    facts = {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname, m.type, len(m.pax_headers)) for m in members}
    assert facts == {(0, 0o444, 0, 0, "bigdata", "bigdata", tarfile.REGTYPE, 0)}


def test_the_json_of_a_sample_has_img2datasets_keys_first(tmp_path: Path) -> None:
    write_shard(tmp_path)
    with tarfile.open(tmp_path / "shards/00001.tar") as tar:
        texts = [tar.extractfile(m).read().decode() for m in tar if m.name.endswith(".json")]  # type: ignore[union-attr]
    rows = [json.loads(text) for text in texts]
    assert texts[0] == json.dumps(rows[0], indent=4)
    assert all(list(row) == list(rows[0]) for row in rows)
    assert list(rows[0])[: 1 + len(IMG2DATASET_KEYS)] == ["license", *IMG2DATASET_KEYS]
    types = [{key: type(value) for key, value in row.items()} for row in rows]
    assert all(each == types[0] for each in types)
    assert json.loads(rows[1]["attributes"]) == {"group": 1}


def test_the_table_has_a_row_for_every_source_in_order(tmp_path: Path) -> None:
    report = write_shard(tmp_path)
    table = pq.read_table(tmp_path / "shards/00001.parquet")
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == [f"0000100{number}" for number in range(10)]
    assert [row["url"] for row in rows] == [f"http://a.example/{number}.png" for number in range(10)]
    assert [row["license"] for row in rows] == ["", "CC0"] * 5
    lost = [(row["status"], row["error_message"], row["reason"], row["http_status"]) for row in (rows[3], rows[5])]
    assert lost == [
        ("failed_to_download", "HTTP Error 404: Not Found", "http_4xx", 404),
        ("failed_to_resize", "image too small", "too_small", 200),
    ]
    assert (rows[3]["width"], rows[0]["width"], rows[0]["original_width"]) == (None, 8, 16)
    assert {str(table.schema.field(name).type) for name in ("width", "height", "original_width")} == {"int32"}
    assert (report.seen, report.kept, report.rejected) == (10, 8, {"http_4xx": 1, "too_small": 1})


def test_statistics_are_img2datasets_and_add_up(tmp_path: Path) -> None:
    write_shard(tmp_path)
    stats = json.loads((tmp_path / "shards/00001_stats.json").read_text())
    assert list(stats)[: len(IMG2DATASET_STATS)] == IMG2DATASET_STATS
    assert (stats["count"], stats["successes"]) == (10, 8)
    assert stats["status_dict"] == {"success": 8, "HTTP Error 404: Not Found": 1, "image too small": 1}
    assert stats["failed_to_download"] + stats["failed_to_resize"] + stats["successes"] == stats["count"]


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    write_shard(tmp_path / "a")
    write_shard(tmp_path / "b")
    for name in ("00001.tar", "00001.parquet"):
        assert (tmp_path / "a/shards" / name).read_bytes() == (tmp_path / "b/shards" / name).read_bytes()


def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    write_shard(tmp_path)
    samples = list(webdataset.WebDataset(str(tmp_path / "shards/00001.tar"), shardshuffle=False))
    assert len(samples) == 8
    assert {frozenset(name for name in sample if not name.startswith("__")) for sample in samples} == {
        frozenset({"json", "png", "txt"})
    }
    assert samples[1]["__key__"] == "00001001"
    assert samples[1]["txt"] == b"picture 1"
    assert samples[1]["png"] == stored((1, 0, 0)).data


def test_nothing_is_seen_of_a_shard_that_was_not_finished(tmp_path: Path) -> None:
    layout = ShardLayout(shards_dir=tmp_path, samples_per_shard=10, encode_format="png", extra_columns=())
    with pytest.raises(KeyboardInterrupt), ShardWriter(layout, 0, "") as writer:
        writer.add(attempts())
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    assert read_report(tmp_path, 0) is None


def test_a_report_counts_only_while_its_files_are_whole(tmp_path: Path) -> None:
    written = write_shard(tmp_path)
    assert read_report(tmp_path / "shards", 1) == written.with_changes(hit=True)
    table = tmp_path / "shards/00001.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert read_report(tmp_path / "shards", 1) is None
    (tmp_path / "shards/00001_stats.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        read_report(tmp_path / "shards", 1)


def test_samples_come_back_as_written(tmp_path: Path) -> None:
    write_shard(tmp_path)
    samples = list(iter_samples(tmp_path / "shards/00001.tar"))
    assert [sample.key for sample in samples] == [f"0000100{number}" for number in (0, 1, 2, 4, 6, 7, 8, 9)]
    assert (samples[3].caption, samples[3].picture_format) == ("picture 4", "png")
    assert samples[3].picture == stored((4, 0, 0)).data
    assert samples[3].metadata["uid"] == sample_uid("http://a.example/4.png", "picture 4")


def test_a_whole_shard_passes(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    check_shard(tmp_path, read_manifest(tmp_path), 1)


# Each sample takes 512 + 1024 bytes of JSON, 512 + 512 of picture and 512 + 512 of text.
SAMPLE_BYTES = 3584


@pytest.mark.parametrize(
    ("cut_to", "flip_at", "num_lost"),
    [
        (0, None, 8),
        (100, None, 8),
        (SAMPLE_BYTES * 3, None, 5),
        (SAMPLE_BYTES * 3 + 700, None, 5),
        (None, SAMPLE_BYTES * 2 + 512 + 40, 1),
        (None, SAMPLE_BYTES * 2 + 512 + 1024 + 512 + 20, 1),
        (None, SAMPLE_BYTES * 5 - 512 + 2, 1),
    ],
)
def test_a_damaged_shard_says_how_many_samples_are_lost(
    tmp_path: Path, cut_to: int | None, flip_at: int | None, num_lost: int
) -> None:
    write_dataset(tmp_path)
    path = tmp_path / "shards/00001.tar"
    body = bytearray(path.read_bytes()[:cut_to])
    if flip_at is not None:
        body[flip_at] ^= 0xFF
    path.write_bytes(body)
    with pytest.raises(ShardError, match=rf"00001\.tar is damaged: {num_lost} of its 8 samples are lost") as caught:
        check_shard(tmp_path, read_manifest(tmp_path), 1)
    assert (caught.value.num_lost, caught.value.path) == (num_lost, str(path))


@pytest.mark.parametrize("name", ["00001.tar", "00001.parquet"])
def test_a_missing_file_loses_all_samples(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path)
    (tmp_path / "shards" / name).unlink()
    with pytest.raises(ShardError, match="00001") as caught:
        check_shard(tmp_path, read_manifest(tmp_path), 1)
    assert caught.value.num_lost == 8


def tar_of(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """Write a tar of files (bytes) and of links and devices (the type's digit)."""
    with tarfile.open(path, "w") as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            if isinstance(body, bytes):
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
            else:
                info.type, info.linkname = body.encode(), "/etc/passwd"
                tar.addfile(info)
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("0.png", "2")],
        [("0.png", "1")],
        [("0.png", "3")],
        [("../0.png", b"x")],
        [("/0.png", b"x")],
        [("name.png", b"x")],
        [("0.png", b"x"), ("0.png", b"y")],
        [("0.png", b"x"), ("1.png", b"y"), ("0.txt", b"z")],
        [("0.txt", b"no picture")],
        [("0.png", b"x"), ("0.json", b"{")],
        [("0.png", b"x"), ("0.json", b"[]")],
        [("0.png", b"x"), ("0.txt", b"\xff")],
    ],
)
def test_foreign_members_are_refused(tmp_path: Path, members: list[tuple[str, bytes | str]]) -> None:
    path = tar_of(tmp_path / "0.tar", *members)
    with pytest.raises(DataError, match=r"0\.tar"):
        list(iter_samples(path))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NESTED = st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(), PLAIN, max_size=3)


@given(st.dictionaries(st.text(), PLAIN | NESTED))
def test_the_json_of_a_sample_is_what_python_writes(cells: dict[str, object]) -> None:
    assert indented_json(cells) == json.dumps(cells, indent=4)
