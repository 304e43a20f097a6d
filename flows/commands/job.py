"""`t2i demo` and `t2i pipeline`: the whole job."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.commands.step import NoPrefect, OutputDir, VerifyHits, command_app, run_here
from flows.config import PipelineRequest
from flows.recipe import run_pipeline
from flows.shell.help import PlainCommand, examples
from t2i_core.errors import ConfigError
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.samples.site import LanguageName, SourceName

app = command_app()


@app.command(
    "demo",
    cls=PlainCommand,
    epilog=examples(
        "t2i demo --preset demo-smoke",
        "t2i demo --minutes 40",
        "t2i demo --source emoji --output-dir work/emoji",
        "t2i demo --source emoji-styles --icons twemoji --icons noto --icons openmoji",
    ),
)
def demo_command(
    output_dir: OutputDir = Path("workspace/demo"),
    minutes: Annotated[float, typer.Option(min=0, help="Aim for the whole job, minutes. [default: the preset's]")] = 0,
    source: Annotated[SourceName, typer.Option(help="What the built-in site shows.")] = "scenes",
    icons: Annotated[
        list[str] | None, typer.Option(help="Folder of an icon set for emoji-styles; again for more, three at least.")
    ] = None,
    image_size: Annotated[int, typer.Option(min=0, help="Side of the pictures, pixels. [default: the preset's]")] = 0,
    language: Annotated[
        LanguageName | None, typer.Option(help="How captions say what scenes show. [default: the preset's]")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Complete settings to start from. [default: demo, or emoji-styles for that source]")
    ] = "",
    no_prefect: NoPrefect = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Run the main job on the built-in site, and print the scores."""
    request = PipelineRequest.parse(
        {
            "preset": preset or ("emoji-styles" if source == "emoji-styles" else "demo"),
            "source": f"site:{source}",
            "minutes": minutes,
            "image_size": image_size,
            "language": language or "",
            "icons": icons or [],
        }
    )
    _run_pipeline(request, output_dir, no_prefect=no_prefect, verify_hits=verify_hits)


@app.command(
    "pipeline",
    cls=PlainCommand,
    epilog=examples(
        "t2i pipeline --preset demo --output-dir work/demo",
        "t2i pipeline --source photos --output-dir work/photos --minutes 60",
        "t2i pipeline --config job.json --output-dir work/job",
    ),
)
def pipeline_command(
    output_dir: OutputDir,
    config: Annotated[Path | None, typer.Option(help="Complete pipeline config, JSON.")] = None,
    preset: Annotated[str, typer.Option(help="Complete settings to start from. [default: demo]")] = "",
    source: Annotated[str, typer.Option(help="Page, URL list or folder in place of the config's own.")] = "",
    minutes: Annotated[float, typer.Option(min=0, help="Aim for the whole job, minutes. [default: the config's]")] = 0,
    no_prefect: NoPrefect = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Ingest, caption, train each model and evaluate, in one workspace that the pipeline owns."""
    if config and preset:
        raise ConfigError("give --config or --preset, not both.")
    request = PipelineRequest.parse(
        {"preset": preset or "demo", "config_file": str(config or ""), "source": source, "minutes": minutes}
    )
    _run_pipeline(request, output_dir, no_prefect=no_prefect, verify_hits=verify_hits)


def _run_pipeline(request: PipelineRequest, output_dir: Path, *, no_prefect: bool, verify_hits: HitCheck) -> None:
    config = request.resolve()

    def as_flow() -> Any:
        from flows.pipeline import pipeline

        return pipeline(output_dir, request, return_state=True).result()

    with hits_checked(verify_hits):
        run_here(lambda steps: run_pipeline(steps, config, output_dir), as_flow, no_prefect=no_prefect)
    from flows.shell.summary import print_summary

    print_summary(Console(), output_dir, config.evaluate.result)
