"""One picture, many names: what each place on a page says about it, and how that becomes one record."""

from collections.abc import Iterable
from dataclasses import dataclass

from t2i_core.data.record import SourceRecord, clean_text, license_text

# The better the text is likely to describe the picture, the earlier its rule. What was written for this one picture to
# be read in its place comes first, then what stands beside it, then what describes the thing that it illustrates.
CAPTION_RULES = (
    "alt",
    "figcaption",
    "aria-labelledby",
    "aria-label",
    "jsonld:caption",
    "sitemap:caption",
    "og:image:alt",
    "twitter:image:alt",
    "jsonld:description",
    "title",
    "jsonld:name",
    "sitemap:title",
    "jsonld:subject",
)
_RANKS = {rule: rank for rank, rule in enumerate(CAPTION_RULES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One place that names a picture.

    Attributes:
        url: absolute.
        caption: its text there, "" when there is none.
        rule: one of `CAPTION_RULES`, "" without a text.
        license: a URL or a short text that this place states for this picture.
        attributes: a JSON object as a string.
        is_decoration: the place says that the picture means nothing.
    """

    url: str
    caption: str = ""
    rule: str = ""
    license: str = ""
    attributes: str = "{}"
    is_decoration: bool = False


def settle(mentions: Iterable[Mention], page_url: str, page_license: str = "", reason: str = "") -> list[SourceRecord]:
    """Make one record of all places that name the same picture, in order of first appearance.

    The text is the one whose rule stands first in `CAPTION_RULES`, of equals the first on the page; license and
    attributes are the first that are there. A picture that is decoration in one place and has no text in any other
    is left out.

    Args:
        mentions: in document order.
        page_url: where they stand.
        page_license: of pictures that have none of their own.
        reason: a `RejectReason` when the page rules its pictures out, else "".
    """
    by_url: dict[str, list[Mention]] = {}
    for mention in mentions:
        by_url.setdefault(mention.url, []).append(mention)
    return [
        _record(same, page_url, page_license, reason)
        for same in by_url.values()
        if _best(same).caption or not any(mention.is_decoration for mention in same)
    ]


def _best(same: list[Mention]) -> Mention:
    return min(same, key=lambda mention: _RANKS.get(mention.rule, len(_RANKS)))


def _record(same: list[Mention], page_url: str, page_license: str, reason: str) -> SourceRecord:
    best = _best(same)
    return SourceRecord(
        url=best.url,
        caption=clean_text(best.caption),
        page_url=page_url,
        caption_source=best.rule,
        license=license_text(next((mention.license for mention in same if mention.license), page_license)),
        attributes=next((mention.attributes for mention in same if mention.attributes != "{}"), "{}"),
        reason=reason,
    )
