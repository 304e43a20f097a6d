"""Tar archives from anywhere, header by header: where each member lies, in the same memory and forward only.

Python's `tarfile` goes back for a negative size, and takes names of gigabytes into memory. Here a member is what its
own 512 bytes say, together with the name and the size that GNU and pax headers of a few kilobytes may put before it.
"""

import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
# Names and attributes; paths of file systems have 4 kB at most.
MAX_HEADER_BYTES = 64 * 1024
# Only these two are followed by an extended header's data that tells of the next member.
_GNU_NAME, _GNU_LINK, _PAX, _PAX_ALL = b"L", b"K", b"x", b"g"
_FILES = frozenset((b"0", b"\0", b"7"))
# Links, devices, folders and pipes have no data, whatever size they state.
_WITHOUT_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
_END = bytes(BLOCK)
# All bytes of a header but the checksum.
_SIGNED = struct.Struct("148b8x356b")
_PAX_LENGTH = re.compile(rb"([1-9][0-9]{0,5}) ")


class TarError(ValueError):
    """An archive is damaged, or no archive."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive.

    Attributes:
        name: as the archive spells it; bytes that are not UTF-8 are replaced.
        offset: of its data, in bytes.
        size: of its data, in bytes.
        is_file: False for folders, links, devices, sparse files and everything else that is not bytes alone.
    """

    name: str
    offset: int
    size: int
    is_file: bool


def iter_members(file: BinaryIO) -> Iterator[Member]:
    """Give the members of an archive in their order; where the file stands meanwhile does not matter.

    Raises:
        TarError: a header is damaged, states a size that cannot be, or a member goes beyond the end.
        OSError: it cannot be read.
    """
    descriptor = file.fileno()
    end = os.fstat(descriptor).st_size
    place, told, told_of_all = 0, dict[str, bytes](), dict[str, bytes]()
    while place < end:
        header = os.pread(descriptor, BLOCK, place)
        if header == _END:
            return
        _require_header(header, place)
        kind, size = header[156:157], _number(header[124:136], place)
        place += BLOCK
        if kind in (_GNU_NAME, _GNU_LINK, _PAX, _PAX_ALL):
            if size > MAX_HEADER_BYTES:
                raise TarError(f"at byte {place:,}: an extended header of {size:,} bytes")
            _require_inside(place, size, end)
            body = os.pread(descriptor, size, place)
            if kind == _GNU_NAME:
                told["path"] = body.split(b"\0", 1)[0]
            elif kind != _GNU_LINK:
                (told_of_all if kind == _PAX_ALL else told).update(_pax_fields(body, place))
        else:
            fields, told = told_of_all | told if told else told_of_all, {}
            size = _stated_size(fields, size, place) if kind not in _WITHOUT_DATA else 0
            _require_inside(place, size, end)
            is_sparse = kind == b"S" or any(name.startswith("GNU.sparse.") for name in fields)
            name = fields.get("path") or _name(header)
            is_file = kind in _FILES and not is_sparse and not name.endswith(b"/")
            yield Member(name.decode("utf-8", "replace"), place, size, is_file)
        place += -(-size // BLOCK) * BLOCK


def read_member(file: BinaryIO, member: Member) -> bytes:
    """Read the data of a member.

    Raises:
        TarError: the file has become shorter.
        OSError: it cannot be read.
    """
    body = os.pread(file.fileno(), member.size, member.offset)
    if len(body) != member.size:
        raise TarError(f"it breaks off in {member.name!r:.100}")
    return body


def _require_header(header: bytes, place: int) -> None:
    if len(header) < BLOCK:
        raise TarError(f"at byte {place:,}: it breaks off in a header")
    # The sum is taken as if it were blank itself. Some old programs added up signed bytes.
    blank = 8 * ord(" ")
    stated = _number(header[148:156], place)
    if stated != _sum_of(header) - _sum_of(header[148:156]) + blank and stated != sum(_SIGNED.unpack(header)) + blank:
        raise TarError(f"at byte {place:,}: not the header of a member")


def _sum_of(data: bytes) -> int:
    """Add up bytes. Of 256 at most, one less than the low half of Adler-32 is the sum, and C takes it."""
    return sum((zlib.adler32(data[start : start + 256]) & 0xFFFF) - 1 for start in range(0, len(data), 256))


def _require_inside(place: int, size: int, end: int) -> None:
    if place + size > end:
        raise TarError(f"at byte {place:,}: it breaks off in a member of {size:,} bytes")


def _number(field: bytes, place: int) -> int:
    """Read a number: octal digits, or from a leading byte of 128 on the rest in binary."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise TarError(f"at byte {place:,}: {field!r} is no size that a member can have")
    return int(digits, 8)


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0]
    # The prefix is part of the name only in the POSIX format; GNU keeps times there.
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _pax_fields(body: bytes, place: int) -> dict[str, bytes]:
    """Read the records of a pax header, `LENGTH KEY=VALUE` and a line break each."""
    fields, start = dict[str, bytes](), 0
    while start < len(body) and body[start]:
        match = _PAX_LENGTH.match(body, start)
        record = body[match.end() : start + int(match[1])] if match else b""
        key, equals, value = record.partition(b"=")
        if match is None or not equals or not value.endswith(b"\n") or start + int(match[1]) > len(body):
            raise TarError(f"at byte {place:,}: an extended header is damaged")
        fields[key.decode("utf-8", "replace")] = value[:-1]
        start += int(match[1])
    return fields


def _stated_size(fields: dict[str, bytes], size: int, place: int) -> int:
    """Give a member's size: pax states those of more than eight gigabytes apart from the header."""
    stated = fields.get("size")
    if stated is None:
        return size
    if not re.fullmatch(rb"[0-9]{1,18}", stated):
        raise TarError(f"at byte {place:,}: {stated!r:.50} is no size that a member can have")
    return int(stated)
