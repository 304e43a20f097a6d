"""What a person sees of the progress, on a terminal and elsewhere."""

import io

from rich.console import Console

from flows.terminal import ProgressView
from t2i_core.progress import Progress, describe_figures

INGEST = Progress(
    step="ingest",
    done=1200,
    total=4000,
    unit="pictures",
    fields={"fetched": 1100, "kept": 900, "rejected": "300 (robots 120, dns 50, ...)", "pictures/s": 290.0},
    seconds_left=3725.4,
)


def shown(progress: Progress, *, terminal: bool, width: int = 200) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)
    with ProgressView(console) as view:
        view(progress)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_elsewhere_it_is_a_plain_line() -> None:
    assert shown(INGEST, terminal=False) == (
        "ingest: 1,200 of 4,000 pictures, fetched 1,100, kept 900, rejected 300 (robots 120, dns 50, ...), "
        "pictures/s 290, 1:02:05 left\n"
    )


def test_on_a_terminal_the_bar_has_the_same_figures_and_the_step_s_own_time_left() -> None:
    line = shown(INGEST, terminal=True)

    assert "1,200 of 4,000 pictures, fetched 1,100, kept 900, rejected 300 (robots 120, dns 50, ...)" in line
    assert "1:02:05" in line and "left" not in line


def test_a_step_that_does_not_tell_leaves_the_time_to_the_bar() -> None:
    assert "-:--:--" in shown(Progress(step="train", done=0, total=10, unit="images"), terminal=True)


def test_a_narrow_terminal_cuts_no_figure_off() -> None:
    words = shown(INGEST, terminal=True, width=80).split()

    assert [word for word in describe_figures(INGEST).split() if word not in words] == []
    assert "1:02:05" in words
