"""What was learnt of the world and holds for a while, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T
    until: float
    weight: int


class ExpiringCache(Generic[T]):
    """Keeps values by name until they expire; when they weigh too much together, the first goes, but never the last.

    Args:
        max_weight: of all values.
        clock: seconds that only grow.
    """

    def __init__(self, max_weight: int, clock: Callable[[], float]) -> None:
        self._max_weight = max_weight
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._weight = 0

    def get(self, name: str) -> T | None:
        """Give a value; None when there is none, or it has expired."""
        entry = self._entries.get(name)
        return None if entry is None or self._clock() >= entry.until else entry.value

    def put(self, name: str, value: T, seconds: float, weight: int = 1) -> None:
        """Keep a value for some seconds, in place of another of the same name, as the last of all."""
        self._forget(name)
        self._entries[name] = _Entry(value, self._clock() + seconds, weight)
        self._weight += weight
        while self._weight > self._max_weight and len(self._entries) > 1:
            self._forget(next(iter(self._entries)))

    def change(self, name: str, value: T) -> None:
        """Put another value into the place of one that is there, for as long as that one had."""
        self._entries[name] = replace(self._entries[name], value=value)

    def touch(self, name: str) -> None:
        """Make a value that is there the last to go."""
        self._entries.move_to_end(name)

    def _forget(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        self._weight -= entry.weight if entry else 0
