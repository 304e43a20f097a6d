"""Bodies in memory share one budget: what is too much stays with its server until there is room, and nothing stalls."""

import asyncio
import random
from collections import deque
from typing import Any

import pytest
from aiohttp import web

from t2i_core.data.answer import Fetched
from t2i_core.data.bounded.budget import ByteBudget, Claim
from t2i_core.data.web.fetch import Fetcher, FetchOptions

MEGABYTE = 1_000_000


def test_who_wants_too_much_waits_its_turn() -> None:
    told: deque[str] = deque()
    budget = ByteBudget(100)
    first, second, third = (Claim(budget, on_granted=lambda name=name: told.append(name)) for name in "abc")
    assert first.grow(60)
    assert not second.grow(50)
    # There would be room for it, but it came later.
    assert not third.grow(40)
    first.settle(20)
    assert list(told) == ["b"]
    second.settle(0)
    assert list(told) == ["b", "c"]
    third.settle(0)
    first.settle(0)
    assert budget.held == 0


def test_one_goes_on_when_all_that_hold_some_wait_for_more() -> None:
    told: list[str] = []
    budget = ByteBudget(100)
    first, second = (Claim(budget, on_granted=lambda name=name: told.append(name)) for name in "ab")
    assert first.grow(50) and second.grow(50)
    assert not first.grow(80)
    assert told == []
    # It is the first who gets more than there is, and the second when the first has ended.
    assert not second.grow(90)
    assert told == ["a"] and budget.held == 130
    first.settle(0)
    assert told == ["a", "b"]
    second.settle(0)
    assert budget.held == 0


def test_a_claim_that_is_given_back_while_it_waits_is_forgotten() -> None:
    budget = ByteBudget(100)
    first, second = Claim(budget), Claim(budget)
    assert first.grow(100)
    assert not second.grow(1)
    second.settle(0)
    first.settle(0)
    assert budget.held == 0 and first.grow(100)


@pytest.mark.parametrize("seed", range(20))
def test_any_number_of_claims_ends_and_stays_within_one_more(seed: int) -> None:
    rng, budget, most = random.Random(seed), ByteBudget(1000), 0

    async def body() -> None:
        nonlocal most
        granted = asyncio.Event()
        claim = Claim(budget, on_granted=granted.set)
        try:
            for size in sorted(rng.randrange(1, 400) for _ in range(rng.randrange(1, 5))):
                granted.clear()
                if not claim.grow(size):
                    await granted.wait()
                most = max(most, budget.held)
                await asyncio.sleep(0)
            claim.settle(min(claim.held, rng.randrange(400)))
            await asyncio.sleep(0)
        finally:
            claim.settle(0)

    async def run() -> None:
        tasks = [asyncio.create_task(body()) for _ in range(100)]
        for task in tasks[::7]:
            asyncio.get_running_loop().call_later(rng.random() / 50, task.cancel)
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert budget.held == 0
    assert most < 1000 + 400


def serve_large(site: Any, *, announced: bool) -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced:
            response.content_length = 2 * MEGABYTE
        await response.prepare(request)
        for _ in range(20):
            await response.write(bytes(MEGABYTE // 10))
        return response

    site.content |= {f"/{number}": large for number in range(16)}


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_wait_at_their_server_until_there_is_room(site: Any, *, announced: bool) -> None:
    serve_large(site, announced=announced)
    most = 0

    async def one(fetcher: Fetcher, number: int) -> int:
        nonlocal most
        async with fetcher.fetch(site.url(f"/{number}")) as answer:
            assert isinstance(answer, Fetched)
            most = max(most, fetcher.budget.held)
            # Longer than its time-out, which does not run meanwhile for those that wait.
            await asyncio.sleep(0.3)
            return len(answer.body)

    async def run() -> list[int]:
        options = FetchOptions(
            connections_per_host=16,
            allow_private=("localhost",),
            retries=0,
            timeout_seconds=1.2,
            max_bytes_in_flight=5 * MEGABYTE,
        )
        async with Fetcher(options) as fetcher:
            found = await asyncio.gather(*(one(fetcher, number) for number in range(16)))
            assert fetcher.budget.held == 0
            return found

    assert asyncio.run(run()) == [2 * MEGABYTE] * 16
    assert most <= 5 * MEGABYTE + 2 * MEGABYTE
