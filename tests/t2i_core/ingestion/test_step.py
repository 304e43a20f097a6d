import asyncio
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.reader import check_shard, iter_samples
from t2i_core.errors import ConfigError, DataError, TransientError
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion import planning as plan_module
from t2i_core.ingestion.config import IngestConfig, IngestRequest, ingest_key
from t2i_core.ingestion.step import finish_ingest, ingest, ingest_shard, plan_ingest
from t2i_core.progress import Progress

CONFIG = IngestConfig(
    image_size=32, encode_format="png", samples_per_shard=5, allow_private=("localhost",), retries=1, timeout_seconds=2
)
MakePng = Callable[..., bytes]


def rows(dataset_dir: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(dataset_dir.glob("shards/*.parquet")) for row in pq.read_table(path).to_pylist()]


def outputs(dataset_dir: Path) -> dict[str, bytes]:
    paths = sorted([*dataset_dir.glob("shards/*.tar"), *dataset_dir.glob("shards/*.parquet")])
    return {path.name: path.read_bytes() for path in paths}


def samples_of(dataset_dir: Path) -> list[tuple[str, str]]:
    tars = sorted(dataset_dir.glob("shards/*.tar"))
    return [(sample.key, sample.caption) for tar in tars for sample in iter_samples(tar)]


def url_list(site: Any, path: Path, names: list[str]) -> str:
    path.write_text("url,caption\n" + "".join(f"{site.url(f'/{name}')},caption of {name}\n" for name in names))
    return str(path)


@pytest.fixture
def gallery(site: Any, make_png: MakePng) -> Any:
    """Twelve good pictures on two pages, and every awkward case beside them."""

    async def late(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(body=make_png((9, 9, 9)), content_type="image/png")

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(60)
        return response

    site.content |= {f"/good{n}.png": make_png((n * 20, 0, 0)) for n in range(12)}
    site.content |= {
        "/robots.txt": "User-agent: *\nDisallow: /private/\n",
        "/good0.png": late,
        "/private/x.png": make_png((1, 1, 1)),
        "/noai.png": make_png((1, 1, 1)),
        "/cut.png": make_png((1, 1, 1), (300, 300))[:-60],
        "/tiny.png": make_png((1, 1, 1), (2, 2)),
        "/wide.png": make_png((1, 1, 1), (200, 20)),
        "/text.png": b"<html>not a picture</html>",
        "/drip.png": drip,
        "/broken.png": 500,
        "/moved.png": 301,
    }
    site.headers |= {"/noai.png": {"X-Robots-Tag": "noai"}, "/moved.png": {"Location": "/good1.png"}}
    bad = ["private/x", "noai", "cut", "tiny", "wide", "text", "missing", "drip", "broken", "moved"]
    first = "".join(f"<img src=/good{n}.png alt='picture {n}' data-group=g{n}>" for n in range(6))
    second = "".join(f"<img src=/good{n}.png alt='picture {n}' data-group=g{n}>" for n in range(6, 12))
    awkward = "".join(f"<img src='/{name}.png' alt='{name}'>" for name in bad)
    site.content |= {
        "/": f"{first}<a href=/more>more</a><a href=/optout>out</a>",
        "/more": f"{second}<img src=/good1.png alt='picture 1' data-group=g1>{awkward}",
        "/optout": "<meta name=robots content=noai><img src=/good2.png alt=kept-out>",
    }
    return site


BAD = {
    "duplicate_url": 1,
    "robots": 1,
    "opt_out_header": 1,
    "opt_out_page": 1,
    "truncated": 1,
    "too_small": 1,
    "bad_aspect": 1,
    "not_an_image": 1,
    "http_4xx": 1,
    "timeout": 1,
    "http_5xx": 1,
}


def counted(ref: StepRef) -> dict[str, int]:
    prefix = "rejected:"
    return {name.removeprefix(prefix): n for name, n in ref.counts.items() if name.startswith(prefix)}


def test_a_site_becomes_a_data_set_with_every_reject_accounted_for(gallery: Any, tmp_path: Path) -> None:
    config = CONFIG.with_changes(timeout_seconds=0.5, retries=0)
    told: list[Progress] = []
    ref = ingest(gallery.url("/"), config, tmp_path / "ds", on_progress=told.append)
    assert counted(ref) == BAD
    assert (ref.counts["seen"], ref.counts["kept"], ref.counts["rejected"]) == (24, 13, 11)
    assert (ref.counts["pages"], ref.counts["shards"], ref.hit) == (3, 5, False)
    assert (told[-1].done, told[-1].total, told[-1].fields["kept"]) == (24, 24, 13)
    table = rows(tmp_path / "ds")
    assert [row["caption"] for row in table][:7] == [f"picture {n}" for n in range(7)]
    assert [row["reason"] == "" for row in table] == [row["status"] == "success" for row in table]
    moved = next(row for row in table if row["caption"] == "moved")
    assert (moved["final_url"], moved["url"]) == (gallery.url("/good1.png"), gallery.url("/moved.png"))
    assert (table[3]["attributes"], table[3]["page_url"]) == ('{"group":"g3"}', gallery.url("/"))
    assert (table[3]["caption_source"], table[3]["http_status"], table[3]["width"]) == ("alt", 200, 32)
    assert len(samples_of(tmp_path / "ds")) == 13
    for shard_id in range(5):
        check_shard(tmp_path / "ds", read_manifest(tmp_path / "ds"), shard_id)
    assert gallery.requests.count("/private/x.png") == 0
    assert gallery.requests.count("/noai.png") == 1
    assert gallery.requests.count("/robots.txt") == 1


def test_two_runs_give_the_same_bytes_and_a_second_run_asks_nothing(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", [f"good{n}.png" for n in range(12)] + ["missing.png", "tiny.png"])
    first = ingest(source, CONFIG, tmp_path / "a")
    second = ingest(source, CONFIG.with_changes(connections=1, timeout_seconds=3), tmp_path / "b")
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
    assert first.digest == second.digest
    gallery.requests.clear()
    third = ingest(source, CONFIG, tmp_path / "a")
    assert (third.hit, third.digest, third.counts) == (True, first.digest, first.counts)
    assert gallery.requests == []


@pytest.mark.parametrize("ending", [".tar", ".parquet", "_stats.json"])
def test_deleting_an_output_makes_only_that_shard_again(gallery: Any, tmp_path: Path, ending: str) -> None:
    first = ingest(
        gallery.url("/more"), CONFIG.with_changes(max_depth=0, timeout_seconds=0.5, retries=0), tmp_path / "ds"
    )
    before = outputs(tmp_path / "ds")
    (tmp_path / f"ds/shards/00001{ending}").unlink()
    gallery.requests.clear()
    again = ingest(
        gallery.url("/more"), CONFIG.with_changes(max_depth=0, timeout_seconds=0.5, retries=0), tmp_path / "ds"
    )
    assert (again.hit, again.digest) == (False, first.digest)
    assert outputs(tmp_path / "ds") == before
    rules = {"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"}
    assert set(gallery.requests) == rules | {"/good11.png", "/good1.png", "/noai.png", "/cut.png"}


def test_shards_can_be_made_one_by_one_in_any_order(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", [f"good{n}.png" for n in range(12)])
    whole = ingest(source, CONFIG, tmp_path / "whole")
    plan = plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=tmp_path / "single"))
    assert (plan.num_shards, plan.num_records, plan.hit) == (3, 12, None)
    with pytest.raises(DataError, match="not finished"):
        finish_ingest(plan)
    reports = [ingest_shard(plan, shard_id) for shard_id in (2, 0, 1)]
    assert [(report.seen, report.kept, report.hit) for report in reports] == [
        (2, 2, False),
        (5, 5, False),
        (5, 5, False),
    ]
    assert ingest_shard(plan, 0).hit
    assert finish_ingest(plan).digest == whole.digest
    assert plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=tmp_path / "single")).hit is not None


def test_a_plan_can_be_carried_out_from_another_working_folder(
    tmp_path: Path, make_png: MakePng, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(make_png((1, 2, 3)))
    (tmp_path / "denied.txt").write_text("bad.example\n")
    monkeypatch.chdir(tmp_path)
    plan = plan_ingest(
        IngestRequest(source="pictures", config=CONFIG.with_changes(deny_list="denied.txt"), output_dir=Path("ds"))
    )
    anywhere = plan.from_anywhere()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ingest_shard(anywhere, 0).kept == 1
    with pytest.raises(DataError, match="a disk that this worker does not see"):
        ingest_shard(plan, 0)


def test_every_list_and_a_folder_give_the_same_pictures(gallery: Any, tmp_path: Path, make_png: MakePng) -> None:
    names = [f"good{n}.png" for n in range(1, 4)]
    source = url_list(gallery, tmp_path / "list.csv", names)
    ingest(source, CONFIG, tmp_path / "from-list")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(names, start=1):
        (folder / name).write_bytes(make_png((number * 20, 0, 0)))
        (folder / name).with_suffix(".txt").write_text(f"caption of {name}")
    (folder / "bad.png").write_bytes(b"nothing")
    ref = ingest(str(folder), CONFIG, tmp_path / "from-folder")
    assert counted(ref) == {"not_an_image": 1}
    listed, local = (
        [(s.picture, s.caption) for tar in sorted((tmp_path / name).glob("shards/*.tar")) for s in iter_samples(tar)]
        for name in ("from-list", "from-folder")
    )
    assert listed == local


def test_a_data_set_can_be_the_source_of_another(gallery: Any, tmp_path: Path) -> None:
    ingest(gallery.url("/"), CONFIG.with_changes(max_depth=0), tmp_path / "first")
    gallery.requests.clear()
    ref = ingest(str(tmp_path / "first"), CONFIG.with_changes(samples_per_shard=4), tmp_path / "second")
    assert gallery.requests == []
    assert (ref.counts["kept"], ref.counts["shards"]) == (6, 2)
    old, new = rows(tmp_path / "first"), rows(tmp_path / "second")
    for name in ("uid", "url", "caption", "attributes", "page_url", "caption_source"):
        assert [row[name] for row in old] == [row[name] for row in new]


def test_a_list_of_pages_is_read(gallery: Any, tmp_path: Path) -> None:
    path = tmp_path / "pages.txt"
    path.write_text(gallery.url("/") + "\n" + gallery.url("/optout") + "\n")
    ref = ingest(str(path), CONFIG.with_changes(pages=True, max_depth=0), tmp_path / "ds")
    assert (ref.counts["pages"], ref.counts["kept"], counted(ref)) == (2, 6, {"opt_out_page": 1})


def test_extra_columns_pass_through(gallery: Any, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    lines = [{"link": gallery.url("/good1.png"), "text": "one", "license": "CC0"}, {"link": "ftp://x", "text": "two"}]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    ingest(str(path), CONFIG.with_changes(url_column="link", caption_column="text"), tmp_path / "ds")
    assert [(row["license"], row["reason"]) for row in rows(tmp_path / "ds")] == [("CC0", ""), ("", "bad_scheme")]


def test_planning_a_list_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SECONDS_BETWEEN_REPORTS", 0)
    path = tmp_path / "list.txt"
    path.write_text("http://a.example/\nhttp://b.example/\n")
    told: list[Progress] = []
    plan_ingest(IngestRequest(source=str(path), config=CONFIG, output_dir=tmp_path / "ds"), on_progress=told.append)
    assert [(progress.step, progress.done, progress.unit) for progress in told] == [
        ("ingest plan", 1, "sources"),
        ("ingest plan", 2, "sources"),
    ]


def test_a_folder_of_compressed_lists_becomes_one_data_set(gallery: Any, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    for part, names in (("b", ["good3.png", "good1.png"]), ("a", ["good1.png", "good2.png"])):
        plain = Path(url_list(gallery, tmp_path / "plain.csv", names)).read_bytes()
        (lists / f"{part}.csv.gz").write_bytes(gzip.compress(plain))
    ref = ingest(str(lists), CONFIG, tmp_path / "ds")
    assert [(row["caption"], row["reason"]) for row in rows(tmp_path / "ds")] == [
        ("caption of good1.png", ""),
        ("caption of good2.png", ""),
        ("caption of good3.png", ""),
        ("caption of good1.png", "duplicate_url"),
    ]
    assert ingest(f"{lists}/*.gz", CONFIG, tmp_path / "ds").digest == ref.digest


def test_sitemaps_and_the_clock_are_options_of_the_crawl(gallery: Any, tmp_path: Path) -> None:
    gallery.content["/sitemap.xml"] = f"<urlset><url><loc>{gallery.url('/lonely')}</loc></url></urlset>"
    gallery.content["/lonely"] = "<img src=/good3.png alt='on no other page'>"
    config = CONFIG.with_changes(max_depth=0, sitemaps=True, max_crawl_minutes=5)
    ref = ingest(gallery.url("/"), config, tmp_path / "ds")
    assert (ref.counts["pages"], ref.counts["sitemaps"], ref.counts["kept"]) == (2, 1, 7)
    assert "pages_given_up" not in ref.counts
    with pytest.raises(ConfigError, match=r"max_crawl_minutes was 5\.0, now 0\.0"):
        ingest(gallery.url("/"), config.with_changes(max_crawl_minutes=0), tmp_path / "ds")


def test_the_license_of_a_page_reaches_rows_and_members(gallery: Any, tmp_path: Path) -> None:
    license_url = "https://creativecommons.org/licenses/by/4.0/"
    gallery.content["/free"] = f"<a rel=license href={license_url}>CC</a><img src=/good1.png alt=x><img src=/no alt=y>"
    ingest(gallery.url("/free"), CONFIG.with_changes(max_depth=0), tmp_path / "ds")
    table = rows(tmp_path / "ds")
    assert [row["license"] for row in table] == [license_url, license_url]
    assert list(table[0])[-2:] == ["sample_crc32", "license"]
    [sample] = iter_samples(tmp_path / "ds/shards/00000.tar")
    assert sample.metadata["license"] == license_url
    ingest(str(tmp_path / "ds"), CONFIG, tmp_path / "again")
    assert list(rows(tmp_path / "again")[0].items())[-1] == ("license", license_url)


CHILD = """
import sys
from pathlib import Path
from t2i_core.ingestion.step import ingest
from t2i_core.ingestion.config import IngestConfig
ingest(sys.argv[1], IngestConfig.model_validate_json(sys.argv[3]), Path(sys.argv[2]))
"""


def test_a_killed_run_goes_on_without_crawling_again(gallery: Any, tmp_path: Path) -> None:
    config = CONFIG.with_changes(connections=1, connections_per_host=1, timeout_seconds=0.5, retries=0)
    whole = ingest(gallery.url("/"), config, tmp_path / "whole")
    # The last picture waits until the first shard has been seen, so that the kill comes in the middle.
    gate = "/good7.png"
    picture = gallery.content[gate]
    released = False

    async def wait_for_release(_: web.Request) -> web.Response:
        while not released:
            await asyncio.sleep(0.01)
        return web.Response(body=picture, content_type="image/png")

    gallery.content[gate] = wait_for_release
    patient = config.with_changes(timeout_seconds=60)
    command = [sys.executable, "-c", CHILD, gallery.url("/"), str(tmp_path / "killed"), patient.model_dump_json()]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])})
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "killed/shards/00000_stats.json").exists() and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    released = True
    assert not (tmp_path / "killed/manifest.json").exists()
    assert (tmp_path / "killed/shards/00000_stats.json").exists()
    gallery.requests.clear()
    resumed = ingest(gallery.url("/"), config, tmp_path / "killed")
    assert resumed.digest == whole.digest
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    assert not {"/", "/more", "/optout", "/good0.png", "/good4.png"} & set(gallery.requests)
    assert not list((tmp_path / "killed/shards").glob(".*"))


def test_a_site_that_moved_is_the_same_source(gallery: Any, tmp_path: Path) -> None:
    first = ingest(gallery.url("/"), CONFIG.with_changes(max_depth=0), tmp_path / "ds", source_digest="the gallery")
    (tmp_path / "ds/shards/00000.tar").unlink()
    moved = f"http://localhost:{gallery.port}/"
    again = ingest(moved, CONFIG.with_changes(max_depth=0), tmp_path / "ds", source_digest="the gallery")
    assert again.digest == first.digest


def test_the_key_is_about_content_not_speed(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url\n")
    key = ingest_key(str(path), CONFIG)
    assert ingest_key(str(path), CONFIG.with_changes(connections=3, timeout_seconds=9, retries=0, contact="x")) == key
    assert ingest_key(str(path), CONFIG.with_changes(image_size=33)) != key
    assert "crop_transparent" not in key.config
    assert ingest_key(str(path), CONFIG.with_changes(crop_transparent=True)).config["crop_transparent"] is True
    assert ingest_key("http://a.example/", CONFIG) != ingest_key("http://b.example/", CONFIG)
    assert ingest_key("http://a.example/", CONFIG, "d") == ingest_key("http://b.example/", CONFIG, "d")
    path.write_text("url\nx\n")
    assert ingest_key(str(path), CONFIG) != key


def test_other_options_do_not_touch_what_is_there(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", ["good1.png", "good2.png"])
    ingest(source, CONFIG, tmp_path / "ds")
    before = outputs(tmp_path / "ds")
    with pytest.raises(ConfigError, match="image_size was 32, now 16"):
        ingest(source, CONFIG.with_changes(image_size=16), tmp_path / "ds")
    assert outputs(tmp_path / "ds") == before
    read_manifest(tmp_path / "ds", "dataset")
    replaced = ingest(source, CONFIG.with_changes(image_size=16), tmp_path / "ds", on_conflict="replace")
    assert not replaced.hit
    assert rows(tmp_path / "ds")[0]["width"] == 16


def test_what_is_denied_is_left_out_by_host_address_and_bytes(site: Any, tmp_path: Path, make_png: MakePng) -> None:
    pictures = {f"/{n}.png": make_png((n, 0, 0)) for n in range(4)}
    site.content |= pictures
    deny = tmp_path / "deny.txt"
    sha256, md5 = hashlib.sha256(pictures["/1.png"]).hexdigest(), hashlib.md5(pictures["/2.png"]).hexdigest()
    deny.write_text(f"# asked for by their owners\nlocalhost\n{site.url('/0')}\n{sha256}\n{md5}\n")
    source = url_list(site, tmp_path / "list.csv", [path[1:] for path in pictures])
    with Path(source).open("a") as file:
        file.write(f"http://localhost:{site.port}/3.png,elsewhere\n")
    ref = ingest(source, CONFIG.with_changes(deny_list=str(deny)), tmp_path / "ds")
    assert [row["reason"] for row in rows(tmp_path / "ds")] == ["denied", "denied", "denied", "", "denied"]
    assert counted(ref) == {"denied": 4}
    assert (site.requests.count("/0.png"), site.requests.count("/3.png")) == (0, 1)
    again = ingest(str(tmp_path / "ds"), CONFIG.with_changes(deny_list=str(deny)), tmp_path / "kept")
    assert counted(again) == {}
    deny.write_text("127.0.0.1\n")
    with pytest.raises(DataError, match=r"nothing was kept of the 1 source .*1 denied \(it is on the deny-list\)"):
        ingest(str(tmp_path / "ds"), CONFIG.with_changes(deny_list=str(deny)), tmp_path / "purged")
    assert [row["reason"] for row in rows(tmp_path / "purged")] == ["denied"]


def test_a_denied_page_is_not_asked_for(gallery: Any, tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text(f"{gallery.url('/more')}\n{gallery.url('/good0')}\n")
    config = CONFIG.with_changes(deny_list=str(tmp_path / "deny.txt"))
    ref = ingest(gallery.url("/"), config, tmp_path / "ds")
    assert counted(ref) == {"denied": 1, "opt_out_page": 1}
    assert ref.counts["pages_rejected:denied"] == 1
    assert {"/more", "/good0.png"}.isdisjoint(gallery.requests)
    with pytest.raises(ConfigError, match=r"cannot read page .*: it is on the deny-list \(denied\)"):
        ingest(gallery.url("/more"), config, tmp_path / "other")


def test_denied_bytes_are_left_out_of_a_folder(tmp_path: Path, make_png: MakePng) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(make_png((n, 0, 0)))
    (tmp_path / "deny.txt").write_text(hashlib.sha256(make_png((1, 0, 0))).hexdigest())
    ingest(str(folder), CONFIG.with_changes(deny_list=str(tmp_path / "deny.txt")), tmp_path / "ds")
    assert [row["reason"] for row in rows(tmp_path / "ds")] == ["", "denied", ""]


def test_the_key_holds_what_is_denied_not_where_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url\n")
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("a.example\n")
    second.write_text("# moved\na.example\n")
    key = ingest_key(str(path), CONFIG.with_changes(deny_list=str(first)))
    assert ingest_key(str(path), CONFIG.with_changes(deny_list=str(second))) == key
    assert ingest_key(str(path), CONFIG) != key
    second.write_text("b.example\n")
    assert ingest_key(str(path), CONFIG.with_changes(deny_list=str(second))) != key
    assert ingest_key(str(path), CONFIG.with_changes(opt_out_files=False)) != ingest_key(str(path), CONFIG)


def test_another_deny_list_is_refused_on_an_old_folder_and_during_a_run(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", ["good1.png"])
    deny = tmp_path / "deny.txt"
    deny.write_text("a.example\n")
    config = CONFIG.with_changes(deny_list=str(deny))
    plan = plan_ingest(IngestRequest(source=source, config=config, output_dir=tmp_path / "ds"))
    deny.write_text("127.0.0.1\n")
    with pytest.raises(ConfigError, match="has changed since the plan was made"):
        ingest_shard(plan, 0)
    with pytest.raises(ConfigError, match="input deny_list was"):
        ingest(source, config, tmp_path / "ds")
    with pytest.raises(ConfigError, match="no such deny-list"):
        ingest(source, CONFIG.with_changes(deny_list=str(tmp_path / "none")), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_one_picture_under_many_captions_is_refused_once(site: Any, tmp_path: Path, make_png: MakePng) -> None:
    site.content |= {"/x.png": make_png((1, 1, 1)), "/go.png": 302}
    site.headers |= {"/x.png": {"X-Robots-Tag": "noai"}, "/go.png": {"Location": "/x.png"}}
    source = tmp_path / "list.csv"
    lines = [f"{site.url(path)},caption {n}\n" for n, path in enumerate(["/x.png", "/x.png", "/go.png", "/x.png#y"])]
    source.write_text("url,caption\n" + "".join(lines))
    with pytest.raises(DataError, match=r"nothing was kept of the 4 sources .*4 opt_out_header"):
        ingest(str(source), CONFIG.with_changes(connections_per_host=1, retries=3), tmp_path / "ds")
    assert site.requests.count("/x.png") == 1


def test_what_a_site_reserves_is_left_out(gallery: Any, tmp_path: Path) -> None:
    gallery.content |= {
        "/.well-known/tdmrep.json": '[{"location": "/good1.png", "tdm-reservation": 1}]',
        "/ai.txt": b"User-Agent: *\nDisallow: /good2\n",
        "/page": "<meta name=tdm-reservation content=1><img src=good3.png alt=reserved>",
        "/start": "<img src=good1.png alt=a><img src=good2.png alt=b><img src=good4.png alt=c><a href=/page>more</a>",
    }
    ingest(gallery.url("/start"), CONFIG, tmp_path / "ds")
    assert [row["reason"] for row in rows(tmp_path / "ds")] == ["tdm_reserved", "ai_txt", "", "tdm_reserved"]
    assert {"/good1.png", "/good2.png", "/good3.png"}.isdisjoint(gallery.requests)


def hosts_of(dataset_dir: Path) -> dict[str, dict[str, Any]]:
    return {entry["host"]: entry for entry in json.loads((dataset_dir / "hosts.json").read_text())["hosts"]}


def test_each_host_has_its_account_which_a_resumed_run_gets_right(gallery: Any, tmp_path: Path) -> None:
    names = [*(f"good{n}.png" for n in range(1, 8)), "missing.png", "noai.png", "private/x.png"]
    source = url_list(gallery, tmp_path / "list.csv", names)
    with Path(source).open("a") as file:
        file.write(f"http://localhost:{gallery.port}/good8.png,elsewhere\n")
    ref = ingest(source, CONFIG, tmp_path / "ds")
    account = hosts_of(tmp_path / "ds")
    rejected = {"http_4xx": 1, "opt_out_header": 1, "robots": 1}
    # robots.txt, tdmrep.json and ai.txt, then every picture but the one that robots.txt closes.
    expected = {"host": "127.0.0.1", "sources": 10, "kept": 7, "rejected": rejected, "requests": 3 + 9}
    assert {name: account["127.0.0.1"][name] for name in expected} == expected
    assert (account["localhost"]["kept"], account["localhost"]["requests"]) == (1, 4)
    assert sum(entry["requests"] for entry in account.values()) == len(gallery.requests)
    sizes = sum(len(gallery.content[f"/good{n}.png"]) for n in range(1, 8))
    assert account["127.0.0.1"]["bytes"] >= sizes
    (tmp_path / "ds/shards/00001_stats.json").unlink()
    gallery.requests.clear()
    assert ingest(source, CONFIG, tmp_path / "ds").digest == ref.digest
    resumed = hosts_of(tmp_path / "ds")
    for host, entry in account.items():
        assert all(resumed[host][name] == entry[name] for name in ("sources", "kept", "rejected"))


def test_pages_count_as_requests_of_their_host(gallery: Any, tmp_path: Path) -> None:
    ingest(gallery.url("/"), CONFIG.with_changes(max_depth=0), tmp_path / "ds")
    [entry] = hosts_of(tmp_path / "ds").values()
    assert (entry["kept"], entry["requests"]) == (6, len(gallery.requests))
    manifest = read_manifest(tmp_path / "ds", "dataset")
    assert [file.content for file in manifest.files if file.path == "hosts.json"] == [False]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.csv", None, "no such source"),
        ("list.csv", "url,caption\n", "is empty"),
        ("list.csv", "link,caption\nx,y\n", "no column 'url'"),
        ("list.docx", "x", "not a URL list"),
    ],
)
def test_a_source_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        ingest(str(tmp_path / name), CONFIG, tmp_path / "ds")
    assert not (tmp_path / "ds").exists()


def test_an_unreachable_host_is_an_error_and_a_later_run_asks_again(
    site: Any, tmp_path: Path, make_png: MakePng
) -> None:
    source = url_list(site, tmp_path / "list.csv", ["a.png", "b.png"])
    site.content |= {"/a.png": make_png((1, 2, 3)), "/b.png": make_png((1, 2, 3))}
    path = Path(source)
    path.write_text(path.read_text().replace("127.0.0.1", "name.invalid"))
    with pytest.raises(DataError, match=r"none of the 2 pictures .* could be reached \(dns 2\)"):
        ingest(source, CONFIG, tmp_path / "ds")
    with pytest.raises(DataError, match="dns 2"):
        ingest(source, CONFIG, tmp_path / "ds")
    assert not (tmp_path / "ds/manifest.json").exists()


def test_too_few_kept_pictures_fail_the_run_but_lose_nothing(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", ["good1.png", "missing.png", "tiny.png", "nowhere.png"])
    with pytest.raises(DataError, match=r"only 1 of 4 pictures were kept \(25\.0%\).*http_4xx 2"):
        ingest(source, CONFIG.with_changes(min_success_rate=0.5), tmp_path / "ds")
    gallery.requests.clear()
    assert ingest(source, CONFIG.with_changes(min_success_rate=0.2), tmp_path / "ds").counts["kept"] == 1
    assert gallery.requests == []


def test_too_many_rejects_for_one_reason_fail_a_finished_dataset_each_time(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", ["good1.png", "missing.png", "tiny.png", "nowhere.png"])
    strict = CONFIG.with_changes(max_reject_share=("http_4xx=0.4",))
    for _ in range(2):
        with pytest.raises(DataError, match=r"2 of 4 .* were rejected as http_4xx"):
            ingest(source, strict, tmp_path / "ds")
    gallery.requests.clear()
    assert ingest(source, strict.with_changes(max_reject_share=("http_4xx=0.5",)), tmp_path / "ds").hit
    assert gallery.requests == []


def test_a_full_disk_is_worth_another_try(tmp_path: Path) -> None:
    with (
        pytest.raises(TransientError, match=r"no space left to write .*run the same command again"),
        disk_errors(tmp_path),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(b"x" * 100_000)
        file.flush()
    with pytest.raises(ConfigError, match="cannot write"), disk_errors(tmp_path):
        (tmp_path / "missing" / "x").write_bytes(b"")


def test_a_damaged_plan_says_what_to_delete(gallery: Any, tmp_path: Path) -> None:
    source = url_list(gallery, tmp_path / "list.csv", ["good1.png", "good2.png"])
    plan = plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=tmp_path / "ds"))
    (tmp_path / "ds/_parts/00000.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match="is planned anew"):
        ingest_shard(plan, 0)


def test_every_reason_has_a_meaning() -> None:
    assert all(reason.meaning for reason in RejectReason)
    assert len({reason.meaning for reason in RejectReason}) == len(RejectReason)


def test_bounds_of_the_options_are_enforced() -> None:
    for field, value in (
        ("image_size", 0),
        ("connections", 0),
        ("encode_quality", 101),
        ("contact", "a\nb"),
        ("nope", 1),
    ):
        with pytest.raises(ConfigError, match=field):
            IngestConfig.parse({field: value})


def test_progress_says_which_host_is_waited_for(
    site: Any, make_png: MakePng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i_core.data.web.waits.SECONDS_BETWEEN_LOOKS", 0.05)
    asked = Counter[str]()

    async def busy_once(request: web.Request) -> web.Response:
        asked[request.path] += 1
        if asked[request.path] == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        if request.path == "/page.html":
            return web.Response(text='<img src="/x.png" alt="a thing with a name">', content_type="text/html")
        return web.Response(body=make_png((9, 9, 9)), content_type="image/png")

    site.content |= {"/page.html": busy_once, "/x.png": busy_once}
    told = list[Progress]()

    assert ingest(site.url("/page.html"), CONFIG, tmp_path / "dataset", on_progress=told.append).counts["kept"] == 1

    waits = {progress.step: progress.waiting for progress in told if "asked for a pause" in progress.waiting}
    assert waits.keys() == {"ingest pages", "ingest"}
    assert all(" for 127.0.0.1 (it asked for a pause, 0:00:0" in text for text in waits.values())
    assert told[-1].waiting == ""
