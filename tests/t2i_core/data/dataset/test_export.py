"""A dataset in its other forms: the same pictures, texts and rows, and never half of a shard."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from t2i_core.data.dataset import export as module
from t2i_core.data.dataset.export import export
from t2i_core.data.shards.reader import Sample, iter_samples
from t2i_core.errors import ConfigError, ShardError
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4)
TEXTS = ["plain", "größer, ein Hund", "zwei\nZeilen", "", "a <b> & c", "last"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six pictures and two that cannot be read, in two shards, with cells of several types."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    with (folder / "metadata.jsonl").open("w") as file:
        for n, text in enumerate(TEXTS):
            Image.effect_noise((16, 16), 90).convert("RGB").save(folder / f"{n}.png")
            row = {"file_name": f"{n}.png", "caption": text, "tags": ["x", str(n)], "score": n / 2, "good": n > 2}
            file.write(json.dumps(row) + "\n")
    for name in ("1b.png", "9.png"):
        (folder / name).write_bytes(b"no picture")
    ingest(str(folder), CONFIG, tmp_path / "ds")
    return tmp_path / "ds"


def samples(dataset_dir: Path) -> list[Sample]:
    return [sample for tar in sorted(dataset_dir.glob("shards/*.tar")) for sample in iter_samples(tar)]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_are_the_members_and_make_the_same_data_set_again(dataset: Path, tmp_path: Path) -> None:
    result = export(dataset, tmp_path / "out", "files")
    ingest(str(tmp_path / "out"), CONFIG, tmp_path / "again")

    found = samples(dataset)
    assert (result.num_shards, result.num_written, result.num_pictures) == (2, 2, 6)
    for sample in found:
        stem = tmp_path / "out" / sample.key[:5] / sample.key
        assert stem.with_suffix(".png").read_bytes() == sample.picture
        assert stem.with_suffix(".txt").read_bytes().decode() == sample.caption
        assert json.loads(stem.with_suffix(".json").read_bytes()) == sample.metadata
    assert len(names(tmp_path / "out")) == 2 + 3 * 6 + 1
    again = samples(tmp_path / "again")
    assert [(one.picture, one.caption) for one in again] == [(one.picture, one.caption) for one in found]


def test_tables_are_the_rows_and_the_pictures(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    export(dataset, tmp_path / "out", "parquet")

    pictures = {sample.key: sample.picture for sample in samples(dataset)}
    expected = [row | {"png": pictures.get(row["key"])} for row in rows(dataset / "shards")]
    assert rows(tmp_path / "out") == expected
    assert sum(row["png"] is None for row in expected) == 2
    assert names(tmp_path / "out") == ["00000.parquet", "00001.parquet", "step.json"]
    assert pq.ParquetFile(tmp_path / "out" / "00000.parquet").num_row_groups == 2


@pytest.mark.parametrize("form", ["files", "parquet"])
def test_a_damaged_shard_is_refused_whole_and_the_rest_resumed(dataset: Path, tmp_path: Path, form: Any) -> None:
    tar = dataset / "shards" / "00001.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole.replace(b"last", b"lost"))
    with pytest.raises(ShardError, match=r"00001 is damaged \(00001.tar has other bytes"):
        export(dataset, tmp_path / "out", form)
    done = {"files": "00000", "parquet": "00000.parquet"}[form]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [done, "step.json"]

    tar.write_bytes(whole)
    (tmp_path / "out" / ".00001.parquet.0123abcd").write_bytes(b"half")
    result = export(dataset, tmp_path / "out", form)
    assert (result.num_shards, result.num_written) == (2, 1)
    assert not list((tmp_path / "out").glob(".*"))


def test_what_cannot_be_exported_or_written_to_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="already holds other work"):
        export(dataset, tmp_path / "mine", "files")
    assert names(tmp_path / "mine") == ["thesis.txt"]
    with pytest.raises(ConfigError, match="lies in the dataset itself"):
        export(dataset, dataset / "out", "files")
    with pytest.raises(ConfigError, match="has no manifest"):
        export(tmp_path / "pictures", tmp_path / "out", "files")
    with pytest.raises(ConfigError, match="no such format: 'zip'"):
        export(dataset, tmp_path / "out", "zip")  # type: ignore[arg-type]
    export(dataset, tmp_path / "out", "files")
    with pytest.raises(ConfigError, match=r"option format was \"files\", now \"parquet\""):
        export(dataset, tmp_path / "out", "parquet")


def test_a_column_named_like_the_pictures_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.effect_noise((16, 16), 90).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "metadata.csv").write_text("file_name,caption,png\na.png,x,y\n")
    ingest(str(tmp_path / "in"), CONFIG, tmp_path / "ds")
    with pytest.raises(ConfigError, match="has a column 'png' already"):
        export(tmp_path / "ds", tmp_path / "out", "parquet")
