"""What a run logged while it learned, as charts of its course and as tables of where it ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from t2i_core.evaluation.metrics.section import Chart, Column, Row, Table
from t2i_core.training.curve import LOSS, WITHOUT_TEXT

NUM_BANDS = 10
# Beyond what can be drawn.
HUGE = 1e300
Rows = Sequence[Mapping[str, Any]]


def _bands(name: str) -> dict[str, str]:
    return {f"band {band}": f"{name}_band_{band}" for band in range(NUM_BANDS)}


# Lines of each chart: what they are called, and their names in the log.
CURVES: dict[str, dict[str, str]] = {
    "Loss": {"train": "train/loss", "validation": LOSS, "train, without captions": f"train/{WITHOUT_TEXT}"},
    "Loss per noise band (0 = least noise)": _bands("train/loss"),
    "Validation loss per noise band": _bands("validation/loss"),
    "Accuracy per noise band": _bands("train/accuracy"),
    "Validation accuracy per noise band": _bands("validation/accuracy"),
    "Pictures per second": {"images_per_second": "perf/images_per_second"},
    "Learning rate": {"learning_rate": "train/learning_rate"},
}
BY_BAND = {
    "Loss": "train/loss",
    "Validation loss": "validation/loss",
    "Accuracy": "train/accuracy",
    "Validation accuracy": "validation/accuracy",
}
LEAD = (
    "A noise band is a fifth of the training times, 0 next to the picture. Figures of training are means over steps "
    "since the line before, those of validation were found with averaged weights. Accuracy: how often the right "
    "caption of a batch is the nearest to a noised picture. Without captions: the same pictures with the same noise; "
    "what captions tell the run is what guidance leads by. Where none were ever dropped, the null was never learned, "
    "and this says little."
)


def charts_of(rows: Rows) -> list[Chart]:
    """Draw what was logged at least twice, over the pictures seen."""
    x_name = next((n for n in ("images", "images_seen", "train/images", "step") if rows and n in rows[-1]), None)
    if x_name is None:
        return []
    x_label = "pictures seen" if x_name != "step" else "steps"
    drawn = {title: _lines(rows, x_name, names) for title, names in CURVES.items()}
    return [Chart(title, x_label, lines=lines) for title, lines in drawn.items() if lines]


def _lines(rows: Rows, x_name: str, names: Mapping[str, str]) -> dict[str, tuple[list[float], list[float]]]:
    lines = {}
    for label, name in names.items():
        points = [(r[x_name], r[name]) for r in rows if _is_number(r.get(name)) and _is_number(r.get(x_name))]
        if len(points) > 1:
            lines[label] = ([x for x, _ in points], [y for _, y in points])
    return lines


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < HUGE


def tables_of(rows: Rows) -> list[Table]:
    """Tell where a run ended: what captions are worth to it, and how it does by noise band."""
    return [table for table in (_null_gap(rows), _by_band(rows)) if table is not None]


def _null_gap(rows: Rows) -> Table | None:
    name = f"validation/{WITHOUT_TEXT}"
    found = [row for row in rows if all(_is_number(row.get(each)) for each in (name, LOSS))]
    columns = [Column(title, "count") for title in ("With captions", "Without", "Without / with")]
    at = {"at the start": [row for row in found[:1] if row.get("step") == 0], "in the end": found[-1:]}
    shown = [Row(when, _compared(row[LOSS], row[name])) for when, rows in at.items() for row in rows]
    return Table("Validation loss with and without captions", "When", columns, shown) if shown else None


def _compared(with_text: float, without: float) -> list[str]:
    return [_short(with_text), _short(without), f"{without / with_text:.2f}" if with_text > 0 else "–"]


def _by_band(rows: Rows) -> Table | None:
    ends = {title: _end(rows, name) for title, name in BY_BAND.items()}
    ends = {title: end for title, end in ends.items() if end}
    columns = [Column(title, "count") for title in ends]
    used = [band for band in _bands("") if any(band in end for end in ends.values())]
    shown = [Row(band, [_short(end[band]) if band in end else None for end in ends.values()]) for band in used]
    return Table("By noise band", "Band", columns, shown) if shown else None


def _end(rows: Rows, name: str) -> dict[str, float]:
    """Take what was logged last of a figure, by band."""
    found = ({band: row[key] for band, key in _bands(name).items() if _is_number(row.get(key))} for row in rows)
    return next(filter(None, reversed(list(found))), {})


def _short(value: float) -> str:
    return f"{value:.3g}"
