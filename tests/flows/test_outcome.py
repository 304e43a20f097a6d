"""How a finished step is told: in the terminal, in the state of a run, and in an artifact."""

from pathlib import Path

import pytest

from flows.commands.step import tell_result
from flows.outcome import completed, outcome_table, outcome_tags
from t2i_core.folders.manifest import StepRef
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
    assert state.is_completed() and state.name == "Completed" and str(state.message).endswith(ADVICE)
    assert set(outcome_tags({"ingest": IN_PART.with_changes(hit=hit)})) == {"rejects", "in-part"} | (
        {"hit"} if hit else set()
    )


def test_a_whole_dataset_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    tell_result(WHOLE)
    assert capsys.readouterr().out == "ds: done (kept 100, rejected 0, seen 100)\n"
    assert describe_counts(WHOLE) == "kept 100, rejected 0, seen 100"
    state = completed(None, {"ingest": WHOLE})
    assert (state.name, state.message) == ("Completed", "ingest: kept 100, rejected 0, seen 100")
    assert list(outcome_tags({"ingest": WHOLE})) == []


def test_a_run_with_nothing_to_do_is_completed_and_says_so() -> None:
    refs = {"ingest": WHOLE.with_changes(hit=True), "caption": WHOLE.with_changes(kind="captions")}
    assert list(outcome_tags(refs)) == []
    hit = {name: ref.with_changes(hit=True) for name, ref in refs.items()}
    state = completed(None, hit)
    assert state.name == "Completed" and str(state.message).count("already there") == 2
    assert list(outcome_tags(hit)) == ["hit"]


def test_the_table_has_a_row_a_step() -> None:
    rows = outcome_table({"ingest": WHOLE, "again": WHOLE.with_changes(hit=True)}).splitlines()[4:]
    assert [row.split(" | ")[:2] for row in rows] == [["| ingest", "made"], ["| again", "already there"]]
