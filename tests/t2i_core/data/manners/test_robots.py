import asyncio
from email.utils import formatdate
from itertools import pairwise
from time import time

import pytest
from yarl import URL

from t2i_core.data.manners import robots as politeness
from t2i_core.data.manners.pace import MAX_PAUSE_SECONDS, MAX_WAIT_SECONDS, HostPace, wait_seconds
from t2i_core.data.manners.robots import RobotsAnswer, RobotsCache, RobotsRules, RulesCache, may_pass, weight_of
from t2i_core.data.manners.signals import directives_for_us, opts_out, user_agent
from t2i_core.data.reject import Rejection, RejectReason


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (["noai"], True),
        (["NoImageAI , nofollow"], True),
        (["noindex"], True),
        (["none"], True),
        (["noml"], True),
        (["all"], False),
        (["nofollow, noarchive"], False),
        (["otherbot: noai"], False),
        (["t2i: noai"], True),
        (["noai, otherbot: noindex"], True),
        (["otherbot: noindex, noai"], False),
        (["otherbot: noai, t2i: noindex"], True),
        (["*: noimageai"], True),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], True),
        (["otherbot: noai", "noindex"], True),
        (["t2i/0.1: noai"], True),
        (["T2I : NoAI"], True),
        (["otherbot/2.1 : nofollow, noai"], False),
        (["max-anything-preview: 3, noai"], True),
        (["otherbot: nofollow, *: noml"], True),
        ([], False),
    ],
)
def test_opt_out_headers_are_read_per_item_and_agent(values: list[str], refused: bool) -> None:
    assert opts_out(directives_for_us(values)) is refused


@pytest.mark.parametrize(
    ("answer", "path", "reason"),
    [
        (RobotsAnswer(200, "User-agent: *\nDisallow: /a/\n"), "/a/x", RejectReason.ROBOTS),
        (RobotsAnswer(200, "User-agent: *\nDisallow: /a/\n"), "/b/x", None),
        (RobotsAnswer(200, "User-agent: *\nDisallow: /a/\nAllow: /a/b/\n"), "/a/b/x", None),
        (RobotsAnswer(200, "User-agent: *\nDisallow:\n\nUser-agent: t2i\nDisallow: /\n"), "/x", RejectReason.ROBOTS),
        (RobotsAnswer(200, "<html>no rules at all</html>"), "/x", None),
        (RobotsAnswer(404), "/x", None),
        (RobotsAnswer(403), "/x", None),
        (RobotsAnswer(429), "/x", RejectReason.ROBOTS_UNAVAILABLE),
        (RobotsAnswer(500), "/x", RejectReason.ROBOTS_UNAVAILABLE),
        (RobotsAnswer(0, failure=Rejection(RejectReason.CONNECT)), "/x", RejectReason.CONNECT),
    ],
)
def test_robots_follow_rfc_9309(answer: RobotsAnswer, path: str, reason: RejectReason | None) -> None:
    refusal = RobotsRules(answer).refusal(URL("http://example.com") / path.lstrip("/"))
    assert (refusal.reason if refusal else None) == reason


def test_crawl_delay_is_read_and_bounded() -> None:
    rules = RobotsRules(RobotsAnswer(200, "User-agent: *\nCrawl-delay: 3\n"))
    assert rules.crawl_delay_seconds == 3
    assert RobotsRules(RobotsAnswer(200, "User-agent: *\nCrawl-delay: 9999\n")).crawl_delay_seconds == 60
    assert RobotsRules(RobotsAnswer(404)).crawl_delay_seconds == 0


def test_each_origin_is_asked_for_its_rules_once() -> None:
    asked: list[str] = []

    async def read(url: URL) -> RobotsAnswer:
        asked.append(str(url))
        await asyncio.sleep(0)
        return RobotsAnswer(404)

    async def run() -> None:
        cache = RobotsCache(read)
        urls = ["http://a.example/1", "http://a.example/2", "https://a.example/1", "http://a.example:81/1"]
        await asyncio.gather(*(cache.rules(URL(url)) for url in urls * 3))

    asyncio.run(run())
    expected = ["http://a.example/robots.txt", "http://a.example:81/robots.txt", "https://a.example/robots.txt"]
    assert sorted(asked) == sorted(expected)


def test_rules_are_asked_for_again_after_a_day_or_when_too_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "Disallow: /a\n"
    short, long = (weight_of("User-agent: *\n" + rule * number) + 3000 for number in (1, 20))
    monkeypatch.setattr(politeness, "MAX_RULES_BYTES", short + long)
    now, asked = 0.0, []

    async def read(url: URL) -> RobotsAnswer:
        asked.append(url.host)
        return RobotsAnswer(200, "User-agent: *\n" + rule * (20 if url.host == "long" else 1))

    async def run() -> None:
        nonlocal now
        cache = RulesCache("/robots.txt", read, RobotsRules, lambda: now)
        for host in ("a", "b", "a", "long", "a", "b"):
            await cache.rules(URL(f"http://{host}/"))
        now += politeness.RULES_SECONDS
        await cache.rules(URL("http://a/"))

    asyncio.run(run())
    # The long one leaves room for one more: the one used last.
    assert asked == ["a", "b", "long", "b", "a"]


def test_a_host_never_has_more_turns_than_allowed() -> None:
    running, most = 0, 0

    async def take(pace: HostPace) -> None:
        nonlocal running, most
        async with pace.turn():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    async def run() -> None:
        pace = HostPace(3, 0.0)
        await asyncio.gather(*(take(pace) for _ in range(20)))

    asyncio.run(run())
    assert most == 3


def test_starts_keep_their_distance() -> None:
    starts: list[float] = []

    async def take(pace: HostPace) -> None:
        async with pace.turn():
            starts.append(asyncio.get_running_loop().time())

    async def run() -> None:
        pace = HostPace(4, 0.02)
        await asyncio.gather(*(take(pace) for _ in range(4)))

    asyncio.run(run())
    assert all(later - earlier >= 0.0199 for earlier, later in pairwise(starts))


def test_only_what_a_server_did_not_decide_may_pass() -> None:
    assert [status for status in range(200, 600) if may_pass(status)] == [408, 425, 429, 500, 502, 503, 504]


def test_a_pause_too_long_to_wait_for_lets_nobody_in() -> None:
    async def run() -> list[bool]:
        pace = HostPace(1, 0.0)
        waiting = [asyncio.create_task(pace.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        pace.pause(MAX_WAIT_SECONDS + 60)
        pace.leave()
        first = await waiting[0]
        found = []
        for other in waiting[1:]:
            found.append(await other)
            pace.leave()
        return [first, *found, await pace.enter()]

    assert asyncio.run(run()) == [True, False, False, False]


def test_waits_follow_retry_after_and_grow_without_it() -> None:
    assert wait_seconds(0, "7") == 7
    assert wait_seconds(0, "86400") == 86400
    assert wait_seconds(0, "9" * 5000) == wait_seconds(0, "Fri, 31 Dec 9999 23:59:59 GMT") == MAX_PAUSE_SECONDS
    assert 58 <= wait_seconds(0, formatdate(time() + 60, usegmt=True)) <= 60
    assert 58 <= wait_seconds(0, formatdate(time() + 60).replace("+0000", "-0000")) <= 60
    for odd in ("-5", "1e9", "nan", "inf", "\u0663", "7 s", "Thu, 99 Foo 2026 99:99:99 GMT", ",", "\0", " " * 9000):
        assert 0.5 <= wait_seconds(0, odd) <= 1
    assert wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert 0.5 <= wait_seconds(0, "soon") <= 1
    assert 4 <= wait_seconds(3, None) <= 8
    assert wait_seconds(60, None) <= MAX_WAIT_SECONDS


def test_the_agent_names_itself_and_its_contact() -> None:
    assert user_agent("").startswith("t2i/")
    assert "+https://example.org/bot" in user_agent("https://example.org/bot")
