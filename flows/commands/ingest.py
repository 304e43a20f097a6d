"""`t2i ingest`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.step import (
    NoPrefect,
    OutputDir,
    Replace,
    VerifyHits,
    command_app,
    conflict,
    progress,
    run_step,
    tell_result,
)
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from t2i_core.data.shards.versions import current_number
from t2i_core.errors import ConfigError
from t2i_core.ingestion.config import INGEST_GROUPS, IngestConfig, IngestRequest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


Source = Annotated[
    str,
    typer.Argument(
        help="Page; URL list (csv, tsv, txt, json, jsonl, parquet; .gz, .bz2, .zst) or web archive (.warc, "
        ".warc.gz), folder or 'glob/*' of them, here or remote (s3://...); folder of pictures with texts beside "
        "them or in metadata.csv, of shards (.tar), or with --pages of saved pages."
    ),
]
Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh",
        help="Look again at the source of a finished dataset; what is new, changed, gone or not allowed any more makes "
        "a new version of it.",
    ),
]
OnOptOut = Annotated[
    Literal["report", "withdraw"],
    typer.Option(
        help="For --refresh, when pictures must not be taken any more: name what was made with them, or also let the "
        "previous model take the place of a champion that was."
    ),
]
Retry = Annotated[
    str, typer.Option(help="Only ask again for what a finished dataset rejected as these: timeout,dns,http_429.")
]
Runner = Annotated[
    Literal["local", "dask"],
    typer.Option(help="Where shards are made: here, or by the workers of a Dask cluster that see the folder too."),
]
Scheduler = Annotated[
    str, typer.Option(help="Address of the Dask cluster's scheduler, tcp://HOST:PORT; without one it runs here.")
]
ShardsAtOnce = Annotated[
    int,
    typer.Option(
        min=0, max=1024, help="Shards side by side (0: one), or workers of the Dask cluster here (0: one a core)."
    ),
]


@app.command(
    "ingest",
    cls=PlainCommand,
    epilog=examples(
        "t2i ingest photos --output-dir work/dataset",
        "t2i ingest https://example.org/gallery --output-dir work/site --max-pages 50",
        "t2i ingest urls.csv --output-dir work/dataset --caption-column title",
        "t2i ingest urls.csv --output-dir work/dataset --retry timeout,connect",
        "t2i ingest urls.csv --output-dir work/dataset --refresh",
        notes=(
            "A source on this machine or in its network is asked only with --allow-private. Why sources were "
            "left out stands in report.html, in the manifest's counts and in each row of the parquet files.",
        ),
    ),
)
@config_options(IngestConfig, INGEST_GROUPS)
def ingest_command(
    source: Source,
    output_dir: OutputDir,
    config: IngestConfig,
    refresh: Refresh = False,
    on_opt_out: OnOptOut = "report",
    retry: Retry = "",
    runner: Runner = "local",
    scheduler: Scheduler = "",
    num_shards_at_once: ShardsAtOnce = 0,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Fetch pictures and their texts into a dataset folder."""
    _require_fitting(
        retry, refresh, replace, no_prefect, spread=runner != "local" or bool(scheduler or num_shards_at_once)
    )
    if retry:
        _retry(source, config, output_dir, retry)
        return
    before = current_number(output_dir)
    request = IngestRequest(
        source=source,
        config=config,
        output_dir=output_dir,
        on_conflict=conflict(replace=replace),
        refresh=refresh,
    )

    def as_flow() -> "State[Any]":
        from flows.ingest import ingest

        return ingest(
            *(source, output_dir, config, request.on_conflict, refresh, num_shards_at_once, runner, scheduler),
            return_state=True,
        )

    run_step(lambda steps: steps.ingest(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
    if refresh and current_number(output_dir) > before:
        _heed_opt_outs(output_dir, on_opt_out)


def _require_fitting(retry: str, refresh: bool, replace: bool, no_prefect: bool, spread: bool) -> None:
    """Refuse options that exclude each other."""
    if (no_prefect or retry) and spread:
        raise ConfigError(
            "--runner, --scheduler and --num-shards-at-once are for a whole run with Prefect: leave them out, or "
            "--no-prefect and --retry."
        )
    if retry and refresh:
        raise ConfigError("--refresh asks again for everything that --retry would: leave out --retry.")
    if retry and replace:
        raise ConfigError("--retry fills in a finished dataset and replaces none: leave out --replace.")


def _heed_opt_outs(dataset_dir: Path, policy: str) -> None:
    """Name what was made with pictures that must not be taken any more, as the newest version says, and do as told."""
    from flows.commands.upkeep import write_holders
    from t2i_core.data.dataset.history import newest_opt_outs
    from t2i_core.lineage.holders import find_samples
    from t2i_core.promotion.registry import registries_below
    from t2i_core.promotion.step import withdraw

    uids, root = newest_opt_outs(dataset_dir), dataset_dir.resolve().parent
    if not uids:
        return
    say(f"{len(uids):,} samples must not be taken any more; no version holds their pictures (opt_outs.jsonl)")
    holders = find_samples(root, uids)
    write_holders(holders, root, f"made with one of them, below {root}")
    digests = {holder.digest for holder in holders if holder.certain}
    for registry in registries_below(root) if policy == "withdraw" else ():
        why = f"it was made with pictures that must not be taken any more ({dataset_dir.name})"
        if (promotion := withdraw(registry, digests, why=why)) is not None:
            say(f"withdrawn: the champion of {registry} is {promotion.champion.path} again")


def _retry(source: str, config: IngestConfig, output_dir: Path, names: str) -> None:
    from t2i_core.ingestion.retry import parse_reasons, retry_ingest

    reasons = parse_reasons(names)
    with progress() as view:
        ref = retry_ingest(source, config, output_dir, reasons, on_progress=view)
    tell_result(ref)
