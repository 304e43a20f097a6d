"""The process that reads pages for a crawl: `python -m t2i_core.data.crawling.page_worker`, started by `page_reader`.

A page of some kilobytes can make any HTML parser build gigabytes or work for hours, because the rules of HTML say so.
Here that ends this process, which has little memory and time for each page, and not the crawl.
"""

from typing import Any

from t2i_core.data.crawling.page_message import pack_page
from t2i_core.data.pages.page import read_page
from t2i_core.data.workers.worker import serve

MAX_MEMORY_BYTES = 1024**3


def handle(asked: Any, body: bytes) -> tuple[Any, bytes]:
    """Read one page; `asked` holds the other arguments of `read_page`."""
    return pack_page(read_page(body, **asked)), b""


if __name__ == "__main__":
    serve(lambda _: handle, max_memory_bytes=MAX_MEMORY_BYTES)
