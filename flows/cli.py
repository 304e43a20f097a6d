"""The `t2i` command: a thin door to each flow, and to the same steps without Prefect.

Prefect is imported only by the commands that use it, after `prepare_environment`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from flows.adhoc import adhoc_run, prepare_environment
from flows.config import DemoSource, PipelineRequest
from flows.options import config_options
from flows.recipe import run_pipeline
from flows.server import try_server
from flows.steps import CoreSteps
from flows.summary import print_summary
from flows.terminal import ProgressView
from flows.upkeep import upkeep_app
from t2i_core.config import describe
from t2i_core.data.caption import CaptionConfig
from t2i_core.data.ingest import IngestConfig
from t2i_core.data.retry import parse_reasons, retry_ingest
from t2i_core.doctor import examine
from t2i_core.errors import ConfigError, StoppedError, T2IError
from t2i_core.evaluation.evaluate import EvaluateConfig
from t2i_core.evaluation.generate import GenerateConfig, generate
from t2i_core.manifest import OnConflict, StepRef
from t2i_core.samples.site import SiteConfig, serve_site
from t2i_core.training.preset import preset_names as train_preset_names
from t2i_core.training.train import TrainConfig

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

MAX_PROMPTS_BYTES = 10_000_000
DEBUG_VARIABLE = "T2I_DEBUG"
# What typer makes of a KeyboardInterrupt.
INTERRUPTED = 130
STOPPED = "stopped; the same command goes on from here."

app = typer.Typer(
    name="t2i",
    help="From web pages to a scored text-to-image model: ingest, caption, train, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: the boxes cut long option names short.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(upkeep_app)

OutputDir = Annotated[Path, typer.Option("--output-dir", help="Folder to write; an unfinished one is resumed.")]
NoPrefect = Annotated[bool, typer.Option("--no-prefect", help="Straight from the core, without a Prefect server.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace a folder made with other options; it is kept as NAME.previous.")
]


@app.command("demo")
def demo_command(
    output_dir: OutputDir = Path("workspace/demo"),
    minutes: Annotated[float, typer.Option(min=0, help="Aim for the whole job, minutes. [default: the preset's]")] = 0,
    source: Annotated[DemoSource, typer.Option(help="What the built-in site shows.")] = "scenes",
    image_size: Annotated[int, typer.Option(min=0, help="Side of the pictures, pixels. [default: the preset's]")] = 0,
    preset: Annotated[str, typer.Option(help="Complete settings to start from.")] = "demo",
    no_prefect: NoPrefect = False,
) -> None:
    """Run the main job on the built-in site, and print the scores."""
    request = PipelineRequest.parse(
        {"preset": preset, "source": f"site:{source}", "minutes": minutes, "image_size": image_size}
    )
    _run_pipeline(request, output_dir, no_prefect=no_prefect)


@app.command("pipeline")
def pipeline_command(
    output_dir: OutputDir,
    config: Annotated[Path | None, typer.Option(help="Complete pipeline config, JSON.")] = None,
    preset: Annotated[str, typer.Option(help="Complete settings to start from. [default: demo]")] = "",
    source: Annotated[str, typer.Option(help="Page, URL list or folder in place of the config's own.")] = "",
    minutes: Annotated[float, typer.Option(min=0, help="Aim for the whole job, minutes. [default: the config's]")] = 0,
    no_prefect: NoPrefect = False,
) -> None:
    """Ingest, caption, train each model and evaluate, in one workspace that the pipeline owns."""
    if config and preset:
        raise ConfigError("give --config or --preset, not both.")
    request = PipelineRequest.parse(
        {"preset": preset or "demo", "config_file": str(config or ""), "source": source, "minutes": minutes}
    )
    _run_pipeline(request, output_dir, no_prefect=no_prefect)


@app.command("ingest")
@config_options(IngestConfig)
def ingest_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Page; URL list (csv, tsv, txt, json, jsonl, parquet; .gz, .bz2, .zst), folder or 'glob/*' of lists, "
            "here or remote (s3://...); folder of pictures."
        ),
    ],
    output_dir: OutputDir,
    config: IngestConfig,
    retry: Annotated[
        str, typer.Option(help="Only ask again for what a finished dataset rejected as these: timeout,dns,http_429.")
    ] = "",
    no_prefect: NoPrefect = False,
    replace: Replace = False,
) -> None:
    """Fetch pictures and their texts into a dataset folder."""
    if retry:
        reasons = parse_reasons(retry)
        with _progress() as view:
            ref = retry_ingest(source, config, output_dir, reasons, on_progress=view)
        return _tell_result(ref)

    def as_flow(on_conflict: OnConflict) -> "State[Any]":
        from flows.ingest import ingest

        return ingest(source, output_dir, config, on_conflict, return_state=True)

    return _run_step(
        lambda steps: steps.ingest(source, config, output_dir), as_flow, no_prefect=no_prefect, replace=replace
    )


@app.command("caption")
@config_options(CaptionConfig)
def caption_command(
    dataset_dir: Annotated[Path, typer.Argument(help="A finished dataset folder.")],
    output_dir: OutputDir,
    config: CaptionConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
) -> None:
    """Clean, filter, deduplicate and split the captions of a dataset."""

    def as_flow(on_conflict: OnConflict) -> "State[Any]":
        from flows.caption import caption

        return caption(dataset_dir, output_dir, config, on_conflict, return_state=True)

    _run_step(
        lambda steps: steps.caption(dataset_dir, config, output_dir), as_flow, no_prefect=no_prefect, replace=replace
    )


@app.command("train", epilog=f"Presets: {', '.join(train_preset_names())}.")
@config_options(TrainConfig)
def train_command(
    captions_dir: Annotated[Path, typer.Argument(help="A finished captions folder.")],
    output_dir: OutputDir,
    config: TrainConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
) -> None:
    """Train one model; the same command resumes an unfinished run."""

    def as_flow(on_conflict: OnConflict) -> "State[Any]":
        from flows.train import train

        return train(captions_dir, output_dir, config, on_conflict, return_state=True)

    _run_step(
        lambda steps: steps.train(output_dir.name, captions_dir, config, output_dir),
        as_flow,
        no_prefect=no_prefect,
        replace=replace,
    )


@app.command("evaluate")
@config_options(EvaluateConfig)
def evaluate_command(
    run_dir: Annotated[Path, typer.Argument(help="A finished run folder.")],
    output_dir: OutputDir,
    config: EvaluateConfig,
    baseline_dir: Annotated[Path | None, typer.Option(help="A finished run to print beside it.")] = None,
    clip_dir: Annotated[Path | None, typer.Option(help="A finished CLIP run that scores.")] = None,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
) -> None:
    """Draw the evaluation's prompts with a run, score the pictures and write report.html."""
    others = {"baseline_dir": baseline_dir, "clip_dir": clip_dir}

    def as_flow(on_conflict: OnConflict) -> "State[Any]":
        from flows.evaluate import evaluate

        named = {name: str(folder or "") for name, folder in others.items()}
        return evaluate(run_dir, output_dir, config, **named, on_conflict=on_conflict, return_state=True)

    _run_step(
        lambda steps: steps.evaluate(run_dir, config, output_dir, **others),
        as_flow,
        no_prefect=no_prefect,
        replace=replace,
    )


@app.command("generate")
@config_options(GenerateConfig)
def generate_command(
    run_dir: Annotated[Path, typer.Argument(help="A finished run folder.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for 00000.png ... and images.jsonl.")],
    config: GenerateConfig,
    prompt: Annotated[list[str] | None, typer.Option(help="What to draw; may be given more than once.")] = None,
    prompts_file: Annotated[Path | None, typer.Option(help="Text file with one prompt a line.")] = None,
) -> None:
    """Draw prompts with a finished run; the same seed gives the same pictures."""
    prompts = read_prompts(prompt or [], prompts_file)
    with _progress() as view:
        images = generate(run_dir, prompts, output_dir, config, on_progress=view)
    typer.echo(f"{len(images)} pictures in {output_dir}")


@app.command("site")
@config_options(SiteConfig)
def site_command(config: SiteConfig) -> None:
    """Serve the built-in site on loopback until interrupted."""
    with serve_site(config) as site:
        typer.echo(f"{site.num_pictures:,} pictures at {site.url} (Ctrl-C ends it)")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            typer.echo("")


@app.command("doctor")
def doctor_command(
    quick: Annotated[bool, typer.Option("--quick", help="Skip starting a Prefect server.")] = False,
) -> None:
    """Say what works here, and what to do about what does not."""
    console = Console()
    findings = examine(Path()) + ([] if quick else [try_server()])
    for finding in findings:
        mark = "[green]ok  [/]" if finding.works else "[red]FAIL[/]" if finding.required else "[yellow]--  [/]"
        console.print(f"{mark} [bold]{finding.name}[/]: ", end="")
        console.print(finding.detail, markup=False, highlight=False)
        if finding.advice:
            console.print(f"       {finding.advice}", markup=False, highlight=False)
    if any(finding.required and not finding.works for finding in findings):
        raise typer.Exit(1)


def read_prompts(given: Sequence[str], path: Path | None) -> list[str]:
    """Collect the prompts to draw.

    Raises:
        ConfigError: there are none, or the file is missing, unreadable or too long.
    """
    if bool(given) == (path is not None):
        raise ConfigError("give --prompt TEXT or --prompts-file FILE.")
    if path is None:
        return list(given)
    try:
        if path.stat().st_size > MAX_PROMPTS_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_PROMPTS_BYTES:,} bytes; split it.")
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read prompts from {path}: {err}") from err
    prompts = [line for line in lines if line]
    if not prompts:
        raise ConfigError(f"{path} holds no prompts; write one a line.")
    return prompts


def _run_step(
    in_core: Callable[[CoreSteps], StepRef],
    as_flow: "Callable[[OnConflict], State[Any]]",
    *,
    no_prefect: bool,
    replace: bool,
) -> None:
    """Do one step, straight from the core or as a flow run here, and tell what came of it."""
    on_conflict: OnConflict = "replace" if replace else "refuse"
    with _progress() as view:
        if no_prefect:
            ref = in_core(CoreSteps(on_conflict=on_conflict, on_progress=view))
        else:
            from tasks.runtime import reference

            with adhoc_run(view):
                ref = reference(as_flow(on_conflict))
    _tell_result(ref)


def _tell_result(ref: StepRef) -> None:
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(ref.counts.items()))
    typer.echo(f"{ref.path}: {'already done' if ref.hit else 'done'} ({counts})")


def _run_pipeline(request: PipelineRequest, output_dir: Path, *, no_prefect: bool) -> None:
    config = request.resolve()
    with _progress() as view:
        if no_prefect:
            run_pipeline(CoreSteps(on_conflict="replace", on_progress=view), config, output_dir)
        else:
            from flows.pipeline import pipeline

            with adhoc_run(view):
                pipeline(output_dir, request)
    print_summary(Console(), output_dir)


@contextmanager
def _progress() -> Iterator[ProgressView]:
    with ProgressView(Console(stderr=True)) as view:
        yield view


def run(arguments: Sequence[str]) -> int:
    """Run the command, and end every failure in one sentence on stderr.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or config, 75 stopped and resumable.
    """
    try:
        app(args=list(arguments), prog_name="t2i")
    except SystemExit as exit_request:
        code = exit_request.code if isinstance(exit_request.code, int) else T2IError.exit_code
        return _fail(STOPPED, StoppedError.exit_code) if code == INTERRUPTED else code
    except T2IError as err:
        return _fail(str(err), err.exit_code)
    except ValidationError as err:
        return _fail(describe(err), ConfigError.exit_code)
    except KeyboardInterrupt:
        return _fail(STOPPED, StoppedError.exit_code)
    except Exception as err:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _fail(f"{type(err).__name__}: {err} (set {DEBUG_VARIABLE}=1 to see where)", T2IError.exit_code)
    return 0


def main() -> NoReturn:
    """Entry point of the `t2i` command."""
    prepare_environment()
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(sentence: str, code: int) -> int:
    print(f"t2i: {' '.join(sentence.split())}", file=sys.stderr)
    return code
