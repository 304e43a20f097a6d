"""HTTP on one event loop: libcurl's connections, kept open, HTTP/2 where a server offers it, each to a checked address.

Every request goes to an address that `resolver` gave, so a name that changes its mind after the check gains nothing.
Header and body bytes are counted as they arrive. Redirects, cookies, credentials and proxies are not followed or sent.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import certifi
import pycurl
from yarl import URL

from t2i_core.data.bounded.budget import Claim
from t2i_core.data.reject import RejectReason
from t2i_core.data.web.curl_loop import BAD_CHUNK, CurlLoop
from t2i_core.data.web.resolver import Resolver

MAX_HEADER_BYTES = 65_536
MAX_HEADER_LINE_BYTES = 8190
MAX_HEADERS = 100
CONNECT_SECONDS = 10.0
MAX_ADDRESSES = 3
IDLE_SECONDS = 30
# A kept connection may have ended when it is used again; then the request is sent once more, and no oftener.
MAX_SENDS = 2
# A body that comes more slowly than this, for so long, is not waited for.
MIN_BYTES_PER_SECOND = 200
SLOW_SECONDS = 15
MIN_CLAIM_BYTES = 256 * 1024
# The body of an answer that is of no use is read to its end when it is this short, for the sake of the connection.
MAX_IDLE_BODY_BYTES = 32_768
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_HEADERS = ("Accept: */*", "Accept-Encoding: identity")
_CERTIFICATES_VARIABLE = "SSL_CERT_FILE"

_REASONS = {
    pycurl.E_COULDNT_CONNECT: RejectReason.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: RejectReason.TIMEOUT,
    pycurl.E_URL_MALFORMAT: RejectReason.BAD_URL,
    **dict.fromkeys(
        (
            *(pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE),
            pycurl.E_ABORTED_BY_CALLBACK,
        ),
        RejectReason.CONNECT,
    ),
    **dict.fromkeys(
        (
            *(pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CIPHER, pycurl.E_SSL_ISSUER_ERROR),
            *(pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_SHUTDOWN_FAILED),
        ),
        RejectReason.TLS,
    ),
}
# CURLE_HTTP2_STREAM, which pycurl does not name.
_HTTP2_STREAM = 92
_BROKE = frozenset(
    {
        *(pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_PARTIAL_FILE, BAD_CHUNK),
        *(pycurl.E_HTTP2, _HTTP2_STREAM, pycurl.E_ABORTED_BY_CALLBACK),
    }
)


class TransportError(Exception):
    """A request without an answer.

    Attributes:
        reason: why.
        broke: the answer had begun, or could have: the same may go well the next time.
    """

    def __init__(self, reason: RejectReason, *, broke: bool = False) -> None:
        super().__init__(reason.meaning)
        self.reason = reason
        self.broke = broke


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer.

    Attributes:
        status: 200 to 599.
        headers: names in lower case and values, in the order in which they came.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> list[str]:
        """Give the values of all headers of a name, in lower case."""
        return [value for header, value in self.headers if header == name]

    def first(self, name: str) -> str:
        """Give the value of the first header of a name; "" when there is none."""
        return next((value for header, value in self.headers if header == name), "")

    @property
    def length(self) -> int | None:
        """Bytes of the body as announced, None when they are not."""
        text = self.first("content-length")
        # Python refuses to read very long numbers; this many digits are more than any body has.
        return int(text[:20]) if text.isascii() and text.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        head: its status and headers.
        body: as sent, at most as long as asked for.
        is_whole: a body was wanted, and nothing of it was left unread.
    """

    head: Head
    body: bytes
    is_whole: bool


@dataclass(slots=True)
class Exchanged:
    """What went over the wire for one answer, or for none: requests sent, and bytes of bodies that came back."""

    requests: int = 0
    bytes: int = 0


# How much of a body to read, by its head: more than that ends the reading. 0 for none.
Limit = Callable[[Head], int]


class Transport:
    """Sends requests, many at a time. Use within a running loop, and close it there.

    Args:
        resolver: gives the addresses to connect to; closed with the transport.
        user_agent: sent with each request.
        max_idle: connections to keep open.
    """

    def __init__(self, resolver: Resolver, user_agent: str, max_idle: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.resolver = resolver
        self._user_agent = user_agent
        self._free: list[pycurl.Curl] = []
        self._curls = CurlLoop(max_idle)

    def close(self) -> None:
        """Close all connections."""
        self._curls.close()
        for curl in self._free:
            curl.close()
        self.resolver.close()

    async def get(
        self,
        url: URL,
        limit: Limit,
        account: Exchanged,
        claim: Claim | None = None,
        conditions: Sequence[str] = (),
    ) -> Response:
        """Send one GET, and read its answer as far as wanted.

        Args:
            url: where.
            limit: how much of the body to read.
            account: is added to, whatever happens.
            claim: on memory for the body, which is left with the server as long as there is none; None for no limit.
            conditions: headers that say which answer is not wanted.

        Raises:
            PrivateAddressError: the host has an address that is not public.
            OSError: the host's name does not resolve.
            TransportError: no answer came.
        """
        host = url.raw_host or ""
        *others, last = (await self.resolver.addresses(host))[:MAX_ADDRESSES]
        for address in others:
            exchange = _Exchange(limit, account, claim)
            if await self._perform(url, address, exchange, conditions) != pycurl.E_COULDNT_CONNECT:
                self.resolver.prefer(host, address)
                break
        else:
            exchange = _Exchange(limit, account, claim)
            await self._perform(url, last, exchange, conditions)
        return exchange.response()

    async def _perform(self, url: URL, address: str, exchange: "_Exchange", conditions: Sequence[str]) -> int:
        curl = self._free.pop() if self._free else self._new_handle()
        curl.setopt(pycurl.URL, str(url))
        curl.setopt(pycurl.HTTPHEADER, [*_HEADERS, *conditions])
        place = f"[{address}]" if ":" in address else address
        curl.setopt(pycurl.CONNECT_TO, [f"::{place}:{url.port}"])
        # A second request to a server that may speak HTTP/2 waits to share the first one's connection.
        curl.setopt(pycurl.PIPEWAIT, int(url.scheme == "https"))
        curl.setopt(pycurl.PREREQFUNCTION, exchange.may_send)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.take_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.take_body)
        end = self._curls.start(curl)
        if exchange.claim is not None:
            exchange.claim.resume = lambda: self._loop.call_soon(self._curls.go_on, curl, end)
        try:
            exchange.code = await end
            return exchange.code
        finally:
            self._curls.stop(curl)
            if exchange.is_paused:
                curl.close()
            else:
                self._free.append(curl)

    def _new_handle(self) -> pycurl.Curl:
        curl = pycurl.Curl()
        options = {
            pycurl.USERAGENT: self._user_agent,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            pycurl.NOPROXY: "*",
            pycurl.PATH_AS_IS: 1,
            pycurl.NOSIGNAL: 1,
            pycurl.BUFFERSIZE: 256 * 1024,
            pycurl.CONNECTTIMEOUT_MS: int(CONNECT_SECONDS * 1000),
            pycurl.LOW_SPEED_LIMIT: MIN_BYTES_PER_SECOND,
            pycurl.LOW_SPEED_TIME: SLOW_SECONDS,
            pycurl.MAXAGE_CONN: IDLE_SECONDS,
            pycurl.CAINFO: os.environ.get(_CERTIFICATES_VARIABLE) or certifi.where(),
        }
        for name, value in options.items():
            curl.setopt(name, value)
        return curl


@dataclass(slots=True)
class _Exchange:
    """What has come of one answer."""

    limit: Limit
    account: Exchanged
    claim: Claim | None = None
    code: int = pycurl.E_OK
    is_paused: bool = False
    _status: int = 0
    _lines: list[bytes] = field(default_factory=list)
    _header_bytes: int = 0
    _head: Head | None = None
    _parts: list[bytes] = field(default_factory=list)
    _num_sent: int = 0
    _num_bytes: int = 0
    _num_free: int = 0
    _length: int | None = None
    _most: int = 0
    _is_bad: bool = False
    _is_whole: bool = True

    def may_send(self, *_addresses: object) -> int:
        """Called by libcurl before it sends the request, the first time or again."""
        if self._num_sent == MAX_SENDS:
            return int(pycurl.PREREQFUNC_ABORT)
        self._num_sent += 1
        self.account.requests += 1
        return int(pycurl.PREREQFUNC_OK)

    def take_header(self, line: bytes) -> int:
        """Called by libcurl for each line of the head; anything but its length ends the exchange."""
        self._header_bytes += len(line)
        if self._head is not None:
            # A trailer.
            return len(line) if self._header_bytes <= MAX_HEADER_BYTES else self._give_up()
        too_much = len(self._lines) > MAX_HEADERS or len(line) > MAX_HEADER_LINE_BYTES
        if too_much or self._header_bytes > MAX_HEADER_BYTES:
            return self._give_up()
        if line.startswith(b"HTTP/"):
            return self._take_status(line)
        if line.strip():
            if line[:1] in b" \t" and self._lines:
                line = self._lines.pop().rstrip(b"\r\n") + b" " + line.strip()
            self._lines.append(line)
        elif self._status >= 200 and not self._take_head():
            return -1
        return len(line)

    def _take_status(self, line: bytes) -> int:
        """A new status follows one that was for information only."""
        number = line.split(maxsplit=2)[1:2]
        if not number or len(number[0]) != 3 or not number[0].isdigit():
            return self._give_up()
        self._status = int(number[0])
        self._lines = []
        return len(line)

    def _take_head(self) -> bool:
        """Read the head, and tell whether to go on to the body."""
        pairs = (line.decode("latin-1").partition(":") for line in self._lines)
        self._head = Head(self._status, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))
        self._most = self.limit(self._head)
        length = self._length = self._head.length
        # What has no body is over with its head, and its connection is worth as much as any other.
        is_short = self._status in _BODILESS or (length is not None and length <= MAX_IDLE_BODY_BYTES)
        return self._most > 0 or is_short

    def take_body(self, chunk: bytes) -> int:
        """Called by libcurl for each piece of the body; anything but its length ends or stops the exchange."""
        size = len(chunk)
        num_bytes = self._num_bytes + size
        if num_bytes > self._num_free and self._most and not self._has_room(num_bytes):
            # The same piece comes again.
            return int(pycurl.WRITEFUNC_PAUSE)
        self._num_bytes = num_bytes
        self.account.bytes += size
        if not self._most:
            return size if num_bytes <= MAX_IDLE_BODY_BYTES else -1
        surplus = num_bytes - self._most
        if surplus > 0:
            self._is_whole = False
            self._parts.append(chunk[:-surplus])
            return -1
        self._parts.append(chunk)
        return size

    def _has_room(self, needed: int) -> bool:
        """Ask for memory: all at once for a body of known length, else some more each time."""
        if self.claim is None:
            return True
        length = self._length
        wanted = min(max(needed, length or 2 * self.claim.held, MIN_CLAIM_BYTES if length is None else 0), self._most)
        self.is_paused = not self.claim.grow(wanted)
        self._num_free = self.claim.held
        return not self.is_paused

    def _give_up(self) -> int:
        self._is_bad = True
        return -1

    def response(self) -> Response:
        """Give the answer.

        Raises:
            TransportError: there is none.
        """
        if self.code == pycurl.E_OK and self._head is None and not self._is_bad:
            # The connection was closed within the head.
            raise TransportError(RejectReason.CONNECT, broke=True)
        stopped = self.code == pycurl.E_WRITE_ERROR and not self._is_bad
        if self._head is None or not (stopped or self.code == pycurl.E_OK):
            raise TransportError(_REASONS.get(self.code, RejectReason.BAD_RESPONSE), broke=self.code in _BROKE)
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        return Response(self._head, body, self._is_whole and self._most > 0)
