"""What a finished dataset lacks of what its source named: told in sentences, with the option that goes on.

A dataset is finished when each source has its row, whatever became of it. Whoever reads "done" must learn when that
is less than it could be, and a single slow picture is no alarm. So a shortfall is *grave* when a host was given up,
when at least `GRAVE_SHARE` of the sources or pages could not be had just then, or when a crawl ended at its limit of
pages or of time; anything less is told in passing. Everything is read from the counts of the manifest, so that each
place that tells of a dataset, now or later, tells the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_core.data.counts import Counts
from t2i_core.data.reject import RejectReason
from t2i_core.data.unlisted import Unlisted
from t2i_core.errors import DataError

GRAVE_SHARE = 0.05
CUT_BY_PAGES, CUT_BY_DEPTH, CUT_BY_TIME = "pages_cut:max_pages", "pages_cut:max_depth", "pages_given_up"
UNFINISHED = "unfinished"
_SHOWN = 4
# Asked again, the same source may become a picture. A decoder that broke down will most likely do so again.
_WORTH_ANOTHER_TRY = frozenset(reason for reason in RejectReason if reason.is_outage and not reason.is_about_pixels)
# Left out on purpose, so that it says nothing about the source.
_ON_PURPOSE = frozenset(
    {
        *(RejectReason.FILTERED, RejectReason.DUPLICATE_URL, RejectReason.NOT_STORED, RejectReason.PURGED),
        *(RejectReason.GONE, RejectReason.REPLACED),
    }
)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Something that a dataset lacks.

    Attributes:
        what: one sentence.
        advice: how to get it, in one sentence, "" when nothing can be done.
        is_grave: whether the dataset must not be called done without it.
    """

    what: str
    advice: str
    is_grave: bool

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()


def shortfalls(counts: Mapping[str, int]) -> list[Shortfall]:
    """List what is missing, by the counts of a dataset's manifest, the grave first."""
    found = (
        *(_unanswered(counts), _unread_pages(counts), *_cuts(counts)),
        *(_low_yield(counts), _undescribed(counts), _over_limit(counts)),
    )
    return sorted((shortfall for shortfall in found if shortfall), key=lambda shortfall: not shortfall.is_grave)


def is_in_part(counts: Mapping[str, int]) -> bool:
    """Tell whether something grave is missing."""
    return any(shortfall.is_grave for shortfall in shortfalls(counts))


def unfinished_count(counts: Mapping[str, int]) -> dict[str, int]:
    """Count the sources that may be had when asked again, for the manifest; nothing when there are none."""
    number = sum(_by_reason(Counts.read(counts).rejected, _WORTH_ANOTHER_TRY).values())
    return {UNFINISHED: number} if number else {}


def reached_nothing(kept: int, rejected: Mapping[str, int]) -> bool:
    """Tell whether not one source was answered, as when this machine has no network."""
    return not kept and bool(rejected) and all(RejectReason(reason) in _WORTH_ANOTHER_TRY for reason in rejected)


def require_kept(counts: Mapping[str, int], source: str, folder: Path) -> None:
    """Refuse to call a dataset done that holds no picture, unless all that it held was purged.

    Raises:
        DataError: nothing was kept; the message says why, and what can be done with the folder.
    """
    if counts["kept"] or not counts["seen"] or Counts.read(counts).rejected.get(RejectReason.PURGED):
        return
    again = _by_reason(Counts.read(counts).rejected, frozenset(reason for reason in RejectReason if reason.may_pass))
    advice = f"The same command with --retry {','.join(again)} asks again. " * bool(again)
    sources = f"{counts['seen']:,} source{'s' * (counts['seen'] != 1)} of {source}"
    raise DataError(
        f"nothing was kept of the {sources}: {_explained(counts)}. Each has its row and its reason in "
        f"{folder / 'shards'}. {advice}If the source or an option is wrong, mend it and add --replace."
    )


def _by_reason(rejected: Mapping[str, int], reasons: frozenset[RejectReason]) -> dict[str, int]:
    """Give how many were rejected for some reasons, the most frequent first."""
    named = {str(reason): rejected.get(reason, 0) for reason in reasons}
    return dict(sorted(((name, n) for name, n in named.items() if n > 0), key=lambda item: (-item[1], item[0])))


def _pages_rejected(counts: Mapping[str, int]) -> dict[str, int]:
    prefix = "pages_rejected:"
    return {name.removeprefix(prefix): number for name, number in counts.items() if name.startswith(prefix)}


def _unanswered(counts: Mapping[str, int]) -> Shortfall | None:
    missing = _by_reason(Counts.read(counts).rejected, _WORTH_ANOTHER_TRY)
    if not missing:
        return None
    number, seen = sum(missing.values()), counts["seen"]
    return Shortfall(
        f"{number:,} of {seen:,} sources ({_percent(number, seen)}) could not be had just then: {_listed(missing)}.",
        f"The same command with --retry {','.join(missing)} asks for them again.",
        _is_grave(missing, seen),
    )


def _unread_pages(counts: Mapping[str, int]) -> Shortfall | None:
    missing = _by_reason(_pages_rejected(counts), _WORTH_ANOTHER_TRY)
    if not missing:
        return None
    number, known = sum(missing.values()), _num_pages(counts)
    return Shortfall(
        f"{number:,} of {known:,} pages ({_percent(number, known)}) could not be read just then ({_listed(missing)}), "
        "so what stands on them, and behind them, is not there.",
        "The same command with --refresh reads them again.",
        _is_grave(missing, known),
    )


def _cuts(counts: Mapping[str, int]) -> list[Shortfall]:
    """Tell of pages that were found and not read, by the limit that they lie beyond."""
    found = []
    if number := counts.get(CUT_BY_PAGES, 0):
        wanted = _round_up(2 * (_num_pages(counts) + number))
        what = f"The crawl ended at its limit of pages; at least {number:,} that it had found were not read."
        found.append(Shortfall(what, _replacing(f"--max-pages {wanted}"), is_grave=True))
    if number := counts.get(CUT_BY_TIME, 0):
        what = f"The time for the crawl was up; {number:,} pages that it had found were not read."
        found.append(Shortfall(what, _replacing("more for --max-crawl-minutes, or --max-minutes,"), is_grave=True))
    if number := counts.get(CUT_BY_DEPTH, 0):
        what = f"At least {number:,} pages lie further from the start than --max-depth and were not read."
        found.append(Shortfall(what, "", is_grave=False))
    return found


def _replacing(options: str) -> str:
    return f"The same command with {options} and --replace reads on, and makes the folder anew."


def _low_yield(counts: Mapping[str, int]) -> Shortfall | None:
    """Tell when most of what could have been a picture is none, and no second try will change that."""
    passed_over = _by_reason(Counts.read(counts).rejected, _ON_PURPOSE | _WORTH_ANOTHER_TRY)
    tried = counts["seen"] - sum(passed_over.values())
    if not counts["kept"] or 2 * counts["kept"] >= tried:
        return None
    what = f"Only {counts['kept']:,} of {tried:,} sources ({_percent(counts['kept'], tried)}) became pictures: "
    return Shortfall(f"{what}{_explained(counts)}.", "", is_grave=False)


def unlisted_counts(counts: Mapping[str, int]) -> dict[Unlisted, int]:
    """Give the pictures that pages name and that are not listed, by rule, the most frequent first."""
    found = {rule: counts[f"unlisted:{rule}"] for rule in Unlisted if counts.get(f"unlisted:{rule}")}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def unlisted_note(counts: Mapping[str, int]) -> str:
    """Say how many pictures were not listed, and how they are, for the end of a sentence; "" when there are none."""
    found = _undescribed(counts, least_share=0.0)
    return f" {found.what} {found.advice}" if found else ""


def _undescribed(counts: Mapping[str, int], least_share: float = 0.1) -> Shortfall | None:
    """Tell of pictures that could be listed without a text, when they are more than a few."""
    rules = {str(rule): number for rule, number in unlisted_counts(counts).items() if rule.can_be_kept}
    number, seen = sum(rules.values()), counts.get("seen", 0)
    if not number or number < least_share * (number + seen):
        return None
    return Shortfall(
        f"{number:,} pictures of the pages are not listed, for nothing describes them: {_listed(rules)}.",
        "The same command with --keep-undescribed and --replace takes them without a text.",
        is_grave=False,
    )


def _over_limit(counts: Mapping[str, int]) -> Shortfall | None:
    pictures, links = counts.get(f"unlisted:{Unlisted.OVER_LIMIT}", 0), counts.get("links_cut", 0)
    if not pictures and not links:
        return None
    what = f"Some pages hold more than is taken from one page: {pictures:,} pictures and {links:,} links are left out."
    return Shortfall(what, "", is_grave=False)


def _is_grave(missing: Mapping[str, int], total: int) -> bool:
    given_up = any(RejectReason(reason).is_given_up for reason in missing)
    return given_up or sum(missing.values()) >= GRAVE_SHARE * total


def _num_pages(counts: Mapping[str, int]) -> int:
    return counts.get("pages", 0) + sum(_pages_rejected(counts).values())


def _explained(counts: Mapping[str, int]) -> str:
    """Write the most frequent reasons with what they mean."""
    reasons = list(_by_reason(Counts.read(counts).rejected, frozenset(RejectReason)).items())
    shown = [f"{number:,} {name} ({RejectReason(name).meaning})" for name, number in reasons[: _SHOWN - 1]]
    return ", ".join(shown) + ", ..." * (len(reasons) >= _SHOWN)


def _listed(missing: Mapping[str, int]) -> str:
    shown = [f"{name} {number:,}" for name, number in list(missing.items())[:_SHOWN]]
    return ", ".join(shown) + ", ..." * (len(missing) > _SHOWN)


def _percent(number: int, total: int) -> str:
    share = 100 * number / (total or 1)
    return f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"


def _round_up(number: int) -> int:
    """Round up to one digit and zeros."""
    unit = int(10 ** (len(str(number)) - 1))
    return -(-number // unit) * unit
