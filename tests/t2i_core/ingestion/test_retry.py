import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.verify import verify
from t2i_core.data.reject import RejectReason
from t2i_core.errors import ConfigError, ShardError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.retry import parse_reasons, retry_ingest
from t2i_core.ingestion.step import ingest
from t2i_core.progress import Progress

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4, allow_private=("localhost",), retries=0)
RULES = {"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"}
NAMES = [f"/{n}.png" for n in range(8)] + ["/busy.png", "/slow.png", "/refused.png", "/9.png", "/busy.png"]
MakePng = Callable[..., bytes]


def shard_bytes(dataset_dir: Path) -> dict[str, bytes]:
    paths = [*dataset_dir.glob("shards/*.tar"), *dataset_dir.glob("shards/*.parquet")]
    return {path.name: path.read_bytes() for path in sorted(paths)}


def reasons_of(dataset_dir: Path) -> dict[str, str]:
    paths = sorted(dataset_dir.glob("shards/*.parquet"))
    return {row["key"]: row["reason"] for path in paths for row in pq.read_table(path).to_pylist() if row["reason"]}


@pytest.fixture
def source(site: Any, make_png: MakePng, tmp_path: Path) -> str:
    """Thirteen rows in four shards: the second shard is all good, the third holds most of what failed."""
    site.content |= {name: make_png((number * 20, 0, 0)) for number, name in enumerate(NAMES)}
    site.content |= {"/0.png": 503, "/busy.png": 429, "/slow.png": 503, "/refused.png": make_png((1, 2, 3))}
    site.headers["/refused.png"] = {"X-Robots-Tag": "noai"}
    path = tmp_path / "list.csv"
    path.write_text("url,caption,note\n" + "".join(f"{site.url(name)},about {name},n\n" for name in NAMES))
    return str(path)


def recover(site: Any, make_png: MakePng, *names: str) -> None:
    site.content |= {name: make_png((NAMES.index(name) * 20, 0, 0)) for name in names}


def requests_noted(dataset_dir: Path) -> int:
    return sum(entry["requests"] for entry in json.loads((dataset_dir / "hosts.json").read_bytes())["hosts"])


def test_only_the_named_reasons_are_asked_for_again(site: Any, make_png: MakePng, source: str, tmp_path: Path) -> None:
    dataset = tmp_path / "ds"
    first = ingest(source, CONFIG, dataset)
    assert reasons_of(dataset) == {
        "000000": "http_5xx", "000020": "http_429", "000021": "http_5xx", "000022": "opt_out_header",
        "000030": "duplicate_url",
    }  # fmt: skip
    before = shard_bytes(dataset)
    recover(site, make_png, "/0.png", "/busy.png", "/slow.png")
    site.requests.clear()
    asked_before = requests_noted(dataset)
    told: list[Progress] = []
    second = retry_ingest(source, CONFIG, dataset, parse_reasons("http_429"), on_progress=told.append)
    assert [name for name in site.requests if name not in RULES] == ["/busy.png"]
    assert requests_noted(dataset) == asked_before + len(site.requests)
    assert reasons_of(dataset).keys() == {"000000", "000021", "000022", "000030"}
    after = shard_bytes(dataset)
    assert {name for name in after if after[name] != before[name]} == {"00002.tar", "00002.parquet"}
    assert (second.counts["kept"], second.counts["rejected"]) == (first.counts["kept"] + 1, 4)
    assert "rejected:http_429" not in second.counts
    assert second.digest == read_manifest(dataset).digest != first.digest
    assert (told[-1].done, told[-1].total) == (1, 1)
    assert not verify(dataset).damaged


def test_the_result_is_what_a_lucky_run_would_have_given(
    site: Any, make_png: MakePng, source: str, tmp_path: Path
) -> None:
    ingest(source, CONFIG, tmp_path / "ds")
    recover(site, make_png, "/0.png", "/busy.png", "/slow.png")
    retried = retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("http_5xx, HTTP_429"))
    lucky = ingest(source, CONFIG, tmp_path / "lucky")
    assert shard_bytes(tmp_path / "ds") == shard_bytes(tmp_path / "lucky")
    assert (retried.digest, retried.counts) == (lucky.digest, lucky.counts)
    site.requests.clear()
    assert ingest(source, CONFIG, tmp_path / "ds").hit
    assert retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("http_5xx")).hit
    assert site.requests == []


def test_what_fails_again_leaves_the_same_bytes(source: str, tmp_path: Path) -> None:
    first = ingest(source, CONFIG, tmp_path / "ds")
    before = shard_bytes(tmp_path / "ds")
    again = retry_ingest(source, CONFIG.with_changes(timeout_seconds=5), tmp_path / "ds", parse_reasons("http_5xx"))
    assert shard_bytes(tmp_path / "ds") == before
    assert (again.digest, again.counts) == (first.digest, first.counts)


def test_what_was_purged_is_not_asked_for(site: Any, make_png: MakePng, source: str, tmp_path: Path) -> None:
    ingest(source, CONFIG, tmp_path / "ds")
    purge(tmp_path / "ds", PurgeRequest.parse(urls=[site.url("/slow.png")]))
    recover(site, make_png, "/0.png", "/slow.png")
    site.requests.clear()
    retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("http_5xx"))
    assert [name for name in site.requests if name not in RULES] == ["/0.png"]
    assert reasons_of(tmp_path / "ds")["000021"] == "purged"


def test_a_damaged_shard_stops_it_before_anything_changes(site: Any, source: str, tmp_path: Path) -> None:
    ingest(source, CONFIG, tmp_path / "ds")
    tar = tmp_path / "ds/shards/00002.tar"
    body = bytearray(tar.read_bytes())
    body[600] ^= 1
    tar.write_bytes(bytes(body))
    site.requests.clear()
    with pytest.raises(ShardError, match=r"00002\.tar has other bytes.*verify --repair"):
        retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("http_429"))
    assert tar.read_bytes() == bytes(body)
    assert site.requests == []


def test_only_a_data_set_finished_with_these_options_is_retried(source: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without --retry"):
        retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("dns"))
    assert not (tmp_path / "ds").exists()
    ingest(source, CONFIG, tmp_path / "ds")
    with pytest.raises(ConfigError, match="without --retry"):
        retry_ingest(source, CONFIG.with_changes(image_size=8), tmp_path / "ds", parse_reasons("dns"))
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ConfigError, match="not fetched"):
        retry_ingest(str(tmp_path / "pictures"), CONFIG, tmp_path / "ds", parse_reasons("dns"))


@pytest.mark.parametrize("text", ["weather", "robots", "dns,purged", "", " , "])
def test_reasons_that_are_unknown_or_final_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="choose of robots_unavailable, dns, connect, tls, timeout, host_unreachable"):
        parse_reasons(text)


def test_reasons_are_read() -> None:
    assert parse_reasons("timeout, DNS") == {RejectReason.TIMEOUT, RejectReason.DNS}
