"""The built-in site, asked over real HTTP on loopback."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from selectolax.lexbor import LexborNode as Node

from t2i_core.errors import ConfigError
from t2i_core.samples.scenes import Scene, caption_scene, make_scene, pick_wording, render_scene
from t2i_core.samples.site import AWKWARD_KINDS, AwkwardCase, RunningSite, SiteConfig, awkward_cases, serve_site
from t2i_core.samples.site_pictures import MESSY_EVERY
from t2i_core.samples.site_server import Site

CONFIG = SiteConfig(source="scenes", num_pictures=450, image_size=32, seed=3, slow_seconds=0.3)


@pytest.fixture(scope="module")
def site() -> Iterator[RunningSite]:
    with serve_site(CONFIG) as running:
        yield running


def _get(url: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as err:
        return err.code, dict(err.headers), err.read()


def _first(kind: str) -> AwkwardCase:
    return next(case for case in awkward_cases(CONFIG) if case.kind == kind)


def _pages(site: RunningSite) -> dict[str, HTMLParser]:
    start = HTMLParser(_get(site.url)[2])
    urls = [urljoin(site.url, link.attributes["href"] or "") for link in start.css("a")]
    return {url: HTMLParser(_get(url)[2]) for url in urls}


def _best_address(image: Node) -> str:
    """The address of the largest version, the way a careful scraper finds it."""
    parent = image.parent
    source = parent.css_first("source") if parent is not None and parent.tag == "picture" else None
    srcset = (source or image).attributes.get("srcset")
    if srcset:
        return max(srcset.split(", "), key=lambda part: int(re.sub(r"\D", "", part.split()[1]))).split()[0]
    return image.attributes.get("data-src") or image.attributes["src"] or ""


def test_pages_show_every_good_picture_once_and_all_awkward_ones(site: RunningSite) -> None:
    found: list[str] = []
    for url, page in _pages(site).items():
        base = page.css_first("base")
        root = urljoin(url, base.attributes["href"] or "") if base else url
        found += [urljoin(root, _best_address(image)) for image in page.css("img")]
    good = [urljoin(site.url, f"/pictures/{i}.png") for i in range(450)]
    awkward = [urljoin(site.url, case.path) for case in awkward_cases(CONFIG)]
    assert sorted(found) == sorted(good + awkward)


def test_pages_use_every_kind_of_markup(site: RunningSite) -> None:
    pages = list(_pages(site).values())
    for selector in ("img[alt]", "figure > figcaption", "img[srcset]", "picture > source", "img[data-src]", "base"):
        assert any(page.css_first(selector) for page in pages), selector
    assert sum(page.css_first("meta[name=robots]") is not None for page in pages) == 1


def test_attributes_carry_the_exact_scene(site: RunningSite) -> None:
    page = HTMLParser(_get(site.url + "pages/00001.html")[2])
    for image in page.css("img"):
        scene = Scene.parse(json.loads(image.attributes["data-scene"] or ""))
        assert image.attributes["data-group"] == scene.combination
    tidy = 101
    assert tidy % MESSY_EVERY
    caption = caption_scene(make_scene(CONFIG.seed, tidy), pick_wording(CONFIG.seed, tidy))
    assert caption in page.html


def test_picture_is_its_scene_pixel_for_pixel(site: RunningSite) -> None:
    status, headers, data = _get(site.url + "pictures/17.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    expected = render_scene(make_scene(CONFIG.seed, 17), 32)
    assert Image.open(io.BytesIO(data)).tobytes() == expected.tobytes()
    assert Image.open(io.BytesIO(_get(site.url + "thumbnails/17.png")[2])).size == (16, 16)


def test_robots_txt_closes_the_folder_of_the_robots_cases(site: RunningSite) -> None:
    assert b"Disallow: /private/" in _get(site.url + "robots.txt")[2]
    assert _first("robots").path.startswith("/private/")
    assert _get(urljoin(site.url, _first("robots").path))[0] == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [("not found", 404), ("server error", 500), ("page noai", 200), ("decorative", 200), ("redirect", 200)],
)
def test_awkward_answers(site: RunningSite, kind: str, status: int) -> None:
    assert _get(urljoin(site.url, _first(kind).path))[0] == status


def test_header_opt_out(site: RunningSite) -> None:
    assert _get(urljoin(site.url, _first("header noai").path))[1]["X-Robots-Tag"] == "noai"


def test_broken_bytes(site: RunningSite) -> None:
    status, headers, data = _get(urljoin(site.url, _first("html").path))
    assert (status, headers["Content-Type"]) == (200, "image/png") and data.startswith(b"<!doctype html>")
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(_get(urljoin(site.url, _first("truncated").path))[2])).load()


def test_tiny_and_huge(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.open(io.BytesIO(_get(urljoin(site.url, _first("tiny").path))[2])).size == (1, 1)
    data = _get(urljoin(site.url, _first("huge").path))[2]
    assert len(data) < 200_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    picture = Image.open(io.BytesIO(data))
    assert picture.size == (16_000, 16_000)
    picture.load()  # the file is whole: only its size is wrong


def test_duplicate_redirect_and_slow_serve_their_picture(site: RunningSite) -> None:
    duplicate = _first("duplicate")
    assert duplicate.index < 450
    assert _get(urljoin(site.url, duplicate.path))[2] == _get(f"{site.url}pictures/{duplicate.index}.png")[2]
    for kind in ("redirect", "slow"):
        case = _first(kind)
        assert case.index >= 450
        expected = render_scene(make_scene(CONFIG.seed, case.index), 32)
        assert Image.open(io.BytesIO(_get(urljoin(site.url, case.path))[2])).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "path", ["pages/99999.html", "pictures/x.png", "slow/999.png", "pictures/../../etc/passwd", "nothing"]
)
def test_other_addresses_are_not_found(site: RunningSite, path: str) -> None:
    assert _get(site.url + path)[0] == 404


def test_awkward_cases_are_known_beforehand_and_grow_with_the_site() -> None:
    small, large = awkward_cases(CONFIG), awkward_cases(SiteConfig(num_pictures=120_000))
    assert small == awkward_cases(CONFIG)
    assert {case.kind for case in small} == set(AWKWARD_KINDS)
    assert len(small) == 2 * len(AWKWARD_KINDS) and len(large) == 20 * len(AWKWARD_KINDS)
    for cases in (small, large):
        assert len({case.path for case in cases}) == len(cases)


def test_many_at_once(site: RunningSite) -> None:
    async def fetch_all() -> list[int]:
        return await asyncio.gather(
            *(asyncio.to_thread(lambda i=i: _get(f"{site.url}pictures/{i}.png")[0]) for i in range(64))
        )

    assert asyncio.run(fetch_all()) == [200] * 64


def test_site_stops_with_its_block_and_frees_its_port() -> None:
    with serve_site(CONFIG) as first:
        port = int(first.url.rstrip("/").rsplit(":", 1)[1])
        with (
            pytest.raises(ConfigError, match=f"port {port} .*Address already in use"),
            serve_site(CONFIG.with_changes(port=port)),
        ):
            pass
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(first.url, timeout=5)
    with serve_site(CONFIG.with_changes(port=port)) as second:
        assert second.url == first.url


def test_site_dies_with_a_killed_parent() -> None:
    script = (
        "import sys, time\n"
        "from t2i_core.samples.site import SiteConfig, serve_site\n"
        "with serve_site(SiteConfig(num_pictures=5)) as site:\n"
        "    print(site.url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert _get(url)[0] == 200
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert _is_gone(url)


def _is_gone(url: str) -> bool:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.URLError:
            return True
        except ConnectionError:
            pass  # it died while it answered; the next try is refused
        time.sleep(0.1)
    return False


def test_emoji_site_shows_names_and_groups() -> None:
    config = SiteConfig(source="emoji", num_pictures=30, image_size=32)
    try:
        source = Site(config).source
    except ConfigError as err:
        pytest.skip(str(err))
    with serve_site(config) as running:
        assert running.num_pictures == 30
        page = HTMLParser(_get(running.url + "pages/00000.html")[2])
        shown = [json.loads(image.attributes["data-emoji"] or "") for image in page.css("img")]
        assert {emoji["name"] for emoji in shown} == {
            json.loads(source.describe(i).data["emoji"])["name"] for i in range(30)
        }
        assert all(image.attributes["data-group"] for image in page.css("img"))
        data = _get(running.url + "pictures/0.png")[2]
        assert Image.open(io.BytesIO(data)).tobytes() == asyncio.run(source.draw(0, 32)).tobytes()
