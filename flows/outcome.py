"""How a flow run ends: said on purpose, from what the steps counted.

A run that ends well is `Completed`, by type and by name, so that filters, automations and whoever waits for it find it.
What else there is to say stands in the message, in tags of the run, and in its artifact `outcome`.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import TypeVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed

from t2i_core.data.account.shortfall import is_in_part
from t2i_core.folders.manifest import StepRef
from tasks.artifacts import markdown_rows, publish_markdown
from tasks.runtime import describe_counts

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Of a run for which there was nothing to do; whose dataset lacks some of what its source named; and one that lacks
# much that could still be had, or was not even looked for.
HIT, REJECTS, IN_PART = "hit", "rejects", "in-part"


def completed(result: T, refs: Mapping[str, StepRef]) -> State[T]:
    """End a flow well; steps that cannot go on have raised before.

    Args:
        result: what the flow returns.
        refs: the reference of each step.
    """
    tags = list(outcome_tags(refs))
    if context := FlowRunContext.get():
        _tag(context, tags)
        publish_markdown("outcome", lambda: outcome_table(refs), "What each step of the run came to")
    return Completed(message=message(refs), data=result)


def outcome_tags(refs: Mapping[str, StepRef]) -> Iterator[str]:
    """Say in single words what a run came to, beside being completed."""
    datasets = [ref for ref in refs.values() if ref.kind == "dataset"]
    if all(ref.hit for ref in refs.values()):
        yield HIT
    if any(ref.counts.get("rejected", 0) for ref in datasets):
        yield REJECTS
    if any(is_in_part(ref.counts) for ref in datasets):
        yield IN_PART


def message(refs: Mapping[str, StepRef]) -> str:
    """Say in one line what each step came to, what is missing, and how to go on."""
    steps = (f"{step}: {'already there, ' if ref.hit else ''}{describe_counts(ref)}" for step, ref in refs.items())
    return "; ".join(steps)


def outcome_table(refs: Mapping[str, StepRef]) -> str:
    """Write the same as a table."""
    rows = [
        (step, "already there" if ref.hit else "made", ref.digest[:12], describe_counts(ref), ref.path)
        for step, ref in refs.items()
    ]
    return "# Outcome\n\n" + markdown_rows(rows, head=("step", "", "digest", "counts", "folder"))


def _tag(context: FlowRunContext, tags: list[str]) -> None:
    """Tag the flow run; a run that goes on after a crash may have tags of its first end."""
    run = context.flow_run
    if run is None:
        return
    kept = [tag for tag in run.tags if tag not in (HIT, REJECTS, IN_PART)]
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=[*kept, *tags])
    except Exception as err:
        logger.warning("no tags %s: %s", ", ".join(tags), err)
