"""The web server of the built-in site: `python -m t2i_core.samples.site_server --config JSON`.

It prints one line of JSON, `{"url": ..., "num_pictures": ...}` or `{"error": ...}`, and serves until its standard input
closes. `site.serve_site` starts and stops it.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal, get_args

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import ImageOps

from t2i_core.errors import DataError, T2IError
from t2i_core.samples.nights import FRAME, HOST, SECOND_HOST, Night, host_of
from t2i_core.samples.site import PAGE_PICTURES, AwkwardCase, SiteConfig, awkward_cases
from t2i_core.samples.site_pictures import Description, encode_png, huge_png, mess_up, open_source, tiny_png

ROBOTS = "User-agent: *\nDisallow: /private/\n"
Markup = Literal["plain", "figure", "srcset", "picture", "lazy"]
MARKUPS: tuple[Markup, ...] = get_args(Markup)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as it stands on a page; addresses may be relative to the page or to its `<base>`."""

    src: str
    thumbnail: str
    caption: str
    data: dict[str, str]
    markup: Markup


class Site:
    """Answers for every address of the site."""

    def __init__(self, config: SiteConfig) -> None:
        """Open the pictures.

        Raises:
            ConfigError: what they are drawn from is not there.
        """
        self.source = open_source(config)
        self.config = config.with_changes(num_pictures=self.source.num_pictures)
        self.cases = {case.path: case for case in awkward_cases(self.config)}
        self.num_pages = ceil(self.source.num_pictures / PAGE_PICTURES)
        self.night = None if config.night is None else Night(config.night, self.source.num_pictures, self.num_pages)
        loader = PackageLoader("t2i_core.samples", package_path="")
        self.templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def app(self) -> web.Application:
        """Give the web application."""
        app = web.Application(middlewares=[self.note, self.mark] if self.night or self.config.request_log else [])
        app.router.add_get("/", self.start_page)
        app.router.add_get("/robots.txt", self.robots)
        app.router.add_get("/pages/{number:[0-9]{1,8}}.html", self.page)
        app.router.add_get("/pages/noai.html", self.noai_page)
        app.router.add_get("/pages/new.html", self.new_page)
        app.router.add_get("/pages/moved.html", self.moved_page)
        app.router.add_get("/{folder:pictures|thumbnails}/{index:[0-9]{1,10}}.png", self.picture)
        app.router.add_get("/{folder}/{number:[0-9]{3}}.png", self.awkward)
        return app

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write down what was asked for, and how it was answered."""
        status = 500
        try:
            answer = await handler(request)
            status = answer.status
            return answer
        except web.HTTPException as err:
            status = err.status
            raise
        finally:
            if self.config.request_log:
                with Path(self.config.request_log).open("a", encoding="utf-8") as log:
                    log.write(f"{request.host} {request.path} {status}\n")

    @web.middleware
    async def mark(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give answers a mark, and send nothing to those who have what it stands for."""
        answer = await handler(request)
        if self.night and isinstance(answer, web.Response) and answer.status == 200:
            mark = f'"{hashlib.sha256(_body_of(answer)).hexdigest()[:16]}"'
            answer.headers["ETag"] = mark
            if request.headers.get("If-None-Match") == mark:
                return web.Response(status=304, headers={"ETag": mark})
        return answer

    async def robots(self, request: web.Request) -> web.Response:
        """Close one folder to robots, or all of the second host."""
        is_closed = self.night and self.night.is_second_host_closed and request.url.host == SECOND_HOST
        return web.Response(text="User-agent: *\nDisallow: /\n" if is_closed else ROBOTS)

    async def start_page(self, _: web.Request) -> web.Response:
        """Link to all pages."""
        names = self.night.pages if self.night else [f"{number:05d}" for number in range(self.num_pages)]
        paths = [f"pages/{name}.html" for name in (*names, "noai")]
        return self._render("site_start.html.j2", title="Pictures", pages=paths)

    async def page(self, request: web.Request) -> web.Response:
        """Show a hundred pictures; every fourth page has a `<base>`."""
        number = int(request.match_info["number"])
        if number >= self.num_pages or (self.night and self.night.moved_page == number):
            raise web.HTTPNotFound
        return self._numbered_page(request, number)

    async def moved_page(self, request: web.Request) -> web.Response:
        """Show the page that has another address now."""
        if self.night is None or self.night.moved_page is None:
            raise web.HTTPNotFound
        return self._numbered_page(request, self.night.moved_page)

    async def new_page(self, request: web.Request) -> web.Response:
        """Show the pictures that came after the site was made."""
        if self.night is None or not self.night.added:
            raise web.HTTPNotFound
        figures = [self._good_figure(index, "../pictures/", request) for index in self.night.added]
        return self._render_page("New", figures)

    def _numbered_page(self, request: web.Request, number: int) -> web.Response:
        base = "/pictures/" if number % 4 == 3 else ""
        first = number * PAGE_PICTURES
        indices = range(first, min(first + PAGE_PICTURES, self.source.num_pictures))
        gone = self.night.removed if self.night else ()
        folder = "" if base else "../pictures/"
        figures = [self._good_figure(index, folder, request) for index in indices if index not in gone]
        for place, case in enumerate(self.cases.values()):
            if case.kind != "page noai" and place % self.num_pages == number:
                figures.insert(place % len(figures), self._awkward_figure(case))
        return self._render_page(f"Page {number}", figures, base=base)

    async def noai_page(self, _: web.Request) -> web.Response:
        """Show the pictures of a page that asks not to be used for training."""
        figures = [self._awkward_figure(case) for case in self.cases.values() if case.kind == "page noai"]
        return self._render_page("Not for training", figures, noai=True)

    async def picture(self, request: web.Request) -> web.Response:
        """Draw a good picture, or its half-size thumbnail."""
        index = int(request.match_info["index"])
        if self.night and index in self.night.removed:
            raise web.HTTPNotFound
        small = request.match_info["folder"] == "thumbnails"
        return _png(await self._draw(index, self.config.image_size // 2 if small else self.config.image_size))

    async def awkward(self, request: web.Request) -> web.Response:
        """Serve an awkward picture in its own way."""
        case = self.cases.get(request.path)
        if case is None:
            raise web.HTTPNotFound
        match case.kind:
            case "not found":
                raise web.HTTPNotFound
            case "server error":
                raise web.HTTPInternalServerError
            case "redirect":
                raise web.HTTPFound(f"/pictures/{case.index}.png")
            case "html":
                return _png(b"<!doctype html><title>Sorry</title><p>This picture is gone.")
            case "tiny":
                return _png(tiny_png())
            case "huge":
                return _png(huge_png())
        data = await self._draw(case.index, self.config.image_size)
        if case.kind == "slow":
            await asyncio.sleep(self.config.slow_seconds)
        if case.kind == "truncated":
            return _png(data[: len(data) // 2])
        return _png(data, {"X-Robots-Tag": "noai"} if case.kind == "header noai" else None)

    async def _draw(self, index: int, image_size: int) -> bytes:
        try:
            picture = await self.source.draw(index, image_size)
            if self.night and index in self.night.changed:
                picture = ImageOps.expand(ImageOps.crop(picture, FRAME), FRAME, "black")
            return encode_png(picture)
        except DataError as err:
            raise web.HTTPInternalServerError(text=str(err)) from err

    def _good_figure(self, index: int, folder: str, request: web.Request) -> Figure:
        description = self.source.describe(index)
        if self.night and host_of(index) == SECOND_HOST:
            folder = f"http://{SECOND_HOST}:{request.url.port}/pictures/"
        return Figure(
            src=f"{folder}{index}.png",
            thumbnail=f"/thumbnails/{index}.png",
            caption=mess_up(description.caption, index),
            data=dict(description.data),
            markup=MARKUPS[index % len(MARKUPS)],
        )

    def _awkward_figure(self, case: AwkwardCase) -> Figure:
        description: Description = self.source.describe(case.index)
        caption = "" if case.kind == "decorative" else description.caption
        return Figure(src=case.path, thumbnail=case.path, caption=caption, data=dict(description.data), markup="plain")

    def _render_page(self, title: str, figures: list[Figure], *, base: str = "", noai: bool = False) -> web.Response:
        size = self.config.image_size
        return self._render("site_page.html.j2", title=title, figures=figures, base=base, noai=noai, size=size)

    def _render(self, template: str, **values: object) -> web.Response:
        return web.Response(text=self.templates.get_template(template).render(values), content_type="text/html")


def _body_of(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else (answer.text or "").encode()


def _png(data: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=data, content_type="image/png", headers=headers)


async def _serve(config: SiteConfig) -> int:
    try:
        site = Site(config)
        runner = web.AppRunner(site.app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, HOST, config.port, backlog=1024).start()
        if site.night:
            await web.TCPSite(runner, SECOND_HOST, runner.addresses[0][1], backlog=1024).start()
    except T2IError as err:
        return _say({"error": str(err)}, err.exit_code)
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else str(err)
        message = f"cannot listen on port {config.port} of {HOST} ({reason}). Choose another port, or 0 for any."
        return _say({"error": message}, 2)
    port = runner.addresses[0][1]
    async with site.source:
        _say({"url": f"http://{HOST}:{port}/", "num_pictures": site.source.num_pictures}, 0)
        await _stdin_closed()
        await runner.cleanup()
    return 0


def _say(answer: dict[str, object], exit_code: int) -> int:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return exit_code


async def _stdin_closed() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass


def main() -> int:
    """Serve the site that `--config` describes.

    Returns:
        0 when the parent is gone or has closed the pipe, 2 when the config cannot be served.
    """
    parser = argparse.ArgumentParser(description="Serve the built-in site.")
    parser.add_argument("--config", required=True, help="a SiteConfig as JSON")
    return asyncio.run(_serve(SiteConfig.parse(json.loads(parser.parse_args().config))))


if __name__ == "__main__":
    sys.exit(main())
