"""Starts a flow run that is down again, under its id and with its parameters; its folders go on where they stopped."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from t2i_core.errors import ConfigError

# A worker says that it takes a run, and half a minute later, on a busy machine, the run speaks for itself.
START_TIME = timedelta(minutes=2)


def resume(client: SyncPrefectClient, wanted: str) -> FlowRun:
    """Schedule a run that crashed, failed, was cancelled, or was never started by the worker that took it.

    Args:
        client: asks the server.
        wanted: the run's id, or its name if no other run has it.

    Raises:
        ConfigError: there is no such run, it is not down, or it has no deployment.
    """
    run = find_run(client, wanted)
    state = run.state.name if run.state else "nowhere"
    if run.state is None or not _is_down(run.state):
        raise ConfigError(
            f"the run {run.name} is {state}: only one that crashed, failed or was cancelled is resumed, or that is"
            f" Pending for more than {START_TIME.seconds // 60} minutes, whose worker is gone."
        )
    if run.deployment_id is None:
        raise ConfigError(
            f"the run {run.name} has no deployment, so no worker runs it: give the same command again, and it goes on."
        )
    again: State[None] = Scheduled(message=f"Resumed by hand; it was {state}.")
    answer = client.set_flow_run_state(run.id, again)
    if answer.status is not SetStateStatus.ACCEPT:
        raise ConfigError(f"the server does not resume the run {run.name}: {answer.details}.")
    return run


def _is_down(state: State[None]) -> bool:
    return was_lost(state) or (state.is_final() and not state.is_completed())


def was_lost(state: State[None]) -> bool:
    """Say whether a run should have started by now: whoever took it is gone."""
    return state.is_pending() and pending_for(state) > START_TIME


def pending_for(state: State[None]) -> timedelta:
    """Give for how long a run has been in its state."""
    return datetime.now(UTC) - state.timestamp


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
