"""Text from elsewhere: cleaned, cut to size, and JSON that stays small."""

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from t2i_core.canonical import canonical_json

MAX_TEXT_CHARS = 65_536
MAX_ATTRIBUTES_BYTES = 8192
MAX_LICENSE_CHARS = 1000
# Python refuses to read numbers of thousands of digits; no character has so many.
_LONG_REFERENCE = re.compile(r"&#[0-9]{32,};?")


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
