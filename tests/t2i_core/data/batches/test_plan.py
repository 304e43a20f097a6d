from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.batches import order
from t2i_core.data.batches.order import Order
from t2i_core.data.batches.plan import Mix, Plan, Weighted
from t2i_core.data.batches.shapes import Shapes

COUNTS = [(7, 3, 0), (20, 5, 1), (13, 0, 0), (40, 11, 2)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(order, "MIN_BLOCK_SAMPLES", 20)
    monkeypatch.setattr(order, "MIN_BLOCK_SHARDS", 2)


def samples(plan: Plan, position: int, count: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = [(-1, -1)] * count
    for stretch in plan.find(position, count):
        rows = plan.orders[stretch.lane].rows(stretch.first, len(stretch.places))
        for place, row in zip(stretch.places.tolist(), rows.tolist(), strict=True):
            found[place] = (stretch.lane, row)
    return found


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


WEIGHTS = st.lists(st.integers(1, 1000).map(lambda number: Fraction(number, 8)), min_size=2, max_size=4)


@given(WEIGHTS, st.integers(0, 10**9))
def test_every_kind_has_had_its_share_at_every_moment(weights, position):
    mix, total = Mix(weights), sum(weights)
    kinds, before = mix.at(position, 50)

    assert sum(before) == position
    for number in range(51):
        counts = [count + (kinds[:number] == kind).sum() for kind, count in enumerate(before)]
        assert counts == mix.before(position + number)
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - (position + number) * weight / total) < 1


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 10**6), st.integers(1, 10**6))
def test_of_two_kinds_any_stretch_has_its_share_within_one(one, other, first, length):
    mix = Mix([Fraction(one), Fraction(other)])
    counts = [last - before for before, last in zip(mix.before(first), mix.before(first + length), strict=True)]

    assert abs(counts[0] - length * Fraction(one, one + other)) <= 1


def test_many_kinds_are_as_exact_as_is_said():
    weights = [Fraction(number) for number in (1, 40, 2, 9, 1, 1, 30, 0, 3, 5, 7, 1)]
    mix = Mix(weights)
    for position in range(0, 20_000, 7):
        counts = list(zip(mix.before(position), weights, strict=True))
        # Twelve kinds are halved four times.
        assert all(abs(count - position * weight / 100) < 2 for count, weight in counts)


def test_each_weighted_dataset_goes_through_epochs_of_its_own():
    counts, weighted = [(12,), (8,), (30,), (30,)], Weighted([0, 0, 1, 1], [Fraction(3), Fraction(1)])
    seen = samples(Plan(counts, seed=2, group=1, weighted=weighted), 0, 240)
    rows = {lane: [row for each, row in seen if each == lane] for lane in (0, 1)}

    assert (len(rows[0]), len(rows[1])) == (180, 60)
    assert all(sorted(rows[0][first : first + 20]) == list(range(20)) for first in range(0, 180, 20))
    assert rows[0][:20] != rows[0][20:40] and sorted(rows[1]) == list(range(60))
    again = Plan(counts, seed=2, group=1, weighted=weighted)
    assert [sample for first in range(0, 240, 7) for sample in samples(again, first, min(7, 240 - first))] == seen


def test_a_weighted_dataset_has_no_shard_of_another_in_its_blocks():
    plan = Plan(
        [(12,), (8,), (30,), (30,)], seed=2, group=1, weighted=Weighted([0, 1, 0, 1], [Fraction(3), Fraction(1)])
    )

    assert {shard for block in plan.orders[0].blocks(0, 200) for shard in block.shards} == {0, 2}
    assert {shard for block in plan.orders[1].blocks(0, 200) for shard in block.shards} == {1, 3}


def test_weights_and_shapes_go_together():
    # Of the first dataset all samples have the first shape, of the second one in four: 3 + 1/4 of 4 in all.
    plan = Plan([(40, 0), (10, 30)], 2, group=4, weighted=Weighted([0, 1], [Fraction(3), Fraction(1)]))
    seen = [samples(plan, 4 * number, 4) for number in range(2000)]
    lanes = Counter(lane for group in seen for lane, _ in group)

    assert all(len({plan.bucket_of(lane) for lane, _ in group}) == 1 for group in seen)
    for lane, share in {0: 3 / 4, 1: 1 / 16, 3: 3 / 16}.items():
        assert abs(lanes[lane] - 8000 * share) < 80 and lanes[2] == 0


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
