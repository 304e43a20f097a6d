"""Reading several datasets that were captioned as one."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches import order
from t2i_core.data.batches import split as splits
from t2i_core.data.batches.location import anchored, by_dataset, by_weight
from t2i_core.data.batches.shapes import Shapes
from t2i_core.data.batches.split import OpenSplit, load_split
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.lineage.ancestors import trace, training_samples
from t2i_core.lineage.holders import find_url
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

ALL_TRAIN = CaptionConfig(validation_share=0, test_share=0)
# Pictures and samples a shard of each dataset; the scenes of the second begin behind those of the first.
SETS = {"few": (12, 4), "many": (30, 100)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, first = tmp_path_factory.mktemp("joined"), 0
    for name, (num, per_shard) in SETS.items():
        make_dataset(root / name, first, num, per_shard)
        first += num
    caption(root / "few", ALL_TRAIN, root / "captions", joined_with=(str(root / "many"),))
    return root


def make_dataset(folder: Path, first: int, num: int, per_shard: int, side: int = 16) -> Path:
    pictures = folder.with_name(f"pictures of {folder.name}")
    pictures.mkdir()
    for number in range(num):
        scene = make_scene(0, first + number)
        render_scene(scene, side).save(pictures / f"{number:03}.png")
        (pictures / f"{number:03}.txt").write_text(caption_scene(scene))
    options = IngestConfig(image_size=side, encode_format="png", samples_per_shard=per_shard, min_image_size=8)
    ingest(str(pictures), options, folder)
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(order, "MIN_BLOCK_SAMPLES", 10)
    monkeypatch.setattr(order, "MIN_BLOCK_SHARDS", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MAX_MEMORY_SHARE", 0.0)


def scene_number(key: str) -> int:
    name, _, own = key.partition("/")
    return (int(own[:5]) * 4 + int(own[5:]) if name == "few" else 12 + int(own)) if own else int(key)


def test_every_sample_of_all_datasets_is_its_own(made, streamed):
    feed = OpenSplit(made / "captions", "train").feed(1, workers=0)
    rows = feed.take(0, 42)
    feed.close()

    assert sorted(map(scene_number, rows.keys)) == list(range(42))
    for key, text, pixels in zip(rows.keys, rows.captions, rows.pixels, strict=True):
        scene = make_scene(0, scene_number(key))
        assert text == caption_scene(scene)
        assert (pixels.numpy() == np.asarray(render_scene(scene, 16))).all()


def test_evaluations_see_all_of_them(made):
    split = load_split(made / "captions", "train")
    split.close()

    assert [scene_number(key) for key in split.keys] == list(range(42))
    for i in (0, 11, 12, 41):
        assert (split.pictures([i])[0] == np.asarray(render_scene(make_scene(0, i), 16))).all()


def test_each_dataset_may_lie_elsewhere(made, streamed, tmp_path):
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(made / "many"), "/sets/many", recursive=True)
    shutil.copytree(made / "few", tmp_path / "moved")
    expected = OpenSplit(made / "captions", "train").feed(1, workers=0).take(0, 42)

    locations = ["many=memory://sets/many", f"few={tmp_path}/moved"]
    feed = OpenSplit(made / "captions", "train", locations).feed(1, workers=0)
    assert feed.take(0, 42).keys == expected.keys
    feed.close()
    some = OpenSplit(made / "captions", "train", [f"few={made}/few/shards/{{00001..00002}}.tar"]).feed(1, workers=0)
    assert {scene_number(key) for key in some.take(0, 38).keys} == set(range(4, 42))
    some.close()


WEIGHTS = ["few=1", "many=3"]


def weighted(made: Path, first: int, stop: int, size: int = 8, **options: object) -> list[str]:
    """Give the keys at some positions, one sample of `few` for three of `many`."""
    feed = OpenSplit(made / "captions", "train").feed(1, weights=WEIGHTS, **options)  # type: ignore[arg-type]
    found = [key for place in range(first, stop, size) for key in feed.take(place, min(size, stop - place)).keys]
    feed.close()
    return found


def test_weights_say_how_often_samples_come_from_each_dataset(made):
    seen = weighted(made, 0, 160)
    few, many = ([key for key in seen if key.startswith(name)] for name in SETS)

    assert all(abs(sum(key.startswith("few") for key in seen[:stop]) - stop / 4) < 1 for stop in range(161))
    assert (len(few), len(many)) == (40, 120)
    assert sorted(few[:12]) == sorted(few[12:24]) == sorted(few[24:36]) == sorted(set(few))
    assert all(sorted(many[first : first + 30]) == sorted(set(many)) for first in range(0, 120, 30))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_the_order_of_weighted_datasets_is_the_same_in_memory_and_streamed_from_anywhere(made, monkeypatch, workers):
    kept = weighted(made, 0, 160)
    monkeypatch.setattr(splits, "MAX_MEMORY_SHARE", 0.0)

    assert weighted(made, 0, 160, workers=workers) == kept
    assert weighted(made, 77, 160, 5, workers=workers) == kept[77:]


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_order_of_weighted_datasets_is_the_same_for_all_ranks(made, streamed, ranks):
    expected, share = weighted(made, 0, 96, workers=0), 8 // ranks
    read: dict[int, list[str]] = {}
    for rank in range(ranks):
        feed = OpenSplit(made / "captions", "train").feed(1, weights=WEIGHTS, workers=0, stride=8)
        read |= {place: feed.take(place, share).keys for place in range(rank * share, 96, 8)}
        feed.close()

    assert [key for place in sorted(read) for key in read[place]] == expected


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        (["few=1"], "--weights names few: give one to each of these datasets, such as few=1,many=1"),
        (["few=1", "most=1"], "give one to each of these datasets"),
        (["few=0", "many=1"], "'few=0' is no weight of a dataset"),
        (["few=1e9", "many=1"], "'few=1e9' is no weight of a dataset"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, why):
    with pytest.raises(ConfigError, match=why):
        by_weight(weights, ["few", "many"])


def test_one_dataset_has_no_weights():
    with pytest.raises(ConfigError, match="captions are of one dataset: leave out --weights"):
        by_weight(["few=1"], [""])
    assert by_weight([], [""]) == {}


@pytest.mark.parametrize(
    ("locations", "why"),
    [
        (["s3://bucket/set"], "does not say of which dataset; give NAME=s3://bucket/set with a name of few, many"),
        (["most=s3://bucket/set"], "give NAME=s3://bucket/set with a name of few, many"),
        (["few=a", "few=b"], "few=b is a second place of one dataset"),
    ],
)
def test_a_place_of_no_dataset_is_refused(locations, why):
    with pytest.raises(ConfigError, match=why):
        by_dataset(locations, ["few", "many"])


def test_places_are_named_for_other_folders_too(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert anchored("few=sets/few") == f"few={tmp_path}/sets/few" and anchored("sets/few") == f"{tmp_path}/sets/few"
    assert anchored("few=s3://bucket/few") == "few=s3://bucket/few"


def test_datasets_of_different_sizes_are_told_before_anything_is_trained(made, tmp_path):
    large = make_dataset(tmp_path / "large", 60, 10, 10, side=32)
    joined = caption(made / "few", ALL_TRAIN, tmp_path / "captions", joined_with=(str(large),)).path

    with pytest.raises(ConfigError, match=r"few of 16, large of 32 pixels: add --set shapes\.side=N"):
        OpenSplit(joined, "train").feed(1)
    feed = OpenSplit(joined, "train", shapes=Shapes(side=24)).feed(1)
    assert feed.take(0, 22).pixels.shape == (22, 24, 24, 3)


def test_a_sample_leads_to_its_dataset_and_its_url_and_back(made):
    ancestors = trace(made / "captions")
    told = {sample.key: sample for sample in training_samples(ancestors)}

    assert [ancestor.manifest.kind for ancestor in ancestors] == ["captions", "dataset", "dataset"]
    assert [sample.url for key, sample in told.items() if scene_number(key) in (3, 40)] == ["003.png", "028.png"]
    held = [holder for holder in find_url(made, told["many/0000028"].url) if holder.folder == made / "captions"]
    assert "many/0000028" in {row.key for holder in held for row in holder.rows}
    assert read_manifest(made / "captions").counts["train"] == 42
