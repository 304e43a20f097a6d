"""Whether a run can be drawn with in all the ways that are asked for, before minutes are spent on some."""

from collections.abc import Iterable
from pathlib import Path

from t2i_core.composition.config import parts_of
from t2i_core.generation.asked import refuse_ignored
from t2i_core.generation.config import DrawConfig
from t2i_core.training.finished import require_average


def require_drawable(folder: Path, ways: Iterable[DrawConfig]) -> None:
    """Refuse ways that a finished run or system would ignore, or has not.

    Raises:
        ConfigError: a setting would change nothing, or there is no such average of the weights.
    """
    parts = parts_of(folder)
    for way in ways:
        refuse_ignored(folder, way)
        for role, (_, decay) in way.weights.items():
            if role in parts and decay is not None:
                require_average(parts[role], decay)
