"""What a run's log says of validation: the curve of its loss, and in words whether the run over-fits; no PyTorch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from t2i_core.door import is_file, read_file
from t2i_core.layout import MAX_LOG_BYTES

# With the weights of the end, or with the lowest loss on validation pictures.
CheckpointName = Literal["last", "best"]
METRICS_NAME = "metrics.jsonl"
LOSS = "validation/loss"
# A loss this much above the lowest is no accident: samples and noise are the same each time.
MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Point:
    """The loss on validation pictures at one step."""

    step: int
    images: int
    loss: float


def validation_curve(run_dir: Path) -> list[Point]:
    """Read the validation losses of a run, first to last; lines that are none are passed over."""
    path = run_dir / METRICS_NAME
    points = []
    for line in read_file(path, MAX_LOG_BYTES).splitlines() if is_file(path) else []:
        try:
            row = json.loads(line)
            points.append(Point(int(row["step"]), int(row["images"]), float(row[LOSS])))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return points


def verdict(curve: Sequence[Point]) -> str:
    """Say in a sentence what the losses tell; "" where there are too few."""
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
