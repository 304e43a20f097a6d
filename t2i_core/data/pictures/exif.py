"""EXIF as plain JSON: what a camera said about a picture, without where it stood.

The block is read here, entry by entry, and nothing is taken that is longer than it may be: blocks come from strangers,
and a few bytes of them can claim gigabytes.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image
from PIL.ExifTags import TAGS

from t2i_core.canonical import canonical_json
from t2i_core.data.text import clean_text

MAX_EXIF_BYTES = 16_384
MAX_TAGS = 200
MAX_EXIF_CHARS = 500
MAX_VALUES = 16
_MAX_ENTRIES = 1000
_EXIF_DIRECTORY = 0x8769
_TEXT, _BYTES_OF_TEXT = 2, 4 * MAX_EXIF_CHARS
# Struct's letter and the bytes of each kind of number; the fractions are two numbers each. Kinds of mere bytes lack.
_NUMBERS = {3: ("H", 2), 4: ("I", 4), 8: ("h", 2), 9: ("i", 4), 11: ("f", 4), 12: ("d", 8)}
_FRACTIONS = {5: ("I", 8), 10: ("i", 8)}
# Below it are the numbers of GPS and of tables within tables.
_FIRST_TAG = 0x00FE
_LEFT_OUT = frozenset(
    {
        *(_EXIF_DIRECTORY, 0x8825, 0xA005, 0x014A),  # further directories, that of GPS among them
        *(0x0111, 0x0117, 0x0120, 0x0121, 0x0144, 0x0145, 0x0201, 0x0202),  # where pixels and thumbnails lie
        *(0x02BC, 0x83BB, 0x8649, 0x927C),  # XMP, IPTC, Photoshop and makers' notes: formats of their own
        *(0x830E, 0x8480, 0x8482, 0x85D8, 0x87AF, 0x87B0, 0x87B1),  # where a map lies on the earth
    }
)


def exif_json(image: Image.Image, body: bytes) -> str:
    """Give the EXIF of a picture as a JSON object, names to texts, numbers, null or lists; never raises for bad bytes.

    Taken are the tags of the main and the EXIF directory whose names are known; MAX_EXIF_BYTES bounds the whole.
    Left out are GPS, mere bytes, makers' notes, thumbnails, and numbers of which there are more than MAX_VALUES.

    Args:
        image: the picture, decoded: some formats have EXIF behind the pixels.
        body: its file.
    """
    kept: dict[str, Any] = {}
    size = 2
    for name, value in sorted(_tags(_block(image, body)).items()):
        size += len(canonical_json({name: value}).encode()) - 1
        if size > MAX_EXIF_BYTES or len(kept) == MAX_TAGS:
            break
        kept[name] = value
    return canonical_json(kept)


def _block(image: Image.Image, body: bytes) -> bytes:
    """Give the bytes that begin with the byte order; a TIFF itself is such a block."""
    block = body if image.format == "TIFF" else image.info.get("exif")
    return block.removeprefix(b"Exif\0\0") if isinstance(block, bytes) else b""


def _tags(block: bytes) -> dict[str, Any]:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return {}
    found: dict[str, Any] = {}
    (start,) = _unpacked(order + "I", block, 4) or (0,)
    further = 0
    for tag, kind, count, place in _entries(order, block, start):
        if tag == _EXIF_DIRECTORY:
            (further,) = _unpacked(order + "I", block, place) or (0,)
        _add(found, tag, _value(order, block, kind, count, place))
    for tag, kind, count, place in _entries(order, block, further):
        _add(found, tag, _value(order, block, kind, count, place))
    return found


def _add(found: dict[str, Any], tag: int, value: Any) -> None:
    name = TAGS.get(tag)
    if name and tag >= _FIRST_TAG and tag not in _LEFT_OUT and value not in ([], ""):
        # What is there twice counts as it was first.
        found.setdefault(name, value[0] if isinstance(value, list) and len(value) == 1 else value)


def _entries(order: str, block: bytes, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Give tag, kind and number of values of each entry of a directory, and where these lie; none from nowhere."""
    (count,) = (_unpacked(order + "H", block, start) if start else None) or (0,)
    for place in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        entry = _unpacked(order + "HHII", block, place)
        if entry is None:
            return
        tag, kind, length, offset = entry
        size = 1 if kind == _TEXT else (_NUMBERS | _FRACTIONS).get(kind, ("", 0))[1]
        # What fits into four bytes stands in place of its address.
        yield tag, kind, length, place + 8 if length * size <= 4 else offset


def _value(order: str, block: bytes, kind: int, count: int, place: int) -> Any:
    """Read a text, or a list of numbers; an empty one for what is left out."""
    if kind == _TEXT:
        text = block[place : place + min(count, _BYTES_OF_TEXT)].partition(b"\0")[0]
        return clean_text(text.decode("utf-8", "replace")[:MAX_EXIF_CHARS]).strip()
    if count > MAX_VALUES:
        return []
    if kind in _NUMBERS:
        numbers = _unpacked(f"{order}{count}{_NUMBERS[kind][0]}", block, place) or ()
        return [number if math.isfinite(number) else None for number in numbers]
    if kind in _FRACTIONS:
        numbers = _unpacked(f"{order}{2 * count}{_FRACTIONS[kind][0]}", block, place) or ()
        return [over / under if under else None for over, under in zip(numbers[::2], numbers[1::2], strict=True)]
    return []


def _unpacked(form: str, block: bytes, place: int) -> tuple[Any, ...] | None:
    """Read numbers; None where the block is too short."""
    return struct.unpack_from(form, block, place) if place + struct.calcsize(form) <= len(block) else None
