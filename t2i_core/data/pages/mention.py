"""One picture, many names: what each place on a page says about it, and how that becomes one record."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from t2i_core.data.record import SourceRecord
from t2i_core.data.text import clean_text, license_text
from t2i_core.data.unlisted import Unlisted

# The better the text is likely to describe the picture, the earlier its rule. What was written for this one picture to
# be read in its place comes first, then what stands beside it, then what describes the thing that it illustrates.
CAPTION_RULES = (
    "alt",
    "figcaption",
    "caption",
    "aria-labelledby",
    "aria-label",
    "link",
    "jsonld:caption",
    "sitemap:caption",
    "og:image:alt",
    "twitter:image:alt",
    "aria-describedby",
    "jsonld:description",
    "title",
    "jsonld:name",
    "sitemap:title",
    "jsonld:subject",
)
_RANKS = {rule: rank for rank, rule in enumerate(CAPTION_RULES)}
# The further texts of a picture, as a JSON list, in a column that is there when a page gives any.
OTHER_CAPTIONS = "other_captions"
MAX_OTHER_CAPTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One place that names a picture.

    Attributes:
        url: absolute; for what has no address, something that tells it from others.
        caption: its text there, "" when there is none.
        rule: one of `CAPTION_RULES`, "" without a text.
        license: a URL or a short text that this place states for this picture.
        attributes: a JSON object as a string.
        unlisted: one of `Unlisted` when this place gives a reason not to list the picture, else "".
    """

    url: str
    caption: str = ""
    rule: str = ""
    license: str = ""
    attributes: str = "{}"
    unlisted: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What the mentions of a page come to.

    Attributes:
        records: one for each picture that is listed, in order of first appearance.
        unlisted: address and `Unlisted` of each that is not.
    """

    records: list[SourceRecord]
    unlisted: list[tuple[str, str]]


def settle(
    mentions: Iterable[Mention],
    page_url: str,
    page_license: str = "",
    reason: str = "",
    *,
    keep_undescribed: bool = False,
) -> Settled:
    """Make one record of all places that name the same picture, in order of first appearance.

    The text is the one whose rule stands first in `CAPTION_RULES`, of equals the first on the page; different ones go
    with it as further texts. License and attributes are the first that are there. A picture that one place gives a
    reason not to list, and that has no text in any other, is not listed.

    Args:
        mentions: in document order.
        page_url: where they stand.
        page_license: of pictures that have none of their own.
        reason: a `RejectReason` when the page rules its pictures out, else "".
        keep_undescribed: pictures without a text are listed all the same, if they have an address.
    """
    by_url: dict[str, list[Mention]] = {}
    for mention in mentions:
        by_url.setdefault(mention.url, []).append(mention)
    settled = Settled([], [])
    for url, same in by_url.items():
        ranked = sorted(same, key=lambda mention: _RANKS.get(mention.rule, len(_RANKS)))
        why = "" if ranked[0].caption else next((mention.unlisted for mention in same if mention.unlisted), "")
        if why and not (keep_undescribed and Unlisted(why).can_be_kept):
            settled.unlisted.append((url, why))
        else:
            settled.records.append(_record(same, ranked, page_url, page_license, reason))
    return settled


def _record(same: list[Mention], ranked: list[Mention], page_url: str, page_license: str, reason: str) -> SourceRecord:
    others = _other_texts(ranked)
    return SourceRecord(
        url=ranked[0].url,
        caption=clean_text(ranked[0].caption),
        page_url=page_url,
        caption_source=ranked[0].rule,
        license=license_text(next((mention.license for mention in same if mention.license), page_license)),
        attributes=next((mention.attributes for mention in same if mention.attributes != "{}"), "{}"),
        extra={OTHER_CAPTIONS: json.dumps(others, ensure_ascii=False)} if others else {},
        reason=reason,
    )


def _other_texts(ranked: list[Mention]) -> list[str]:
    """Give the texts beside the best one that say something else, the best first."""
    texts: dict[str, str] = {}
    for mention in ranked:
        if mention.caption and len(texts) <= MAX_OTHER_CAPTIONS:
            texts.setdefault(" ".join(mention.caption.lower().split()), mention.caption)
    return [clean_text(text) for text in list(texts.values())[1:]]
