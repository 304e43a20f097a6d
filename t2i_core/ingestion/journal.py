"""The finished attempts of a shard that is not finished, on disk, so that a killed run goes on within the shard.

An attempt is appended when it ends, in whatever order they end, and read again when its turn in the shard comes; so
what ends early need not stay in memory either. It is a second copy of the pictures of the shards under way, of which a
killed process loses nothing that it wrote, though nothing waits for the disk. A power cut may lose some, and a full
disk cuts the last one short, so each attempt has a checksum.
"""

import fcntl
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from t2i_core.canonical import digest_of
from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shards.layout import shard_name
from t2i_core.door import open_file, open_to_append
from t2i_core.errors import TransientError

# Before each attempt: bytes of its note, bytes of its picture. A checksum of these and of both stands before them.
_SIZES = struct.Struct("<II")
_CHECKSUM = struct.Struct("<I")
MAX_NOTE_BYTES, MAX_PICTURE_BYTES = 16 * 1024 * 1024, 256 * 1024 * 1024
_PICTURE_FIELDS = tuple(field.name for field in fields(Picture) if field.name != "data")
_REJECTION_FIELDS = tuple(field.name for field in fields(Rejection))
_ATTEMPT_FIELDS = tuple(field.name for field in fields(Attempt) if field.name not in ("record", "outcome"))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an attempt lies: its note, and right after it its picture, if there is one."""

    offset: int
    note_size: int
    picture_size: int


class Journal:
    """Keeps the attempts at one shard's sources until `remove`. Use as a context manager.

    What an earlier run left is taken up to the first byte that is not as it was written; the rest is cut off. Only
    attempts that failed because a host, the network or a decoder was down just then count as not made.

    Args:
        shards_dir: where the shard is made.
        shard_id: its number, from 0.
        records: its sources.
        made_with: stands for the sources and for every option that decides what becomes of them; what was kept with
            another is thrown away.
    """

    def __init__(self, shards_dir: Path, shard_id: int, records: Sequence[SourceRecord], made_with: str) -> None:
        self._path = shards_dir / f".{shard_name(shard_id)}.journal"
        self._records = records
        self._heading = digest_of([made_with, _PICTURE_FIELDS, _REJECTION_FIELDS, _ATTEMPT_FIELDS]).encode() + b"\n"
        self._places: dict[int, _Place] = {}
        self.num_kept = 0
        self.rejected: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open_to_append(self._path, levels=1)
        self._claim()
        with open_file(self._path, levels=1) as file:
            end = self._read_whole_ones(file)
        self._file.truncate(end)
        if not end:
            self._append(self._heading)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _claim(self) -> None:
        """Keep others away from this shard for as long as the file is open."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            self._file.close()
            raise TransientError(
                f"another ingest is making the shard of {self._path}. Wait until it has ended."
            ) from err
        except OSError:
            # Some network file systems know no locks.
            return

    def __contains__(self, index: int) -> bool:
        return index in self._places

    def _read_whole_ones(self, file: BinaryIO) -> int:
        """Note where each attempt of an earlier run lies, and give the place of the first byte that is of no use."""
        size = os.fstat(file.fileno()).st_size
        if file.read(len(self._heading)) != self._heading:
            return 0
        end = file.tell()
        while (place := _next_place(file, size)) is not None:
            try:
                index, attempt = self._read(place)
            except (ValueError, KeyError, TypeError, IndexError):
                break
            self._count(index, attempt, place)
            end = file.tell()
        return end

    def _count(self, index: int, attempt: Attempt, place: _Place) -> None:
        if isinstance(attempt.outcome, Rejection) and attempt.outcome.reason.is_outage:
            return
        if index not in self._places:
            if isinstance(attempt.outcome, Picture):
                self.num_kept += 1
            else:
                self.rejected[attempt.outcome.reason] += 1
        self._places[index] = place

    def add(self, index: int, attempt: Attempt) -> None:
        """Keep what became of the `index`-th source.

        Raises:
            OSError: it cannot be written.
        """
        outcome = attempt.outcome
        names = _PICTURE_FIELDS if isinstance(outcome, Picture) else _REJECTION_FIELDS
        described = {name: getattr(outcome, name) for name in names}
        told = {name: getattr(attempt, name) for name in _ATTEMPT_FIELDS}
        note = json.dumps([index, told, described]).encode()
        picture = outcome.data if isinstance(outcome, Picture) else b""
        sizes = _SIZES.pack(len(note), len(picture))
        checksum = zlib.crc32(picture, zlib.crc32(note, zlib.crc32(sizes)))
        end = self._append(_CHECKSUM.pack(checksum), sizes, note, picture)
        self._places[index] = _Place(end - len(note) - len(picture), len(note), len(picture))

    def _append(self, *pieces: bytes) -> int:
        """Write at the end of the file, and give where that is then."""
        written = os.writev(self._file.fileno(), pieces)
        if written < sum(map(len, pieces)):
            # A disk takes a part only when it is full; that is what it says to the rest.
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[self._file.write(rest) :]
        return self._file.tell()

    def attempts(self, indexes: Iterable[int]) -> Iterator[Attempt]:
        """Give what became of some sources, one after the other."""
        for index in indexes:
            yield self._read(self._places[index])[1]

    def _read(self, place: _Place) -> tuple[int, Attempt]:
        both = os.pread(self._file.fileno(), place.note_size + place.picture_size, place.offset)
        index, told, described = json.loads(both[: place.note_size])
        return index, Attempt(self._records[index], _outcome(described, both[place.note_size :]), **told)

    def clear(self) -> None:
        """Forget what an earlier run left."""
        self._places.clear()
        self._file.truncate(len(self._heading))

    def remove(self) -> None:
        """Remove the file: the shard is done."""
        self._path.unlink(missing_ok=True)


def _next_place(file: BinaryIO, size: int) -> _Place | None:
    """Read on over one attempt; None when there is none that is as it was written.

    Args:
        file: at its beginning.
        size: bytes in the file, so that a damaged number does not ask for more.
    """
    prefix = file.read(_CHECKSUM.size + _SIZES.size)
    if len(prefix) < _CHECKSUM.size + _SIZES.size:
        return None
    (checksum,) = _CHECKSUM.unpack_from(prefix)
    place = _Place(file.tell(), *_SIZES.unpack_from(prefix, _CHECKSUM.size))
    length = place.note_size + place.picture_size
    if place.offset + length > size or place.note_size > MAX_NOTE_BYTES or place.picture_size > MAX_PICTURE_BYTES:
        return None
    crc = zlib.crc32(file.read(length), zlib.crc32(prefix[_CHECKSUM.size :]))
    return place if crc == checksum else None


def _outcome(described: dict[str, Any], picture: bytes) -> Picture | Rejection:
    if "reason" in described:
        return Rejection(**described | {"reason": RejectReason(described["reason"])})
    return Picture(data=picture, **described)
