"""What a person sees in Prefect's UI: reports, tables and picture grids. Views of what is on disk, never its source."""

import base64
import html
import io
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from t2i_core.folders.manifest import StepRef
from t2i_core.lineage.ancestors import trace
from t2i_core.progress import plain
from t2i_core.report.pictures import open_picture
from tasks.keys import slug

logger = logging.getLogger(__name__)

# Artifacts live in the server's database, so pictures in them stay small.
MAX_GRID_SIDE = 640
JPEG_QUALITY = 80


def publish_markdown(key: str, text: Callable[[], str], description: str) -> None:
    """Write a markdown artifact; one that cannot be made is logged, and the run goes on.

    Args:
        key: the artifact's stable key, made of lower-case letters, digits and dashes.
        text: makes the markdown.
        description: one line on what it shows.
    """
    try:
        create_markdown_artifact(text(), key=slug(key), description=description)
    except Exception as err:
        logger.warning("no artifact %s: %s", key, err)


def publish_table(key: str, rows: Callable[[], list[dict[str, Any]]], description: str) -> None:
    """Write a table artifact; one that cannot be made is logged, and the run goes on."""
    try:
        create_table_artifact(rows(), key=slug(key), description=description)
    except Exception as err:
        logger.warning("no artifact %s: %s", key, err)


def markdown_table(rows: Mapping[str, Any], *, head: tuple[str, str]) -> str:
    """Write two columns as a markdown table."""
    return markdown_rows(rows.items(), head=head)


def markdown_rows(rows: Iterable[Sequence[Any]], *, head: Sequence[str]) -> str:
    """Write rows as a markdown table: the first column is text, the others are numbers or text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *(map(_cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    # Hosts and captions come from anywhere, and the UI shows markdown with what HTML it holds.
    text = html.escape(plain(" ".join(text.split())), quote=False)
    return re.sub(r"([|\[\]`])", r"\\\1", text)


def picture_grid(paths: Sequence[Path], *, num_columns: int = 8) -> str:
    """Put pictures on one small JPEG inside markdown, or say that there are none."""
    if not paths:
        return "(no pictures)"
    num_columns = min(num_columns, len(paths))
    side = max(16, MAX_GRID_SIDE // num_columns)
    num_rows = -(-len(paths) // num_columns)
    grid = Image.new("RGB", (num_columns * side, num_rows * side), "white")
    for i, path in enumerate(paths):
        image = open_picture(path)
        image.thumbnail((side, side)) if image.width > side else None
        tile = image.resize((side, side), Image.Resampling.BICUBIC)
        grid.paste(tile, (i % num_columns * side, i // num_columns * side))
    return embedded_picture(grid)


def embedded_picture(image: Image.Image) -> str:
    """Write a picture as a markdown image that needs no server."""
    buffer = io.BytesIO()
    small = image.convert("RGB")
    small.thumbnail((MAX_GRID_SIDE, 2 * MAX_GRID_SIDE))
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"![pictures](data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def lineage(ref: StepRef) -> str:
    """List a folder and everything it was made from, the nearest first."""
    rows = (
        (
            ancestor.manifest.kind,
            ancestor.manifest.digest[:12],
            f"{ancestor.manifest.key.step} v{ancestor.manifest.key.version}, code {ancestor.manifest.code_version}",
            ancestor.folder,
            ", ".join(f"{name}: {source}" for name, source in sorted(ancestor.manifest.sources.items())),
        )
        for ancestor in trace(ref.path)
    )
    return "# Lineage\n\n" + markdown_rows(rows, head=("folder", "digest", "made by", "place", "made from"))
