"""Manners kept together with the other workers of a run: every turn is asked of their coordinator.

Without the coordinator nothing is fetched. When it is lost, what is under way is stopped, for its turns may already be
another's, and the shard ends with a `TransientError`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final

from yarl import URL

from t2i_core.data.address import origin_of
from t2i_core.data.manners.channel import BrokenChannelError, Channel, CoordinatorAddress, Message, greet_coordinator
from t2i_core.data.manners.manners import GivenUp, Notes, Probe, ReadRules
from t2i_core.data.manners.pace import HostLimits, why_not_now
from t2i_core.data.manners.permission import Refusal, Refusals, url_digest
from t2i_core.data.manners.robots import RobotsAnswer
from t2i_core.data.manners.rules_store import pack_answer, unpack_answer
from t2i_core.data.reject import RejectReason
from t2i_core.errors import TransientError


@asynccontextmanager
async def shared_manners(address: CoordinatorAddress, limits: HostLimits) -> AsyncIterator["SharedManners"]:
    """Connect to a coordinator for as long as the block runs.

    Raises:
        TransientError: it cannot be reached.
    """
    try:
        channel = await greet_coordinator(address)
    except BrokenChannelError as err:
        raise TransientError(
            f"the coordinator of this run does not answer at {address.host}:{address.port} ({err}). Nothing is fetched "
            "without it: see that the run still goes on, and that its workers can reach that port."
        ) from err
    manners = SharedManners(channel, limits)
    listening = asyncio.create_task(manners.listen())
    try:
        yield manners
    finally:
        listening.cancel()
        channel.close()


@dataclass(slots=True)
class _Host:
    """What this worker knows of one origin: no more turns are asked for at once than can be had."""

    origin: str
    turns: asyncio.Semaphore
    delay_seconds: float
    paused_until: float = 0.0

    @property
    def is_paused(self) -> bool:
        """Whether the host asked one of the workers for a pause that is not over."""
        return self.paused_until > asyncio.get_running_loop().time()

    def pause(self, seconds: float) -> None:
        """Note that the host asked for a pause."""
        self.paused_until = max(self.paused_until, asyncio.get_running_loop().time() + seconds)


@dataclass(slots=True)
class _Turn:
    """A turn that was asked for.

    Attributes:
        admitted: False when the host has been given up.
        digest: of the URL to be asked for.
        probe: finds out whether the host answers again.
        failed: what became of the request, None when there was none.
    """

    admitted: "asyncio.Future[bool]"
    digest: int
    probe: Callable[[], Awaitable[bool]]
    failed: bool | None = None


class SharedRefusals(Refusals):
    """Refusals that all workers learn of.

    Args:
        channel: to the coordinator.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def remember(self, digest: int, refusal: Refusal) -> None:
        """Remember a refusal, and tell it to the others."""
        self.learn(digest, refusal)
        told = (refusal.reason, refusal.detail, refusal.http_status, refusal.signals)
        self._channel.send("refused", digest, *told)

    def learn(self, digest: int, refusal: Refusal) -> None:
        """Remember what another was refused."""
        super().remember(digest, refusal)


class SharedGivenUp(GivenUp):
    """Sites and machines of which all workers learn that they are given up.

    Args:
        channel: to the coordinator.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def add(self, name: str) -> None:
        """Give one up, and tell the others."""
        if name not in self.names:
            self._channel.send("gave_up", name)
        self.learn(name)

    def learn(self, name: str) -> None:
        """Note that another gave one up."""
        super().add(name)


class SharedManners:
    """The worker's end of the connection; see `shared_manners`.

    Args:
        channel: to the coordinator.
        limits: of every origin.
    """

    def __init__(self, channel: Channel, limits: HostLimits) -> None:
        self.refusals: Final = SharedRefusals(channel)
        self.given_up: Final = SharedGivenUp(channel)
        self.channel: Final = channel
        self._limits = limits
        self._hosts: dict[str, _Host] = {}
        self._ids = count()
        self._turns: dict[int, _Turn] = {}
        self._rules: dict[int, asyncio.Future[RobotsAnswer | None]] = {}
        self._lifelines: set[asyncio.Timeout] = set()
        self._probing: set[asyncio.Task[None]] = set()
        self._is_lost = False

    def pace(self, url: URL, probe: Probe) -> "RemotePace":
        """See `Manners.pace`."""
        origin = origin_of(url)
        host = self._hosts.get(origin)
        if host is None:
            turns = asyncio.Semaphore(self._limits.at_once)
            host = self._hosts[origin] = _Host(origin, turns, self._limits.delay_seconds)
        return RemotePace(self, host, url, probe)

    def sharing(self, read: ReadRules) -> ReadRules:
        """Ask for a file only when no other worker has or does."""

        async def read_shared(url: URL) -> RobotsAnswer:
            return await self._known_rules(url) or await self._tell_rules(url, read)

        return read_shared

    async def _known_rules(self, url: URL) -> RobotsAnswer | None:
        """Give a file of rules that another worker has got, or None when this one is to ask for it."""
        ask_id = next(self._ids)
        answered: asyncio.Future[RobotsAnswer | None] = asyncio.get_running_loop().create_future()
        self._rules[ask_id] = answered
        try:
            async with self.connected():
                self.channel.send("rules", ask_id, str(url))
                return await answered
        finally:
            del self._rules[ask_id]

    async def _tell_rules(self, url: URL, read: ReadRules) -> RobotsAnswer:
        answer: RobotsAnswer | None = None
        try:
            answer = await read(url)
            return answer
        finally:
            if answer is not None:
                self.channel.send("answer", str(url), *pack_answer(answer))
            else:
                self.channel.send("unanswered", str(url))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Stop the block when the coordinator is lost.

        Raises:
            TransientError: it is lost.
        """
        if self._is_lost:
            raise _lost()
        lifeline = asyncio.timeout(None)
        try:
            async with lifeline:
                self._lifelines.add(lifeline)
                yield
        except TimeoutError as err:
            if not lifeline.expired():
                raise
            raise _lost() from err
        finally:
            self._lifelines.discard(lifeline)

    @contextmanager
    def turn(self, host: _Host, url: URL, probe: Callable[[], Awaitable[bool]]) -> Iterator[_Turn]:
        """Ask the coordinator for a turn, and give it back, or up, after the block."""
        turn_id, digest = next(self._ids), url_digest(url)
        turn = self._turns[turn_id] = _Turn(asyncio.get_running_loop().create_future(), digest, probe)
        self.channel.send("turn", turn_id, host.origin, host.delay_seconds, digest)
        try:
            yield turn
        finally:
            del self._turns[turn_id]
            self.channel.send("done", turn_id, turn.failed)

    async def listen(self) -> None:
        """Take the coordinator's messages until the connection ends; then stop all that is under way."""
        try:
            async for message in self.channel.messages():
                self._handle(message)
        except (BrokenChannelError, LookupError, TypeError, ValueError):
            # Who sends such a thing is no coordinator.
            self.channel.close()
        self._is_lost = True
        now = asyncio.get_running_loop().time()
        for lifeline in self._lifelines:
            lifeline.reschedule(now)

    def _handle(self, message: Message) -> None:
        kind, message_id, *rest = message
        if kind == "turn":
            self._answer_turn(message_id, bool(rest[0]))
        elif kind == "refused":
            self._learn_refusal(message_id, *rest)
        elif kind == "paused":
            self._pause(message_id, float(rest[0]))
        elif kind == "gave_up":
            self.given_up.learn(str(message_id))
        elif kind == "probe":
            self._probe(message_id)
        elif kind == "rules":
            self._answer_rules(message_id, unpack_answer(*rest))
        elif not self._answer_rules(message_id, None):
            self.channel.send("unanswered", *rest)

    def _answer_turn(self, turn_id: int, admitted: bool) -> None:
        turn = self._turns.get(turn_id)
        if turn is not None and not turn.admitted.done():
            turn.admitted.set_result(admitted)

    def _learn_refusal(self, turn_id: int, reason: str, detail: str, http_status: int, signals: str) -> None:
        """Let a turn go on that its URL was refused to another: who takes it looks before it asks."""
        turn = self._turns.get(turn_id)
        if turn is not None:
            self.refusals.learn(turn.digest, Refusal(RejectReason(reason), detail, http_status, signals))
            self._answer_turn(turn_id, True)

    def _pause(self, origin: str, seconds: float) -> None:
        host = self._hosts.get(origin)
        if host is not None:
            host.pause(seconds)

    def _answer_rules(self, ask_id: int, answer: RobotsAnswer | None) -> bool:
        """Give an answer to who waits for it; False when nobody does any more."""
        answered = self._rules.get(ask_id)
        if answered is None or answered.done():
            return False
        answered.set_result(answer)
        return True

    def _probe(self, turn_id: int) -> None:
        async def probe(turn: _Turn) -> None:
            is_up = False
            try:
                is_up = await turn.probe()
            finally:
                self.channel.send("probed", turn_id, is_up)

        if turn := self._turns.get(turn_id):
            task = asyncio.create_task(probe(turn))
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)


class RemotePace:
    """One host's turn-taking for one URL, by the coordinator's leave."""

    def __init__(self, manners: SharedManners, host: _Host, url: URL, probe: Probe) -> None:
        self._manners = manners
        self._host = host
        self._url = url
        self._probe = probe
        self._turn: _Turn | None = None

    @property
    def circuit(self) -> Notes:
        """What is noted here is told when the turn is given back."""
        return self

    def note(self, *, failed: bool) -> None:
        """Count what became of the request."""
        if self._turn is not None:
            self._turn.failed = failed

    def pause(self, seconds: float) -> None:
        """Let no worker start anything on this host for a while."""
        self._host.pause(seconds)
        self._manners.channel.send("pause", self._host.origin, seconds)

    @property
    def is_paused(self) -> bool:
        """Whether a pause is under way that may have begun after a turn was given."""
        return self._host.is_paused

    @property
    def why(self) -> str:
        """Say why nothing is started now, as far as this worker knows."""
        now = asyncio.get_running_loop().time()
        return why_not_now(self._host.paused_until - now, self._host.delay_seconds)

    def slow_down(self, delay_seconds: float) -> None:
        """Ask from now on for at least this pause between starts, of all workers."""
        self._host.delay_seconds = max(self._host.delay_seconds, delay_seconds)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Wait for a free turn and hold it while the block runs; False when the host has been given up.

        Raises:
            TransientError: the coordinator is lost.
        """
        probe = partial(self._probe, self._url.origin())
        async with self._host.turns, self._manners.connected():
            with self._manners.turn(self._host, self._url, probe) as self._turn:
                yield await self._turn.admitted


def _lost() -> TransientError:
    return TransientError(
        "the coordinator of this run is gone, and nothing is fetched without it. Its shards are made by the next try."
    )
