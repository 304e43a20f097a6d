"""All metrics, in the order of the report: to add one, write its file and name it here."""

from collections.abc import Callable

from t2i_core.evaluation.metrics import accuracy, breakdown, checker, clip, copies, failures, pictures, styles
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.section import Section

Metric = Callable[[Evidence], Section]

METRICS: dict[str, Metric] = {
    "accuracy": accuracy.measure,
    "styles": styles.measure,
    "breakdown": breakdown.measure,
    "pictures": pictures.measure,
    "failures": failures.measure,
    "clip": clip.measure,
    "copies": copies.measure,
    "checker": checker.measure,
}
