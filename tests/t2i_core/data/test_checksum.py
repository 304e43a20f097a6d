import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_core.data.checksum import has_checksum, read_checksum
from t2i_core.data.sources.lists import read_list
from t2i_core.errors import ConfigError
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
CONFIG = IngestConfig(image_size=32, encode_format="png", allow_private=("localhost",), retries=0, hash_column="digest")


def digest(algorithm: str, body: bytes) -> str:
    return hashlib.new(algorithm, body).hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_algorithm_is_told_by_length_or_name(algorithm: str) -> None:
    digits = digest(algorithm, b"picture")
    spellings = [digits, f" {digits.upper()}\n", f"{algorithm.upper()}:{digits}", bytes.fromhex(digits)]
    assert [read_checksum(cell) for cell in spellings] == [f"{algorithm}:{digits}"] * 4
    assert has_checksum(b"picture", f"{algorithm}:{digits}")
    assert not has_checksum(b"another", f"{algorithm}:{digits}")


@pytest.mark.parametrize(
    "cell",
    ["", None, 17, float("nan"), "f" * 31, "g" * 32, "٣" * 32, "md5:" + "f" * 40, "crc:" + "f" * 32, b"", b"x" * 15],
)
def test_anything_else_is_no_checksum(cell: Any) -> None:
    assert read_checksum(cell) == ""


def test_rows_without_a_checksum_are_bad_rows_that_keep_their_url(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"url,caption,md5\nhttp://a,x,{digest('md5', b'')}\nhttp://b,y,\nhttp://c,z,0x1\n")
    found = list(read_list(path, "url", "caption", "md5"))
    assert [(record.url, record.reason) for record in found] == [
        ("http://a", ""),
        ("http://b", "bad_row"),
        ("http://c", "bad_row"),
    ]
    assert found[0].checksum == f"md5:{digest('md5', b'')}"
    assert found[2].detail == "row 3: its hash is none of md5, sha1, sha256, sha512 in hexadecimal"
    assert found[2].extra == {"source_md5": "0x1"}
    with pytest.raises(ConfigError, match=r"no column 'sha'; its columns are 'url', 'caption', 'md5'"):
        list(read_list(path, "url", "caption", "sha"))
    assert [record.checksum for record in read_list(path, "url", "caption")] == ["", "", ""]


def test_pictures_with_other_bytes_are_rejected(site: Any, tmp_path: Path, make_png: Callable[..., bytes]) -> None:
    body = make_png((1, 2, 3))
    site.content |= {f"/{algorithm}.png": body for algorithm in ALGORITHMS}
    site.content |= {"/changed.png": make_png((3, 2, 1)), "/broken.png": b"no picture", "/never.png": body}
    names = [*ALGORITHMS, "changed", "broken", "gone", "never"]
    digests = [digest(algorithm, body) for algorithm in ALGORITHMS]
    digests += [digest("sha256", body), digest("sha256", b"no picture"), digests[0], "none"]
    table = {"url": [site.url(f"/{name}.png") for name in names], "caption": names, "digest": digests}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    ref = ingest(str(tmp_path / "list.parquet"), CONFIG, tmp_path / "ds")
    rows = pq.read_table(tmp_path / "ds/shards/00000.parquet").to_pylist()
    assert {row["caption"]: row["reason"] for row in rows} == {
        **dict.fromkeys(ALGORITHMS, ""),
        "changed": "hash_mismatch",
        "broken": "not_an_image",
        "gone": "http_4xx",
        "never": "bad_row",
    }
    changed = rows[names.index("changed")]
    assert (changed["status"], changed["error_message"]) == ("failed_to_download", "hash mismatch")
    assert (changed["http_status"], changed["digest"]) == (200, digest("sha256", body))
    assert ref.counts["rejected:hash_mismatch"] == 1
    assert "/never.png" not in site.requests


@pytest.mark.parametrize("changes", [{"pages": True}, {}])
def test_only_lists_of_pictures_have_checksums(tmp_path: Path, changes: dict[str, bool]) -> None:
    source = tmp_path / "source.csv" if changes else tmp_path / "pictures"
    source.touch() if changes else source.mkdir()
    with pytest.raises(ConfigError, match="only a list of picture URLs has a hash_column"):
        ingest(str(source), CONFIG.with_changes(**changes), tmp_path / "ds")
    assert not (tmp_path / "ds").exists()
