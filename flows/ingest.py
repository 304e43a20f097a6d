"""The ingest flow: web pages, URL lists or folders to a dataset folder."""

from pathlib import Path
from typing import Annotated

from prefect.client.schemas.objects import State
from pydantic import Field

from flows.forms import Grouped
from flows.job import job
from flows.outcome import completed
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion.config import INGEST_GROUPS, IngestConfig, IngestRequest
from tasks.cluster import RunnerName, Spread
from tasks.shards import ingest_in_shards

DEFAULTS = IngestConfig()


@job("ingest", "ingest into {output_dir}")
def ingest(
    source: str,
    output_dir: Path,
    config: Annotated[IngestConfig, Grouped(INGEST_GROUPS)] = DEFAULTS,
    on_conflict: OnConflict = "refuse",
    refresh: bool = False,
    num_shards_at_once: Annotated[int, Field(ge=0, le=1024)] = 0,
    runner: RunnerName = "local",
    scheduler: str = "",
    verify_hits: HitCheck = "size",
) -> State[StepRef]:
    """Fetch pictures and their texts into a dataset folder.

    Args:
        source: Page, URL list (csv, tsv, txt, json, jsonl, parquet; .gz, .bz2, .zst) or web archive (.warc, .warc.gz),
            folder or glob of them, here or remote (s3://...), or folder of pictures, of shards (.tar), of saved pages.
        output_dir: The dataset folder; an unfinished one goes on where it stopped.
        config: How to fetch, check and store the pictures.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
        refresh: Look again at the source of a dataset that is finished: what is new, changed, gone or not allowed any
            more makes a new version of it.
        num_shards_at_once: Shards fetched side by side, 0 for one; with the runner dask and no scheduler, workers on
            this machine, 0 for one a core. Per-host limits hold over all of them.
        runner: local fetches in the flow's process, dask on the workers of a Dask cluster, which must all see the
            output folder.
        scheduler: Address of the Dask cluster's scheduler (tcp://HOST:PORT); empty for a cluster on this machine.
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    request = IngestRequest(
        source=source, config=config, output_dir=output_dir, on_conflict=on_conflict, refresh=refresh
    )
    spread = Spread(runner=runner, scheduler=scheduler, num_shards_at_once=num_shards_at_once)
    with hits_checked(verify_hits):
        ref = ingest_in_shards(request, spread)
    return completed(ref, {"ingest": ref})
