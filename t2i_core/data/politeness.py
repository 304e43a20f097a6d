"""Manners: robots.txt, opt-out signals, one host's pace, and when to ask again.

A refusal (robots.txt, an opt-out header or page, any status of 4xx but 408, 425 and 429) is final: it is never asked
again.
The other rules that a site can set are read in `tdmrep.py` and `aitxt.py`, and `permission.py` weighs them all.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Generic, Protocol, TypeVar

from protego import Protego
from yarl import URL

from t2i_core import __version__
from t2i_core.data.address import origin_of
from t2i_core.data.circuit import DEFAULT_PATIENCE_SECONDS, Circuit
from t2i_core.data.expiring import ExpiringCache
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.robots_text import TooManyRulesError, text_for

PRODUCT_TOKEN = "t2i"
MAX_ROBOTS_BYTES = 512 * 1024
MAX_CRAWL_DELAY_SECONDS = 60.0
# Who asks for a longer pause than this is not asked again in this run.
MAX_WAIT_SECONDS = 120.0
MAX_PAUSE_SECONDS = 30 * 24 * 3600.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# RFC 9309, section 2.4: no copy is used for longer than a day.
RULES_SECONDS = 24 * 3600.0
# Of all the rules that one cache keeps.
MAX_RULES_BYTES = 48_000_000
# Measured: what a rule takes beside its text, and a file beside its rules.
_BYTES_PER_RULE = 700
_OVERHEAD_BYTES = 3000
# What takes long to read is read while others go on.
LONG_RULES_CHARS = 16_384
TOO_MANY_RULES = "it has more rules for this agent than can be followed, so nothing is asked for"
OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none", "noml"})
NO_FOLLOW_DIRECTIVES = frozenset({"nofollow", "none"})
# Directives with a value of their own: their colon does not name an agent.
_VALUED_DIRECTIVE = re.compile(r"unavailable_after|max-[a-z-]+", re.IGNORECASE)
_AGENT_PREFIX = re.compile(r"\s*([A-Za-z0-9_.*-]+)(?:/[A-Za-z0-9_.-]*)?\s*:\s*(.*)", re.DOTALL)
_SIGNAL = re.compile(r"[a-z][a-z-]{0,40}(:\s?[a-z0-9-]{1,40})?")
MAX_SIGNALS = 20
R = TypeVar("R", bound="Rules")


def user_agent(contact: str) -> str:
    """Give the honest name that every request carries.

    Args:
        contact: an address or page where a site's owner can complain, "" for none.
    """
    about = "text-to-image data set builder" + (f"; +{contact}" if contact else "")
    return f"{PRODUCT_TOKEN}/{__version__} ({about})"


def directives_for_us(values: Iterable[str]) -> set[str]:
    """Collect the directives of X-Robots-Tag headers that are meant for every agent or for this one.

    An item `agent: directive` starts a list for that agent, which runs to the end of its header, except that an item
    that is an opt-out of its own right before any agent counts for all.
    """
    found: set[str] = set()
    for value in values:
        applies = True
        for raw in value.split(","):
            item = raw
            match = _AGENT_PREFIX.match(raw)
            if match and not _VALUED_DIRECTIVE.fullmatch(match[1]):
                applies = match[1].lower() in ("*", PRODUCT_TOKEN)
                item = match[2]
            if applies:
                found.add(item.strip().lower())
    return found


def signals_text(directives: Iterable[str]) -> str:
    """Spell directives as one text to store: sorted, separated by commas.

    Dates, and whatever else is no directive, are left out: they may differ from answer to answer.
    """
    return ",".join(sorted(filter(_SIGNAL.fullmatch, directives))[:MAX_SIGNALS])


def opts_out(directives: Iterable[str]) -> bool:
    """Tell whether directives forbid to use a picture for a data set."""
    return not OPT_OUT_DIRECTIVES.isdisjoint(directives)


@dataclass(frozen=True, slots=True)
class RobotsAnswer:
    """What came back for a robots.txt, or for another file of rules.

    Attributes:
        status: 200, another status, or 0 for no answer.
        text: the file, with status 200.
        failure: why there was no answer.
        content_type: as the server named it, "" when it did not.
    """

    status: int
    text: str = ""
    failure: Rejection | None = None
    content_type: str = ""


class RobotsRules:
    """What one origin's robots.txt says, by RFC 9309: 4xx allows all, 5xx and no answer allow nothing."""

    def __init__(self, answer: RobotsAnswer) -> None:
        self._rules: Protego | None = None
        self._refusal = _no_rules(answer)
        self.weight = _OVERHEAD_BYTES
        if answer.status == 200:
            try:
                text = text_for(answer.text, PRODUCT_TOKEN)
                self._rules = Protego.parse(text)
                self.weight += weight_of(text)
            except TooManyRulesError:
                self._refusal = Rejection(RejectReason.ROBOTS, TOO_MANY_RULES)
        delay = self._rules.crawl_delay(PRODUCT_TOKEN) if self._rules else None
        # The pause the site asks for between requests, at most a minute.
        self.crawl_delay_seconds = min(float(delay or 0.0), MAX_CRAWL_DELAY_SECONDS)

    def refusal(self, url: URL) -> Rejection | None:
        """Say why the URL may not be asked, or None when it may."""
        if self._refusal is not None or self._rules is None:
            return self._refusal
        allowed = self._rules.can_fetch(str(url), PRODUCT_TOKEN)
        return None if allowed else Rejection(RejectReason.ROBOTS)

    @property
    def sitemaps(self) -> list[str]:
        """The sitemaps that the file names, as they stand there."""
        return list(self._rules.sitemaps) if self._rules else []


def _no_rules(answer: RobotsAnswer) -> Rejection | None:
    """Say why nothing may be asked without a robots.txt; None when it may, or when there is one."""
    if answer.failure is not None:
        return answer.failure
    if may_pass(answer.status) or not 200 <= answer.status < 500:
        return Rejection(RejectReason.ROBOTS_UNAVAILABLE, f"robots.txt answered HTTP {answer.status}")
    return None


def weight_of(text: str) -> int:
    """Say how much memory rules take, in bytes: many times their text."""
    return len(text) + (text.count("\n") + 1) * _BYTES_PER_RULE


class Rules(Protocol):
    """One origin's file of rules, read."""

    @property
    def weight(self) -> int:
        """How much memory it takes, in bytes, about."""


class RulesCache(Generic[R]):
    """Asks each origin for one of its files of rules once a day; those not needed for longest are forgotten.

    Args:
        path: of the file, from the root.
        read: fetches one such file.
        parse: makes rules of what came back.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[URL], Awaitable[RobotsAnswer]],
        parse: Callable[[RobotsAnswer], R],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._path = path
        self._read = read
        self._parse = parse
        self._known = ExpiringCache[R](MAX_RULES_BYTES, clock)
        self._pending: dict[str, asyncio.Event] = {}

    async def rules(self, url: URL) -> R:
        """Give the rules of the URL's origin, asking for them when they are not known."""
        while (known := self.known(url)) is None:
            origin = origin_of(url)
            pending = self._pending.get(origin)
            if pending is None:
                return await self._ask(origin, url)
            # All who wait go on at once and in their order; if the one who asked was stopped, another asks.
            await pending.wait()
        return known

    def known(self, url: URL) -> R | None:
        """Give them without asking, None when they are not known."""
        origin = origin_of(url)
        known = self._known.get(origin)
        if known is not None:
            self._known.touch(origin)
        return known

    async def _ask(self, origin: str, url: URL) -> R:
        answered = self._pending[origin] = asyncio.Event()
        try:
            answer = await self._read(url.origin().with_path(self._path))
            long = len(answer.text) > LONG_RULES_CHARS
            rules = await asyncio.to_thread(self._parse, answer) if long else self._parse(answer)
            self._known.put(origin, rules, RULES_SECONDS, rules.weight)
            return rules
        finally:
            del self._pending[origin]
            answered.set()


class RobotsCache(RulesCache[RobotsRules]):
    """Asks each origin for its robots.txt once.

    Args:
        read: fetches one robots.txt; called once per origin.
    """

    def __init__(self, read: Callable[[URL], Awaitable[RobotsAnswer]]) -> None:
        super().__init__("/robots.txt", read, RobotsRules)


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

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Wait for a free turn and hold it while the block runs; False when the host has been given up."""
        admitted = await self.enter()
        try:
            yield admitted
        finally:
            self.leave()

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


def may_pass(status: int) -> bool:
    """Tell whether a status is a failure that may pass by itself: the server was busy or broken, and did not refuse."""
    return status in _PASSING


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
