import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from t2i_core.data.answer import Fetched
from t2i_core.data.manners.circuit import Circuit
from t2i_core.data.reject import Rejection, RejectReason

Fetch = Callable[..., list[Fetched | Rejection]]


class Host:
    """Answers probes from a list, and notes pauses and probes in their order."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.events: list[float | str] = []

    async def probe(self) -> bool:
        self.events.append("probe")
        return self.answers.pop(0)

    async def sleep(self, seconds: float) -> None:
        self.events.append(seconds)
        await asyncio.sleep(0)

    def circuit(self, max_failures: int = 3) -> Circuit:
        return Circuit(max_failures, (10.0, 60.0), self.probe, self.sleep)


def admitted(circuit: Circuit, outcomes: list[bool]) -> list[bool]:
    """Ask as often as there are outcomes, True for a failure, and tell which requests were admitted."""

    async def run() -> list[bool]:
        found = []
        for failed in outcomes:
            found.append(await circuit.admits())
            if found[-1]:
                circuit.note(failed=failed)
        return found

    return asyncio.run(run())


def test_a_host_is_given_up_after_growing_pauses() -> None:
    host = Host(False, False)
    assert admitted(host.circuit(), [True] * 6) == [True] * 3 + [False] * 3
    assert host.events == [10.0, "probe", 60.0, "probe"]


def test_a_host_that_comes_back_is_asked_again() -> None:
    host = Host(False, True)
    assert admitted(host.circuit(), [True, True, True, False, True]) == [True] * 5
    assert host.events == [10.0, "probe", 60.0, "probe"]


def test_a_host_that_gives_nothing_but_failures_is_given_up_though_its_probes_succeed() -> None:
    host, now = Host(*[True] * 50), 0.0
    circuit = Circuit(3, (10.0,), host.probe, host.sleep, patience_seconds=100.0, clock=lambda: now)

    async def run() -> int:
        nonlocal now
        asked = 0
        while await circuit.admits():
            circuit.note(failed=True)
            asked, now = asked + 1, now + 1.0
        return asked

    assert 100 <= asyncio.run(run()) <= 102
    # Seconds later, or after a success, there is as much patience as before.
    now = 0.0
    circuit = Circuit(3, (10.0,), host.probe, host.sleep, patience_seconds=100.0, clock=lambda: now)
    assert admitted(circuit, [True, True, False])
    now = 1000.0
    assert admitted(circuit, [True, True, True]) == [True] * 3


def test_only_failures_in_a_row_count() -> None:
    host = Host()
    assert admitted(host.circuit(), [True, True, False] * 5) == [True] * 15
    assert host.events == []


def test_a_host_whose_addresses_fail_is_looked_at_ever_less_often() -> None:
    host = Host(True, True, True)
    assert admitted(host.circuit(), [True] * 22) == [True] * 22
    assert host.events == [10.0, "probe"] * 3


def test_all_who_wait_share_one_probe() -> None:
    host = Host(True)
    circuit = host.circuit()

    async def run() -> list[bool]:
        for _ in range(3):
            circuit.note(failed=True)
        return await asyncio.gather(*(circuit.admits() for _ in range(5)))

    assert asyncio.run(run()) == [True] * 5
    assert host.events == [10.0, "probe"]


class Flaky:
    """A site that is down from its second picture on, and comes up again at a given asking for robots.txt."""

    def __init__(self, site: Any, *, up_at: int) -> None:
        self.site = site
        self.up_at = up_at
        site.content |= {"/robots.txt": self.robots} | {f"/{number}": self.picture for number in range(10)}

    def is_down(self) -> bool:
        robots, pictures = self.site.requests.count("/robots.txt"), len(self.pictures())
        return pictures > 1 and robots < self.up_at

    def pictures(self) -> list[str]:
        return [path for path in self.site.requests if path[1:].isdecimal()]

    async def robots(self, _: web.Request) -> web.Response:
        return web.Response(status=500 if self.is_down() else 404)

    async def picture(self, _: web.Request) -> web.Response:
        return web.Response(status=500) if self.is_down() else web.Response(body=b"x")


def reasons(answers: list[Fetched | Rejection]) -> list[str]:
    return [str(answer.reason) if isinstance(answer, Rejection) else "ok" for answer in answers]


def test_the_remaining_sources_of_a_dead_host_are_rejected_unasked(site: Any, fetch: Fetch) -> None:
    flaky = Flaky(site, up_at=99)
    answers = fetch(*(site.url(f"/{n}") for n in range(8)), failures_in_row=3, pauses_seconds=(0.0, 0.0))
    assert reasons(answers) == ["ok", *["http_5xx"] * 3, *["host_unreachable"] * 4]
    assert flaky.pictures() == ["/0", "/1", "/2", "/3"]
    assert site.requests.count("/robots.txt") == 3


def test_a_host_that_comes_back_gives_its_remaining_sources(site: Any, fetch: Fetch) -> None:
    Flaky(site, up_at=3)
    answers = fetch(*(site.url(f"/{n}") for n in range(8)), failures_in_row=3, pauses_seconds=(0.0, 0.0))
    assert reasons(answers) == ["ok", *["http_5xx"] * 3, *["ok"] * 4]


def test_addresses_that_fail_on_a_host_that_is_up_keep_their_own_reason(site: Any, fetch: Fetch) -> None:
    site.content |= {f"/{n}": 500 for n in range(12)} | {"/good": b"x"}
    urls = [site.url(f"/{n}") for n in range(12)]
    answers = fetch(*urls, site.url("/good"), failures_in_row=3, pauses_seconds=(0.0, 0.0))
    assert reasons(answers) == ["http_5xx"] * 12 + ["ok"]
    assert site.requests.count("/robots.txt") == 3


def test_a_host_that_is_slow_every_time_is_given_up(site: Any, fetch: Fetch) -> None:
    async def stall(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def robots(request: web.Request) -> web.Response:
        return web.Response(status=404) if len(site.requests) == 1 else await stall(request)

    site.content |= {"/robots.txt": robots} | {f"/{n}": stall for n in range(4)}
    urls = [site.url(f"/{n}") for n in range(4)]
    answers = fetch(*urls, timeout_seconds=0.5, failures_in_row=2, pauses_seconds=(0.0,))
    assert reasons(answers) == ["timeout", "timeout", "host_unreachable", "host_unreachable"]


def test_a_host_that_was_given_up_may_be_worth_another_run() -> None:
    assert RejectReason.HOST_UNREACHABLE.is_unreachable
    assert RejectReason.HOST_UNREACHABLE.may_pass


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_host_that_is_never_free_is_given_up(site: Any, fetch: Fetch, status: int) -> None:
    site.content |= {f"/{n}": status for n in range(20)}
    site.headers |= {f"/{n}": {"Retry-After": "0"} for n in range(20)}
    options = {"failures_in_row": 4, "pauses_seconds": (0.0,), "patience_seconds": 0.0, "retries": 1}
    answers = fetch(*(site.url(f"/{n}") for n in range(20)), **options)
    assert reasons(answers)[4:] == ["host_unreachable"] * 16
    assert sum(path != "/robots.txt" for path in site.requests) < 10
