"""On pictures that were judged by looking at each, the checker passes what is right and hardly ever what is wrong."""

from importlib.resources import as_file

import numpy as np
import pytest

from t2i_core.evaluation.judges.agreement import (
    FALSE_PASS_BAD,
    SENSITIVITY_BAD,
    SHEET,
    Agreement,
    Compared,
    compare_with_eye,
    load_sheet,
)
from t2i_core.evaluation.judges.verdict import Verdict
from t2i_core.evaluation.metrics.checker import eye_gate


@pytest.fixture(scope="module")
def agreement():
    return compare_with_eye()


def test_the_sheet_holds_a_hundred_pictures_of_all_kinds():
    sheet, pictures = load_sheet()
    assert len(sheet.pictures) == len(pictures) == 100
    assert all(p.shape == (64, 64, 3) for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 100
    num_right = sum(p.right for p in sheet.pictures)
    assert 40 <= num_right <= 60
    assert {p.scene.task for p in sheet.pictures} == {"single", "pair", "position", "counting"}
    assert all(bool(p.wrong) != p.right for p in sheet.pictures)
    assert {"shape", "color", "count", "nothing_else"} <= {p.wrong for p in sheet.pictures}
    with as_file(SHEET) as folder:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000


def test_the_checker_agrees_with_the_eye(agreement):
    # The first checker passed 43 of the 57 right ones and 4 of the 43 wrong ones, and could not tell in 44.
    assert agreement.sensitivity.num == 57 and agreement.sensitivity.value >= 0.85
    assert agreement.false_pass.num == 43 and agreement.false_pass.value <= 0.05
    assert agreement.unsure.num == 100 and agreement.unsure.value <= 0.2
    assert agreement.false_fail.value <= 0.05
    # Whatever passes wrongly is a close call, no clear mistake.
    assert all(c.judged.doubtful for c in agreement.disagreements if c.verdict.strict)


def test_figures_are_counts_over_the_sheet(agreement):
    wrong = [c for c in agreement.compared if not c.judged.right]
    assert agreement.false_pass.value == pytest.approx(sum(c.verdict.strict for c in wrong) / len(wrong))
    assert [c.agrees for c in agreement.disagreements] == [False] * len(agreement.disagreements)
    data = agreement.as_dict()
    assert data["num_right"] == 57 and data["sensitivity"] == agreement.sensitivity


def opinions(num_missed, num_slipped):
    """Give an agreement of a checker that misses and slips so often in 50 right and 50 wrong pictures."""
    judged = load_sheet()[0].pictures[0]
    blank = np.zeros((64, 64, 3), dtype=np.uint8)

    def one(right, passes):
        verdict = Verdict({}, passes, passes, False, "")
        return Compared(blank, judged.with_changes(right=right), verdict)

    right = [one(True, i >= num_missed) for i in range(50)]
    return Agreement("x", "", "", (*right, *(one(False, i < num_slipped) for i in range(50))))


@pytest.mark.parametrize(
    ("num_missed", "num_slipped", "level"),
    [(5, 2, "good"), (11, 0, "warn"), (0, 3, "warn"), (21, 0, "bad"), (0, 6, "bad")],
)
def test_the_color_of_the_gate_depends_on_what_the_checker_misses_and_lets_pass(num_missed, num_slipped, level):
    assert (SENSITIVITY_BAD, FALSE_PASS_BAD) == (0.6, 0.1)
    assert eye_gate(opinions(num_missed, num_slipped)).level == level
