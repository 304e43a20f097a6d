"""TDMRep, the reservation of text and data mining rights: a header, a file of the site, a mark on a page.

After the final report of the W3C community group of 10 May 2024: the first rule of the file whose location matches
counts, a header counts more than the file, and what a page says in its `<meta>` more than both.
"""

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from yarl import URL

from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.manners.robots import RobotsAnswer
from t2i_core.data.reject import Rejection, RejectReason

PATH = "/.well-known/tdmrep.json"
FIELD = "tdm-reservation"
RESERVED = f"{FIELD}: 1"
NOT_RESERVED = f"{FIELD}: 0"
MAX_RULES = 1000
_STARS = re.compile(r"\*+")
MAX_LOCATION_CHARS = 2048
# What they take in memory, beside the characters.
_BYTES_PER_RULE = 300
_BYTES_PER_PART = 100


def reservation(values: Iterable[str]) -> set[str]:
    """Read the values of the header, or of a `<meta>`, as directives beside those of robots tags."""
    told = {value.strip() for value in values}
    if "1" in told:
        return {RESERVED}
    return {NOT_RESERVED} if "0" in told else set()


def is_page_reserved(header: Set[str], meta: Set[str]) -> bool:
    """Tell whether a page is reserved, by the directives of its header and of its own."""
    return RESERVED in meta or (RESERVED in header and NOT_RESERVED not in meta)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A location, cut at its stars, and whether what lies there is reserved."""

    parts: tuple[str, ...]
    anchored: bool
    reserved: bool

    def matches(self, target: str) -> bool:
        """Match as robots.txt does: from the start, `*` for anything, `$` for the end. Takes linear time."""
        first, *rest = self.parts
        if not target.startswith(first):
            return False
        if not rest:
            return not self.anchored or target == first
        place = len(first)
        for part in rest[:-1]:
            place = target.find(part, place)
            if place < 0:
                return False
            place += len(part)
        tail = target[place:]
        return tail.endswith(rest[-1]) if self.anchored else rest[-1] in tail


class TdmRules:
    """What an origin's tdmrep.json reserves; a file that is not there or cannot be read reserves nothing."""

    def __init__(self, answer: RobotsAnswer) -> None:
        self._rules = _parse(answer.text) if answer.status == 200 else ()
        self.weight = _BYTES_PER_RULE + sum(_BYTES_PER_RULE + _BYTES_PER_PART * len(rule.parts) for rule in self._rules)

    def refusal(self, url: URL) -> Rejection | None:
        """Say that the URL is reserved, or None when it is not."""
        if not self._rules:
            return None
        target = _one_spelling(url.raw_path_qs)
        rule = next((rule for rule in self._rules if rule.matches(target)), None)
        return Rejection(RejectReason.TDM_RESERVED) if rule is not None and rule.reserved else None


def _parse(text: str) -> tuple[_Rule, ...]:
    try:
        found = parse_json(text)
    except ValueError:
        return ()
    entries = found[:MAX_RULES] if isinstance(found, list) else []
    return tuple(rule for entry in entries if (rule := _rule(entry)) is not None)


def _rule(entry: Any) -> _Rule | None:
    location = entry.get("location") if isinstance(entry, dict) else None
    if not isinstance(location, str) or not 0 < len(location) <= MAX_LOCATION_CHARS:
        return None
    location = _STARS.sub("*", location)
    parts = tuple(_one_spelling(part) for part in location.removesuffix("$").split("*"))
    return _Rule(parts, location.endswith("$"), entry.get(FIELD) in (1, "1"))


def _one_spelling(path: str) -> str:
    """Encode whatever may be percent-encoded in two ways in one."""
    # JSON can spell halves of characters, which have no bytes.
    return quote(unquote_to_bytes(path.encode("utf-8", "replace")), safe="/?&=*$")
