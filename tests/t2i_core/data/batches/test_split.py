import json

import numpy as np
import pytest

from t2i_core.data.batches import split as splits
from t2i_core.data.batches.split import OpenSplit, load_split, parse_attributes
from t2i_core.errors import ConfigError, ShardError
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene


def test_pictures_and_captions_belong_together(captions_dir):
    split = load_split(captions_dir, "train")

    for i in (0, 17, 29):
        scene = make_scene(0, i)
        assert split.captions[i] == caption_scene(scene)
        assert (split.pictures([i])[0] == np.asarray(render_scene(scene, 16))).all()


def test_pictures_that_do_not_fit_in_memory_are_decoded_on_demand(captions_dir, monkeypatch):
    kept = load_split(captions_dir, "train").pictures([3, 1, 29])
    monkeypatch.setattr(splits, "MAX_MEMORY_SHARE", 0.0)

    decoded = load_split(captions_dir, "train").pictures([3, 1, 29])

    assert (kept == decoded).all()


def test_a_damaged_shard_is_refused_by_name_with_its_losses(captions_dir):
    tar = captions_dir.parent / "dataset" / "shards" / "00001.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])

    with pytest.raises(ShardError, match=r"00001\.tar") as caught:
        load_split(captions_dir, "train")

    assert 0 < caught.value.num_lost <= 10


@pytest.mark.parametrize("opened", [load_split, OpenSplit])
def test_a_dataset_made_anew_is_noticed(captions_dir, opened):
    manifest = captions_dir.parent / "dataset" / "manifest.json"
    data = json.loads(manifest.read_text())
    data["key"]["config"]["image_size"] = 32
    manifest.write_text(json.dumps(data))

    with pytest.raises(ConfigError, match="has changed"):
        opened(captions_dir, "train")


@pytest.mark.parametrize("opened", [load_split, OpenSplit])
def test_an_empty_split_is_refused(captions_dir, opened):
    with pytest.raises(ConfigError, match="no samples in its test split"):
        opened(captions_dir, "test")


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", "[" * 100_000])
def test_attributes_that_are_no_object_count_as_none(text):
    assert parse_attributes(text) == {}
