"""PNGs whose pixels are unpacked already: zlib-ng takes a tenth of the time that zlib takes over even colors.

Pillow unpacks with the zlib of the system. It is given the same file with stored pixels, which zlib only copies.
"""

from zlib_ng import zlib_ng

# Of unpacked pixels. What is larger, Pillow unpacks as it decodes.
MAX_BYTES = 32 * 1024 * 1024
_SIGNATURE_BYTES = 8


def store_pixels(body: bytes) -> bytes:
    """Give a PNG with its pixels stored in one chunk, and all other chunks as they are.

    What is broken, or larger than MAX_BYTES, is left as it is.
    """
    first, end, packed = _find_pixels(body)
    unpacking = zlib_ng.decompressobj()
    try:
        pixels = unpacking.decompress(packed, MAX_BYTES)
    except Exception:
        # It says of damage in other words than zlib, whose words are asked for then.
        return body
    if not unpacking.eof:
        return body
    stored = zlib_ng.compress(pixels, 0)
    checksum = zlib_ng.crc32(stored, zlib_ng.crc32(b"IDAT"))
    return b"".join((body[:first], len(stored).to_bytes(4), b"IDAT", stored, checksum.to_bytes(4), body[end:]))


def _find_pixels(body: bytes) -> tuple[int, int, bytes]:
    """Say where the chunks of pixels begin and end, and give what is packed in them; nothing if they are not whole."""
    first, place = 0, _SIGNATURE_BYTES
    packed: list[bytes] = []
    while place + 12 <= len(body):
        kind, content = body[place + 4 : place + 8], place + 8
        end = content + int.from_bytes(body[place : place + 4])
        if kind == b"IDAT":
            first = first or place
            packed.append(body[content:end])
        elif first:
            break
        place = end + 4
    return first, place, b"".join(packed)
