"""How a person says where a dataset lies: a folder, a URL of a store, or a pattern of its tars in either."""

import re
from pathlib import Path

from t2i_core.data.tables.list_files import is_remote

_PATTERN = re.compile(r"[*?\[{]")


def divided(location: str) -> tuple[str, str]:
    """Divide a location into the dataset and the pattern of its tars, "" for all of them."""
    whole = location.rstrip("/")
    folder, _, name = whole.rpartition("/")
    if not _PATTERN.search(name) or Path(location).exists():
        return whole, ""
    return f"./{folder}".removesuffix("/shards").removeprefix("./") or ".", name


def anchored(location: str) -> str:
    """Give a location for a process that works in another folder."""
    return str(Path(location).absolute()) if location and not is_remote(location) else location
