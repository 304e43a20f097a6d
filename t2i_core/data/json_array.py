"""A JSON array of any length, one item at a time.

The standard parser reads each item from a window that slides over the text, so that an item means here exactly what it
means on a line of a .jsonl file, and none can be larger than the window may grow.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from t2i_core.data.record import refuse_constant

MAX_ITEM_CHARS = 4_000_000
_CHUNK_CHARS = 1 << 16
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_constant=refuse_constant)


def iter_array(text: TextIO) -> Iterator[Any]:
    """Read the items of the array that a text consists of.

    Raises:
        ValueError: it is not an array, an item is not JSON, too long or nested too deeply, or something follows it.
    """
    window = _Window(text)
    if not window.take("["):
        raise ValueError("it is not a JSON list of objects")
    more = not window.take("]")
    while more:
        yield window.item()
        more = window.take(",")
        if not more and not window.take("]"):
            raise ValueError("the list breaks off")
    if window.peek():
        raise ValueError("something follows the list")


class _Window:
    """The part of a text that is being parsed."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._buffer = ""
        self._start = 0

    def peek(self) -> str:
        """Give the next character that is not white space, "" at the end of the text."""
        while True:
            self._start = _after_space(self._buffer, self._start)
            if self._start < len(self._buffer):
                return self._buffer[self._start]
            self._buffer, self._start = self._text.read(_CHUNK_CHARS), 0
            if not self._buffer:
                return ""

    def take(self, character: str) -> bool:
        """Pass over the next character if it is the given one."""
        found = self.peek() == character
        self._start += found
        return found

    def item(self) -> Any:
        """Read the next value, and more text until it is whole."""
        self.peek()
        while True:
            value, end, problem = self._parse()
            if not problem:
                self._start = end
                return value
            if not self._grow(problem):
                raise ValueError(f"an item is not JSON: {problem}")

    def _parse(self) -> tuple[Any, int, str]:
        try:
            value, end = _DECODER.raw_decode(self._buffer, self._start)
        except RecursionError as err:
            raise ValueError("nested too deeply") from err
        except json.JSONDecodeError as err:
            return None, 0, err.msg
        # Without what comes next, "1" might be the start of "1e5".
        after = _after_space(self._buffer, end)
        is_whole = self._buffer[after : after + 1] in (",", "]")
        return value, end, "" if is_whole else "Expecting ',' or ']'"

    def _grow(self, problem: str) -> bool:
        rest = self._buffer[self._start :]
        if len(rest) > MAX_ITEM_CHARS:
            raise ValueError(f"an item is longer than {MAX_ITEM_CHARS:,} characters, or not JSON: {problem}")
        # Twice as much each time, so that a long item is not parsed again and again.
        more = self._text.read(max(_CHUNK_CHARS, len(rest)))
        self._buffer, self._start = rest + more, 0
        return bool(more)


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
