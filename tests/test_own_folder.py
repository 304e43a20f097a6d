"""The README's way to a model of one's own pictures, command by command, at the size of a smoke test."""

import re
import shlex
from pathlib import Path

from flows.cli import run
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

README = Path(__file__).parent.parent / "README.md"
NUM_PICTURES = 200
SMALLER = {
    "diffusion-demo --max-minutes 4": "diffusion-smoke --max-images 64",
    "a cat": "a red circle on a gray background",
}


def commands() -> list[list[str]]:
    block = re.search(r"## Your own folder.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    text = block[1]
    for written, smaller in SMALLER.items():
        assert written in text
        text = text.replace(written, smaller)
    return [shlex.split(line)[1:] for line in text.splitlines()]


def make_pictures(folder: Path) -> None:
    folder.mkdir()
    for index in range(NUM_PICTURES):
        scene = make_scene(0, index)
        render_scene(scene).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(caption_scene(scene), encoding="utf-8")


def test_a_folder_of_pictures_becomes_a_model_that_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "my-pictures")

    for arguments in commands():
        fast = [] if arguments[0] == "generate" else ["--no-prefect"]
        assert run([*arguments, *fast]) == 0, arguments

    assert len(list((tmp_path / "workspace" / "mine" / "pictures").glob("*.png"))) == 1
    for step in ("dataset", "captions"):
        assert (tmp_path / "workspace" / "mine" / step / "report.html").is_file()
