"""The process that reads pages for a crawl: `python -m t2i_core.data.page_worker`, started by `page_reader`.

A page of some kilobytes can make any HTML parser build gigabytes or work for hours, because the rules of HTML say so.
Here that ends this process, which has little memory and time for each page, and not the crawl. It takes one line of
JSON and a body at a time from its input, and answers each with one line of JSON.
"""

import json
import resource
import sys
from dataclasses import asdict
from typing import BinaryIO

from t2i_core.data.pages import read_page
from t2i_core.lifeline import die_with_parent

READY = b"ready\n"
MAX_MEMORY_BYTES = 1024**3
MAX_CPU_SECONDS = 5


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Read pages until the input ends."""
    answers.write(READY)
    answers.flush()
    while line := requests.readline():
        asked = json.loads(line)
        body = requests.read(asked.pop("size"))
        _limit_cpu(MAX_CPU_SECONDS)
        page = read_page(body, **asked)
        answers.write(json.dumps(asdict(page)).encode() + b"\n")
        answers.flush()


def _limit_cpu(seconds: int) -> None:
    """Let the kernel end this process when it has worked so much longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _limit_memory(size: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))


if __name__ == "__main__":
    die_with_parent()
    _limit_memory(MAX_MEMORY_BYTES)
    serve(sys.stdin.buffer, sys.stdout.buffer)
