"""The page and the card of a dataset, made by the real ingest from a real server."""

import csv
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from selectolax.lexbor import LexborHTMLParser

from t2i_core.data.account import page as dataset_report
from t2i_core.data.account.card import croissant_json
from t2i_core.data.account.figures import DatasetFigures, Pick
from t2i_core.data.account.page import render_report
from t2i_core.data.account.survey import Overview
from t2i_core.data.account.thumbnail import read_pictures
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.text import clean_text
from t2i_core.errors import DataError
from t2i_core.folders.manifest import Manifest, StepKey, read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

CONFIG = IngestConfig(image_size=32, encode_format="png", samples_per_shard=8, allow_private=("localhost",), retries=0)
HOSTILE = "<script>alert(1)</script>\" onerror='x' \u202e &amp; <img src=http://evil.example/x.png>"
MakePng = Callable[..., bytes]


@pytest.fixture
def source(site: Any, make_png: MakePng, tmp_path: Path) -> str:
    """Twenty pictures of different sizes, one that is missing, one that is refused, and a row that is none."""
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["url", "caption", "license", "no<b>te"])
        for n in range(20):
            site.content[f"/{n}.png"] = make_png((n * 10, 0, 0), (100 + n * 15, 100))
            license = ["", "https://creativecommons.org/licenses/by/4.0/", HOSTILE][n % 3]
            rows.writerow([site.url(f"/{n}.png"), HOSTILE if n == 4 else f"caption {n}", license, HOSTILE])
        site.content["/refused.png"] = make_png((1, 2, 3))
        site.headers["/refused.png"] = {"X-Robots-Tag": "noai"}
        rows.writerow([site.url("/missing.png"), "gone", "", ""])
        rows.writerow([site.url("/refused.png"), "refused", "", ""])
        rows.writerow([f"gopher://{HOSTILE}/", "bad", "", ""])
    return str(path)


@pytest.fixture
def dataset(source: str, tmp_path: Path) -> Path:
    ingest(source, CONFIG, tmp_path / "ds")
    return tmp_path / "ds"


def page_of(dataset_dir: Path) -> LexborHTMLParser:
    return LexborHTMLParser((dataset_dir / "report.html").read_text())


def card_of(dataset_dir: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((dataset_dir / "croissant.json").read_bytes())
    return card


def table_of(page: LexborHTMLParser, css: str) -> dict[str, str]:
    """First and last cell of each row."""
    rows = ([cell.text(strip=True) for cell in row.css("td")] for row in page.css(f"{css} tbody tr"))
    return {cells[0]: cells[-1] for cells in rows}


def test_the_page_tells_what_was_kept_and_why_the_rest_was_not(site: Any, dataset: Path) -> None:
    page = page_of(dataset)

    assert [b.text() for b in page.css(".verdict b")][0::3] == ["20", "1"]
    assert table_of(page, ".reasons") == {"bad_scheme": "1", "http_4xx": "1", "opt_out_header": "1"}
    assert "refusal" in page.css_first(".reasons").text()
    assert table_of(page, ".hosts")["127.0.0.1"] == "http_4xx 1, opt_out_header 1"
    texts = {image.attributes["alt"] for image in page.css(".sheet img")}
    assert texts == {HOSTILE, *(f"caption {n}" for n in range(20) if n != 4)}
    assert [title.text() for title in page.css("section:nth-child(2) .chart title")][-1] == "about 4.00:1; pictures: 1"
    assert read_manifest(dataset).digest in page.css_first("main").text()


def test_nothing_on_the_page_is_fetched_or_run(dataset: Path) -> None:
    text = (dataset / "report.html").read_text()
    page = page_of(dataset)

    assert page.css("script, link, iframe, object, form, a, [onerror], [onload]") == []
    addresses = [node.attributes.get("src", "") for node in page.css("[src]")]
    assert addresses and all(re.match(r"data:image/(png|jpeg);base64,", address or "") for address in addresses)
    assert "url(" not in text and "@import" not in text and "<b>te" not in text


def test_pictures_are_never_more_than_the_page_may_hold(source: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(dataset_report, "MAX_PICTURE_CHARS", 1000)
    ingest(source, CONFIG, tmp_path / "ds")

    addresses = [image.attributes["src"] or "" for image in page_of(tmp_path / "ds").css(".sheet img")]
    assert 0 < sum(map(len, addresses)) <= 1000


def test_large_pictures_are_made_small(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(60):
        Image.effect_noise((400, 300), 90).convert("RGB").save(folder / f"{n}.jpg")
    config = IngestConfig(image_size=300, encode_format="jpg", samples_per_shard=25)
    ingest(str(folder), config, tmp_path / "ds")

    addresses = [image.attributes["src"] or "" for image in page_of(tmp_path / "ds").css(".sheet img")]
    assert len(addresses) == 48
    assert (tmp_path / "ds" / "report.html").stat().st_size < 1_000_000


def test_a_data_set_of_which_nothing_was_kept_has_a_page_too(site: Any, make_png: MakePng, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(site.url(f"/missing{n}.png") for n in range(3)))
    with pytest.raises(DataError, match="nothing was kept"):
        ingest(str(tmp_path / "list.txt"), CONFIG, tmp_path / "ds")

    page = page_of(tmp_path / "ds")
    assert table_of(page, ".reasons") == {"http_4xx": "3"}
    assert page.css("img, .chart") == []
    assert card_of(tmp_path / "ds")["citation"] == "No picture was kept."


def test_pictures_that_are_not_listed_and_duplicates_have_a_table(site: Any, make_png: MakePng, tmp_path: Path) -> None:
    site.content |= {"/a.png": make_png((1, 2, 3)), "/b.png": make_png((1, 2, 3)), "/c.png": make_png((9, 200, 9))}
    described = "".join(f"<img src=/{name}.png alt='a {name}'>" for name in "abc")
    site.content["/"] = f"{described}<img src=/d.png alt=''><img src='data:image/gif;base64,R0'><img src=e.svg alt=''>"
    ref = ingest(site.url("/"), CONFIG, tmp_path / "ds")

    page = page_of(tmp_path / "ds")
    assert table_of(page, ".unlisted") == {"decoration": "1", "svg": "1", "data_uri": "1"}
    assert (ref.counts["unlisted:decoration"], ref.counts["unlisted:svg"], ref.counts["marked:exact"]) == (1, 1, 1)
    assert table_of(page, ".copies")["exact"] == "1 (33.3 %)"
    assert "there is less to learn from them than their number says" in page.css_first("main").text()
    assert "--keep-undescribed" in page.css_first("main").text()


def test_a_few_duplicates_are_no_warning() -> None:
    assert dataset_report._copies({"kept": 100, "marked:near": 63}).warning.startswith("63 % of the pictures")
    assert dataset_report._copies({"kept": 100, "marked:near": 3}).warning == ""


def test_the_same_folder_gives_the_same_page_and_card(site: Any, source: str, dataset: Path, tmp_path: Path) -> None:
    told = {name: (dataset / name).read_bytes() for name in ("report.html", "croissant.json", "hosts.json")}
    manifest = read_manifest(dataset)
    assert {file.path for file in manifest.files if file.path in told and not file.content} == set(told)
    (dataset / "report.html").unlink()

    again = ingest(source, CONFIG, dataset)

    assert not again.hit and again.digest == manifest.digest
    assert {name: (dataset / name).read_bytes() for name in told} == told


def test_a_purge_takes_the_picture_out_of_page_and_card(site: Any, dataset: Path) -> None:
    purge(dataset, PurgeRequest.parse(urls=[site.url("/4.png")]))

    text = (dataset / "report.html").read_text()
    alts = [image.attributes["alt"] for image in page_of(dataset).css(".sheet img")]
    assert len(alts) == 19 and HOSTILE not in alts
    assert table_of(page_of(dataset), ".reasons")["purged"] == "1" and "Purged so far: 1." in text
    assert card_of(dataset)["rai:dataReleaseMaintenancePlan"] == "Sources purged on request so far: 1."
    assert card_of(dataset)["identifier"] == f"sha256:{read_manifest(dataset).digest}"


def test_a_tar_that_is_not_one_gives_no_pictures(tmp_path: Path) -> None:
    for body in (b"", b"x" * 100, b"\xff" * 2000, b"name\0" + b"7" * 2000):
        (tmp_path / "a.tar").write_bytes(body)
        assert read_pictures(tmp_path / "a.tar", {"name"}) == {}
    assert read_pictures(tmp_path / "none.tar", {"name"}) == {}


TEXT = st.text(max_size=30)


@pytest.fixture(scope="module")
def shards_dir(tmp_path_factory: Any) -> Path:
    """A folder with a shard of one picture, 000."""
    folder: Path = tmp_path_factory.mktemp("shards")
    Image.new("RGB", (8, 8)).save(folder / "000.png")
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(folder / "000.png", "000.png")
    return folder


@settings(max_examples=40, deadline=None)
@given(caption=TEXT, url=TEXT, license=TEXT, host=TEXT, column=TEXT, source=TEXT)
def test_no_text_changes_what_the_page_is_made_of(
    shards_dir: Path, caption: str, url: str, license: str, host: str, column: str, source: str
) -> None:
    overview = one_picture(shards_dir, caption, url, license, host, column, source)
    page = LexborHTMLParser(render_report(overview).decode())
    card = json.loads(croissant_json(overview))

    plain_page = LexborHTMLParser(render_report(one_picture(shards_dir, *"abcdef")).decode())
    assert len(plain_page.css("img")) == 1
    assert [node.tag for node in page.css("*")] == [node.tag for node in plain_page.css("*")]
    assert [field["name"] for field in card["recordSet"][1]["field"]] == ["key", clean_text(column)]


def one_picture(shards_dir: Path, *texts: str) -> Overview:
    """Figures of a dataset with these texts, stored as they would be."""
    caption, url, license, host, column, source = map(clean_text, texts)
    figures = DatasetFigures(stored_sides=(32, 32), picks=[Pick("0", 0, "000", url, caption)])
    figures.licenses, figures.caption_sources = Counter({license or "-": 1}), Counter({"alt": 1})
    figures.schema = pa.schema([("key", pa.string()), (column, pa.string())])
    account = {"host": host or "-", "sources": 2, "kept": 1, "rejected": {"dns": 1}, "requests": 2, "bytes": 1}
    manifest = Manifest(
        kind="dataset",
        key=StepKey(step="ingest", version=1, config=CONFIG.model_dump(mode="json"), inputs={"source": "0"}),
        code_version="0",
        sources={"source": source},
        counts={"seen": 2, "kept": 1, "rejected": 1, "rejected:dns": 1, "shards": 1},
        files=(),
    )
    return Overview(manifest, figures, [account], 1, 2, 1, {0: shards_dir})


def test_an_ingest_begins_without_what_draws_its_report() -> None:
    late = {"jinja2", "markupsafe", "pyarrow.compute", "t2i_core.report.page", "t2i_core.data.account.figures"}
    code = f"import sys, t2i_core.ingestion.step; print(sorted({late} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


@pytest.fixture
def croissant(monkeypatch: Any, tmp_path_factory: Any) -> Iterator[Any]:
    """The reference library, which would keep what it unpacks in the user's home."""
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path_factory.mktemp("croissant")))
    import mlcroissant

    yield mlcroissant


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib", "ignore::DeprecationWarning:mlcroissant")
def test_the_card_is_valid_and_its_records_are_the_rows_and_samples(croissant: Any, dataset: Path) -> None:
    card = croissant.Dataset(str(dataset / "croissant.json"))
    rows = [row for path in sorted(dataset.glob("shards/*.parquet")) for row in pq.read_table(path).to_pylist()]
    kept = [row for row in rows if not row["reason"]]

    issues = card.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    assert "http://mlcommons.org/croissant/1.1" in card.metadata.conforms_to
    records = [
        {unquote(name.partition("/")[2]): plain(value) for name, value in record.items()}
        for record in card.records("rows")
    ]
    assert records == rows
    samples = list(card.records("samples"))
    assert {plain(s["samples/key"]): plain(s["samples/caption"]) for s in samples} == {
        row["key"]: row["caption"] for row in kept
    }
    assert {s["samples/image"].size for s in samples} == {(32, 32)}
    reasons = {record["reasons/reason"]: record["reasons/sources"] for record in card.records("reasons")}
    assert reasons == {"bad_scheme": 1, "http_4xx": 1, "opt_out_header": 1}


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def test_the_card_names_checksums_licenses_refusals_and_sources(dataset: Path) -> None:
    card, manifest = card_of(dataset), read_manifest(dataset)

    data = [file for file in manifest.files if file.path.endswith((".tar", ".parquet"))]
    files = {f["@id"]: (f["contentSize"], f["sha256"]) for f in card["distribution"] if f["@type"] == "cr:FileObject"}
    assert files == {file.path: (f"{file.size} B", file.sha256) for file in data}
    assert card["license"][0] == "https://creativecommons.org/licenses/by/4.0/"
    assert "7 of 20 pictures came with no stated license" in card["license"][-1]["description"]
    assert card["rai:dataCollection"].endswith("Sources left out because of them: opt_out_header 1.")
    assert "ai.txt" in card["rai:dataCollection"]
    assert card["citation"].startswith("Pictures kept by host: 127.0.0.1 (20).")
    assert card["prov:wasDerivedFrom"]["identifier"] == f"sha256:{manifest.key.inputs['source']}"
    assert str(dataset.parent) not in json.dumps(card)
