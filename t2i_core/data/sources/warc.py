"""Web archives (WARC 1.0 and 1.1, plain or compressed record by record) as untrusted files.

The `warcio` library reads headers; it gets them through a stream that bounds what they may take. Bodies are skipped
until somebody asks for one by its place, and are then unpacked up to a cap.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from t2i_core.data.answer import Fetched
from t2i_core.data.manners import tdmrep
from t2i_core.data.manners.signals import directives_for_us
from t2i_core.data.reject import Rejection, RejectReason

BLOCK_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 18
# What is no more than skipped takes time and no memory.
MAX_SKIPPED_BYTES = 1 << 34
_GZIP_MAGIC = b"\x1f\x8b"


class WarcError(Exception):
    """An archive, or one of its records, is damaged."""


@dataclass(frozen=True, slots=True)
class Record:
    """What an archive says of one exchange with a server, without the body.

    Attributes:
        offset: where it starts in the file, in bytes.
        size: of the whole record as it is stored.
        url: that was asked for; "" for records that are no HTTP answers or that cannot be read.
        status: HTTP status.
        content_type: as the server named it, "" when it did not.
        location: where a redirect leads as it is spelled, or the address at which the same answer is archived.
        is_revisit: the record has no body, because the same one is archived elsewhere.
        problem: why the record cannot be read, "" when it can.
    """

    offset: int
    size: int
    url: str = ""
    status: int = 0
    content_type: str = ""
    location: str = ""
    is_revisit: bool = False
    problem: str = ""


def iter_records(file: BinaryIO) -> Iterator[Record]:
    """Go through an archive from record to record.

    Args:
        file: can be sought in.

    Raises:
        WarcError: the rest cannot be read; its message says from where on.
        OSError: the file cannot be read.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    read = _read_packed if file.read(2) == _GZIP_MAGIC else _read_plain
    offset = _skip_blank_lines(file, 0)
    while offset < size:
        try:
            record, end = read(file, offset, size)
        except (WarcError, zlib.error) as err:
            raise WarcError(f"damaged at byte {offset:,}: {err}") from err
        yield record
        offset = end if read is _read_packed else _skip_blank_lines(file, end)


def _skip_blank_lines(file: BinaryIO, offset: int) -> int:
    file.seek(offset)
    while (block := file.read(BLOCK_BYTES)) and not block.strip(b"\r\n"):
        offset += len(block)
    return offset + len(block) - len(block.lstrip(b"\r\n"))


def _read_plain(file: BinaryIO, offset: int, file_size: int) -> tuple[Record, int]:
    file.seek(offset)
    stream = _BoundedStream(iter(lambda: file.read(BLOCK_BYTES), b""))
    headers = _Headers(stream)
    end = offset + headers.body_start + headers.body_size
    if end > file_size:
        raise WarcError("the record breaks off")
    return headers.record(offset, end - offset), end


def _read_packed(file: BinaryIO, offset: int, file_size: int) -> tuple[Record, int]:
    file.seek(offset)
    member = _Member(file)
    stream = _BoundedStream(member.blocks())
    headers = _Headers(stream)
    record = headers.record(offset, 0)
    stream.skip_all()
    expected = headers.body_start + headers.body_size
    if stream.num_read < expected:
        raise WarcError("the record breaks off")
    if stream.num_read > expected + 64:
        raise WarcError("it is compressed as a whole and not record by record; write it anew with `warcio recompress`")
    end = offset + member.num_packed
    return replace(record, size=end - offset), end


class _Member:
    """One member of a gzip file, unpacked block by block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.num_packed = 0

    def blocks(self) -> Iterator[bytes]:
        """Unpack.

        Raises:
            WarcError: it breaks off.
            zlib.error: it is damaged.
        """
        decoder = zlib.decompressobj(wbits=31)
        while not decoder.eof:
            packed = decoder.unconsumed_tail or self._file.read(BLOCK_BYTES)
            block = decoder.decompress(packed, BLOCK_BYTES)
            # At the end both of them can hold what is left.
            self.num_packed += len(packed) - len(decoder.unused_data if decoder.eof else decoder.unconsumed_tail)
            if block:
                yield block
            elif not packed and not decoder.eof:
                raise WarcError("the file breaks off")


class _BoundedStream:
    """What `warcio` reads headers from: lines are bounded all together, and reads come in blocks."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._waiting = b""
        self._header_bytes = 0
        self.num_read = 0

    def tell(self) -> int:
        return self.num_read

    def read(self, length: int | None = None) -> bytes:
        """Give the next bytes, as many as are at hand and no more than `length`; none at the end."""
        self._waiting = self._waiting or next(self._blocks, b"")
        cut = len(self._waiting) if length is None else length
        taken, self._waiting = self._waiting[:cut], self._waiting[cut:]
        self.num_read += len(taken)
        return taken

    def readline(self, length: int | None = None) -> bytes:
        """Give the next line.

        Raises:
            WarcError: the headers are longer than any are.
        """
        line = b""
        while not line.endswith(b"\n") and (length is None or len(line) < length):
            self._waiting = self._waiting or next(self._blocks, b"")
            if not self._waiting:
                break
            found = self._waiting.find(b"\n") + 1 or len(self._waiting)
            piece = self.read(found if length is None else min(found, length - len(line)))
            line += piece
            self._header_bytes += len(piece)
            if self._header_bytes > MAX_HEADER_BYTES:
                raise WarcError(f"its headers are longer than {MAX_HEADER_BYTES:,} bytes")
        return line

    def skip_all(self) -> None:
        """Read to the end and keep nothing.

        Raises:
            WarcError: there is more than any record holds.
        """
        while self.read():
            if self.num_read > MAX_SKIPPED_BYTES:
                raise WarcError(f"the record is larger than {MAX_SKIPPED_BYTES:,} bytes")


class _Headers:
    """The headers of one record and of the HTTP answer in it, read from the start of a stream.

    Attributes:
        body_start: where in the stream the record's own headers end, in bytes.
        body_size: of what follows them, HTTP headers included.
        body: the stream of what comes after all headers.
        http: the answer's headers, None when there are none.
        problem: why those cannot be read, "" when they can.

    Raises:
        WarcError: there is no record.
    """

    def __init__(self, stream: _BoundedStream) -> None:
        # Few runs need it, and no run is to wait for what it does not use.
        from warcio.exceptions import ArchiveLoadFailed
        from warcio.recordloader import ArcWarcRecordLoader
        from warcio.statusandheaders import StatusAndHeadersParserException

        loader = ArcWarcRecordLoader()
        try:
            found = loader.parse_record_stream(stream, known_format="warc", no_record_parse=True)
        except (ArchiveLoadFailed, EOFError, ValueError) as err:
            raise WarcError(f"no record starts here ({str(err)[:100]})") from err
        if not (found.rec_headers.get_header("Content-Length") or "").strip().isdecimal():
            raise WarcError("the record does not say how long it is")
        self._kind, self._told = found.rec_type, found.rec_headers
        self.body_start, self.body_size = stream.num_read, found.length
        self.body = found.raw_stream
        self.http: Any = None
        self.problem = ""
        url = self.url
        if self._kind in ("response", "revisit") and url:
            try:
                self.http = loader.load_http_headers(self._kind, url, self.body, found.length)
            except (StatusAndHeadersParserException, EOFError, ValueError, WarcError) as err:
                self.problem = f"its HTTP headers cannot be read ({str(err)[:100]})"

    @property
    def url(self) -> str:
        """What was asked for, if that was a web page or a part of one."""
        url = self._told.get_header("WARC-Target-URI") or ""
        return url if url.lower().startswith(("http://", "https://")) else ""

    def values(self, name: str) -> list[str]:
        """Give what the HTTP answer says under a name, each time that it does."""
        return [value for key, value in self.http.headers if key.lower() == name.lower()] if self.http else []

    def value(self, name: str) -> str:
        """Give what the HTTP answer says first under a name, "" for nothing."""
        return next(iter(self.values(name)), "").strip()

    def record(self, offset: int, size: int) -> Record:
        """Tell what the record is."""
        if self.problem:
            return Record(offset, size, problem=self.problem)
        is_revisit = self._kind == "revisit"
        if self.http is None and not is_revisit:
            return Record(offset, size)
        refers_to = self._told.get_header("WARC-Refers-To-Target-URI") or ""
        code = self.http.get_statuscode() if self.http else ""
        return Record(
            offset,
            size,
            url=self.url,
            status=int(code) if code.isdecimal() else 0,
            content_type=self.value("Content-Type"),
            location=refers_to.strip("<>") if is_revisit else self.value("Location"),
            is_revisit=is_revisit,
        )


def read_answer(stored: bytes, max_bytes: int) -> Fetched | Rejection:
    """Give the answer that a record holds.

    Args:
        stored: the record as it lies in the file.
        max_bytes: of its body, unpacked.
    """
    file = io.BytesIO(stored)
    is_packed = stored.startswith(_GZIP_MAGIC)
    blocks = _Member(file).blocks() if is_packed else iter(lambda: file.read(BLOCK_BYTES), b"")
    try:
        headers = _Headers(_BoundedStream(blocks))
        if headers.http is None:
            return Rejection(RejectReason.UNREADABLE, headers.problem)
        # Chunks have headers of their own, which nobody needs that many of.
        body = _read_up_to(headers.body.read, 2 * max_bytes)
    except (WarcError, zlib.error) as err:
        return Rejection(RejectReason.UNREADABLE, str(err))
    if body is None:
        return Rejection(RejectReason.TOO_MANY_BYTES)
    if "chunked" in headers.value("Transfer-Encoding").lower():
        body = _without_chunks(body)
    unpacked = _unpacked(body, headers.value("Content-Encoding").lower(), max_bytes)
    if isinstance(unpacked, RejectReason):
        return Rejection(unpacked)
    directives = directives_for_us(headers.values("X-Robots-Tag"))
    tdm = tdmrep.reservation(headers.values(tdmrep.FIELD))
    content_type = headers.value("Content-Type")
    return Fetched(unpacked, headers.url, 200, content_type, frozenset(directives | tdm))


def _read_up_to(read: Callable[[int], bytes], max_bytes: int) -> bytes | None:
    """Read all; None when that is more than the cap."""
    found = bytearray()
    while block := read(BLOCK_BYTES):
        found += block
        if len(found) > max_bytes:
            return None
    return bytes(found)


def _without_chunks(body: bytes) -> bytes:
    """Join the chunks in which a body was sent; many archives hold it joined, under the headers of the chunks."""
    joined, place = bytearray(), 0
    while True:
        end = body.find(b"\r\n", place, place + 64)
        try:
            length = int(body[place:end].split(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            length = -1
        if length < 0:
            return bytes(joined) if joined else body
        if length == 0:
            return bytes(joined)
        joined += body[end + 2 : end + 2 + length]
        place = end + 2 + length + 2


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes | RejectReason:
    """Undo the encoding of a body; many archives hold it undone, under the header that names it."""
    is_gzip = "gzip" in encoding and body.startswith(_GZIP_MAGIC)
    if encoding in ("br", "zstd"):
        return RejectReason.BAD_RESPONSE
    if is_gzip or encoding == "deflate":
        decoder = zlib.decompressobj(wbits=31 if is_gzip else 15)
        try:
            body = decoder.decompress(body, max_bytes + 1)
        except zlib.error:
            # What is not packed was unpacked before it was archived, unless it is no gzip only further in.
            if is_gzip:
                return RejectReason.BAD_RESPONSE
    return body if len(body) <= max_bytes else RejectReason.TOO_MANY_BYTES
