"""A source that is looked at again: what has news makes a new version, and nothing else is fetched or decoded."""

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches.near import open_shards
from t2i_core.data.dataset.difference import difference
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.history import read_opt_outs
from t2i_core.data.dataset.verify import verify
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.data.shards.reader import read_rows, stored_rows
from t2i_core.data.shards.versions import held_versions, named_version, read_log
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.plan import plan_ingest
from t2i_core.ingestion.step import finish_ingest, ingest, ingest_shard
from t2i_core.lineage.ancestors import trace
from t2i_core.lineage.holders import find_samples

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4, allow_private=("localhost",), retries=0)
RULES = {"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"}
# What differs between the same sample of two datasets: its place.
PLACE = {"key", "sample_crc32", "fetched_at"}
MakePng = Callable[..., bytes]


def asked(site: Any) -> list[str]:
    """Give what was asked for beside rules since this was last called."""
    found = [path for path in site.requests if path not in RULES]
    site.requests.clear()
    return found


def samples(dataset: Path) -> dict[str, Any]:
    """Give all that a dataset has of each sample, but for its place in it."""
    found = {}
    for shard_id in files_by_shard(read_manifest(dataset, "dataset")):
        for row, members in stored_rows(dataset / SHARDS_DIR, shard_id):
            if members:
                told = json.loads(members["json"])
                assert told.pop("key") == row["key"]
                cells = {name: cell for name, cell in row.items() if name not in PLACE}
                found[row["uid"]] = (cells, told, members["png"], members["txt"])
    return found


def reasons(dataset: Path) -> dict[str, str]:
    paths = sorted((dataset / SHARDS_DIR).glob("*.parquet"))
    return {row["key"]: row["reason"] for path in paths for row in read_rows(path) if row["reason"]}


def marked(site: Any, name: str, body: bytes, mark: str = "") -> None:
    site.content[name], site.headers[name] = body, {"ETag": f'"{mark or name}"'}


def answer_304(site: Any) -> None:
    """Let the site answer as servers do that know their own marks."""
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        site.requests.append(request.path_qs)
        content, headers = site.content.get(request.path, 404), site.headers.get(request.path, {})
        if isinstance(content, int):
            return web.Response(status=content, headers=headers)
        if headers.get("ETag") and request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        kind = {"Content-Type": "image/png" if isinstance(content, bytes) else "text/html; charset=utf-8"}
        return web.Response(body=content, headers=kind | headers)

    site._answer = answer


@pytest.fixture
def web_site(make_png: MakePng) -> Iterable[Any]:
    """Serve ten pictures, with marks that are honored."""
    from tests.t2i_core.conftest import Site

    server = Site()
    answer_304(server)
    server.start()
    for number in range(10):
        marked(server, f"/{number}.png", make_png((number * 20, 9, 9)))
    yield server
    server.stop()


def write_list(path: Path, site: Any, numbers: Iterable[int], word: str = "about") -> str:
    rows = (f"{site.url(f'/{number}.png')},{word} {number}\n" for number in numbers)
    path.write_text("url,caption\n" + "".join(rows))
    return str(path)


def refresh(source: str, dataset: Path, config: IngestConfig = CONFIG) -> StepRef:
    return ingest(source, config, dataset, refresh=True)


def test_nothing_new_is_no_version_and_costs_one_small_request_each(web_site: Any, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(5)), tmp_path / "ds"
    first = refresh(source, dataset)
    assert not first.hit
    asked(web_site)
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*") if "_parts" not in path.parts}
    again = refresh(source, dataset)
    assert again.hit
    assert (again.digest, again.counts["refresh:same"]) == (first.digest, 5)
    assert sorted(asked(web_site)) == [f"/{number}.png" for number in range(5)]
    after = {path: path.stat().st_mtime_ns for path in dataset.rglob("*") if "_parts" not in path.parts}
    assert after == before
    assert read_log(dataset) == []


def test_marks_that_change_over_the_same_bytes_are_remembered(web_site: Any, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(2)), tmp_path / "ds"
    ingest(source, CONFIG, dataset)
    web_site.headers["/0.png"] = {"ETag": '"another"', "Last-Modified": "Sat, 28 Nov 2026 00:00:00 GMT"}
    assert refresh(source, dataset).hit
    bodies = read_bytes(dataset)
    assert refresh(source, dataset).hit
    # The second look was answered with 304, which brings no bytes.
    assert read_bytes(dataset) == bodies


def read_bytes(dataset: Path) -> int:
    return sum(entry["bytes"] for entry in json.loads((dataset / "hosts.json").read_bytes())["hosts"])


def test_what_is_new_changed_gone_and_denied_makes_a_version(web_site: Any, make_png: MakePng, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(6)), tmp_path / "ds"
    first = ingest(source, CONFIG, dataset)
    old = samples(dataset)
    captions = caption(dataset, CaptionConfig(drop_duplicates=False), tmp_path / "captions")
    write_list(tmp_path / "list.csv", web_site, range(1, 8))
    marked(web_site, "/2.png", make_png((0, 99, 0)), "new")
    web_site.content |= {"/3.png": 410, "/5.png": 503}
    web_site.headers["/4.png"] = {"X-Robots-Tag": "noai"}
    asked(web_site)

    ref = refresh(source, dataset)

    assert sorted(asked(web_site)) == [f"/{number}.png" for number in range(8)]
    assert reasons(dataset) == {
        "000000": "gone", "000002": "replaced", "000003": "http_4xx", "000010": "opt_out_header",
    }  # fmt: skip
    (one, two), kept = read_log(dataset), samples(dataset)
    assert (one.digest, two.parent, two.digest) == (first.digest, first.digest, ref.digest)
    assert (two.number, two.kept, two.added, two.changed) == (2, 5, 2, 1)
    assert two.removed == {"gone": 1, "http_4xx": 1, "opt_out_header": 1}
    assert {name: ref.counts[f"refresh:{name}"] for name in ("added", "removed", "opted_out", "not_known")} == {
        "added": 2, "removed": 3, "opted_out": 1, "not_known": 1,
    }  # fmt: skip
    assert not verify(dataset).damaged and not verify(dataset / "versions/1").damaged
    assert ingest(source, CONFIG, dataset).hit

    # The second shard held what must not be taken any more, and what is past fills more than half of the first.
    assert [row["url"][-6:] for row, _ in stored_rows(dataset / SHARDS_DIR, 2)] == ["/2.png", "/6.png", "/7.png"]
    held = named_version(Path(f"{dataset}@1"))
    lost = next(uid for uid, (row, *_) in old.items() if row["url"].endswith("/4.png"))
    assert samples(held) == {uid: sample for uid, sample in old.items() if uid != lost}
    assert [(each.version, each.uid, each.reason) for each in read_opt_outs(dataset)] == [(2, lost, "opt_out_header")]
    assert b"/4.png" not in b"".join(path.read_bytes() for path in held.rglob("*") if path.is_file())
    # Captions of the old version name a sample that is out of it now: they have to be made again, from what is held.
    assert captions.path in {holder.folder for holder in find_samples(tmp_path, {lost})}
    with pytest.raises(ConfigError, match="Run the caption step again"):
        open_shards(captions.path)
    assert kept.keys() & old.keys() == kept.keys() - {uid for uid in kept if uid not in old}

    found = difference(held, dataset)
    assert [len(getattr(found, kind)) for kind in ("added", "removed", "changed", "restated")] == [2, 2, 1, 0]
    assert {change.reason for change in found.removed} == {"gone", "http_4xx"}


def test_an_earlier_version_can_still_be_trained_on(web_site: Any, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(8)), tmp_path / "ds"
    first = ingest(source, CONFIG, dataset)
    config = CaptionConfig(drop_duplicates=False)
    before = caption(dataset, config, tmp_path / "captions")
    write_list(tmp_path / "list.csv", web_site, range(1, 9))
    second = refresh(source, dataset)
    assert first.digest != second.digest

    shards = open_shards(before.path)
    assert shards.stem(0) == (dataset / "versions/1/shards/00000").resolve()
    assert [ancestor.manifest.digest for ancestor in trace(before.path)][:2] == [before.digest, first.digest]
    # What both versions have lies on the disk once.
    tars = [folder / "shards/00001.tar" for folder in (dataset, dataset / "versions/1")]
    assert tars[0].samefile(tars[1])
    # What is past is still in that of the first shard, and no sample for whoever reads it.
    assert ingest(str(dataset), CONFIG, tmp_path / "taken").counts["seen"] == 8
    again = caption(Path(f"{dataset}@1"), config, tmp_path / "again")
    assert again.digest == before.digest
    after = caption(dataset, config, tmp_path / "after")
    assert (after.counts["kept"], after.digest != before.digest) == (8, True)


def test_a_lost_shard_of_a_later_version_is_filled_again(web_site: Any, make_png: MakePng, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(6)), tmp_path / "ds"
    ingest(source, CONFIG, dataset)
    write_list(tmp_path / "list.csv", web_site, range(1, 7))
    marked(web_site, "/1.png", make_png((0, 99, 0)), "new")
    refreshed = refresh(source, dataset)
    before = samples(dataset)
    for name in ("00000_stats.json", "00002.tar"):
        (dataset / SHARDS_DIR / name).unlink()
    asked(web_site)
    ingest(source, CONFIG, dataset)
    assert sorted(asked(web_site)) == ["/1.png", "/2.png", "/3.png", "/6.png"]
    assert samples(dataset) == before
    assert read_manifest(dataset).counts["kept"] == refreshed.counts["kept"]


def test_three_steps_give_the_samples_of_one(web_site: Any, make_png: MakePng, tmp_path: Path) -> None:
    """Pages this time: pictures come, change and go, words change, a page moves, one asks not to be used."""

    def page(name: str, *numbers: int, head: str = "", word: str = "thing") -> None:
        shown = "".join(f'<figure><img src="/{n}.png" alt="{word} {n}"></figure>' for n in numbers)
        web_site.content[name] = f"<html><head>{head}</head><body>{shown}</body></html>"
        web_site.headers[name] = {"ETag": f'"{hash((name, head, numbers, word))}"'}

    def start(*names: str) -> None:
        web_site.content["/"] = "<html>" + "".join(f'<a href="{name}">more</a>' for name in names) + "</html>"

    dataset, source = tmp_path / "ds", web_site.url("/")
    start("/a.html", "/b.html", "/c.html")
    page("/a.html", 0, 1, 2)
    page("/b.html", 3, 4)
    page("/c.html", 5, 6)
    ingest(source, CONFIG, dataset)

    page("/a.html", 0, 2, 7)
    marked(web_site, "/3.png", make_png((3, 200, 3)), "new")
    asked(web_site)
    second = refresh(source, dataset)
    assert sorted(asked(web_site)) == [
        *("/", "/0.png", "/1.png", "/2.png", "/3.png", "/4.png", "/5.png", "/6.png", "/7.png"),
        *("/a.html", "/b.html", "/c.html"),
    ]
    assert (second.counts["refresh:added"], second.counts["refresh:changed"]) == (1, 1)

    start("/a.html", "/moved.html", "/c.html")
    web_site.content["/b.html"] = 404
    page("/moved.html", 3, 4)
    page("/c.html", 5, 6, head='<meta name="robots" content="noai">')
    third = refresh(source, dataset)
    assert third.counts["refresh:restated"] == 2
    assert third.counts["refresh:opted_out"] == 2

    page("/a.html", 0, 2, 7, word="other thing")
    web_site.content["/2.png"] = 404
    fourth = refresh(source, dataset)
    assert fourth.counts["refresh:added"] == 2
    assert [version.number for version in read_log(dataset)] == [1, 2, 3, 4]
    assert list(held_versions(dataset)) == [1, 2, 3, 4]

    at_once = ingest(source, CONFIG, tmp_path / "at_once")
    assert samples(dataset) == samples(tmp_path / "at_once")
    assert fourth.counts["kept"] == at_once.counts["kept"] == 4
    assert not verify(dataset).damaged
    assert refresh(source, dataset).hit


def test_a_site_that_closes_its_doors_is_heard_and_one_that_fails_is_waited_for(web_site: Any, tmp_path: Path) -> None:
    web_site.content |= {
        "/": '<a href="/a.html">a</a><a href="/b.html">b</a>',
        "/a.html": '<img src="/0.png" alt="nought">',
        "/b.html": '<img src="/1.png" alt="one">',
    }
    dataset, source = tmp_path / "ds", web_site.url("/")
    ingest(source, CONFIG, dataset)
    web_site.content |= {"/a.html": 503, "/0.png": 500}
    waited = refresh(source, dataset)
    assert waited.hit and waited.counts["refresh:not_known"] == 1
    web_site.content["/robots.txt"] = "User-agent: *\nDisallow: /\n"
    asked(web_site)
    closed = refresh(source, dataset)
    assert asked(web_site) == []
    assert (closed.counts["kept"], closed.counts["refresh:opted_out"]) == (0, 2)
    assert reasons(dataset) == {"000000": "robots", "000001": "robots"}
    assert [len(samples(folder)) for folder in held_versions(dataset).values()] == [0, 0]


def test_who_is_not_named_any_more_is_heard_as_long_as_a_version_has_the_picture(
    web_site: Any, make_png: MakePng, tmp_path: Path
) -> None:
    dataset, config = tmp_path / "ds", CONFIG.with_changes(keep_versions=1, samples_per_shard=8)
    source = write_list(tmp_path / "list.csv", web_site, range(8))
    ingest(source, config, dataset)
    old = {row["url"][-6:-4]: (row["uid"], picture) for row, _, picture, _ in samples(dataset).values()}
    marked(web_site, "/3.png", make_png((0, 99, 0)), "new")
    write_list(tmp_path / "list.csv", web_site, [0, *range(3, 8)])
    refresh(source, dataset, config)
    assert reasons(dataset) == {"000001": "gone", "000002": "gone", "000003": "replaced"}

    web_site.headers |= {name: {"X-Robots-Tag": "noai"} for name in ("/1.png", "/3.png")}
    web_site.content["/2.png"] = 404
    asked(web_site)
    ref = refresh(source, dataset, config)

    assert sorted(asked(web_site)) == [f"/{number}.png" for number in range(8)]
    assert reasons(dataset) == {
        "000001": "gone", "000002": "gone", "000003": "replaced", "000010": "opt_out_header",
    }  # fmt: skip
    version = read_log(dataset)[-1]
    assert (version.kept, version.removed, version.erased) == (5, {"opt_out_header": 1}, 2)
    assert version.story == "1 removed (opt_out_header 1), 2 erased from earlier versions"
    assert ref.counts["refresh:opted_out"] == 3
    named = read_opt_outs(dataset)
    assert [each.key for each in named] == ["000001", "000003", "000010"]
    assert {each.uid for each in named} == {old["/1"][0], old["/3"][0]}
    everything = b"".join(path.read_bytes() for path in dataset.rglob("*") if path.is_file())
    assert [old[name][1] in everything for name in ("/0", "/1", "/3")] == [True, False, False]
    assert not verify(dataset).damaged and not verify(dataset / "versions/2").damaged

    # No version holds the second picture any more, so nobody has to be asked for it.
    assert refresh(source, dataset, config).hit
    assert sorted(asked(web_site)) == [f"/{number}.png" for number in (0, *range(3, 8))]


def test_the_word_of_a_sitemap_is_enough_for_a_while(web_site: Any, tmp_path: Path) -> None:
    def sitemap(day: str) -> None:
        pages = "".join(f"<url><loc>{web_site.url(name)}</loc><lastmod>{day}</lastmod></url>" for name in ("/a.html",))
        web_site.content["/sitemap.xml"] = f'<?xml version="1.0"?><urlset>{pages}</urlset>'

    web_site.content |= {"/": "<p>nothing</p>", "/a.html": '<img src="/0.png" alt="nought">'}
    sitemap("2026-11-01")
    config, dataset, source = CONFIG.with_changes(sitemaps=True), tmp_path / "ds", web_site.url("/")
    ingest(source, config, dataset)
    asked(web_site)
    assert refresh(source, dataset, config).hit
    assert sorted(asked(web_site)) == ["/", "/sitemap.xml"]
    assert refresh(source, dataset, config.with_changes(vouched_days=0)).hit
    assert sorted(asked(web_site)) == ["/", "/0.png", "/a.html", "/sitemap.xml"]
    web_site.content["/a.html"] = '<img src="/0.png" alt="nought"><img src="/1.png" alt="one">'
    sitemap("2026-11-02")
    assert refresh(source, dataset, config).counts["refresh:added"] == 1


def test_a_refresh_that_was_cut_off_goes_on_where_it_was(web_site: Any, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(2)), tmp_path / "ds"
    ingest(source, CONFIG, dataset)
    write_list(tmp_path / "list.csv", web_site, range(1, 10))
    plan = plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=dataset, refresh=True))
    assert (plan.first_shard, plan.num_shards, plan.num_records) == (1, 2, 8)
    ingest_shard(plan, 1)
    asked(web_site)
    with pytest.raises(DataError, match=r"shard 00002 .* is not finished"):
        finish_ingest(plan)
    # Until all of it is there, the dataset is what it was.
    assert len(samples(dataset)) == 2
    ref = refresh(source, dataset)
    assert sorted(asked(web_site)) == ["/6.png", "/7.png", "/8.png", "/9.png"]
    assert (ref.counts["kept"], ref.counts["seen"]) == (9, 10)
    assert not (dataset / "_refresh").exists()
    assert len(samples(dataset)) == 9


def test_a_folder_of_pictures_is_looked_at_again_too(tmp_path: Path) -> None:
    pictures, dataset = tmp_path / "pictures", tmp_path / "ds"
    pictures.mkdir()

    def draw(name: str, color: str) -> None:
        image, buffer = Image.new("RGB", (32, 32), color), io.BytesIO()
        image.paste("white", (0, 0, 16, 16))
        image.save(buffer, "PNG")
        (pictures / name).write_bytes(buffer.getvalue())

    for number, color in enumerate(("red", "green", "blue")):
        draw(f"{number}.png", color)
        (pictures / f"{number}.txt").write_text(f"picture {number}")
    ingest(str(pictures), CONFIG, dataset)
    with pytest.raises(ConfigError, match="already holds other work"):
        draw("3.png", "black")
        ingest(str(pictures), CONFIG, dataset)
    draw("1.png", "yellow")
    (pictures / "2.png").unlink()
    (pictures / "0.txt").write_text("another word")
    refresh(str(pictures), dataset)
    version = read_log(dataset)[-1]
    assert (version.added, version.changed, version.removed) == (2, 1, {"gone": 2})
    ingest(str(pictures), CONFIG, tmp_path / "at_once")
    assert samples(dataset) == samples(tmp_path / "at_once")


def test_other_options_and_too_great_a_loss_leave_the_dataset_alone(web_site: Any, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(3)), tmp_path / "ds"
    first = ingest(source, CONFIG, dataset)
    with pytest.raises(ConfigError, match=r"option image_size was 16, now 32"):
        refresh(source, dataset, CONFIG.with_changes(image_size=32))
    web_site.content |= {"/0.png": 404, "/1.png": 404}
    careful = CONFIG.with_changes(min_success_rate=0.5)
    with pytest.raises(DataError, match="only 1 of the 3 pictures"):
        refresh(source, dataset, careful)
    assert read_manifest(dataset).digest == first.digest
    assert refresh(source, dataset, CONFIG.with_changes(keep_versions=0)).counts["kept"] == 1
    assert list(held_versions(dataset)) == [2]
    with pytest.raises(ConfigError, match="does not hold its version 1; it holds @2"):
        named_version(Path(f"{dataset}@1"))


def test_a_deny_list_that_came_later_counts(web_site: Any, tmp_path: Path) -> None:
    source, dataset = write_list(tmp_path / "list.csv", web_site, range(3)), tmp_path / "ds"
    ingest(source, CONFIG, dataset)
    denied = next(row["sha256"] for row, *_ in samples(dataset).values() if row["url"].endswith("/1.png"))
    (tmp_path / "denied.txt").write_text(f"{denied}\n{web_site.url('/2.png')}\n")
    asked(web_site)
    refresh(source, dataset, CONFIG.with_changes(deny_list=str(tmp_path / "denied.txt")))
    assert asked(web_site) == ["/0.png"]
    assert read_log(dataset)[-1].removed == {"denied": 2}
