"""GLIDE's stages as runs: each starts from the one before it, and draws what it was trained for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from t2i_core.folders.manifest import read_manifest
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.finished import load_stage
from t2i_core.training.step import Run, train

CPU = Compute(device="cpu", precision="float32")
# The pictures here have 32 pixels.
SMALL, LARGE = ["system.side=16"], ["system.side=32", "system.low_side=16"]
STAGES = {
    "base": SMALL,
    "cfg": SMALL,
    "clip": SMALL,
    "upsampler": LARGE,
    "inpaint": SMALL,
    "inpaint-upsampler": LARGE,
}
STARTS = {"cfg": "base", "inpaint": "cfg", "inpaint-upsampler": "upsampler"}


def config(name: str, **others: object) -> TrainConfig:
    changes = [*STAGES[name], "batch_size=8"]
    return TrainConfig.parse({"preset": f"glide-{name}-smoke", "set": changes, "max_images": 32} | others)


@pytest.fixture(scope="module")
def runs(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("glide")
    for name in STAGES:
        start = {"init_from": str(folder / STARTS[name])} if name in STARTS else {}
        train(captions_dir, config(name, **start), folder / name, compute=CPU)
    yield folder


def test_captions_are_dropped_for_guidance_alone() -> None:
    rates = {name: config(name).resolve().drop_rates for name in STAGES}

    assert {name: rate for name, rate in rates.items() if rate} == {"cfg": {"text": 0.2}, "inpaint": {"text": 0.2}}


@pytest.mark.parametrize(
    ("name", "side"), [("base", 16), ("upsampler", 32), ("inpaint", 16), ("inpaint-upsampler", 32)]
)
def test_a_run_draws_its_samples_at_its_own_side(runs: Path, name: str, side: int) -> None:
    grids = sorted((runs / name / "samples").glob("*.png"))

    assert grids and {Image.open(grid).height for grid in grids} == {side}


def test_what_fills_in_starts_from_what_draws_whole_with_new_channels_at_zero(captions_dir: Path, runs: Path) -> None:
    run_dir = runs / "fresh"
    start = config("inpaint", init_from=str(runs / "cfg"))
    claim_run(captions_dir, start, run_dir, "refuse")
    stem = Run(captions_dir, start, run_dir, lambda progress: None, CPU).stage.state_dict()["network.unet.stem.weight"]

    assert stem[:, :12].equal(load_stage(runs / "cfg").stage.state_dict()["network.unet.stem.weight"])
    assert stem.shape[1] == 28 and not stem[:, 12:].any()
    assert read_manifest(runs / "inpaint", "run").key.inputs["init"] == read_manifest(runs / "cfg", "run").digest
