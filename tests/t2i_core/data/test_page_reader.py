"""Pages that exhaust a parser end its process and nothing else."""

import asyncio
from typing import Any

import pytest

from t2i_core.data.crawl import Crawler, CrawlLimits
from t2i_core.data.fetch import Fetched, Fetcher, FetchOptions
from t2i_core.data.page_reader import PageReader
from t2i_core.data.pages import Page, read_page
from t2i_core.data.reject import Rejection

URL = "http://example.com/page.html"
# Every paragraph opens all of the unclosed elements anew: nodes grow with the product of the two numbers.
MANY_NODES = "<p>" + "".join(f"<b id={number}>" for number in range(3000)) + "<p>x" * 20_000
# Every element looks through all that are open around it: time grows with the square of their number.
MANY_STEPS = "<div>" * 300_000


def read(*bodies: str) -> list[Page | Rejection]:
    async def run() -> list[Page | Rejection]:
        async with PageReader() as reader:
            answers = (Fetched(body.encode(), URL, 200, "text/html", frozenset({"noai"})) for body in bodies)
            return list(await asyncio.gather(*(reader.read(answer) for answer in answers)))

    return asyncio.run(run())


def test_a_page_is_the_same_as_when_read_here() -> None:
    body = """<link rel=license href=/free><a href=next>n</a><img src=a.png alt='grün 😀' data-x='{"y": 1}'>
              <script type=application/ld+json>{"@type": "Photograph", "url": "b.png", "caption": "\\ud800"}</script>"""
    assert read(body) == [read_page(body.encode(), URL, "text/html", {"noai"})]


@pytest.mark.parametrize("hostile", [MANY_NODES, MANY_STEPS], ids=["memory", "time"])
def test_a_hostile_page_costs_only_itself(hostile: str) -> None:
    before, bad, after = read("<img src=a.png>", hostile, "<img src=b.png>")
    assert isinstance(bad, Rejection) and bad.reason == "page_too_complex"
    assert isinstance(before, Page) and before.mentions[0].url == "http://example.com/a.png"
    assert isinstance(after, Page) and after.mentions[0].url == "http://example.com/b.png"


def test_a_reading_that_is_given_up_leaves_no_answer_behind() -> None:
    async def run() -> Page | Rejection:
        async with PageReader() as reader:
            slow = asyncio.create_task(reader.read(Fetched(MANY_STEPS.encode(), URL, 200)))
            await asyncio.sleep(1)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return await reader.read(Fetched(b"<img src=a.png>", URL, 200))

    page = asyncio.run(run())
    assert isinstance(page, Page) and [mention.url for mention in page.mentions] == ["http://example.com/a.png"]


def test_a_crawl_goes_on_after_a_hostile_page(site: Any) -> None:
    site.content |= {
        "/": "<img src=/p.png alt='on /'><a href=/bomb>b</a><a href=/a>a</a>",
        "/bomb": MANY_NODES,
        "/a": "<img src=/p.png alt='on /a'>",
    }

    async def run() -> tuple[list[str], dict[str, int]]:
        async with Fetcher(FetchOptions(allow_private=("localhost",), retries=0)) as fetcher:
            limits = CrawlLimits(max_pages=9, max_depth=9)
            crawler = Crawler(fetcher, limits, pages_ahead=8, on_page=lambda _: None)
            captions = [record.caption async for record in crawler.pictures([site.url("/")])]
            return captions, dict(crawler.counts.rejected)

    assert asyncio.run(run()) == (["on /", "on /a"], {"page_too_complex": 1})
