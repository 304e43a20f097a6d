"""What may pass is asked for again, what a host asks to wait for is waited for or given up, and never asked early."""

import asyncio
import io
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from PIL import Image

from t2i_core.data.answer import Fetched
from t2i_core.data.manners.channel import CoordinatorAddress
from t2i_core.data.manners.coordinator import coordinating
from t2i_core.data.manners.manners import Manners
from t2i_core.data.manners.shared import shared_manners
from t2i_core.data.traffic import Traffic
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.waits import telling
from tests.t2i_core.data.web.fault_server import Answer, End, FaultServer, busy, http

CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png()
FAULTS = {
    **{str(status): http(status) for status in (408, 425, 429, 500, 502, 503, 504)},
    "500 with a body": http(500, b"<html>" * 20_000),
    "429 at once": http(429, headers={"Retry-After": "0"}),
    "503 in the past": http(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "reset": Answer(b"", End.RESET),
    "closed": Answer(b"", End.CLOSE),
    "reset in the body": http(body=PICTURE, sent=200, end=End.RESET),
    "short": http(body=PICTURE, sent=200, end=End.CLOSE),
    "short chunk": http(body=b"ff\r\nx", headers=CHUNKED, end=End.CLOSE),
    "no last chunk": http(body=b"3\r\nabc\r\n", headers=CHUNKED, end=End.CLOSE),
    "broken chunk": http(body=b"zz\r\nxxx\r\n", headers=CHUNKED, end=End.CLOSE),
}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(2).serving() as serving:
        yield serving


def reasons(urls: list[str], **changes: Any) -> tuple[list[str], dict[str, Traffic]]:
    options = FetchOptions(
        **({"allow_private": ("localhost",), "opt_out_files": False, "timeout_seconds": 5} | changes)
    )

    async def one(fetcher: Fetcher, url: str) -> str:
        async with fetcher.fetch(url) as answer:
            return "" if isinstance(answer, Fetched) else str(answer.reason)

    async def run() -> tuple[list[str], dict[str, Traffic]]:
        async with Fetcher(options) as fetcher:
            found = await asyncio.gather(*(one(fetcher, url) for url in urls))
            return found, fetcher.take_traffic()

    return asyncio.run(run())


def test_a_picture_whose_server_failed_once_is_kept(server: FaultServer) -> None:
    urls = []
    for number, fault in enumerate(FAULTS.values()):
        server.answers[server.ports[0], f"/{number}"] = (fault, http(body=PICTURE))
        urls.append(server.url(0, f"/{number}"))
    # What is tested elsewhere, that many failures in a row are followed by a pause, is not waited for here.
    found, traffic = reasons(urls, retries=2, failures_in_row=1000)
    assert dict(zip(FAULTS, found, strict=True)) == dict.fromkeys(FAULTS, "")
    assert traffic["127.0.0.1"].requests == len(server.log)


@pytest.mark.parametrize("who", ["one process", "one of several"])
def test_who_is_waited_for_is_known_and_why(server: FaultServer, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    monkeypatch.setattr("t2i_core.data.web.waits.SECONDS_BETWEEN_LOOKS", 0.05)
    server.answers[server.ports[0], "/x"] = (http(503, headers={"Retry-After": "2"}), http(body=PICTURE))
    options = FetchOptions(allow_private=("localhost",), opt_out_files=False, delay_seconds=0.5)
    told = list[str]()

    async def run(manners: Manners | None) -> None:
        async with Fetcher(options, manners) as fetcher, telling(fetcher.waits, told.append):
            async with fetcher.fetch(server.url(0, "/x")) as answer:
                assert isinstance(answer, Fetched)
            await asyncio.sleep(0.2)

    async def run_shared(address: CoordinatorAddress) -> None:
        async with shared_manners(address, options.host_limits) as manners:
            await run(manners)

    if who == "one process":
        asyncio.run(run(None))
    else:
        with coordinating(options.host_limits) as address:
            asyncio.run(run_shared(address))

    assert told[-1] == "" and all(text.startswith("0:00:0") and " for 127.0.0.1" in text for text in told if text)
    assert any(text.endswith("(one request every 0.5 s)") for text in told)
    assert any(text.endswith("(it asked for a pause, 0:00:01 left)") for text in told)


def test_a_head_that_breaks_off_is_asked_for_again(server: FaultServer) -> None:
    server.answers[server.ports[0], "/x"] = (Answer(b"HTTP/1.1 200 -\r\nContent-Le", End.CLOSE), http(body=PICTURE))
    assert reasons([server.url(0, "/x")], retries=1)[0] == [""]


def test_a_failure_of_one_url_does_not_hold_up_its_host(server: FaultServer) -> None:
    server.answers[server.ports[0], "/broken"] = (http(502),)
    server.files["/good"] = http(body=PICTURE)
    urls = [server.url(0, "/broken"), *(server.url(0, f"/good?{number}") for number in range(20))]
    started = monotonic()
    found, _ = reasons(urls, retries=1, connections_per_host=1)
    assert found == ["http_5xx", *[""] * 20]
    # The broken one waits half a second at least before it is asked for again.
    again = [request.started for request in server.log if request.path == "/broken"][1]
    assert all(request.started < again for request in server.log if request.path.startswith("/good"))
    assert again - started >= 0.5


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize("dated", [False, True])
def test_a_pause_longer_than_the_patience_is_never_cut_short(server: FaultServer, status: int, *, dated: bool) -> None:
    server.answers[server.ports[0], "/busy"] = (busy(status, 3600, dated=dated), http(body=PICTURE))
    server.files["/good"] = http(body=PICTURE)
    urls = [server.url(0, "/busy"), server.url(0, "/good"), server.url(1, "/good")]
    found, _ = reasons(urls, retries=3, connections_per_host=1)
    reason = "http_429" if status == 429 else "http_5xx"
    # Its host is not asked for anything else either; another one is.
    assert found == [reason, "host_unreachable", ""]
    assert [request.path for request in server.log if request.port == server.ports[0]] == ["/robots.txt", "/busy"]


def test_robots_txt_that_is_not_to_be_had_just_now_closes_the_site(server: FaultServer) -> None:
    for status in (408, 425, 429):
        server.answers[server.ports[0], "/robots.txt"] = (http(status),)
        assert reasons([server.url(0, "/x")], retries=0)[0] == ["robots_unavailable"]
