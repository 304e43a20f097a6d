"""A JSON array of any length, one item at a time.

The standard parser reads each item from a window that slides over the text, so that an item means here exactly what it
means on a line of a .jsonl file, and none can be larger than the window may grow. An item that cannot be read is passed
over, by its brackets and quotes alone.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from t2i_core.data.bounded.strict_json import refuse_constant
from t2i_core.data.tables.text import NOT_TEXT, Problem, is_text

MAX_ITEM_CHARS = 4_000_000
_CHUNK_CHARS = 1 << 16
# An item that is whole but for its end fails no further from there than this: in the middle of a word or an escape.
_WORD_CHARS = 16
_SPACE = re.compile(r"[ \t\n\r]*")
# What ends an item, and what only matters to how it is nested.
_ENDS, _NESTS = re.compile(r"[\[\]{},\"\\]"), re.compile(r"[\[{]+|[\]}]+|[\"\\]")
_IN_TEXT = re.compile(r"[\"\\]")
_DECODER = json.JSONDecoder(parse_constant=refuse_constant)


def iter_array(text: TextIO, start: str = "") -> Iterator[Any]:
    """Read the items of the array that a text consists of; one that cannot be read is given as a `Problem`.

    Args:
        text: the array.
        start: what was read of it already.

    Raises:
        ValueError: it is not an array, or breaks off, or something follows it.
    """
    window = _Window(text, start)
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

    def __init__(self, text: TextIO, start: str) -> None:
        self._text = text
        self._buffer = start
        self._start = 0

    def peek(self) -> str:
        """Give the next character that is not white space, "" at the end of the text."""
        while True:
            self._start = _after_space(self._buffer, self._start)
            if self._start < len(self._buffer):
                return self._buffer[self._start]
            if not self._next():
                return ""

    def _next(self) -> bool:
        """Go on with more text, all of the old being done with."""
        self._buffer, self._start = self._text.read(_CHUNK_CHARS), 0
        return bool(self._buffer)

    def take(self, character: str) -> bool:
        """Pass over the next character if it is the given one."""
        found = self.peek() == character
        self._start += found
        return found

    def item(self) -> Any:
        """Read the next value, and more text until it is whole.

        Raises:
            ValueError: the text ends in it.
        """
        self.peek()
        while True:
            value, end, problem, is_cut = self._parse()
            if not problem:
                text, self._start = self._buffer[self._start : end], end
                return value if is_text(text) else Problem(NOT_TEXT)
            if not is_cut or len(self._buffer) - self._start > MAX_ITEM_CHARS:
                self._skip()
                return Problem(f"longer than {MAX_ITEM_CHARS:,} characters" if is_cut else f"not JSON: {problem}")
            if not self._grow():
                raise ValueError(f"an item is not JSON: {problem}")

    def _parse(self) -> tuple[Any, int, str, bool]:
        """Give a value and where it ends, or what is wrong with it and whether more text may mend that."""
        try:
            value, end = _DECODER.raw_decode(self._buffer, self._start)
        except RecursionError:
            return None, 0, "nested too deeply", False
        except json.JSONDecodeError as err:
            is_cut = err.msg.startswith("Unterminated") or err.pos >= len(self._buffer) - _WORD_CHARS
            return None, 0, err.msg, is_cut
        except ValueError as err:
            return None, 0, str(err), False
        # Without what comes next, "1" might be the start of "1e5".
        after = _after_space(self._buffer, end)
        is_whole = self._buffer[after : after + 1] in (",", "]")
        return value, end, "" if is_whole else "Expecting ',' or ']'", after >= len(self._buffer) - _WORD_CHARS

    def _grow(self) -> bool:
        rest = self._buffer[self._start :]
        # Twice as much each time, so that a long item is not parsed again and again.
        more = self._text.read(max(_CHUNK_CHARS, len(rest)))
        self._buffer, self._start = rest + more, 0
        return bool(more)

    def _skip(self) -> None:
        """Pass over an item, up to the comma or bracket after it."""
        depth, in_text = 0, False
        while found := self._find(_IN_TEXT if in_text else _NESTS if depth else _ENDS):
            if found == "\\":
                # What follows is escaped, be it a quote.
                self._start += 1
            elif found == '"':
                in_text = not in_text
            elif found[0] in "[{":
                depth += len(found)
            elif depth == 0 and found in ",]":
                self._start -= 1
                return
            elif depth:
                # Of brackets in a row, those beyond the item's own come again.
                self._start -= max(len(found) - depth, 0)
                depth = max(depth - len(found), 0)

    def _find(self, characters: re.Pattern[str]) -> str:
        """Give the next of some characters, and pass over it; "" at the end of the text."""
        while True:
            if found := characters.search(self._buffer, self._start):
                self._start = found.end()
                return found[0]
            passed = self._start - len(self._buffer)
            if not self._next():
                return ""
            # The character after a backslash may be the first of what comes.
            self._start = max(passed, 0)


def _after_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
