"""Which samples count as copies of an earlier one, by the marks of the dataset."""

from collections.abc import Collection, Iterable

from t2i_core.data.dataset.duplicates import Duplicate
from t2i_core.data.mark import DuplicateKind


class Copies:
    """Knows the first of all samples that show the same, through any number of marks."""

    def __init__(self, marks: Iterable[Duplicate], kinds: Collection[DuplicateKind]) -> None:
        """Take the marks of a dataset, in their order, and which kinds of them make a sample a copy."""
        self._kinds: dict[str, DuplicateKind] = {}
        self._first: dict[str, str] = {}
        for mark in marks:
            self._kinds[mark.key] = mark.kind
            if mark.kind in kinds:
                # What a mark leads back to stands earlier, so its own way back is known.
                self._first[mark.key] = self.first_of(mark.of_key)

    def kind_of(self, key: str) -> DuplicateKind | None:
        """Give the kind of a sample's mark, None without one."""
        return self._kinds.get(key)

    def first_of(self, key: str) -> str:
        """Give the first sample that a sample is a copy of, itself if it is none."""
        return self._first.get(key, key)
