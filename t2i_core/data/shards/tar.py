"""Tar archives without anything that depends on time, place or user, written as fast as their bytes can be hashed."""

import hashlib
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from t2i_core.door import create_file

_MODE = 0o444
_OWNER = "bigdata"
# Fields of a ustar header (POSIX.1-1988): name, size and checksum are all that differs from member to member.
_NAME_BYTES = 100
_SIZE = slice(124, 135)
_CHECKSUM = slice(148, 156)


def _template() -> bytes:
    member = tarfile.TarInfo()
    member.mode = _MODE
    member.uname = member.gname = _OWNER
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    # The sum is taken as if the checksum itself were blank.
    header[_CHECKSUM] = b" " * 8
    return bytes(header)


_TEMPLATE = _template()
_UP_TO_SIZE, _UP_TO_CHECKSUM = _TEMPLATE[_NAME_BYTES : _SIZE.start], _TEMPLATE[_SIZE.stop : _CHECKSUM.start]
_AFTER_CHECKSUM = _TEMPLATE[_CHECKSUM.stop :]
# Of all bytes but those of the name, which are zeros here, and of the size.
_SUM_OF_REST = sum(_TEMPLATE) - sum(_TEMPLATE[_SIZE])


class TarWriter:
    """Writes one archive, and knows its size and sha256.

    Args:
        path: a new file.
    """

    def __init__(self, path: Path) -> None:
        self._file = create_file(path)
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of all that was written so far, in hexadecimal."""
        return self._hash.hexdigest()

    def add(self, members: Mapping[str, bytes]) -> None:
        """Add files, in their order.

        Args:
            members: bytes by name; names in ASCII, of at most 100 characters.

        Raises:
            OSError: the disk is full.
        """
        pieces = []
        for name, data in members.items():
            pieces += [_header(name, len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
        self._write(b"".join(pieces))

    def finish(self) -> None:
        """Write the end of the archive, and wait until all is on the disk.

        Raises:
            OSError: the disk is full.
        """
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.size % tarfile.RECORDSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)

    def close(self) -> None:
        """Close the file, whatever it holds."""
        self._file.close()


def _header(name: str, size: int) -> bytes:
    spelled = name.encode("ascii")
    if len(spelled) > _NAME_BYTES:
        raise ValueError(f"{name} is too long for a member of a tar")
    digits = b"%011o" % size
    checksum = b"%06o\0 " % (_SUM_OF_REST + sum(spelled) + sum(digits))
    return spelled.ljust(_NAME_BYTES, b"\0") + _UP_TO_SIZE + digits + _UP_TO_CHECKSUM + checksum + _AFTER_CHECKSUM
