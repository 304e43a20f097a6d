"""Web archives: pages are read as from the web, pictures are taken from the archives, damage costs what is damaged."""

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from t2i_core.data.answer import Fetched
from t2i_core.data.reject import Rejection
from t2i_core.data.sources.open import open_source
from t2i_core.data.sources.warc import MAX_HEADER_BYTES, WarcError, iter_records, read_answer
from t2i_core.data.tables.list_files import find_archives
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.retry import parse_reasons, retry_ingest
from t2i_core.ingestion.step import ingest

PICTURES = IngestConfig().reading()

MakePng = Callable[..., bytes]
CONFIG = IngestConfig(image_size=16, min_image_size=8, offline=True, allow_private=("localhost",), timeout_seconds=5)
HOST = "http://a.example"
HTML = ("Content-Type", "text/html; charset=utf-8")
PNG = ("Content-Type", "image/png")

Answer = tuple[str, list[tuple[str, str]], bytes]


def archive(answers: Iterable[Answer], *, packed: bool = True, status: str = "200 OK") -> bytes:
    """Write an archive with the library; an answer is URL, headers and body, its status maybe among the headers."""
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=packed)
    writer.write_record(writer.create_warcinfo_record("x.warc", {"software": "test"}))
    for url, headers, body in answers:
        line = dict(headers).get(":status", status)
        told = StatusAndHeaders(line, [pair for pair in headers if pair[0] != ":status"], protocol="HTTP/1.1")
        asked = StatusAndHeaders("GET / HTTP/1.1", [("Host", "a.example")], is_http_request=True)
        writer.write_record(writer.create_warc_record(url, "request", payload=io.BytesIO(b""), http_headers=asked))
        writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=told))
    return file.getvalue()


def page(body: str, *headers: tuple[str, str], path: str = "/") -> Answer:
    return HOST + path, [HTML, *headers], body.encode()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def run(source: Path | str, out: Path, **changes: Any) -> tuple[list[tuple[str, str, str]], dict[str, int]]:
    try:
        ingest(str(source), CONFIG.with_changes(**changes), out)
    except DataError as err:
        assert str(err).startswith("nothing was kept")
    return [(row["url"], row["caption"], row["reason"]) for row in rows(out)], read_manifest(out).counts


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "shards/00000.parquet").to_pylist()
    return found


@pytest.mark.parametrize("packed", [True, False])
def test_pages_name_pictures_that_lie_before_and_after_them(tmp_path: Path, make_png: MakePng, packed: bool) -> None:
    body = (
        "<figure><img src=1.png><figcaption>one</figcaption></figure><img src=/2.png alt='grün'><img src=3.png alt=x>"
    )
    answers = [
        (f"{HOST}/1.png", [PNG], make_png((1, 0, 0))),
        page(body),
        (f"{HOST}/2.png", [PNG], make_png((2, 0, 0))),
        (f"{HOST}/robots.txt", [("Content-Type", "text/plain")], b"User-agent: *\nDisallow: /"),
    ]
    path = write(tmp_path / ("x.warc.gz" if packed else "x.warc"), archive(answers, packed=packed))
    assert open_source(str(path), PICTURES).kind == "archives"
    told, counts = run(path, tmp_path / "ds")
    assert told == [
        (f"{HOST}/1.png", "one", ""), (f"{HOST}/2.png", "grün", ""), (f"{HOST}/3.png", "x", "not_stored")
    ]  # fmt: skip
    assert rows(tmp_path / "ds")[0]["page_url"] == f"{HOST}/"
    assert (counts["pages"], counts["archives"], counts["kept"]) == (1, 1, 2)


def test_two_runs_give_the_same_bytes_and_the_second_reads_nothing(tmp_path: Path, make_png: MakePng) -> None:
    path = write(
        tmp_path / "x.warc.gz", archive([page("<img src=1.png alt=a>"), (f"{HOST}/1.png", [PNG], make_png((1, 0, 0)))])
    )
    run(path, tmp_path / "one")
    run(path, tmp_path / "two")
    assert ingest(str(path), CONFIG, tmp_path / "one").hit
    for name in ("00000.tar", "00000.parquet"):
        assert (tmp_path / "one/shards" / name).read_bytes() == (tmp_path / "two/shards" / name).read_bytes()
    # What a killed run left of its shards is made again from the plan.
    (tmp_path / "one/shards/00000.tar").unlink()
    run(path, tmp_path / "one")
    assert (tmp_path / "one/shards/00000.tar").read_bytes() == (tmp_path / "two/shards/00000.tar").read_bytes()


def test_folders_globs_and_remote_archives_are_one_set(tmp_path: Path, make_png: MakePng) -> None:
    pages, pictures = archive([page("<img src=1.png alt=a>")]), archive([(f"{HOST}/1.png", [PNG], make_png((1, 0, 0)))])
    write(tmp_path / "set/a.warc.gz", pages)
    write(tmp_path / "set/b.warc.gz", pictures)
    write(tmp_path / "set/index.cdx", b"beside")
    store = fsspec.filesystem("memory")
    store.pipe({"/warcs/a.warc.gz": pages, "/warcs/b.warc.gz": pictures, "/warcs/b.cdx": b"beside"})
    sources = [tmp_path / "set", tmp_path / "set/*.warc.gz", f"{tmp_path}/*/*", "memory://warcs/*.warc.gz",
               "memory://warcs", "memory://warcs/*"]  # fmt: skip
    for source in sources:
        assert open_source(str(source), PICTURES).kind == "archives"
        assert [file.name for file in find_archives(str(source))] == ["a.warc.gz", "b.warc.gz"]
    for source in (sources[0], sources[-1]):
        told, counts = run(str(source), tmp_path / f"ds{sources.index(source)}")
        assert (told, counts["archives"]) == ([(f"{HOST}/1.png", "a", "")], 2)
    store.rm("/warcs", recursive=True)


def test_what_is_not_archived_is_fetched(site: Any, tmp_path: Path, make_png: MakePng) -> None:
    site.content["/live.png"] = make_png((5, 0, 0))
    body = f"<img src=1.png alt=kept><img src={site.url('/live.png')} alt=live>"
    path = write(tmp_path / "x.warc.gz", archive([page(body), (f"{HOST}/1.png", [PNG], make_png((1, 0, 0)))]))
    told, _ = run(path, tmp_path / "ds", offline=False)
    assert told == [(f"{HOST}/1.png", "kept", ""), (site.url("/live.png"), "live", "")]
    assert "/live.png" in site.requests and "/robots.txt" in site.requests


def test_what_could_not_be_fetched_is_asked_for_again(site: Any, tmp_path: Path, make_png: MakePng) -> None:
    site.content["/live.png"] = 500
    body = f"<img src=1.png alt=kept><img src={site.url('/live.png')} alt=live>"
    path = write(tmp_path / "x.warc.gz", archive([page(body), (f"{HOST}/1.png", [PNG], b"no picture")]))
    told, _ = run(path, tmp_path / "ds", offline=False)
    assert [reason for _, _, reason in told] == ["not_an_image", "http_5xx"]
    site.content["/live.png"] = make_png((5, 0, 0))
    reasons = parse_reasons("http_5xx,not_an_image")
    retry_ingest(str(path), CONFIG.with_changes(offline=False), tmp_path / "ds", reasons)
    assert [row["reason"] for row in rows(tmp_path / "ds")] == ["not_an_image", ""]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (("X-Robots-Tag", "noai"), "opt_out_page"),
        (("X-Robots-Tag", "otherbot: noai"), ""),
        (("tdm-reservation", "1"), "tdm_reserved"),
        (("X-Robots-Tag", "none, t2i: noimageai"), "opt_out_page"),
    ],
)
def test_what_an_archived_page_asks_for_is_honoured(
    tmp_path: Path, make_png: MakePng, header: tuple[str, str], reason: str
) -> None:
    answers = [page("<img src=1.png alt=a>", header), (f"{HOST}/1.png", [PNG], make_png((1, 0, 0)))]
    told, _ = run(write(tmp_path / "x.warc.gz", archive(answers)), tmp_path / "ds")
    assert told == [(f"{HOST}/1.png", "a", reason)]


@pytest.mark.parametrize(
    ("header", "reason"), [(("X-Robots-Tag", "noai"), "opt_out_header"), (("TDM-Reservation", "1"), "tdm_reserved")]
)
def test_what_an_archived_picture_asks_for_is_honoured(
    tmp_path: Path, make_png: MakePng, header: tuple[str, str], reason: str
) -> None:
    answers = [page("<img src=1.png alt=a>"), (f"{HOST}/1.png", [PNG, header], make_png((1, 0, 0)))]
    told, _ = run(write(tmp_path / "x.warc.gz", archive(answers)), tmp_path / "ds")
    assert told == [(f"{HOST}/1.png", "a", reason)]


def test_the_character_set_of_the_header_and_encodings_are_undone(tmp_path: Path, make_png: MakePng) -> None:
    text = "<img src=1.png alt='grün'><img src=2.png alt=b>".encode("latin-1")
    picture = make_png((2, 0, 0))
    chunked = b"".join(b"%x;q=1\r\n%s\r\n" % (len(part), part) for part in (picture[:9], picture[9:])) + b"0\r\n\r\n"
    zipped = [("Content-Type", "text/html; charset=iso-8859-1"), ("Content-Encoding", "gzip")]
    answers = [
        (f"{HOST}/", zipped, gzip.compress(text)),
        (f"{HOST}/1.png", [PNG, ("Content-Encoding", "deflate")], zlib.compress(make_png((1, 0, 0)))),
        (f"{HOST}/2.png", [PNG, ("Transfer-Encoding", "chunked")], chunked),
        # As tools write them that undo encodings and keep the headers.
        (f"{HOST}/b", [*zipped, ("Transfer-Encoding", "chunked")], b"<img src=3.png alt=c>"),
        (f"{HOST}/3.png", [PNG, ("Content-Encoding", "gzip")], make_png((3, 0, 0))),
    ]
    told, _ = run(write(tmp_path / "x.warc.gz", archive(answers)), tmp_path / "ds")
    assert told == [(f"{HOST}/1.png", "grün", ""), (f"{HOST}/2.png", "b", ""), (f"{HOST}/3.png", "c", "")]


def test_redirects_and_revisits_lead_to_the_picture(tmp_path: Path, make_png: MakePng) -> None:
    moved = [(":status", "301 Moved"), ("Location", "/new.png")]
    loop = [(":status", "302 Found"), ("Location", "/loop.png?")]
    body = "<img src=old.png alt=moved><img src=same.png alt=same><img src=loop.png alt=loop>"
    data = archive([page(body), (f"{HOST}/old.png", moved, b""), (f"{HOST}/loop.png", loop, b""),
                    (f"{HOST}/loop.png?", [(":status", "302 Found"), ("Location", "/loop.png")], b""),
                    (f"{HOST}/new.png", [PNG], make_png((1, 0, 0)))])  # fmt: skip
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=True)
    writer.write_record(writer.create_revisit_record(
        f"{HOST}/same.png", "sha1:AAAA", f"{HOST}/new.png", "2024-01-01T00:00:00Z",
        http_headers=StatusAndHeaders("200 OK", [PNG], protocol="HTTP/1.1")))  # fmt: skip
    told, _ = run(write(tmp_path / "x.warc.gz", data + file.getvalue()), tmp_path / "ds")
    assert [(caption, reason) for _, caption, reason in told] == [("moved", ""), ("same", ""), ("loop", "not_stored")]


def test_an_answer_without_a_usable_address_is_counted(tmp_path: Path) -> None:
    answers = [page("<img src=1.png alt=a>"), ("http://[", [HTML], b"<img src=2.png>"), ("http://u:p@a/", [HTML], b"")]
    told, counts = run(write(tmp_path / "x.warc.gz", archive(answers)), tmp_path / "ds")
    assert ([url for url, _, _ in told], counts["archive_records_unreadable"]) == ([f"{HOST}/1.png"], 2)


def test_a_page_that_was_archived_often_is_read_once(tmp_path: Path) -> None:
    data = archive([page("<img src=1.png alt=first>"), page("<img src=1.png alt=second>")])
    told, counts = run(write(tmp_path / "x.warc.gz", data), tmp_path / "ds")
    assert (told, counts["pages"]) == ([(f"{HOST}/1.png", "first", "not_stored")], 1)


@pytest.mark.parametrize("packed", [True, False])
def test_what_lies_before_the_damage_is_kept(tmp_path: Path, make_png: MakePng, packed: bool) -> None:
    good = archive([page("<img src=1.png alt=a>"), (f"{HOST}/1.png", [PNG], make_png((1, 0, 0)))], packed=packed)
    last = archive([(f"{HOST}/2.png", [PNG], make_png((1, 2, 0), (500, 500)))], packed=packed)
    suffix = ".warc.gz" if packed else ".warc"
    write(tmp_path / f"set/a{suffix}", good + last[:-60])
    write(tmp_path / f"set/b{suffix}", archive([page("<img src=1.png alt=b>", path="/b")], packed=packed))
    told, counts = run(tmp_path / "set", tmp_path / "ds")
    assert told == [(f"{HOST}/1.png", "a", ""), (f"{HOST}/1.png", "b", ""), ("", "", "bad_row")]
    detail = rows(tmp_path / "ds")[2]["error_message"]
    assert detail.startswith(f"a{suffix} is damaged at byte ") and "breaks off" in detail
    assert (counts["archives"], counts["archives_damaged"], counts["rejected:bad_row"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not an archive at all", "no record starts here"),
        (b"", "there are no web pages"),
        (gzip.compress(archive([page("<img src=1.png>")], packed=False)), "write it anew with `warcio recompress`"),
        (archive([(f"{HOST}/1.png", [PNG], b"x")]), "there are no web pages"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "does not say how long"),
        (b"WARC/1.0\r\nContent-Length: 10\r\n\r\nabc", "breaks off"),
    ],
)
def test_an_archive_without_a_page_says_why(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(write(tmp_path / "x.warc.gz", data), tmp_path / "ds")
    assert not (tmp_path / "ds").exists()


def warc(headers: bytes, body: bytes) -> bytes:
    return b"WARC/1.0\r\n%sContent-Length: %d\r\n\r\n%s\r\n\r\n" % (headers, len(body), body)


RESPONSE = b"WARC-Type: response\r\nWARC-Target-URI: http://a.example/1.png\r\n"


def test_a_record_that_cannot_be_read_costs_only_itself() -> None:
    hostile = [
        warc(RESPONSE, b"not http at all\r\n\r\nx"),
        warc(RESPONSE, b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 2 * MAX_HEADER_BYTES + b"\r\n\r\nx"),
        warc(RESPONSE, b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * MAX_HEADER_BYTES + b"\r\nx"),
        warc(b"WARC-Type: response\r\n", b"HTTP/1.1 200 OK\r\n\r\nno address"),
        warc(b"WARC-Type: response\r\nWARC-Target-URI: file:///etc/passwd\r\n", b"HTTP/1.1 200 OK\r\n\r\nx"),
        warc(RESPONSE, b""),
    ]
    good = warc(RESPONSE.replace(b"1.png", b"2.png"), b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\nbytes")
    for packed in (False, True):
        parts = [gzip.compress(part) if packed else part for part in (*hostile, good)]
        found = list(iter_records(io.BytesIO(b"".join(parts))))
        assert [bool(record.problem) for record in found[:3]] == [True, True, True]
        assert [record.url for record in found if record.url] == ["http://a.example/2.png"]
        last = found[-1]
        data = b"".join(parts)[last.offset : last.offset + last.size]
        assert read_answer(data, 100) == Fetched(b"bytes", "http://a.example/2.png", 200, "image/png")


def test_lengths_that_lie_are_damage() -> None:
    for length in (b"-5", b"x", b"99999999999999"):
        data = b"WARC/1.0\r\n" + RESPONSE + b"Content-Length: " + length + b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx\r\n\r\n"
        for packed in (False, True):
            with pytest.raises(WarcError):
                list(iter_records(io.BytesIO(gzip.compress(data) if packed else data)))


def test_bombs_do_not_fill_the_memory() -> None:
    large = 30_000_000
    body = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(large)
    line = b"HTTP/1.1 200 OK\r\nX: " + b"a" * large + b"\r\n\r\n"
    inner = gzip.compress(bytes(large))
    coded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + inner
    bombs = [gzip.compress(warc(RESPONSE, each), 1) for each in (body, line, coded)]
    del body, line, coded, inner
    tracemalloc.start()
    assert len(list(iter_records(io.BytesIO(b"".join(bombs))))) == 3
    answers = [read_answer(bomb, 1_000_000) for bomb in bombs]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [answer.reason for answer in answers if isinstance(answer, Rejection)] == [
        "too_many_bytes", "unreadable", "too_many_bytes"
    ]  # fmt: skip
    assert peak < 12_000_000


def test_denied_pages_and_pictures_stay_out(tmp_path: Path, make_png: MakePng) -> None:
    body = "<img src=http://bad.example/1.png alt=a><img src=2.png alt=b>"
    answers = [page(body), ("http://bad.example/1.png", [PNG], make_png((1, 0, 0))),
               (f"{HOST}/2.png", [PNG], make_png((2, 0, 0))),
               ("http://bad.example/", [HTML], b"<img src=/1.png alt=c>")]  # fmt: skip
    (tmp_path / "deny.txt").write_text("bad.example\n")
    path = write(tmp_path / "x.warc.gz", archive(answers))
    told, counts = run(path, tmp_path / "ds", deny_list=str(tmp_path / "deny.txt"))
    assert told == [("http://bad.example/1.png", "a", "denied"), (f"{HOST}/2.png", "b", "")]
    assert counts["pages_rejected:denied"] == 1


def test_a_picture_larger_than_the_cap_is_rejected(tmp_path: Path, make_png: MakePng) -> None:
    big = make_png((1, 0, 0)) + bytes(3000)
    answers = [page("<img src=1.png alt=a>"), (f"{HOST}/1.png", [PNG], big)]
    told, _ = run(write(tmp_path / "x.warc", archive(answers, packed=False)), tmp_path / "ds", max_bytes=2000)
    assert told == [(f"{HOST}/1.png", "a", "too_many_bytes")]


def test_an_archive_of_another_tool_reads_the_same(tmp_path: Path, make_png: MakePng) -> None:
    """wget 1.19 puts addresses into brackets; some writers leave blank lines before and more of them between."""
    picture = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n" + make_png((1, 0, 0))
    first = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<img src=1.png alt=a>"
    data = b"\r\n" + warc(RESPONSE.replace(b"http://a.example/1.png", b"<http://a.example/>"), first)
    data += b"\r\n\r\n" + warc(RESPONSE.replace(b"http://a.example/1.png", b"<http://a.example/1.png>"), picture)
    told, _ = run(write(tmp_path / "x.warc", data), tmp_path / "ds")
    assert told == [(f"{HOST}/1.png", "a", "")]
