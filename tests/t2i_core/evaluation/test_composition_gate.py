"""The gate lets the checker through, and would stop a worse one."""

import random
from dataclasses import replace

import pytest

from t2i_core.evaluation.judges.composition_gate import check_checker, wrong_scenes
from t2i_core.evaluation.judges.statistics import wilson
from t2i_core.samples.scenes import SHAPES, make_scene


@pytest.fixture(scope="module")
def gate():
    return check_checker(num_per_task=15, seed=5)


def test_the_checker_passes_its_gate(gate):
    assert gate.passed
    assert all(e.value == 1 for e in gate.sensitivity.values())
    assert set(gate.sensitivity) == {"single", "pair", "position", "counting"}
    assert all(e.value == 0 for e in gate.false_pass.values())
    assert {"colors swapped", "relation mirrored", "object added", "object removed"} <= set(gate.false_pass)
    assert not any(gate.junk_accepted.values())


def test_soft_and_noisy_pictures_pass_less_often_never_more(gate):
    ladder = gate.ladder
    assert ladder["blur 0.6 px"].value >= 0.95
    assert ladder["noise 32"].value < ladder["noise 16"].value <= ladder["noise 8"].value + 0.05


@pytest.mark.parametrize(
    "flaw",
    [
        {"sensitivity": {"single": wilson(97, 100)}},
        {"false_pass": {"colors swapped": wilson(2, 100)}},
        {"junk_accepted": {"clouds": 1}},
    ],
)
def test_a_worse_checker_does_not_pass(gate, flaw):
    assert not replace(gate, **flaw).passed


def test_every_wrong_scene_differs_from_the_right_one():
    for index in range(200):
        scene = make_scene(0, index)
        for name, wrong in wrong_scenes(scene, random.Random(index), SHAPES):
            assert wrong != scene, name
