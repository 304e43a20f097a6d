"""The steps as functions: what the documentation shows works, within a running event loop too."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import t2i_core
from t2i_core.errors import ConfigError
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.generate import generate
from t2i_core.generation.model import Pictures
from t2i_core.ingestion.planning import run_to_end
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
PROMPT = "a red circle on a gray background"


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All names that the documentation's program leaves, run within an event loop as a notebook does."""
    folder = tmp_path_factory.mktemp("documented")
    (folder / "photos").mkdir()
    for i in range(120):
        scene = make_scene(0, i)
        render_scene(scene, 32).save(folder / "photos" / f"{i:03d}.png")
        (folder / "photos" / f"{i:03d}.txt").write_text(caption_scene(scene))
    names: dict[str, Any] = {}

    async def cell() -> None:
        for block in BLOCKS:
            # A tenth of the training shows the same.
            exec(block.replace("max_images=640", "max_images=64"), names)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        asyncio.run(cell())
    return names | {"folder": folder}


def test_the_documented_program_does_the_whole_job(documented: dict[str, Any]) -> None:
    assert documented["dataset"].counts["kept"] == 120
    assert documented["run"].counts["images"] == 64
    assert (documented["folder"] / "work" / "evaluation" / "report.html").is_file()
    with Image.open(documented["folder"] / "circle.png") as saved:
        assert saved.size == (32, 32)


def test_a_model_draws_what_the_command_draws(documented: dict[str, Any], tmp_path: Path) -> None:
    config = GenerateConfig(num_images=2, seed=5, steps=3)
    run_dir = documented["folder"] / "work" / "run"
    generate(run_dir, [PROMPT], tmp_path / "drawn", config)

    pictures = t2i_core.load(run_dir)([PROMPT], num_images=2, seed=5, steps=3)

    assert pictures.prompts == [PROMPT, PROMPT]
    for i, picture in enumerate(pictures):
        with Image.open(tmp_path / "drawn" / f"{i:05d}.png") as drawn:
            assert drawn.tobytes() == picture.tobytes()


def test_a_slip_is_refused_with_a_sentence(documented: dict[str, Any], tmp_path: Path) -> None:
    model = documented["model"]
    model.run_dir = documented["folder"] / "work" / "run"
    with pytest.raises(ConfigError, match="this run never learned: unicorn"):
        model("a unicorn")
    with pytest.raises(ConfigError, match="no prompt"):
        model(" ")
    with pytest.raises(ConfigError, match="num_images"):
        model(PROMPT, num_images=0)
    with pytest.raises(ConfigError, match=r"there is no image_sise \(did you mean 'image_size'\?\)"):
        t2i_core.ingest("photos", tmp_path / "out", image_sise=64)


def test_pictures_show_themselves_in_a_notebook() -> None:
    pictures = Pictures([Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")], ['a "red" one', "<b>"])

    with Image.open(io.BytesIO(pictures._repr_png_())) as grid:
        assert (grid.size, grid.getpixel((0, 0)), grid.getpixel((4, 0))) == ((8, 4), (255, 0, 0), (0, 0, 255))
    shown = pictures._repr_html_()
    assert shown.count("<img ") == 2
    assert "<b>" not in shown
    assert 'alt="a &quot;red&quot; one"' in shown


def test_importing_it_is_light_and_every_name_is_there() -> None:
    code = (
        "import sys; from t2i_core import *; from t2i_core import ingest, caption, train, evaluate, load;"
        "print(*sorted({'torch', 'pyarrow', 'PIL', 'asyncio'} & sys.modules.keys()), ingest.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["t2i_core.api"]
    assert set(t2i_core.__all__) <= set(dir(t2i_core))
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        t2i_core.paint  # noqa: B018


def test_no_module_takes_the_name_of_a_function() -> None:
    """A package `t2i_core/ingest/` would take the place of the function as soon as it is imported."""
    names = {path.stem for path in (ROOT / "t2i_core").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names & set(t2i_core.__all__) == set()


def test_an_interrupt_reaches_what_runs_beside_an_event_loop() -> None:
    ended = threading.Event()

    async def endless() -> None:
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def cell() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_to_end(endless())

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    assert ended.is_set()
    assert time.monotonic() - started < 30
