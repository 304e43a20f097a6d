from pathlib import Path

import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene


@pytest.fixture(scope="session")
def captions_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioned dataset of 120 scenes, made by the real steps from a local folder."""
    root = tmp_path_factory.mktemp("training")
    pictures = root / "pictures"
    pictures.mkdir()
    for i in range(120):
        scene = make_scene(0, i)
        render_scene(scene, 32).save(pictures / f"{i:03d}.png")
        (pictures / f"{i:03d}.txt").write_text(caption_scene(scene))
    options = IngestConfig(image_size=32, encode_format="png", samples_per_shard=50, min_image_size=8)
    ingest(str(pictures), options, root / "dataset")
    caption(root / "dataset", CaptionConfig(), root / "captions")
    return root / "captions"
