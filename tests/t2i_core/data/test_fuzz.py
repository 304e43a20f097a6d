"""Whatever comes from outside may be anything: no reader of it raises, and what it gives keeps its promises.

`python -m pytest tests/t2i_core/data/test_fuzz.py --hypothesis-profile explore` tries far more, other ones each time.
"""

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from yarl import URL

from t2i_core.captioning.rules import RULES, clean
from t2i_core.data.address import literal_address, normalise_url, origin_of, url_identity
from t2i_core.data.answer import Fetched
from t2i_core.data.crawling.sitemap import read_sitemap
from t2i_core.data.manners.aitxt import AiTxtRules
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.manners.pace import MAX_PAUSE_SECONDS, wait_seconds
from t2i_core.data.manners.robots import RobotsAnswer, RobotsRules
from t2i_core.data.manners.signals import directives_for_us, opts_out
from t2i_core.data.manners.tdmrep import TdmRules, reservation
from t2i_core.data.pages.markup import absolute
from t2i_core.data.pages.page import read_page
from t2i_core.data.pages.srcset import largest_candidate
from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.reject import Rejection
from t2i_core.data.sources.lists import read_list
from t2i_core.data.tables.cells import joined, kind_of, plain
from t2i_core.data.text import as_text, clean_text, license_text
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.private_hosts import PrivateHosts
from t2i_core.data.web.verdict import Want
from t2i_core.errors import ConfigError
from tests.t2i_core.data.web.fault_server import Answer, End, FaultServer

PAGE_URL = "http://a.example/folder/page"
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\x80\0\0\0"]


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Take something whole and break it in a few places, as disks, programs and enemies do."""
    body = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        place, length = draw(st.integers(0, max(len(body) - 1, 0))), draw(st.integers(1, 64))
        match draw(st.sampled_from(["flip", "extreme", "cut", "insert", "repeat", "end"])):
            case "flip":
                body[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "extreme":
                body[place : place + 4] = draw(st.sampled_from(EXTREMES))
            case "cut":
                del body[place : place + length]
            case "insert":
                body[place:place] = draw(st.binary(max_size=length))
            case "repeat":
                body[place:place] = body[place : place + length]
            case "end":
                del body[place:]
    return bytes(body)


# ------------------------------------------------------------------------------------------------------------ pictures


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seeds_of(kind: str) -> list[bytes]:
    """Draw small pictures in many forms of one format."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))
    rgba = Image.fromarray(rng.integers(0, 256, (24, 20, 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    match kind:
        case "JPEG":
            odd = {"exif": exif, "icc_profile": icc, "comment": b"text"}
            forms = [saved(rgb, kind, **odd), saved(rgb, kind, progressive=True), saved(rgb.convert("CMYK"), kind)]
            return [*forms, saved(rgb.convert("L"), kind), saved(rgb, "MPO", save_all=True, append_images=[rgb])]
        case "PNG":
            deep = Image.fromarray(rng.integers(0, 65536, (24, 20), dtype=np.uint16))
            forms = [saved(rgba, kind, icc_profile=icc, exif=exif), saved(deep, kind), saved(rgb.convert("1"), kind)]
            palette = saved(rgb.quantize(7), kind, transparency=3)
            return [*forms, palette, saved(rgb, kind, save_all=True, append_images=[rgb.rotate(90)])]
        case "GIF":
            return [saved(rgb, kind), saved(rgb, kind, save_all=True, append_images=[rgb.rotate(90)], loop=0)]
        case "WEBP":
            forms = [saved(rgb, kind, exif=exif, icc_profile=icc), saved(rgba, kind, lossless=True)]
            return [*forms, saved(rgba, kind, save_all=True, append_images=[rgba.rotate(90)])]
        case "TIFF":
            modes = [rgb, rgba, rgb.convert("CMYK"), rgb.convert("L"), rgb.convert("1"), rgb.convert("F")]
            packed = [saved(rgb, kind, compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
            return [
                *(saved(image, kind) for image in modes),
                *packed,
                saved(rgb, kind, save_all=True, append_images=[rgb]),
            ]
    return [saved(image, "BMP") for image in (rgb, rgb.convert("L"), rgb.convert("1"), rgb.quantize(5))]


FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
SEEDS = {kind: seeds_of(kind) for kind in FORMATS}
OPTIONS = st.builds(
    ImageOptions,
    image_size=st.sampled_from([1, 8, 33]),
    resize_mode=st.sampled_from(["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]),
    resize_only_if_bigger=st.booleans(),
    encode_format=st.sampled_from(["jpg", "png", "webp"]),
    min_image_size=st.sampled_from([0, 8]),
    max_pixels=st.just(100_000),
)


@pytest.mark.parametrize("kind", FORMATS)
def test_whole_pictures_are_kept(kind: str) -> None:
    for body in SEEDS[kind]:
        outcome = process_picture(body, ImageOptions(image_size=8))
        assert isinstance(outcome, Picture) or outcome.detail == "pixels of mode F"


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data(), options=OPTIONS)
def test_no_bytes_break_the_picture_reader(kind: str, data: st.DataObject, options: ImageOptions) -> None:
    outcome = process_picture(data.draw(damaged(SEEDS[kind])), options)
    assert isinstance(outcome, Picture | Rejection)
    if isinstance(outcome, Picture):
        stored = Image.open(io.BytesIO(outcome.data))
        stored.load()
        assert (stored.mode, stored.size) == ("RGB", (outcome.width, outcome.height))
        assert min(outcome.original_width, outcome.original_height) >= max(options.min_image_size, 1)
        assert outcome.original_width * outcome.original_height <= options.max_pixels


# --------------------------------------------------------------------------------------------------------------- pages

PAGE = b"""<!doctype html><html lang=en prefix="og: https://ogp.me/ns#"><head><meta charset=utf-8><title>t</title>
<base href="/b/"><meta name=robots content="max-image-preview: large, nofollow"><meta name=tdm-reservation content=0>
<meta property=og:image content=/og.png><meta property=og:image:alt content="an open graph">
<meta name=twitter:image content=tw.png><link rel="image_src" href=src.png><link rel=license href=/free>
<script type="application/ld+json">{"@context": "https://schema.org", "@graph": [{"@type": ["ImageObject"],
"contentUrl": "ld.png", "caption": "linked data", "license": {"@id": "x"}}, {"image": ["a", {"url": "b"}]}]}</script>
</head><body><figure id=f><picture><source srcset="s.webp 1x, l.webp 2x" type=image/webp>
<img src="p.png" srcset="p1.png 480w, p2.png 800w," sizes="(max-width: 600px) 480px, 800px" alt="a &amp; b&#0;">
</picture>
<figcaption>with <b>words</b></figcaption></figure><img data-src=lazy.png alt=""><img src="data:image/png;base64,AA==">
<img src=x.png role=presentation aria-labelledby="f f"><noscript><img src=n.png alt=n></noscript>
<a href="next?page=2#top" rel=nofollow>next</a><a href=//other.example/><img src=in.png title=in></a>
<svg><image href=v.png /></svg><template><img src=t.png></template></body></html>"""


@example(PAGE, "text/html; charset=idna", [])
@given(
    damaged(
        [
            PAGE,
            PAGE.replace(b"utf-8", b"utf-16"),
            PAGE.replace(b"utf-8", b"shift_jis"),
            b"<base href='http://['>" + PAGE,
        ]
    ),
    st.sampled_from(["", "text/html; charset=utf-7", "text/html; charset=idna", "text/html;charset=hex"]) | st.text(),
    st.lists(st.sampled_from(["noai", "nofollow", "tdm-reservation: 1"])),
)
def test_no_page_breaks_the_reader(body: bytes, content_type: str, directives: list[str]) -> None:
    page = read_page(body, PAGE_URL, content_type, directives)
    for record in page.pictures:
        assert record.url.startswith(("http://", "https://"))
        assert clean_text(record.caption) == record.caption
        assert license_text(record.license) == record.license
        assert record.reason or not opts_out(directives)
    assert all(isinstance(normalise_url(link), URL) for link in page.links)


SRCSET_PIECES = st.sampled_from(
    ["a.png", "b,c.png", "data:image/png;base64,AA==", " ", ",", "1x", "2.5x", "800w", "1e9w", "\n", "()", "nanx", "."]
)
SRCSETS = st.lists(SRCSET_PIECES | st.text(max_size=3)).map("".join)


@given(SRCSETS | st.text())
def test_no_srcset_breaks_the_reader(text: str) -> None:
    found = largest_candidate(text)
    assert found in text
    assert not found.startswith("data:")
    assert not set(found) & set(" \t\r\n\f")


SITEMAP = b"""<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url><loc>http://a.example/x</loc><image:image>
<image:loc>/y.png</image:loc><image:caption>a &lt;b&gt;</image:caption><image:license>/l</image:license>
</image:image></url>
<url><loc><![CDATA[/z]]></loc></url></urlset>"""
INDEX = b"<sitemapindex><sitemap><loc>http://a.example/more.xml.gz</loc></sitemap></sitemapindex>"
ENTITIES = b"<!DOCTYPE u [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><urlset><url><loc>/&b;</loc></url></urlset>"


@given(damaged([SITEMAP, INDEX, ENTITIES, gzip.compress(SITEMAP, mtime=0), SITEMAP.decode().encode("utf-16")]))
def test_no_sitemap_breaks_the_reader(body: bytes) -> None:
    found = read_sitemap(body, PAGE_URL)
    assert all(page.startswith("http://a.example/") for page in [*found.sitemaps, *found.pages])


# --------------------------------------------------------------------------------------------------- rules and headers

ROBOTS = b"""\xef\xbb\xbf# comment
User-agent: *
Crawl-delay: 2.5
Request-rate: 1/5m
Disallow: /private/*.png$
Allow: /private/free
Visit-time: 0600-0845

User-agent: t2i
User-agent: other
Disallow: /%7Euser?a=*&b
Sitemap: http://a.example/sitemap.xml
"""
TDM = json.dumps(
    [{"location": "/a/*.png$", "tdm-reservation": 1, "tdm-policy": "http://p"}, {"location": "/", "tdm-reservation": 0}]
).encode()
PATHS = st.text(st.characters(exclude_characters="#?\0", codec="utf-8"), max_size=20).map(
    lambda path: URL("http://a.example").with_path(f"/{path}")
)


@given(damaged([ROBOTS, ROBOTS.replace(b"\n", b"\r")]), PATHS)
def test_no_robots_txt_breaks_the_reader(body: bytes, url: URL) -> None:
    answer = RobotsAnswer(200, body.decode("utf-8", "replace"))
    AiTxtRules(answer).refusal(url)
    rules = RobotsRules(answer)
    rules.refusal(url)
    assert 0 <= rules.crawl_delay_seconds <= 60
    assert all(isinstance(text, str) for text in rules.sitemaps)


@given(damaged([TDM]), PATHS)
def test_no_tdmrep_file_breaks_the_reader(body: bytes, url: URL) -> None:
    TdmRules(RobotsAnswer(200, body.decode("utf-8", "replace"))).refusal(url)


ITEMS = st.sampled_from(
    ["noai", "none", "nofollow", "all", "noarchive", "max-snippet: 5", "unavailable_after: 1 Jan", ""]
)
OTHERS = st.tuples(st.sampled_from(["otherbot", "Google-Bot", "bot/1.0", "a.b_c"]), ITEMS).map(": ".join)


@given(
    st.lists(st.lists(ITEMS | OTHERS | st.text(max_size=9)).map(", ".join)),
    st.sampled_from(["noai", "T2I: NoIndex", "*:none"]),
)
def test_an_opt_out_is_heard_among_any_headers(values: list[str], told: str) -> None:
    directives_for_us(values)
    reservation(values)
    assert opts_out(directives_for_us([*values, told, *values]))


@given(st.lists(OTHERS).map(", ".join))
def test_what_is_told_to_others_is_not_heard(value: str) -> None:
    assert not opts_out(directives_for_us([value]))


@example("0\x1f", 0)
@given(
    st.text() | st.sampled_from(["Wed, 21 Oct 2026 07:28:00 GMT", "1e9", "-1", "٣", "²", "999999999999999999999"]),
    st.integers(0, 10),
)
def test_any_wait_is_bounded(text: str, attempt: int) -> None:
    assert 0 <= wait_seconds(attempt, text) <= MAX_PAUSE_SECONDS


RESPONSE = b"""HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\nX-Robots-Tag: otherbot: noai\r
TDM-Reservation: 0\r\nContent-Encoding: identity\r\nLocation: /x\r\nRetry-After: 0\r\nSet-Cookie: a=b\r\n\r\nhello"""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
RESPONSES = [
    RESPONSE,
    CHUNKED,
    RESPONSE.replace(b"200", b"302"),
    RESPONSE.replace(b"200", b"503"),
    CHUNKED.replace(b"gzip", b"deflate"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(1).serving() as found:
        yield found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wire=damaged(RESPONSES))
def test_no_answer_breaks_the_fetcher(server: FaultServer, wire: bytes) -> None:
    server.answers[server.ports[0], "/x"] = (Answer(wire, End.CLOSE),)
    options = FetchOptions(
        allow_private=("localhost",), retries=0, timeout_seconds=5.0, opt_out_files=False, max_bytes=1000
    )

    async def ask() -> Fetched | Rejection:
        async with Fetcher(options) as fetcher, fetcher.fetch(server.url(0, "/x"), Want.PICTURE) as answer:
            return answer

    answer = asyncio.run(ask())
    assert isinstance(answer, Rejection) or len(answer.body) <= options.max_bytes


# --------------------------------------------------------------------------------------------------------------- lists

ROWS: dict[str, bytes] = {
    ".csv": 'url,caption,width\nhttp://a.example/1.png,"one, ""two""\nthree",5\nhttp://a.example/2.png,ä,\n'.encode(),
    ".tsv": b"url\tcaption\nhttp://a.example/1.png\tone\nhttp://a.example/2.png\t\n",
    ".jsonl": b'{"url": "http://a.example/1.png", "caption": "one"}\n{"url": "x", "caption": null, "n": [{"a": 1}]}\n',
    ".json": b'[{"url": "http://a.example/1.png", "caption": "\\ud83d\\ude00"},\n {"url": "x", "caption": "y"}]',
    ".txt": b"http://a.example/1.png\n\nhttp://a.example/2,3.png\r\n",
}


def parquet_bytes() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"url": ["http://a.example/1.png", None], "caption": ["one", "two"], "n": [[1], []]}), buffer
    )
    return buffer.getvalue()


ROWS |= {".parquet": parquet_bytes(), ".csv.gz": gzip.compress(ROWS[".csv"], mtime=0)}


@pytest.mark.parametrize("ending", ROWS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_list_breaks_the_reader(tmp_path: Path, ending: str, data: st.DataObject) -> None:
    seeds = (
        [ROWS[ending]] if ending in (".parquet", ".csv.gz") else [ROWS[ending], ROWS[ending].decode().encode("utf-16")]
    )
    path = tmp_path / f"list{ending}"
    path.write_bytes(data.draw(damaged(seeds)))
    try:
        records = list(read_list(path, "url", "caption"))
    except ConfigError:
        return
    for record in records:
        assert clean_text(record.url) == record.url
        assert clean_text(record.caption) == record.caption
        assert all(joined([kind_of(cell)]) == kind_of(cell) for cell in record.extra.values())
        assert all(plain(cell) == cell for cell in record.extra.values())


DENIED = (
    b"# list\nexample.com\n*.b.example\nhttps://c.example/x/ # why\n" + b"ab" * 32 + b"\nsha256:" + b"cd" * 32 + b"\n"
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=damaged([DENIED]))
def test_no_deny_list_breaks_the_reader(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "deny.txt"
    path.write_bytes(body)
    with contextlib.suppress(ConfigError):
        found = DenyList.read(path)
        assert found.joined(found) == found


# ---------------------------------------------------------------------------------------------------------- idempotence

HOSTS = st.sampled_from([
    "a.example", "A.Example.", "münchen.example", "xn--mnchen-3ya.example", "127.1", "0x7f.1", "[::1]",
    "[::ffff:1.2.3.4]", "[fe80::1%25lo]", "1.2.3.4.", "a_b.example", "ß.example", "☃.net", "..", "",
])  # fmt: skip
PIECES = st.sampled_from([
    "/", "//", "..", ".", "%2e", "%2F", "%zz", "%", "?", "#", "&", "=", "&amp;", "amp;", "&amp;amp;", "+", " ",
    "ä", "%C3%A4", "%c3%a4", "\u0301", "@", ":", ";", "[", "]", "|", "\\", "\"", "<", "a", "~", "%7E", "\u2028",
    "\ud800", "😀",
])  # fmt: skip
URLS = st.tuples(
    st.sampled_from(["http://", "https://", "HTTP://", "http:/", "//", "ftp://", "http://u:p@", " http://"]),
    HOSTS,
    st.sampled_from(["", ":80", ":443", ":8080", ":0", ":", ":99999", ":x"]),
    st.lists(PIECES, max_size=8).map("".join).map("/{}".format) | st.lists(PIECES, max_size=4).map("".join),
).map("".join)


@example("http://[::1]@")
@example("http://a.example/&\ud800amp;")
@example("http://a.example:80/x")
@example("http://a.example/?a&amp;amp;b")
@given(URLS | st.text())
def test_a_url_is_settled_once_it_is_normalised(text: str) -> None:
    url = normalise_url(text)
    if isinstance(url, Rejection):
        return
    assert normalise_url(str(url)) == url
    assert url_identity(url_identity(text)) == url_identity(text)
    assert origin_of(url).startswith(("http://", "https://"))
    PrivateHosts().refusal_of(url)


@example("http://[::1]@")
@given(URLS | st.text() | st.lists(PIECES).map("".join))
def test_no_reference_breaks_a_page(text: str) -> None:
    found = absolute(URL(PAGE_URL), text)
    assert found == "" or str(normalise_url(found)) == found


@given(HOSTS | st.text("0123456789abcdefx.:%[]", max_size=20) | st.text(max_size=9))
def test_no_host_breaks_the_guard(host: str) -> None:
    literal_address(host)


NASTY = [
    "<b>", "</b>", "<", ">", "<!--", "-->", "&amp;", "&lt;", "b&gt;", "&", ";", "&#60;", "&#x3c;", "&nbsp;",
    "<person>", "http://x.org", "www.", " ", "\n", "\u00a0", "\u200b", "\u200d", "\u202e", "\ufeff", "Ã©",
    "â€™", "ï¿½", "\x92", "\u0301", "e", "\u0958", "\u1100\u1161", "“", "’", "—", "…", ".", ",", "-", "_", "|",
    "\x00", "\ud800", "\ue000", "👨\u200d🚀",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(NASTY), max_size=12).map("".join) | st.text(max_size=40)


@pytest.mark.parametrize("function", [clean_text, license_text, as_text, *(rule.apply for rule in RULES)])
@given(text=TEXTS)
def test_each_rule_of_text_is_idempotent(function: Callable[[str], str], text: str) -> None:
    once = function(text)
    assert function(once) == once


@given(TEXTS)
def test_a_clean_caption_stays_as_it_is(text: str) -> None:
    once = clean(text, RULES).text
    assert clean(once, RULES).text == once
