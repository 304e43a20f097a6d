"""Files of rules are read and weighed in a bounded time, and mean what they meant."""

import random
import time
from itertools import product

import pytest
from protego import Protego
from yarl import URL

from t2i_core.data.manners import robots_text
from t2i_core.data.manners.aitxt import AiTxtRules
from t2i_core.data.manners.robots import TOO_MANY_RULES, RobotsAnswer, RobotsRules
from t2i_core.data.manners.robots_text import text_for
from t2i_core.data.manners.signals import PRODUCT_TOKEN

LINES = (
    *("User-agent: *", "user-agent: t2i", "Useragent t2i", "User agent: otherbot", "User-agent:", "User-agent: T2I*"),
    *(
        "USER-AGENT: bot t2i",
        "User-agent: t",
        "Disallow: /a",
        "Disallow /b",
        "Allow: /a/b",
        "Disalow: /c$",
        "Disallow:",
    ),
    *(
        "Disallow:",
        "Disallow: /*x*y",
        "Crawl-delay: 7",
        "# a comment",
        "",
        "Sitemap: http://a.example/s.xml",
        "Host: a.example",
    ),
    *("nonsense", "Unknown: thing", "Disallow: /a # why", "Request-rate: 1/5", "Visit-time: 0600-0845"),
)
PATHS = ["/", "/a", "/a/b", "/b", "/c", "/cc", "/zxzyz", "/q"]


def verdicts(rules: Protego) -> list[object]:
    allowed = [rules.can_fetch(f"http://a.example{path}", PRODUCT_TOKEN) for path in PATHS]
    return [*allowed, rules.crawl_delay(PRODUCT_TOKEN), list(rules.sitemaps)]


def test_what_is_kept_means_the_same_as_the_whole() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        text = "\n".join(rng.choices(LINES, k=rng.randrange(12)))
        assert verdicts(Protego.parse(text_for(text, PRODUCT_TOKEN))) == verdicts(Protego.parse(text)), text


def half_a_megabyte(line: str) -> str:
    number = 512 * 1024 // (len(line) + 6)
    return "\n".join(line.format(number) for number in range(number))


@pytest.mark.parametrize(
    "text",
    [
        half_a_megabyte("User-agent: bot{}") + "\nDisallow: /\n" * 1000,
        half_a_megabyte("User-agent: bot{}\nDisallow: /a")[: 256 * 1024] + half_a_megabyte("\nDisallow: /{}"),
        "User-agent: *\nAllow: /\n" + half_a_megabyte("Sitemap: http://a.example/{}.xml"),
    ],
)
def test_agents_and_sitemaps_do_not_multiply(text: str) -> None:
    started = time.process_time()
    rules = RobotsRules(RobotsAnswer(200, text))
    assert time.process_time() - started < 2.0
    assert rules.refusal(URL("http://a.example/x.png")) is None
    assert rules.weight < 1_000_000
    assert len(rules.sitemaps) <= robots_text.MAX_SITEMAPS


@pytest.mark.parametrize("rule", ["Disallow: /p{}", "Disallow: /*a{}*b", "Allow: /a{}$"])
def test_too_many_rules_close_the_site(rule: str) -> None:
    text = "User-agent: *\n" + half_a_megabyte(rule)
    refused = RobotsRules(RobotsAnswer(200, text)).refusal(URL("http://a.example/x.png"))
    assert refused is not None and (refused.reason, refused.detail) == ("robots", TOO_MANY_RULES)
    refused = AiTxtRules(RobotsAnswer(200, text)).refusal(URL("http://a.example/x.png"))
    assert refused is not None and (refused.reason, refused.detail) == ("ai_txt", TOO_MANY_RULES)


@pytest.mark.parametrize("stars", [4, 40, 400])
def test_a_pattern_full_of_stars_is_matched_at_once(stars: int) -> None:
    rules = RobotsRules(RobotsAnswer(200, f"User-agent: *\nDisallow: /{'*a' * stars}b\n"))
    started = time.process_time()
    assert rules.refusal(URL("http://a.example/" + "a" * 8000)) is None
    assert time.process_time() - started < 0.2


def test_the_heaviest_file_that_is_followed_weighs_a_url_quickly() -> None:
    wildcards = (f"Disallow: /*a{number}*b" for number in range(robots_text.MAX_WILDCARD_RULES))
    plain = (f"Disallow: /p{number}" for number in range(robots_text.MAX_RULES - robots_text.MAX_WILDCARD_RULES))
    rules = RobotsRules(RobotsAnswer(200, "\n".join(("User-agent: *", *wildcards, *plain))))
    started = time.process_time()
    assert rules.refusal(URL("http://a.example/" + "a" * 8000)) is None
    assert time.process_time() - started < 0.2


def test_a_group_for_several_agents_is_kept_whole() -> None:
    for first, second in product(("otherbot", "t2i"), repeat=2):
        text = f"User-agent: {first}\n\nUser-agent: {second}\nDisallow: /a\n"
        refused = RobotsRules(RobotsAnswer(200, text)).refusal(URL("http://a.example/a"))
        assert (refused is not None) == ("t2i" in (first, second))
