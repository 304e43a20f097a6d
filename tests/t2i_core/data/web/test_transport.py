"""Answers of any shape, from servers that mean it and servers that do not, over HTTP/1.1 and HTTP/2."""

import asyncio
import gc
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from yarl import URL

from t2i_core.data.reject import RejectReason
from t2i_core.data.web.private_hosts import PrivateHosts
from t2i_core.data.web.resolver import Resolver
from t2i_core.data.web.transport import Exchanged, Head, Response, Transport, TransportError

Answer = Response | RejectReason
LOOPBACK = PrivateHosts.parse(["localhost"])


def ask(*scripts: bytes, most: int = 1000, look_up: Any = None) -> list[Answer]:
    """Ask a server on loopback that answers connection N with script N and hangs up."""
    waiting = list(scripts)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(waiting.pop(0))
        writer.close()

    async def run() -> list[Answer]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        host = "name.example" if look_up else "127.0.0.1"
        async with server:
            transport = Transport(Resolver(LOOPBACK, look_up=look_up), "t2i/test", max_idle=8)
            try:
                return [await get(transport, f"http://{host}:{port}/", most) for _ in scripts]
            finally:
                transport.close()

    return asyncio.run(run())


async def get(transport: Transport, url: str, most: int) -> Answer:
    try:
        return await transport.get(URL(url), lambda head: most if head.status == 200 else 0, Exchanged())
    except TransportError as err:
        return err.reason


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"", RejectReason.CONNECT),
        (b"HTTP/1.1 200 OK\r\nContent-Len", RejectReason.CONNECT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", RejectReason.CONNECT),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", RejectReason.BAD_RESPONSE),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", RejectReason.BAD_RESPONSE),
        (b"\x00" * 3000, RejectReason.BAD_RESPONSE),
        (b"HTTP/1.1 999999 x\r\n\r\n", RejectReason.BAD_RESPONSE),
        (b"HTTP/1.1 20x OK\r\n\r\n", RejectReason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", RejectReason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000 + b"\r\n\r\n", RejectReason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", RejectReason.BAD_RESPONSE),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, RejectReason.BAD_RESPONSE),
    ],
)
def test_what_is_no_answer_has_a_reason(script: bytes, expected: RejectReason) -> None:
    assert ask(script) == [expected]


def test_heads_are_read_as_sent() -> None:
    script = (
        b"HTTP/1.1 103 Early Hints\r\nX-Robots-Tag: noai\r\n\r\n"
        b"HTTP/1.1 200\r\nX-Robots-Tag: one\r\nX-ROBOTS-TAG:  t\xfcwo \r\nContent-Length: 2\r\n\r\nok"
    )
    [answer] = ask(script)
    assert isinstance(answer, Response)
    assert answer.head.all("x-robots-tag") == ["one", "tüwo"]
    assert (answer.head.length, answer.body, answer.is_whole) == (2, b"ok", True)
    assert Head(200, (("content-length", "²"),)).length is None


@pytest.mark.parametrize("framing", [b"Content-Length: 5000", b"Transfer-Encoding: chunked", b"Connection: close"])
def test_bodies_are_read_as_far_as_wanted(framing: bytes) -> None:
    body = b"x" * 5000
    sent = b"1388\r\n" + body + b"\r\n0\r\n\r\n" if b"chunked" in framing else body
    script = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + sent
    cut, exact, unwanted = (ask(script, most=most)[0] for most in (4999, 5000, 0))
    assert isinstance(cut, Response) and (cut.body, cut.is_whole) == (body[:4999], False)
    assert isinstance(exact, Response) and (exact.body, exact.is_whole) == (body, True)
    assert isinstance(unwanted, Response) and (unwanted.body, unwanted.is_whole) == (b"", False)


def test_an_address_that_refuses_is_followed_by_the_next() -> None:
    script = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    [answer, again] = ask(script, script, look_up=lambda _: ["127.0.0.2", "127.0.0.1"])
    assert isinstance(answer, Response) and isinstance(again, Response) and again.body == b"ok"


def test_a_request_that_is_given_up_leaves_the_others_alone() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            while b"/slow" not in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await reader.read()

    async def run() -> list[Answer]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = Transport(Resolver(LOOPBACK), "t2i/test", max_idle=8)
        slow = [asyncio.create_task(get(transport, f"{url}/slow", 10)) for _ in range(5)]
        await get(transport, url, 10)
        for task in slow:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*slow, return_exceptions=True)
        )
        answers = await asyncio.gather(*(get(transport, url, 10) for _ in range(20)))
        transport.close()
        server.close()
        return answers

    answers = asyncio.run(run())
    assert all(isinstance(answer, Response) and answer.body == b"ok" for answer in answers)


@pytest.mark.parametrize("status", [b"304 Not Modified", b"204 No Content"])
def test_an_answer_that_has_no_body_leaves_its_connection_for_the_next(status: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 " + status + b'\r\nETag: "1"\r\n\r\n')

    async def run() -> list[Answer]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = Transport(Resolver(LOOPBACK), "t2i/test", max_idle=8)
        answers = [await get(transport, url, 10) for _ in range(5)]
        transport.close()
        server.close()
        return answers

    answers = asyncio.run(run())
    assert connections == 1
    assert all(isinstance(answer, Response) and answer.head.status == int(status[:3]) for answer in answers)


def test_a_request_is_sent_again_once_when_a_kept_connection_has_ended() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with suppress(asyncio.IncompleteReadError):
            while b"/gone" not in await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.05)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            sent += 1
        writer.close()

    async def run() -> tuple[Exchanged, Answer]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport, account = Transport(Resolver(LOOPBACK), "t2i/test", max_idle=8), Exchanged()
        await asyncio.gather(*(get(transport, url, 10) for _ in range(8)))
        with pytest.raises(TransportError, match="no connection, or it broke"):
            await transport.get(URL(f"{url}/gone"), lambda _: 10, account)
        after = await get(transport, url, 10)
        transport.close()
        server.close()
        return account, after

    account, after = asyncio.run(run())
    assert sent == account.requests == 2
    assert isinstance(after, Response) and after.body == b"ok"


class TwoServer(asyncio.Protocol):
    """Speaks HTTP/2 and nothing else; answers every request with its path."""

    connections: list["TwoServer"]

    def connection_made(self, transport: Any) -> None:
        self.connections.append(self)
        self.transport = transport
        self.two = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.two.initiate_connection()
        transport.write(self.two.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.two.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                path = dict(event.headers)[b":path"]
                self.two.send_headers(event.stream_id, [(":status", "200"), ("x-robots-tag", "all")])
                self.two.send_data(event.stream_id, path, end_stream=True)
        self.transport.write(self.two.data_to_send())


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return made


def ask_two(authority: trustme.CA, name: str, number: int) -> tuple[list[Answer], int]:
    connections: list[TwoServer] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    authority.issue_cert("pictures.example").configure_cert(context)

    class Server(TwoServer):
        pass

    Server.connections = connections

    async def run() -> list[Answer]:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, ssl=context)
        url = f"https://{name}:{server.sockets[0].getsockname()[1]}"
        transport = Transport(Resolver(LOOPBACK, look_up=lambda _: ["127.0.0.1"]), "t2i/test", max_idle=8)
        try:
            return await asyncio.gather(*(get(transport, f"{url}/{index}", 100) for index in range(number)))
        finally:
            transport.close()
            server.close()

    return asyncio.run(run()), len(connections)


def test_one_connection_carries_many_requests_over_http2(authority: trustme.CA) -> None:
    answers, connections = ask_two(authority, "pictures.example", 20)
    assert [isinstance(answer, Response) and answer.body for answer in answers] == [b"/%d" % n for n in range(20)]
    assert connections == 1


def test_a_certificate_of_another_name_is_refused(authority: trustme.CA) -> None:
    assert ask_two(authority, "other.example", 1)[0] == [RejectReason.TLS]


def test_an_unknown_authority_is_refused(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert ask_two(authority, "pictures.example", 1)[0] == [RejectReason.TLS]


def test_bodies_do_not_stay_in_memory_after_they_were_used() -> None:
    script = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000

    [answer] = ask(script, most=1_000_000)
    assert isinstance(answer, Response)
    gc.collect()
    # The name here, and the argument of the call.
    assert sys.getrefcount(answer.body) <= 3
