"""A dataset as an ingest leaves it: read unchanged by the readers of others, and beside what img2dataset writes."""

import json
import tarfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from open_clip_train.data import get_wds_dataset

from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

SIZE = 16
PICTURES = 7
CONFIG = IngestConfig(
    image_size=SIZE, encode_format="png", samples_per_shard=4, allow_private=("localhost",), retries=0
)
# As in img2dataset 1.47, reading a list with a column `license` and keeping it.
PEER_COLUMNS = {
    "license": pa.string(), "caption": pa.string(), "url": pa.string(), "key": pa.string(), "status": pa.string(),
    "error_message": pa.string(), "width": pa.int32(), "height": pa.int32(), "original_width": pa.int32(),
    "original_height": pa.int32(), "sha256": pa.string(),
}  # fmt: skip
PEER_STATS = {
    "count": int, "successes": int, "failed_to_download": int, "failed_to_resize": int, "duration": float,
    "start_time": float, "end_time": float, "status_dict": dict,
}  # fmt: skip


def caption(number: int) -> str:
    return f"picture {number}, größer"


def color(number: int) -> tuple[int, int, int]:
    return number * 20, 255 - number * 20, 100


@pytest.fixture
def shards(site: Any, make_png: Any, tmp_path: Path) -> Path:
    """Seven pictures, one that is missing and one that is a page, in three shards."""
    site.content |= {f"/{number}.png": make_png(color(number)) for number in range(PICTURES)} | {"/page.png": "<p>no"}
    lines = [f'{site.url(f"/{number}.png")},"{caption(number)}",CC0' for number in range(PICTURES)]
    lines[2:2] = [f"{site.url('/gone.png')},gone,CC0", f"{site.url('/page.png')},page,"]
    (tmp_path / "list.csv").write_text("\n".join(["url,caption,license", *lines]))
    ingest(str(tmp_path / "list.csv"), CONFIG, tmp_path / "ds")
    return tmp_path / "ds" / "shards"


def brace(shards: Path) -> str:
    return f"{shards}/{{00000..00002}}.tar"


def is_of(image: Any, number: int) -> bool:
    return bool((np.asarray(image)[-2:] == color(number)).all())


def test_webdataset_reads_it(shards: Path) -> None:
    dataset = webdataset.WebDataset(brace(shards), shardshuffle=False).decode("pil").to_tuple("png", "txt", "json")
    samples = list(dataset)
    assert [text for _, text, _ in samples] == [caption(number) for number in range(PICTURES)]
    assert [row["key"] for _, _, row in samples] == [f"{n:06d}" for n in (0, 1, 10, 11, 12, 13, 20)]
    for number, (image, _, row) in enumerate(samples):
        assert image.size == (row["width"], row["height"]) == (SIZE, SIZE)
        assert is_of(image, number)


def test_open_clip_reads_it(shards: Path) -> None:
    # Its pipeline for training calls an inner function of webdataset that has another form since webdataset 1.0.
    options = {"val_data": brace(shards), "val_num_samples": PICTURES, "batch_size": PICTURES, "workers": 0}
    found = get_wds_dataset(
        Namespace(**options),
        lambda image: torch.from_numpy(np.array(image)),
        is_train=False,
        tokenizer=lambda text: [text],
    )
    [(images, texts)] = list(found.dataloader)
    assert list(texts) == [caption(number) for number in range(PICTURES)]
    assert all(is_of(image, number) for number, image in enumerate(images))


@pytest.fixture
def hugging_face(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    datasets.disable_progress_bars()
    return datasets


def test_hugging_face_reads_the_shards(shards: Path, hugging_face: Any, tmp_path: Path) -> None:
    files = sorted(map(str, shards.glob("*.tar")))
    found = hugging_face.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert {"png", "txt", "json", "__key__", "__url__"} == set(found.column_names)
    assert found["txt"][:] == [caption(number) for number in range(PICTURES)]
    assert [row["license"] for row in found["json"]] == ["CC0"] * PICTURES
    assert all(is_of(image, number) for number, image in enumerate(found["png"]))


def test_hugging_face_reads_the_tables(shards: Path, hugging_face: Any, tmp_path: Path) -> None:
    files = sorted(map(str, shards.glob("*.parquet")))
    found = hugging_face.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert found["status"].count("success") == PICTURES
    assert found["key"][:4] == ["000000", "000001", "000002", "000003"]


def test_rows_have_the_columns_of_img2dataset_and_more(shards: Path) -> None:
    for path in sorted(shards.glob("*.parquet")):
        schema = pq.read_schema(path)
        found = {name: schema.field(name).type for name in schema.names if name in PEER_COLUMNS}
        assert found == PEER_COLUMNS
        assert list(found) == list(PEER_COLUMNS)
    rows = [row for path in sorted(shards.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert [row["key"] for row in rows] == [f"{number:06d}" for number in (0, 1, 2, 3, 10, 11, 12, 13, 20)]
    told = {row["key"]: (row["status"], row["error_message"]) for row in rows}
    assert told["000002"] == ("failed_to_download", "HTTP Error 404: Not Found")
    assert told["000003"][0] == "failed_to_resize"
    assert told["000000"] == ("success", None)


def test_members_have_the_names_the_form_and_the_keys_of_img2dataset(shards: Path) -> None:
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member) for member in tar}
            described = {(member.uname, member.gname, member.mode, member.isreg()) for member in tar}
            texts = {name: file.read().decode() for name, file in members.items() if file and name.endswith(".json")}
        assert described == {("bigdata", "bigdata", 0o444, True)}
        assert [name.split(".")[1] for name in members] == ["json", "png", "txt"] * len(texts)
        for name, text in texts.items():
            row = json.loads(text)
            assert [key for key in row if key in PEER_COLUMNS] == list(PEER_COLUMNS)
            assert text == json.dumps(row, indent=4)
            assert (row["key"], row["status"], row["error_message"]) == (name.split(".")[0], "success", None)


def test_statistics_have_the_keys_of_img2dataset_and_add_up(shards: Path) -> None:
    statistics = [json.loads(path.read_bytes()) for path in sorted(shards.glob("*_stats.json"))]
    for found in statistics:
        assert {name: type(found[name]) for name in PEER_STATS} == PEER_STATS
        assert found["count"] == found["successes"] + found["failed_to_download"] + found["failed_to_resize"]
    assert sum(found["successes"] for found in statistics) == PICTURES
    assert statistics[0]["status_dict"]["success"] == 2
    # Whoever reads the folder as img2dataset's takes every .json in it for statistics.
    assert {path.name[5:] for path in shards.iterdir()} == {".tar", ".parquet", "_stats.json"}
