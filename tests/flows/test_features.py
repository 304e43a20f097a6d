"""Features through Prefect and through the command: the same folder, and a hit the second time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import run
from flows.features import features
from t2i_core.folders.manifest import read_manifest

TEXTS = ["a red circle", "two blue squares", "a red circle"]


def test_the_flow_makes_what_the_command_makes(
    prefect_server: None,
    make_captions: Callable[..., Path],
    clip_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    captions, output = make_captions(TEXTS), tmp_path / "features"

    made = features(captions, clip_dir, output, return_state=True)
    again = features(captions, clip_dir, output, return_state=True)

    assert (made.name, again.name) == ("Completed", "Completed")
    assert again.result().hit and not made.result().hit
    assert made.result().counts["captions"] == 2
    options = ["features", str(captions), "--encoder", str(clip_dir), "--no-prefect"]
    assert run([*options, "--output-dir", str(output)]) == 0
    assert "already done (captions 2, cut 0, shards 1, tokens" in capsys.readouterr().out
    assert run([*options, "--output-dir", str(tmp_path / "other")]) == 0
    assert read_manifest(tmp_path / "other").digest == read_manifest(output).digest
    assert run([*options, "--output-dir", str(output), "--pooling", "mean"]) == 2
