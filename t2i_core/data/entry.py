"""What a source holds under a name, and what is said of links."""

import os
from pathlib import Path

from t2i_core.door import kind_of

LINK_ADVICE = "links in a source are not followed; copy what they lead to (cp -rL)"


def entry_kind(entry: Path | os.DirEntry[str]) -> str:
    """Tell what a source holds under a name: "file", "folder", "link", or another word for what is never read."""
    if isinstance(entry, Path):
        return kind_of(entry.lstat().st_mode)
    # Folders mostly know this of their entries.
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "folder" if entry.is_dir(follow_symlinks=False) else kind_of(entry.stat(follow_symlinks=False).st_mode)
