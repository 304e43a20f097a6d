"""Manners: what a host's robots.txt allows, kept for a while.

A refusal (robots.txt, an opt-out header or page, any status of 4xx but 408, 425 and 429) is final: it is never asked
again.
The other rules that a site can set are read in `tdmrep.py` and `aitxt.py`, and `permission.py` weighs them all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, Protocol, TypeVar

from protego import Protego
from yarl import URL

from t2i_core.data.address import origin_of
from t2i_core.data.bounded.expiring import ExpiringCache
from t2i_core.data.manners.pace import MAX_CRAWL_DELAY_SECONDS
from t2i_core.data.manners.robots_text import TooManyRulesError, text_for
from t2i_core.data.manners.signals import PRODUCT_TOKEN
from t2i_core.data.reject import Rejection, RejectReason

MAX_ROBOTS_BYTES = 512 * 1024
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
R = TypeVar("R", bound="Rules")


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


def may_pass(status: int) -> bool:
    """Tell whether a status is a failure that may pass by itself: the server was busy or broken, and did not refuse."""
    return status in _PASSING
