"""`t2i ingest`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, command_app, progress, run_step, tell_result
from flows.options import config_options
from t2i_core.data.ingest_config import IngestConfig
from t2i_core.errors import ConfigError
from t2i_core.manifest import OnConflict, StepRef

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command("ingest")
@config_options(IngestConfig)
def ingest_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Page; URL list (csv, tsv, txt, json, jsonl, parquet; .gz, .bz2, .zst) or web archive (.warc, "
            ".warc.gz), folder or 'glob/*' of them, here or remote (s3://...); folder of pictures with texts beside "
            "them or in metadata.csv, of shards (.tar), or with --pages of saved pages."
        ),
    ],
    output_dir: OutputDir,
    config: IngestConfig,
    retry: Annotated[
        str, typer.Option(help="Only ask again for what a finished dataset rejected as these: timeout,dns,http_429.")
    ] = "",
    runner: Annotated[
        Literal["local", "dask"],
        typer.Option(help="Where shards are made: here, or by the workers of a Dask cluster that see the folder too."),
    ] = "local",
    scheduler: Annotated[
        str, typer.Option(help="Address of the Dask cluster's scheduler, tcp://HOST:PORT; without one it runs here.")
    ] = "",
    num_shards_at_once: Annotated[
        int,
        typer.Option(
            min=0, max=1024, help="Shards side by side (0: one), or workers of the Dask cluster here (0: one a core)."
        ),
    ] = 0,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
) -> None:
    """Fetch pictures and their texts into a dataset folder."""
    if (no_prefect or retry) and (runner != "local" or scheduler or num_shards_at_once):
        raise ConfigError(
            "--runner, --scheduler and --num-shards-at-once are for a whole run with Prefect: leave them out, or "
            "--no-prefect and --retry."
        )
    if retry:
        from t2i_core.data.retry import parse_reasons, retry_ingest

        reasons = parse_reasons(retry)
        with progress() as view:
            ref = retry_ingest(source, config, output_dir, reasons, on_progress=view)
        return tell_result(ref)

    def as_flow(on_conflict: OnConflict) -> "State[Any]":
        from flows.ingest import ingest

        return ingest(source, output_dir, config, on_conflict, num_shards_at_once, runner, scheduler, return_state=True)

    def in_core(**how: Any) -> StepRef:
        from t2i_core.data.ingest import ingest

        return ingest(source, config, output_dir, **how)

    return run_step(in_core, as_flow, no_prefect=no_prefect, replace=replace)
