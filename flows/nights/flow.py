"""The nightly flow: what is new is learned from, and what is better takes the champion's place."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from prefect import suspend_flow_run
from prefect.client.schemas.objects import State
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Completed
from pydantic import Field

from flows.config import PipelineRequest
from flows.forms import Grouped
from flows.job import job
from flows.nights.config import NIGHTLY_GROUPS, NightlyConfig
from flows.nights.recipe import NOBODY, Answer, Asker, describe, run_nightly
from t2i_core.nights.page import history_as_text
from t2i_core.nights.record import Night
from t2i_core.promotion.registry import DEFAULT_REGISTRY
from tasks.artifacts import publish_markdown
from tasks.steps import TaskSteps

DEFAULTS = PipelineRequest()
CONFIG = NightlyConfig()


@job("nightly", "nightly in {output_dir}")
def nightly(
    output_dir: Path = DEFAULT_REGISTRY,
    request: PipelineRequest = DEFAULTS,
    config: Annotated[NightlyConfig, Grouped(NIGHTLY_GROUPS)] = CONFIG,
) -> State[Night]:
    """Look at the source again, learn what is new, compare with the champion, and promote what is better.

    Args:
        output_dir: The workspace, which is the registry of its champion too. The job owns it.
        request: What to do; the first run or system that is judged is the challenger.
        config: How it is trained, when it takes the champion's place, and what stays on disk.
    """
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    night = run_nightly(TaskSteps(), request.resolve(), config, output_dir, today, asker())
    publish_markdown("nightly-history", lambda: history_as_text(output_dir), f"All nights of {output_dir}")
    return Completed(message=describe(night, output_dir), data=night)


class Approval(RunInput):
    """Whether the challenger takes the champion's place."""

    promote: bool = Field(False, title="Promote", description="Yes: it becomes the champion. No: nothing changes.")
    why: str = Field("", title="Why", description="The reason, for the history.")


def asker() -> Asker:
    """Ask in the UI where a worker can take the run up again; elsewhere nobody is asked."""
    return Asker(str(flow_run.id), _ask) if deployment.id else NOBODY


def _ask(night: Night) -> Answer:
    """Suspend the run, which frees its worker, until a person has answered; it comes here again then."""
    form = Approval.with_initial_data(description=f"Night {night.name}: {night.why}.", promote=False)
    said = suspend_flow_run(wait_for_input=form, key=f"night-{night.name}")
    return Answer(yes=said.promote, why=said.why)
