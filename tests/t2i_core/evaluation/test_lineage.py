"""Chains to the source and back, on a small dataset with captions, two runs and an evaluation."""

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import Kind
from t2i_core.folders.manifest import StepKey, StepRef, read_manifest, write_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.lineage.ancestors import outdated, trace, trace_picture, training_samples
from t2i_core.lineage.holders import find_samples, find_url
from t2i_core.lineage.mark import origin_of_picture, png_bytes

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=7)
CAPTIONS = CaptionConfig(validation_share=0.2, test_share=0.3)


def finish(folder: Path, kind: Kind, **inputs: StepRef) -> StepRef:
    """Make a finished folder of a kind from others."""
    folder.mkdir(parents=True)
    key = StepKey(
        step=kind, version=1, config={"name": folder.name}, inputs={n: ref.digest for n, ref in inputs.items()}
    )
    sources = {name: f"../{'../' * (kind == 'run')}{ref.path.name}" for name, ref in inputs.items()}
    if kind == "evaluation":
        sources = {name: f"../runs/{ref.path.name}" for name, ref in inputs.items()}
    return write_manifest(folder, kind=kind, key=key, sources=sources, counts={"images": 9}, files=[])


def save_drawing(path: Path, run: str) -> None:
    write_atomically(path, png_bytes(np.zeros((4, 4, 3), np.uint8), {"prompt": "a cat", "seed": 1, "run": run}))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Twenty pictures, their captions, a run on them, a run on others, and an evaluation of the first."""
    for name, number in (("pictures", 20), ("others", 6)):
        (tmp_path / name).mkdir()
        for i in range(number):
            picture = io.BytesIO()
            image = Image.new("RGB", (16, 16), (i * 9, number, 7))
            image.paste("white", (0, 0, 8, 8))
            image.save(picture, "PNG")
            (tmp_path / name / f"{name}-{i:02d}.png").write_bytes(picture.getvalue())
            (tmp_path / name / f"{name}-{i:02d}.txt").write_text(f"{name} number {i}")
    root = tmp_path / "work"
    for name in ("pictures", "others"):
        ingest(str(tmp_path / name), CONFIG, root / f"{name}-dataset")
        ref = caption(root / f"{name}-dataset", CAPTIONS, root / f"{name}-captions")
        run = finish(root / f"runs/{name}-run", "run", captions=ref)
        finish(root / f"{name}-evaluation", "evaluation", run=run)
    return root


def uids_by_split(world: Path) -> dict[str, dict[str, str]]:
    """Give the URL of each uid by split."""
    found: dict[str, dict[str, str]] = {"train": {}, "validation": {}, "test": {}}
    urls = {
        row["uid"]: row["url"]
        for path in sorted(world.glob("pictures-dataset/shards/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }
    for row in pq.read_table(world / "pictures-captions/captions.parquet").to_pylist():
        found[row["split"]][row["uid"]] = urls[row["uid"]]
    return found


def names(holders: Any) -> list[str]:
    return [holder.folder.name for holder in holders]


def test_an_evaluation_leads_back_to_its_source(world: Path) -> None:
    chain = trace(world / "pictures-evaluation")
    assert [a.folder.name for a in chain] == [
        "pictures-evaluation", "pictures-run", "pictures-captions", "pictures-dataset"
    ]  # fmt: skip
    assert chain[-1].manifest.sources["source"] == str(world.parent / "pictures")
    assert outdated(chain) == []


def test_training_samples_are_those_of_the_train_split(world: Path) -> None:
    train = uids_by_split(world)["train"]
    assert 5 < len(train) < 20
    for start in ("pictures-evaluation", "runs/pictures-run", "pictures-captions"):
        found = list(training_samples(trace(world / start)))
        assert {sample.uid: sample.url for sample in found} == train
        assert [sample.key for sample in found] == sorted(sample.key for sample in found)
    everything = list(training_samples(trace(world / "pictures-dataset")))
    assert [sample.url for sample in everything] == [f"pictures-{i:02d}.png" for i in range(20)]


def test_a_url_leads_to_all_that_was_made_with_it(world: Path) -> None:
    splits = uids_by_split(world)
    uid, url = next(iter(splits["train"].items()))
    found = find_url(world, url)
    assert names(found) == ["pictures-captions", "pictures-dataset", "pictures-run", "pictures-evaluation"]
    assert [row.uid for holder in found for row in holder.rows] == [uid, uid]
    assert (found[0].rows[0].split, found[0].rows[0].status, found[1].rows[0].status) == ("train", "kept", "success")
    assert all(holder.certain for holder in found)
    held_out = next(iter(splits["test"].values()))
    assert names(find_url(world, held_out)) == ["pictures-captions", "pictures-dataset"]
    assert find_url(world, "nobody.png") == []
    with pytest.raises(ConfigError, match="no such folder"):
        find_url(world / "nowhere", url)


def test_features_are_of_the_captions_of_all_splits(world: Path) -> None:
    captions = read_manifest(world / "pictures-captions")
    ref = StepRef(kind="captions", digest=captions.digest, path=world / "pictures-captions", counts={})
    finish(world / "pictures-features", "features", captions=ref)

    held_out = next(iter(uids_by_split(world)["test"].values()))

    assert names(find_url(world, held_out)) == ["pictures-captions", "pictures-dataset", "pictures-features"]


def test_a_purge_says_what_was_trained_on_it_and_again_when_repeated(world: Path) -> None:
    uid, url = next(iter(uids_by_split(world)["train"].items()))
    for _ in range(2):
        result = purge(world / "pictures-dataset", PurgeRequest.parse(urls=[url]))
        assert result.uids == {uid}
        found = find_samples(world, result.uids)
        assert names(found) == ["pictures-captions", "pictures-run", "pictures-evaluation"]
    chain = trace(world / "pictures-evaluation")
    assert outdated(chain) == [f"{chain[2].folder} was made from an earlier state of {chain[3].folder}."]
    tombstone = next(sample for sample in training_samples(chain) if sample.uid == uid)
    assert tombstone.url == f"sha256:{hashlib.sha256(url.encode()).hexdigest()}"
    assert [holder.rows[0].status for holder in find_url(world, url) if holder.rows] == ["kept", "purged"]


def test_captions_made_again_leave_the_old_run_in_doubt(world: Path) -> None:
    uid, url = next(iter(uids_by_split(world)["train"].items()))
    purge(world / "pictures-dataset", PurgeRequest.parse(urls=[url]))
    shutil.rmtree(world / "pictures-captions")
    caption(world / "pictures-dataset", CAPTIONS, world / "pictures-captions")
    found = find_samples(world, {uid})
    assert [(holder.folder.name, holder.certain) for holder in found] == [
        ("pictures-run", False), ("pictures-evaluation", False)
    ]  # fmt: skip


def test_folders_that_moved_are_found_by_their_digests(world: Path) -> None:
    url = next(iter(uids_by_split(world)["train"].values()))
    (world / "runs/pictures-run").replace(world / "elsewhere")
    assert names(find_url(world, url)) == ["pictures-captions", "pictures-dataset", "elsewhere", "pictures-evaluation"]


def test_a_drawn_picture_leads_back_to_its_run(world: Path) -> None:
    run = read_manifest(world / "runs/pictures-run").digest
    save_drawing(world / "drawn/00000.png", run)
    save_drawing(world / "pictures-evaluation/images/00000.png", run)
    assert origin_of_picture(world / "drawn/00000.png") == {
        "schema_version": 1, "prompt": "a cat", "seed": 1, "run": run
    }  # fmt: skip
    expected = ["pictures-run", "pictures-captions", "pictures-dataset"]
    assert [a.folder.name for a in trace_picture(world / "drawn/00000.png")] == expected
    drawn = world / "pictures-evaluation/images/00000.png"
    assert [a.folder.name for a in trace_picture(drawn)] == ["pictures-evaluation", *expected]
    assert [a.folder.name for a in trace_picture(drawn, world / "runs")] == expected
    with pytest.raises(ConfigError, match="--workspace"):
        trace_picture(drawn, world / "pictures-captions")


@pytest.mark.parametrize("body", [b"", b"nothing", b"\x89PNG\r\n\x1a\n" + b"\xff" * 90])
def test_a_file_that_is_no_drawing_is_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "x.png").write_bytes(body)
    with pytest.raises(ConfigError, match="no PNG that t2i drew"):
        trace_picture(tmp_path / "x.png")


def test_a_picture_without_an_origin_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ConfigError, match="no PNG that t2i drew"):
        trace_picture(tmp_path / "plain.png")
    write_atomically(tmp_path / "odd.png", png_bytes(np.zeros((4, 4, 3), np.uint8), {"run": 5}))
    with pytest.raises(ConfigError, match="does not name the run"):
        trace_picture(tmp_path / "odd.png")


def test_damaged_captions_are_named(world: Path) -> None:
    (world / "pictures-captions/captions.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"captions\.parquet is damaged"):
        list(training_samples(trace(world / "runs/pictures-run")))
    with pytest.raises(DataError, match=r"captions\.parquet cannot be read"):
        find_url(world, "pictures-01.png")
