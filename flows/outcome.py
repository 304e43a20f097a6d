"""How a flow run ends: said on purpose, from what the steps counted."""

from collections.abc import Mapping
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Completed

from t2i_core.data.account.shortfall import is_in_part
from t2i_core.manifest import StepRef
from tasks.runtime import describe_counts

T = TypeVar("T")


def completed(result: T, refs: Mapping[str, StepRef]) -> State[T]:
    """End a flow well.

    The state is named `Cached` when nothing had to be done, `CompletedInPart` when a dataset lacks much that could
    still be had or was not even looked for, and `CompletedWithRejects` when it lacks some of what its source named;
    steps that cannot go on have raised before. The message says what is missing and how to go on, whatever the name.

    Args:
        result: what the flow returns.
        refs: the reference of each step.
    """
    name = None
    datasets = [ref for ref in refs.values() if ref.kind == "dataset"]
    if any(ref.counts.get("rejected", 0) for ref in datasets):
        name = "CompletedWithRejects"
    if all(ref.hit for ref in refs.values()):
        name = "Cached"
    if any(is_in_part(ref.counts) for ref in datasets):
        name = "CompletedInPart"
    message = "; ".join(f"{step}: {describe_counts(ref)}" for step, ref in refs.items())
    return Completed(name=name, message=message, data=result)
