"""A web server on loopback that misbehaves as it is told, address by address, and writes down all it was asked.

What it says is bytes made beforehand, so one thread serves thousands of requests a second, and every way to break off,
stall or drip is one of a few ends that an answer has.
"""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum, auto
from math import inf
from time import monotonic, time

DRIP_SECONDS = 1.0
ENDLESS_CHUNK = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"


class End(Enum):
    """What follows the bytes of an answer."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()
    DRIP = auto()
    ENDLESS = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as bytes.

    Attributes:
        wire: head and body, or as much of them as is sent.
        end: what follows.
        denies: whether it forbids to ask for this address again.
        retry_after: seconds that it asks to wait, 0 for none.
        dated: say this as the date at which the time is over, not as a number of seconds.
    """

    wire: bytes
    end: End = End.KEEP
    denies: bool = False
    retry_after: int = 0
    dated: bool = False


def http(
    status: int = 200,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    end: End = End.KEEP,
    sent: int | None = None,
    denies: bool = False,
) -> Answer:
    """Put an answer together.

    Args:
        status: of HTTP.
        body: whose length is announced, unless the headers say otherwise.
        headers: further ones, or others; an empty value leaves one out.
        end: what follows.
        sent: bytes of the body that are sent, None for all.
        denies: whether the client must not ask again.
    """
    fields = {"Content-Type": "image/png", "Content-Length": str(len(body))} | dict(headers or {})
    head = f"HTTP/1.1 {status} -\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return Answer(head.encode("latin-1") + b"\r\n" + body[:sent], end, denies)


def busy(status: int, seconds: int, *, dated: bool = False) -> Answer:
    """Ask the client to come back later."""
    return Answer(
        b"HTTP/1.1 %d -\r\nContent-Length: 0\r\nRetry-After: %%s\r\n\r\n" % status, End.KEEP, False, seconds, dated
    )


@dataclass(slots=True)
class Request:
    """One request as the server saw it; times are in seconds of a clock that only grows.

    Attributes:
        port: that it came in at.
        path: with query.
        started: when it had arrived.
        ended: when the last byte of the answer was handed over, or the connection was gone.
        cut: the client ended it.
        denied: it was answered with a denial.
        free_at: when a Retry-After of the answer has passed, 0 for none.
    """

    port: int
    path: str
    started: float
    ended: float = inf
    cut: bool = False
    denied: bool = False
    free_at: float = 0.0


@dataclass
class FaultServer:
    """Serves `answers` at several ports at once; what has no answer is 404.

    Attributes:
        answers: by port and path; the n-th request gets the n-th, those after the last one the last.
        files: by path without query, for all ports that have no answer of their own there.
        log: all requests, in order of arrival.
        ports: where it listens.
    """

    num_origins: int
    answers: dict[tuple[int, str], tuple[Answer, ...]] = field(default_factory=dict)
    files: dict[str, Answer] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator["FaultServer"]:
        """Serve from a thread of its own while the block runs."""
        self._asked: Counter[tuple[int, str]] = Counter()
        self._ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        thread.start()
        assert self._ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._done.set)
            thread.join(10)

    def url(self, origin: int, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[origin]}{path}"

    async def _main(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        servers = []
        for _ in range(self.num_origins):
            server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
            self.ports.append(server.sockets[0].getsockname()[1])
            servers.append(server)
        self._ready.set()
        await self._done.wait()
        for server in servers:
            server.close()

    def answer(self, request: Request) -> Answer:
        """Choose the answer to a request, and note it."""
        place = (request.port, request.path)
        answers = self.answers.get(place) or (self.files.get(request.path.partition("?")[0], _NOT_FOUND),)
        answer = answers[min(self._asked[place], len(answers) - 1)]
        self._asked[place] += 1
        request.denied = answer.denies
        self.log.append(request)
        return answer


_NOT_FOUND = http(404)


class _Connection(asyncio.Protocol):
    """One connection: requests come in one after the other, as none of them has a body."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._received = b""
        self._request: Request | None = None
        self._flows = asyncio.Event()
        self._flows.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("sockname")[1]

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received and not self._transport.is_closing():
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            self._serve(head.split(b" ", 2)[1].decode("latin-1"))

    def _serve(self, path: str) -> None:
        request = self._request = Request(self._port, path, monotonic())
        answer = self._server.answer(request)
        self._transport.write(_with_wait(answer, request))
        if answer.end in (End.KEEP, End.CLOSE, End.RESET):
            request.ended = monotonic()
        if answer.end is End.CLOSE:
            self._transport.close()
        elif answer.end is End.RESET:
            self._reset()
        elif answer.end is End.DRIP:
            self._drip()
        elif answer.end is End.ENDLESS:
            self._stream = asyncio.ensure_future(self._send_forever())

    def _reset(self) -> None:
        """Break off so that the client gets an error instead of an end."""
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"x")
            asyncio.get_running_loop().call_later(DRIP_SECONDS, self._drip)

    async def _send_forever(self) -> None:
        while not self._transport.is_closing():
            await self._flows.wait()
            self._transport.write(ENDLESS_CHUNK)
            await asyncio.sleep(0)

    def pause_writing(self) -> None:
        self._flows.clear()

    def resume_writing(self) -> None:
        self._flows.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._flows.set()
        if self._request is not None and self._request.ended == inf:
            self._request.ended, self._request.cut = monotonic(), True


def _with_wait(answer: Answer, request: Request) -> bytes:
    if not answer.retry_after:
        return answer.wire
    if not answer.dated:
        request.free_at = monotonic() + answer.retry_after
        return answer.wire % str(answer.retry_after).encode()
    # A date has whole seconds.
    until = int(time()) + 1 + answer.retry_after
    request.free_at = monotonic() + until - time()
    return answer.wire % formatdate(until, usegmt=True).encode()
