"""When a dataset may be called done, and what is said when it may not."""

import json
from pathlib import Path
from typing import Any

import pytest

from t2i_core.data.account.shortfall import is_in_part, shortfalls, unfinished_count
from t2i_core.data.bounded.distinct import MAX_COUNTED, DistinctCount
from t2i_core.errors import DataError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.retry import parse_reasons, retry_ingest
from t2i_core.ingestion.step import IngestConfig, ingest

CONFIG = IngestConfig(image_size=16, encode_format="png", allow_private=("localhost",), retries=0)


def counts(seen: int, /, pages: int = 0, **others: int) -> dict[str, int]:
    """Give the counts of a dataset; names of reasons are told with `rejected__`, `pages_rejected__`, `pages_cut__`."""
    named = {name.replace("__", ":"): number for name, number in others.items()}
    rejected = sum(number for name, number in named.items() if name.startswith("rejected:"))
    return {"seen": seen, "kept": seen - rejected, "rejected": rejected, "pages": pages, **named}


@pytest.mark.parametrize(
    ("told", "grave"),
    [
        (counts(10_000, rejected__timeout=2), False),
        (counts(10_000, rejected__timeout=499), False),
        (counts(10_000, rejected__timeout=250, rejected__http_5xx=250), True),
        (counts(10_000, rejected__host_unreachable=1), True),
        (counts(100, rejected__decoder_failed=50), False),
        (counts(100, 1000, pages_rejected__timeout=10), False),
        (counts(100, 100, pages_rejected__timeout=10), True),
        (counts(100, 100, pages_cut__max_depth=90), False),
        (counts(100, 100, pages_cut__max_pages=1), True),
        (counts(100, 100, pages_given_up=1), True),
    ],
)
def test_a_slow_picture_is_a_note_and_a_lost_host_or_a_cut_crawl_an_alarm(told: dict[str, int], grave: bool) -> None:
    assert is_in_part(told) is grave


@pytest.mark.parametrize(
    "told", [counts(100), counts(100, rejected__robots=40), counts(100, 9, pages_rejected__robots=9)]
)
def test_what_cannot_be_had_otherwise_is_no_shortfall(told: dict[str, int]) -> None:
    assert shortfalls(told) == []


def test_the_advice_names_the_options_that_go_on() -> None:
    lost = counts(1000, 900, rejected__connect=20, rejected__host_unreachable=500, pages_cut__max_pages=300)
    assert [str(shortfall) for shortfall in shortfalls(lost)] == [
        "520 of 1,000 sources (52.0 %) could not be had just then: host_unreachable 500, connect 20. "
        "The same command with --retry host_unreachable,connect asks for them again.",
        "The crawl ended at its limit of pages; at least 300 that it had found were not read. "
        "The same command with --max-pages 3000 and --replace reads on, and makes the folder anew.",
    ]
    assert unfinished_count(lost) == {"unfinished": 520}
    assert parse_reasons("host_unreachable,connect")


def test_a_poor_harvest_is_told_with_its_reasons_but_not_what_was_left_out_on_purpose() -> None:
    [told] = shortfalls(counts(100, rejected__http_4xx=70))
    assert str(told) == "Only 30 of 100 sources (30.0 %) became pictures: 70 http_4xx (the server refused the request)."
    assert not told.is_grave
    assert shortfalls(counts(100, rejected__filtered=70)) == []


def test_different_texts_are_counted_up_to_a_bound() -> None:
    number = DistinctCount()
    for n in range(10):
        number.add(str(n % 3))
    assert len(number) == 3
    for n in range(MAX_COUNTED + 10):
        number.add(str(n))
    assert len(number) == MAX_COUNTED


def source_of(site: Any, path: Path, num: int) -> str:
    path.write_text("url,caption\n" + "".join(f"{site.url(f'/{n}.png')},caption {n}\n" for n in range(num)))
    return str(path)


def test_nothing_kept_fails_each_time_and_a_retry_goes_on(site: Any, make_png: Any, tmp_path: Path) -> None:
    source = source_of(site, tmp_path / "list.csv", 3)
    for _ in range(2):
        with pytest.raises(DataError, match=r"nothing was kept of the 3 sources .*3 http_4xx .*--retry http_4xx"):
            ingest(source, CONFIG, tmp_path / "ds")
    assert read_manifest(tmp_path / "ds", "dataset").counts["rejected:http_4xx"] == 3
    with pytest.raises(DataError, match="nothing was kept"):
        retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("http_4xx"))
    site.content["/1.png"] = make_png((1, 2, 3))
    assert retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons("http_4xx")).counts["kept"] == 1
    assert ingest(source, CONFIG, tmp_path / "ds").hit


def test_the_manifest_and_the_report_say_what_is_missing(site: Any, make_png: Any, tmp_path: Path) -> None:
    source = source_of(site, tmp_path / "list.csv", 3)
    site.content |= {"/0.png": make_png((1, 2, 3)), "/1.png": make_png((4, 2, 3)), "/2.png": 503}
    ref = ingest(source, CONFIG, tmp_path / "ds")
    reason = next(name for name in ref.counts if name.startswith("rejected:")).removeprefix("rejected:")
    manifest = json.loads((tmp_path / "ds/manifest.json").read_bytes())
    assert manifest["counts"]["unfinished"] == 1
    report = (tmp_path / "ds/report.html").read_text()
    assert "Not all of it." in report and f"--retry {reason}" in report
    site.content["/2.png"] = make_png((7, 2, 3))
    again = retry_ingest(source, CONFIG, tmp_path / "ds", parse_reasons(reason))
    assert "unfinished" not in again.counts
    assert "Not all of it." not in (tmp_path / "ds/report.html").read_text()


def test_a_cut_crawl_says_so(site: Any, make_png: Any, tmp_path: Path) -> None:
    site.content["/p.png"] = make_png((1, 2, 3))
    site.content |= {f"/{n}": f"<img src=/p.png alt='{n}'><a href=/{n + 1}>next</a>" for n in range(9)}
    ref = ingest(site.url("/0"), CONFIG.with_changes(max_pages=3), tmp_path / "ds")
    assert ref.counts["pages_cut:max_pages"] == 1
    assert "--max-pages 8 and --replace" in (tmp_path / "ds/report.html").read_text()
