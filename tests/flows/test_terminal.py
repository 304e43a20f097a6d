"""What a person sees of the progress, on a terminal and elsewhere."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from flows.cli import run
from flows.shell.bars import BarView
from flows.shell.terminal import LineView, say, say_json
from t2i_core.errors import ConfigError
from t2i_core.progress import Progress, describe_figures, plain

INGEST = Progress(
    step="ingest",
    done=1200,
    total=4000,
    unit="pictures",
    fields={"fetched": 1100, "kept": 900, "rejected": "300 (robots 120, dns 50, ...)", "pictures/s": 290.0},
    seconds_left=3725.4,
)


def shown(progress: Progress, *, terminal: bool, width: int = 200) -> str:
    file = io.StringIO()
    if terminal:
        with BarView(Console(file=file, force_terminal=True, width=width, color_system=None)) as view:
            view(progress)
    else:
        LineView(file)(progress)
    return file.getvalue()


def test_elsewhere_it_is_a_plain_line() -> None:
    assert shown(INGEST, terminal=False) == (
        "ingest: 1,200 of 4,000 pictures, fetched 1,100, kept 900, rejected 300 (robots 120, dns 50, ...), "
        "pictures/s 290, 1:02:05 left\n"
    )


def test_who_is_waited_for_is_said_once_a_minute_where_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, file = [1000.0], io.StringIO()
    monkeypatch.setattr("flows.shell.terminal.time.monotonic", lambda: clock[0])
    view = LineView(file)
    for _ in range(70):
        view(replace(INGEST, waiting=f"{clock[0] - 1000:.0f} s for a.example"))
        clock[0] += 2
    view(INGEST)

    assert [line.partition("waiting ")[2] for line in file.getvalue().splitlines()] == [
        *(f"{seconds} s for a.example, 1:02:05 left" for seconds in (0, 60, 120)),
        "",
    ]


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


# An escape sequence, its one-byte form, a turn of direction, a title for the window, and what rich takes for a link.
EVIL = "\x1b[2J\x9b31m\u202egnp.exe\x1b]0;gone\x07\r\x7f[link=https://evil.example]a[/link] \ud800"
OBEYED = set("\x1b\x9b\u202e\x07\r\x7f\ud800")


def test_what_a_terminal_obeys_is_spelled_out() -> None:
    assert plain(EVIL).startswith("\\x1b[2J\\x9b31m\\u202egnp.exe\\x1b]0;gone\\x07\\r\\x7f[link=")
    assert not OBEYED & set(plain(EVIL))
    assert (
        plain("a red circle, 赤い　丸, \N{SLIGHTLY SMILING FACE}")
        == "a red circle, 赤い　丸, \N{SLIGHTLY SMILING FACE}"
    )


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_shows_foreign_words_as_they_are(terminal: bool) -> None:
    text = shown(Progress(step="x", done=1, total=2, unit="hosts", fields={"host": EVIL}), terminal=terminal)
    assert "[link=https://evil.example]a[/link]" in text
    # The display itself moves the cursor of a terminal.
    assert not (OBEYED - set("\x1b\r" if terminal else "")) & set(text)
    assert "\x1b[2J\x9b" not in text and "\x1b]" not in text


def test_lines_json_and_errors_hold_nothing_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(EVIL)
    say_json({"caption": EVIL, "lines": ["a", "b"]})
    assert run(["no-such" + EVIL]) == 2
    assert run(["caption", "here", "there" + EVIL]) == 2
    assert run(["verify", "nowhere" + EVIL]) == 2

    def fail(**_: object) -> None:
        raise ConfigError(f"no {EVIL}")

    monkeypatch.setattr("flows.cli.app", fail)
    assert run([]) == 2
    told = capsys.readouterr()
    assert not OBEYED & set(told.out + told.err)
    assert json.loads(told.out.split("\n", 1)[1])["caption"] == EVIL
    assert told.err.count("\\x1b[2J") >= 2
