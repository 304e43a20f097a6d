"""Imports Prefect so that the folder a person stands in has no say in its settings.

Prefect reads `.env`, `prefect.toml` and `pyproject.toml` there, and through them a `logging.yml` or a `profiles.toml`
that can name any code to run. What the user set in the environment or in Prefect's own home still counts.
"""

import os
from contextlib import chdir
from pathlib import Path
from typing import Any

from t2i_core.children import neutral_folder

HOME, PROFILES = "PREFECT_HOME", "PREFECT_PROFILES_PATH"
SOURCES = ("FilteredDotEnvSettingsSource", "PrefectTomlConfigSettingsSource", "PyprojectTomlConfigSettingsSource")


def import_prefect() -> None:
    """Import it, from a folder where nothing lies about, and keep it from looking around afterwards."""
    # Which profiles count is looked up apart from all other settings, in the same files.
    home = Path(os.environ.get(HOME) or "~/.prefect").expanduser().absolute()
    os.environ.setdefault(PROFILES, str(home / "profiles.toml"))
    with chdir(neutral_folder()):
        from prefect.settings import base
        from pydantic_settings import PydanticBaseSettingsSource

        class Nothing(PydanticBaseSettingsSource):
            """Stands where Prefect would read a file of the working folder, whenever settings change."""

            def __init__(self, settings_cls: Any, **_: Any) -> None:
                super().__init__(settings_cls)

            def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
                return None, field_name, False

            def __call__(self) -> dict[str, Any]:
                return {}

        for name in SOURCES:
            setattr(base, name, Nothing)
