"""How often and how long a host is asked, and how long it is waited for."""

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time

from t2i_core.data.manners.circuit import DEFAULT_PATIENCE_SECONDS, Circuit
from t2i_core.progress import describe_seconds

MAX_CRAWL_DELAY_SECONDS = 60.0
# Who asks for a longer pause than this is not asked again in this run.
MAX_WAIT_SECONDS = 120.0
MAX_PAUSE_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class HostLimits:
    """How one host may be asked.

    Attributes:
        at_once: requests in flight.
        delay_seconds: between two starts.
        failures_in_row: after which it is left alone.
        pauses_seconds: how long to leave it alone before each probe; after the last it is given up.
        patience_seconds: after so long with nothing but failures it is given up as well.
    """

    at_once: int
    delay_seconds: float
    failures_in_row: int
    pauses_seconds: tuple[float, ...]
    patience_seconds: float = DEFAULT_PATIENCE_SECONDS


class HostPace:
    """One host's turn-taking: so many at once, so long between starts, and a pause when the host asks for one.

    Args:
        limit: requests at once.
        delay_seconds: between two starts.
        circuit: stops the host's turns while it fails.
    """

    def __init__(self, limit: int, delay_seconds: float, circuit: Circuit | None = None) -> None:
        self.circuit = circuit
        self._turns = asyncio.Semaphore(limit)
        self._delay_seconds = delay_seconds
        self._next_start = 0.0
        self._paused_until = 0.0
        self._num_inside = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds a turn or waits for one, and no pause is under way."""
        return not self._num_inside and self._next_start <= asyncio.get_running_loop().time()

    def slow_down(self, delay_seconds: float) -> None:
        """Use at least this pause between starts from now on."""
        self._delay_seconds = max(self._delay_seconds, delay_seconds)

    def pause(self, seconds: float) -> None:
        """Start nothing for a while."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)
        self._next_start = max(self._next_start, self._paused_until)

    @property
    def is_paused(self) -> bool:
        """Whether a pause is under way that may have begun after a turn was given."""
        return self._paused_until > asyncio.get_running_loop().time()

    @property
    def is_closed(self) -> bool:
        """Whether the host asked for a pause that is not waited for."""
        return self._paused_until - asyncio.get_running_loop().time() > MAX_WAIT_SECONDS

    @property
    def why(self) -> str:
        """Say why nothing is started now; "" where nothing but what is under way is waited for."""
        now = asyncio.get_running_loop().time()
        if self.circuit is not None and self.circuit.is_pausing:
            return "it failed again and again, and is left alone for a while"
        return why_not_now(self._paused_until - now, self._delay_seconds)

    def turn(self) -> "_Turn":
        """Wait for a free turn and hold it while the block runs; False when the host has been given up."""
        return _Turn(self)

    async def enter(self) -> bool:
        """Wait for a free turn; False when the host has been given up. In either case, `leave` gives the turn back."""
        self._num_inside += 1
        has_turn = False
        try:
            has_turn = await self._turns.acquire()
            if self.is_closed or (self.circuit is not None and not await self.circuit.admits()):
                return False
            return await self.start()
        except BaseException:
            self._num_inside -= 1
            if has_turn:
                self._turns.release()
            raise

    def leave(self) -> None:
        """Give a turn back."""
        self._num_inside -= 1
        self._turns.release()

    async def start(self) -> bool:
        """Wait until the next request may start; False when the host asked for a pause too long to wait for."""
        while (wait := self._next_start - asyncio.get_running_loop().time()) > 0:
            if self.is_closed:
                return False
            await asyncio.sleep(wait)
        if self._delay_seconds:
            self._next_start = asyncio.get_running_loop().time() + self._delay_seconds
        return True


def why_not_now(pause_seconds: float, delay_seconds: float) -> str:
    """Say why a host is not asked at once.

    Args:
        pause_seconds: left of the pause that it asked for; 0 or less for none.
        delay_seconds: between two requests.
    """
    if pause_seconds > 0:
        return f"it asked for a pause, {describe_seconds(pause_seconds)} left"
    return f"one request every {delay_seconds:g} s" if delay_seconds else ""


def wait_seconds(attempt: int, retry_after: str | None) -> float:
    """Say how long to wait before asking again: what the host asks for, else exponential with jitter.

    Args:
        attempt: 0 for the first wait.
        retry_after: the header's value: seconds or an HTTP date.
    """
    asked = retry_after_seconds(retry_after)
    return min(2.0**attempt, MAX_WAIT_SECONDS) * random.uniform(0.5, 1.0) if asked is None else asked


def retry_after_seconds(value: str | None) -> float | None:
    """Read the header that asks to wait; None when it is not there or says nothing that can be read."""
    text = value.strip() if value else ""
    if text.isascii() and text.isdecimal():
        return min(float(text), MAX_PAUSE_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        # A date without a zone is one of GMT, as all dates of HTTP are.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time()
        return min(max(seconds, 0.0), MAX_PAUSE_SECONDS)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


class _Turn:
    """One turn, as a context manager; a generator for each takes longer than the turn itself."""

    __slots__ = ("_pace",)

    def __init__(self, pace: HostPace) -> None:
        self._pace = pace

    async def __aenter__(self) -> bool:
        return await self._pace.enter()

    async def __aexit__(self, *_: object) -> None:
        self._pace.leave()
