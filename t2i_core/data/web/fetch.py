"""Asking for URLs: guarded, polite, bounded, and never raising for a bad one.

Every hop of a redirect is checked again: scheme, address, deny-list, the rules of its site. Bytes are capped as
announced and as they arrive, time is capped per URL, and what a server encodes is decoded only up to the same cap.
"""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, Final, Generic, Self, TypeVar, cast

from yarl import URL

from t2i_core.data.address import normalise_url
from t2i_core.data.answer import MAX_REDIRECTS, Fetched, Unchanged, Validators
from t2i_core.data.bounded.budget import DEFAULT_BYTES, ByteBudget, Claim
from t2i_core.data.manners.circuit import DEFAULT_FAILURES, DEFAULT_PATIENCE_SECONDS, DEFAULT_PAUSES_SECONDS
from t2i_core.data.manners.denylist import NOTHING_DENIED, DenyList
from t2i_core.data.manners.manners import Manners, OwnManners, Pace
from t2i_core.data.manners.pace import MAX_WAIT_SECONDS, HostLimits, wait_seconds
from t2i_core.data.manners.permission import Permission
from t2i_core.data.manners.robots import MAX_ROBOTS_BYTES, RobotsAnswer
from t2i_core.data.manners.signals import user_agent
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.traffic import Traffic, TrafficCounter
from t2i_core.data.web.private_hosts import PrivateHosts
from t2i_core.data.web.resolver import PrivateAddressError, Resolver
from t2i_core.data.web.rules_file import RulesFile
from t2i_core.data.web.shares import Shares
from t2i_core.data.web.transport import Exchanged, Head, Transport, TransportError
from t2i_core.data.web.verdict import Answer, Asking, Later, Redirect, Want, fetched, is_failure, is_waste, verdict
from t2i_core.data.web.waits import Waits

A = TypeVar("A", bound=Fetched | Rejection | Unchanged)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How to ask.

    Attributes:
        connections: requests in flight and bodies in memory at once, over all hosts.
        connections_per_host: requests in flight to one host.
        delay_seconds: between two starts on one host.
        timeout_seconds: for one try of one URL, redirects and body included, waiting for a turn not.
        retries: tries after the first, for what may pass: 408, 425, 429, 500, 502 to 504, time-outs, what breaks off.
        max_bytes: of one body, as sent and as decoded.
        max_bytes_in_flight: of all bodies that arrive or wait to be decoded; one more may be there beside them.
        allow_private: hosts, addresses and networks that may be asked although they are not on the public internet.
        contact: put into the user agent.
        opt_out_files: ask each origin once for tdmrep.json and ai.txt, beside its robots.txt.
        deny_list: what is never asked for, and never kept.
        failures_in_row: of one host, after which it is left alone.
        pauses_seconds: how long to leave it alone before each probe; after the last it is given up.
        patience_seconds: with a host that gives nothing but failures.
        rules_file: of the run that asks, with what sites said to its other parts; None to ask them all.
    """

    connections: int = 64
    connections_per_host: int = 8
    delay_seconds: float = 0.0
    timeout_seconds: float = 20.0
    retries: int = 2
    max_bytes: int = 20_000_000
    max_bytes_in_flight: int = DEFAULT_BYTES
    allow_private: tuple[str, ...] = ()
    contact: str = ""
    opt_out_files: bool = True
    deny_list: DenyList = NOTHING_DENIED
    failures_in_row: int = DEFAULT_FAILURES
    pauses_seconds: tuple[float, ...] = DEFAULT_PAUSES_SECONDS
    patience_seconds: float = DEFAULT_PATIENCE_SECONDS
    rules_file: Path | None = None

    @property
    def host_limits(self) -> HostLimits:
        """The part about one host."""
        return HostLimits(
            self.connections_per_host,
            self.delay_seconds,
            self.failures_in_row,
            self.pauses_seconds,
            self.patience_seconds,
        )


class Fetcher:
    """Asks for URLs, many at a time. Use as an async context manager; one for a whole step.

    Args:
        options: how to ask.
        manners: what is known of the hosts; None when nobody else asks them for the same step.
        ends_at: nothing more is asked from this time of day on, in seconds since 1970; None for no end.
    """

    def __init__(self, options: FetchOptions, manners: Manners | None = None, *, ends_at: float | None = None) -> None:
        self._options = options
        self._slots = asyncio.Semaphore(options.connections)
        self._num_busy = 0
        self._claims: dict[int, Claim] = {}
        # Of all bodies in memory; who reads others beside these takes part.
        self.budget: Final = ByteBudget(options.max_bytes_in_flight)
        self._private = PrivateHosts.parse(options.allow_private)
        self._manners = manners or OwnManners(options.host_limits)
        self._shares = Shares(options.connections, options.connections_per_host, self._manners.given_up)
        self._ends_at = ends_at
        read_rules = RulesFile(options.rules_file).sharing(self._read_rules) if options.rules_file else self._read_rules
        self._permission = Permission(
            self._manners.sharing(read_rules),
            options.deny_list,
            opt_out_files=options.opt_out_files,
            refusals=self._manners.refusals,
        )
        self._traffic = TrafficCounter()
        self.waits: Final = Waits()

    async def __aenter__(self) -> Self:
        now = asyncio.get_running_loop().time()
        self._deadline = None if self._ends_at is None else now + self._ends_at - time()
        options = self._options
        self._transport = Transport(Resolver(self._private), user_agent(options.contact), max_idle=options.connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def take_traffic(self) -> dict[str, Traffic]:
        """Give what each host was asked since this was last taken."""
        return self._traffic.take()

    @property
    def num_busy(self) -> int:
        """Connections in use, bodies that are being decoded included."""
        return self._num_busy

    def fetch(self, text: str, want: Want = Want.PICTURE) -> "_Fetching[Fetched | Rejection]":
        """Ask for one URL, and keep its place among the `connections` while the block uses the body.

        So what is decoded slower than it arrives holds back new requests instead of filling the memory.

        Args:
            text: the URL as found.
            want: a picture (opt-out headers refuse it), a page (its type must be HTML), or a sitemap.
        """
        return _Fetching(self, text, Asking(want))

    def fetch_if_changed(
        self, text: str, want: Want, known: Validators
    ) -> "_Fetching[Fetched | Rejection | Unchanged]":
        """Do as `fetch`, but leave the body with the server when it is still the one that is known."""
        return _Fetching(self, text, Asking(want, known))

    async def refusal(self, text: str, want: Want) -> Rejection | None:
        """Say why a URL may not be asked for by the rules of its site and the deny-list, without asking for it."""
        url = normalise_url(text)
        return url if isinstance(url, Rejection) else await self._refusal(url, want)

    async def _take_slot(self) -> None:
        await self._slots.acquire()
        self._num_busy += 1

    def _free_slot(self) -> None:
        self._num_busy -= 1
        self._slots.release()

    def let_go(self, answer: Fetched) -> None:
        """Give back the place of a body that is done with."""
        self._claims.pop(id(answer)).settle(0)
        self._free_slot()

    async def sitemaps(self, url: URL) -> list[str]:
        """Give the sitemaps that the robots.txt of a URL's site names, as they stand there."""
        return (await self._permission.robots(url)).sitemaps

    async def ask(self, text: str, asking: Asking) -> Fetched | Rejection | Unchanged:
        """Ask until the time for everything is up; what is under way then is cut off.

        Whoever gets a body calls `let_go` when done with it, as leaving `fetch` does.
        """
        if self._deadline is None:
            return await self._ask(text, asking)
        try:
            if asyncio.get_running_loop().time() >= self._deadline:
                raise TimeoutError
            async with asyncio.timeout_at(self._deadline):
                return await self._ask(text, asking)
        except TimeoutError:
            return Rejection(RejectReason.OUT_OF_TIME)

    async def _ask(self, text: str, asking: Asking) -> Fetched | Rejection | Unchanged:
        attempt = 0
        while True:
            answer = await self._follow(text, asking, attempt)
            if not isinstance(answer, Later):
                return answer
            if attempt >= self._options.retries or answer.pause_seconds > MAX_WAIT_SECONDS:
                return answer.rejection
            if not answer.pause_seconds:
                await self._back_off(text, attempt)
            attempt += 1

    async def _back_off(self, text: str, attempt: int) -> None:
        url = normalise_url(text)
        waiting = self.waits.on(url.raw_host or "", self._pace(url)) if isinstance(url, URL) else nullcontext()
        with waiting:
            await asyncio.sleep(wait_seconds(attempt, None))

    async def _follow(self, text: str, asking: Asking, attempt: int) -> Fetched | Rejection | Unchanged | Later:
        clock = _Clock(self._options.timeout_seconds)
        url = normalise_url(text)
        for _ in range(MAX_REDIRECTS + 1):
            if isinstance(url, Rejection):
                return url
            refusal = await self._refusal(url, asking.want)
            if refusal is not None:
                return refusal
            answer = await self._take_turn(url, asking, clock, attempt)
            if not isinstance(answer, Redirect):
                return answer
            url = normalise_url(answer.location)
        return Rejection(RejectReason.TOO_MANY_REDIRECTS, http_status=302)

    async def _refusal(self, url: URL, want: Want) -> Rejection | None:
        """Say why not to ask, as far as that is known without asking."""
        known = self._private.refusal_of(url) or self._permission.known_refusal(url)
        if known is not None or want is Want.RULES:
            return known
        robots = await self._permission.robots(url)
        if robots.crawl_delay_seconds:
            self._pace(url).slow_down(robots.crawl_delay_seconds)
        return await self._permission.refusal(url, robots, is_picture=want is Want.PICTURE)

    def _pace(self, url: URL) -> Pace:
        return self._manners.pace(url, self._is_up)

    async def _is_up(self, origin: URL) -> bool:
        """Ask an origin for its robots.txt again, within the turn of who waits for it; any answer but 5xx will do."""
        clock = _Clock(self._options.timeout_seconds)
        answer = await self._take_shares(origin / "robots.txt", Asking(Want.RULES), clock)
        if isinstance(answer, Fetched):
            self.let_go(answer)
        return answer is not None and not is_failure(answer)

    async def _take_turn(self, url: URL, asking: Asking, clock: "_Clock", attempt: int) -> Answer:
        pace = self._pace(url)
        with self.waits.on(url.raw_host or "", pace):
            return await self._turn(url, asking, clock, attempt, pace)

    async def _turn(self, url: URL, asking: Asking, clock: "_Clock", attempt: int, pace: Pace) -> Answer:
        site = self._shares.of_site(url.raw_host or "")
        while True:
            if not site.admits:
                return Rejection(RejectReason.HOST_UNREACHABLE)
            async with pace.turn() as admitted:
                if not admitted:
                    return Rejection(RejectReason.HOST_UNREACHABLE)
                # While this one waited, the same URL may have been refused to another.
                refused = self._permission.refusals.of(url)
                if refused is not None:
                    return refused
                answer = await self._take_shares(url, asking, clock, attempt, pace)
                if answer is not None:
                    if not _was_left_alone(answer):
                        self._tell(url, asking.want, answer, pace)
                    return answer
                # The host asked for a pause while this one had its turn and waited for a connection.

    def _tell(self, url: URL, want: Want, answer: Answer, pace: Pace) -> None:
        """Tell the host's pace what came of a request, within its turn."""
        if pace.circuit is not None:
            pace.circuit.note(failed=is_failure(answer))
        if isinstance(answer, Rejection) and want is not Want.RULES:
            self._permission.refusals.note(url, answer)
        if isinstance(answer, Later) and answer.pause_seconds:
            pace.pause(answer.pause_seconds)

    async def _take_shares(
        self, url: URL, asking: Asking, clock: "_Clock", attempt: int = 0, pace: Pace | None = None
    ) -> Answer | None:
        """Ask within a connection of the shares of the URL's site and machine.

        Args:
            url: what to ask for.
            asking: as what.
            clock: of the URL.
            attempt: 0 for the first.
            pace: of its host, None to ask even while that pauses.

        Returns:
            The answer; None when the host asked for a pause while a connection was waited for.
        """
        loop = asyncio.get_running_loop()
        async with self._shares.of_site(url.raw_host or "").share() as site:
            began = loop.time()
            machine = self._shares.of_machine(await self._machine(url, clock))
            looking_up = loop.time() - began
            async with machine.share():
                if not site.admits or not machine.admits:
                    return Rejection(RejectReason.HOST_UNREACHABLE)
                await self._take_slot()
                if pace is not None and pace.is_paused:
                    self._free_slot()
                    return None
                began = loop.time()
                answer = await self._use_slot(url, asking, clock, attempt)
                seconds, wasted = loop.time() - began, is_waste(answer)
                machine.note(seconds, wasted=wasted)
                site.note(seconds + looking_up, wasted=wasted)
                return answer

    async def _machine(self, url: URL, clock: "_Clock") -> str:
        """Give the address that will be asked, without holding a connection meanwhile; "" when there is none."""
        host, resolver = url.raw_host or "", self._transport.resolver
        try:
            known = resolver.known(host)
            if known is not None:
                return known[0]
            async with clock:
                return (await resolver.addresses(host))[0]
        except (OSError, TimeoutError, PrivateAddressError):
            # Asking will say so.
            return ""

    async def _use_slot(self, url: URL, asking: Asking, clock: "_Clock", attempt: int = 0) -> Answer:
        """Ask within one of the `connections`, taken before; a body keeps its place, for `fetch` to give back."""
        answer: Answer | None = None
        # While the memory for a body is waited for, its time does not run.
        claim = Claim(self.budget, clock.stop, clock.go_on)
        try:
            answer = await self._request(url, asking, clock, attempt, claim)
            return answer
        finally:
            if isinstance(answer, Fetched):
                claim.settle(len(answer.body))
                self._claims[id(answer)] = claim
            else:
                claim.settle(0)
                self._free_slot()

    async def _request(self, url: URL, asking: Asking, clock: "_Clock", attempt: int, claim: Claim) -> Answer:
        most = MAX_ROBOTS_BYTES if asking.want is Want.RULES else self._options.max_bytes
        account = Exchanged()
        told: Rejection | Redirect | Later | Unchanged | None = None

        def limit(head: Head) -> int:
            nonlocal told
            told = verdict(url, head, asking, most, attempt)
            return 0 if told else most

        try:
            async with clock:
                response = await self._transport.get(url, limit, account, claim, asking.conditions(url))
            return told or fetched(url, response, asking.want, most)
        except TransportError as err:
            rejection = Rejection(err.reason)
            return Later(rejection) if err.broke or err.reason is RejectReason.TIMEOUT else rejection
        except TimeoutError:
            return Later(Rejection(RejectReason.TIMEOUT))
        except PrivateAddressError as err:
            return err.rejection
        except OSError:
            return Rejection(RejectReason.DNS)
        finally:
            self._traffic.add(url, account.requests, account.bytes)

    async def _read_rules(self, url: URL) -> RobotsAnswer:
        async with self.fetch(str(url), Want.RULES) as answer:
            if isinstance(answer, Fetched):
                return RobotsAnswer(200, answer.body.decode("utf-8", "replace"), content_type=answer.content_type)
            if answer.http_status and answer.http_status != 200:
                return RobotsAnswer(answer.http_status)
            return RobotsAnswer(0, failure=Rejection(answer.reason, f"{url.name}: {answer.message}"))


class _Fetching(Generic[A]):
    """One answer, held while it is used, as a context manager."""

    __slots__ = ("_answer", "_asking", "_fetcher", "_text")

    def __init__(self, fetcher: Fetcher, text: str, asking: Asking) -> None:
        self._fetcher = fetcher
        self._text = text
        self._asking = asking

    async def __aenter__(self) -> A:
        self._answer = await self._fetcher.ask(self._text, self._asking)
        # Without conditions nothing is ever unchanged.
        return cast("A", self._answer)

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self._answer, Fetched):
            self._fetcher.let_go(self._answer)


def _was_left_alone(answer: Answer) -> bool:
    return isinstance(answer, Rejection) and answer.reason is RejectReason.HOST_UNREACHABLE


class _Clock:
    """The time left for one URL; it runs only while a request is under way."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._started: float | None = None
        self._timeout: asyncio.Timeout | None = None

    async def __aenter__(self) -> None:
        """Let the time run while the block does; it ends with TimeoutError when the time is up."""
        self._started = asyncio.get_running_loop().time()
        self._timeout = asyncio.timeout(self._left)
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        timeout, self._timeout = self._timeout, None
        self.stop()
        if timeout is not None:
            await timeout.__aexit__(*error)

    def stop(self) -> None:
        """Let no time pass until `go_on`."""
        if self._started is not None:
            self._left = max(self._left - (asyncio.get_running_loop().time() - self._started), 0.0)
            self._started = None
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(None)

    def go_on(self) -> None:
        """Let the time run again."""
        if self._timeout is not None and not self._timeout.expired():
            self._started = asyncio.get_running_loop().time()
            self._timeout.reschedule(self._started + self._left)
