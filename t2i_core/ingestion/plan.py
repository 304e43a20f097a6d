"""Planning an ingest: the source is read once and cut into parts on disk, so that a killed run goes on from there."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from t2i_core.config import Config
from t2i_core.data.account.shortfall import CUT_BY_DEPTH, CUT_BY_PAGES, CUT_BY_TIME, reached_nothing, unlisted_note
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.bounded.one_writer import writes_alone
from t2i_core.data.dataset.folder import finish_rewrite
from t2i_core.data.dataset.parts import PARTS_DIR, PartWriter, PlanNote, read_whole_note
from t2i_core.data.dataset.tombstone import PURGED_LIST_NAME, TOMBSTONES_NAME
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.record import SourceRecord
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name
from t2i_core.data.shards.stats import noted_report
from t2i_core.data.sources.open import open_source
from t2i_core.data.sources.orphans import ORPHANS_NAME, OrphanLog
from t2i_core.data.sources.source import Planning, Source
from t2i_core.data.tables.list_files import is_remote
from t2i_core.door import remove_tree
from t2i_core.errors import ConfigError, DataError, T2IError
from t2i_core.ingestion.config import IngestConfig, key_of
from t2i_core.ingestion.refine import Refinery, refinery
from t2i_core.ingestion.tally import SECONDS_BETWEEN_REPORTS
from t2i_core.layout import require_local
from t2i_core.manifest import MANIFEST_NAME, OnConflict, StepKey, StepRef, claim_folder, find_hit
from t2i_core.progress import OnProgress, Progress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.data.crawling.crawl import CrawlCounts

T = TypeVar("T")


class IngestPlan(Config):
    """What is to be done, as a small record; the sources themselves lie in parts on disk.

    Attributes:
        source: as given.
        config: as given.
        output_dir: the dataset's folder.
        key: what decides its content.
        token: tells this plan from those of earlier calls for the same folder.
        num_shards: to make.
        num_records: sources over all shards.
        kind: of the source, as `open.KINDS` names it.
        stored: where the pictures lie that the source itself holds, "" for sources of the web.
        hit: set when the dataset is finished already and nothing is to be done.
        ends_at: when to stop asking the web, in seconds since 1970; None for never.
    """

    source: str
    config: IngestConfig
    output_dir: Path
    key: StepKey
    token: str
    num_shards: int
    num_records: int
    kind: str
    stored: str = ""
    hit: StepRef | None = None
    ends_at: float | None = None

    def from_anywhere(self) -> Self:
        """Give the same plan for processes with another working folder."""
        deny_list = self.config.deny_list and str(Path(self.config.deny_list).absolute())
        return self.with_changes(
            config=self.config.with_changes(deny_list=deny_list),
            output_dir=self.output_dir.absolute(),
            stored=self.stored if is_remote(self.stored) else self.stored and str(Path(self.stored).absolute()),
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, with what was opened and read for it.

    Attributes:
        plan: what is to be done.
        source: opened.
        denied: what must not be taken.
    """

    plan: IngestPlan
    source: Source
    denied: DenyList

    @classmethod
    def opened_anew(cls, plan: IngestPlan) -> Self:
        """Open, for a plan that was made elsewhere, what its shards are made with.

        Raises:
            ConfigError: the deny-list has changed or is gone, or so are the archives.
        """
        denied = plan.config.denied()
        if plan.config.deny_list and denied.digest != plan.key.inputs["deny_list"]:
            raise ConfigError(f"the deny-list {plan.config.deny_list} has changed since the plan was made. Run again.")
        return cls(plan, open_source(plan.stored or plan.source, plan.config.reading(), plan.kind), denied)


def plan_ingest(
    source: str,
    config: IngestConfig,
    output_dir: Path,
    *,
    source_digest: str | None = None,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
) -> IngestPlan:
    """Read the source once, crawling pages, and cut it into parts on disk; a finished plan is used as it is.

    Raises:
        ConfigError: the source is missing, empty or unreadable, or the folder holds other work.
        TransientError: no page could be reached, or the disk is full.
    """
    return plan_opened(source, config, output_dir, source_digest, on_conflict, on_progress).plan


@writes_alone
def plan_opened(
    source: str,
    config: IngestConfig,
    output_dir: Path,
    source_digest: str | None,
    on_conflict: OnConflict,
    on_progress: OnProgress,
) -> Planned:
    """Do as `plan_ingest`, and give what was opened with the plan."""
    ends_at = config.ends_at()
    require_local(output_dir)
    opened = open_source(source, config.reading())
    _require_columns(opened, config)
    identity, denied = source_digest or opened.identity(), config.denied()
    key = key_of(config, identity, denied)
    with disk_errors(output_dir):
        finish_rewrite(output_dir)
    hit = find_hit(output_dir, key)
    if hit is not None:
        num_shards, num_records = hit.counts["shards"], hit.counts["seen"]
    else:
        with disk_errors(output_dir):
            # A folder that takes the place of another must not bring back what was purged from that one.
            claim_folder(output_dir, key, on_conflict, inherited=(TOMBSTONES_NAME, PURGED_LIST_NAME))
            note = _planned(_PlanJob(opened, config, denied, output_dir, on_progress))
            _forget_outage(output_dir, note)
        num_shards, num_records = note.num_parts, note.num_records
    plan = IngestPlan(
        source=source,
        config=config,
        output_dir=output_dir,
        key=key,
        token=token_hex(8),
        num_shards=num_shards,
        num_records=num_records,
        kind=opened.kind,
        stored=source if opened.store() else "",
        hit=hit,
        ends_at=ends_at,
    )
    return Planned(plan, opened, denied)


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


@dataclass(frozen=True, slots=True)
class _PlanJob:
    """What is planned, and where."""

    source: Source
    config: IngestConfig
    denied: DenyList
    output_dir: Path
    on_progress: OnProgress


def _planned(job: _PlanJob) -> PlanNote:
    """Give the plan that lies in the folder, or make it."""
    # From here on the folder is not finished, whatever it was before.
    (job.output_dir / MANIFEST_NAME).unlink(missing_ok=True)
    try:
        return read_whole_note(job.output_dir) or _write_parts(job)
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


def _write_parts(job: _PlanJob) -> PlanNote:
    config, scratch = job.config, job.output_dir / PARTS_DIR
    writer = PartWriter(job.output_dir, config.samples_per_shard)
    columns = config.url_column, config.caption_column
    with (
        refinery(config.captions_from, config.filter, *columns, scratch) as refined,
        OrphanLog(job.output_dir) as orphans,
    ):
        teller = _Teller(job.on_progress, writer)
        planning = Planning(
            scratch=scratch,
            orphans=orphans,
            fetching=config.fetching(job.denied),
            on_pages=teller.tell_pages,
            on_records=teller.tell_records,
        )
        records = job.source.records(planning)
        if isinstance(records, AsyncGenerator):
            run_to_end(_take_as_they_come(records, writer, refined))
        else:
            _take(records, writer, refined, teller)
        counts = (_page_counts(planning.pages) if planning.pages else {}) | dict(sorted(planning.counts.items()))
        if "pages" in counts and not writer.num_records:
            told = unlisted_note(counts)
            raise DataError(f"no pictures on the {counts['pages']} pages read from {job.source.name}.{told}")
        counts |= dict(sorted(orphans.counts.items()))
        return writer.finish(job.source.name, counts | refined.finish(), planning.traffic)


@dataclass(slots=True)
class _Teller:
    """Tells how far a plan is."""

    on_progress: OnProgress
    writer: PartWriter
    told: float = field(default_factory=monotonic)

    def tell_pages(self, counts: "CrawlCounts") -> None:
        fields = {"pictures": self.writer.num_records}
        self.on_progress(Progress(step="ingest pages", done=counts.read, total=None, unit="pages", fields=fields))

    def tell_records(self, done: int) -> None:
        self.on_progress(Progress(step="ingest archives", done=done, total=None, unit="records"))

    def tell_sources(self) -> None:
        """Tell it of what lies on disk, a few times a second."""
        if monotonic() - self.told >= SECONDS_BETWEEN_REPORTS:
            self.told = monotonic()
            done = self.writer.num_records
            self.on_progress(Progress(step="ingest plan", done=done, total=None, unit="sources"))


def _take(records: Generator[SourceRecord], writer: PartWriter, refined: Refinery, teller: _Teller) -> None:
    """Write what lies on disk into parts."""
    with closing(records):
        for record in records:
            writer.add(refined.refine(record))
            teller.tell_sources()


async def _take_as_they_come(records: AsyncGenerator[SourceRecord], writer: PartWriter, refined: Refinery) -> None:
    """Write into parts what others are waited for."""
    async with aclosing(records):
        async for record in records:
            writer.add(refined.refine(record))


def _page_counts(counts: "CrawlCounts") -> dict[str, int]:
    """Give the figures of a crawl by name; what an option adds is there only when it counted something."""
    rejected = {f"pages_rejected:{reason}": number for reason, number in sorted(counts.rejected.items())}
    further = {
        CUT_BY_TIME: counts.given_up,
        CUT_BY_PAGES: len(counts.beyond_pages),
        CUT_BY_DEPTH: counts.beyond_depth,
        "links_cut": counts.links_cut,
        "sitemaps": counts.sitemaps,
        **counts.unlisted.counts(),
    }
    return {"pages": counts.read, **rejected, **{name: number for name, number in further.items() if number}}


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, from a thread of its own where this one already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def noted() -> T:
        running.append((asyncio.get_running_loop(), cast("asyncio.Task[T]", asyncio.current_task())))
        return await coroutine

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, noted())
        try:
            return done.result()
        except KeyboardInterrupt:
            # It came to this thread alone; the other one would go on to its end.
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            raise
