import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from t2i_core.data.batches.captions import CAPTIONS_NAME, SPLITS, CaptionRow, write_captions
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.manifest import StepKey, describe_file, write_manifest

MODEL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 10, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights as open_clip writes one, whose text tower reads 10 tokens of width 16."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL}))
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def make_captions(folder: Path, texts: list[str], rejected: int = 0) -> Path:
    """Write a finished captions folder by hand; its splits take turns, the first rows are rejected."""
    folder.mkdir()
    rows = [
        CaptionRow(
            key=f"{number:09d}",
            shard=number // 50,
            uid=f"uid{number}",
            caption_raw=text,
            caption=text,
            split=SPLITS[number % 3],
            status="rejected" if number < rejected else "kept",
            reason="empty" if number < rejected else "",
            num_tokens=0,
            truncated=False,
            group="",
            attributes="{}",
            width=32,
            height=32,
        )
        for number, text in enumerate(texts)
    ]
    write_captions(folder / CAPTIONS_NAME, rows)
    Tokenizer.train(texts, 100, 8).save(folder / "tokenizer.json")
    files = [describe_file(folder, path) for path in sorted(folder.iterdir())]
    key = StepKey(step="caption", version=4, config={}, inputs={})
    write_manifest(folder, kind="captions", key=key, sources={}, counts={}, files=files)
    return folder


@pytest.fixture
def captions(tmp_path: Path) -> Callable[..., Path]:
    return lambda texts, name="captions", **options: make_captions(tmp_path / name, texts, **options)
