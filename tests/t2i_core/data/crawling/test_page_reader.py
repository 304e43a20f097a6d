"""Pages that exhaust a parser end its process and nothing else."""

import asyncio
import json
from typing import Any

import pytest

from t2i_core.data.answer import Fetched
from t2i_core.data.crawling.crawl import Crawler, CrawlLimits
from t2i_core.data.crawling.page_message import MAX_LINKS, MAX_PAGE_BYTES
from t2i_core.data.crawling.page_reader import PageReader
from t2i_core.data.pages.markup import MAX_TEXT_CHARS
from t2i_core.data.pages.page import Page, read_page
from t2i_core.data.reject import Rejection
from t2i_core.data.web.fetch import Fetcher, FetchOptions

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


IMAGES = "".join(f"<img src={n}.png>" for n in range(10_000))
WORDS = "many words " * 90_000
NESTED = "".join(f"<div class=caption><p><img src={n}.png></p>" for n in range(200)) + WORDS
# Each asks for much memory in a way of its own: one text for all pictures, links, sizes, data, and plain numbers.
LARGE = {
    "one caption for all": f"<figure>{IMAGES}<figcaption>{WORDS}</figcaption></figure>",
    "one label for all": f"<p id=a>{WORDS}" + "".join(f"<img src={n} aria-labelledby=a>" for n in range(10_000)),
    "captions in captions": NESTED,
    "long texts of their own": "".join(f"<img src={n}.png alt='{n} {'word ' * 1000}'>" for n in range(3000)),
    "links": "".join(f"<a href='/{'x' * 90}/{n}'>x</a>" for n in range(30_000)),
    "attributes": "".join(f"<img src={n} alt=x data-x='{'y' * 8000}{n}'>" for n in range(2000)),
    "a long srcset": f"<img alt=x src=a.png srcset='{', '.join(f'{n}.png {n}w' for n in range(100_000))}'>" * 3,
    "linked data": "<script type=application/ld+json>"
    + json.dumps([{"@type": "Product", "name": WORDS[:900_000], "image": [f"{n}.png" for n in range(1000)]}])
    + "</script>",
    "many pictures": "<img src=a.png>" * 200_000,
    "bases": "<base href=/x/>" * 50_000 + "<img src=a.png alt=x>",
}


@pytest.mark.parametrize("what", LARGE)
def test_what_comes_back_of_a_page_is_bounded(what: str) -> None:
    [page] = read(LARGE[what])
    if isinstance(page, Rejection):
        assert page.reason == "page_too_complex"
        return
    texts = {id(text): text for mention in page.mentions for text in (mention.url, mention.caption, mention.attributes)}
    assert sum(map(len, texts.values())) + sum(map(len, page.links)) <= MAX_PAGE_BYTES
    assert len(page.mentions) <= MAX_PAGE_BYTES / 100 and len(page.links) <= MAX_LINKS
    assert max((len(mention.caption) for mention in page.mentions), default=0) <= MAX_TEXT_CHARS


def test_pictures_that_share_a_text_share_its_memory_and_are_all_there() -> None:
    [page] = read(LARGE["one caption for all"])
    assert isinstance(page, Page) and page.num_pictures_cut == 0
    assert len(page.mentions) == 10_000 and len({id(mention.caption) for mention in page.mentions}) == 1


def test_what_is_cut_is_counted() -> None:
    [page] = read(LARGE["long texts of their own"])
    assert isinstance(page, Page) and 500 < len(page.mentions) < 3000
    assert len(page.mentions) + page.num_pictures_cut == 3000
    [page] = read(LARGE["links"])
    assert isinstance(page, Page) and (len(page.links), page.num_links_cut) == (MAX_LINKS, 20_000)


def test_a_reading_that_is_given_up_leaves_no_answer_behind() -> None:
    async def run() -> Page | Rejection:
        async with PageReader() as reader:
            await reader.read(Fetched(b"<img src=first.png>", URL, 200))
            # Takes a second or two, in a process that is there already.
            slow = asyncio.create_task(reader.read(Fetched(b"<div>" * 40_000, URL, 200)))
            await asyncio.sleep(0.1)
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
