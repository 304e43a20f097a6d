"""A real Prefect server for each file, with a password, as an operator's is, in a throw-away home."""

import os
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.shell.server import RunningServer, embedded_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with pytest.MonkeyPatch.context() as patch, embedded_server(tmp_path_factory.mktemp("prefect")) as running:
        # For what is started as a process of its own.
        patch.setitem(os.environ, "PREFECT_API_URL", running.url)
        patch.setitem(os.environ, "PREFECT_API_AUTH_STRING", running.auth)
        with temporary_settings({PREFECT_API_URL: running.url, PREFECT_API_AUTH_STRING: running.auth}):
            yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as asked:
        yield asked
