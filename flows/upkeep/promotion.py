"""The promote and rollback flows: a person says which run or system is in use."""

from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.job import job
from t2i_core.promotion import step as core
from t2i_core.promotion.registry import DEFAULT_REGISTRY, Promotion


@job("promote", "promote {run_dir}")
def promote(run_dir: Path, registry: Path = DEFAULT_REGISTRY, why: str = "promoted by hand") -> State[Promotion]:
    """Make a finished run or system the champion.

    Args:
        run_dir: The finished run or system.
        registry: Folder that the record is written in, such as the workspace of a nightly job.
        why: The reason, for the history.
    """
    return _ended(core.promote(run_dir, registry, why=why), registry)


@job("rollback", "rollback of {registry}")
def rollback(registry: Path = DEFAULT_REGISTRY, why: str = "rolled back by hand") -> State[Promotion]:
    """Make the previous champion the champion again; the two change places.

    Args:
        registry: Folder that the records are in.
        why: The reason, for the history.
    """
    return _ended(core.rollback(registry, why=why), registry)


def _ended(promotion: Promotion, registry: Path) -> State[Promotion]:
    message = f"{registry / promotion.champion.path} is the champion of {registry}: {promotion.why}"
    return Completed(message=message, data=promotion)
