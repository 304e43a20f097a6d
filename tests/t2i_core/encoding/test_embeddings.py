"""Embeddings of pictures beside those of captions: found by sample, measured, resumed, and refused when stale."""

from pathlib import Path

import pytest
import torch

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.split import load_split
from t2i_core.encoders.clip import ClipTextEncoder
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.open import find_encoder
from t2i_core.encoding import embeddings as room
from t2i_core.encoding import pictures
from t2i_core.encoding.config import features_key
from t2i_core.encoding.step import features
from t2i_core.encoding.stored import Stored, open_stored
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.hits import missing_outputs
from t2i_core.folders.manifest import MANIFEST_NAME, read_manifest

CONFIG = FeaturesConfig(pictures=True)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_SHARD_PICTURES", 30)
    monkeypatch.setattr(pictures, "PART", 7)
    monkeypatch.setattr(room, "PART", 11)


@pytest.fixture(scope="module")
def stored_dir(captions_dir: Path, clip_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return features(captions_dir, clip_dir, CONFIG, tmp_path_factory.mktemp("embeddings") / "made").path


def opened(folder: Path, captions_dir: Path) -> room.StoredEmbeddings:
    stored = open_stored({"embeddings": folder}, captions_dir).embeddings
    assert stored is not None
    return stored


def test_each_picture_of_all_splits_is_found_by_its_sample(
    captions_dir: Path, clip_dir: Path, tmp_path: Path, small_files: None
) -> None:
    ref = features(captions_dir, clip_dir, CONFIG, tmp_path / "made")
    stored, encoder = opened(ref.path, captions_dir), find_encoder(clip_dir).open(CONFIG)

    kept = sum(1 for split in ("train", "validation", "test") for _ in read_captions(captions_dir, split, ["key"]))  # type: ignore[arg-type]
    assert ref.counts["pictures"] == kept and ref.counts["picture_shards"] > 3
    for name in ("test", "train"):
        split = load_split(captions_dir, name)  # type: ignore[arg-type]
        chosen = list(range(len(split)))[::-5]
        pixels = torch.from_numpy(split.pictures(chosen))
        found = stored.pictures.of([split.keys[i] for i in chosen])
        assert found.equal(encoder.embed(pixels).float())  # type: ignore[attr-defined]
        assert (found.norm(dim=1) - 1).abs().max() < 1e-3
        captions = [split.captions[i] for i in chosen]
        assert stored.captions(captions).equal(encoder.encode(captions).pooled.float())
    with pytest.raises(DataError, match="no embedding of picture 'another'"):
        stored.pictures.of(["another"])


def test_what_is_measured_is_that_of_the_training_split(captions_dir: Path, stored_dir: Path) -> None:
    stored, split = opened(stored_dir, captions_dir), load_split(captions_dir, "train")
    image, text = stored.pictures.of(split.keys).double(), stored.captions(split.captions).double()
    told = stored.statistics

    assert torch.allclose(told.image_mean.double(), image.mean(0), atol=1e-6)
    assert torch.allclose(told.image_covariance.double(), image.T.cov(correction=0), atol=1e-6)
    assert torch.allclose(told.text_std.double(), text.std(0, correction=0), atol=1e-4)
    products = (image * text).sum(1)
    assert float(told.products[0]) == pytest.approx(float(products.min()), abs=1e-6)
    assert float(told.products[len(told.products) // 2]) == pytest.approx(float(products.median()), abs=2e-3)
    assert told.products.diff().min() >= 0


def test_it_goes_on_with_the_files_that_are_there(
    captions_dir: Path, clip_dir: Path, tmp_path: Path, small_files: None
) -> None:
    whole = features(captions_dir, clip_dir, CONFIG, tmp_path / "made")
    paths = sorted(whole.path.glob("*.safetensors"))
    before, times = [path.read_bytes() for path in paths], [path.stat().st_mtime_ns for path in paths]
    (whole.path / MANIFEST_NAME).unlink()
    torn, gone = whole.path / "pictures_00001.safetensors", whole.path / "pictures_00002.safetensors"
    torn.write_bytes(torn.read_bytes()[:100])
    gone.unlink()

    again = features(captions_dir, clip_dir, CONFIG, tmp_path / "made")

    assert again.digest == whole.digest and [path.read_bytes() for path in paths] == before
    same = [path.stat().st_mtime_ns == time for path, time in zip(paths, times, strict=True)]
    assert [path.name for path, kept in zip(paths, same, strict=True) if not kept] == [
        torn.name,
        gone.name,
        "statistics.safetensors",
    ]
    assert missing_outputs(whole.path, read_manifest(whole.path)) == []


def test_the_key_is_that_of_captions_clip_and_recipe_and_older_ones_stay(captions_dir: Path, clip_dir: Path) -> None:
    plain, both = (features_key(captions_dir, clip_dir, FeaturesConfig(pictures=asked)) for asked in (False, True))

    assert "pictures" not in plain.config and both.config["pictures"] is True
    assert plain.inputs == both.inputs
    with pytest.raises(ConfigError, match="own pooling"):
        FeaturesConfig.parse({"pictures": True, "pooling": "mean"})


def test_stale_ones_and_those_without_pictures_are_refused(
    captions_dir: Path, clip_dir: Path, stored_dir: Path, tmp_path: Path
) -> None:
    caption(captions_dir.parent / "dataset", CaptionConfig(max_words=9), tmp_path / "captions")
    with pytest.raises(ConfigError, match="features of other captions"):
        open_stored({"embeddings": stored_dir}, tmp_path / "captions")
    text_alone = features(captions_dir, clip_dir, FeaturesConfig(), tmp_path / "text")
    with pytest.raises(ConfigError, match="no embeddings of pictures: make it with --pictures"):
        open_stored({"embeddings": text_alone.path}, captions_dir)
    assert open_stored({}, captions_dir) == Stored()
    assert read_manifest(stored_dir).counts["pictures"] > 0


def test_a_damaged_file_is_named(captions_dir: Path, stored_dir: Path) -> None:
    path = stored_dir / "statistics.safetensors"
    whole = path.read_bytes()
    path.write_bytes(b"\0" * len(whole))
    try:
        with pytest.raises(DataError, match=r"statistics\.safetensors is damaged"):
            open_stored({"embeddings": stored_dir}, captions_dir)
    finally:
        path.write_bytes(whole)


def test_an_encoder_of_text_alone_embeds_no_pictures(
    captions_dir: Path, clip_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ClipTextEncoder, "embed")

    with pytest.raises(ConfigError, match="reads text alone"):
        features(captions_dir, clip_dir, CONFIG, tmp_path / "made")
    assert not (tmp_path / "made").exists()
