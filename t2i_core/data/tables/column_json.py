"""JSON that holds a table column by column: a list for each, or what pandas writes, an object of cells by row."""

from collections.abc import Iterator
from typing import Any

from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.tables.text import NOT_TEXT, Problem, is_text

# The last cell of a row comes at the end of the text, so all of it is held at once.
MAX_CHARS = 64_000_000


def iter_columns(text: str) -> Iterator[dict[str, Any] | Problem]:
    """Read the rows of a table, which are as many as the cells of its first column.

    Raises:
        ValueError: it is no such table, or too long.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"a list column by column is held at once, up to {MAX_CHARS:,} characters. Save it as .jsonl")
    if not is_text(text):
        raise ValueError(NOT_TEXT)
    columns = parse_json(text)
    if not all(isinstance(cells, list | dict) for cells in columns.values()):
        raise ValueError('it is neither a JSON list of objects nor columns such as {"url": [...], "caption": [...]}')
    by_row = {name: _by_row(cells) for name, cells in columns.items()}
    yield from (_row(by_row, row) for row in next(iter(by_row.values()), ()))


def _by_row(cells: Any) -> dict[Any, Any]:
    return cells if isinstance(cells, dict) else dict(enumerate(cells))


def _row(columns: dict[str, dict[Any, Any]], row: Any) -> dict[str, Any] | Problem:
    missing = next((name for name, cells in columns.items() if row not in cells), None)
    if missing is not None:
        return Problem(f"column '{missing:.50}' has no cell for it")
    return {name: cells[row] for name, cells in columns.items()}
