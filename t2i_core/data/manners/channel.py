"""Messages between the workers of one run and their coordinator: JSON lines of bounded size, many messages a line.

Who connects proves that it knows the run's secret, without sending it. Nothing that comes in is ever unpickled.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from t2i_core.config import Config

# The largest message is a file of rules of half a MiB, of which JSON can make six times as much.
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_BACKLOG_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
GREETING_SECONDS = 10.0
WELCOME = b"welcome\n"
_TOKEN_BYTES = 65
# A machine that is gone without a word is noticed after half a minute.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))

Message = list[Any]


class CoordinatorAddress(Config):
    """Where a run's coordinator listens, and what its workers have to know."""

    host: str = Field(description="name or address that all workers can reach")
    port: int = Field(ge=1, le=65535, description="TCP port")
    secret: str = Field(repr=False, description="known to the workers of this run only")


class BrokenChannelError(Exception):
    """The other side is gone, or does not keep to the rules."""


class Channel:
    """One connection, after the greeting.

    Args:
        reader: of what the other side sends.
        writer: of what it is sent.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: list[str] = []
        _keep_alive(writer)

    def send(self, *message: object) -> None:
        """Send a message, together with what else is sent before the event loop comes round."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(json.dumps(message, separators=(",", ":")))

    def _flush(self) -> None:
        lines = _lines(self._waiting)
        self._waiting.clear()
        if self._writer.is_closing():
            return
        self._writer.writelines(lines)
        if self._writer.transport.get_write_buffer_size() > MAX_BACKLOG_BYTES:
            self._writer.transport.abort()

    async def messages(self) -> AsyncIterator[Message]:
        """Give the messages as they come, until the other side closes.

        Raises:
            BrokenChannelError: what comes is no line of messages, or too long.
        """
        buffer = bytearray()
        while chunk := await self._read():
            buffer += chunk
            *lines, rest = buffer.split(b"\n") if b"\n" in chunk else [buffer]
            if len(rest) > MAX_LINE_BYTES:
                raise BrokenChannelError("a line is too long")
            buffer = rest
            for line in lines:
                for message in _parse(line):
                    yield message

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(CHUNK_BYTES)
        except OSError:
            return b""

    def close(self) -> None:
        """Send what waits, and close."""
        self._flush()
        self._writer.close()


def _lines(messages: list[str]) -> list[bytes]:
    """Put messages together into as few lines as may be."""
    lines: list[bytes] = []
    together: list[str] = []
    size = 0
    for message in messages:
        if together and size + len(message) > MAX_LINE_BYTES // 2:
            lines.append(_line(together))
            together, size = [], 0
        together.append(message)
        size += len(message) + 1
    return [*lines, _line(together)] if together else lines


def _line(messages: list[str]) -> bytes:
    return f"[{','.join(messages)}]\n".encode()


def _parse(line: bytes | bytearray) -> list[Message]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise BrokenChannelError("a line is not JSON") from err
    if not isinstance(found, list) or not all(isinstance(message, list) and message for message in found):
        raise BrokenChannelError("a line is not a list of messages")
    return found


async def greet_worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: str) -> Channel:
    """Let a worker in that knows the secret.

    Raises:
        BrokenChannelError: it does not.
    """
    nonce = secrets.token_hex(32).encode()
    writer.write(nonce + b"\n")
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            answer = await reader.readexactly(_TOKEN_BYTES)
    except (TimeoutError, asyncio.IncompleteReadError, OSError) as err:
        raise BrokenChannelError("no greeting") from err
    if not hmac.compare_digest(answer, _proof(secret, nonce)):
        raise BrokenChannelError("wrong secret")
    writer.write(WELCOME)
    return Channel(reader, writer)


async def greet_coordinator(address: CoordinatorAddress) -> Channel:
    """Connect to a coordinator.

    Raises:
        BrokenChannelError: it does not answer, or does not let us in.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=CHUNK_BYTES)
            nonce = await reader.readexactly(_TOKEN_BYTES)
            writer.write(_proof(address.secret, nonce.rstrip(b"\n")))
            if await reader.readexactly(len(WELCOME)) != WELCOME:
                raise BrokenChannelError("it is no coordinator")
    except (TimeoutError, asyncio.IncompleteReadError, OSError, BrokenChannelError) as err:
        if writer is not None:
            writer.close()
        raise BrokenChannelError(str(err) or type(err).__name__) from err
    return Channel(reader, writer)


def _proof(secret: str, nonce: bytes) -> bytes:
    return hmac.new(secret.encode(), nonce, hashlib.sha256).hexdigest().encode() + b"\n"


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
