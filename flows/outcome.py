"""How a flow run ends: said on purpose, from what the steps counted."""

from collections.abc import Mapping
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Completed

from t2i_core.manifest import StepRef
from tasks.runtime import describe_counts

T = TypeVar("T")


def completed(result: T, refs: Mapping[str, StepRef]) -> State[T]:
    """End a flow well.

    The state is named `Cached` when nothing had to be done, and `CompletedWithRejects` when a dataset lacks some of
    what its source named; steps that cannot go on have raised before.

    Args:
        result: what the flow returns.
        refs: the reference of each step.
    """
    name = None
    if any(ref.kind == "dataset" and ref.counts.get("rejected", 0) for ref in refs.values()):
        name = "CompletedWithRejects"
    if all(ref.hit for ref in refs.values()):
        name = "Cached"
    message = "; ".join(f"{step}: {describe_counts(ref)}" for step, ref in refs.items())
    return Completed(name=name, message=message, data=result)
