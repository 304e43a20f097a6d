"""Retries, progress and pictures of tasks."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image
from prefect.states import Failed

from t2i_core.errors import ConfigError, DataError, StoppedError, TrainingError, TransientError
from t2i_core.folders.manifest import StepRef
from tasks.artifacts import markdown_table, picture_grid
from tasks.keys import slug
from tasks.runtime import describe_counts, is_transient, outcome, reference
from tasks.train import train


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (TransientError("busy"), True),
        (ConfigError("wrong"), False),
        (DataError("damaged"), False),
        (TrainingError("diverged"), False),
        (StoppedError("stopped"), False),
        (OSError("bug"), False),
    ],
)
def test_only_transient_errors_are_retried(error: Exception, retried: bool) -> None:
    assert is_transient(train, None, Failed(data=error)) is retried  # type: ignore[arg-type]


def test_a_hit_is_shown_as_cached_and_the_reference_comes_back() -> None:
    ref = StepRef(kind="run", digest="0" * 64, path=Path("runs/cnn"), counts={"images": 1234}, hit=True)
    assert outcome(ref).name == "Cached"
    assert outcome(ref.with_changes(hit=False)).name == "Completed"
    assert reference(outcome(ref)) == ref
    assert describe_counts(ref) == "images 1,234"


def test_a_grid_is_one_small_picture_in_order(tmp_path: Path) -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    for i, color in enumerate(colors):
        Image.new("RGB", (16, 16), color).save(tmp_path / f"{i}.png")
    text = picture_grid(sorted(tmp_path.glob("*.png")), num_columns=2)
    data = base64.b64decode(text.split("base64,")[1].rstrip(")"))
    with Image.open(io.BytesIO(data)) as grid:
        assert grid.format == "JPEG"
        side = grid.width // 2
        assert grid.height == 2 * side
        for i, color in enumerate(colors):
            pixel = grid.getpixel((i % 2 * side + side // 2, i // 2 * side + side // 2))
            assert isinstance(pixel, tuple)
            assert max(abs(a - b) for a, b in zip(pixel, color, strict=True)) < 12


def test_no_pictures_is_said() -> None:
    assert picture_grid([]) == "(no pictures)"


def test_names_become_keys_and_counts_a_table() -> None:
    assert slug("train-My Run_2") == "train-my-run-2"
    assert markdown_table({"kept": 12345, "loss": "0.1"}, head=("a", "b")).splitlines()[2:] == [
        "| kept | 12,345 |",
        "| loss | 0.1 |",
    ]


def test_a_table_holds_no_markup_of_others() -> None:
    rows = {"<script>alert(1)</script>": "[a](javascript:1) | `b`\n\x1b"}
    (row,) = markdown_table(rows, head=("a", "b")).splitlines()[2:]
    assert row == r"| &lt;script&gt;alert(1)&lt;/script&gt; | \[a\](javascript:1) \| \`b\` \x1b |"
