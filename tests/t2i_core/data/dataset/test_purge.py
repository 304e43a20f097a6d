import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.verify import verify
from t2i_core.data.shards.reader import iter_samples
from t2i_core.errors import ConfigError, DataError, ShardError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.progress import Progress
from tests.t2i_core.data.fork_server import ForkServer

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4, allow_private=("localhost",), retries=0)
MakePng = Callable[..., bytes]


def rows(dataset_dir: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(dataset_dir.glob("shards/*.parquet"))
    return {row["key"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def keys(dataset_dir: Path) -> list[str]:
    return [sample.key for tar in sorted(dataset_dir.glob("shards/*.tar")) for sample in iter_samples(tar)]


def all_bytes(dataset_dir: Path) -> dict[str, bytes]:
    """Everything that content is made of; statistics hold times, the account of hosts every request ever sent, and
    report and card tell of all of it."""
    endings = ("_stats.json", "_seen.parquet")
    paths = [path for path in dataset_dir.rglob("*") if path.is_file() and not path.name.endswith(endings)]
    others = {"manifest.json", "hosts.json", "report.html", "croissant.json", "README.md"}
    return {str(path.relative_to(dataset_dir)): path.read_bytes() for path in paths if path.name not in others}


def named(**names: Any) -> PurgeRequest:
    return PurgeRequest.parse(**names)


@pytest.fixture
def pictures(site: Any, make_png: MakePng, tmp_path: Path) -> str:
    """Ten pictures, one that is missing, one that redirects to the fifth, and a repeated row: four shards."""
    site.content |= {f"/{n}.png": make_png((n * 20, 0, 0)) for n in range(10)}
    site.content["/moved.png"] = 301
    site.headers["/moved.png"] = {"Location": "/5.png"}
    names = [*(f"/{n}.png" for n in range(10)), "/missing.png", "/moved.png", "/2.png"]
    path = tmp_path / "list.csv"
    lines = (f"{site.url(name)},caption of {name},from {name}\n" for name in names)
    path.write_text("url,caption,note\n" + "".join(lines))
    return str(path)


@pytest.fixture
def dataset(pictures: str, tmp_path: Path) -> Path:
    ingest(pictures, CONFIG, tmp_path / "ds")
    return tmp_path / "ds"


def test_a_url_goes_and_leaves_a_tombstone(site: Any, dataset: Path) -> None:
    old, before, digest = rows(dataset), all_bytes(dataset), read_manifest(dataset).digest
    told: list[Progress] = []
    result = purge(dataset, named(urls=[site.url("/1.png").replace("http", "HTTP")]), on_progress=told.append)
    assert (result.num_rows, result.num_pictures, result.shards) == (1, 1, ("00000",))
    assert result.uids == {old["000001"]["uid"]}
    url_hash = hashlib.sha256(site.url("/1.png").encode()).hexdigest()
    empty = dict.fromkeys(
        ["width", "height", "original_width", "original_height", "sha256", "phash", "original_format", "original_mode",
         "frames", "color_grid"]
    )  # fmt: skip
    assert rows(dataset)["000001"] == empty | {
        "note": "", "caption": "", "url": f"sha256:{url_hash}", "key": "000001", "status": "purged",
        "error_message": "removed on request", "uid": old["000001"]["uid"], "reason": "purged", "http_status": 0,
        "final_url": "", "page_url": "", "caption_source": "", "attributes": "{}", "sample_crc32": 0,
        "signals": "", "license": "",
    }  # fmt: skip
    assert {key: row for key, row in rows(dataset).items() if key != "000001"} == {
        key: row for key, row in old.items() if key != "000001"
    }
    assert keys(dataset) == [key for key, row in old.items() if row["status"] == "success" and key != "000001"]
    after = all_bytes(dataset)
    assert {name for name in after if after[name] != before.get(name)} == {
        "shards/00000.tar", "shards/00000.parquet", "_parts/00000.parquet", "purged.jsonl", "purged_deny_list.txt",
        "duplicates.parquet"
    }  # fmt: skip
    assert json.loads(after["purged.jsonl"]) == {
        "key": "000001", "uid": old["000001"]["uid"], "url_sha256": url_hash
    }  # fmt: skip
    (host,) = [entry for entry in json.loads((dataset / "hosts.json").read_bytes())["hosts"] if entry["host"]]
    assert (host["kept"], host["sources"], host["requests"] > host["sources"]) == (10, 12, True)
    manifest = read_manifest(dataset)
    assert manifest.digest == result.digest != digest
    assert (manifest.counts["kept"], manifest.counts["rejected"], manifest.counts["rejected:purged"]) == (10, 3, 1)
    assert manifest.counts["seen"] == 13
    assert not verify(dataset).damaged
    assert told[-1].step == "purge"


def test_nothing_of_the_picture_is_left_on_disk(site: Any, dataset: Path) -> None:
    (picture,) = [s.picture for s in iter_samples(dataset / "shards/00000.tar") if s.key == "000001"]
    assert base64.b64encode(picture) in (dataset / "report.html").read_bytes()
    purge(dataset, named(urls=[site.url("/1.png")]))
    for path in (path for path in dataset.rglob("*") if path.is_file()):
        body = path.read_bytes()
        assert picture not in body and base64.b64encode(picture) not in body, path
        assert b"caption of /1.png" not in body and b"from /1.png" not in body, path
        assert site.url("/1.png").encode() not in body, path
    part = pq.read_table(dataset / "_parts/00000.parquet").to_pylist()[1]
    assert (part["caption"], part["extra"], part["reason"]) == ("", "{}", "purged")
    assert not list(dataset.glob(".rewrite*"))


def test_a_redirect_goes_by_where_it_led_and_repeated_rows_go_too(site: Any, dataset: Path) -> None:
    result = purge(dataset, named(urls=[site.url("/5.png"), site.url("/2.png")]))
    gone = {key for key, row in rows(dataset).items() if row["reason"] == "purged"}
    assert gone == {"000002", "000011", "000023", "000030"}
    assert (result.num_rows, result.num_pictures) == (4, 3)


def test_a_hash_goes_wherever_its_url_stands(dataset: Path) -> None:
    digest = rows(dataset)["000002"]["sha256"]
    purge(dataset, named(sha256s=[digest.upper()]))
    assert {key for key, row in rows(dataset).items() if row["reason"] == "purged"} == {"000002", "000030"}


def test_a_domain_goes_with_those_below_it_and_no_other(dataset: Path) -> None:
    assert purge(dataset, named(domains=["0.0.1", "27.0.0.1", "example.org"])).num_rows == 0
    everything = purge(dataset, named(domains=["127.0.0.1"]))
    assert keys(dataset) == []
    assert read_manifest(dataset).counts["kept"] == 0
    assert everything.shards[-1] == "00003"


@pytest.mark.parametrize(
    ("domain", "url", "expected"),
    [
        ("example.org", "http://example.org/x", True),
        ("Example.ORG", "http://img.example.org:8080/x", True),
        ("bücher.example", "http://www.xn--bcher-kva.example/x", True),
        ("example.org", "http://notexample.org/x", False),
        ("img.example.org", "http://example.org/x", False),
        ("example.org", "folder/example.org", False),
    ],
)
def test_domains_match_whole_labels(domain: str, url: str, expected: bool) -> None:
    row = {"url": url, "final_url": "", "sha256": None}
    assert named(domains=[domain]).names(row) is expected


def test_doing_it_again_changes_nothing_and_fetches_nothing(site: Any, pictures: str, dataset: Path) -> None:
    first = purge(dataset, named(urls=[site.url("/1.png")]))
    before = all_bytes(dataset)
    again = purge(dataset, named(urls=[site.url("/1.png")]))
    assert (again.num_rows, again.digest, again.uids) == (0, first.digest, first.uids)
    assert all_bytes(dataset) == before
    site.requests.clear()
    ref = ingest(pictures, CONFIG, dataset)
    assert (ref.hit, ref.digest) == (True, first.digest)
    assert site.requests == []


@pytest.mark.parametrize("lost", [["shards/00000.tar"], ["shards/00000_stats.json", "_parts/plan.json"]])
def test_a_refilled_shard_keeps_its_tombstones(site: Any, pictures: str, dataset: Path, lost: list[str]) -> None:
    digest = purge(dataset, named(urls=[site.url("/1.png"), site.url("/6.png")])).digest
    before = all_bytes(dataset)
    for name in lost:
        (dataset / name).unlink()
    site.requests.clear()
    assert ingest(pictures, CONFIG, dataset).digest == digest
    assert all_bytes(dataset) == before
    assert not {"/1.png", "/6.png"} & set(site.requests)
    assert "/0.png" in site.requests


def test_a_data_set_that_takes_its_place_keeps_it_out(site: Any, pictures: str, dataset: Path) -> None:
    purge(dataset, named(urls=[site.url("/1.png")]))
    site.requests.clear()
    other = CONFIG.with_changes(image_size=8, samples_per_shard=3)
    ref = ingest(pictures, other, dataset, on_conflict="replace")
    assert (ref.hit, ref.counts["rejected:purged"], rows(dataset)["000001"]["reason"]) == (False, 1, "purged")
    assert "/1.png" not in site.requests
    assert "/0.png" in site.requests


# Ends the process at the rename that comes after so many others.
PROGRAM = """
import os
from pathlib import Path
from t2i_core.ingestion.step import ingest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
# These are imported when a dataset is written.
import t2i_core.data.account.card, t2i_core.data.account.page, t2i_core.data.account.readme_card

def die_after(left):
    replace = os.replace
    def dying(*arguments, **folders):
        nonlocal left
        if left == 0:
            os._exit(9)
        left -= 1
        return replace(*arguments, **folders)
    os.replace = dying

def act(order):
    die_after(order["steps"])
    folder = Path(order["folder"])
    if "urls" in order:
        purge(folder, PurgeRequest.parse(urls=order["urls"]))
    else:
        ingest(order["source"], IngestConfig.model_validate(order["config"]), folder, on_conflict="replace")
"""


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServer]:
    with ForkServer(PROGRAM) as processes:
        yield processes


def test_killed_between_any_two_steps_it_is_done_or_not_done(
    site: Any, pictures: str, dataset: Path, processes: ForkServer
) -> None:
    urls = [site.url("/1.png"), site.url("/6.png")]
    old = all_bytes(dataset)
    whole = dataset.with_name("whole")
    shutil.copytree(dataset, whole)
    digest = purge(whole, named(urls=urls)).digest
    new = all_bytes(whole)
    states = []
    for steps in range(100):
        killed = dataset.with_name(f"killed{steps}")
        shutil.copytree(dataset, killed)
        code = processes.run(steps=steps, folder=str(killed), urls=urls)
        site.requests.clear()
        assert ingest(pictures, CONFIG, killed).hit
        assert site.requests == []
        found = all_bytes(killed)
        states.append("old" if found == old else "new" if found == new else "neither")
        assert not verify(killed).damaged
        assert purge(killed, named(urls=urls)).digest == digest
        assert all_bytes(killed) == new
        if code == 0:
            break
        assert code == 9
    assert states == sorted(states, reverse=True)
    assert states.count("old") >= 8
    assert states.count("new") >= 8
    assert "neither" not in states


def test_a_replacement_that_is_killed_at_any_step_brings_nothing_back(
    site: Any, pictures: str, dataset: Path, processes: ForkServer
) -> None:
    purge(dataset, named(urls=[site.url("/1.png")]))
    other = CONFIG.with_changes(image_size=8)
    site.requests.clear()
    # The first renames are those of claiming the folder.
    for steps in range(7):
        killed = dataset.with_name(f"killed{steps}")
        shutil.copytree(dataset, killed)
        order = {"folder": str(killed), "source": pictures, "config": other.model_dump(mode="json")}
        assert processes.run(steps=steps, **order) == 9
        ref = ingest(pictures, other, killed, on_conflict="replace")
        assert (ref.counts["rejected:purged"], rows(killed)["000001"]["reason"]) == (1, "purged")
        assert not list(killed.parent.glob(".killed*"))
    assert "/1.png" not in site.requests


def test_a_damaged_shard_is_not_touched(site: Any, dataset: Path) -> None:
    tar = dataset / "shards/00001.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    before = all_bytes(dataset)
    with pytest.raises(ShardError, match="verify --repair"):
        purge(dataset, named(urls=[site.url("/1.png"), site.url("/6.png")]))
    assert all_bytes(dataset) == before
    verify(dataset, repair=True)
    with pytest.raises(DataError, match=r"00001\.parquet"):
        purge(dataset, named(urls=[site.url("/1.png")]))


def set_aside(pictures: str, dataset: Path, shard: str) -> tuple[str, ...]:
    """Have the copies of a damaged shard lie beside the one that took its place."""
    (dataset / f"shards/{shard}_stats.json").write_text("{}")
    verify(dataset, repair=True)
    ingest(pictures, CONFIG, dataset)
    return tuple(sorted(path.name for path in dataset.glob("shards/*.damaged")))


def test_copies_set_aside_are_deleted(site: Any, pictures: str, dataset: Path) -> None:
    (picture,) = [s.picture for s in iter_samples(dataset / "shards/00000.tar") if s.key == "000001"]
    copies = set_aside(pictures, dataset, "00000")
    assert copies == ("00000.parquet.damaged", "00000.tar.damaged", "00000_stats.json.damaged")
    result = purge(dataset, named(urls=[site.url("/1.png")]))
    assert result.deleted == copies
    left = [path for path in dataset.rglob("*") if path.is_file() and picture in path.read_bytes()]
    assert (left, list(dataset.glob("shards/*.damaged"))) == ([], [])
    assert not verify(dataset).damaged


def test_a_copy_goes_though_its_shard_lost_the_picture(site: Any, pictures: str, dataset: Path) -> None:
    digest = rows(dataset)["000001"]["sha256"]
    site.content["/1.png"] = 404
    copies = set_aside(pictures, dataset, "00000")
    result = purge(dataset, named(sha256s=[digest]))
    assert (result.num_rows, result.deleted) == (0, copies)
    assert list(dataset.glob("shards/*.damaged")) == []


def test_the_data_set_that_was_replaced_is_purged_too(site: Any, pictures: str, dataset: Path) -> None:
    previous = dataset.with_name("ds.previous")
    uid = rows(dataset)["000001"]["uid"]
    shutil.copytree(dataset, previous)
    # What is only in the older one has to be found as well.
    purge(dataset, named(urls=[site.url("/2.png")]))
    shutil.rmtree(previous)
    ingest(pictures, CONFIG.with_changes(image_size=8), dataset, on_conflict="replace")
    assert rows(previous)["000001"]["status"] == "success"
    result = purge(dataset, named(urls=[site.url("/1.png")]))
    assert (result.previous, result.unread, uid in result.uids) == (previous, None, True)
    assert rows(previous)["000001"]["reason"] == "purged"
    assert not verify(previous).damaged


@pytest.mark.parametrize("lost", ["manifest.json", "shards/00000.parquet"])
def test_an_older_data_set_that_cannot_be_purged_is_named(site: Any, dataset: Path, lost: str) -> None:
    previous = dataset.with_name("ds.previous")
    shutil.copytree(dataset, previous)
    (previous / lost).unlink()
    result = purge(dataset, named(urls=[site.url("/1.png")]))
    assert (result.num_rows, result.previous, result.unread) == (1, None, previous)


@pytest.fixture
def longer_list(site: Any, pictures: str, make_png: MakePng, tmp_path: Path) -> str:
    """Pictures that were not in the first list: a new one, the first's bytes, a way to it, and one at another host."""
    site.content |= {"/new.png": make_png((7, 7, 7)), "/copy.png": site.content["/1.png"], "/way.png": 301}
    site.headers["/way.png"] = {"Location": "/1.png"}
    names = ["/new.png", "/copy.png", "/way.png", "/1.png?same=no"]
    urls = [*map(site.url, names), f"http://img.localhost:{site.port}/0.png", f"http://localhost:{site.port}/0.png"]
    path = tmp_path / "longer.csv"
    path.write_text("url,caption\n" + "".join(f"{url},text {number}\n" for number, url in enumerate(urls)))
    return str(path)


@pytest.mark.parametrize("stays", [True, False])
def test_a_later_ingest_into_the_folder_brings_nothing_back(
    site: Any, longer_list: str, dataset: Path, stays: bool
) -> None:
    digest = rows(dataset)["000001"]["sha256"]
    purge(dataset, named(urls=[site.url("/1.png")], domains=["localhost"], sha256s=[digest]))
    site.requests.clear()
    config = CONFIG
    if not stays:
        # Another folder that is told of the list.
        dataset, config = (
            dataset.with_name("other"),
            CONFIG.with_changes(deny_list=str(dataset / "purged_deny_list.txt")),
        )
    ingest(longer_list, config, dataset, on_conflict="replace")
    named_there = "purged" if stays else "denied"
    assert [row["reason"] for row in rows(dataset).values()] == ["", "denied", "denied", "denied", *[named_there] * 2]
    assert "/1.png" not in site.requests
    assert site.requests.count("/robots.txt") == 1


def test_what_was_never_there_is_kept_out_as_well(site: Any, longer_list: str, dataset: Path) -> None:
    result = purge(dataset, named(urls=[site.url("/new.png")]))
    assert (result.num_rows, result.digest) == (0, read_manifest(dataset).digest)
    ingest(longer_list, CONFIG, dataset, on_conflict="replace")
    assert rows(dataset)["000000"]["reason"] == "purged"
    # What is kept out is not spelled, and what a person adds stays.
    path = dataset / "purged_deny_list.txt"
    text = path.read_text()
    assert site.url("/new.png") not in text
    path.write_text(f"{text}# asked for by mail\nhttp://a.example:80/x/\n")
    purge(dataset, named(domains=["b.example"]))
    purge(dataset, named(domains=["b.example"]))
    assert path.read_text() == f"{text}# asked for by mail\nhttp://a.example:80/x/\nb.example\n"


def test_a_file_names_all_three(tmp_path: Path) -> None:
    path = tmp_path / "requests.txt"
    path.write_text(f"# to remove\n\nhttp://a.example/x.png\nB.example\n{'AB' * 32}\nfolder/picture.png\n")
    listed = named(file=path)
    assert listed == named(
        urls=["http://a.example/x.png", "folder/picture.png"], domains=["b.example"], sha256s=["ab" * 32]
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "nothing is named"),
        ({"sha256s": ["abc"]}, "64 hexadecimal"),
        ({"domains": ["http://a.example/x"]}, "not a domain"),
        ({"domains": ["a.example:80"]}, "not a domain"),
        ({"domains": ["  "]}, "empty domain"),
        ({"urls": [""]}, "empty URL"),
        ({"file": Path("nowhere.txt")}, r"cannot read .* nowhere\.txt"),
    ],
)
def test_requests_that_cannot_be_right_are_refused(names: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named(**names)


def test_the_licenses_of_the_rest_stay_where_they_are(site: Any, make_png: MakePng, tmp_path: Path) -> None:
    site.content |= {f"/{n}.png": make_png((n * 40, 0, 0)) for n in range(3)}
    pictures = "".join(f"<img src=/{n}.png alt='picture {n}'>" for n in range(3))
    site.content["/"] = f"<a rel=license href=/free>free</a>{pictures}"
    ingest(site.url("/"), CONFIG.with_changes(max_depth=0), tmp_path / "ds")
    table = tmp_path / "ds/shards/00000.parquet"
    before = pq.read_table(table)
    purge(tmp_path / "ds", named(urls=[site.url("/1.png")]))
    after = pq.read_table(table)
    assert after.schema == before.schema and after.column_names[-1] == "license"
    assert after["license"].to_pylist() == [site.url("/free"), "", site.url("/free")]
