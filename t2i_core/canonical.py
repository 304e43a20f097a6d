"""JSON with one spelling only, and its digest: the same data has the same name everywhere."""

import hashlib
import json
from typing import Any


def canonical_json(data: Any) -> str:
    """Write plain data as JSON with one spelling only: sorted keys, no spaces, UTF-8."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(data: Any) -> str:
    """Give the sha256 of the canonical JSON of plain data, in hexadecimal."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
