"""Changing the champion: promote and roll back. Folders stay where they are; a record more says what holds."""

from collections.abc import Set
from pathlib import Path
from typing import Literal

from t2i_core.composition.config import parts_of
from t2i_core.errors import ConfigError
from t2i_core.promotion.registry import (
    Evidence,
    Promotion,
    current,
    entry_of,
    named_folder,
    now,
    write_promotion,
)


def promote(
    folder: Path,
    registry: Path,
    *,
    why: str,
    who: Literal["rule", "person"] = "person",
    evidence: Evidence | None = None,
) -> Promotion:
    """Make a finished run or system the champion; the champion so far becomes the previous one.

    Args:
        folder: of it, which draws.
        registry: folder in which the record is written.
        why: in a sentence.
        who: decided.
        evidence: what was compared.

    Returns:
        The record that holds now: the one before, where the folder is the champion already.

    Raises:
        ConfigError: it is no finished run or system, draws nothing, is not whole, or was compared with another
            champion than there is now.
        DataError: a manifest or record is damaged.
    """
    # Only here, so that who goes back, or asks for help, does not wait for PyTorch.
    from t2i_core.composition.fit import require_fit

    require_fit(parts_of(folder))
    entry, before = entry_of(folder, registry), current(registry)
    if before and before.champion.digest == entry.digest:
        return before
    if evidence and evidence.against != (before.champion.digest if before else ""):
        raise ConfigError(f"{folder} was compared with another champion than {registry} has now: compare them again.")
    promotion = Promotion(
        number=before.number + 1 if before else 1,
        action="promote",
        who=who,
        at=now(),
        why=why,
        champion=entry,
        previous=before.champion if before else None,
        evidence=evidence,
    )
    write_promotion(registry, promotion)
    return promotion


def withdraw(registry: Path, digests: Set[str], *, why: str) -> Promotion | None:
    """Take the champion out of use if it is one of some runs and systems, such as those of what must not be learned.

    Args:
        registry: folder of the records.
        digests: of what must not be in use.
        why: in a sentence.

    Returns:
        The record that holds now, in which the previous one is the champion; None where the champion may stay.

    Raises:
        ConfigError: there is no previous one that may take its place.
        DataError: a manifest or record is damaged.
    """
    before = current(registry)
    if before is None or before.champion.digest not in digests:
        return None
    if before.previous is None or before.previous.digest in digests:
        raise ConfigError(
            f"the champion of {registry} must not be in use ({why}), and there is no previous one to take its place: "
            "train another and promote it."
        )
    return rollback(registry, why=why, who="rule")


def rollback(registry: Path, *, why: str, who: Literal["rule", "person"] = "person") -> Promotion:
    """Make the previous one the champion again; the two change places.

    Args:
        registry: folder of the records.
        why: in a sentence.
        who: decided.

    Raises:
        ConfigError: there is no previous one, or its folder is not what was promoted any more.
        DataError: a manifest or record is damaged.
    """
    named_folder(registry, "previous")
    before = current(registry)
    if before is None or before.previous is None:
        raise ConfigError(f"there is no previous champion in {registry} to go back to.")
    promotion = before.with_changes(
        number=before.number + 1,
        action="rollback",
        who=who,
        at=now(),
        why=why,
        champion=before.previous,
        previous=before.champion,
        evidence=None,
    )
    write_promotion(registry, promotion)
    return promotion
