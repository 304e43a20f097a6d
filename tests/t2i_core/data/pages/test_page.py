import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from t2i_core.data.crawling.crawl import Crawler, CrawlLimits
from t2i_core.data.pages.page import Page, read_page
from t2i_core.data.pages.srcset import largest_candidate
from t2i_core.data.record import SourceRecord
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.errors import ConfigError, TransientError

URL = "http://example.com/dir/page.html"


def page(html: str, **more: Any) -> Page:
    return read_page(html.encode(), URL, **more)


def only(html: str) -> SourceRecord:
    [record] = page(html).pictures
    return record


@pytest.mark.parametrize(
    ("html", "caption", "rule"),
    [
        ("<img src=a.png alt='a red cat'>", "a red cat", "alt"),
        ("<figure><img src=a.png><figcaption>a <b>red</b>\n cat</figcaption></figure>", "a red cat", "figcaption"),
        ("<figure><div><img src=a.png alt=inside></div><figcaption>outside</figcaption></figure>", "inside", "alt"),
        ("<img src=a.png title='a title'>", "a title", "title"),
        ("<img src=a.png>", "", ""),
        ("<img src=a.png alt='caf&eacute; &amp; co'>", "café & co", "alt"),
    ],
)
def test_the_rule_that_found_the_text_is_noted(html: str, caption: str, rule: str) -> None:
    record = only(html)
    assert (record.caption, record.caption_source) == (caption, rule)
    assert record.page_url == URL


@pytest.mark.parametrize(
    ("html", "url"),
    [
        ("<img src=a.png alt=x>", "http://example.com/dir/a.png"),
        ("<img src=/a.png alt=x>", "http://example.com/a.png"),
        ("<img src=//cdn.example/a.png alt=x>", "http://cdn.example/a.png"),
        ("<base href='/other/'><img src=a.png alt=x>", "http://example.com/other/a.png"),
        ("<base href='https://cdn.example/'><img src=a.png alt=x>", "https://cdn.example/a.png"),
        ("<img src=a.png srcset='b.png 320w, c.png 640w' alt=x>", "http://example.com/dir/c.png"),
        ("<img src=a.png srcset='b.png 2x, c.png 1.5x' alt=x>", "http://example.com/dir/b.png"),
        ("<img src=blank.gif data-src=real.png alt=x>", "http://example.com/dir/real.png"),
        ("<img src='data:image/gif;base64,R0' data-original=real.png alt=x>", "http://example.com/dir/real.png"),
        ("<img data-srcset='s.png 1x, l.png 3x' src=blank.gif alt=x>", "http://example.com/dir/l.png"),
        ("<picture><source srcset='b.webp 2x'><img src=a.png alt=x></picture>", "http://example.com/dir/b.webp"),
        ("<picture><source type=image/avif srcset=b.avif><img src=a.png alt=x></picture>", "http://example.com/dir/a.png"),
        ("<img src='//[]@' data-src=real.png alt=x>", "http://example.com/dir/real.png"),
        ("<img src=' a b.png ' alt=x>", "http://example.com/dir/a%20b.png"),
    ],
)  # fmt: skip
def test_the_best_address_is_found_and_made_absolute(html: str, url: str) -> None:
    assert only(html).url == url


@pytest.mark.parametrize(
    "html",
    [
        "<img src=a.png alt=''>",
        "<img src=a.png alt>",
        "<img src=a.png alt='  '>",
        "<img alt=x>",
        "<img src='data:image/png;base64,AAAA' alt=x>",
        "<img src='file:///etc/passwd' alt=x>",
        "<img src='javascript:alert(1)' alt=x>",
        "<template><img src=a.png alt=x></template>",
    ],
)
def test_decoration_and_pictures_without_address_are_left_out(html: str) -> None:
    assert page(html).pictures == []


@pytest.mark.parametrize(
    ("srcset", "best"),
    [
        ("a.png", "a.png"),
        ("a.png, b.png 2x", "b.png"),
        ("a,b.png 1x, c,d.png 2x", "c,d.png"),
        ("a.png 100w,b.png 300w,c.png 200w", "b.png"),
        ("a.png 1x, b.png 1x", "a.png"),
        ("data:image/gif;base64,R0lGOD 5x, a.png 1x", "a.png"),
        ("a.png 100w 50h, b.png 200w 100h", "b.png"),
        ("a.png 1..2x", "a.png"),
        (" , ,", ""),
        ("", ""),
    ],
)
def test_srcset_is_split_as_browsers_do(srcset: str, best: str) -> None:
    assert largest_candidate(srcset) == best


def test_data_attributes_travel_as_json() -> None:
    html = """<img src=a.png alt=x data-src=b.png data-scene='{"shape": "circle", "at": [1, 2]}'
              data-group=g7 data-count=3 data-odd='NaN' data-flag>"""
    assert json.loads(only(html).attributes) == {
        "scene": {"shape": "circle", "at": [1, 2]},
        "group": "g7",
        "count": 3,
        "odd": "NaN",
        "flag": "",
    }


def test_data_attributes_are_bounded() -> None:
    html = f"<img src=a.png alt=x data-small=1 data-huge='{'y' * 9000}' data-deep='{'[' * 5000}'>"
    attributes = only(html).attributes
    assert json.loads(attributes) == {"small": 1}
    assert len(attributes) <= 8192


@pytest.mark.parametrize(
    ("head", "directives", "opted_out"),
    [
        ("<meta name=robots content='noai'>", (), True),
        ("<meta name=ROBOTS content='index, NoImageAI'>", (), True),
        ("<meta name=t2i content=noindex>", (), True),
        ("<meta name=otherbot content=noai>", (), False),
        ("<meta name=robots content='nofollow'>", (), False),
        ("", ("noai",), True),
        ("", (), False),
    ],
)
def test_a_page_can_keep_its_pictures(head: str, directives: tuple[str, ...], opted_out: bool) -> None:
    [record] = page(f"{head}<img src=a.png alt=x>", directives=directives).pictures
    assert (record.reason == "opt_out_page") is opted_out


def test_links_lead_to_pages_only() -> None:
    html = """<a href=next.html>1</a><a href='/top#part'>2</a><a href=big.jpg>3</a><a href='mailto:a@b.example'>4</a>
              <a href=x rel='nofollow noopener'>5</a><a href='javascript:void(0)'>6</a><a>7</a>"""
    assert page(html).links == ["http://example.com/dir/next.html", "http://example.com/top"]
    assert page(f"<meta name=robots content=nofollow>{html}").links == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<img src=a alt='grün'>".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ("<meta charset=windows-1252><img src=a alt='grün'>".encode("cp1252"), "text/html"),
        ("<img src=a alt='grün'>".encode(), "text/html"),
        ("<img src=a alt='grün'>".encode(), "text/html; charset=no-such-thing"),
        ("<img src=a alt='grün'>".encode("utf-8-sig"), "text/html; charset=latin-1"),
    ],
)
def test_the_charset_is_heard(body: bytes, content_type: str) -> None:
    assert read_page(body, URL, content_type).pictures[0].caption == "grün"


def crawl(starts: list[str], max_pages: int = 100, max_depth: int = 100) -> tuple[list[str], Crawler]:
    async def run() -> tuple[list[str], Crawler]:
        async with Fetcher(FetchOptions(allow_private=("localhost",), retries=0)) as fetcher:
            limits = CrawlLimits(max_pages=max_pages, max_depth=max_depth)
            crawler = Crawler(fetcher, limits, pages_ahead=8, on_page=lambda _: None)
            return [record.caption async for record in crawler.pictures(starts)], crawler

    return asyncio.run(run())


def fill(site: Any, links: dict[str, list[str]]) -> None:
    for name, targets in links.items():
        anchors = "".join(f"<a href='{target}'>x</a>" for target in targets)
        site.content[name] = f"<img src=/p.png alt='{name}'>{anchors}"


@pytest.fixture
def delayed(site: Any) -> Callable[[str, float], None]:
    """Make a page answer later than those after it."""

    def delay(name: str, seconds: float) -> None:
        html = site.content[name]

        async def answer(_: Any) -> Any:
            from aiohttp import web

            await asyncio.sleep(seconds)
            return web.Response(text=html, content_type="text/html")

        site.content[name] = answer

    return delay


def test_a_crawl_is_breadth_first_whoever_answers_first(site: Any, delayed: Callable[[str, float], None]) -> None:
    fill(site, {"/": ["/a", "/b", "/a"], "/a": ["/c", "/"], "/b": ["/d", "http://other.invalid/"], "/c": [], "/d": []})
    delayed("/a", 0.1)
    captions, crawler = crawl([site.url("/")])
    assert captions == ["/", "/a", "/b", "/c", "/d"]
    assert sorted(site.requests) == ["/", "/.well-known/tdmrep.json", "/a", "/b", "/c", "/d", "/robots.txt"]
    assert (crawler.counts.read, dict(crawler.counts.rejected)) == (5, {})


def test_a_crawl_stops_at_its_limits(site: Any) -> None:
    fill(site, {f"/{n}": [f"/{n + 1}", f"/side{n}"] for n in range(20)} | {f"/side{n}": [] for n in range(20)})
    assert crawl([site.url("/0")], max_depth=1)[0] == ["/0", "/1", "/side0"]
    assert crawl([site.url("/0")], max_pages=4)[0] == ["/0", "/1", "/side0", "/2"]
    assert crawl([site.url("/0")], max_depth=0)[0] == ["/0"]


def test_what_a_limit_cuts_off_is_counted(site: Any) -> None:
    # /0 names /1 and /side0, /1 names /2 and /side1, /2 names /3 and /side2; none is counted twice.
    fill(site, {f"/{n}": [f"/{n + 1}", f"/side{n}", f"/side{n}#x"] for n in range(20)})
    fill(site, {f"/side{n}": ["/0"] for n in range(20)})
    counts = crawl([site.url("/0")], max_depth=1)[1].counts
    assert (len(counts.beyond_pages), counts.beyond_depth) == (0, 2)
    counts = crawl([site.url("/0")], max_pages=4)[1].counts
    assert (len(counts.beyond_pages), counts.beyond_depth) == (3, 0)
    counts = crawl([site.url("/0")], max_pages=41)[1].counts
    assert (len(counts.beyond_pages), counts.beyond_depth) == (0, 0)


def test_unreadable_pages_are_counted_not_fatal(site: Any) -> None:
    fill(site, {"/": ["/gone", "/secret/x", "/away", "/ok"], "/ok": []})
    site.content |= {"/robots.txt": "User-agent: *\nDisallow: /secret/\n", "/away": 302}
    site.headers["/away"] = {"Location": f"http://localhost:{site.port}/ok"}
    captions, crawler = crawl([site.url("/")])
    assert captions == ["/", "/ok"]
    assert dict(crawler.counts.rejected) == {"http_4xx": 1, "robots": 1, "not_a_page": 1}


def test_a_start_page_that_cannot_be_read_ends_the_crawl(site: Any) -> None:
    site.content["/p.png"] = b"picture"
    with pytest.raises(ConfigError, match=r"cannot read page .*/missing: HTTP Error 404"):
        crawl([site.url("/missing")])
    with pytest.raises(ConfigError, match="not an HTML page"):
        crawl([site.url("/p.png")])
    with pytest.raises(TransientError, match=r"cannot reach page http://name\.invalid"):
        crawl(["http://name.invalid/"])
