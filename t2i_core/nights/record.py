"""What a night found and decided, as `night.json` in its folder; it stays when the rest of the folder goes."""

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from t2i_core.config import Config
from t2i_core.door import read_file
from t2i_core.errors import DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.promotion.registry import Entry, Evidence, Interval

NIGHTS_DIR, RECORD_NAME = "nights", "night.json"
MAX_RECORD_BYTES = 1_000_000
_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:-([0-9]+))?")

# Under way; the first champion; promoted by the rule; left; waits for a person; who said yes, or no.
Outcome = Literal["", "first", "promote", "leave", "ask", "approved", "declined"]


class Night(Config):
    """One night that had something to do.

    Attributes:
        name: its date; a second one of the same date has a number behind it.
        subject: digest of the state of the data and of the job.
        started: when, in UTC.
        finished: likewise, "" until it was decided.
        samples: kept by the captions.
        added: of these, that the night before did not have; None where that cannot be said any more.
        removed: that only the night before had.
        start: what the challenger's training started from, in words.
        challenger: the run or system of this night; its path starts at the workspace.
        figure: what was judged, "" where nothing could be.
        score: of the challenger.
        evidence: what was compared, None where there was no champion yet or nothing could be compared.
        outcome: what came of it.
        why: in a sentence.
        asked_by: who waits for an answer, such as a flow run.
        seconds: wall time by part.
        images: that were trained on.
        quiet: how often there was nothing new after it.
        looked: when that was said last.
    """

    name: str
    subject: str
    started: str
    finished: str = ""
    samples: int = 0
    added: int | None = None
    removed: int | None = None
    start: str = ""
    challenger: Entry | None = None
    figure: str = ""
    score: Interval | None = None
    evidence: Evidence | None = None
    outcome: Outcome = ""
    why: str = ""
    asked_by: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)
    images: int = 0
    quiet: int = 0
    looked: str = ""

    def with_seconds(self, part: str, seconds: float) -> "Night":
        """Add the time that a part took."""
        return self.with_changes(seconds=self.seconds | {part: round(self.seconds.get(part, 0) + seconds, 2)})


def night_folder(workspace: Path, name: str) -> Path:
    """Give the folder of a night."""
    return workspace / NIGHTS_DIR / name


def write_night(workspace: Path, night: Night) -> Night:
    """Write a record down, and give it back."""
    text = json.dumps(night.model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_atomically(night_folder(workspace, night.name) / RECORD_NAME, text.encode() + b"\n")
    return night


def read_nights(workspace: Path) -> list[Night]:
    """Read the records of all nights, the first one first.

    Raises:
        DataError: one is damaged.
    """
    folder = workspace / NIGHTS_DIR
    names = [path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return [_read(folder / name / RECORD_NAME) for name in sorted(names, key=_place)]


def _read(path: Path) -> Night:
    try:
        return Night.model_validate_json(read_file(path, MAX_RECORD_BYTES, levels=2))
    except (OSError, ValueError) as err:
        raise DataError(f"{path} is damaged ({err!s:.300}). Delete its folder: that night is made again.") from err


def _place(name: str) -> tuple[str, int]:
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2] or 1)) if found else (name, 0)


def new_name(today: str, nights: list[Night]) -> str:
    """Give a night a name: its date, with a number behind it where that is taken."""
    taken = {night.name for night in nights}
    names = (today if number == 1 else f"{today}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)
