"""The segments that a JPEG is made of, from one marker to the next; nothing is decoded."""

import re
from collections.abc import Iterator

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
_START, _END = b"\xff\xd8", b"\xff\xd9"
# Within coded pixels, 0xff is followed by 0 or by the number of a restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)


def jpeg_segments(body: bytes) -> Iterator[tuple[int, int, int]]:
    """Give each segment's marker, and where its content begins and ends; coded pixels are no segments.

    `END_OF_IMAGE` comes only if all is in order up to there, and nothing is behind it.
    """
    place = len(_START) if body.startswith(_START) else len(body)
    while place + 4 <= len(body) and body[place] == 0xFF and body[place + 1] != END_OF_IMAGE:
        marker, end = body[place + 1], place + 2 + int.from_bytes(body[place + 2 : place + 4])
        yield marker, place + 4, end
        place = end
        if marker == START_OF_SCAN:
            found = _MARKER.search(body, place)
            place = found.start() if found else len(body)
    if body[place:] == _END:
        yield END_OF_IMAGE, len(body), len(body)
