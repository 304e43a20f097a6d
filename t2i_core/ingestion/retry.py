"""Asking again for what a finished dataset could not get: a host was busy, a name did not resolve, time ran out.

Only the shards that hold such a source are written anew, with what they kept as it is, all of them at once or none.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from t2i_core.data.account.shortfall import require_kept
from t2i_core.data.attempt import Attempt
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.dataset.folder import files_by_shard, finish_rewrite, layout_of, restate, staged_rewrite
from t2i_core.data.dataset.parts import read_part
from t2i_core.data.dataset.tombstone import read_purged_list
from t2i_core.data.dataset.verify import require_whole
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import SHARDS_DIR, ShardLayout, shard_name, table_path
from t2i_core.data.shards.reader import read_rows, stored_rows
from t2i_core.data.shards.stats import ShardReport, noted_report, read_traffic
from t2i_core.data.shards.writer import ShardWriter
from t2i_core.data.sources.open import open_source
from t2i_core.data.traffic import Traffic, joined
from t2i_core.errors import ConfigError, DataError, did_you_mean
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import Manifest, StepRef, read_manifest
from t2i_core.folders.one_writer import writes_alone
from t2i_core.ingestion.config import IngestConfig, key_of
from t2i_core.ingestion.harvest import HarvestJob, attempt_again
from t2i_core.ingestion.limits import require_few_rejects
from t2i_core.ingestion.planning import run_to_end
from t2i_core.progress import OnProgress, ignore_progress


def parse_reasons(text: str) -> frozenset[RejectReason]:
    """Read reasons for which to ask again, such as "timeout,dns".

    Raises:
        ConfigError: one is unknown or final; the message lists those there are.
    """
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    possible = [str(reason) for reason in RejectReason if reason.may_pass]
    wrong = sorted(names.difference(possible))
    if wrong or not names:
        told = ", ".join(name + did_you_mean(name, possible) for name in wrong)
        what = f"cannot ask again for {told[:300]}" if wrong else "no reasons are given"
        raise ConfigError(f"{what}; choose of {', '.join(possible)}.")
    return frozenset(map(RejectReason, names))


def retry_ingest(
    source: str,
    config: IngestConfig,
    output_dir: Path,
    reasons: Set[RejectReason],
    *,
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Fetch what a finished dataset rejected for one of the reasons; keys and all other samples stay as they are.

    Args:
        source: as it was ingested.
        config: as it was ingested, too, but for options of speed and patience.
        output_dir: the dataset.
        reasons: which rejections to try anew.
        on_progress: gets pictures fetched.

    Raises:
        ConfigError: the dataset is not finished with these options, or its pictures were not fetched.
        TransientError: the disk is full, and the dataset as it was; or another process writes it.
        DataError: a shard is damaged, and the dataset is as it was; or there is still nothing in it, or it still lacks
            more than is allowed.
    """
    ref = _retried(source, config, output_dir, reasons, on_progress)
    require_kept(ref.counts, source, output_dir)
    require_few_rejects(ref.counts, config.max_reject_share, source, output_dir)
    return ref


@writes_alone
def _retried(
    source: str, config: IngestConfig, output_dir: Path, reasons: Set[RejectReason], on_progress: OnProgress
) -> StepRef:
    opened, denied = open_source(source, config.reading()), config.denied()
    if not opened.is_fetched:
        raise ConfigError(f"the pictures of {source} are not fetched, so there is nothing to ask again for.")
    with disk_errors(output_dir):
        finish_rewrite(output_dir)
        hit = find_hit(output_dir, key_of(config, opened.identity(), denied))
        if hit is None:
            raise ConfigError(f"{output_dir} is not finished with these options: run the command without --retry.")
        manifest = read_manifest(output_dir, "dataset")
        concerned = list(_concerned(output_dir, manifest, reasons))
        if not concerned:
            return hit
        job = HarvestJob(
            output_dir=output_dir,
            layout=layout_of(output_dir, manifest, concerned[0].shard_id, shards_dir=output_dir / SHARDS_DIR),
            fetching=config.fetching(denied.joined(read_purged_list(output_dir))),
            pictures=config.pictures(),
            store=opened.store(),
            ends_at=config.ends_at(),
        )
        return run_to_end(_rewrite(job, manifest, concerned, reasons, on_progress))


def _concerned(dataset_dir: Path, manifest: Manifest, reasons: Set[RejectReason]) -> Iterator[ShardReport]:
    """Give the reports of the shards to write anew, which must be as they were written."""
    for shard_id, files in files_by_shard(manifest).items():
        report = noted_report(dataset_dir / SHARDS_DIR, shard_id)
        if report is None or reasons & report.rejected.keys():
            require_whole(dataset_dir, shard_id, files)
        if report is not None and reasons & report.rejected.keys():
            yield report


async def _rewrite(
    job: HarvestJob,
    manifest: Manifest,
    concerned: Sequence[ShardReport],
    reasons: Set[RejectReason],
    on_progress: OnProgress,
) -> StepRef:
    """Write the shards of some reports anew, with the pictures that can be had now."""
    dataset_dir = job.output_dir
    total = sum(report.rejected.get(reason, 0) for report in concerned for reason in reasons)
    waiting, changes = iter(concerned), []
    with staged_rewrite(dataset_dir) as stage:
        layout = replace(job.layout, shards_dir=stage / SHARDS_DIR)
        records = (_records(dataset_dir, report.shard_id, reasons) for report in concerned)
        async for attempts, traffic in attempt_again(job, records, total, on_progress):
            before = next(waiting)
            changes.append((before, _rewrite_shard(dataset_dir, layout, before, reasons, iter(attempts), traffic)))
        return restate(stage, dataset_dir, manifest, changes)


def _records(dataset_dir: Path, shard_id: int, reasons: Set[RejectReason]) -> list[SourceRecord]:
    """Give the sources to try anew, as they were planned."""
    rows = read_rows(table_path(dataset_dir / SHARDS_DIR, shard_id), ["reason"])
    planned = read_part(dataset_dir, shard_id).records
    if len(planned) != len(rows):
        raise DataError(f"the plan in {dataset_dir} is not that of shard {shard_name(shard_id)}. Run ingest again.")
    return [record for record, row in zip(planned, rows, strict=True) if row["reason"] in reasons]


def _rewrite_shard(
    dataset_dir: Path,
    layout: ShardLayout,
    before: ShardReport,
    reasons: Set[RejectReason],
    attempts: Iterator[Attempt],
    traffic: Mapping[str, Traffic],
) -> ShardReport:
    with ShardWriter(layout, before.shard_id, before.part_sha256) as writer:
        for row, members in stored_rows(dataset_dir / SHARDS_DIR, before.shard_id):
            if row["reason"] in reasons:
                writer.add([next(attempts)])
            else:
                writer.add_stored(row, members)
        return writer.finish(joined(read_traffic(dataset_dir / SHARDS_DIR, before.shard_id), traffic))
