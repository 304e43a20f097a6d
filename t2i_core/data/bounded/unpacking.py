"""What is packed unpacks as it is read, up to an allowance that grows with its size, so that a bomb costs little."""

import bz2
import gzip
import io
from typing import BinaryIO, cast

# Lists are names and addresses, no two alike: no tool packs them to a two-hundredth.
MAX_EXPANSION = 200
MIN_ALLOWANCE_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


class Allowance:
    """How much something may unpack to: so many times its size, and in any case so many bytes."""

    def __init__(self, packed_size: int, least: int = MIN_ALLOWANCE_BYTES, times: int = MAX_EXPANSION) -> None:
        self._most = max(least, times * packed_size)
        self._left = self._most

    def take(self, size: int) -> None:
        """Count what was unpacked.

        Raises:
            ValueError: that is more than is allowed.
        """
        self._left -= size
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {self._most:,} bytes")


def unpacked(stream: BinaryIO, codec: str, allowance: Allowance) -> io.BufferedReader:
    """Read a stream from its start, unpacked.

    Args:
        stream: packed bytes; stays open.
        codec: one of `COMPRESSIONS`, or "" for bytes that are not packed.
        allowance: for what comes out.
    """
    stream.seek(0)
    return io.BufferedReader(_Counted(_reader(stream, codec), allowance), _CHUNK_BYTES)


def _reader(stream: BinaryIO, codec: str) -> BinaryIO:
    # These two give all that can be unpacked before they say that the rest is damaged.
    if codec == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    if codec == "bz2":
        return cast(BinaryIO, bz2.BZ2File(stream))
    if not codec:
        return stream
    import pyarrow as pa

    return cast(BinaryIO, pa.input_stream(_Kept(stream), compression=codec))


class _Kept(io.RawIOBase):
    """Reads a stream that stays open when its reader is closed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Counted(_Kept):
    """Counts what is read, and reads a little at a time, so that little is lost of what breaks off."""

    _STEP_BYTES = 8192

    def __init__(self, stream: BinaryIO, allowance: Allowance) -> None:
        super().__init__(stream)
        self._allowance = allowance

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        size = super().readinto(memoryview(buffer)[: self._STEP_BYTES])
        self._allowance.take(size)
        return size
