"""JSON from elsewhere, read strictly; it imports next to nothing, so that the processes that take bytes can use it."""

import json
from typing import Any


def parse_json(text: str) -> Any:
    """Read one JSON value strictly: no NaN, no infinities.

    Raises:
        ValueError: it is not JSON, or nested too deeply to read.
    """
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError as err:
        raise ValueError("nested too deeply") from err


def refuse_constant(name: str) -> Any:
    """Refuse what Python's parser takes beyond JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is not JSON")
