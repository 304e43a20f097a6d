"""The `srcset` attribute: several sizes of one picture in one string."""

import re
from collections.abc import Iterator

# Splitting takes time with the square of the length, and no honest set is longer.
MAX_SRCSET_CHARS = 32_768
_SPACES = " \t\r\n\f"


def largest_candidate(srcset: str) -> str:
    """Pick the reference with the largest width or density of a `srcset`; the first of equals, "" of none."""
    if len(srcset) > MAX_SRCSET_CHARS:
        return ""
    best, best_size = "", 0.0
    for reference, size in _candidates(srcset):
        if size > best_size and not reference.startswith("data:"):
            best, best_size = reference, size
    return best


def _candidates(srcset: str) -> Iterator[tuple[str, float]]:
    """Split a `srcset` as browsers do: an address may hold commas, but not at its end."""
    rest = srcset
    while rest := rest.lstrip(f"{_SPACES},"):
        reference, rest = _split_at_space(rest)
        if reference.endswith(","):
            yield reference.rstrip(","), 1.0
            continue
        descriptor, _, rest = rest.partition(",")
        match = re.fullmatch(r"\s*([0-9.]{1,12})[wx](\s+[0-9]+h)?\s*", descriptor)
        try:
            yield reference, float(match[1]) if match else 1.0
        except ValueError:
            yield reference, 1.0


def _split_at_space(text: str) -> tuple[str, str]:
    first, *rest = re.split(f"[{_SPACES}]+", text, maxsplit=1)
    return first, rest[0] if rest else ""
