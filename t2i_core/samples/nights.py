"""How the built-in site changes from night to night, so that what looks at it again can be held to the truth.

Night 0 is the site as it is made. In the first night some pictures come, on a page of their own, some are drawn anew,
and some go. In the second the host that holds every tenth picture closes its doors to robots, and a page moves. After
that nothing changes any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

HOST, SECOND_HOST = "127.0.0.1", "127.0.0.2"
ON_SECOND_HOST = 10
_SHARE = 20
# Pixels of the frame around a picture that was drawn anew.
FRAME = 2


@dataclass(frozen=True, slots=True)
class Night:
    """What the site shows in one night.

    Attributes:
        number: nights since it was made.
        num_pictures: that it was made with.
        num_pages: likewise.
    """

    number: int
    num_pictures: int
    num_pages: int

    @property
    def added(self) -> range:
        """The pictures that came."""
        return range(self.num_pictures, self.num_pictures + (self._some if self.number >= 1 else 0))

    @property
    def changed(self) -> range:
        """The pictures that were drawn anew."""
        return range(self._some if self.number >= 1 else 0)

    @property
    def removed(self) -> range:
        """The pictures that went."""
        return range(self._some, 2 * self._some if self.number >= 1 else self._some)

    @property
    def is_second_host_closed(self) -> bool:
        """Whether the second host wants no robots."""
        return self.number >= 2

    @property
    def moved_page(self) -> int | None:
        """The number of the page that has another address now, None while none has."""
        return self.num_pages - 1 if self.number >= 2 else None

    @property
    def shown(self) -> Iterator[int]:
        """The good pictures that pages show, those of the second host among them."""
        return (index for index in range(self.added.stop) if index not in self.removed)

    @property
    def pages(self) -> list[str]:
        """The names of the pages of good pictures."""
        names = ["moved" if number == self.moved_page else f"{number:05d}" for number in range(self.num_pages)]
        return [*names, *["new"] * bool(self.added)]

    @property
    def _some(self) -> int:
        return max(1, self.num_pictures // _SHARE)


def host_of(index: int) -> str:
    """Give the host that a good picture lies on."""
    return SECOND_HOST if index % ON_SECOND_HOST == ON_SECOND_HOST - 1 else HOST
