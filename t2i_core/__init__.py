"""t2i's core: ingest, caption, train, evaluate as plain Python and PyTorch, without Prefect.

For programs and notebooks: `from t2i_core import ingest, caption, train, evaluate, load` (see `t2i_core/api.py`).

Shape letters used in every docstring: B batch, C channels, H W pixels, L tokens, D width, S sampling steps.
Pixels are uint8 0..255 on disk and float in [-1, 1] in the core; only `data/batches/pixels.py` converts between them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t2i_core.api import (
        caption,
        compare,
        compose,
        edit,
        evaluate,
        features,
        ingest,
        load,
        promote,
        rollback,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "caption",
    "compare",
    "compose",
    "edit",
    "evaluate",
    "features",
    "ingest",
    "load",
    "promote",
    "rollback",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a step's function when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from t2i_core import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """Name what there is, imported or not."""
    return sorted({*globals(), *__all__})
