"""One picture as its source names it, before anything was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """One attempted source: it becomes one row of the dataset, kept or rejected.

    Attributes:
        url: as found (lists) or absolute (pages); for local files the path below the folder.
        caption: as found, "" when there is none.
        page_url: the page it was found on, "" otherwise.
        caption_source: which rule gave the caption: one of `mention.CAPTION_RULES`, column, metadata, sidecar,
            drawing, shard, table or "".
        license: a URL or a short text, as stated where it was found; "" when nothing is stated.
        attributes: a JSON object as a string.
        location: a file below the source folder that holds the bytes, "" when the URL is to be fetched.
        offset: where in that file the picture starts.
        size: bytes of the picture in that file, 0 for the whole file.
        checksum: ALGORITHM:HEX that the picture's bytes must have, "" for none.
        extra: further columns of a list, by name; each a `cells.Cell`.
        reason: a `RejectReason` when the source itself rules the picture out, else "".
        detail: what to say about that.
        uid: the identity of a sample whose URL or caption is no longer the one it was made from, else "".
        facts: what is known of it besides, which a filter may ask for and no plan keeps.
        place: the row of a list that it is, for messages; no plan keeps it either.
    """

    url: str
    caption: str = ""
    page_url: str = ""
    caption_source: str = ""
    license: str = ""
    attributes: str = "{}"
    location: str = ""
    offset: int = 0
    size: int = 0
    checksum: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""
    uid: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
