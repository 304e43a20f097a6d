"""The process that reads sitemaps for a crawl, started by `sitemap_reader`.

Some kilobytes unpack to as much as a sitemap may hold, and all of it names pages and pictures: the work and the memory
for that end here.
"""

from dataclasses import astuple
from typing import Any

from t2i_core.data.crawling.sitemap import read_sitemap
from t2i_core.data.workers.worker import serve

MAX_MEMORY_BYTES = 512 * 1024**2
# As a rule a tenth of it; a page with ten thousand pictures is a page all the same.
MAX_CPU_SECONDS = 30


def handle(url: Any, body: bytes) -> tuple[Any, bytes]:
    """Read one sitemap that was found at a URL."""
    found = read_sitemap(body, url)
    pages = [
        [page, [astuple(mention) for mention in mentions], found.changed[page]]
        for page, mentions in found.pages.items()
    ]
    return [found.sitemaps, pages], b""


if __name__ == "__main__":
    serve(lambda _: handle, max_memory_bytes=MAX_MEMORY_BYTES, max_cpu_seconds=MAX_CPU_SECONDS)
