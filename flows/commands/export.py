"""`t2i export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.step import OutputDir, Replace, command_app, progress
from flows.shell.help import PlainCommand, examples
from flows.shell.terminal import say
from t2i_core.data.shards.versions import named_version

app = command_app()


@app.command(
    "export",
    cls=PlainCommand,
    epilog=examples(
        "t2i export work/dataset --output-dir work/files",
        "t2i export work/dataset --output-dir work/tables --format parquet",
        notes=[
            "A purge does not reach what was exported before: export again with --replace, and delete NAME.previous."
        ],
    ),
)
def export_command(
    dataset_dir: Annotated[Path, typer.Argument(help="A finished dataset folder.")],
    output_dir: OutputDir,
    form: Annotated[
        Literal["files", "parquet"],
        typer.Option(
            "--format",
            help="files: KEY.jpg, KEY.txt and KEY.json of each sample, in a folder a shard; parquet: a table a shard, "
            "with every row of it, and the pictures' bytes in a column.",
        ),
    ] = "files",
    replace: Replace = False,
) -> None:
    """Write a dataset as plain files, or as tables with the pictures in them."""
    from t2i_core.data.dataset.export import export

    with progress() as view:
        result = export(
            named_version(dataset_dir),
            output_dir,
            form,
            on_conflict="replace" if replace else "refuse",
            on_progress=view,
        )
    already = result.num_shards - result.num_written
    there = f" ({already:,} were there already)" if already else ""
    say(f"{output_dir}: {result.num_shards:,} shards, {result.num_pictures:,} pictures{there}")
