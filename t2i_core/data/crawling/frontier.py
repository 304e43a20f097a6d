"""The links of one level of a crawl: each once, in order of first appearance, out of memory when they are many."""

from collections.abc import Iterator
from pathlib import Path

from t2i_core.data.address import text_digest
from t2i_core.data.bounded.lines import Lines


class Frontier:
    """What is to be read next. Of each link no more than a digest stays in memory.

    Args:
        folder: where to put what is much.
    """

    def __init__(self, folder: Path) -> None:
        self._digests: set[int] = set()
        self._links = Lines(folder)

    def __contains__(self, link: str) -> bool:
        return text_digest(link) in self._digests

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def add(self, link: str) -> None:
        """Take a link, unless it is there.

        Raises:
            OSError: the disk is full.
        """
        digest = text_digest(link)
        if digest not in self._digests:
            self._digests.add(digest)
            self._links.add(link)
