"""How much the property tests try: the same examples each time, or with `--hypothesis-profile explore` many others.

And on how many threads each test calculates, what an interrupt does, that nothing is sent home, and small folders that
several rooms need.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=5_000)
settings.load_profile("same")

# Tests run beside each other, and the threads of one wait for each other by turning in circles: on cores that others
# use too, two threads take ten times as long as one. PyTorch reads this when it is imported, here and in trainers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No server of a test sends telemetry; it also writes its session at the start, when its database may be locked.
os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

# A job in the background of a script is started with SIGINT ignored, and so would be all that the tests start and
# interrupt. A trainer catches it whatever it inherited; the tests are about what an interrupt does where it is wanted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def clip_model() -> Any:
    import open_clip
    import torch

    torch.manual_seed(0)
    return open_clip.CLIP(**CLIP).eval()


@pytest.fixture(scope="session")
def clip_dir(clip_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights as open_clip writes one, whose text tower reads 12 tokens of width 24."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))
    save_file(clip_model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


ICON_STYLES = {"plain-emoji": "crimson", "wide": "navy", "flat": "teal", "line": "gold"}


@pytest.fixture(scope="session")
def icon_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four icon sets as npm unpacks them, of forty emoji each: the width tells the emoji, the color the style."""
    from t2i_core.samples.emoji import named_emoji

    chosen = [emoji for emoji in named_emoji() if emoji.kind == "single"][:40]
    names = {emoji.codepoints.lower().replace(" ", "-"): f"icon-{n}" for n, emoji in enumerate(chosen)}
    folders = []
    for style, color in ICON_STYLES.items():
        folder = tmp_path_factory.mktemp("icons") / style
        (folder / "package").mkdir(parents=True)
        icons = {f"icon-{n}": {"body": f'<path fill="{color}" d="M0 0h{n + 1}v40h-40z"/>'} for n in range(40)}
        files = {
            "icons.json": {"prefix": style, "width": 48, "height": 48, "icons": icons},
            "chars.json": names,
            "info.json": {"author": {"name": f"who drew {style}"}, "license": {"title": "Any", "spdx": "CC0-1.0"}},
        }
        for name, data in files.items():
            (folder / "package" / name).write_text(json.dumps(data))
        folders.append(folder)
    return folders


@pytest.fixture
def make_captions(tmp_path: Path) -> Callable[..., Path]:
    """Write a finished captions folder by hand; its splits take turns, the first rows are rejected."""
    from t2i_core.data.batches.captions import CAPTIONS_NAME, SPLITS, CaptionRow, write_captions
    from t2i_core.data.batches.tokenizer import Tokenizer
    from t2i_core.folders.manifest import StepKey, describe_file, write_manifest

    def make(texts: list[str], rejected: int = 0) -> Path:
        folder = tmp_path / "captions"
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

    return make
