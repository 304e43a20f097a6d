"""One budget for the bytes of all bodies in memory: those that arrive, and those that wait to be decoded.

Who wants more than is left waits, first come, first served. Bodies whose length nobody announced grow as they arrive,
so all that hold some may come to wait for more; then one of them gets it all the same, for only who ends gives back.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

DEFAULT_BYTES = 100_000_000


class ByteBudget:
    """What all claims hold together stays below a total, but for the one claim that must go on.

    Args:
        total: bytes.
    """

    def __init__(self, total: int = DEFAULT_BYTES) -> None:
        self._total = total
        self._held = 0
        self._waiting: deque[Claim] = deque()
        self._active: set[Claim] = set()
        # The one that may have more than there is, until it is settled.
        self._exempt: Claim | None = None

    @property
    def held(self) -> int:
        """Bytes that all claims hold."""
        return self._held

    def request(self, claim: "Claim", size: int) -> bool:
        """Let a claim have so many bytes in all, now or, when this gives False, later."""
        claim.wanted = size
        self._active.discard(claim)
        self._waiting.append(claim)
        self._serve(claim)
        return not claim.is_waiting

    def settle(self, claim: "Claim", size: int) -> None:
        """Let a claim have so many bytes and no more, at once."""
        if claim.is_waiting:
            self._waiting.remove(claim)
        if claim is self._exempt:
            self._exempt = None
        self._give(claim, size)
        self._serve()

    def _give(self, claim: "Claim", size: int) -> None:
        self._held += size - claim.held
        claim.held = claim.wanted = size
        (self._active.add if size else self._active.discard)(claim)

    def _serve(self, asking: "Claim | None" = None) -> None:
        while self._waiting:
            claim = self._waiting[0]
            if self._held + claim.wanted - claim.held > self._total:
                if self._active:
                    return
                claim = self._exempt = self._exempt or next((one for one in self._waiting if one.held), claim)
            self._waiting.remove(claim)
            self._give(claim, claim.wanted)
            if claim is not asking:
                claim.go_on()

    @asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator["Claim"]:
        """Wait for so many bytes, and hold them while the block runs, or less when it settles for that."""
        granted = asyncio.Event()
        claim = Claim(self)
        claim.resume = granted.set
        try:
            if not claim.grow(size):
                await granted.wait()
            yield claim
        finally:
            claim.settle(0)


def _nothing() -> None:
    return


class Claim:
    """One body's part of a budget. Give it back with `settle(0)`, whatever happens.

    Args:
        budget: that it is a part of.
        on_wait: called when it has to wait.
        on_granted: called when what it waited for is there.

    Attributes:
        held: bytes.
        wanted: bytes; more than are held while it waits.
        resume: called after `on_granted`, to be set by whoever lets the bytes arrive.
    """

    def __init__(
        self,
        budget: ByteBudget,
        on_wait: Callable[[], object] = _nothing,
        on_granted: Callable[[], object] = _nothing,
    ) -> None:
        self.held = self.wanted = 0
        self.resume: Callable[[], object] = _nothing
        self._budget = budget
        self._on_wait = on_wait
        self._on_granted = on_granted

    @property
    def is_waiting(self) -> bool:
        """Whether more was asked for than there is."""
        return self.wanted > self.held

    def grow(self, size: int) -> bool:
        """Ask for so many bytes in all; False when they are to be waited for."""
        if size <= self.held or self._budget.request(self, size):
            return True
        self._on_wait()
        return False

    def go_on(self) -> None:
        """Tell that what was waited for is there."""
        self._on_granted()
        self.resume()

    def settle(self, size: int) -> None:
        """Hold so many bytes from now on, and give back the rest."""
        self._budget.settle(self, size)
