"""What is known of the hosts while they are asked: each one's pace, what it refused, its files of rules.

`OwnManners` keeps it for one process. Where several work on one source, `shared_manners.py` asks their coordinator.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

from yarl import URL

from t2i_core.data.address import origin_of
from t2i_core.data.manners.circuit import Circuit
from t2i_core.data.manners.pace import HostLimits, HostPace
from t2i_core.data.manners.permission import Refusals
from t2i_core.data.manners.robots import RobotsAnswer

MAX_GIVEN_UP = 100_000


class GivenUp:
    """Names of the sites and machines that are asked nothing more, the first hundred thousand of them."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add(self, name: str) -> None:
        """Give one up."""
        if len(self.names) < MAX_GIVEN_UP:
            self.names.add(name)


MAX_HOSTS = 100_000
# Asks an origin for something it has answered before; True when it answers.
Probe = Callable[[URL], Awaitable[bool]]
# Fetches one file of rules.
ReadRules = Callable[[URL], Awaitable[RobotsAnswer]]


class Notes(Protocol):
    """Where to tell what became of a host's requests."""

    def note(self, *, failed: bool) -> None:
        """Count what became of one request."""


class Pace(Protocol):
    """One host's turn-taking, as who asks it sees it."""

    @property
    def circuit(self) -> Notes | None:
        """Stops the host's turns while it fails; to be told within a turn."""

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """Wait for a free turn and hold it while the block runs; False when the host has been given up."""

    def pause(self, seconds: float) -> None:
        """Start nothing for a while."""

    @property
    def is_paused(self) -> bool:
        """Whether a pause is under way that may have begun after a turn was given."""

    @property
    def why(self) -> str:
        """Say why nothing is started now, as far as that is known; "" otherwise."""

    def slow_down(self, delay_seconds: float) -> None:
        """Use at least this pause between starts from now on."""


class Manners(Protocol):
    """What one who asks has to heed beyond its own requests."""

    @property
    def refusals(self) -> Refusals:
        """What was refused for good."""

    @property
    def given_up(self) -> GivenUp:
        """Which sites and machines are asked nothing more."""

    def pace(self, url: URL, probe: Probe) -> Pace:
        """Give the pace of the URL's host.

        Args:
            url: what is to be asked for.
            probe: how to find out whether an origin answers again.
        """

    def sharing(self, read: ReadRules) -> ReadRules:
        """Give a way to read files of rules that asks for each no more often than has to be."""


class HostPaces:
    """The pace of each origin, made when it is first asked.

    Origins that are idle are forgotten when a hundred thousand others were asked since, their failures with them.

    Args:
        limits: of every origin.
    """

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._paces: OrderedDict[str, HostPace] = OrderedDict()

    def of(self, origin: str, probe: Callable[[], Awaitable[bool]]) -> HostPace:
        """Give the pace of an origin; its circuit probes when the pace allows it."""
        pace = self._paces.get(origin)
        if pace is None:
            pace = self._paces[origin] = self._new(probe)
            self._forget_one()
        self._paces.move_to_end(origin)
        return pace

    def _new(self, probe: Callable[[], Awaitable[bool]]) -> HostPace:
        async def probe_in_pace() -> bool:
            return await pace.start() and await probe()

        limits = self._limits
        circuit = Circuit(
            limits.failures_in_row, limits.pauses_seconds, probe_in_pace, patience_seconds=limits.patience_seconds
        )
        pace = HostPace(limits.at_once, limits.delay_seconds, circuit)
        return pace

    def _forget_one(self) -> None:
        if len(self._paces) <= MAX_HOSTS:
            return
        origin, oldest = next(iter(self._paces.items()))
        if oldest.is_idle:
            del self._paces[origin]
        else:
            self._paces.move_to_end(origin)


class OwnManners:
    """Keeps all of it for one process.

    Args:
        limits: of every origin.
    """

    def __init__(self, limits: HostLimits) -> None:
        self.refusals = Refusals()
        self.given_up = GivenUp()
        self._paces = HostPaces(limits)

    def pace(self, url: URL, probe: Probe) -> Pace:
        """See `Manners.pace`."""
        return self._paces.of(origin_of(url), partial(probe, url.origin()))

    def sharing(self, read: ReadRules) -> ReadRules:
        """Read each file as it is asked for: who asks for permission remembers it."""
        return read
