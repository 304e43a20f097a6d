import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def clip_model() -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.CLIP(**MODEL).eval()


@pytest.fixture(scope="session")
def clip_dir(clip_model: open_clip.CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights as open_clip writes one, whose text tower reads 12 tokens of width 24."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL}))
    save_file(clip_model.state_dict(), folder / "open_clip_model.safetensors")
    return folder
