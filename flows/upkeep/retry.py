"""The retry flow: what a finished dataset could not have, asked for again."""

from pathlib import Path
from typing import Annotated

from prefect.client.schemas.objects import State
from pydantic import Field

from flows.forms import Grouped
from flows.job import job
from flows.outcome import completed
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion.config import INGEST_GROUPS, IngestConfig, IngestRequest
from tasks.runtime import reference
from tasks.upkeep import retry_ingest

DEFAULTS = IngestConfig()


@job("retry", "retry {output_dir}")
def retry(
    source: str,
    output_dir: Path,
    reasons: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)],
    config: Annotated[IngestConfig, Grouped(INGEST_GROUPS)] = DEFAULTS,
) -> State[StepRef]:
    """Ask again for what a finished dataset rejected, and for nothing else.

    Args:
        source: As it was ingested.
        output_dir: The finished dataset.
        reasons: Why it was rejected, such as timeout, connect, dns, http_429, host_unreachable, out_of_time.
        config: As it was ingested, too, but for options of speed and patience.
    """
    request = IngestRequest(source=source, config=config, output_dir=output_dir)
    ref = reference(retry_ingest(request, reasons))
    return completed(ref, {"retry": ref})
