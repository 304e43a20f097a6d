"""A few sites or machines cannot take all connections, however many names they have, nor all the time there is."""

import asyncio
import csv
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from t2i_core.data.account.shortfall import is_in_part
from t2i_core.data.answer import Fetched
from t2i_core.data.manners.manners import GivenUp
from t2i_core.data.reject import RejectReason
from t2i_core.data.web import resolver, shares
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.shares import Shares, machine_of, site_of
from t2i_core.ingestion import harvest
from t2i_core.ingestion.retry import retry_ingest
from t2i_core.ingestion.step import IngestConfig, ingest, ingest_key
from tests.t2i_core.data.web.test_faults import reasons_in

EVIL_ADDRESS = "127.0.0.2"


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("img1.example.com", "example.com"),
        ("a.b.c.example.co.uk", "example.co.uk"),
        ("someone.github.io", "someone.github.io"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
        ("example.com.", "example.com"),
        ("x.y.unknown-end", "y.unknown-end"),
    ],
)
def test_a_site_is_what_its_owner_registered(host: str, site: str) -> None:
    assert site_of(host) == site


def test_a_machine_has_one_address_or_one_network_of_the_new_ones() -> None:
    assert machine_of("8.8.8.8") != machine_of("8.8.8.9")
    assert machine_of("2a00::1") == machine_of("2a00::ffff:1:2:3") != machine_of("2a00:0:0:1::1")


@asynccontextmanager
async def hanging_server(log: list[str]) -> AsyncIterator[int]:
    """Take connections at another address than all others, and never answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log.append((await reader.readline()).decode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, EVIL_ADDRESS, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def evil_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "system_addresses", lambda host: [EVIL_ADDRESS])


EVIL = {
    "names of one site": lambda number: f"a{number}.evil.example",
    "names at one address": lambda number: f"www.evil{number}.example",
}


@pytest.mark.parametrize("kind", EVIL)
@pytest.mark.usefixtures("evil_names")
def test_hosts_that_hang_do_not_hold_up_others(site: Any, kind: str) -> None:
    site.content["/x.png"] = b"fine"
    log: list[str] = []

    async def one(fetcher: Fetcher, url: str) -> str:
        async with fetcher.fetch(url) as answer:
            return "" if isinstance(answer, Fetched) else str(answer.reason)

    async def run() -> tuple[list[str], int]:
        options = FetchOptions(
            connections=8, connections_per_host=2, timeout_seconds=30, retries=0, allow_private=("localhost",)
        )
        async with hanging_server(log) as port, Fetcher(options) as fetcher:
            evil = [f"http://{EVIL[kind](number)}:{port}/x.png" for number in range(40)]
            hanging = [asyncio.create_task(one(fetcher, url)) for url in evil]
            await asyncio.sleep(0.3)
            async with asyncio.timeout(10):
                good = await asyncio.gather(*(one(fetcher, site.url(f"/x.png?{number}")) for number in range(20)))
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            return good, len(log)

    assert asyncio.run(run()) == ([""] * 20, 2)


@pytest.mark.usefixtures("evil_names")
def test_a_site_that_only_wastes_time_is_given_up_with_all_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "WASTED_SECONDS", 0.3)
    monkeypatch.setattr(shares, "PROBATION_SECONDS", 0.3)
    log: list[str] = []

    async def one(fetcher: Fetcher, url: str) -> str:
        async with fetcher.fetch(url) as answer:
            return "" if isinstance(answer, Fetched) else str(answer.reason)

    async def run() -> list[str]:
        options = FetchOptions(connections=8, timeout_seconds=0.2, retries=0, allow_private=("localhost",))
        async with hanging_server(log) as port, Fetcher(options) as fetcher:
            urls = [f"http://a{number}.evil.example:{port}/x.png" for number in range(200)]
            async with asyncio.timeout(20):
                return await asyncio.gather(*(one(fetcher, url) for url in urls))

    found = asyncio.run(run())
    assert set(found) == {"timeout", "host_unreachable"}
    assert len(log) < 30 > found.count("timeout")


def test_answers_earn_back_what_was_wasted() -> None:
    given_up = GivenUp()
    group = Shares(8, 2, given_up).of_site("a.example")
    for _ in range(100):
        for _ in range(2):
            group.note(20.0, wasted=True)
        group.note(1.0, wasted=False)
    assert group.admits
    for _ in range(40):
        group.note(20.0, wasted=True)
    assert not group.admits and given_up.names == {"site a.example"}


def config(**changes: Any) -> IngestConfig:
    usual = {"image_size": 16, "encode_format": "png", "allow_private": ("localhost",), "retries": 0}
    return IngestConfig(**usual | {"opt_out_files": False, "samples_per_shard": 2} | changes)


def write_list(path: Path, urls: list[str]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("url", "caption"), *((url, f"number {n}") for n, url in enumerate(urls))])
    return str(path)


def test_when_the_time_is_up_what_is_missing_says_so_and_can_be_had_later(
    site: Any, tmp_path: Path, make_png: Callable[..., bytes]
) -> None:
    is_slow = True

    async def slow(request: Any) -> Any:
        from aiohttp import web

        if is_slow:
            await asyncio.sleep(20)
        return web.Response(body=make_png((1, 2, int(request.path[2:]))))

    site.content |= {f"/{number}": make_png((number, 200, 9)) for number in range(3)}
    site.content |= {f"/s{number}": slow for number in range(3)}
    source = write_list(tmp_path / "list.csv", [site.url(path) for path in ("/0", "/1", "/2", "/s0", "/s1", "/s2")])
    options = config(max_minutes=2 / 60)
    ref = ingest(source, options, tmp_path / "ds")
    assert reasons_in(tmp_path / "ds") == ["", "", "", *["out_of_time"] * 3]
    assert ref.counts["rejected:out_of_time"] == 3
    assert is_in_part(ref.counts)
    # It is found again whatever time it had, and completed.
    assert ingest_key(source, options) == ingest_key(source, config())
    is_slow = False
    retry_ingest(source, config(), tmp_path / "ds", {RejectReason.OUT_OF_TIME})
    assert reasons_in(tmp_path / "ds") == [""] * 6


def test_shards_that_wait_for_a_slow_host_do_not_hold_up_the_next(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_png: Callable[..., bytes]
) -> None:
    monkeypatch.setattr(harvest, "STALL_SECONDS", 0.2)
    asked: list[str] = []

    async def slow(request: Any) -> Any:
        from aiohttp import web

        asked.append(request.path)
        while "/7" not in asked:
            await asyncio.sleep(0.05)
        return web.Response(body=make_png((1, 2, int(request.path[2:]))))

    async def last(request: Any) -> Any:
        from aiohttp import web

        asked.append(request.path)
        return web.Response(body=make_png((90, 20, 30)))

    site.content |= {f"/s{number}": slow for number in range(2)} | {"/7": last}
    site.content |= {f"/{number}": make_png((number, 200, 9)) for number in range(7)}
    paths = ["/0", "/s0", "/1", "/s1", "/2", "/3", "/4", "/5", "/6", "/7"]
    ingest(write_list(tmp_path / "list.csv", [site.url(path) for path in paths]), config(), tmp_path / "ds")
    assert reasons_in(tmp_path / "ds") == [""] * 10
