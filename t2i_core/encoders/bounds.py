"""What every encoder folder from elsewhere keeps to, whatever its layout: sizes that can be built, and files in it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from t2i_core.errors import ConfigError

Heads = Annotated[int, Field(ge=1, le=256)]
Layers = Annotated[int, Field(ge=1, le=96)]
Vocabulary = Annotated[int, Field(ge=1, le=2_000_000)]
TokenId = Annotated[int, Field(ge=0, le=2_000_000)]


def require_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Refuse links that leave a folder.

    Raises:
        ConfigError: one does.
    """
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"{path} is a link that leaves its folder; put the file itself there.")
