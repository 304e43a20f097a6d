"""A small picture web site on loopback, in a process of its own, for trying the real ingest without the internet.

`num_pictures` good pictures stand on ordinary pages of a hundred, and between them the awkward cases that real sites
have. Everything is drawn on demand and depends only on the config, so the site can be any size.
"""

import json
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Self, get_args

from pydantic import Field, model_validator

from t2i_core.children import module_command, start
from t2i_core.config import Config
from t2i_core.errors import ConfigError, TransientError

SourceName = Literal["scenes", "emoji", "emoji-styles"]
LanguageName = Literal["plain", "wide"]
AwkwardKind = Literal[
    "robots",  # under a folder that robots.txt disallows
    "header noai",  # sent with X-Robots-Tag: noai
    "page noai",  # stands on a page with <meta name="robots" content="noai">
    "not found",  # 404
    "server error",  # 500
    "truncated",  # the second half of the file is missing
    "html",  # an HTML page, sent as image/png with status 200
    "tiny",  # 1 x 1 pixel
    "huge",  # 256 million pixels in a few kilobytes
    "duplicate",  # the bytes of a good picture under another address
    "slow",  # a good answer, `slow_seconds` late
    "redirect",  # moved to another address of the site
    "decorative",  # alt=""
]
AWKWARD_KINDS: tuple[AwkwardKind, ...] = get_args(AwkwardKind)
# Good pictures on a page.
PAGE_PICTURES = 100
START_SECONDS = 60.0
STOP_SECONDS = 5.0


class SiteConfig(Config):
    """What the built-in site shows."""

    source: SourceName = Field("scenes", description="What the pictures show.")
    language: LanguageName = Field(
        "plain",
        description="How captions say what scenes show: plain, or wide, with many words and sentences.",
    )
    num_pictures: int = Field(1000, ge=1, le=10_000_000, description="Good pictures, at most all there are.")
    image_size: int = Field(64, ge=8, le=1024, description="Side of the pictures in pixels.")
    seed: int = Field(0, description="Seed of the pictures and their order.")
    icons: tuple[str, ...] = Field(
        (),
        max_length=100,
        description="Folder of an icon set that emoji-styles are drawn from; again for more, three at least.",
    )
    port: int = Field(0, ge=0, le=65535, description="Port on 127.0.0.1; 0 takes any free one.")
    slow_seconds: float = Field(1.0, ge=0, le=60, description="How late the slow pictures come.")
    night: int | None = Field(
        None,
        ge=0,
        le=1000,
        exclude_if=lambda night: night is None,
        description="Night of a site that changes: 1: pictures come, change and go; 2: a second host, 127.0.0.2, opts "
        "out and a page moves; 3 and on: nothing. Answers then have marks (ETag). Empty for a site that never changes.",
    )
    request_log: str = Field(
        "",
        exclude_if=lambda path: not path,
        description="File to which each request is appended: host, path and status; empty for none.",
    )

    @model_validator(mode="after")
    def _has_words_for_it(self) -> Self:
        if self.language == "wide" and self.source != "scenes":
            raise ValueError(f"the language wide is of scenes, and this site shows {self.source}: leave it out")
        return self


@dataclass(frozen=True, slots=True)
class AwkwardCase:
    """One picture that is not served like the others.

    Attributes:
        kind: what is wrong with it.
        number: counts the cases of a kind from 0.
        index: the picture it would show; below `num_pictures` it is a second copy of a good one.
        path: its address on the site, from the root.
    """

    kind: AwkwardKind
    number: int
    index: int
    path: str


def awkward_cases(config: SiteConfig) -> tuple[AwkwardCase, ...]:
    """List the awkward pictures of a site: two to twenty of each kind, growing with the site.

    Scenes never end, so only the duplicates repeat a good picture; all else does, so every case repeats one.
    """
    num_each = min(20, max(2, config.num_pictures // 1000))
    cases = []
    for number in range(num_each):
        for place, kind in enumerate(AWKWARD_KINDS):
            beyond = config.num_pictures + number * len(AWKWARD_KINDS) + place
            repeats = kind == "duplicate" or config.source != "scenes"
            index = beyond % config.num_pictures if repeats else beyond
            folder = "private" if kind == "robots" else kind.replace(" ", "-")
            cases.append(AwkwardCase(kind=kind, number=number, index=index, path=f"/{folder}/{number:03d}.png"))
    return tuple(cases)


@dataclass(frozen=True, slots=True)
class RunningSite:
    """A site that answers.

    Attributes:
        url: the start page, which links to all others.
        num_pictures: good pictures shown; fewer than asked for when there are no more.
    """

    url: str
    num_pictures: int


@contextmanager
def serve_site(config: SiteConfig) -> Iterator[RunningSite]:
    """Serve the site from another process until the block ends.

    The process watches its standard input, which closes when this one ends, however it ends.

    Raises:
        ConfigError: the port is taken, or what it is to show is not there: a color font, or icon sets.
        TransientError: the site did not come up.
    """
    with tempfile.TemporaryFile() as log:
        # The process works in another folder.
        there = config.with_changes(
            icons=[str(Path(folder).absolute()) for folder in config.icons],
            request_log=config.request_log and str(Path(config.request_log).absolute()),
        )
        command = module_command("t2i_core.samples.site_server", "--config", there.model_dump_json())
        process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            yield _wait_ready(process, log)
        finally:
            _stop(process)


def _wait_ready(process: subprocess.Popen[bytes], log: IO[bytes]) -> RunningSite:
    """Read the one line that the server prints: where it listens, or why it cannot."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if readable else b""
    if not line:
        log.seek(0)
        words = log.read().decode(errors="replace").strip().splitlines()
        reason = words[-1] if words else f"no answer within {START_SECONDS:.0f} s"
        raise TransientError(f"the built-in site did not start: {reason}. Try again.")
    answer = json.loads(line)
    if "error" in answer:
        raise ConfigError(answer["error"])
    return RunningSite(url=answer["url"], num_pictures=answer["num_pictures"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
