from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.batches import order
from t2i_core.data.batches.order import Order
from t2i_core.data.batches.plan import Plan
from t2i_core.data.batches.shapes import Shapes

COUNTS = [(7, 3, 0), (20, 5, 1), (13, 0, 0), (40, 11, 2)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(order, "MIN_BLOCK_SAMPLES", 20)
    monkeypatch.setattr(order, "MIN_BLOCK_SHARDS", 2)


def samples(plan: Plan, position: int, count: int) -> list[tuple[int, int]]:
    bucket, first = plan.find(position, count)
    return [(bucket, row) for row in plan.orders[bucket].rows(first, count).tolist()]


def test_one_bucket_is_its_order():
    plan = Plan([(7,), (20,), (13,)], seed=2, group=1)

    assert samples(plan, 5, 50) == [(0, row) for row in Order([7, 20, 13], 2).rows(5, 50).tolist()]


def test_a_group_has_one_shape_and_all_samples_come_equally_often():
    plan = Plan(COUNTS, seed=2, group=4)
    # After 4 rounds every bucket has come a whole number of times, whatever its size: 4 x 102 samples.
    seen = Counter(sample for group in range(102) for sample in samples(plan, 4 * group, 4))

    assert len(seen) == 102 and set(seen.values()) == {4}
    assert Counter(bucket for bucket, _ in seen) == {0: 80, 1: 19, 2: 3}


@given(st.integers(0, 500), st.sampled_from([2, 4]))
def test_a_rank_gets_its_part_of_a_group_wherever_reading_starts(group, ranks):
    whole = samples(Plan(COUNTS, seed=2, group=8), 8 * group, 8)
    share = 8 // ranks
    parts = [samples(Plan(COUNTS, seed=2, group=8), 8 * group + share * rank, share) for rank in range(ranks)]

    assert [sample for part in parts for sample in part] == whole


def test_buckets_go_through_the_same_blocks_of_shards():
    plan = Plan(COUNTS, seed=2, group=4)

    # The rarest bucket has few samples, and yet no larger blocks than the others.
    assert {tuple(len(block.shards) for block in each.blocks(0, 1)[:1]) for each in plan.orders} == {(2,)}


def test_positions_of_two_groups_are_refused():
    with pytest.raises(ValueError, match="not all of one group of 4"):
        Plan(COUNTS, seed=2, group=4).find(2, 4)


def test_shapes_have_as_many_pixels_as_the_square_and_high_is_like_wide():
    shapes = Shapes(side=256, step=32, max_ratio=2)
    every = [shapes.shape(bucket) for bucket in range(shapes.num)]

    assert (256, 256) in every and {(width, height) for height, width in every} == set(every)
    for height, width in every:
        assert abs(height * width / 256**2 - 1) < 0.1 and max(height, width) <= 2 * min(height, width)
    assert all(side % 32 == 0 for shape in every for side in shape)
    assert shapes.shape(shapes.bucket_of(1000, 1000)) == (256, 256)
    assert shapes.shape(shapes.bucket_of(3000, 1000)) == max(every, key=lambda shape: shape[1] / shape[0])
    assert shapes.shape(shapes.bucket_of(0, 0)) == (256, 256)


def test_squares_are_one_bucket():
    assert Shapes().num == Shapes(side=64).num == 1
    assert Shapes(side=64).shape(0) == (64, 64)
    with pytest.raises(ValueError, match="step needs side"):
        Shapes(step=8)
