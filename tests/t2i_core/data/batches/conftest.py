"""A small dataset of real pictures with its captions, in several shards."""

from pathlib import Path

import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene


def make_captions(folder: Path, num_pictures: int, samples_per_shard: int) -> Path:
    pictures = folder / "pictures"
    pictures.mkdir()
    for i in range(num_pictures):
        scene = make_scene(0, i)
        render_scene(scene, 16).save(pictures / f"{i:03d}.png")
        (pictures / f"{i:03d}.txt").write_text(caption_scene(scene))
    options = IngestConfig(image_size=16, encode_format="png", samples_per_shard=samples_per_shard, min_image_size=8)
    ingest(str(pictures), options, folder / "dataset")
    caption(folder / "dataset", CaptionConfig(validation_share=0, test_share=0), folder / "captions")
    return folder / "captions"


@pytest.fixture
def captions_dir(tmp_path: Path) -> Path:
    return make_captions(tmp_path, 30, 10)


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures in ten shards, which no test changes."""
    return make_captions(tmp_path_factory.mktemp("many"), 60, 6)
