"""The built-in site through the real ingest and caption steps: every awkward picture gets exactly its own reason."""

from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import caption_scene, make_scene, pick_wording
from t2i_core.samples.site import AwkwardKind, SiteConfig, awkward_cases, serve_site

SITE = SiteConfig(source="scenes", num_pictures=150, image_size=64, slow_seconds=0.2)
INGEST = IngestConfig(
    image_size=64, encode_format="png", samples_per_shard=100, allow_private=("localhost",), retries=0
)
# What the ingest says of each kind; "" is kept, None is never listed as a picture at all.
REASONS: dict[AwkwardKind, str | None] = {
    "robots": "robots",
    "header noai": "opt_out_header",
    "page noai": "opt_out_page",
    "not found": "http_4xx",
    "server error": "http_5xx",
    "truncated": "truncated",
    "html": "not_an_image",
    "tiny": "too_small",
    "huge": "too_many_pixels",
    "duplicate": "",
    "slow": "",
    "redirect": "",
    "decorative": None,
}


def test_every_picture_of_the_site_ends_where_it_should(tmp_path: Path) -> None:
    with serve_site(SITE) as site:
        ref = ingest(site.url, INGEST, tmp_path / "dataset")
    shards = [pq.read_table(path) for path in sorted((tmp_path / "dataset" / "shards").glob("*.parquet"))]
    rows = pa.concat_tables(shards).to_pylist()
    found = {urlsplit(row["url"]).path: row["reason"] for row in rows}
    cases = awkward_cases(SITE)
    expected = {case.path: REASONS[case.kind] for case in cases if REASONS[case.kind] is not None}
    expected |= {f"/pictures/{i}.png": "" for i in range(150)}
    assert found == expected and len(rows) == len(expected)
    assert ref.counts["kept"] + ref.counts["rejected"] == ref.counts["seen"] == len(expected)

    captions = caption(tmp_path / "dataset", CaptionConfig(), tmp_path / "captions")
    assert captions.counts["rejected"] == captions.counts["rejected:duplicate_picture"] == 2
    table = pq.read_table(captions.path / "captions.parquet").to_pylist()
    scenes = [make_scene(SITE.seed, i) for i in range(150)]
    uids = {row["uid"]: int(Path(row["url"]).stem) for row in rows if "/pictures/" in row["url"]}
    good = {uids[row["uid"]]: row for row in table if row["uid"] in uids}
    assert [good[i]["caption"] for i in range(150)] == [
        caption_scene(scene, pick_wording(SITE.seed, i)) for i, scene in enumerate(scenes)
    ]
    assert [good[i]["group"] for i in range(150)] == [scene.combination for scene in scenes]
