"""Runs that are down are started again by hand, and a server is looked at."""

from contextlib import nullcontext
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running
from prefect.utilities.callables import parameter_schema

from flows.cli import run as command
from flows.ingest import ingest
from flows.operations.automations import planned_automations, set_automations
from flows.operations.findings import _database, examine_server
from flows.operations.pools import set_pool
from flows.operations.resume import resume
from t2i_core.doctor import Finding
from t2i_core.errors import ConfigError


@pytest.fixture
def deployment(client: SyncPrefectClient) -> UUID:
    set_pool(client)
    flow = client.create_flow_from_name("sleeper")
    return client.create_deployment(flow, "default", work_pool_name="t2i", work_queue_name="light", tags=["t2i"])


def ended(client: SyncPrefectClient, deployment: UUID, state: State[None]) -> FlowRun:
    run = client.create_flow_run_from_deployment(deployment, name=f"run-{uuid4()}")
    client.set_flow_run_state(run.id, state, force=True)
    return client.read_flow_run(run.id)


@pytest.mark.parametrize("state", [Crashed(), Failed(), Cancelled()], ids=str)
def test_a_run_that_is_down_is_scheduled_again_by_name_or_id(
    client: SyncPrefectClient, deployment: UUID, state: State[None]
) -> None:
    run = ended(client, deployment, state)
    assert command(["resume", run.name]) == 0
    again = client.read_flow_run(run.id).state
    assert again and again.is_scheduled()
    with pytest.raises(ConfigError, match="is Scheduled"):
        resume(client, str(run.id))


def test_a_run_that_no_worker_started_is_named_and_scheduled_again(
    client: SyncPrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(client, deployment, Pending())
    assert "about to start" in look(client, "runs").detail
    monkeypatch.setattr("flows.operations.resume.START_TIME", timedelta(0))

    lost = look(client, "runs")
    assert not lost.works and run.name in lost.detail and f"t2i resume {run.id}" in lost.advice

    resume(client, run.name)

    again = client.read_flow_run(run.id).state
    assert again and again.is_scheduled()
    assert look(client, "runs").works


def look(client: SyncPrefectClient, name: str) -> Finding:
    return next(finding for finding in examine_server(client) if finding.name == name)


@pytest.mark.parametrize("state", [Completed(), Running(), Pending()], ids=str)
def test_others_are_left_alone(client: SyncPrefectClient, deployment: UUID, state: State[None]) -> None:
    run = ended(client, deployment, state)
    with pytest.raises(ConfigError, match=f"is {state.name}"):
        resume(client, run.name)


@pytest.mark.parametrize("wanted", ["nothing-of-this-name", "0f4c3b1e-6a52-4d0e-9a43-0d5b7d1c2e11"])
def test_an_unknown_run_is_refused(client: SyncPrefectClient, wanted: str) -> None:
    with pytest.raises(ConfigError):
        resume(client, wanted)


@pytest.mark.parametrize(("driver", "kind"), [("postgresql+asyncpg", "PostgreSQL"), (None, "SQLite")])
def test_the_database_is_what_the_server_says_of_it(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, driver: str | None, kind: str
) -> None:
    told = httpx.Response(200, json={"server": {"database": {"driver": driver, "connection_url": "**********"}}})
    monkeypatch.setattr(client, "request", lambda *_: told)
    assert _database(client).detail.startswith(kind)


@pytest.mark.parametrize(
    ("config", "is_queued"),
    [
        ({"how_pictures_are_stored": {"image_size": 64}}, True),
        ({"image_size": 64}, True),
        ({"how_pictures_are_stored": {"image_size": 0}}, False),
        ({"image_size": 0}, False),
        ({"imag_size": 64}, False),
        ({"how_hosts_are_asked": {"image_size": 64}}, False),
    ],
)
def test_a_form_in_groups_is_checked_before_a_run_is_queued(
    client: SyncPrefectClient, config: dict[str, object], is_queued: bool
) -> None:
    deployment = client.create_deployment(
        client.create_flow(ingest),
        "default",
        parameter_openapi_schema=parameter_schema(ingest).model_dump_for_openapi(),
        enforce_parameter_schema=True,
    )
    parameters = {"source": "list.csv", "output_dir": "dataset", "config": config}
    with nullcontext() if is_queued else pytest.raises(PrefectHTTPStatusError, match="409"):
        client.create_flow_run_from_deployment(deployment, parameters=parameters)


def test_a_server_is_looked_at(client: SyncPrefectClient, deployment: UUID, capsys: pytest.CaptureFixture[str]) -> None:
    set_automations(client, planned_automations())
    works = {finding.name: finding.works for finding in examine_server(client)}
    assert works["pool"] and works["automations"] and works["deployments"] and works["database"]
    assert not works["worker"] and not works["schedules"] and not works["notification"]

    client.pause_automation(client.read_automations_by_name(planned_automations()[0].name)[0].id)

    assert not look(client, "automations").works
    assert command(["doctor", "--server"]) == 1
    assert "run `t2i worker`" in capsys.readouterr().out
