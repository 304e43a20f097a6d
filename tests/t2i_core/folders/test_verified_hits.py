"""One flipped byte is found when hits are verified by content, and costs nothing when they are not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from t2i_core.errors import DataError
from t2i_core.folders.hits import SMALL_BYTES, files_to_read, find_hit, hits_checked
from t2i_core.folders.manifest import OutputFile, read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.training.config import TrainConfig
from t2i_core.training.step import train

CONFIG = IngestConfig(image_size=16)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_captions_with_other_bytes_are_no_hit(make_captions: Callable[..., Path]) -> None:
    folder = make_captions(["a red circle", "two blue squares"])
    key = read_manifest(folder).key
    with hits_checked("all"):
        assert find_hit(folder, key)
    flip_a_byte(folder / "captions.parquet")

    assert find_hit(folder, key)
    with hits_checked("sample"), pytest.raises(DataError, match=r"captions\.parquet has other bytes"):
        find_hit(folder, key)


def test_a_shard_with_other_bytes_is_found_by_the_ingest_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.linear_gradient("L").save(tmp_path / "pictures" / "a.png")
    source, dataset = str(tmp_path / "pictures"), tmp_path / "ds"
    ingest(source, CONFIG, dataset)
    flip_a_byte(next(dataset.glob("shards/*.tar")))

    assert ingest(source, CONFIG, dataset).hit
    with hits_checked("all"), pytest.raises(DataError, match=r"\.tar has other bytes.*verify --repair"):
        ingest(source, CONFIG, dataset)


def test_a_run_with_another_checkpoint_is_no_hit(captions_dir: Path, tmp_path: Path) -> None:
    config = TrainConfig(preset="cnn-smoke", max_images=64)
    run_dir = train(captions_dir, config, tmp_path / "run").path
    (weights,) = run_dir.glob("checkpoints/*/model.safetensors")
    flip_a_byte(weights)

    assert train(captions_dir, config, run_dir).hit
    with hits_checked("all"), pytest.raises(DataError, match=r"model\.safetensors has other bytes"):
        train(captions_dir, config, run_dir)


def test_a_sample_is_all_small_files_and_some_large_ones_others_each_time() -> None:
    files = [OutputFile(path=f"{n}", size=SMALL_BYTES + (n > 1), sha256="") for n in range(42)]
    chosen = []
    with hits_checked("sample"):
        chosen = [tuple(file.path for file in files_to_read(files)) for _ in range(20)]
    assert all(paths[:2] == ("0", "1") and len(paths) == 2 + 4 for paths in chosen)
    assert len(set(chosen)) > 1


def test_the_stricter_of_two_counts() -> None:
    files = [OutputFile(path="a", size=1, sha256="")]
    with hits_checked("all"), hits_checked("size"):
        assert list(files_to_read(files)) == files
    assert list(files_to_read(files)) == []
