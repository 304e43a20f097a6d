"""A part of the connections for each site and each machine, so that a few of them cannot take all.

A site is what one owner registered (`example.co.uk` with all hosts below it), by the public suffix list that comes with
a package; a machine is an address. Whoever wastes much time without giving anything is asked one thing at a time, and
then nothing more: of a thousand names that never answer, a few show what the others are worth.
"""

import asyncio
from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from t2i_core.data.address import literal_address
from t2i_core.data.manners.manners import GivenUp

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# Of all connections; one host alone may have as many as it is allowed anyway.
SHARE = 4
# Time of connections that brought nothing; what an answer earns back.
WASTED_SECONDS = 600.0
PROBATION_SECONDS = 180.0
EARNED_SECONDS = 60.0
MAX_GROUPS = 50_000
# Whoever has one IPv6 address has all of these.
_IPV6_PREFIX_BITS = 64


class Group:
    """What one site or machine takes and wastes.

    Args:
        name: by which it is given up.
        limit: connections at once.
        given_up: who is asked nothing more.
    """

    def __init__(self, name: str, limit: int, given_up: GivenUp) -> None:
        self.name = name
        self._given_up = given_up
        self._turns = asyncio.Semaphore(limit)
        self._alone = asyncio.Lock()
        self._num_inside = 0
        self._wasted_seconds = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return not self._num_inside and not self._wasted_seconds

    @property
    def admits(self) -> bool:
        """Whether it is still worth asking."""
        return self.name not in self._given_up.names

    def share(self) -> "_Share":
        """Wait for a connection's turn, and hold it while the block runs."""
        return _Share(self)

    async def enter(self) -> bool:
        """Wait for a turn; True when it is one that nobody has beside it. To be given to `leave` in the end."""
        self._num_inside += 1
        try:
            await self._turns.acquire()
        except BaseException:
            self._num_inside -= 1
            raise
        if self._wasted_seconds < WASTED_SECONDS or not self.admits:
            return False
        try:
            return await self._alone.acquire()
        except BaseException:
            self.leave(was_alone=False)
            raise

    def leave(self, *, was_alone: bool) -> None:
        """Give a turn back."""
        if was_alone:
            self._alone.release()
        self._turns.release()
        self._num_inside -= 1

    def note(self, seconds: float, *, wasted: bool) -> None:
        """Count the time of one request."""
        if not wasted:
            self._wasted_seconds = max(0.0, self._wasted_seconds - EARNED_SECONDS)
            return
        self._wasted_seconds += seconds
        if self._wasted_seconds >= WASTED_SECONDS + PROBATION_SECONDS:
            self._given_up.add(self.name)


class _Share:
    """One connection's turn, as a context manager; a generator for each takes longer than the turn itself."""

    __slots__ = ("_group", "_is_alone")

    def __init__(self, group: Group) -> None:
        self._group = group

    async def __aenter__(self) -> Group:
        self._is_alone = await self._group.enter()
        return self._group

    async def __aexit__(self, *_: object) -> None:
        self._group.leave(was_alone=self._is_alone)


class Shares:
    """The groups of one who asks.

    Args:
        connections: of all together.
        per_host: of one host.
        given_up: who is asked nothing more.
    """

    def __init__(self, connections: int, per_host: int, given_up: GivenUp) -> None:
        self._given_up = given_up
        self._limit = min(connections, max(per_host, connections // SHARE))
        self._groups: OrderedDict[str, Group] = OrderedDict()

    def of_site(self, host: str) -> Group:
        """Give the group of all hosts of one owner."""
        return self._group(f"site {site_of(host)}")

    def of_machine(self, address: str) -> Group:
        """Give the group of all hosts at one address."""
        return self._group(f"machine {machine_of(address)}")

    def _group(self, name: str) -> Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self._limit, self._given_up)
            self._forget_one()
        self._groups.move_to_end(name)
        return group

    def _forget_one(self) -> None:
        if len(self._groups) <= MAX_GROUPS:
            return
        name, oldest = next(iter(self._groups.items()))
        if oldest.is_idle:
            del self._groups[name]
        else:
            self._groups.move_to_end(name)


@lru_cache(maxsize=4096)
def site_of(host: str) -> str:
    """Give the name that an owner registered, of which a host's is a part; an address stands for itself."""
    if literal_address(host) is not None:
        return host
    found = _suffixes().privatesuffix(host.rstrip("."))
    return found or host


@lru_cache(maxsize=1)
def _suffixes() -> "PublicSuffixList":
    # Few processes ask the web, and no other is to wait for the list.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@lru_cache(maxsize=4096)
def machine_of(address: str) -> str:
    """Give the address, or the network of addresses, that one machine has; "" for those that have none."""
    if not address:
        return ""
    found = ip_address(address)
    return str(int(found) >> (128 - _IPV6_PREFIX_BITS)) if isinstance(found, IPv6Address) else address
