import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.config import digest_of
from t2i_core.data.batches import order
from t2i_core.data.batches.order import Order


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(order, "MIN_BLOCK_SAMPLES", 20)
    monkeypatch.setattr(order, "MIN_BLOCK_SHARDS", 2)


def test_every_epoch_shows_every_sample_once_in_another_order():
    shuffled = Order([7, 30, 1, 12, 9, 25], seed=7)
    epochs = [shuffled.rows(84 * epoch, 84).tolist() for epoch in range(3)]

    assert [sorted(epoch) for epoch in epochs] == [list(range(84))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert Order([7, 30, 1, 12, 9, 25], seed=8).rows(0, 84).tolist() != epochs[0]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 300), st.integers(1, 100))
def test_any_part_of_the_order_is_the_same_wherever_reading_starts(counts, position, count):
    whole = Order(counts, seed=3).rows(0, position + count)

    assert Order(counts, seed=3).rows(position, count).tolist() == whole[position:].tolist()


def test_a_sample_moves_within_its_block_and_blocks_hold_whole_shards():
    counts = [7, 30, 1, 12, 9, 25]
    shuffled = Order(counts, seed=1)
    position = 0
    while position < 84:
        block = shuffled.blocks(position, 1)[0]
        rows = shuffled.rows(position, block.size)
        shards, numbers = shuffled.shard_of(rows)

        assert (len(block.shards) >= 2 and block.size >= 20) or position + block.size == 84
        assert sorted(zip(shards.tolist(), numbers.tolist(), strict=True)) == [
            (shard, number) for shard in block.shards for number in range(counts[shard])
        ]
        position += block.size


def test_what_comes_next_is_told_ahead():
    shuffled = Order([10] * 8, seed=1)
    here, ahead = shuffled.blocks(0, 5)

    assert (here.number, ahead.number) == (0, 1)
    assert [(block.epoch, block.number) for block in shuffled.blocks(79, 1)] == [(0, 3), (1, 0)]
    assert [block.number for block in shuffled.blocks(15, 10)] == [0, 1, 2]


def test_samples_of_one_block_are_a_permutation_drawn_once_an_epoch():
    entropy = int(digest_of({"stream": "order", "seed": 5, "epoch": 1})[:16], 16)
    expected = np.random.Generator(np.random.Philox(entropy)).permutation(30)

    assert Order([10, 20], seed=5).rows(30, 30).tolist() == expected.tolist()
