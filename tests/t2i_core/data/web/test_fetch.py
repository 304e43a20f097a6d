import asyncio
import gzip
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from t2i_core.data import address
from t2i_core.data.address import normalise_url
from t2i_core.data.answer import Fetched
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.traffic import Traffic
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.verdict import Want

Fetch = Callable[..., list[Fetched | Rejection]]


def reason(answer: Fetched | Rejection) -> str:
    return str(answer.reason) if isinstance(answer, Rejection) else "ok"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP://EXAMPLE.com:80/a b?x=1#part", "http://example.com/a%20b?x=1"),
        ("  https://münchen.example/ä ", "https://xn--mnchen-3ya.example/%C3%A4"),
        ("http://example.com/?a=1&amp;b=2", "http://example.com/?a=1&b=2"),
        ("http://example.com/a%2Fb%20c", "http://example.com/a%2Fb%20c"),
        ("http://example.com", "http://example.com/"),
        ('http://example.com/a,b,"c".png', "http://example.com/a,b,%22c%22.png"),
        ("", RejectReason.BAD_URL),
        ("cat.png", RejectReason.BAD_URL),
        ("http:///nowhere", RejectReason.BAD_URL),
        ("http://[]@/a.png", RejectReason.BAD_URL),
        ("http://user:secret@example.com/", RejectReason.BAD_URL),
        ("http://exa mple.com/", RejectReason.BAD_URL),
        ("http://example.com:99999/", RejectReason.BAD_URL),
        ("http://example.com/\r\nHost: evil", RejectReason.BAD_URL),
        ("http://example.com/" + "a" * 9000, RejectReason.BAD_URL),
        ("file:///etc/passwd", RejectReason.BAD_SCHEME),
        ("data:image/png;base64,AAAA", RejectReason.BAD_SCHEME),
        ("ftp://example.com/a.png", RejectReason.BAD_SCHEME),
        ("javascript:alert(1)", RejectReason.BAD_SCHEME),
    ],
)
def test_a_url_has_one_spelling_or_a_reason(text: str, expected: str | RejectReason) -> None:
    url = normalise_url(text)
    assert (str(url) if isinstance(url, URL) else url.reason) == expected


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "[::ffff:169.254.169.254]", "100.64.0.1",
        "0.0.0.0", "[::]", "224.0.0.1", "255.255.255.255", "[fc00::1]", "[ff02::1]",
    ],
)  # fmt: skip
def test_no_spelling_of_a_private_address_is_asked(site: Any, host: str, fetch: Fetch) -> None:
    site.content["/x.png"] = b"secret"
    [answer] = fetch(f"http://{host}:{site.port}/x.png", allow_private=())
    assert reason(answer) == "private_address"
    assert site.requests == []


@pytest.mark.parametrize("host", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(host: str) -> None:
    assert address.is_public(ip_address(host))


def test_a_redirect_to_a_private_address_is_not_followed(
    site: Any, monkeypatch: pytest.MonkeyPatch, fetch: Fetch
) -> None:
    # A public host is played by this machine: 127.0.0.1 counts as public here, and nothing else changes.
    is_public = address.is_public
    monkeypatch.setattr(address, "is_public", lambda ip: str(ip) == "127.0.0.1" or is_public(ip))
    site.content |= {"/to-meta": 302, "/to-name": 302, "/to-file": 302, "/to-self": 302, "/x.png": b"fine"}
    site.headers |= {
        "/to-meta": {"Location": "http://169.254.169.254/latest/meta-data/"},
        "/to-name": {"Location": f"http://[::1]:{site.port}/x.png"},
        "/to-file": {"Location": "file:///etc/passwd"},
        "/to-self": {"Location": "x.png"},
    }
    paths = ["/to-meta", "/to-name", "/to-file", "/to-self"]
    answers = fetch(*(site.url(path) for path in paths), allow_private=())
    assert [reason(answer) for answer in answers] == ["private_address", "private_address", "bad_scheme", "ok"]


def test_a_body_arrives_with_where_it_came_from(site: Any, fetch: Fetch) -> None:
    site.content |= {"/a": 301, "/b": 307, "/x.png": b"picture"}
    site.headers |= {"/a": {"Location": "/b"}, "/b": {"Location": site.url("/x.png#part")}}
    [answer] = fetch(site.url("/a"), contact="https://example.org/me")
    assert isinstance(answer, Fetched)
    assert (answer.body, answer.final_url, answer.http_status) == (b"picture", site.url("/x.png"), 200)
    assert all("t2i/" in agent and "https://example.org/me" in agent for agent in site.user_agents)


def test_a_redirect_loop_ends(site: Any, fetch: Fetch) -> None:
    site.content["/loop"] = 302
    site.headers["/loop"] = {"Location": "/loop"}
    [answer] = fetch(site.url("/loop"))
    assert reason(answer) == "too_many_redirects"
    assert site.requests.count("/loop") == 6


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, "http_4xx"),
        (403, "http_4xx"),
        (500, "http_5xx"),
        (503, "http_5xx"),
        (429, "http_429"),
        (204, "http_other"),
    ],
)
def test_statuses_become_reasons(site: Any, status: int, expected: str, fetch: Fetch) -> None:
    site.content["/x"] = status
    site.headers["/x"] = {"Retry-After": "0"}
    [answer] = fetch(site.url("/x"))
    assert isinstance(answer, Rejection)
    assert (answer.reason, answer.http_status) == (expected, status)
    assert str(status) in answer.message


def test_a_busy_host_is_asked_again_and_a_refusal_never(site: Any, fetch: Fetch) -> None:
    tries = 0

    async def busy_twice(_: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(status=429, headers={"Retry-After": "0"}) if tries < 3 else web.Response(body=b"picture")

    site.content |= {"/busy": busy_twice, "/denied": 403, "/opted-out": b"picture"}
    site.headers["/opted-out"] = {"X-Robots-Tag": "noai"}
    answers = fetch(site.url("/busy"), site.url("/denied"), site.url("/opted-out"), retries=2)
    assert [reason(answer) for answer in answers] == ["ok", "http_4xx", "opt_out_header"]
    assert [site.requests.count(path) for path in ("/busy", "/denied", "/opted-out")] == [3, 1, 1]


def test_a_pause_holds_for_requests_that_had_their_turn_and_waited_for_a_connection(site: Any) -> None:
    starts: list[float] = []

    async def busy_once(_: web.Request) -> web.Response:
        starts.append(time.monotonic())
        await asyncio.sleep(0.05)
        busy = len(starts) == 1
        return web.Response(status=429, headers={"Retry-After": "1"}) if busy else web.Response(body=b"picture")

    site.content |= {f"/{number}": busy_once for number in range(8)}

    async def ask(fetcher: Fetcher, number: int) -> str:
        async with fetcher.fetch(site.url(f"/{number}")) as answer:
            return reason(answer)

    async def run() -> list[str]:
        options = FetchOptions(connections=1, connections_per_host=8, allow_private=("localhost",))
        async with Fetcher(options) as fetcher:
            return await asyncio.gather(*(ask(fetcher, number) for number in range(8)))

    assert asyncio.run(run()) == ["ok"] * 8
    # The answer that asked for the pause took a little time itself.
    assert [at for at in starts[1:] if at < starts[0] + 1.0] == []
    assert len(starts) == 9


def test_a_refused_picture_is_never_asked_for_again(site: Any, fetch: Fetch) -> None:
    refused = {"/noai": b"x", "/reserved": b"x", "/forbidden": 403, "/gone": 410}
    site.content |= refused | {f"/to{path}": 302 for path in refused}
    site.headers |= {f"/to{path}": {"Location": path} for path in refused}
    site.headers |= {"/noai": {"X-Robots-Tag": "noai"}, "/reserved": {"TDM-Reservation": "1"}}
    # Straight, again, under another spelling, and through a redirect.
    spellings = [site.url, site.url, lambda path: site.url(f"{path}#x"), lambda path: site.url(f"/to{path}")]
    answers = fetch(*(spelled(path) for path in refused for spelled in spellings), retries=3)
    expected = ["opt_out_header", "tdm_reserved", "http_4xx", "http_4xx"]
    assert [reason(answer) for answer in answers] == [name for name in expected for _ in spellings]
    assert [site.requests.count(path) for path in refused] == [1, 1, 1, 1]
    last = answers[-1]
    assert isinstance(last, Rejection)
    assert (last.http_status, last.final_url) == (410, site.url("/gone"))


def test_one_that_waits_for_its_turn_sees_the_refusal_of_another(site: Any) -> None:
    site.content["/noai"] = b"x"
    site.headers["/noai"] = {"X-Robots-Tag": "noai"}

    async def one(fetcher: Fetcher) -> str:
        async with fetcher.fetch(site.url("/noai")) as answer:
            return reason(answer)

    async def run() -> list[str]:
        async with Fetcher(FetchOptions(allow_private=("localhost",), connections_per_host=1)) as fetcher:
            return await asyncio.gather(*(one(fetcher) for _ in range(5)))

    assert asyncio.run(run()) == ["opt_out_header"] * 5
    assert site.requests.count("/noai") == 1


def test_what_is_denied_is_not_asked_for_at_any_hop(site: Any, fetch: Fetch) -> None:
    site.content |= {"/go": 302, "/away": 302, "/art/x.png": b"x", "/x.png": b"x"}
    site.headers |= {
        "/go": {"Location": "/art/x.png"},
        "/away": {"Location": f"http://localhost:{site.port}/x.png"},
    }
    deny_list = DenyList(frozenset({"localhost"}), (f"127.0.0.1:{site.port}/art/",))
    paths = ["/art/x.png", "/go", "/away", "/x.png"]
    answers = fetch(*(site.url(path) for path in paths), f"http://localhost:{site.port}/x.png", deny_list=deny_list)
    assert [reason(answer) for answer in answers] == ["denied", "denied", "denied", "ok", "denied"]
    asked = [path for path in site.requests if path not in ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json")]
    assert asked == ["/go", "/away", "/x.png"]
    assert site.requests.count("/robots.txt") == 1


def test_a_name_that_does_not_resolve_keeps_its_reason_when_remembered(site: Any, fetch: Fetch) -> None:
    answers = fetch("http://name.invalid/", "http://name.invalid:81/", "https://name.invalid/")
    assert [reason(answer) for answer in answers] == ["dns", "dns", "dns"]


def test_traffic_is_counted_by_host(site: Any) -> None:
    site.content |= {"/x.png": b"x" * 100, "/go": 302}
    site.headers["/go"] = {"Location": f"http://localhost:{site.port}/x.png"}

    async def run() -> list[dict[str, Traffic]]:
        async with Fetcher(FetchOptions(allow_private=("localhost",), opt_out_files=False)) as fetcher:
            for path in ("/x.png", "/go"):
                async with fetcher.fetch(site.url(path)) as answer:
                    assert isinstance(answer, Fetched)
            async with fetcher.fetch("http://name.invalid/") as answer:
                assert reason(answer) == "dns"
            return [fetcher.take_traffic(), fetcher.take_traffic()]

    first, second = asyncio.run(run())
    assert {host: sent.requests for host, sent in first.items()} == {"127.0.0.1": 3, "localhost": 2}
    assert first["localhost"].bytes >= 100
    assert second == {}


def test_robots_txt_is_asked_once_and_obeyed(site: Any, fetch: Fetch) -> None:
    site.content |= {"/robots.txt": "User-agent: *\nDisallow: /private/\n", "/private/x": b"x", "/y": b"y"}
    answers = fetch(site.url("/private/x"), site.url("/y"), site.url("/private/z"))
    assert [reason(answer) for answer in answers] == ["robots", "ok", "robots"]
    assert site.requests == ["/robots.txt", "/.well-known/tdmrep.json", "/ai.txt", "/y"]


def test_a_redirect_into_a_disallowed_place_stops(site: Any, fetch: Fetch) -> None:
    site.content |= {"/robots.txt": "User-agent: *\nDisallow: /private/\n", "/private/x": b"x", "/go": 302}
    site.headers["/go"] = {"Location": "/private/x"}
    [answer] = fetch(site.url("/go"))
    assert reason(answer) == "robots"
    assert "/private/x" not in site.requests


def test_a_broken_robots_txt_closes_the_site(site: Any, fetch: Fetch) -> None:
    site.content |= {"/robots.txt": 500, "/x": b"x"}
    [answer] = fetch(site.url("/x"))
    assert reason(answer) == "robots_unavailable"
    assert site.requests == ["/robots.txt"]


def test_bytes_are_capped_as_announced_and_as_they_arrive(site: Any, fetch: Fetch) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    site.content |= {"/announced": b"x" * 50_001, "/endless": endless, "/just-right": b"x" * 50_000}
    answers = fetch(*(site.url(path) for path in ("/announced", "/endless", "/just-right")), max_bytes=50_000)
    assert [reason(answer) for answer in answers] == ["too_many_bytes", "too_many_bytes", "ok"]


def test_a_compressed_bomb_is_cut_off(site: Any, fetch: Fetch) -> None:
    site.content |= {"/bomb": gzip.compress(bytes(50_000_000)), "/small": gzip.compress(b"picture"), "/odd": b"x"}
    site.headers |= {
        "/bomb": {"Content-Encoding": "gzip"},
        "/small": {"Content-Encoding": "gzip"},
        "/odd": {"Content-Encoding": "br"},
    }
    bomb, small, odd = fetch(*(site.url(path) for path in ("/bomb", "/small", "/odd")), max_bytes=100_000)
    assert reason(bomb) == "too_many_bytes"
    assert isinstance(small, Fetched) and small.body == b"picture"
    assert reason(odd) == "bad_response"


def test_a_slow_body_times_out_as_a_whole(site: Any, fetch: Fetch) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x")
            await asyncio.sleep(0.02)
        return response

    site.content["/drip"] = drip
    [answer] = fetch(site.url("/drip"), timeout_seconds=0.3)
    assert reason(answer) == "timeout"


def test_hosts_that_cannot_be_reached_say_how(site: Any, unused_port: int, fetch: Fetch) -> None:
    answers = fetch(f"http://127.0.0.1:{unused_port}/x", "http://name.invalid/x", f"https://127.0.0.1:{site.port}/x")
    assert [reason(answer) for answer in answers] == ["connect", "dns", "tls"]


def test_headers_are_capped(site: Any, fetch: Fetch) -> None:
    site.content |= {"/x": b"x"}
    site.headers["/x"] = {"X-Long": "y" * 20_000}
    [answer] = fetch(site.url("/x"))
    assert reason(answer) == "bad_response"


def test_pages_must_be_pages_and_keep_their_directives(site: Any, fetch: Fetch) -> None:
    site.content |= {"/page": "<p>hello", "/x.png": b"picture"}
    site.headers["/page"] = {"X-Robots-Tag": "noai, otherbot: noindex"}
    page, picture = fetch(site.url("/page"), site.url("/x.png"), want=Want.PAGE)
    assert isinstance(page, Fetched)
    assert page.directives == {"noai"}
    assert reason(picture) == "not_a_page"


def test_one_host_never_sees_more_requests_than_allowed(site: Any) -> None:
    running, most = 0, 0

    async def count(_: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return web.Response(body=b"x")

    site.content |= {f"/{number}": count for number in range(40)}

    async def one(fetcher: Fetcher, number: int) -> None:
        async with fetcher.fetch(site.url(f"/{number}")) as answer:
            assert isinstance(answer, Fetched)

    async def run() -> None:
        async with Fetcher(FetchOptions(allow_private=("localhost",), connections_per_host=3)) as fetcher:
            await asyncio.gather(*(one(fetcher, number) for number in range(40)))

    asyncio.run(run())
    assert most == 3


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
