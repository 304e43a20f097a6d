"""Keys of artifacts."""

import re


def slug(name: str) -> str:
    """Turn a name into an artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
