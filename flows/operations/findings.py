"""Looks at a Prefect server and says whether what is promised of it can be kept, and what to do where it cannot."""

from collections.abc import Callable

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound

from flows.operations.automations import TAG, notification_block, planned_automations
from flows.operations.pools import POOL, QUEUES
from flows.operations.resume import pending_for, was_lost
from t2i_core.doctor import Finding

DEPLOY = "run `make deploy`"


def examine_server(client: SyncPrefectClient) -> list[Finding]:
    """Look at everything; the server answers."""
    looks: list[Callable[[SyncPrefectClient], Finding]] = [
        *(_version, _telemetry, _database, _pool, _workers),
        *(_deployments, _schedules, _automations, _notification, _lost),
    ]
    return [look(client) for look in looks]


def _version(client: SyncPrefectClient) -> Finding:
    return Finding(name="server", works=True, detail=f"Prefect {client.api_version()} at {client.api_url}")


def _settings(client: SyncPrefectClient) -> dict[str, dict[str, object]]:
    settings: dict[str, dict[str, object]] = client.request("GET", "/admin/settings").json()["server"]
    return settings


def _telemetry(client: SyncPrefectClient) -> Finding:
    sends = bool(_settings(client).get("analytics_enabled"))
    advice = "start it with PREFECT_SERVER_ANALYTICS_ENABLED=false (deployments/server.env)" if sends else ""
    return Finding(name="telemetry", works=not sends, detail="on" if sends else "off", advice=advice)


def _database(client: SyncPrefectClient) -> Finding:
    # A server keeps its connection URL, which may hold a password, to itself; the driver it names.
    driver = str(_settings(client).get("database", {}).get("driver") or "")
    kind = "PostgreSQL" if driver.startswith("postgres") else "SQLite, or that of a connection URL"
    advice = "" if driver else "for more than one server process or a few workers: deployments/README.md, PostgreSQL"
    return Finding(name="database", works=True, detail=kind, advice=advice, required=False)


def _pool(client: SyncPrefectClient) -> Finding:
    try:
        pool = client.read_work_pool(POOL)
        queues = {name: client.read_work_queue_by_name(name, POOL) for name in QUEUES}
    except ObjectNotFound:
        return Finding(name="pool", works=False, detail=f"no pool {POOL} with its queues", advice=DEPLOY)
    halted = [POOL] * pool.is_paused + [name for name, queue in queues.items() if queue.is_paused]
    told = [f"{name} {queue.concurrency_limit or 'any number'} at once" for name, queue in queues.items()]
    return Finding(
        name="pool",
        works=not halted,
        detail=f"{POOL}: {', '.join(told)}",
        advice=f"resume {', '.join(halted)}, which is paused" if halted else "",
    )


def _workers(client: SyncPrefectClient) -> Finding:
    try:
        workers = client.read_workers_for_work_pool(POOL)
    except ObjectNotFound:
        workers = []
    online = [worker.name for worker in workers if worker.status is WorkerStatus.ONLINE]
    return Finding(
        name="worker",
        works=bool(online),
        detail=", ".join(online) or "none is online, so nothing runs",
        advice="" if online else "run `t2i worker`",
    )


def _deployed(client: SyncPrefectClient) -> list[tuple[str, bool]]:
    """Name the deployments of t2i, and say of each whether a schedule of it is on."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = client.read_deployments(deployment_filter=ours)
    return [(one.name, not one.paused and any(planned.active for planned in one.schedules)) for one in found]


def _deployments(client: SyncPrefectClient) -> Finding:
    number = len(_deployed(client))
    return Finding(name="deployments", works=bool(number), detail=str(number), advice="" if number else DEPLOY)


def _schedules(client: SyncPrefectClient) -> Finding:
    active = sorted(name for name, is_on in _deployed(client) if is_on)
    return Finding(
        name="schedules",
        works=bool(active),
        detail=f"on: {', '.join(active)}" if active else "all are off",
        advice="" if active else "if runs are to start by themselves: `prefect deployment schedule resume`",
        required=False,
    )


def _automations(client: SyncPrefectClient) -> Finding:
    wanted = [automation.name for automation in planned_automations()]
    known = {automation.name: automation.enabled for automation in client.read_automations()}
    missing, off = (
        [name for name in wanted if name not in known],
        [name for name in wanted if not known.get(name, True)],
    )
    advice = f"{DEPLOY}: without them what crashes stays down" if missing else "switch them on in the UI" if off else ""
    return Finding(
        name="automations",
        works=not missing and not off,
        detail=f"{len(wanted) - len(missing)} of {len(wanted)}{', off: ' + '; '.join(off) if off else ''}",
        advice=advice,
    )


def _notification(client: SyncPrefectClient) -> Finding:
    block = notification_block(client)
    return Finding(
        name="notification",
        works=block is not None,
        detail=f"by the block {TAG}" if block else "nobody is notified of crashes",
        advice="" if block else f"save a notification block named {TAG} in the UI, and {DEPLOY}",
        required=False,
    )


def _lost(client: SyncPrefectClient) -> Finding:
    ours = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])),
    )
    pending = [(run, run.state) for run in client.read_flow_runs(flow_run_filter=ours) if run.state]
    lost = [(run, pending_for(state)) for run, state in pending if was_lost(state)]
    told = [f"{run.name} is pending for {waited.total_seconds() / 60:.0f} minutes" for run, waited in lost]
    return Finding(
        name="runs",
        works=not lost,
        detail=f"{', '.join(told)}: the worker is gone" if lost else f"{len(pending)} about to start",
        advice="; ".join(f"`t2i resume {run.id}`" for run, _ in lost),
    )
