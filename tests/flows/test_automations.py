"""Automations are for runs of t2i alone, wait longer than heartbeats take, and start a run again so many times."""

from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Suspended

from flows.operations.automations import (
    BACK_OFF_SECONDS,
    CRASHED,
    HEARTBEAT,
    QUICK_HEARTBEAT_SECONDS,
    planned_automations,
)

PLANNED = planned_automations(uuid4())
PREFECTS_HEARTBEAT_SECONDS = type(get_current_settings().flows).model_fields["heartbeat_frequency"].default


def trigger(automation: AutomationCore) -> EventTrigger:
    assert isinstance(automation.trigger, EventTrigger)
    return automation.trigger


def test_they_are_for_runs_with_our_tags_alone() -> None:
    tags = [trigger(automation).match_related.root for automation in PLANNED]
    assert {tag["prefect.resource.id"] for tag in tags} == {"prefect.tag.t2i", "prefect.tag.heartbeat-30"}
    assert all(tag["prefect.resource.role"] == "tag" for tag in tags)


@pytest.mark.parametrize(("tag", "heartbeat"), [("heartbeat-30", QUICK_HEARTBEAT_SECONDS), ("t2i", 180)])
def test_a_run_is_given_up_after_three_heartbeats_at_the_earliest(tag: str, heartbeat: int) -> None:
    ends = [trigger(automation) for automation in PLANNED if new_state(automation) == StateType.CRASHED]
    (found,) = [end for end in ends if end.match_related.root["prefect.resource.id"] == f"prefect.tag.{tag}"]
    assert found.within.total_seconds() >= 3 * heartbeat
    # The first may never come.
    assert found.after == {HEARTBEAT, f"prefect.flow-run.{Running().name}"}
    assert PREFECTS_HEARTBEAT_SECONDS == 180


def test_a_crashed_run_starts_again_as_often_as_there_are_waits_and_they_grow() -> None:
    again = [found for found in starts() if found.after == {CRASHED}]
    counts = [found.match.root["prefect.run-count"] for found in again]
    assert counts == [str(number) for number in range(1, len(BACK_OFF_SECONDS) + 1)]
    waits = [found.within.total_seconds() for found in again]
    assert waits == sorted(waits) and waits[0] < waits[-1]


def test_a_run_that_waits_for_a_person_or_has_ended_is_not_given_up() -> None:
    ends = [trigger(automation) for automation in PLANNED if new_state(automation) == StateType.CRASHED]
    states = [Suspended().name, Completed().name, Failed().name, Cancelled().name, Crashed().name]
    assert len(ends) == 2
    assert all(f"prefect.flow-run.{state}" in end.expect for end in ends for state in states)


def test_a_run_starts_again_that_was_only_ever_pending_and_no_other() -> None:
    (found,) = [found for found in starts() if found.after != {CRASHED}]
    assert found.after == {f"prefect.flow-run.{Pending().name}"}
    assert found.expect == {"prefect.flow-run.*"}
    # Half a minute is what a start takes on a busy machine.
    assert found.within.total_seconds() > 10 * 30


def starts() -> list[EventTrigger]:
    return [trigger(automation) for automation in PLANNED if new_state(automation) == StateType.SCHEDULED]


def test_nobody_is_told_without_a_block() -> None:
    assert len(planned_automations()) == len(PLANNED) - 1


def new_state(automation: AutomationCore) -> StateType | None:
    return getattr(automation.actions[0], "state", None)
