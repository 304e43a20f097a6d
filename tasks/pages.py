"""Links to the pages of a workspace, where a worker serves it."""

import os
from pathlib import Path
from urllib.parse import quote

# Set by `t2i worker --reports FOLDER` for its runs: the address it serves at, and the folder, which may hold spaces.
VARIABLE = "T2I_REPORTS"


def served_at(address: str, folder: Path) -> dict[str, str]:
    """Give the variable that lets runs link to what is served."""
    return {VARIABLE: f"{address} {folder}"}


def page_link(path: Path) -> str:
    """Write a markdown link to a page, or its place when nobody serves it."""
    address, _, folder = os.environ.get(VARIABLE, "").partition(" ")
    place = path.resolve()
    if not folder or not place.is_relative_to(folder):
        return f"`{path}`"
    return f"[{path.name}]({address}/{quote(place.relative_to(folder).as_posix())})"
