"""Running a flow in this process, with the configured Prefect server or, where there is none, an embedded one."""

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
    """Choose Prefect's settings for this process; what the user has set stays. Call it before Prefect is imported."""
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
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.server import embedded_server
    from tasks.runtime import LISTENER

    url = PREFECT_API_URL.value()
    if url:
        require_server(url)
    else:
        server = ExitStack()
        url = server.enter_context(embedded_server())
        # Not before Prefect, which registers later and so goes first, has sent its last logs and events.
        atexit.register(server.close)
    token = LISTENER.set(on_progress)
    try:
        # Heartbeats tell a server that a run still lives; here the person sees it, and they cost a second a run.
        with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    finally:
        LISTENER.reset(token)


def require_server(url: str) -> None:
    """Make sure that a server answers.

    Raises:
        ConfigError: it does not.
    """
    import httpx

    try:
        httpx.get(f"{url}/health", timeout=HEALTH_SECONDS).raise_for_status()
    except httpx.HTTPError as err:
        raise ConfigError(
            f"no Prefect server answers at {url} ({err}). Start one with `prefect server start`, unset PREFECT_API_URL,"
            " or add --no-prefect."
        ) from err
