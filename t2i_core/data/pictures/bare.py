"""Whether a file is a picture and nothing else: no metadata, no profile, no thumbnail, nothing behind its end."""

import zlib

from t2i_core.data.picture import EncodeFormat
from t2i_core.data.pictures.jpeg_segments import END_OF_IMAGE, START_OF_SCAN, jpeg_segments

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Eight bits for each of red, green and blue.
_PNG_PLAIN_RGB = b"\x08\x02\0\0"
_PNG_CHUNKS = frozenset({b"IHDR", b"sRGB", b"IDAT", b"IEND"})
# Frames of Huffman-coded JPEGs, their tables, and the distance of restarts.
_JPEG_SEGMENTS = frozenset({0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, START_OF_SCAN, END_OF_IMAGE})
_JFIF, _ADOBE = 0xE0, 0xEE


def is_bare(body: bytes, encode_format: EncodeFormat) -> bool:
    """Tell whether a file is of a format and holds nothing but 8-bit pixels; whether they decode is not looked at.

    Args:
        body: the file.
        encode_format: the format; a file of another one is not bare.
    """
    return {"jpg": _is_bare_jpeg, "png": _is_bare_png, "webp": _is_bare_webp}[encode_format](body)


def _is_bare_jpeg(body: bytes) -> bool:
    marker = 0
    for marker, start, end in jpeg_segments(body):
        if not _is_needed(marker, body[start:end]):
            return False
    return marker == END_OF_IMAGE


def _is_needed(marker: int, content: bytes) -> bool:
    """Tell whether a segment of a JPEG says how to show it; resolution and color transform alone are no metadata."""
    if marker == _JFIF:
        return content.startswith(b"JFIF\0") and len(content) == 14 and content.endswith(b"\0\0")
    if marker == _ADOBE:
        return content.startswith(b"Adobe") and len(content) == 12
    return marker in _JPEG_SEGMENTS


def _is_bare_png(body: bytes) -> bool:
    place, kind = len(_PNG_SIGNATURE), b""
    # Bit depth, kind of color, compression and filter stand behind width and height.
    if not body.startswith(_PNG_SIGNATURE) or body[24:28] != _PNG_PLAIN_RGB:
        return False
    while kind != b"IEND":
        size, kind = int.from_bytes(body[place : place + 4]), body[place + 4 : place + 8]
        end = place + 12 + size
        checksum = body[end - 4 : end]
        if kind not in _PNG_CHUNKS or zlib.crc32(body[place + 4 : end - 4]).to_bytes(4) != checksum:
            return False
        place = end
    return place == len(body)


def _is_bare_webp(body: bytes) -> bool:
    """Tell whether there is one chunk, of pixels; metadata and films take several."""
    size = int.from_bytes(body[16:20], "little")
    whole = int.from_bytes(body[4:8], "little") + 8 == len(body) == 20 + size + size % 2
    return whole and body[:4] == b"RIFF" and body[8:16] in (b"WEBPVP8 ", b"WEBPVP8L")
