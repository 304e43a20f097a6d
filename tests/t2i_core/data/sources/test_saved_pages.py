"""Folders of saved pages: files that were saved with a page are read, the rest is fetched from where it came from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from t2i_core.data.sources.open import open_source
from t2i_core.errors import ConfigError
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

PICTURES = IngestConfig().reading()
PAGES = IngestConfig(pages=True).reading()

MakePng = Callable[..., bytes]
CONFIG = IngestConfig(image_size=16, min_image_size=8, pages=True, allow_private=("localhost",), timeout_seconds=5)


@pytest.fixture
def root(tmp_path: Path, make_png: MakePng) -> Path:
    folder = tmp_path / "saved"
    (folder / "a_files").mkdir(parents=True)
    for number, name in enumerate(["a_files/x.png", "a_files/y z.png", "top.png", "a_files/q.png?v=1", "100%.png"]):
        (folder / name).write_bytes(make_png((number, 9, 9)))
    (tmp_path / "secret.png").write_bytes(make_png((99, 0, 0)))
    return folder


def run(root: Path, out: Path, **changes: Any) -> list[dict[str, Any]]:
    ingest(str(root), CONFIG.with_changes(**changes), out)
    rows: list[dict[str, Any]] = pq.read_table(out / "shards/00000.parquet").to_pylist()
    return rows


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["url"], row["caption"], row["reason"]) for row in rows]


def test_a_folder_is_of_pages_when_that_is_said(root: Path) -> None:
    assert open_source(str(root), PAGES).kind == "saved_pages"
    assert open_source(str(root), PICTURES).kind == "folder"


def test_a_page_as_a_browser_saves_it(root: Path, tmp_path: Path) -> None:
    (root / "a.html").write_text(
        "<!DOCTYPE html>\n<!-- saved from url=(0027)https://a.example/deep/page -->\n"
        "<base href='.'><figure><img src='./a_files/x.png'><figcaption>an x</figcaption></figure>"
        "<img src='a_files/y%20z.png' alt='a y'><img srcset='a_files/x.png 1x, top.png 2x' alt='a top'>"
        "<img src='100%25.png' alt='all of it'>"
    )
    rows = run(root, tmp_path / "ds", offline=True)
    assert told(rows) == [
        ("a_files/x.png", "an x", ""), ("a_files/y z.png", "a y", ""), ("top.png", "a top", ""),
        ("100%.png", "all of it", ""),
    ]  # fmt: skip
    assert {row["page_url"] for row in rows} == {"https://a.example/deep/page"}
    assert rows[0]["caption_source"] == "figcaption"


def test_a_mirror_keeps_queries_in_names(root: Path, tmp_path: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub/page.htm").write_text(
        "<img src='../a_files/q.png%3Fv=1' alt=one><img src='../a_files/x.png?v=2' alt=two>"
    )
    (root / "sub/z.xhtml").write_text(
        "<html xmlns='http://www.w3.org/1999/xhtml'><img src='../top.png' alt='t'/></html>"
    )
    rows = run(root, tmp_path / "ds", offline=True)
    assert told(rows) == [
        ("a_files/q.png?v=1", "one", ""), ("a_files/x.png", "two", ""), ("top.png", "t", "")
    ]  # fmt: skip
    assert [row["page_url"] for row in rows] == ["sub/page.htm", "sub/page.htm", "sub/z.xhtml"]


@pytest.mark.parametrize(
    "head",
    [
        "<!-- saved from url=(0030){page} --><link rel=canonical href=http://other.example/>",
        "<link rel=canonical href='{page}'>",
        "<base href='{page}'>",
    ],
)
def test_what_was_not_saved_is_fetched_from_where_the_page_came_from(
    site: Any, root: Path, tmp_path: Path, make_png: MakePng, head: str
) -> None:
    site.content |= {"/gallery/rest.png": make_png((7, 7, 7)), "/abs.png": make_png((8, 8, 8))}
    page = site.url("/gallery/page.html")
    body = "<img src=rest.png alt=rest><img src=/abs.png alt=abs><img src=top.png alt=top>"
    (root / "p.html").write_text(head.format(page=page) + body)
    rows = run(root, tmp_path / "ds")
    assert told(rows) == [
        (site.url("/gallery/rest.png"), "rest", ""), (site.url("/abs.png"), "abs", ""), ("top.png", "top", "")
    ]  # fmt: skip
    rows = run(root, tmp_path / "offline", offline=True)
    assert [row["reason"] for row in rows] == ["not_stored", "not_stored", ""]


def test_nothing_outside_the_folder_is_read(root: Path, tmp_path: Path, make_png: MakePng) -> None:
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "s.png").write_bytes(make_png((98, 0, 0)))
    (root / "out").symlink_to(outside)
    names = ["../secret.png", "a_files/../../secret.png", "%2e%2e/secret.png", str(tmp_path / "secret.png"),
             "link.png", "out/s.png", "gone.png", "http://folder.invalid/../../secret.png",
             "http://folder.invalid/out/s.png", f"file://{tmp_path}/secret.png", "a_files", "a%00b.png"]  # fmt: skip
    (root / "p.html").write_text("".join(f"<img src='{name}' alt='c{n}'>" for n, name in enumerate(names)))
    (root / "q.html").write_text("<img src=top.png alt=fine>")
    rows = run(root, tmp_path / "ds", offline=True)
    assert [row["caption"] for row in rows if not row["reason"]] == ["fine"]
    assert {row["reason"] for row in rows if row["caption"] != "fine"} == {"unreadable"}
    # Those that climb to the same name count once, and a file: URL is no address of the web.
    assert len(rows) == len(names) - 3 + 1


def test_a_folder_may_be_named_from_where_one_stands(root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (root / "p.html").write_text("<img src=a_files/x.png alt=here>")
    monkeypatch.chdir(root.parent)
    assert told(run(Path(root.name), tmp_path / "ds")) == [("a_files/x.png", "here", "")]


def test_a_page_that_opts_out_rules_out_its_files(root: Path, tmp_path: Path) -> None:
    (root / "p.html").write_text("<meta name=robots content=noai><img src=top.png alt=no>")
    (root / "q.html").write_text("<meta name=tdm-reservation content=1><img src=a_files/x.png alt=no>")
    (root / "r.html").write_text("<img src=100%25.png alt=yes>")
    assert [row["reason"] for row in run(root, tmp_path / "ds")] == ["opt_out_page", "tdm_reserved", ""]


def test_a_denied_page_is_not_read_and_a_huge_one_is_counted(root: Path, tmp_path: Path) -> None:
    (root / "p.html").write_text("<link rel=canonical href=http://denied.example/x><img src=top.png alt=no>")
    (root / "q.html").write_text("<img src=top.png alt=yes>")
    (root / "r.html").write_text("<img src=top.png alt=yes>" + " " * 2000)
    (tmp_path / "deny.txt").write_text("denied.example\n")
    config = CONFIG.with_changes(deny_list=str(tmp_path / "deny.txt"), max_bytes=1500)
    ref = ingest(str(root), config, tmp_path / "ds")
    expected = {"pages": 1, "pages_rejected:denied": 1, "pages_rejected:too_many_bytes": 1, "seen": 1, "kept": 1}
    assert {name: ref.counts[name] for name in expected} == expected


def test_a_character_set_is_the_one_that_the_page_names(root: Path, tmp_path: Path) -> None:
    (root / "p.html").write_bytes("<meta charset=iso-8859-1><img src=top.png alt='grün'>".encode("latin-1"))
    assert told(run(root, tmp_path / "ds")) == [("top.png", "grün", "")]


def test_a_folder_without_pages_says_so(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no pages"):
        run(root, tmp_path / "ds")
    assert not (tmp_path / "ds").exists()
