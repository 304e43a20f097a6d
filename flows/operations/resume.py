"""Starts a flow run that is down again, under its id and with its parameters; its folders go on where they stopped."""

from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from t2i_core.errors import ConfigError


def resume(client: SyncPrefectClient, wanted: str) -> FlowRun:
    """Schedule a run that crashed, failed or was cancelled; a worker takes it up.

    Args:
        client: asks the server.
        wanted: the run's id, or its name if no other run has it.

    Raises:
        ConfigError: there is no such run, it is not down, or it has no deployment.
    """
    run = find_run(client, wanted)
    state = run.state.name if run.state else "nowhere"
    if run.state is None or not run.state.is_final() or run.state.is_completed():
        raise ConfigError(f"the run {run.name} is {state}: only one that crashed, failed or was cancelled is resumed.")
    if run.deployment_id is None:
        raise ConfigError(
            f"the run {run.name} has no deployment, so no worker runs it: give the same command again, and it goes on."
        )
    again: State[None] = Scheduled(message=f"Resumed by hand; it was {state}.")
    answer = client.set_flow_run_state(run.id, again)
    if answer.status is not SetStateStatus.ACCEPT:
        raise ConfigError(f"the server does not resume the run {run.name}: {answer.details}.")
    return run


def find_run(client: SyncPrefectClient, wanted: str) -> FlowRun:
    """Find a run by its id or name.

    Raises:
        ConfigError: there is none, or several have the name.
    """
    try:
        return client.read_flow_run(UUID(wanted))
    except ObjectNotFound as err:
        raise ConfigError(f"the server knows no flow run {wanted}.") from err
    except ValueError:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[wanted])), limit=5)
    if len(found) == 1:
        return found[0]
    ids = ", ".join(str(run.id) for run in found)
    raise ConfigError(f"{len(found)} flow runs are called {wanted}; name one by its id{': ' if ids else ''}{ids}.")
