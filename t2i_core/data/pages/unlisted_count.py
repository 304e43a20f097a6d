"""Counts the pictures that pages name and that are not listed, each once, however many pages name it."""

from collections import Counter
from collections.abc import Iterable

from t2i_core.data.pages.mention import Settled
from t2i_core.data.unlisted import PREFIX, Unlisted

# Told apart by address, in some megabytes; after that each time counts.
MAX_TOLD_APART = 100_000


class UnlistedCount:
    """Counts by rule. A picture that any page lists counts for none."""

    def __init__(self) -> None:
        self._listed: set[int] = set()
        self._rules: dict[int, str] = {}
        self._further: Counter[str] = Counter()

    def add(self, settled: Settled) -> None:
        """Add the pictures of one page."""
        self._list(record.url for record in settled.records)
        for url, rule in settled.unlisted:
            picture = hash(url)
            if picture in self._listed or picture in self._rules:
                continue
            if len(self._rules) < MAX_TOLD_APART:
                self._rules[picture] = rule
            else:
                self._further[rule] += 1

    def add_number(self, rule: Unlisted, number: int) -> None:
        """Add pictures whose addresses are not known."""
        self._further[rule] += number

    def _list(self, urls: Iterable[str]) -> None:
        for url in urls:
            picture = hash(url)
            self._rules.pop(picture, None)
            if len(self._listed) < MAX_TOLD_APART:
                self._listed.add(picture)

    def counts(self) -> dict[str, int]:
        """Give the figures by name, for a manifest."""
        numbers = Counter(self._rules.values()) + self._further
        return {f"{PREFIX}{rule}": number for rule, number in sorted(numbers.items())}
