"""Planning an ingest: the source is read once and cut into parts on disk, so that a killed run goes on from there."""

from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from t2i_core.data.account.shortfall import reached_nothing
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.dataset.folder import finish_rewrite
from t2i_core.data.dataset.parts import PARTS_DIR, PlanNote, read_whole_note
from t2i_core.data.dataset.tombstone import PURGED_LIST_NAME, TOMBSTONES_NAME, Purged
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name
from t2i_core.data.shards.stats import noted_report
from t2i_core.data.sources.open import open_source
from t2i_core.data.sources.orphans import ORPHANS_NAME
from t2i_core.data.sources.source import Source
from t2i_core.door import is_file, remove_tree
from t2i_core.errors import ConfigError, T2IError
from t2i_core.folders.claim import OnConflict, claim_folder
from t2i_core.folders.hits import find_hit
from t2i_core.folders.layout import require_local
from t2i_core.folders.manifest import MANIFEST_NAME, StepKey, read_manifest
from t2i_core.folders.one_writer import one_writer
from t2i_core.ingestion.config import IngestConfig, IngestRequest, key_of
from t2i_core.ingestion.planning import IngestPlan, PlanJob, Planned, write_parts
from t2i_core.progress import OnProgress, ignore_progress


def plan_ingest(request: IngestRequest, *, on_progress: OnProgress = ignore_progress) -> IngestPlan:
    """Read the source once, crawling pages, and cut it into parts on disk; a finished plan is used as it is.

    Args:
        request: what is asked for.
        on_progress: told how far it is.

    Raises:
        ConfigError: the source is missing, empty or unreadable, or the folder holds other work.
        TransientError: no page could be reached, or the disk is full.
    """
    return plan_opened(request, on_progress).plan


def plan_opened(request: IngestRequest, on_progress: OnProgress) -> Planned:
    """Do as `plan_ingest`, and give what was opened with the plan."""
    with one_writer(request.output_dir):
        return _plan_alone(request, on_progress)


def _plan_alone(request: IngestRequest, on_progress: OnProgress) -> Planned:
    config, output_dir = request.config, request.output_dir
    ends_at = config.ends_at()
    require_local(output_dir)
    opened = open_source(request.source, config.reading())
    _require_columns(opened, config)
    identity, denied = request.source_digest or opened.identity(), config.denied()
    plan = IngestPlan(
        source=request.source,
        config=config,
        output_dir=output_dir,
        key=key_of(config, identity, denied),
        token=token_hex(8),
        num_shards=0,
        num_records=0,
        kind=opened.kind,
        stored=request.source if opened.store() else "",
        ends_at=ends_at,
    )
    with disk_errors(output_dir):
        finish_rewrite(output_dir)
    planned = Planned(plan, opened, denied)
    if request.refresh and is_refreshable(output_dir, plan.key):
        # Few runs need it, and no run is to wait for what it does not use.
        from t2i_core.ingestion.refreshing.refresh import plan_refresh

        return replace(planned, plan=plan_refresh(planned, on_progress))
    return replace(planned, plan=_filled(planned, request.on_conflict, on_progress))


def is_refreshable(output_dir: Path, key: StepKey) -> bool:
    """Tell whether a folder is a finished dataset that was made as one with this key is, of whatever source."""
    if not is_file(output_dir / MANIFEST_NAME):
        return False
    noted = read_manifest(output_dir, "dataset").key
    return (noted.step, noted.version, noted.config) == (key.step, key.version, key.config)


def _filled(planned: Planned, on_conflict: OnConflict, on_progress: OnProgress) -> IngestPlan:
    """Give a plan with what is to be made: of a folder of its own, or that took the place of another."""
    plan, output_dir = planned.plan, planned.plan.output_dir
    hit = find_hit(output_dir, plan.key)
    if hit is not None:
        return plan.with_changes(hit=hit, num_shards=hit.counts["shards"], num_records=hit.counts["seen"])
    with disk_errors(output_dir):
        # A folder that takes the place of another must not bring back what was purged from that one.
        claim_folder(output_dir, plan.key, on_conflict, inherited=(TOMBSTONES_NAME, PURGED_LIST_NAME))
        job = PlanJob(
            source=planned.source,
            config=plan.config,
            denied=planned.denied,
            output_dir=output_dir,
            on_progress=on_progress,
            purged=Purged(output_dir),
            rules_file=plan.rules_file,
        )
        note = _planned(job)
        _forget_outage(output_dir, note)
    return plan.with_changes(num_shards=note.num_parts, num_records=note.num_records)


def _require_columns(source: Source, config: IngestConfig) -> None:
    """Refuse columns that sources of this kind do not have."""
    if config.hash_column and not source.has_hashes:
        raise ConfigError(
            f"only a list of picture URLs has a hash_column; {source.name} is a {source.kind}. Leave it empty."
        )
    if config.blur_column and not source.has_boxes:
        raise ConfigError(
            f"only lists of picture URLs and shards have a blur_column; {source.name} is a {source.kind}."
        )
    if config.sidecars_from and not source.has_sidecars:
        raise ConfigError(
            f"only a folder of pictures has sidecars, and {source.name} is a {source.kind}: leave out sidecars_from."
        )


def _planned(job: PlanJob) -> PlanNote:
    """Give the plan that lies in the folder, or make it."""
    # From here on the folder is not finished, whatever it was before.
    (job.output_dir / MANIFEST_NAME).unlink(missing_ok=True)
    try:
        return read_whole_note(job.output_dir) or write_parts(job)[0]
    except T2IError:
        _release_folder(job.output_dir)
        raise


def _release_folder(output_dir: Path) -> None:
    """Let go of a folder in which nothing was made, so that a corrected source can use it."""
    if (output_dir / SHARDS_DIR).exists():
        return
    remove_tree(output_dir / PARTS_DIR)
    (output_dir / ORPHANS_NAME).unlink(missing_ok=True)
    (output_dir / "step.json").unlink(missing_ok=True)
    if not any(output_dir.iterdir()):
        output_dir.rmdir()


def _forget_outage(output_dir: Path, note: PlanNote) -> None:
    """Let go of the shards of a run that reached nothing at all, so that this one asks again."""
    shards_dir = output_dir / SHARDS_DIR
    reports = [noted_report(shards_dir, shard_id) for shard_id in range(note.num_parts)]
    if all(report is not None and reached_nothing(report.kept, report.rejected) for report in reports):
        for shard_id in range(note.num_parts):
            (shards_dir / f"{shard_name(shard_id)}_stats.json").unlink(missing_ok=True)
