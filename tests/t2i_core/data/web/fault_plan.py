"""Which faults a list of URLs meets, and what has to become of each: a seeded plan for the fault server.

Every row says what an ingest has to make of it: "" for a picture that is kept, else the reason it is left out for; and
the same once more for a later `--retry` of what failed for a while.
"""

import gzip
import hashlib
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tests.t2i_core.data.web.fault_server import Answer, End, FaultServer, busy, http

MAX_BYTES = 200_000
MAX_PIXELS = 1_000_000
RETRY_AFTER_SECONDS = 1
LISTED = "/listed/"
ROBOTS = b"User-agent: *\nDisallow: /denied/\n\nUser-agent: otherbot\nDisallow: /\n"
TDM = b'[{"location": "/reserved/", "tdm-reservation": 1}, {"location": "/", "tdm-reservation": 0}]'
AI_TXT = b"User-agent: *\nDisallow: /not-for-ai/\n"
CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}
TEXT = {"Content-Type": "text/plain"}
FILES = {
    "/robots.txt": http(body=ROBOTS, headers=TEXT),
    "/.well-known/tdmrep.json": http(body=TDM, headers={"Content-Type": "application/json"}),
    "/ai.txt": http(body=AI_TXT, headers=TEXT),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the list.

    Attributes:
        url: to ask for.
        caption: of its own, so that no row repeats another unless it is meant to.
        fault: the name of what is done to it.
        reason: what an ingest has to say, "" for kept.
        retried: what it has to say after a `--retry`.
        late: it belongs to the end of the list, where what came before is known.
    """

    url: str
    caption: str
    fault: str
    reason: str
    retried: str
    late: bool = False


def picture(rng: np.random.Generator, kind: str = "PNG", size: tuple[int, int] = (48, 40)) -> bytes:
    """Draw a picture that no other row has."""
    grain = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """Give a small PNG whose header announces any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + picture(np.random.default_rng(0))[33:]


class Planner:
    """Makes rows, and tells the server what to answer to them."""

    def __init__(self, server: FaultServer, seed: int) -> None:
        self.server = server
        self.rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.denied_bodies: list[str] = []
        self._number = 0

    def picture(self, kind: str = "PNG", size: tuple[int, int] = (48, 40)) -> bytes:
        return picture(self.rng, kind, size)

    def place(self, folder: str = "/", ending: str = ".png") -> tuple[int, str]:
        """Choose an origin, in turn, and a path that nothing else has."""
        self._number += 1
        return self._number % self.server.num_origins, f"{folder}{self._number:05d}{ending}"

    def serve(self, *answers: Answer, folder: str = "/", ending: str = ".png") -> str:
        """Have answers given at a new address."""
        origin, path = self.place(folder, ending)
        self.server.answers[self.server.ports[origin], path] = answers
        return self.server.url(origin, path)

    def row(self, url: str, fault: str, reason: str = "", retried: str | None = None, *, late: bool = False) -> None:
        caption = f"{fault} number {len(self.rows)}"
        self.rows.append(Row(url, caption, fault, reason, reason if retried is None else retried, late))

    def add(self, number: int, fault: str, answers: Callable[[], tuple[Answer, ...]], *reasons: str) -> None:
        """Add rows that meet the same fault, each at an address of its own."""
        for _ in range(number):
            self.row(self.serve(*answers()), fault, *reasons)


def make_plan(server: FaultServer, num_rows: int, seed: int) -> tuple[list[Row], list[str]]:
    """Plan a list, and have the server follow it.

    Returns:
        The rows in the order of the list, and the lines of a deny-list that belongs to it.
    """
    server.files |= FILES
    plan = Planner(server, seed)
    for part in (_good, _breaking, _slow, _busy, _denying, _misled, _wrong, _bombs, _unusable):
        part(plan)
    plan.add(num_rows - len(plan.rows), "plain", lambda: (http(body=plan.picture()),))
    # Between a denial and what must heed it lie many rows, so that the denial has been heard.
    order = random.Random(seed)
    rows = sorted(plan.rows, key=lambda row: row.late + order.random() * (0.5 if row.fault == "denied" else 1))
    denied = [server.url(origin, LISTED) for origin in range(server.num_origins)]
    return rows, [*denied, *plan.denied_bodies]


def _good(plan: Planner) -> None:
    """Pictures that look odd and are fine."""
    for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        # Named and announced as what they are not.
        plan.add(100, f"mislabelled {kind}", lambda kind=kind: (http(body=plan.picture(kind)),))
    zipped = {"Content-Encoding": "gzip"}
    plan.add(50, "gzip", lambda: (http(body=gzip.compress(plan.picture()), headers=zipped),))
    plan.add(50, "chunked", lambda: (_chunked(plan.picture()),))
    plan.add(50, "no length", lambda: (http(body=plan.picture(), headers={"Content-Length": ""}, end=End.CLOSE),))
    plan.add(50, "for others", lambda: (http(body=plan.picture(), headers={"X-Robots-Tag": "otherbot: noai"}),))
    plan.add(50, "not reserved", lambda: (http(body=plan.picture(), headers={"TDM-Reservation": "0"}),))
    for hops in (1, 2, 5):
        for _ in range(25):
            plan.row(_redirected(plan, plan.serve(http(body=plan.picture())), hops), f"{hops} redirects")


def _chunked(body: bytes) -> Answer:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:100], body[100:])) + b"0\r\n\r\n"
    return http(body=chunks, headers=CHUNKED)


def _redirected(plan: Planner, url: str, hops: int = 1) -> str:
    for _ in range(hops):
        url = plan.serve(http(302, headers={"Location": url}))
    return url


def _breaking(plan: Planner) -> None:
    """Connections that break, and servers that fail for a while."""

    def cut() -> Answer:
        return http(body=(body := plan.picture()), sent=len(body) // 2, end=End.RESET)

    def short() -> Answer:
        return http(body=(body := plan.picture()), sent=len(body) // 2, end=End.CLOSE)

    def broken() -> Answer:
        return http(body=b"zz\r\nxxx\r\n", headers=CHUNKED, end=End.CLOSE)

    forms: dict[str, tuple[str, Callable[[], Answer]]] = {
        "reset": ("connect", lambda: Answer(b"", End.RESET)),
        "cut": ("connect", cut),
        "short": ("connect", short),
        "broken chunks": ("bad_response", broken),
        "500": ("http_5xx", lambda: http(500)),
        "502": ("http_5xx", lambda: http(502, b"<html>bad gateway</html>")),
        "504": ("http_5xx", lambda: http(504)),
        "408": ("http_4xx", lambda: http(408)),
        "425": ("http_4xx", lambda: http(425)),
    }
    for name, (reason, answer) in forms.items():
        plan.add(15, name, lambda answer=answer: (answer(),), reason)
        plan.add(10, f"{name}, then good", lambda answer=answer: (answer(), http(body=plan.picture())), "")
    later = (http(500), http(500))
    plan.add(10, "500 for both tries, then good", lambda: (*later, http(body=plan.picture())), "http_5xx", "")


def _slow(plan: Planner) -> None:
    """Servers that take too long, each in its own way."""
    head = http(body=b"x" * 500, sent=0).wire
    forms = {
        "stall": Answer(b"", End.STALL),
        "stall in the head": Answer(head[:40], End.STALL),
        "stall in the body": Answer(head + b"x" * 100, End.STALL),
        "a byte a second": Answer(head, End.DRIP),
        "a byte a second of a head": Answer(head[:30], End.DRIP),
    }
    for name, answer in forms.items():
        plan.add(15, name, lambda answer=answer: (answer,), "timeout")
        plan.add(5, f"{name}, then good", lambda answer=answer: (answer, http(body=plan.picture())), "")


def _busy(plan: Planner) -> None:
    """Hosts that ask to wait: what comes then counts."""
    for status, reason in ((429, "http_429"), (503, "http_5xx")):
        wait = busy(status, RETRY_AFTER_SECONDS)
        dated = busy(status, RETRY_AFTER_SECONDS, dated=True)
        plan.add(20, f"{status}, then good", lambda wait=wait: (wait, http(body=plan.picture())), "")
        plan.add(5, f"{status} dated, then good", lambda dated=dated: (dated, http(body=plan.picture())), "")
        plan.add(5, f"{status}", lambda wait=wait: (wait,), reason)


def _denying(plan: Planner) -> None:
    """Denials: no request may follow them, by whichever way the address comes up again."""
    headers = [
        ("opt_out_header", {"X-Robots-Tag": "noai"}),
        ("opt_out_header", {"X-Robots-Tag": "nofollow, noimageai"}),
        ("opt_out_header", {"X-Robots-Tag": "t2i: noindex"}),
        ("opt_out_header", {"X-Robots-Tag": "otherbot: nofollow", "x-robots-tag": "none"}),
        ("tdm_reserved", {"TDM-Reservation": "1", "TDM-Policy": "https://example.com/policy.json"}),
    ]
    denials = [(reason, http(body=plan.picture(), headers=fields, denies=True)) for reason, fields in headers]
    denials += [("http_4xx", http(status, denies=True)) for status in (401, 403, 404, 410, 451)]
    for reason, answer in denials:
        for _ in range(12):
            url = plan.serve(answer)
            plan.row(url, "denied", reason)
            plan.row(url, "denied before", reason, late=True)
            plan.row(_redirected(plan, url), "redirected to what was denied", reason, late=True)
    for folder, reason in {
        "/denied/": "robots",
        "/reserved/": "tdm_reserved",
        "/not-for-ai/": "ai_txt",
        LISTED: "denied",
    }.items():
        for _ in range(20):
            url = plan.serve(http(body=plan.picture()), folder=folder)
            plan.row(url, f"in {folder}", reason)
            plan.row(_redirected(plan, url), f"redirected to {folder}", reason)
    for _ in range(10):
        body = plan.picture()
        plan.denied_bodies.append(hashlib.sha256(body).hexdigest())
        plan.row(plan.serve(http(body=body)), "listed by its bytes", "denied")


def _misled(plan: Planner) -> None:
    """Redirects that lead nowhere, or where nobody may go."""
    for _ in range(20):
        origin, path = plan.place()
        url = plan.server.url(origin, path)
        plan.server.answers[plan.server.ports[origin], path] = (http(302, headers={"Location": url}),)
        plan.row(url, "loop of one", "too_many_redirects")
        there, back = plan.place(), plan.place()
        for (origin, path), (other, target) in ((there, back), (back, there)):
            goal = {"Location": plan.server.url(other, target)}
            plan.server.answers[plan.server.ports[origin], path] = (http(307, headers=goal),)
        plan.row(plan.server.url(*there), "loop of two", "too_many_redirects")
        plan.row(_redirected(plan, plan.serve(http(body=plan.picture())), 6), "6 redirects", "too_many_redirects")
    for number in range(10):
        for url in _private(plan, number):
            plan.row(url, "private", "private_address")
            plan.row(_redirected(plan, url), "redirected to a private address", "private_address")
    for _ in range(10):
        plan.row(_redirected(plan, "file:///etc/passwd"), "redirected to a file", "bad_scheme")
        plan.row(_redirected(plan, "http://user:word@example.com/"), "redirected to a login", "bad_url")
        plan.row(_redirected(plan, "http://[::1]@"), "redirected to brackets", "bad_url")
        plan.add(1, "redirect to nowhere", lambda: (http(302),), "http_other")


def _private(plan: Planner, number: int) -> Iterator[str]:
    """Give addresses of this machine, of its network and of clouds' metadata, in spellings that hide them."""
    port = plan.server.ports[0]
    hosts = ("10.0.0.7", "192.168.1.1", "169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fd00:ec2::254]")
    yield from (f"http://{host}/latest/{number}" for host in hosts)
    yield from (f"http://{host}:{port}/{number}" for host in ("[::1]", "127.0.0.2", "2130706434", "0.0.0.0"))


def _wrong(plan: Planner) -> None:
    """Answers that are no picture, or one that is not whole, or not wanted."""
    page = b"<!doctype html><title>not found</title><p>There is no such picture."
    bodies: dict[str, tuple[str, Callable[[], bytes]]] = {
        "page": ("not_an_image", lambda: page),
        "nothing": ("not_an_image", lambda: b""),
        "json": ("not_an_image", lambda: b'{"error": 404}'),
        "pdf": ("not_an_image", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        "svg": ("unsupported_format", lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
        "avif": ("unsupported_format", lambda: b"\0\0\0\x1cftypavif" + b"\0" * 100),
        "truncated JPEG": ("truncated", lambda: plan.picture("JPEG")[:-150]),
        "truncated PNG": ("truncated", lambda: plan.picture()[:-400]),
        "truncated WebP": ("truncated", lambda: plan.picture("WEBP")[:-100]),
        "JPEG of 3 bits": (
            "decode_error",
            lambda: plan.picture("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x03"),
        ),
        "PNG of noise": ("decode_error", lambda: b"\x89PNG\r\n\x1a\n" + plan.rng.bytes(400)),
        "too small": ("too_small", lambda: plan.picture(size=(15, 48))),
        "too long": ("bad_aspect", lambda: plan.picture(size=(200, 20))),
    }
    for name, (reason, body) in bodies.items():
        plan.add(15, name, lambda body=body: (http(body=body()),), reason)
    plan.add(15, "soft 404", lambda: (http(body=page, headers={"Content-Type": "text/html"}),), "not_an_image")
    plan.add(10, "204", lambda: (http(204, headers={"Content-Length": ""}),), "http_other")
    plan.add(10, "304", lambda: (http(304),), "http_other")


def _bombs(plan: Planner) -> None:
    """Answers that are far more than they seem."""
    zipped = gzip.compress(bytes(20_000_000))
    tiff = picture(plan.rng, "TIFF", (1500, 1000))
    many = {"Content-Length": str(10**15)}
    long = {"Content-Length": "9" * 5000}
    forms: dict[str, tuple[str, Answer]] = {
        "gzip bomb": ("too_many_bytes", http(body=zipped, headers={"Content-Encoding": "gzip"})),
        "endless body": ("too_many_bytes", http(headers=CHUNKED, end=End.ENDLESS)),
        "length of 5,000 digits": ("too_many_bytes", http(body=b"x" * 100, headers=long, end=End.CLOSE)),
        "huge length": ("too_many_bytes", http(body=b"x" * 100, headers=many, end=End.STALL)),
        "too many bytes": ("too_many_bytes", http(body=b"x" * (MAX_BYTES + 1))),
        "endless head": ("bad_response", Answer(b"HTTP/1.1 200 -\r\n" + b"X-A: " + b"y" * 500_000, End.STALL)),
        "many headers": ("bad_response", http(headers={f"X-{number}": "y" for number in range(3000)})),
        "PNG bomb": ("too_many_pixels", http(body=_black_png(1100, 1000))),
        "huge PNG": ("too_many_pixels", http(body=png_that_says(60_000, 60_000))),
        "long PNG": ("too_many_pixels", http(body=png_that_says(2**31 - 1, 1))),
        "huge TIFF": ("too_many_bytes", http(body=tiff)),
        "not HTTP": ("bad_response", Answer(b"220 mail.example ESMTP ready\r\n\r\n", End.CLOSE)),
        "unknown encoding": ("bad_response", http(body=b"xyz", headers={"Content-Encoding": "xyz"})),
        "broken gzip": ("bad_response", http(body=b"\x1f\x8b" + b"x" * 50, headers={"Content-Encoding": "gzip"})),
    }
    for name, (reason, answer) in forms.items():
        plan.add(10, name, lambda answer=answer: (answer,), reason)


def _black_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def _unusable(plan: Planner) -> None:
    """Rows that no request can come of."""
    for number in range(10):
        plan.row(f"file:///etc/passwd?{number}", "file", "bad_scheme")
        plan.row(f"data:image/png;base64,{number}", "data", "bad_scheme")
        plan.row(f"http://user:word@127.0.0.1/{number}", "login", "bad_url")
        plan.row(f"http:///{number}", "no host", "bad_url")
        plan.row(f"just words {number}", "words", "bad_url")
        plan.row(f"http://[::{number}]@", "brackets", "bad_url")
    for row in [row for row in plan.rows if row.fault == "gzip"][:20]:
        again = replace(row, fault="repeated", reason="duplicate_url", retried="duplicate_url", late=True)
        plan.rows.append(again)
