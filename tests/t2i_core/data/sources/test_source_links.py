"""Links and pipes in local sources of each kind: not followed, not waited for, and told by name and number."""

import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from t2i_core.data.sources.lists import read_list
from t2i_core.data.sources.open import open_source
from t2i_core.data.tables.list_files import ListFile, find_lists
from t2i_core.errors import ConfigError, T2IError
from t2i_core.ingestion.step import IngestConfig, ingest
from t2i_core.samples.scenes import make_scene, render_scene

PICTURES = IngestConfig().reading()

CONFIG = IngestConfig(image_size=16, encode_format="png", retries=0)
TOLD = "links in a source are not followed; copy what they lead to (cp -rL)"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that no source is about, with a picture, a list and a tar."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    render_scene(make_scene(0, 0), 32).save(folder / "secret.png")
    (folder / "list.csv").write_text("url,caption\n/secret.png,mine\n")
    with tarfile.open(folder / "00000.tar", "w") as tar:
        tar.add(folder / "secret.png", "000000000.png")
    return folder


def plant(folder: Path, elsewhere: Path, target: str, name: str) -> None:
    (folder / name).symlink_to(elsewhere / target)
    os.mkfifo(folder / f"pipe-{name}")


def told(out: Path) -> list[str]:
    return sorted((out / "orphans.txt").read_text().splitlines())


def test_pictures(elsewhere: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "pictures", tmp_path / "ds"
    root.mkdir()
    render_scene(make_scene(0, 1), 32).save(root / "a.png")
    plant(root, elsewhere, "secret.png", "b.png")
    (root / "deep").symlink_to(elsewhere)
    (root / "metadata.csv").write_text("file_name,caption\na.png,x\nb.png,y\ndeep/secret.png,z\nno.png,w\n")

    ref = ingest(str(root), CONFIG, out)

    assert (ref.counts["kept"], ref.counts["links_not_followed"], ref.counts["no_files"]) == (1, 2, 1)
    assert [line for line in told(out) if "metadata" not in line] == [
        f"b.png\t{TOLD}",
        f"deep\t{TOLD}",
        "pipe-b.png\ta pipe, which is not read",
    ]
    rows: list[dict[str, Any]] = pq.read_table(out / "shards/00000.parquet").to_pylist()
    assert {row["url"]: row["reason"] for row in rows} == {
        "a.png": "",
        "b.png": "unreadable",
        "deep/secret.png": "unreadable",
        "no.png": "unreadable",
    }
    reasons = [line.split("\t")[0] for line in told(out) if "metadata" in line]
    whys = [TOLD, TOLD, "there is no such picture"]
    assert reasons == [f"metadata.csv row {number}: {why}" for number, why in enumerate(whys, start=2)]


@pytest.mark.parametrize("inner", ["", "shards"])
def test_shards(inner: str, elsewhere: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "old", tmp_path / "ds"
    (root / inner).mkdir(parents=True)
    render_scene(make_scene(0, 1), 32).save(tmp_path / "a.png")
    with tarfile.open(root / inner / "00001.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "000000001.png")
    plant(root / inner, elsewhere, "00000.tar", "00000.tar")

    ref = ingest(str(root), CONFIG, out)

    assert (ref.counts["seen"], ref.counts["links_not_followed"], ref.counts["no_files"]) == (1, 1, 1)
    assert told(out)[0] == f"{Path(inner) / '00000.tar'}\t{TOLD}"


def test_shards_behind_a_link(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/shards").symlink_to(elsewhere)

    with pytest.raises(ConfigError, match=r"no pictures.*not followed"):
        ingest(str(tmp_path / "old"), CONFIG, tmp_path / "ds")


@pytest.mark.parametrize("pattern", ["", "*.csv"])
def test_lists(pattern: str, elsewhere: Path, tmp_path: Path) -> None:
    root = tmp_path / "lists"
    root.mkdir()
    (root / "a.csv").write_text("url,caption\nhttp://127.0.0.1:1/a.png,x\n")
    (root / "b.csv").symlink_to(elsewhere / "list.csv")
    source = str(root / pattern)

    assert [record.caption for record in read_list(source, "url", "caption")] == ["x"]
    with pytest.raises(T2IError):
        ingest(source, CONFIG.with_changes(allow_private=("127.0.0.1",)), tmp_path / "ds")
    (root / "a.csv").unlink()
    with pytest.raises(ConfigError, match="Links left out: 1; links in a source are not followed"):
        find_lists(source if pattern else str(root / "*"))


def test_archives_behind_a_pattern(elsewhere: Path, tmp_path: Path) -> None:
    (elsewhere / "b.warc").write_bytes(b"")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/one").symlink_to(elsewhere)

    for source in (str(tmp_path / "sets/*/b.warc"), str(tmp_path / "sets/one/*.warc")):
        if source.endswith("b.warc"):
            with pytest.raises(ConfigError, match="Links left out: 1;"):
                ingest(source, CONFIG, tmp_path / "ds")
        else:
            # Up to the pattern, a person has named the folders.
            with pytest.raises(ConfigError, match="no web pages"):
                ingest(source, CONFIG, tmp_path / "ds")


def test_what_a_person_names_may_be_a_link_but_no_pipe(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "named.csv").symlink_to(elsewhere / "list.csv")
    assert ListFile(str(tmp_path / "named.csv")).fingerprint()
    assert [record.caption for record in read_list(tmp_path / "named.csv", "url", "caption")] == ["mine"]
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(T2IError, match="pipe"):
        open_source(str(tmp_path / "pipe.csv"), PICTURES).identity()
