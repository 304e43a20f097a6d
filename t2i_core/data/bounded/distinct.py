"""Counts different texts without keeping them."""

MAX_COUNTED = 100_000


class DistinctCount:
    """How many different texts were added, up to 100,000, in at most some megabytes."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, text: str) -> None:
        """Add one; beyond the bound none is counted any more."""
        if len(self._hashes) < MAX_COUNTED:
            self._hashes.add(hash(text))
