"""The counts of a finished folder: figures by name, and beside them how many were rejected for each reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

# How a manifest, whose counts are plain numbers by name, spells a reason.
_REJECTED = "rejected:"


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts as they are worked with.

    Attributes:
        figures: by name, the number of all that were rejected among them.
        rejected: how many, by reason.
    """

    figures: Mapping[str, int]
    rejected: Mapping[str, int]

    @classmethod
    def read(cls, noted: Mapping[str, int]) -> Self:
        """Take apart what a manifest notes."""
        reasons = {name.removeprefix(_REJECTED): number for name, number in noted.items() if name.startswith(_REJECTED)}
        return cls({name: number for name, number in noted.items() if not name.startswith(_REJECTED)}, reasons)

    def noted(self) -> dict[str, int]:
        """Give them as a manifest notes them."""
        return {**self.figures, **{f"{_REJECTED}{reason}": number for reason, number in sorted(self.rejected.items())}}

    def ranked(self) -> dict[str, int]:
        """Give how many were rejected by reason, the most frequent first; none that none was rejected for."""
        ranked = sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        return {reason: number for reason, number in ranked if number > 0}
