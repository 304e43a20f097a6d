"""How a finished step is told: in the terminal, in the state of a run, and in an artifact."""

from pathlib import Path

import pytest

from flows.commands.step import tell_result
from flows.outcome import completed
from t2i_core.manifest import StepRef
from tasks.runtime import describe_counts

WHOLE = StepRef(kind="dataset", digest="0" * 64, path=Path("ds"), counts={"seen": 100, "kept": 100, "rejected": 0})
IN_PART = WHOLE.with_changes(counts={"seen": 100, "kept": 60, "rejected": 40, "rejected:host_unreachable": 40})
ADVICE = "The same command with --retry host_unreachable asks for them again."


@pytest.mark.parametrize("hit", [False, True])
def test_a_dataset_that_lacks_much_is_not_called_done(hit: bool, capsys: pytest.CaptureFixture[str]) -> None:
    tell_result(IN_PART.with_changes(hit=hit))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"ds: {'already ' * hit}done in part (kept 60, ")
    assert second.startswith("not all of it: 40 of 100 sources (40.0 %)") and second.endswith(ADVICE)
    state = completed(None, {"ingest": IN_PART.with_changes(hit=hit)})
    assert state.name == "CompletedInPart"
    assert state.is_completed() and str(state.message).endswith(ADVICE)


def test_a_whole_dataset_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    tell_result(WHOLE)
    assert capsys.readouterr().out == "ds: done (kept 100, rejected 0, seen 100)\n"
    assert describe_counts(WHOLE) == "kept 100, rejected 0, seen 100"
    assert completed(None, {"ingest": WHOLE}).name == "Completed"
    assert completed(None, {"ingest": WHOLE.with_changes(hit=True)}).name == "Cached"
