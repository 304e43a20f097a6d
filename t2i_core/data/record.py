"""One picture as its source names it, before anything was asked for; and the doors for the texts that come with it."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from t2i_core.config import canonical_json

MAX_TEXT_CHARS = 65_536
MAX_ATTRIBUTES_BYTES = 8192
MAX_LICENSE_CHARS = 1000
# Python refuses to read numbers of thousands of digits; no character has so many.
_LONG_REFERENCE = re.compile(r"&#[0-9]{32,};?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """One attempted source: it becomes one row of the data set, kept or rejected.

    Attributes:
        url: as found (lists) or absolute (pages); for local files the path below the folder.
        caption: as found, "" when there is none.
        page_url: the page it was found on, "" otherwise.
        caption_source: which rule gave the caption: one of `mention.CAPTION_RULES`, column, metadata, sidecar, shard,
            table or "".
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


def clean_text(text: str) -> str:
    """Make text storable: no NUL, no lone surrogates, bounded. Everything else is left to the caption step."""
    text = text[:MAX_TEXT_CHARS].replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def unescape(text: str) -> str:
    """Turn `&amp;` and its kind into characters, as `html.unescape` does, whatever number a reference has."""
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text)) if "&" in text else text


def license_text(text: str) -> str:
    """Give a license its storable form: one line, bounded."""
    return " ".join(clean_text(text[:MAX_LICENSE_CHARS]).split())


def as_text(value: Any) -> str:
    """Give the text of one cell of a list: "" for nothing, JSON for nested values."""
    if value is None or isinstance(value, bytes) or value != value:
        return ""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list | dict):
        return clean_text(_nested_text(value))
    return str(value)


def _nested_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        # What is nested just not too deeply to be read can be nested too deeply to be written again.
        return ""


def attributes_json(attributes: Mapping[str, Any]) -> str:
    """Write attributes as one JSON object, leaving out those that no longer fit into 8 KiB."""
    kept: dict[str, Any] = {}
    size = 2
    for name, value in attributes.items():
        spelled = clean_text(canonical_json({name: value}))
        size += len(spelled.encode()) - 1
        if size > MAX_ATTRIBUTES_BYTES:
            break
        kept |= json.loads(spelled)
    return canonical_json(kept)
