"""Keeps the manners of all workers of one run: one pace, one circuit and one memory of refusals for each origin.

A worker asks for a turn before each request and gives it back after. It holds its turns by its connection: when that
closes, because the worker is done, was killed or lost the network, they go to the others. The coordinator itself asks
no host for anything; a probe of a host that failed is made by the worker whose turn it is.
"""

import asyncio
import math
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from t2i_core.data.address import MAX_URL_CHARS
from t2i_core.data.manners.channel import (
    CHUNK_BYTES,
    BrokenChannelError,
    Channel,
    CoordinatorAddress,
    Message,
    greet_worker,
)
from t2i_core.data.manners.manners import GivenUp, HostPaces
from t2i_core.data.manners.pace import MAX_CRAWL_DELAY_SECONDS, MAX_PAUSE_SECONDS, HostLimits, HostPace
from t2i_core.data.manners.permission import Refusal, Refusals
from t2i_core.data.manners.rules_store import RulesStore
from t2i_core.data.reject import RejectReason

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 4096
# Of one worker: held or waited for.
MAX_TURNS = 1_000_000
# The worker whose turn is being waited for, and the turn.
_ASKING: ContextVar[tuple["_Worker", int]] = ContextVar("asking")


@contextmanager
def coordinating(limits: HostLimits, host: str = LOOPBACK) -> Iterator[CoordinatorAddress]:
    """Run a coordinator on a thread of its own while the block runs.

    Args:
        limits: of every origin, over all workers.
        host: address of this machine to listen on.
    """
    secret = secrets.token_hex(32)
    started: Future[tuple[int, Callable[[], None]]] = Future()
    serving = threading.Thread(target=_serve, args=(limits, host, secret, started), name="coordinator", daemon=True)
    serving.start()
    port, stop = started.result()
    try:
        yield CoordinatorAddress(host=host, port=port, secret=secret)
    finally:
        stop()
        serving.join()


def _serve(limits: HostLimits, host: str, secret: str, started: "Future[tuple[int, Callable[[], None]]]") -> None:
    async def serve() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        coordinator = Coordinator(limits, secret)
        server = await asyncio.start_server(coordinator.welcome, host, 0, limit=CHUNK_BYTES)

        def stop() -> None:
            loop.call_soon_threadsafe(done.set)

        started.set_result((server.sockets[0].getsockname()[1], stop))
        await done.wait()
        server.close()
        await coordinator.close()

    try:
        asyncio.run(serve())
    except BaseException as err:
        if not started.done():
            started.set_exception(err)


class Coordinator:
    """Knows the hosts of a run, and its workers.

    Args:
        limits: of every origin.
        secret: what a worker has to know.
    """

    def __init__(self, limits: HostLimits, secret: str) -> None:
        self.paces = HostPaces(limits)
        self.refusals = Refusals()
        self.given_up = GivenUp()
        self.rules = RulesStore()
        self._secret = secret
        self._connections: set[asyncio.StreamWriter] = set()
        self._workers: set[_Worker] = set()

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it closes; who does not know the secret, or does not keep to it, is cut off."""
        self._connections.add(writer)
        try:
            with suppress(BrokenChannelError, ConnectionError):
                if len(self._connections) <= MAX_CONNECTIONS:
                    await self._serve(await greet_worker(reader, writer, self._secret))
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _serve(self, channel: Channel) -> None:
        worker = _Worker(self, channel)
        self._workers.add(worker)
        for name in self.given_up.names:
            channel.send("gave_up", name)
        try:
            await worker.run()
        finally:
            self._workers.discard(worker)
            worker.leave()

    def tell_pause(self, origin: str, seconds: float, teller: "_Worker") -> None:
        """Let the other workers know, who may hold turns that they have not used yet."""
        for worker in self._workers - {teller}:
            worker.channel.send("paused", origin, seconds)

    def give_up(self, name: str, teller: "_Worker") -> None:
        """Note that a site or machine is asked nothing more, and let the other workers know."""
        self.given_up.add(name)
        for worker in self._workers - {teller}:
            worker.channel.send("gave_up", name)

    async def close(self) -> None:
        """Cut everybody off, and wait until their turns are cleared away."""
        for writer in self._connections:
            writer.transport.abort()
        while self._connections:
            await asyncio.sleep(0.001)


@dataclass(slots=True)
class _Turn:
    """A turn that a worker waits for or, when nothing is waiting any more, holds."""

    pace: HostPace
    digest: int
    waiting: asyncio.Task[None] | None = None


class _Worker:
    """One connection: what its worker holds and waits for."""

    def __init__(self, coordinator: Coordinator, channel: Channel) -> None:
        self.channel = channel
        self._coordinator = coordinator
        self._turns: dict[int, _Turn] = {}
        self._probes: dict[int, asyncio.Future[bool]] = {}
        self._handlers: dict[str, Callable[..., None]] = {
            "turn": self._on_turn,
            "done": self._on_done,
            "pause": self._on_pause,
            "refused": self._on_refused,
            "gave_up": self._on_gave_up,
            "probed": self._on_probed,
            "rules": self._on_rules,
            "answer": self._on_answer,
            "unanswered": self._on_unanswered,
        }

    async def run(self) -> None:
        """Do what the worker asks until it closes.

        Raises:
            BrokenChannelError: a message is not what it should be.
        """
        async for message in self.channel.messages():
            self._handle(message)

    def _handle(self, message: Message) -> None:
        kind, *arguments = message
        try:
            self._handlers[kind](*arguments)
        except (LookupError, TypeError, ValueError) as err:
            raise BrokenChannelError(f"not a message: {str(message)[:200]}") from err

    def leave(self) -> None:
        """Give back all that the worker held."""
        for turn_id in list(self._turns):
            self._on_done(turn_id, None)
        self._coordinator.rules.leave(self.channel)

    def _on_turn(self, turn_id: int, origin: str, delay_seconds: float, digest: int) -> None:
        if turn_id in self._turns or len(self._turns) >= MAX_TURNS:
            raise ValueError(turn_id)
        refusal = self._coordinator.refusals.of_digest(digest)
        if refusal is not None:
            self._tell_refusal(turn_id, refusal)
            return
        pace = self._pace(origin)
        pace.slow_down(_bounded(delay_seconds, MAX_CRAWL_DELAY_SECONDS))
        turn = self._turns[turn_id] = _Turn(pace, digest)
        turn.waiting = asyncio.create_task(self._wait(turn_id, turn))

    def _pace(self, origin: str) -> HostPace:
        return self._coordinator.paces.of(_text(origin), _probe_by_who_waits)

    async def _wait(self, turn_id: int, turn: _Turn) -> None:
        _ASKING.set((self, turn_id))
        admitted = await turn.pace.enter()
        turn.waiting = None
        # While this one waited, the same URL may have been refused to another worker.
        refusal = self._coordinator.refusals.of_digest(turn.digest)
        if refusal is not None:
            self._on_done(turn_id, None)
            self._tell_refusal(turn_id, refusal)
        else:
            self.channel.send("turn", turn_id, admitted)

    def _tell_refusal(self, turn_id: int, refusal: Refusal) -> None:
        told = (refusal.reason, refusal.detail, refusal.http_status, refusal.signals)
        self.channel.send("refused", turn_id, *told)

    def _on_done(self, turn_id: int, failed: bool | None) -> None:
        # A turn that was refused is over already.
        turn = self._turns.pop(turn_id, None)
        if turn is None:
            return
        if turn.waiting is not None:
            turn.waiting.cancel()
            return
        if failed is not None and turn.pace.circuit is not None:
            turn.pace.circuit.note(failed=bool(failed))
        turn.pace.leave()

    def _on_pause(self, origin: str, seconds: float) -> None:
        pause_seconds = _bounded(seconds, MAX_PAUSE_SECONDS)
        self._pace(origin).pause(pause_seconds)
        self._coordinator.tell_pause(origin, pause_seconds, self)

    def _on_refused(self, digest: int, reason: str, detail: str, http_status: int, signals: str) -> None:
        refusal = Refusal(RejectReason(reason), _text(detail), int(http_status), _text(signals))
        self._coordinator.refusals.remember(int(digest), refusal)

    def _on_gave_up(self, name: str) -> None:
        self._coordinator.give_up(_text(name), self)

    async def probe(self, turn_id: int) -> bool:
        """Let the worker find out whether the host that it waits for answers again."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._probes[turn_id] = answered
        self.channel.send("probe", turn_id)
        try:
            return await answered
        finally:
            del self._probes[turn_id]

    def _on_probed(self, turn_id: int, is_up: bool) -> None:
        answered = self._probes.get(turn_id)
        if answered is not None and not answered.done():
            answered.set_result(bool(is_up))

    def _on_rules(self, ask_id: int, url: str) -> None:
        self._coordinator.rules.ask(self.channel, int(ask_id), _text(url))

    def _on_answer(self, url: str, *answer: Any) -> None:
        self._coordinator.rules.answer(self.channel, _text(url), answer)

    def _on_unanswered(self, url: str) -> None:
        self._coordinator.rules.give_up(self.channel, _text(url))


async def _probe_by_who_waits() -> bool:
    worker, turn_id = _ASKING.get()
    return await worker.probe(turn_id)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_URL_CHARS:
        raise ValueError("not a short text")
    return value


def _bounded(value: Any, most: float) -> float:
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("not a time")
    return min(seconds, most)
