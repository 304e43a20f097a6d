"""The built-in site over four nights: what was asked and what is kept is what changed, and no more."""

import json
from pathlib import Path
from typing import Any

from yarl import URL

from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.history import read_opt_outs
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.data.shards.reader import stored_rows
from t2i_core.data.shards.versions import held_versions, read_log
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.nights import SECOND_HOST
from t2i_core.samples.site import SiteConfig, serve_site
from t2i_core.samples.truth import closed, denied, due, news, night_of, requests_in, sent_in

SITE = SiteConfig(num_pictures=120, image_size=16, slow_seconds=0.0, night=0)
CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=50, allow_private=("localhost",), retries=0)


def samples(dataset: Path) -> dict[str, Any]:
    found = {}
    for shard_id in files_by_shard(read_manifest(dataset, "dataset")):
        for row, members in stored_rows(dataset / SHARDS_DIR, shard_id):
            if members:
                told = json.loads(members["json"])
                found[row["uid"]] = ({name: told[name] for name in told if name != "key"}, members["png"])
    return found


def pictures_of(host: str, dataset: Path) -> set[str]:
    return {told["url"] for told, _ in samples(dataset).values() if URL(told["url"]).host == host}


def looked_at(dataset: Path, night: int, port: int, log: Path) -> tuple[StepRef, int]:
    """Refresh in one night, hold what was asked against the truth, and give the port."""
    log.unlink(missing_ok=True)
    site = SITE.with_changes(night=night, port=port, request_log=str(log))
    is_first = not dataset.exists()
    with serve_site(site) as running:
        ref = ingest(running.url, CONFIG, dataset, refresh=True)
    asked = requests_in(log)
    assert asked == due(site, holds_earlier=not is_first) and not asked.keys() & denied(site)
    if not is_first or night == 0:
        assert sent_in(log, site) == news(site)
    return ref, URL(running.url).port or 0


def test_each_night_costs_what_changed_and_ends_where_one_ingest_would(tmp_path: Path) -> None:
    dataset, log = tmp_path / "ds", tmp_path / "requests.txt"
    truth = night_of(SITE.with_changes(night=3))
    first, port = looked_at(dataset, 0, 0, log)
    assert first.counts["kept"] >= SITE.num_pictures

    second, _ = looked_at(dataset, 1, port, log)
    counts = {name: second.counts[f"refresh:{name}"] for name in ("added", "changed", "removed", "opted_out")}
    assert counts == {"added": 6, "changed": len(truth.changed), "removed": len(truth.removed), "opted_out": 0}

    third, _ = looked_at(dataset, 2, port, log)
    gone = closed(SITE.with_changes(night=2))
    assert third.counts["refresh:opted_out"] == len(gone) == len(read_opt_outs(dataset)) == 12
    assert read_log(dataset)[-1].removed == {"robots": 11} and read_log(dataset)[-1].erased == 1
    assert not any(pictures_of(SECOND_HOST, folder) for folder in held_versions(dataset).values())
    assert {line for line in log.read_text().splitlines() if line.startswith(SECOND_HOST)} == {
        f"{SECOND_HOST}:{port} /robots.txt 200"
    }
    # The second page, with what stands on it beside good pictures, has another address.
    assert third.counts["refresh:restated"] >= 20 - 2

    fourth, _ = looked_at(dataset, 3, port, log)
    assert fourth.hit and fourth.digest == third.digest
    assert [version.number for version in read_log(dataset)] == [1, 2, 3]

    at_once, *_ = looked_at(tmp_path / "at_once", 3, port, log)
    assert samples(dataset) == samples(tmp_path / "at_once")
    assert at_once.counts["kept"] == fourth.counts["kept"]
