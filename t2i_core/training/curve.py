"""What a run's log says of validation: the curve of its loss, and in words whether the run over-fits; no PyTorch."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from t2i_core.door import is_file, read_file
from t2i_core.errors import DataError
from t2i_core.folders.layout import MAX_LOG_BYTES

# With the weights of the end, or with the lowest loss on validation pictures.
CheckpointName = Literal["last", "best"]
METRICS_NAME = "metrics.jsonl"
LOSS = "validation/loss"
# Name of a loss of samples without their captions, behind "train/" or "validation/".
WITHOUT_TEXT = "loss_without_text"
# Far more than a run writes, which logs every few dozen steps.
MAX_LINES = 1_000_000
# A loss this much above the lowest is no accident: samples and noise are the same each time.
MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Point:
    """The loss on validation pictures at one step."""

    step: int
    images: int
    loss: float


def log_rows(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Read what a run logged, line by line; those that are no objects are passed over, as one cut short by a stop is.

    Raises:
        DataError: the log is larger, or has more lines, than any that a run writes.
    """
    path = run_dir / METRICS_NAME
    body = read_file(path, MAX_LOG_BYTES) if is_file(path) else b""
    if body.count(b"\n") > MAX_LINES:
        raise DataError(f"{path} has more than {MAX_LINES:,} lines: no run logs so much. Put its own log back.")
    for line in body.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def validation_curve(run_dir: Path) -> list[Point]:
    """Read the validation losses of a run while it learned, first to last; lines that are none are passed over.

    Raises:
        DataError: see `log_rows`.
    """
    points = []
    for row in log_rows(run_dir):
        try:
            points.append(Point(int(row["step"]), int(row["images"]), float(row[LOSS])))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return points


def verdict(curve: Sequence[Point]) -> str:
    """Say in a sentence what the losses tell; "" where there are too few."""
    # What a run starts from has not learned on these pictures, and so is no part of its course.
    curve = [point for point in curve if point.images]
    if len(curve) < 2:
        return ""
    best, last = min(curve, key=lambda point: point.loss), curve[-1]
    if last.loss <= (1 + MARGIN) * best.loss:
        return f"validation loss {last.loss:.4g} at the end, the lowest was {best.loss:.4g}: no over-fitting."
    return (
        f"over-fits: validation loss was lowest, {best.loss:.4g}, at {best.images:,} pictures, and is {last.loss:.4g} "
        f"at the end, {last.loss / best.loss - 1:.0%} more. More pictures, or an end at about {best.images:,} "
        "(--max-images), do better."
    )
