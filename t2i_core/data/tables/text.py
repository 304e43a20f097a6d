"""The text of a list: lines of bounded length, and marks where its bytes are no text."""

import codecs
import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TextIO

MAX_LINE_CHARS = 4_000_000
# Stands for bytes that are no text. Half a surrogate pair, it is never read from bytes that are.
MARK = "\udc80"
NOT_TEXT = "it is not UTF-8 or UTF-16 text; save the list as UTF-8"


class Problem(str):
    """What is wrong with a row, or with some rows at once.

    Attributes:
        num_rows: that it is about.
    """

    num_rows: int

    def __new__(cls, text: str, num_rows: int = 1) -> "Problem":
        """Say what is wrong."""
        problem = super().__new__(cls, text)
        problem.num_rows = num_rows
        return problem


def distinct_names(names: Sequence[str]) -> list[str]:
    """Tell apart the columns of one name: the first keeps it, the others get a number."""
    taken, found = set(names), set[str]()
    distinct = []
    for name in names:
        number = 2
        while name in found:
            renamed = f"{name}_{number}"
            name, number = (name, number + 1) if renamed in taken else (renamed, number)
        found.add(name)
        distinct.append(name)
    return distinct


def open_text(reopen: Callable[[], BinaryIO]) -> TextIO:
    """Decode bytes as UTF-8, or as UTF-16 where they start like that.

    Args:
        reopen: gives the bytes, from their start each time.
    """
    start = reopen().read(2)
    encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    codecs.register_error("t2i.mark", _marked)
    return io.TextIOWrapper(reopen(), encoding=encoding, errors="t2i.mark", newline="")


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


def is_text(line: str) -> bool:
    """Tell whether all of a line was text."""
    return line.isascii() or MARK not in line


def iter_lines(text: TextIO) -> Iterator[str | Problem]:
    """Give lines with their ends; one that is too long is a problem."""
    while line := text.readline(MAX_LINE_CHARS):
        if len(line) >= MAX_LINE_CHARS and not line.endswith("\n"):
            while (rest := text.readline(MAX_LINE_CHARS)) and not rest.endswith("\n"):
                pass
            yield Problem(f"it is longer than {MAX_LINE_CHARS:,} characters")
        else:
            yield line
