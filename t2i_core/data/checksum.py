"""Checksums that a list gives for its pictures, and whether the bytes that arrived have them."""

import hashlib
from typing import Any

_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_BY_DIGITS = {digits: algorithm for algorithm, digits in _DIGITS.items()}
KNOWN_CHECKSUMS = ", ".join(_DIGITS)


def read_checksum(cell: Any) -> str:
    """Give a cell's checksum as ALGORITHM:HEX, "" when it is none.

    The algorithm is told by the number of hexadecimal digits; a name before them (`md5:...`) must agree. Bytes are the
    digest itself.
    """
    text = cell.hex() if isinstance(cell, bytes) else cell.strip().lower() if isinstance(cell, str) else ""
    name, _, digits = text.rpartition(":")
    algorithm = _BY_DIGITS.get(len(digits), "")
    is_hex = set(digits) <= set("0123456789abcdef")
    return f"{algorithm}:{digits}" if algorithm and is_hex and name in ("", algorithm) else ""


def has_checksum(body: bytes, checksum: str) -> bool:
    """Tell whether bytes have a checksum written as `read_checksum` gives it."""
    algorithm, _, digits = checksum.partition(":")
    # It tells a changed picture from the listed one; md5 serves that too.
    return hashlib.new(algorithm, body, usedforsecurity=False).hexdigest() == digits
