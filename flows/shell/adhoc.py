"""Running a flow in this process, with the configured Prefect server or, where there is none, an embedded one."""

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flows.shell.prefect_import import import_prefect
from t2i_core.children import leave_working_folder_out
from t2i_core.errors import ConfigError
from t2i_core.progress import OnProgress

# Quiet and offline. Errors are told by `t2i` itself in one sentence; with the traceback they are in the run's log on
# the server.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_CLI_PROMPT": "false",
}
HEALTH_SECONDS = 5.0


def prepare_environment() -> None:
    """Choose Prefect's settings for this process, and import nothing from the working folder.

    What the user has set stays. Call it before Prefect is imported.
    """
    leave_working_folder_out()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def adhoc_run(on_progress: OnProgress) -> Iterator[None]:
    """Let flows called in this block run here, and show their progress.

    Args:
        on_progress: gets the progress of every task.

    Raises:
        ConfigError: a Prefect server is configured, but it does not answer.
        T2IError: the embedded server did not start.
    """
    import_prefect()
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    from flows.shell.server import embedded_server
    from tasks.runtime import LISTENER

    # Heartbeats tell a server that a run still lives; here the person sees it, and they cost a second a run.
    settings: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    if url := PREFECT_API_URL.value():
        require_server(url)
    else:
        stack = ExitStack()
        server = stack.enter_context(embedded_server())
        settings |= {PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.auth}
        # Not before Prefect, which registers later and so goes first, has sent its last logs and events.
        atexit.register(stack.close)
    token = LISTENER.set(on_progress)
    try:
        with temporary_settings(settings):
            yield
    finally:
        LISTENER.reset(token)


def require_server(url: str) -> None:
    """Make sure that a server answers, and answers us.

    Raises:
        ConfigError: it does not.
    """
    import httpx
    from prefect.client.orchestration import get_client

    try:
        httpx.get(f"{url}/health", timeout=HEALTH_SECONDS).raise_for_status()
        with get_client(sync_client=True) as client:
            client.request("GET", "/admin/version")
    except httpx.HTTPStatusError as err:
        if err.response.status_code not in (401, 403):
            raise ConfigError(f"the Prefect server at {url} answers {err.response.status_code}. Look into it.") from err
        raise ConfigError(
            f"the Prefect server at {url} lets only those in who know its password. Name it: export"
            " PREFECT_API_AUTH_STRING=NAME:PASSWORD (`make auth` makes and prints it), or add --no-prefect."
        ) from err
    except httpx.HTTPError as err:
        raise ConfigError(
            f"no Prefect server answers at {url} ({err}). Start one with `prefect server start`, unset PREFECT_API_URL,"
            " or add --no-prefect."
        ) from err
