"""Bad input ends in one sentence and the right exit code; what was there stays."""

import errno
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

from flows.cli import COMMANDS, app, run
from flows.commands.generate import read_prompts
from flows.config import PipelineConfig
from flows.config import preset_names as pipeline_names
from t2i_core import __version__
from t2i_core.captioning.config import CaptionConfig
from t2i_core.errors import ConfigError
from t2i_core.training.config import TrainConfig
from t2i_core.training.preset import load_preset, preset_names

CASES: dict[str, tuple[list[str], int, str]] = {
    "no such list": (["ingest", "missing.csv", "--output-dir", "out", "--no-prefect"], 2, "missing.csv"),
    "empty list": (["ingest", "empty.csv", "--output-dir", "out", "--no-prefect"], 2, "empty.csv"),
    "unknown column": (
        ["ingest", "list.csv", "--output-dir", "out", "--no-prefect", "--url-column", "nope"],
        2,
        "nope",
    ),
    "value out of bounds": (
        ["ingest", "list.csv", "--output-dir", "out", "--no-prefect", "--image-size", "0"],
        2,
        "image_size",
    ),
    "unknown config key": (
        ["ingest", "list.csv", "--output-dir", "out", "--no-prefect", "--config", "unknown_key.json"],
        2,
        "sauce",
    ),
    "config is not JSON": (
        ["ingest", "list.csv", "--output-dir", "out", "--no-prefect", "--config", "list.csv"],
        2,
        "not readable JSON",
    ),
    "output is a file": (["ingest", "list.csv", "--output-dir", "list.csv", "--no-prefect"], 2, "list.csv is a file"),
    "output holds other work": (["ingest", "list.csv", "--output-dir", "taken", "--no-prefect"], 2, "already holds"),
    "dataset is not one": (["caption", "taken", "--output-dir", "out", "--no-prefect"], 2, "manifest.json"),
    "no such dataset": (["caption", "nowhere", "--output-dir", "out", "--no-prefect"], 2, "no such folder: nowhere"),
    "no encoder": (
        ["features", "taken", "--encoder", "nowhere", "--output-dir", "out", "--no-prefect"],
        2,
        "manifest.json",
    ),
    "captions are not": (["train", "taken", "--output-dir", "out", "--no-prefect"], 2, "manifest.json"),
    "unknown training preset": (
        ["train", "taken", "--output-dir", "out", "--no-prefect", "--preset", "nope"],
        2,
        "unknown preset 'nope'",
    ),
    "role is unknown": (["compose", "bass=taken", "--output-dir", "out", "--no-prefect"], 2, "did you mean 'base'"),
    "system without a base": (["compose", "clip=taken", "--output-dir", "out", "--no-prefect"], 2, "base=RUN"),
    "part is not a run": (["compose", "base=taken", "--output-dir", "out", "--no-prefect"], 2, "manifest.json"),
    "stage is unknown": (
        ["generate", "taken", "--output-dir", "out", "--prompt", "a", "--set", "upsampel.steps=2"],
        2,
        "did you mean 'upsampler'",
    ),
    "run is not one": (["evaluate", "taken", "--output-dir", "out", "--no-prefect"], 2, "manifest.json"),
    "cannot draw with it": (["generate", "taken", "--output-dir", "out", "--prompt", "a cat"], 2, "manifest.json"),
    "no prompt": (["generate", "taken", "--output-dir", "out"], 2, "--prompt TEXT or --prompts-file"),
    "no such prompts": (["generate", "taken", "--output-dir", "out", "--prompts-file", "none.txt"], 2, "none.txt"),
    "unknown preset": (["demo", "--preset", "nope", "--output-dir", "out", "--no-prefect"], 2, "preset"),
    "preset and config": (
        ["pipeline", "--preset", "demo", "--config", "list.csv", "--output-dir", "out"],
        2,
        "not both",
    ),
    "reason to retry is unknown": (
        ["ingest", "list.csv", "--output-dir", "out", "--retry", "timeout,weather"],
        2,
        "cannot ask again for weather; choose of robots_unavailable, dns, connect, tls, timeout",
    ),
    "a cluster without Prefect": (
        ["ingest", "list.csv", "--output-dir", "out", "--runner", "dask", "--no-prefect"],
        2,
        "are for a whole run with Prefect",
    ),
    "a retry that replaces": (
        ["ingest", "list.csv", "--output-dir", "out", "--retry", "dns", "--replace"],
        2,
        "leave out --replace",
    ),
    "nothing finished to retry": (
        ["ingest", "list.csv", "--output-dir", "out", "--retry", "dns"],
        2,
        "without --retry",
    ),
    "cannot verify it": (["verify", "taken"], 2, "manifest.json"),
    "nothing to verify": (["verify", "nowhere"], 2, "no such folder: nowhere"),
    "cannot purge it": (["purge", "taken", "--url", "http://a.example/x.png"], 2, "manifest.json"),
    "cannot export it": (["export", "taken", "--output-dir", "out"], 2, "manifest.json"),
    "no such format": (["export", "taken", "--output-dir", "out", "--format", "zip"], 2, "'zip' is not one of"),
    "nothing named to purge": (["purge", "taken"], 2, "nothing is named to purge"),
    "not a hash": (["purge", "taken", "--sha256", "abc"], 2, "64 hexadecimal digits"),
    "no such workspace": (
        ["purge", "taken", "--domain", "a.example", "--workspace", "nowhere"],
        2,
        "no such folder: nowhere",
    ),
    "no lineage": (["lineage", "taken"], 2, "manifest.json"),
    "lineage of nothing": (["lineage", "nowhere"], 2, "no such folder: nowhere"),
    "lineage of a text": (["lineage", "list.csv"], 2, "no PNG that t2i drew"),
    "lineage both ways": (["lineage", "taken", "--urls", "--url", "x"], 2, "not both"),
    "unknown command": (["paint"], 2, "paint"),
    "mistyped command": (["trian"], 2, "'trian' (did you mean 'train'?)"),
    "mistyped preset": (
        ["train", "taken", "--output-dir", "out", "--no-prefect", "--preset", "difusion-demo"],
        2,
        "unknown preset 'difusion-demo' (did you mean 'diffusion-demo'?)",
    ),
    "changed field is unknown": (
        ["train", "taken", "--output-dir", "out", "--no-prefect", "--set", "optim.learning_rat=3e-3"],
        2,
        "there is no optim.learning_rat (did you mean 'optim.learning_rate'?)",
    ),
    "recipe is not JSON": (
        ["train", "taken", "--output-dir", "out", "--no-prefect", "--preset", "./list.csv"],
        2,
        "list.csv is not readable JSON",
    ),
    "no such recipe": (["presets", "show", "mine.json"], 2, "no such config file"),
    "recipe of what": (["presets", "show"], 2, "the name of one"),
    "no such rules for captions": (
        ["caption", "taken", "--output-dir", "out", "--no-prefect", "--preset", "openclipar"],
        2,
        "unknown preset 'openclipar' (did you mean 'openclipart'?)",
    ),
    "two recipes at once": (
        ["caption", "taken", "--output-dir", "out", "--preset", "openclipart", "--config", "mistyped_key.json"],
        2,
        "--preset and --config",
    ),
    "captions are changed": (["presets", "show", "openclipart", "--set", "max_repeats=1"], 2, "--set changes training"),
    "pipeline is changed": (["presets", "show", "demo", "--set", "minutes=1"], 2, "--set changes training recipes"),
    "mistyped option": (["caption", "taken", "--outputdir", "out"], 2, "--output-dir"),
    "mistyped config key": (
        ["ingest", "list.csv", "--output-dir", "out", "--no-prefect", "--config", "mistyped_key.json"],
        2,
        "there is no image_sise (did you mean 'image_size'?)",
    ),
    "mistyped column": (
        ["ingest", "list.csv", "--output-dir", "out", "--no-prefect", "--url-column", "urls"],
        2,
        "(did you mean 'url'?)",
    ),
    "mistyped reason": (
        ["ingest", "list.csv", "--output-dir", "out", "--retry", "tiemout"],
        2,
        "tiemout (did you mean 'timeout'?)",
    ),
    "output below a file": (
        ["ingest", "list.csv", "--output-dir", "list.csv/out", "--no-prefect"],
        2,
        "A part of its path is a file",
    ),
    "unknown option": (["demo", "--colour", "red"], 2, "--colour"),
    "missing argument": (["train", "--output-dir", "out"], 2, "captions_dir"),
}


UPKEEP = ["verify", "export", "purge", "lineage"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "list.csv").write_text("url,caption\nhttp://127.0.0.1:9/a.png,a red circle\n")
    (tmp_path / "unknown_key.json").write_text('{"sauce": 1}')
    (tmp_path / "mistyped_key.json").write_text('{"image_sise": 64}')
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    return tmp_path


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_in_one_sentence(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code, words = CASES[case]
    before = files_below(folder)
    assert run(arguments) == code
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert files_below(folder) == before


@pytest.mark.parametrize(
    "command",
    [
        *(
            "demo",
            "ingest",
            "caption",
            "features",
            "train",
            "compose",
            "evaluate",
            "pipeline",
            "generate",
            "presets",
            "site",
        ),
        *UPKEEP,
    ],
)
def test_help_names_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "--" in capsys.readouterr().out


def test_whatever_decides_a_training_has_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    text = capsys.readouterr().out
    missing = [name for name in TrainConfig.model_fields if f"  --{name.replace('_', '-')} " not in text]
    assert not missing


def test_help_shows_units_bounds_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ingest", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--timeout-seconds <float>" in text
    assert "in seconds (above 0 and at most 3,600; default: 20.0)" in text
    assert "default: 256" in text
    assert "--allow-private" in text


def test_an_interrupt_is_resumable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program = "import os, signal, sys; from flows import cli; from flows.commands import site; "
    program += "site.serve_site = lambda config: os.kill(os.getpid(), signal.SIGTERM); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "site"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 75, done.stderr
    assert done.stderr.strip() == "t2i: stopped; the same command goes on from here."


@pytest.mark.parametrize(("text", "expected"), [("a cat\n\n  a dog \n", ["a cat", "a dog"])])
def test_prompts_are_lines(folder: Path, text: str, expected: Sequence[str]) -> None:
    (folder / "prompts.txt").write_text(text)
    assert read_prompts([], folder / "prompts.txt") == expected


def test_a_prompts_file_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "prompts.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read prompts"):
        read_prompts([], folder / "prompts.txt")


def test_every_command_is_told_in_the_words_of_its_own_help():
    group = typer.main.get_command(app)
    context = group.make_context("t2i", ["doctor"])

    for name, (_, summary) in COMMANDS.items():
        told = group.get_command(context, name).get_short_help_str(limit=1000)
        assert told.startswith(summary.removesuffix(".")), name


def test_an_ingest_does_not_wait_for_what_it_does_not_use():
    code = (
        "import sys; from flows.cli import run; "
        "code = run(['ingest', 'missing.csv', '--output-dir', 'o', '--no-prefect']);"
        "unused = {'torch', 'prefect', 'open_clip', 'pandas', 'scipy', 'sqlite3', 'warcio'};"
        "print(code, *sorted(unused & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["2"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_fits_and_ends_with_examples_that_are_understood(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    examples = [line.strip() for line in lines if line.startswith(f"    t2i {name}")]
    command = typer.main.get_command(app)

    assert examples
    assert [line for line in lines if len(line) > 80] == []
    for example in examples:
        sub = command.get_command(command.make_context("t2i", [name]), name)
        assert sub.make_context(name, shlex.split(example)[2:]).params


def test_options_of_an_ingest_stand_under_headings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ingest", "--help"]) == 0
    sections = capsys.readouterr().out.split("\n\n")
    by_heading = {section.splitlines()[0]: section for section in sections}

    assert "--output-dir" in by_heading["Options:"]
    assert "--resize-mode" in by_heading["How pictures are stored:"]
    assert "--connections" in by_heading["How hosts are asked:"]


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"t2i {__version__}\n"


def test_a_shell_completes_commands_and_options() -> None:
    program = [sys.executable, "-c", "import sys; sys.argv[0] = 't2i'; from flows.cli import main; main()"]
    for words, expected in (("t2i tra", "train"), ("t2i train --pre", "--preset")):
        shell = {"_T2I_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(program, env=os.environ | shell, capture_output=True, text=True, check=True)
        assert expected in done.stdout.split()


@pytest.mark.parametrize("name", ["cnn-smoke", "demo", "openclipart"])
def test_a_preset_is_shown_whole_as_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", "show", name]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "from" not in shown
    known = {"cnn-smoke": load_preset, "demo": PipelineConfig.preset, "openclipart": CaptionConfig.preset}
    assert shown == known[name](name).model_dump(mode="json")


def test_all_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", "list"]) == 0
    told = capsys.readouterr().out
    assert [name for name in [*preset_names(), *pipeline_names(), "openclipart"] if f"{name} " not in told] == []


def test_a_system_error_is_a_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/nowhere/list.csv")

    monkeypatch.setattr("flows.commands.site.serve_site", fail)

    assert run(["site"]) == 2
    assert capsys.readouterr().err == (
        "t2i: cannot use /nowhere/list.csv: permission denied. Change its permissions, or choose another folder.\n"
    )


def test_help_and_slips_wait_for_nothing_heavy():
    """PyTorch alone takes four seconds and 900 MB."""
    asked = [["--help"], ["trian"], ["train", "--colour", "red"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "import json, os, sys; from flows.cli import run; answers = json.loads(sys.argv[1]);"
        "sys.stdout = sys.stderr = open(os.devnull, 'w'); codes = [run(arguments) for arguments in answers];"
        "heavy = {'torch', 'torchvision', 'open_clip', 'prefect', 'pandas', 'scipy', 'datasets', 'webdataset'};"
        "print(*codes, *sorted(heavy & sys.modules.keys()), file=sys.__stdout__)"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0", "2", "2", *["0"] * len(COMMANDS)]


@pytest.mark.parametrize(
    "flow",
    ["ingest", "caption", "features", "train", "compose", "evaluate", "compare", "pipeline", "nights.flow"],
)
def test_a_flow_does_not_wait_for_what_its_steps_may_not_need(flow: str) -> None:
    code = f"import sys, flows.{flow}; print(*sorted({{'torch', 'open_clip', 'scipy'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_a_supervised_training_leaves_pytorch_to_the_trainer():
    code = (
        "import sys; from flows.cli import run;"
        "code = run(['train', 'missing', '--output-dir', 'o', '--no-prefect']);"
        "print(code, *sorted({'torch', 'open_clip', 'prefect'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["2"]
