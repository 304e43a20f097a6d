"""Sitemaps as files, and a crawl that starts from them or ends by the clock."""

import asyncio
import gzip
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.crawling import sitemap, sitemap_reader
from t2i_core.data.crawling.crawl import Crawler, CrawlLimits
from t2i_core.data.crawling.sitemap import read_sitemap
from t2i_core.data.record import SourceRecord
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.errors import TransientError

URL = "http://example.com/sitemap.xml"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><{} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
    'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">'
)


def urlset(*entries: str) -> str:
    return HEAD.format("urlset") + "".join(f"<url>{entry}</url>" for entry in entries) + "</urlset>"


def index(*addresses: str) -> str:
    entries = "".join(f"<sitemap><loc>{address}</loc></sitemap>" for address in addresses)
    return HEAD.format("sitemapindex") + entries + "</sitemapindex>"


def pages_of(text: str | bytes) -> list[str]:
    return list(read_sitemap(text.encode() if isinstance(text, str) else text, URL).pages)


def test_pages_and_their_pictures_are_read() -> None:
    found = read_sitemap(
        urlset(
            "<loc> http://example.com/a </loc><lastmod>2024-01-01</lastmod>"
            "<image:image><image:loc>https://cdn.example/1.jpg</image:loc><image:title>t</image:title>"
            "<image:caption>a red &amp; white cat</image:caption><image:license>/free</image:license></image:image>"
            "<image:image><image:loc>/2.jpg</image:loc><image:title>a title</image:title></image:image>"
            "<image:image><image:caption>no address</image:caption></image:image>",
            "<loc>/b</loc>",
            "<loc>http://other.example/</loc><image:image><image:loc>/lost.jpg</image:loc></image:image>",
            "<loc>javascript:x</loc>",
            "<loc>/a</loc><image:image><image:loc>/3.jpg</image:loc></image:image>",
        ).encode(),
        URL,
    )
    assert list(found.pages) == ["http://example.com/a", "http://example.com/b"]
    assert [(m.url, m.caption, m.rule, m.license) for m in found.pages["http://example.com/a"]] == [
        ("https://cdn.example/1.jpg", "a red & white cat", "sitemap:caption", "http://example.com/free"),
        ("http://example.com/2.jpg", "a title", "sitemap:title", ""),
        ("http://example.com/3.jpg", "", "", ""),
    ]
    assert found.sitemaps == []


def test_an_index_and_packed_files_are_read() -> None:
    assert read_sitemap(index("/1.xml", "http://other.example/2.xml", "/3.xml.gz").encode(), URL).sitemaps == [
        "http://example.com/1.xml",
        "http://example.com/3.xml.gz",
    ]
    packed = gzip.compress(urlset("<loc>/a</loc>").encode())
    assert pages_of(packed) == ["http://example.com/a"]
    assert pages_of(packed[:-8]) == ["http://example.com/a"]
    assert pages_of(b"\x1f\x8bnothing") == []


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE urlset [<!ENTITY a "/a">]>',
        '<!DOCTYPE urlset [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE urlset SYSTEM "http://example.com/x.dtd">',
        '<!DOCTYPE urlset [<!ENTITY % p SYSTEM "http://example.com/x.dtd"> %p;]>',
    ],
)
def test_document_types_and_entities_are_refused(declaration: str) -> None:
    text = urlset("<loc>/plain</loc>", "<loc>&a;</loc>")
    assert pages_of(text.replace("<urlset", declaration + "<urlset")) == []


def test_what_comes_before_a_break_counts() -> None:
    whole = urlset("<loc>/a</loc>", "<loc>/b</loc>")
    assert pages_of(whole[: whole.index("/b")]) == ["http://example.com/a"]
    assert pages_of(urlset("<loc>/a</loc>", "<x>" * 100, "<loc>/b</loc>")) == ["http://example.com/a"]


def test_a_sitemap_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemap, "MAX_ENTRIES", 3)
    assert len(pages_of(urlset(*(f"<loc>/{n}</loc>" for n in range(9))))) == 3
    monkeypatch.setattr(sitemap, "MAX_PICTURES_PER_PAGE", 2)
    pictures = "".join(f"<image:image><image:loc>/{n}.jpg</image:loc></image:image>" for n in range(5))
    found = read_sitemap(urlset(f"<loc>/a</loc>{pictures}", "<loc>/b</loc>").encode(), URL)
    assert {page: len(mentions) for page, mentions in found.pages.items()} == {
        "http://example.com/a": 2,
        "http://example.com/b": 0,
    }
    bomb = gzip.compress(urlset("<loc>/a</loc>").encode() + b" " * 2_000_000 + b"<url>")
    monkeypatch.setattr(sitemap, "MAX_SITEMAP_BYTES", 1000)
    assert pages_of(bomb) == ["http://example.com/a"]


TAGS = st.sampled_from(
    ["urlset", "url", "loc", "image:image", "image:loc", "sitemap", "!DOCTYPE x", "?xml", "![CDATA["]
)


@given(st.binary(max_size=300) | st.lists(st.tuples(TAGS, st.text(max_size=9))).map(
    lambda parts: "".join(f"<{tag}>{text}</{tag}>" for tag, text in parts).encode()
))  # fmt: skip
def test_no_sitemap_is_too_broken_to_read(body: bytes) -> None:
    for name in (body, b"\x1f\x8b" + body, urlset("<loc>/a</loc>").encode()[:-9] + body):
        assert all(page.startswith("http://example.com/") for page in read_sitemap(name, URL).pages)


def crawl(starts: list[str], **limits: Any) -> tuple[list[SourceRecord], Crawler]:
    async def run() -> tuple[list[SourceRecord], Crawler]:
        async with Fetcher(FetchOptions(allow_private=("localhost",), retries=0)) as fetcher:
            wanted = CrawlLimits(**{"max_pages": 100, "max_depth": 0} | limits)
            crawler = Crawler(fetcher, wanted, pages_ahead=8, on_page=lambda _: None)
            return [record async for record in crawler.pictures(starts)], crawler

    return asyncio.run(run())


def captions(starts: list[str], **limits: Any) -> list[str]:
    return [record.caption for record in crawl(starts, **limits)[0]]


@pytest.fixture
def mapped(site: Any) -> Any:
    """A start page without links, and pages that only the sitemaps name."""
    for name in ("/", "/a", "/b", "/c", "/hidden"):
        site.content[name] = f"<img src=/p{name[1:]}.png alt='on {name}'>"
    picture = "<image:image><image:loc>/extra.png</image:loc><image:caption>from the map</image:caption></image:image>"
    site.content |= {
        "/robots.txt": "User-agent: *\nDisallow: /hidden\nSitemap: /first.xml\nSitemap: http://other.invalid/x.xml\n",
        "/first.xml": index("/packed.xml.gz", "/first.xml", "http://other.invalid/y.xml", "/gone.xml"),
        "/packed.xml.gz": gzip.compress(urlset("<loc>/b</loc>" + picture, "<loc>/hidden</loc>" + picture).encode()),
        "/sitemap.xml": urlset("<loc>/a</loc>", "<loc>/</loc>" + picture, "<loc>/c</loc>" + picture),
    }
    site.content["/c"] = "<meta name=robots content=noai><img src=/pc.png alt='on /c'>"
    return site


def test_a_crawl_starts_from_sitemaps_when_asked_to(mapped: Any) -> None:
    start = [mapped.url("/")]
    assert captions(start) == ["on /"]
    assert "/first.xml" not in mapped.requests
    records, crawler = crawl(start, sitemaps=True)
    assert [(r.caption, r.caption_source, r.page_url.removeprefix(start[0]), r.reason) for r in records] == [
        ("on /", "alt", "", ""),
        ("from the map", "sitemap:caption", "", ""),
        ("on /a", "alt", "a", ""),
        ("on /c", "alt", "c", "opt_out_page"),
        ("from the map", "sitemap:caption", "c", "opt_out_page"),
        ("on /b", "alt", "b", ""),
        ("from the map", "sitemap:caption", "b", ""),
    ]
    assert dict(crawler.counts.rejected) == {"robots": 1}
    assert crawler.counts.sitemaps == 3
    assert "/hidden" not in mapped.requests
    assert {mapped.requests.count(name) for name in ("/first.xml", "/packed.xml.gz", "/sitemap.xml")} == {1}


def test_sitemaps_keep_to_the_limits_of_the_crawl(mapped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = [mapped.url("/")]
    assert captions(start, sitemaps=True, max_pages=2) == ["on /", "from the map", "on /a"]
    monkeypatch.setattr(sitemap_reader, "MAX_SITEMAPS_PER_SITE", 1)
    mapped.requests.clear()
    assert captions(start, sitemaps=True) == ["on /"]
    assert "/first.xml" in mapped.requests
    assert not {"/packed.xml.gz", "/sitemap.xml", "/a", "/b"} & set(mapped.requests)


def test_a_site_without_sitemaps_is_crawled_as_ever(site: Any) -> None:
    site.content["/"] = "<img src=/p.png alt='on /'>"
    records, crawler = crawl([site.url("/")], sitemaps=True)
    assert [record.caption for record in records] == ["on /"]
    assert (crawler.counts.sitemaps, dict(crawler.counts.rejected)) == (0, {})


@pytest.fixture
def stuck(site: Any) -> Any:
    """Pages that never answer, beside some that do."""

    async def wait(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    site.content |= {
        "/": "<img src=/p.png alt='on /'><a href=/stuck>s</a><a href=/a>a</a>",
        "/a": "<img src=/a.png alt='on /a'><a href=/b>b</a><a href=/c>c</a>",
        "/stuck": wait,
    }
    return site


def test_a_crawl_ends_in_good_order_when_its_time_is_up(stuck: Any) -> None:
    records, crawler = crawl([stuck.url("/")], max_depth=9, max_seconds=2.0)
    assert [record.caption for record in records] == ["on /", "on /a"]
    # The page that hung, and the two that would have come after it.
    assert (crawler.counts.read, crawler.counts.given_up, dict(crawler.counts.rejected)) == (2, 3, {})
    assert not {"/b", "/c"} & set(stuck.requests)


def test_a_crawl_whose_start_is_not_there_in_time_says_so(stuck: Any) -> None:
    with pytest.raises(TransientError, match=r"cannot reach page .*/stuck: the time for the crawl was up"):
        crawl([stuck.url("/stuck")], max_seconds=0.2)
    with pytest.raises(TransientError, match="the time for the crawl was up"):
        crawl([stuck.url("/stuck")], max_seconds=0.2, sitemaps=True)


def test_a_sitemap_that_hangs_costs_no_page_that_was_read(stuck: Any) -> None:
    stuck.content["/sitemap.xml"] = stuck.content["/stuck"]
    assert captions([stuck.url("/")], sitemaps=True, max_seconds=2.0) == ["on /"]
