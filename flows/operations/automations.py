"""What the server does by itself about runs of t2i: gives up the dead, starts them again, and says so.

All of it is for runs that carry the tag of the deployments in prefect.yaml; other runs of a server are none of ours.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore

TAG = "t2i"
# Of deployments whose job variables set this heartbeat; Prefect's own is 180 s.
QUICK_TAG, QUICK_HEARTBEAT_SECONDS = "heartbeat-30", 30
# Three heartbeats without a sign of life, by the tag that says how often they come.
GIVE_UP_SECONDS = {QUICK_TAG: 90, TAG: 600}
# How long after each crash a run starts again; it stays down after as many.
BACK_OFF_SECONDS = (10, 60, 300)
# From a worker's word that it takes a run to the run's own first word; some hosts wait long for a container.
PENDING_SECONDS = 600
NOTIFICATION_BLOCK = "t2i"

RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
HEARTBEAT = "prefect.flow-run.heartbeat"
CRASHED, FAILED = "prefect.flow-run.Crashed", "prefect.flow-run.Failed"
ENDED = {CRASHED, FAILED, "prefect.flow-run.Completed", "prefect.flow-run.Cancelled"}
# What waits for a person has no process, and is well.
SUSPENDED = "prefect.flow-run.Suspended"
PENDING, RUNNING = "prefect.flow-run.Pending", "prefect.flow-run.Running"
ANYTHING = "prefect.flow-run.*"
# How a run that was down goes on: by this or another automation, or by hand.
GOES_ON = {PENDING, RUNNING} | {f"prefect.flow-run.{name}" for name in ("Scheduled", "AwaitingRetry", "Retrying")}


def planned_automations(notification_block: UUID | None = None) -> list[AutomationCore]:
    """List all of them.

    Args:
        notification_block: the block that tells somebody; None for none.
    """
    ends = [give_up(tag, seconds) for tag, seconds in GIVE_UP_SECONDS.items()]
    starts = [run_again(number, seconds) for number, seconds in enumerate(BACK_OFF_SECONDS, start=1)]
    starts.append(start_again(PENDING_SECONDS))
    return [*ends, *starts, *([notify(notification_block)] if notification_block else [])]


def give_up(tag: str, seconds: int) -> AutomationCore:
    """Mark a run as crashed when its heartbeats end without a final state, so that it frees its slot.

    Without it, a run whose machine lost power stays `Running` for ever, and its queue's slot with it.
    """
    return AutomationCore(
        name=f"t2i: give up what sent no heartbeat for {seconds} s",
        description=f"Crashes runs tagged {tag} whose process is gone.",
        # A process can die before its first heartbeat. Nothing else ends the wait: after a Cancelling or AwaitingRetry
        # it can die as well.
        trigger=_silence({RUNNING, HEARTBEAT}, {HEARTBEAT, SUSPENDED, *ENDED}, tag, seconds),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"No heartbeat for {seconds} s: its process is gone.",
            )
        ],
    )


def run_again(number: int, seconds: int) -> AutomationCore:
    """Schedule a crashed run again, under the same id, when it is still down after a while.

    Prefect's own retries are for failures, and never for crashes. The wait lets a worker that survived say first how
    the run ended: a late word would end the new try.

    Args:
        number: of the crash, from 1; the server counts a run's starts.
        seconds: to wait.
    """
    return AutomationCore(
        name=f"t2i: run again what crashed ({number} of {len(BACK_OFF_SECONDS)})",
        description=f"Starts a crashed run again after {seconds} s; folders go on where they stopped.",
        trigger=_silence({CRASHED}, GOES_ON, TAG, seconds, {"prefect.run-count": str(number)}),
        actions=[_schedule(f"Crashed; started again after {seconds} s ({number} of {len(BACK_OFF_SECONDS)}).")],
    )


def start_again(seconds: int) -> AutomationCore:
    """Schedule a run again that a worker took and then did not start, for which it was never known to run.

    Its worker died in between, and nobody else would touch the run, or have the slot that it holds.
    """
    return AutomationCore(
        name=f"t2i: start what was pending for {seconds} s",
        description="Schedules runs again whose worker is gone before it started them.",
        trigger=_silence({PENDING}, {ANYTHING}, TAG, seconds),
        actions=[_schedule(f"Pending for {seconds} s: the worker that took it is gone.")],
    )


def _silence(
    after: set[str], expect: set[str], tag: str, seconds: int, match: Mapping[str, str] = MappingProxyType({})
) -> EventTrigger:
    """Act on a run of which nothing that was expected is heard for a while.

    Args:
        after: events that the wait begins with.
        expect: events that end it.
        tag: of the runs.
        seconds: to wait.
        match: what else the events say of a run.
    """
    return EventTrigger(
        posture=Posture.Proactive,
        after=after,
        expect=expect,
        match={**RUNS, **match},
        match_related=_tagged(tag),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(seconds=seconds),
    )


def _schedule(message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=message)


def notify(block: UUID) -> AutomationCore:
    """Say by a notification block that a run crashed or failed."""
    return AutomationCore(
        name="t2i: say what crashed or failed",
        description="Sends each crash and failure to the notification block named t2i.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={CRASHED, FAILED},
            match=RUNS,
            match_related=_tagged(TAG),
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="t2i: {{ flow_run.name }} {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}\nBy hand: t2i resume {{ flow_run.id }}",
            )
        ],
    )


def set_automations(client: SyncPrefectClient, planned: Sequence[AutomationCore]) -> None:
    """Make the automations, or bring them up to date; one that was switched off stays off."""
    for automation in planned:
        known = client.read_automations_by_name(automation.name)
        if known:
            client.update_automation(known[0].id, automation.model_copy(update={"enabled": known[0].enabled}))
        else:
            client.create_automation(automation)
    _remove_old(client, {automation.name for automation in planned})


def _remove_old(client: SyncPrefectClient, current: set[str]) -> None:
    """Remove automations that an earlier version of this file made."""
    for automation in client.read_automations():
        if automation.name.startswith("t2i: ") and automation.name not in current:
            client.delete_automation(automation.id)


def notification_block(client: SyncPrefectClient) -> UUID | None:
    """Find the block that tells somebody, of whatever kind: the one named t2i that can notify."""
    for document in client.read_block_documents():
        schema = document.block_schema
        if document.name == NOTIFICATION_BLOCK and schema and "notify" in schema.capabilities:
            return document.id
    return None


def _tagged(tag: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
