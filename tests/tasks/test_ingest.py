"""What Prefect shows of an ingest."""

from pathlib import Path

from PIL import Image

from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from tasks.artifacts import markdown_rows
from tasks.ingest import report


def test_the_artifact_has_the_figures_of_the_report_and_says_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.linear_gradient("L").save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    ref = ingest(str(folder), IngestConfig(image_size=16), tmp_path / "ds")

    lines = report(ref).splitlines()

    assert "| kept | 1 |" in lines and "| rejected | 1 |" in lines
    assert "| not_an_image | the bytes are not a picture | 1 |" in lines
    assert "| (none) | 2 | 1 | 0 | 0 |" in lines
    assert any(str(tmp_path / "ds" / "report.html") in line for line in lines)


def test_a_cell_stays_in_its_row() -> None:
    assert markdown_rows([("a|b\nc", 1234)], head=("x", "y")).splitlines() == [
        "| x | y |",
        "| --- | ---: |",
        "| a\\|b c | 1,234 |",
    ]


def test_the_artifact_says_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.linear_gradient("L").save(folder / "a.png")
    ref = ingest(str(folder), IngestConfig(image_size=16), tmp_path / "ds")
    assert "Not all of it." not in report(ref)
    lacking = ref.with_changes(counts=ref.counts | {"seen": 2, "rejected": 1, "rejected:host_unreachable": 1})
    assert "**Not all of it.** 1 of 2 sources (50.0 %)" in report(lacking)
