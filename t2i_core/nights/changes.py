"""What a night's data has that the night before had not, and the other way round."""

from pathlib import Path

from t2i_core.data.batches.captions import SPLITS, read_captions
from t2i_core.errors import DataError


def changed_samples(before: Path | None, now: Path) -> tuple[int, int] | None:
    """Count the samples that were added, and those that went.

    Args:
        before: captions folder of the night before, None for none.
        now: of this night.

    Returns:
        Both numbers; None where the captions of the night before are gone.

    Raises:
        DataError: this night's are damaged.
    """
    new = _uids(now)
    try:
        old = _uids(before) if before else set()
    except DataError:
        return None
    return len(new - old), len(old - new)


def _uids(captions_dir: Path) -> set[str]:
    return {row["uid"] for split in SPLITS for row in read_captions(captions_dir, split, ["uid"])}
