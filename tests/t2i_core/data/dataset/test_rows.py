"""What a row says beside the picture: signals, the source's kind, the time of its fetch, and boxes to hide."""

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.reader import iter_samples
from t2i_core.errors import ConfigError, DataError
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.retry import retry_ingest
from t2i_core.ingestion.step import ingest
from t2i_core.lineage.ancestors import trace, training_samples

CONFIG = IngestConfig(image_size=32, encode_format="png", samples_per_shard=10, allow_private=("localhost",), retries=0)
MakePng = Callable[..., bytes]


def rows(dataset_dir: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(dataset_dir.glob("shards/*.parquet")) for row in pq.read_table(path).to_pylist()]


def times(dataset_dir: Path) -> list[int | None]:
    found: list[int | None] = json.loads((dataset_dir / "shards/00000_stats.json").read_bytes())["fetched_at"]
    return found


@pytest.fixture
def source(site: Any, make_png: MakePng, tmp_path: Path) -> str:
    """A good picture, one with signals that allow it, two that are opted out, one forbidden, one missing."""
    names = ["/good.png", "/told.png", "/noai.png", "/tdm.png", "/private/x.png", "/missing.png"]
    site.content |= {name: make_png((n * 20, 0, 0)) for n, name in enumerate(names[:-1])}
    site.content["/robots.txt"] = "User-agent: *\nDisallow: /private/\n"
    site.headers |= {
        "/told.png": {
            "X-Robots-Tag": "nosnippet, max-image-preview: large, unavailable_after: Fri, 25 Jun 2010 15:00:00 PST"
        },
        "/noai.png": {"X-Robots-Tag": "NoImageAI, noai"},
        "/tdm.png": {"tdm-reservation": "1"},
    }
    (tmp_path / "list.txt").write_text("".join(f"{site.url(name)}\n" for name in names))
    return str(tmp_path / "list.txt")


def test_rows_say_what_was_signalled_and_what_the_source_was(source: str, tmp_path: Path) -> None:
    ingest(source, CONFIG, tmp_path / "ds")
    table = rows(tmp_path / "ds")
    assert [(row["reason"], row["signals"]) for row in table] == [
        ("", ""),
        ("", "max-image-preview: large,nosnippet"),
        ("opt_out_header", "noai,noimageai"),
        ("tdm_reserved", "tdm-reservation: 1"),
        ("robots", ""),
        ("http_4xx", ""),
    ]
    facts = [(row["original_format"], row["original_mode"], row["frames"]) for row in table]
    assert facts == [("PNG", "RGB", 1)] * 2 + [(None, None, None)] * 4
    assert [len(row["phash"] or "") for row in table] == [16, 16, 0, 0, 0, 0]
    assert [len(row["color_grid"] or "") for row in table] == [96, 96, 0, 0, 0, 0]
    (first, _) = iter_samples(tmp_path / "ds/shards/00000.tar")
    assert first.metadata["phash"] == table[0]["phash"] and not {"fetched_at", "color_grid"} & set(first.metadata)
    schema = pq.read_schema(tmp_path / "ds/shards/00000.parquet")
    assert (str(schema.field("frames").type), "fetched_at" in schema.names) == ("int32", False)


def test_a_url_that_was_refused_before_has_the_signals_of_that_answer(site: Any, source: str, tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("url,caption\n" + "".join(f"{site.url('/noai.png')},text {n}\n" for n in range(3)))
    with pytest.raises(DataError, match="nothing was kept"):
        ingest(str(path), CONFIG.with_changes(connections_per_host=1), tmp_path / "ds")
    assert [row["signals"] for row in rows(tmp_path / "ds")] == ["noai,noimageai"] * 3
    assert site.requests.count("/noai.png") == 1


def test_the_time_of_each_fetch_is_beside_the_rows_and_does_not_change_them(source: str, tmp_path: Path) -> None:
    before = int(time())
    ref = ingest(source, CONFIG, tmp_path / "a")
    found = times(tmp_path / "a")
    assert [when is not None for when in found] == [True, True, True, True, False, True]
    assert all(before <= when <= time() for when in found if when is not None)
    stats = tmp_path / "a/shards/00000_stats.json"
    stats.write_text(stats.read_text().replace(str(found[0]), "1000000000"))
    moved = ingest(source, CONFIG, tmp_path / "b")
    assert moved.digest == ref.digest


def test_times_stay_when_shards_are_rewritten(site: Any, make_png: MakePng, source: str, tmp_path: Path) -> None:
    folder = tmp_path / "ds"
    ingest(source, CONFIG, folder)
    stats = folder / "shards/00000_stats.json"
    noted = json.loads(stats.read_bytes())
    noted["fetched_at"] = [1_000_000_000, 1_000_000_001, 5, 6, None, 7]
    stats.write_text(json.dumps(noted))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    entry = next(file for file in manifest["files"] if file["path"].endswith("_stats.json"))
    entry |= {"size": stats.stat().st_size, "sha256": hashlib.sha256(stats.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    site.content["/missing.png"] = make_png((1, 2, 3))
    before = int(time())
    retry_ingest(source, CONFIG, folder, {RejectReason.HTTP_4XX})
    *old, new = times(folder)
    assert old == [1_000_000_000, 1_000_000_001, 5, 6, None]
    assert new is not None and new >= before
    purge(folder, PurgeRequest.parse(urls=[site.url("/good.png")]))
    assert times(folder) == [None, 1_000_000_001, 5, 6, None, new]

    samples = list(training_samples(trace(folder)))
    assert [sample.fetched_at for sample in samples] == [
        "2001-09-09T01:46:41Z", datetime.fromtimestamp(new, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ]  # fmt: skip
    stats.write_text(json.dumps(json.loads(stats.read_bytes()) | {"fetched_at": [1]}))
    with pytest.raises(DataError, match="is damaged"):
        list(training_samples(trace(folder)))


# ---------------------------------------------------------------------------------------------------------------- boxes


@pytest.fixture
def noisy(site: Any) -> Any:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    site.content["/noise.png"] = buffer.getvalue()
    return site


def contrasts(dataset_dir: Path) -> dict[str, float]:
    """How much neighbouring pixels of each sample differ."""
    found = {}
    for sample in iter_samples(dataset_dir / "shards/00000.tar"):
        with Image.open(io.BytesIO(sample.picture)) as image:
            found[sample.caption] = float(np.abs(np.diff(np.asarray(image).astype(int), axis=1)).mean())
    return found


def test_boxes_come_from_a_column_and_a_bad_one_costs_the_picture(noisy: Any, tmp_path: Path) -> None:
    url, path = noisy.url("/noise.png"), tmp_path / "list.jsonl"
    lines: list[dict[str, Any]] = [
        {"url": url, "caption": "none", "faces": []},
        {"url": url, "caption": "all", "faces": [[0, 0, 1, 1]]},
        {"url": url, "caption": "as text", "faces": "[[0, 0, 1, 1]]"},
        {"url": url, "caption": "empty", "faces": None},
        {"url": url, "caption": "in pixels", "faces": [[0, 0, 64, 64]]},
        {"url": url, "caption": "nothing said"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    config = CONFIG.with_changes(blur_column="faces")
    ingest(str(path), config, tmp_path / "ds")
    assert [row["reason"] for row in rows(tmp_path / "ds")] == ["", "", "", "", "bad_boxes", "bad_boxes"]
    found = contrasts(tmp_path / "ds")
    assert found["none"] == found["empty"] > 10 * found["all"] and found["all"] == found["as text"]
    again = ingest(str(tmp_path / "ds"), config.with_changes(samples_per_shard=8), tmp_path / "again")
    assert again.counts["kept"] == 4


def test_boxes_come_as_parquet_has_them(noisy: Any, tmp_path: Path) -> None:
    boxes = [[], [[0.0, 0.0, 1.0, 1.0]], None]
    table = pa.table(
        {"url": [noisy.url("/noise.png")] * 3, "caption": ["a", "b", "c"], "reason": boxes},
        schema=pa.schema(
            [("url", pa.string()), ("caption", pa.string()), ("reason", pa.list_(pa.list_(pa.float64())))]
        ),
    )
    pq.write_table(table, tmp_path / "list.parquet")
    # A name that the shards use themselves is another one there, and found all the same.
    ingest(str(tmp_path / "list.parquet"), CONFIG.with_changes(blur_column="reason"), tmp_path / "ds")
    assert [row["source_reason"] for row in rows(tmp_path / "ds")] == ["[]", "[[0.0, 0.0, 1.0, 1.0]]", ""]
    found = contrasts(tmp_path / "ds")
    assert found["a"] == found["c"] > 10 * found["b"]


def test_a_column_of_boxes_must_be_there(noisy: Any, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"url,caption\n{noisy.url('/noise.png')},x\n")
    with pytest.raises(ConfigError, match="no column 'faces'"):
        ingest(str(tmp_path / "list.csv"), CONFIG.with_changes(blur_column="faces"), tmp_path / "ds")
    with pytest.raises(ConfigError, match="have a blur_column"):
        ingest(noisy.url("/"), CONFIG.with_changes(blur_column="faces"), tmp_path / "ds")


def test_colours_are_checked() -> None:
    for wrong in ("white", "#fff", "#GG0000", "#ffffff\n"):
        with pytest.raises(ConfigError, match="background"):
            IngestConfig.parse({"background": wrong})
