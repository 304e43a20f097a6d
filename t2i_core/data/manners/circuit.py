"""A host that fails again and again is left alone: pauses that grow, one look after each, and then no more."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

DEFAULT_FAILURES = 10
DEFAULT_PAUSES_SECONDS = (10.0, 60.0)
DEFAULT_PATIENCE_SECONDS = 600.0


class Circuit:
    """Counts one host's failures in a row, and stops asking it when there are too many.

    A pause ends with a probe. When it fails, a longer pause follows; after the last one the host is given up. When it
    succeeds, the host is up and it was its addresses that failed, so twice as many failures are borne from then on; but
    not for longer than there is patience with a host that gives nothing.

    Args:
        max_failures: in a row.
        pauses_seconds: how long to leave the host alone before each probe.
        probe: asks the host for something it has answered before; True when it answers.
        sleep: waits.
        patience_seconds: from a first failure on, with no success since, after which the host is given up.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        max_failures: int,
        pauses_seconds: tuple[float, ...],
        probe: Callable[[], Awaitable[bool]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._max_failures = max_failures
        self._pauses_seconds = pauses_seconds
        self._probe = probe
        self._sleep = sleep
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._failures = 0
        self._given_up = False
        self._probing = asyncio.Lock()
        self._failures_borne = max_failures
        self._failures_since_success = 0
        self._failing_since = 0.0

    def note(self, *, failed: bool) -> None:
        """Count what became of one request."""
        self._failures = self._failures + 1 if failed else 0
        if failed and not self._failures_since_success:
            self._failing_since = self._clock()
        self._failures_since_success = self._failures_since_success + 1 if failed else 0
        if self._failures_since_success >= self._failures_borne:
            # Many failures in a short time say less than some over a long one.
            self._given_up |= self._clock() - self._failing_since >= self._patience_seconds

    @property
    def is_pausing(self) -> bool:
        """Whether the host is left alone."""
        return self._probing.locked()

    async def admits(self) -> bool:
        """Wait while the host is left alone; False when it has been given up."""
        if self._failures < self._max_failures:
            return not self._given_up
        async with self._probing:
            if not self._given_up and self._failures >= self._max_failures:
                self._given_up = not await self._recovers()
                self._failures = 0
        return not self._given_up

    async def _recovers(self) -> bool:
        for seconds in self._pauses_seconds:
            await self._sleep(seconds)
            if await self._probe():
                self._max_failures *= 2
                return True
        return False
