"""Copies are found, and told from mere likeness by held-out pictures."""

import numpy as np

from t2i_core.evaluation.judges.neighbours import find_neighbours, recall_at_1

RNG = np.random.default_rng(0)


def pictures(num):
    return RNG.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)


def test_copies_are_nearer_than_held_out_pictures():
    train, held_out = pictures(50), pictures(100)
    generated = np.concatenate([train[[7, 3]], pictures(8)])
    found = find_neighbours(generated, [held_out], [train[:20], train[20:]])
    assert found.nearest[:2].tolist() == [7, 3]
    assert found.generated[:2].tolist() == [0, 0]
    assert 2 <= found.num_closer <= 3
    assert found.as_dict()["num_train"] == 50


def test_distances_are_in_grey_levels():
    black, gray = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32, 3), 100, np.uint8)
    found = find_neighbours(gray, [gray], [black])
    assert found.generated.tolist() == [100] and found.threshold == 100


def test_recall_asks_for_the_prompts_own_picture():
    train = pictures(20)
    noisy = np.clip(train[:4].astype(int) + RNG.integers(-9, 10, train[:4].shape), 0, 255).astype(np.uint8)
    found = find_neighbours(noisy, [train], [train])
    assert recall_at_1(noisy, train[:4], found).tolist() == [True] * 4
    assert recall_at_1(noisy, train[4:8], found).tolist() == [False] * 4
