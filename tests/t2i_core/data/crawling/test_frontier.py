"""What a crawl has still to read stays out of memory, whatever pages and sitemaps list."""

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.bounded import lines
from t2i_core.data.bounded.distinct import DistinctCount
from t2i_core.data.bounded.lines import Lines
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.crawling import sitemap, sitemap_reader
from t2i_core.data.crawling.frontier import Frontier
from t2i_core.data.crawling.sitemap import read_sitemap
from t2i_core.data.crawling.sitemap_reader import SitemapReader, mentions_in
from t2i_core.data.web.fetch import Fetcher, FetchOptions


@given(st.lists(st.text(st.characters(exclude_characters="\n"))))
def test_lines_come_back_as_they_were(texts: list[str]) -> None:
    found = Lines()
    for text in texts:
        found.add(text)
    assert list(found) == list(found) == texts
    assert len(found) == len(texts)


def test_many_long_links_take_little_memory(tmp_path: Path) -> None:
    frontier = Frontier(tmp_path)
    tracemalloc.start()
    try:
        for number in range(8_000):
            for _ in range(2):
                frontier.add(f"http://a.example/{number}/{'x' * 2000}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The links themselves are 16 MB.
    assert peak < 2 * lines.MAX_BYTES_IN_MEMORY
    assert len(frontier) == 8_000 == len(list(frontier))
    assert f"http://a.example/7/{'x' * 2000}" in frontier
    assert list(tmp_path.iterdir()) == []


def test_of_a_sitemap_no_more_is_kept_than_it_may_say(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = "<i:image><i:loc>/p{}.png</i:loc><i:caption>" + "c" * 100 + "</i:caption></i:image>"
    entries = (f"<url><loc>/{n}</loc>{picture.format(n) * 10}</url>" for n in range(1000))
    text = f"<urlset xmlns='s' xmlns:i='i'>{''.join(entries)}</urlset>".encode()
    assert len(read_sitemap(text, "http://a.example/s.xml").pages) == 1000
    monkeypatch.setattr(sitemap, "MAX_KEPT_CHARS", 50_000)
    assert 30 < len(read_sitemap(text, "http://a.example/s.xml").pages) < 50
    monkeypatch.setattr(sitemap, "MAX_PICTURES", 100)
    assert len(read_sitemap(text, "http://a.example/s.xml").pages) == 10


def test_indexes_do_not_multiply_and_what_is_read_lies_on_disk(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitemap_reader, "MAX_SITEMAPS_PER_SITE", 10)
    index = "<sitemapindex xmlns='s'>{}</sitemapindex>"
    names = [f"<sitemap><loc>/index.xml?{number}</loc></sitemap>" for number in range(30)]
    site.content["/sitemap.xml"] = site.content["/index.xml"] = index.format("".join(names))
    entry = "<url><loc>/a</loc><i:image><i:loc>/{0}.png</i:loc><i:caption>text {0}</i:caption></i:image></url>"
    site.content["/robots.txt"] = "Sitemap: /first.xml\nSitemap: /second.xml\n"
    for number, name in enumerate(("/first.xml", "/second.xml")):
        site.content[name] = f"<urlset xmlns='s' xmlns:i='i'>{entry.format(number)}<url><loc>/b</loc></url></urlset>"

    async def run() -> tuple[list[str], list[str]]:
        options = FetchOptions(allow_private=("localhost",), retries=0, opt_out_files=False)
        with SideTable(tmp_path / "sitemaps.sqlite") as table:
            async with (
                Fetcher(options) as fetcher,
                SitemapReader(fetcher, 100, DistinctCount(), table) as reader,
            ):
                await reader.read_site(site.url(""))
                said = [mention.caption for mention in mentions_in(table, site.url("/a"))]
                return [page.removeprefix(site.url("")) for page in reader.pages()], said

    assert asyncio.run(run()) == (["/a", "/b"], ["text 0", "text 1"])
    assert len([path for path in site.requests if path != "/robots.txt"]) == 10
