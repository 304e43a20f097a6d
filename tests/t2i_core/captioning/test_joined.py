"""Several datasets captioned as one: names, copies through all of them, one split, and what their manifest says."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.joined import named_datasets
from t2i_core.captioning.step import caption
from t2i_core.data.dataset.duplicates import write_duplicates
from t2i_core.data.shards.layout import sample_key
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import StepKey, describe_file, read_manifest, write_manifest

CONFIG = CaptionConfig(validation_share=0.2, test_share=0.2)


def make_dataset(folder: Path, start: int, num: int, per_shard: int, **options: Any) -> Path:
    """Write a dataset of the pictures number `start` on: equal numbers are equal pictures, found at other addresses."""
    (folder / "shards").mkdir(parents=True)
    for first in range(0, num, per_shard):
        rows = [
            {
                "key": sample_key(first // per_shard, index, per_shard),
                "uid": f"{folder.name}{start + first + index}",
                "url": f"http://{folder.name}.example/{start + first + index}.png",
                "caption": f"thing number {start + first + index} of {folder.name}",
                "status": "success",
                "reason": "",
                "sha256": f"{start + first + index + 1:016x}{0:048x}",
                "phash": f"{0:016x}",
                "attributes": "{}",
            }
            for index in range(min(per_shard, num - first))
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"shards/{first // per_shard:05d}.parquet")
    write_duplicates(folder, dict.fromkeys(range(-(-num // per_shard)), folder / "shards"), per_shard)
    files = [describe_file(folder, path) for path in sorted(folder.rglob("*.parquet"))]
    config = {"samples_per_shard": per_shard} | options
    key = StepKey(step="ingest", version=1, config=config, inputs={"source": folder.name})
    write_manifest(folder, kind="dataset", key=key, sources={}, counts={}, files=files)
    return folder


def rows_of(captions: Path) -> list[dict[str, Any]]:
    return pq.read_table(captions / "captions.parquet").to_pylist()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Thirty pictures in shards of 10, and forty in shards of 100, of which ten are among the thirty."""
    return make_dataset(tmp_path / "cats", 0, 30, 10), make_dataset(tmp_path / "dogs", 20, 40, 100)


def test_joined_datasets_keep_every_picture_once_and_say_where_it_is_from(two, tmp_path: Path) -> None:
    cats, dogs = two
    ref = caption(dogs, CONFIG, tmp_path / "captions", joined_with=(str(cats),))
    rows, manifest = rows_of(ref.path), read_manifest(ref.path)

    assert [row["key"] for row in rows[:2]] == ["cats/000000", "cats/000001"] and rows[30]["key"] == "dogs/0000000"
    assert [row["shard"] for row in rows] == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 40
    copies = [row["key"] for row in rows if row["reason"] == "duplicate_picture"]
    assert copies == [f"dogs/{index:07d}" for index in range(10)] and ref.counts["kept"] == 60
    assert manifest.key.inputs == {f"dataset/{each.name}": read_manifest(each).digest for each in two}
    assert manifest.sources == {"dataset/cats": "../cats", "dataset/dogs": "../dogs"}
    report = json.loads((ref.path / "report.json").read_text())
    assert {name: sum(splits.values()) for name, splits in report["datasets"].items()} == {"cats": 30, "dogs": 30}
    assert "<td>dogs</td>" in (ref.path / "report.html").read_text()
    words = (ref.path / "tokenizer.json").read_text()
    assert '"cats"' in words and '"dogs"' in words


def test_the_order_of_the_datasets_changes_nothing(two, tmp_path: Path) -> None:
    cats, dogs = two
    one = caption(dogs, CONFIG, tmp_path / "one", joined_with=(str(cats),))
    other = caption(cats, CONFIG, tmp_path / "other", joined_with=(f"dogs={dogs}",))

    assert one.digest == other.digest
    assert caption(cats, CONFIG, tmp_path / "one", joined_with=(str(dogs),)).hit


def test_copies_that_stay_are_in_one_split(two, tmp_path: Path) -> None:
    cats, dogs = two
    config = CONFIG.with_changes(drop_duplicates=False)
    rows = rows_of(caption(cats, config, tmp_path / "captions", joined_with=(str(dogs),)).path)
    of_cats, of_dogs = ({row["uid"][4:]: row for row in rows if row["key"].startswith(each.name)} for each in two)
    shared = of_cats.keys() & of_dogs.keys()

    assert len(shared) == 10 and {row["status"] for row in rows} == {"kept"}
    assert all(of_cats[each]["split"] == of_dogs[each]["split"] for each in shared)
    assert all(of_cats[each]["group"] == of_dogs[each]["group"] for each in shared)
    # By their own groups some of them would be in two splits.
    apart = [rows_of(caption(each, config, tmp_path / f"of{each.name}").path) for each in two]
    alone = {row["uid"]: row["split"] for rows in apart for row in rows}
    assert any(alone[f"cats{each}"] != alone[f"dogs{each}"] for each in shared)


def test_one_dataset_is_what_it_was_whatever_it_is_called(two, tmp_path: Path) -> None:
    cats, _ = two
    plain = caption(cats, CONFIG, tmp_path / "plain")
    named = caption(Path(f"animals={cats}"), CONFIG, tmp_path / "named")

    assert named.digest == plain.digest and read_manifest(plain.path).sources == {"dataset": "../cats"}
    assert rows_of(plain.path)[0]["key"] == "000000"
    assert "datasets" not in json.loads((plain.path / "report.json").read_text())


def test_names_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"two datasets are called dataset, a/dataset and b/dataset: name them"):
        named_datasets(Path("a/dataset"), ("b/dataset",))
    with pytest.raises(ConfigError, match=r"needs a name of letters and digits"):
        named_datasets(Path("my pictures"), ("b/dataset",))
    assert list(named_datasets(Path("z=a/dataset"), ("b/dataset", "c=c/dataset"))) == ["c", "dataset", "z"]


def test_the_same_dataset_twice_is_refused(two, tmp_path: Path) -> None:
    cats, _ = two
    with pytest.raises(ConfigError, match="are the same dataset: leave one out"):
        caption(cats, CONFIG, tmp_path / "captions", joined_with=(f"again={cats}",))


def test_a_dataset_of_another_program_is_not_joined(two, tmp_path: Path) -> None:
    cats, _ = two
    odd = make_dataset(tmp_path / "odd", 100, 5, 10, samples_per_shard=None)
    with pytest.raises(DataError, match="odd was not made by ingest: it cannot be joined"):
        caption(cats, CONFIG, tmp_path / "captions", joined_with=(str(odd),))
