"""Manners kept over real sockets: by two workers of one coordinator, and by what is none of its workers."""

import asyncio
import json
import multiprocessing
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from yarl import URL

from t2i_core.data.manners import channel as channels
from t2i_core.data.manners.channel import CoordinatorAddress
from t2i_core.data.manners.coordinator import coordinating
from t2i_core.data.manners.manners import GivenUp, Pace
from t2i_core.data.manners.pace import HostLimits
from t2i_core.data.manners.robots import RULES_SECONDS, RobotsAnswer
from t2i_core.data.manners.rules_store import FAILED_SECONDS, RulesStore, pack_answer
from t2i_core.data.manners.shared import SharedManners, shared_manners
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.web.shares import Shares
from t2i_core.errors import TransientError

LIMITS = HostLimits(2, 0.0, 3, (0.02,))
HOST = URL("http://a.example/1.png")


async def never_up(_origin: URL) -> bool:
    return False


@pytest.fixture
def address() -> Iterator[CoordinatorAddress]:
    with coordinating(LIMITS) as address:
        yield address


@asynccontextmanager
async def two_workers(address: CoordinatorAddress) -> AsyncIterator[tuple[SharedManners, SharedManners]]:
    async with shared_manners(address, LIMITS) as first, shared_manners(address, LIMITS) as second:
        yield first, second


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def now() -> float:
    return asyncio.get_running_loop().time()


def pace(manners: SharedManners, url: URL = HOST) -> Pace:
    return manners.pace(url, never_up)


async def has_to_wait(pace: Pace) -> bool:
    """Tell whether no turn can be had now."""
    try:
        async with asyncio.timeout(0.1), pace.turn():
            return False
    except TimeoutError:
        return True


async def take_and_give(pace: Pace) -> None:
    async with pace.turn():
        pass


def test_two_workers_never_have_more_turns_than_one_host_allows(address: CoordinatorAddress) -> None:
    running: list[int] = [0]
    seen: list[int] = []

    async def take(manners: SharedManners) -> None:
        async with pace(manners).turn() as admitted:
            assert admitted
            running[0] += 1
            seen.append(running[0])
            await asyncio.sleep(0.002)
            running[0] -= 1

    async def scenario() -> None:
        async with two_workers(address) as workers:
            await asyncio.gather(*(take(manners) for manners in workers for _ in range(20)))

    run(scenario)
    assert len(seen) == 40
    assert max(seen) == 2


def test_hosts_do_not_wait_for_each_other(address: CoordinatorAddress) -> None:
    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            async with pace(first).turn(), pace(first).turn():
                assert await has_to_wait(pace(second))
                await take_and_give(pace(second, URL("http://b.example/1.png")))
            await take_and_give(pace(second))

    run(scenario)


def test_the_delay_that_one_worker_read_holds_between_the_starts_of_all() -> None:
    starts: list[float] = []

    async def take(manners: SharedManners, asked_delay: float) -> None:
        mine = pace(manners)
        mine.slow_down(asked_delay)
        async with mine.turn():
            starts.append(now())

    async def scenario() -> None:
        with coordinating(LIMITS) as address:
            async with two_workers(address) as (first, second):
                await asyncio.gather(*(take(first, 0.05) for _ in range(3)))
                await asyncio.gather(*(take(second, 0.0) for _ in range(3)))

    run(scenario)
    # A turn reaches its worker a little later or sooner after it was given.
    assert len(starts) == 6
    assert all(later - earlier > 0.03 for earlier, later in pairwise(starts))


def test_a_pause_that_one_worker_was_asked_for_holds_for_all(address: CoordinatorAddress) -> None:
    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            mine = pace(first)
            async with mine.turn():
                mine.pause(0.3)
                paused = now()
            async with pace(second).turn():
                assert now() - paused > 0.25

    run(scenario)


def test_who_holds_a_turn_already_learns_of_a_pause(address: CoordinatorAddress) -> None:
    async def scenario() -> None:
        async with two_workers(address) as (first, second), pace(first).turn(), pace(second).turn():
            assert not pace(second).is_paused
            pace(first).pause(60)
            while not pace(second).is_paused:
                await asyncio.sleep(0.01)
            assert pace(first).is_paused
            assert not pace(second, URL("http://b.example/1.png")).is_paused

    run(scenario)


def test_failures_of_all_workers_count_and_one_of_them_looks(address: CoordinatorAddress) -> None:
    probed: list[tuple[str, URL]] = []

    def prober(name: str) -> Callable[[URL], Awaitable[bool]]:
        async def probe(origin: URL) -> bool:
            probed.append((name, origin))
            return False

        return probe

    async def fail(mine: Pace) -> bool:
        async with mine.turn() as admitted:
            if admitted:
                assert mine.circuit
                mine.circuit.note(failed=True)
            return admitted

    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            assert [await fail(first.pace(HOST, prober("first"))) for _ in range(2)] == [True, True]
            assert await fail(second.pace(HOST, prober("second")))
            assert not await fail(second.pace(HOST, prober("second")))
            assert not await fail(first.pace(HOST, prober("first")))

    run(scenario)
    assert probed == [("second", HOST.origin())]


def test_a_probe_that_finds_the_host_up_lets_all_go_on(address: CoordinatorAddress) -> None:
    async def up(_origin: URL) -> bool:
        return True

    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            for _ in range(3):
                mine = first.pace(HOST, up)
                async with mine.turn():
                    assert mine.circuit
                    mine.circuit.note(failed=True)
            async with second.pace(HOST, up).turn() as admitted:
                assert admitted

    run(scenario)


def test_what_one_worker_was_refused_no_other_asks_for(address: CoordinatorAddress) -> None:
    refusal = Rejection(RejectReason.HTTP_4XX, "HTTP 404", 404)

    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            async with pace(first).turn():
                first.refusals.note(HOST, refusal)
            assert second.refusals.of(HOST) is None
            async with pace(second).turn():
                assert second.refusals.of(HOST) == Rejection(RejectReason.HTTP_4XX, "HTTP 404", 404, str(HOST))
            other = URL("http://a.example/2.png")
            async with pace(second, other).turn():
                assert second.refusals.of(other) is None

    run(scenario)


def test_what_one_worker_gave_up_no_other_asks_for_now_or_later(address: CoordinatorAddress) -> None:
    name = Shares(8, 2, GivenUp()).of_site("img1.evil.example").name

    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            first.given_up.add(name)
            await take_and_give(pace(first))
            await take_and_give(pace(second))
            assert name in second.given_up.names
            async with shared_manners(address, LIMITS) as third:
                await take_and_give(pace(third))
                assert not Shares(8, 2, third.given_up).of_site("img2.evil.example").admits

    run(scenario)


def test_each_file_of_rules_is_read_once(address: CoordinatorAddress) -> None:
    asked: list[str] = []
    text = "User-agent: *\nDisallow: /ü\x00"

    async def read(url: URL) -> RobotsAnswer:
        asked.append(str(url))
        await asyncio.sleep(0.01)
        return RobotsAnswer(200, text, content_type="text/plain")

    async def scenario() -> None:
        robots, other = URL("http://a.example/robots.txt"), URL("http://b.example/robots.txt")
        async with two_workers(address) as workers:
            readers = [manners.sharing(read) for manners in workers]
            answers = await asyncio.gather(*(reader(url) for reader in readers for url in (robots, robots, other)))
        assert answers == [RobotsAnswer(200, text, content_type="text/plain")] * 6

    run(scenario)
    assert sorted(asked) == ["http://a.example/robots.txt", "http://b.example/robots.txt"]


@pytest.mark.parametrize("how", ["stopped", "gone"])
def test_who_waits_for_a_file_gets_it_though_its_reader_does_not(address: CoordinatorAddress, how: str) -> None:
    async def hang(_url: URL) -> RobotsAnswer:
        await asyncio.sleep(60)
        raise AssertionError

    async def read(_url: URL) -> RobotsAnswer:
        return RobotsAnswer(404)

    async def scenario() -> None:
        robots = URL("http://a.example/robots.txt")
        async with shared_manners(address, LIMITS) as second:
            async with shared_manners(address, LIMITS) as first:
                reading = asyncio.create_task(first.sharing(hang)(robots))
                await asyncio.sleep(0.05)
                waiting = asyncio.create_task(second.sharing(read)(robots))
                await asyncio.sleep(0.05)
                assert not waiting.done()
                if how == "stopped":
                    reading.cancel()
                    assert await waiting == RobotsAnswer(404)
            assert await waiting == RobotsAnswer(404)
            reading.cancel()

    run(scenario)


def test_files_of_rules_are_asked_for_again_after_a_day_and_failures_sooner() -> None:
    class Line:
        def __init__(self) -> None:
            self.sent: list[object] = []

        def send(self, *message: object) -> None:
            self.sent.append(message[0])

    time = [0.0]
    store, line = RulesStore(lambda: time[0]), Line()

    def ask(answer: RobotsAnswer, later: float) -> list[object]:
        line.sent.clear()
        store.ask(line, 1, "u")  # type: ignore[arg-type]
        store.answer(line, "u", pack_answer(answer))  # type: ignore[arg-type]
        for seconds in (later - 1, later + 1):
            time[0] = start + seconds
            store.ask(line, 1, "u")  # type: ignore[arg-type]
        store.give_up(line, "u")  # type: ignore[arg-type]
        return line.sent

    start = time[0]
    assert ask(RobotsAnswer(404), RULES_SECONDS) == ["ask", "rules", "ask"]
    start = time[0]
    assert ask(RobotsAnswer(503), FAILED_SECONDS) == ["ask", "rules", "ask"]


def hold_turns(address: CoordinatorAddress, holding: Any) -> None:
    async def hold() -> None:
        async with shared_manners(address, LIMITS) as manners, pace(manners).turn(), pace(manners).turn():
            holding.set()
            await asyncio.sleep(60)

    asyncio.run(hold())


def test_the_turns_of_a_killed_worker_go_to_the_others(address: CoordinatorAddress) -> None:
    spawning = multiprocessing.get_context("spawn")
    holding = spawning.Event()
    worker = spawning.Process(target=hold_turns, args=(address, holding))
    worker.start()
    assert holding.wait(60)

    async def scenario() -> None:
        async with shared_manners(address, LIMITS) as manners:
            assert await has_to_wait(pace(manners))
            assert worker.pid
            os.kill(worker.pid, signal.SIGKILL)
            async with pace(manners).turn(), pace(manners).turn():
                pass

    run(scenario)
    worker.join()


def test_a_turn_that_nobody_waits_for_any_more_is_free(address: CoordinatorAddress) -> None:
    async def scenario() -> None:
        async with two_workers(address) as (first, second):
            async with pace(first).turn(), pace(first).turn():
                assert await has_to_wait(pace(second))
            async with pace(first).turn(), pace(first).turn():
                pass

    run(scenario)


def test_without_the_coordinator_what_is_under_way_stops_and_nothing_starts() -> None:
    reached: list[str] = []

    async def fetch(manners: SharedManners) -> None:
        async with pace(manners).turn():
            reached.append("started")
            await asyncio.sleep(60)
            reached.append("finished")

    async def scenario() -> None:
        coordinator = coordinating(LIMITS)
        async with shared_manners(coordinator.__enter__(), LIMITS) as manners:
            tasks = [asyncio.create_task(fetch(manners)) for _ in range(4)]
            await asyncio.sleep(0.1)
            await asyncio.to_thread(coordinator.__exit__, None, None, None)
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(error) for error in ended] == [TransientError] * 4
            with pytest.raises(TransientError, match="nothing is fetched without it"):
                await fetch(manners)
            with pytest.raises(TransientError, match="nothing is fetched without it"):
                await manners.sharing(never_up)(HOST)  # type: ignore[arg-type]

    run(scenario)
    assert reached == ["started", "started"]


def test_a_coordinator_that_is_not_there_is_worth_another_try() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        nobody = CoordinatorAddress(host="127.0.0.1", port=listener.getsockname()[1], secret="x")

    async def scenario() -> None:
        async with shared_manners(nobody, LIMITS):
            pass

    with pytest.raises(TransientError, match="does not answer"):
        run(scenario)


def test_who_does_not_know_the_secret_is_not_let_in(address: CoordinatorAddress) -> None:
    async def scenario() -> None:
        async with shared_manners(address.with_changes(secret="guess"), LIMITS):
            pass

    with pytest.raises(TransientError, match="does not answer"):
        run(scenario)
    assert address.secret not in repr(address)


def send(address: CoordinatorAddress, data: bytes) -> bytes:
    """Say something to a coordinator as a worker of its own, and give what it answers before it hangs up."""

    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        nonce = (await reader.readline()).rstrip()
        writer.write(channels._proof(address.secret, nonce))
        assert await reader.readline() == channels.WELCOME
        answer = b""
        try:
            writer.write(data)
            async with asyncio.timeout(5):
                answer = await reader.read()
        except ConnectionError:
            pass
        writer.close()
        return answer

    return asyncio.run(talk())


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\x00\n",
        b"[" * 100_000 + b"\n",
        b"x" * (channels.MAX_LINE_BYTES + channels.CHUNK_BYTES),
        b"{}\n",
        b"[[]]\n",
        b"[7]\n",
        b'[["nonsense"]]\n',
        b'[[["turn"]]]\n',
        b'[["turn",1]]\n',
        b'[["turn",1,["x"],0,5]]\n',
        b'[["turn",1,"http://a.example",NaN,5]]\n',
        b'[["turn",1,"http://a.example",-1,5]]\n',
        b'[["turn",[],"http://a.example",0,5]]\n',
        b'[["turn",1,"http://a.example",0,[]]]\n',
        b'[["pause","http://a.example",Infinity]]\n',
        b'[["pause","http://a.example","soon"]]\n',
        b'[["refused",1,"because","",404]]\n',
        b'[["answer","http://a.example/robots.txt",200]]\n',
        b'[["answer","http://a.example/robots.txt","200","","","",""]]\n',
        b'[["rules",1,' + json.dumps("u" * 10_000).encode() + b"]]\n",
    ],
)
def test_garbage_ends_its_own_connection_and_no_other(address: CoordinatorAddress, data: bytes) -> None:
    assert send(address, data) == b""

    async def scenario() -> None:
        async with shared_manners(address, LIMITS) as manners, pace(manners).turn() as admitted:
            assert admitted

    run(scenario)
