"""Which hosts are waited for, and for how long, so that a run that stands still can say why."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from t2i_core.data.manners.manners import Pace
from t2i_core.progress import describe_seconds

SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(slots=True)
class _Host:
    """A host that something is wanted of.

    Attributes:
        pace: its turn-taking.
        since: when it last gave an answer, or was first waited for; seconds of the event loop.
        number: of those who wait.
    """

    pace: Pace
    since: float
    number: int = 0


class Waits:
    """Hosts that something is wanted of: a turn, an answer, or the end of a pause."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def on(self, host: str, pace: Pace) -> "_Waiting":
        """Count one who waits for a host while the block runs; its end is an answer of the host."""
        return _Waiting(self._hosts, host, pace)

    def describe(self) -> str:
        """Name the host that has been silent for longest, for how long, and why; "" when nobody waits."""
        if not self._hosts:
            return ""
        name, host = min(self._hosts.items(), key=lambda item: item[1].since)
        silent = asyncio.get_running_loop().time() - host.since
        why = f" ({host.pace.why})" if host.pace.why else ""
        others = f" and {len(self._hosts) - 1:,} other hosts" if len(self._hosts) > 1 else ""
        return f"{describe_seconds(silent)} for {name}{why}{others}"


class _Waiting:
    """One who waits, as a context manager; a generator for each takes longer than the count itself."""

    __slots__ = ("_hosts", "_name", "_pace")

    def __init__(self, hosts: dict[str, _Host], name: str, pace: Pace) -> None:
        self._hosts, self._name, self._pace = hosts, name, pace

    def __enter__(self) -> None:
        host = self._hosts.get(self._name)
        if host is None:
            host = self._hosts[self._name] = _Host(self._pace, asyncio.get_running_loop().time())
        host.number += 1

    def __exit__(self, *_: object) -> None:
        host = self._hosts[self._name]
        host.number -= 1
        host.since = asyncio.get_running_loop().time()
        if not host.number:
            del self._hosts[self._name]


@asynccontextmanager
async def telling(waits: Waits, tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Say every two seconds who is waited for while the block runs."""

    async def look() -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            tell(waits.describe())

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
