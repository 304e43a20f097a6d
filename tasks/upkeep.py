"""What happens to folders after they were made, as tasks: retry, verify, purge."""

from collections.abc import Iterator
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.states import Completed

from t2i_core.data.dataset.purge import PurgeResult
from t2i_core.data.dataset.purge import purge as purge_dataset
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.verify import verify as verify_dataset
from t2i_core.door import is_file, read_file
from t2i_core.errors import DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion.config import IngestRequest
from t2i_core.ingestion.retry import parse_reasons
from t2i_core.ingestion.retry import retry_ingest as retry_dataset
from t2i_core.lineage.holders import Holder, find_samples
from t2i_core.lineage.whole import verify_whole
from t2i_core.progress import OnProgress
from tasks.artifacts import markdown_rows, markdown_table, publish_markdown
from tasks.ingest import report as ingest_report
from tasks.runtime import outcome, reporting, step_task

MAX_LIST_BYTES = 1_000_000_000
SHOWN = 100


@step_task("retry ingest", "retry {request.output_dir}")
def retry_ingest(request: IngestRequest, reasons: tuple[str, ...]) -> State[StepRef]:
    """Ask again for what a finished dataset rejected for one of the reasons."""
    wanted = parse_reasons(",".join(reasons))
    with reporting("retry-progress") as on_progress:
        ref = retry_dataset(request.source, request.config, request.output_dir, wanted, on_progress=on_progress)
    publish_markdown("ingest-report", lambda: ingest_report(ref), f"What became of each picture of {ref.path}")
    return outcome(ref)


@step_task("verify", "verify {folder}")
def verify(folder: Path, repair: bool) -> State[StepRef]:
    """Compare every file of a folder with its manifest.

    Raises:
        DataError: something is damaged; the artifact lists it all.
    """
    manifest = read_manifest(folder)
    with reporting("verify-progress") as on_progress:
        problems = [*_problems(manifest.kind, folder, repair, on_progress)]
    text = markdown_rows([(problem,) for problem in problems[:SHOWN]], head=("problem",)) if problems else "Whole."
    publish_markdown("verify-report", lambda: f"# {folder}\n\n{text}", f"Whether {folder} is as it was written")
    if problems:
        advice = "The ingest that made it refills them." if repair else "Repair it, or make the folder anew."
        more = ", ..." * (len(problems) > 1)
        raise DataError(f"{len(problems):,} problems in {folder}: {problems[0]}{more}. {advice}")
    return outcome(manifest.ref(folder))


def _problems(kind: str, folder: Path, repair: bool, on_progress: OnProgress) -> Iterator[str]:
    if kind != "dataset":
        yield from verify_whole(folder, on_progress=on_progress).problems
        return
    for damage in verify_dataset(folder, repair=repair, on_progress=on_progress).damaged:
        lost = f"{damage.num_lost:,} of {damage.num_samples:,} samples lost"
        yield f"shard {damage.shard}: {'; '.join(damage.problems)}; {lost}"


@step_task("purge", "purge {dataset_dir}")
def purge(dataset_dir: Path, request: PurgeRequest, workspace: Path, deny_list: Path | None) -> State[PurgeResult]:
    """Remove samples from a dataset for good, name what was made with them, and keep them out of later ingests."""
    if deny_list:
        deny(deny_list, request)
    with reporting("purge-progress") as on_progress:
        result = purge_dataset(dataset_dir, request, on_progress=on_progress)
    made_with = find_samples(workspace, result.uids)
    publish_markdown("purge-report", lambda: purge_report(result, made_with), f"What was purged from {dataset_dir}")
    removed = f"{result.num_rows:,} rows purged, {result.num_pictures:,} pictures"
    return Completed(message=f"{removed}; {len(made_with):,} folders made with such", data=result)


def deny(path: Path, request: PurgeRequest) -> None:
    """Add what a request names to a deny-list, but for what it holds already."""
    lines = read_file(path, MAX_LIST_BYTES).decode("utf-8").splitlines() if is_file(path) else []
    new = [line for line in request.deny_list_lines() if line not in lines]
    write_atomically(path, "".join(f"{line}\n" for line in [*lines, *new]).encode())


def purge_report(result: PurgeResult, made_with: list[Holder]) -> str:
    """Write what was removed, and what was made with it."""
    figures = {"rows": result.num_rows, "pictures": result.num_pictures, "shards": len(result.shards)}
    rows = [(holder.kind, holder.digest[:12], holder.folder, len(holder.rows)) for holder in made_with[:SHOWN]]
    table = markdown_rows(rows, head=("kind", "digest", "folder", "samples")) if rows else "Nothing."
    return f"# {result.dataset_dir}\n\n{markdown_table(figures, head=('purged', ''))}\n\n## Made with such\n\n{table}"
