"""What a site reserves: TDMRep's file, header and mark, and ai.txt."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from t2i_core.data.answer import Fetched
from t2i_core.data.manners.aitxt import AiTxtRules
from t2i_core.data.manners.pace import HostPace
from t2i_core.data.manners.robots import RobotsAnswer, RobotsRules
from t2i_core.data.manners.signals import directives_for_us, opts_out
from t2i_core.data.manners.tdmrep import MAX_RULES, TdmRules, reservation
from t2i_core.data.pages.page import read_page
from t2i_core.data.reject import Rejection
from t2i_core.data.web.verdict import Want

TDM, AI = "/.well-known/tdmrep.json", "/ai.txt"
Fetch = Callable[..., list[Fetched | Rejection]]


def reason(answer: Fetched | Rejection | None) -> str:
    return str(answer.reason) if isinstance(answer, Rejection) else "ok"


def tdm_rules(*rules: tuple[str, Any]) -> TdmRules:
    text = json.dumps([{"location": location, "tdm-reservation": value} for location, value in rules])
    return TdmRules(RobotsAnswer(200, text))


@pytest.mark.parametrize(
    ("location", "path", "reserved"),
    [
        ("/", "/anything/at/all.png", True),
        ("/a/", "/a/x.png", True),
        ("/a/", "/b/a/x.png", False),
        ("/a", "/about", True),
        ("/A/", "/a/x.png", False),
        ("/a/*.jpg", "/a/b/c.jpg?size=2", True),
        ("/a/*.jpg$", "/a/b.jpg", True),
        ("/a/*.jpg$", "/a/b.jpg?size=2", False),
        ("/a/*.jpg$", "/a/b.jpg.jpg", True),
        ("/exact$", "/exact", True),
        ("/exact$", "/exactly", False),
        ("*.png", "/x/y.png", True),
        ("/x/*/then", "/x/y/z/then/more", True),
        ("/x*x$", "/x", False),
        ("/price-%24", "/price-$9", True),
        ("/price-%24", "/price-9", False),
        ("/ä", "/%C3%A4.png", True),
        ("/%7Eme/", "/~me/x.png", True),
        ("images/", "/images/x.png", False),
        ("/\ud800", "/%F0%9F%90%88", False),
    ],
)
def test_locations_match_as_in_robots_txt(location: str, path: str, reserved: bool) -> None:
    refusal = tdm_rules((location, 1)).refusal(URL(f"http://a.example{path}", encoded=True))
    assert reason(refusal) == ("tdm_reserved" if reserved else "ok")


def test_the_first_location_that_matches_counts() -> None:
    rules = tdm_rules(("/a/free/", 0), ("/a/", "1"), ("/", 0))
    paths = ["/a/free/x", "/a/x", "/x"]
    assert [reason(rules.refusal(URL(f"http://a.example{path}"))) for path in paths] == ["ok", "tdm_reserved", "ok"]


@pytest.mark.parametrize(
    "answer",
    [
        RobotsAnswer(404),
        RobotsAnswer(500),
        RobotsAnswer(0),
        RobotsAnswer(200, ""),
        RobotsAnswer(200, "<html>not found</html>"),
        RobotsAnswer(200, "[" * 100_000),
        RobotsAnswer(200, '{"location": "/", "tdm-reservation": 1}'),
        RobotsAnswer(200, '[1, null, {"location": 3, "tdm-reservation": 1}, {"tdm-reservation": 1}]'),
        RobotsAnswer(200, '[{"location": "", "tdm-reservation": 1}, {"location": "/", "tdm-reservation": "no"}]'),
    ],
)
def test_a_file_that_cannot_be_read_reserves_nothing(answer: RobotsAnswer) -> None:
    assert TdmRules(answer).refusal(URL("http://a.example/x")) is None


def test_rules_are_bounded_in_number_and_time() -> None:
    rules = tdm_rules(*[("/no", 0)] * MAX_RULES, ("/", 1))
    assert rules.refusal(URL("http://a.example/x")) is None
    slow_for_a_regular_expression = tdm_rules(("/" + "*a" * 1000 + "*b", 1))
    assert slow_for_a_regular_expression.refusal(URL("http://a.example/" + "a" * 8000)) is None


@pytest.mark.parametrize(
    ("text", "path", "refused"),
    [
        ("User-Agent: *\nDisallow: *.jpg\nDisallow: *.png\n", "/a/x.png", True),
        ("User-Agent: *\nDisallow: *.jpg\n", "/a/x.png", False),
        ("User-Agent: *\nAllow: *.png\nDisallow: *.mp4\nDisallow: /\nDisallow: *\n", "/a/x.png", False),
        ("User-Agent: *\nAllow: *.png\nDisallow: /\nDisallow: *\n", "/a/x.webp", True),
        ("User-Agent: *\nDisallow: /art/\n", "/art/x.png", True),
        ("User-Agent: t2i\nDisallow: /\n", "/x.png", True),
        ("User-Agent: otherbot\nDisallow: /\n", "/x.png", False),
        ("some words about artificial intelligence\n", "/x.png", False),
        ("", "/x.png", False),
    ],
)
def test_ai_txt_is_read_by_file_type_and_path(text: str, path: str, refused: bool) -> None:
    refusal = AiTxtRules(RobotsAnswer(200, text)).refusal(URL(f"http://a.example{path}"))
    assert reason(refusal) == ("ai_txt" if refused else "ok")


def test_an_ai_txt_that_is_missing_or_a_page_disallows_nothing() -> None:
    page = "User-agent: *\nDisallow: /\n"
    for answer in (RobotsAnswer(404), RobotsAnswer(200, page, content_type="text/html; charset=utf-8")):
        assert AiTxtRules(answer).refusal(URL("http://a.example/x.png")) is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["location", "tdm-reservation"]), inner)
    ),
    max_leaves=10,
)
LINES = st.lists(st.sampled_from(["User-agent: *", "Disallow: ", "Crawl-delay: nan", "Allow: /*$"]) | st.text())


@given(JSON_VALUES.map(json.dumps) | st.text(), st.text(max_size=20))
def test_no_tdmrep_file_breaks_the_reader(text: str, path: str) -> None:
    TdmRules(RobotsAnswer(200, text)).refusal(URL("http://a.example").with_path(f"/{path}".replace("\0", "")))


@given(LINES.map("\n".join))
def test_no_robots_or_ai_file_breaks_the_reader(text: str) -> None:
    answer = RobotsAnswer(200, text)
    AiTxtRules(answer).refusal(URL("http://a.example/x.png?y"))
    robots = RobotsRules(answer)
    robots.refusal(URL("http://a.example/x.png?y"))
    pace = HostPace(1, 0.5)
    pace.slow_down(robots.crawl_delay_seconds)
    asyncio.run(pace.start())


@given(st.lists(st.text(st.characters(max_codepoint=0xFF))))
def test_no_header_breaks_the_reader(values: list[str]) -> None:
    assert reservation(values) <= {"tdm-reservation: 0", "tdm-reservation: 1"}
    opts_out(directives_for_us(values))


def test_reserved_pictures_are_not_asked_for_and_the_files_only_once(site: Any, fetch: Fetch) -> None:
    site.content |= {TDM: '[{"location": "/a/", "tdm-reservation": 1}]', AI: b"User-agent: *\nDisallow: *.jpg\n"}
    site.content |= {f"/{name}": b"x" for name in ("a/x.png", "b/x.jpg", "b/x.png", "b/y.png")}
    answers = fetch(*(site.url(f"/{name}") for name in ("a/x.png", "b/x.jpg", "b/x.png", "b/y.png")))
    assert [reason(answer) for answer in answers] == ["tdm_reserved", "ai_txt", "ok", "ok"]
    assert site.requests == ["/robots.txt", TDM, AI, "/b/x.png", "/b/y.png"]


def test_a_redirect_into_a_reserved_place_stops(site: Any, fetch: Fetch) -> None:
    site.content |= {TDM: '[{"location": "/a/", "tdm-reservation": 1}]', AI: b"User-agent: *\nDisallow: *.jpg\n"}
    site.content |= {"/a/x.png": b"x", "/x.jpg": b"x", "/1": 302, "/2": 302}
    site.headers |= {"/1": {"Location": "/a/x.png"}, "/2": {"Location": "/x.jpg"}}
    answers = fetch(site.url("/1"), site.url("/2"))
    assert [reason(answer) for answer in answers] == ["tdm_reserved", "ai_txt"]
    assert {"/a/x.png", "/x.jpg"}.isdisjoint(site.requests)


def test_a_reserved_page_is_not_asked_for_and_ai_txt_is_about_pictures(site: Any, fetch: Fetch) -> None:
    site.content |= {TDM: '[{"location": "/a/", "tdm-reservation": 1}]', AI: b"User-agent: *\nDisallow: /\n"}
    site.content |= {"/a/page": "<p>", "/page": "<p>"}
    answers = fetch(site.url("/a/page"), site.url("/page"), want=Want.PAGE)
    assert [reason(answer) for answer in answers] == ["tdm_reserved", "ok"]
    assert site.requests == ["/robots.txt", TDM, "/page"]


def test_the_files_can_be_left_unasked(site: Any, fetch: Fetch) -> None:
    site.content |= {TDM: '[{"location": "/", "tdm-reservation": 1}]', "/x.png": b"x"}
    [answer] = fetch(site.url("/x.png"), opt_out_files=False)
    assert reason(answer) == "ok"
    assert site.requests == ["/robots.txt", "/x.png"]


def test_the_header_reserves_what_the_file_does_not(site: Any, fetch: Fetch) -> None:
    site.content |= {TDM: '[{"location": "/", "tdm-reservation": 0}]', "/x.png": b"x", "/y.png": b"y", "/z.png": b"z"}
    site.headers |= {
        "/x.png": {"TDM-Reservation": "1", "TDM-Policy": "https://example.com/policy.json"},
        "/y.png": {"tdm-reservation": "0"},
        "/z.png": {"tdm-reservation": "maybe"},
    }
    answers = fetch(*(site.url(path) for path in ("/x.png", "/y.png", "/z.png")))
    assert [reason(answer) for answer in answers] == ["tdm_reserved", "ok", "ok"]
    assert isinstance(answers[0], Rejection) and answers[0].http_status == 200


@pytest.mark.parametrize(
    ("head", "header", "expected"),
    [
        ("<meta name=tdm-reservation content=1>", "", "tdm_reserved"),
        ("<meta name='TDM-Reservation' content=' 1 '>", "", "tdm_reserved"),
        ("<meta name=tdm-reservation content=0>", "", ""),
        ("<meta name=tdm-reservation content=0>", "tdm-reservation: 1", ""),
        ("<meta name=tdm-reservation content=1>", "tdm-reservation: 0", "tdm_reserved"),
        ("", "tdm-reservation: 1", "tdm_reserved"),
        ("<meta name=tdm-reservation content=1><meta name=robots content=noai>", "", "opt_out_page"),
        ("<meta name=tdm-policy content=1>", "", ""),
    ],
)
def test_what_a_page_says_counts_more_than_its_header(head: str, header: str, expected: str) -> None:
    html = f"{head}<img src=a.png alt=a><a href=/more>more</a>"
    page = read_page(html.encode(), "http://a.example/", directives=[header] if header else [])
    assert [picture.reason for picture in page.pictures] == [expected]
    assert page.links == ["http://a.example/more"]


def test_a_page_hands_its_header_on(site: Any, fetch: Fetch) -> None:
    site.content["/page"] = "<img src=x.png alt=x>"
    site.headers["/page"] = {"TDM-Reservation": "1", "X-Robots-Tag": "noarchive"}
    [page] = fetch(site.url("/page"), want=Want.PAGE)
    assert isinstance(page, Fetched)
    assert page.directives == {"noarchive", "tdm-reservation: 1"}
