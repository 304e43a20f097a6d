"""The configured Prefect server, for commands that ask it something."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.shell.adhoc import require_server
from flows.shell.prefect_import import import_prefect
from t2i_core.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@contextmanager
def server_client() -> "Iterator[SyncPrefectClient]":
    """Ask the server while the block runs.

    Raises:
        ConfigError: none is configured, or it does not answer us.
    """
    import_prefect()
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise ConfigError(
            "no Prefect server is configured. Start one with `prefect server start`, and name it:"
            " export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    require_server(url)
    with get_client(sync_client=True) as client:
        yield client
