"""Pictures of our own folders are PNG, whatever they say they are."""

from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from t2i_core.errors import DataError
from t2i_core.report.pictures import open_picture


def test_a_png_is_read_as_rgb(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 7).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((2, 1)) == (7, 7, 7)


def test_a_file_that_would_start_ghostscript_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: started.append(arguments))
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(path, "EPS")
    with pytest.raises(DataError, match="no sound PNG"):
        open_picture(path)
    assert not started


def test_damage_and_size_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 9).save(path)
    monkeypatch.setattr("t2i_core.report.pictures.MAX_PIXELS", 4000)
    with pytest.raises(DataError, match="64 x 64 pixels"):
        open_picture(path)
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError):
        open_picture(path)
