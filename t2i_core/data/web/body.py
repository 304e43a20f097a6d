"""Bodies as servers encode them, decoded only up to a cap."""

import zlib

from t2i_core.data.reject import RejectReason
from t2i_core.data.web.transport import Response


def decoded_body(response: Response, max_bytes: int, *, may_be_cut: bool) -> bytes | RejectReason:
    """Undo what a server encoded although nothing was asked for.

    Args:
        response: read as far as `max_bytes`.
        max_bytes: of the body as sent, and as decoded.
        may_be_cut: what is longer counts up to there, in place of not at all.

    Returns:
        The body, or `too_many_bytes` or `bad_response`.
    """
    encoding = response.head.first("content-encoding").lower()
    body = response.body if encoding in ("", "identity") else _decompress(response.body, encoding, max_bytes)
    if isinstance(body, RejectReason):
        return body
    if response.is_whole and len(body) <= max_bytes:
        return body
    return body[:max_bytes] if may_be_cut else RejectReason.TOO_MANY_BYTES


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes | RejectReason:
    """Decode up to one byte more than the cap."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return RejectReason.BAD_RESPONSE
    stream = zlib.decompressobj(wbits=47 if "gzip" in encoding else 15)
    try:
        return stream.decompress(body, max_bytes + 1)
    except zlib.error:
        return RejectReason.BAD_RESPONSE
