"""What sites said of who may ask for what, handed on from one part of a run to the next, so that each is asked once.

A crawl, a look at what is there and the fetch of what is new ask the same hosts, one after the other and perhaps in
different processes. The file lasts as long as the run, whose name it has: nothing that another run left is believed.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import BinaryIO

from yarl import URL

from t2i_core.data.manners.manners import ReadRules
from t2i_core.data.manners.robots import MAX_ROBOTS_BYTES, RULES_SECONDS, RobotsAnswer
from t2i_core.data.manners.rules_store import is_failed_answer, pack_answer, unpack_answer
from t2i_core.door import open_file, open_to_append

# Of a run that asks very many hosts the rest ask again.
MAX_BYTES = 16_000_000
# A letter may be spelled out in six bytes, and a URL stands beside the text.
_MAX_LINE_BYTES = 7 * MAX_ROBOTS_BYTES


class RulesFile:
    """Knows what was noted before it was made, and notes what its own run learns.

    Args:
        path: of the file; its folder is made when there is something to note.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time) -> None:
        self._path, self._clock = path, clock
        self._places = dict(self._find_places())

    def sharing(self, read: ReadRules) -> ReadRules:
        """Give a way to read files of rules that asks for those alone that nobody has read."""

        async def read_once(url: URL) -> RobotsAnswer:
            known = self._recall(str(url))
            if known is not None:
                return known
            answer = await read(url)
            self._note(str(url), answer)
            return answer

        return read_once

    def _find_places(self) -> Iterator[tuple[str, int]]:
        """Give where each file stands that is still good, up to the first line that is not as it was written."""
        try:
            with open_file(self._path, 2 * MAX_BYTES, levels=1) as file:
                place = 0
                while (found := _read_line(file)) is not None:
                    url, said_at, _ = found
                    if 0 <= self._clock() - said_at < RULES_SECONDS:
                        yield url, place
                    place = file.tell()
        except FileNotFoundError:
            return

    def _recall(self, url: str) -> RobotsAnswer | None:
        place = self._places.get(url)
        if place is None:
            return None
        with open_file(self._path, 2 * MAX_BYTES, levels=1) as file:
            file.seek(place)
            found = _read_line(file)
        return found[2] if found is not None and found[0] == url else None

    def _note(self, url: str, answer: RobotsAnswer) -> None:
        """Write an answer down; who gave none may do so when asked again."""
        if is_failed_answer(answer):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps([url, int(self._clock()), *pack_answer(answer)]).encode() + b"\n"
        with open_to_append(self._path, levels=1) as file:
            if file.tell() + len(line) <= MAX_BYTES:
                file.write(line)


def _read_line(file: BinaryIO) -> tuple[str, float, RobotsAnswer] | None:
    try:
        url, said_at, *packed = json.loads(file.readline(_MAX_LINE_BYTES))
        return str(url), float(said_at), unpack_answer(*packed)
    except (ValueError, TypeError, RecursionError):
        return None
