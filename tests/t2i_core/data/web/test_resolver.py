"""Names are asked for once, many at a time, and refused unless public."""

import asyncio
import socket
import threading

import pytest

from t2i_core.data.web import resolver
from t2i_core.data.web.private_hosts import PrivateHosts
from t2i_core.data.web.resolver import PrivateAddressError, Resolver

LOOPBACK = PrivateHosts.parse(["localhost"])


class Names:
    """Knows some names, and notes how often it was asked."""

    def __init__(self, known: dict[str, list[str]] | None = None, failure: OSError | None = None) -> None:
        self.known = known or {}
        self.failure = failure or socket.gaierror(socket.EAI_NONAME, "unknown")
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host in self.known:
            return self.known[host]
        raise self.failure


def found(resolving: Resolver, *hosts: str) -> list[list[str] | str]:
    async def one(host: str) -> list[str] | str:
        try:
            return await resolving.addresses(host)
        except (OSError, PrivateAddressError) as err:
            return type(err).__name__

    async def run() -> list[list[str] | str]:
        return [await one(host) for host in hosts]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), resolver.UNKNOWN_NAME_SECONDS),
        (socket.gaierror(socket.EAI_AGAIN, "try later"), resolver.SILENT_RESOLVER_SECONDS),
        (None, resolver.KNOWN_NAME_SECONDS),
    ],
)
def test_what_is_known_of_a_name_is_remembered_for_a_while(failure: OSError | None, seconds: float) -> None:
    now = 1000.0
    names = Names({} if failure else {"a.example": ["8.8.8.8"], "b.example": ["8.8.4.4"]}, failure)
    resolving = Resolver(look_up=names, clock=lambda: now)
    first = found(resolving, "a.example", "a.example", "b.example", "a.example")
    assert first == (["OSError"] * 4 if failure else [["8.8.8.8"], ["8.8.8.8"], ["8.8.4.4"], ["8.8.8.8"]]) or (
        failure is not None and set(map(str, first)) <= {"OSError", "gaierror"}
    )
    assert names.asked == ["a.example", "b.example"]
    now += seconds
    found(resolving, "a.example")
    assert names.asked == ["a.example", "b.example", "a.example"]


def test_only_so_many_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MAX_NAMES", 2)
    names = Names()
    found(Resolver(LOOPBACK, look_up=names), "a", "b", "c", "c", "b", "a")
    assert names.asked == ["a", "b", "c", "a"]


def test_a_name_with_any_private_address_is_refused() -> None:
    names = Names({"mixed.example": ["8.8.8.8", "10.0.0.1"], "inner.example": ["::ffff:169.254.169.254"]})
    hosts = ("mixed.example", "inner.example", "0x7f.1", "127.0.0.1")
    assert found(Resolver(look_up=names), *hosts) == ["PrivateAddressError"] * 4
    named = PrivateHosts.parse(["mixed.example", "localhost"])
    assert found(Resolver(named, look_up=names), "mixed.example", "0x7f.1") == [
        ["8.8.8.8", "10.0.0.1"],
        ["127.0.0.1"],
    ]


def test_all_who_wait_for_a_name_ask_once_and_slow_names_do_not_hold_up_others() -> None:
    release, asked = threading.Event(), []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        if host.startswith("slow"):
            assert release.wait(10)
        return ["8.8.8.8"]

    async def run() -> None:
        resolving = Resolver(look_up=look_up)
        slow = [asyncio.create_task(resolving.addresses(f"slow{number % 20}")) for number in range(60)]
        await asyncio.wait_for(resolving.addresses("fast"), 10)
        slow[0].cancel()
        release.set()
        assert await asyncio.gather(*slow[1:]) == [["8.8.8.8"]] * 59

    asyncio.run(run())
    assert sorted(asked) == sorted(["fast", *(f"slow{number}" for number in range(20))])


def test_the_address_that_worked_comes_first() -> None:
    resolving = Resolver(look_up=Names({"a.example": ["8.8.8.8", "8.8.4.4"]}))
    found(resolving, "a.example")
    resolving.prefer("a.example", "8.8.4.4")
    assert found(resolving, "a.example") == [["8.8.4.4", "8.8.8.8"]]


@pytest.mark.parametrize("host", ["localhost", "name.invalid", "a" * 300, "a..b"])
def test_the_system_gives_addresses_or_an_os_error(host: str) -> None:
    answer = found(Resolver(LOOPBACK), host)
    assert ("127.0.0.1" in answer[0]) if host == "localhost" else isinstance(answer[0], str)
