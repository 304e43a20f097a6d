"""Planning an ingest: the source is read once and cut into parts on disk, so that a killed run goes on from there."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from t2i_core.config import Config
from t2i_core.data.account.shortfall import CUT_BY_DEPTH, CUT_BY_PAGES, CUT_BY_TIME, reached_nothing, unlisted_note
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.dataset.folder import finish_rewrite
from t2i_core.data.dataset.parts import PARTS_DIR, PartWriter, PlanNote, read_note
from t2i_core.data.dataset.tombstone import PURGED_LIST_NAME, TOMBSTONES_NAME
from t2i_core.data.record import SourceRecord
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name
from t2i_core.data.shards.stats import noted_report
from t2i_core.data.sources.kind import SourceKind, read_list, source_kind
from t2i_core.data.sources.orphans import ORPHANS_NAME, OrphanLog
from t2i_core.data.tables.list_files import is_remote, lists_not_read
from t2i_core.data.traffic import Traffic
from t2i_core.data.web.fetch import Fetcher
from t2i_core.door import remove_tree
from t2i_core.errors import ConfigError, DataError, T2IError
from t2i_core.ingestion.config import IngestConfig, ingest_key
from t2i_core.ingestion.refine import Refinery, refinery
from t2i_core.ingestion.tally import SECONDS_BETWEEN_REPORTS
from t2i_core.layout import require_local
from t2i_core.manifest import MANIFEST_NAME, OnConflict, StepKey, StepRef, claim_folder, find_hit
from t2i_core.progress import OnProgress, Progress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.data.crawling.crawl import CrawlCounts

# The readers of each kind of source are imported where it is read: no run is to wait for what it does not use.
PAGES_AHEAD = 32
T = TypeVar("T")


class IngestPlan(Config):
    """What is to be done, as a small record; the sources themselves lie in parts on disk.

    Attributes:
        source: as given.
        config: as given.
        output_dir: the data set's folder.
        key: what decides its content.
        num_shards: to make.
        num_records: sources over all shards.
        stored: where the pictures lie that the source itself holds, "" for sources of the web.
        hit: set when the data set is finished already and nothing is to be done.
        ends_at: when to stop asking the web, in seconds since 1970; None for never.
    """

    source: str
    config: IngestConfig
    output_dir: Path
    key: StepKey
    num_shards: int
    num_records: int
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
    ends_at = config.ends_at()
    require_local(output_dir)
    kind = source_kind(source, pages=config.pages)
    if config.hash_column and kind is not SourceKind.LIST:
        raise ConfigError(f"only a list of picture URLs has a hash_column; {source} is a {kind.value}. Leave it empty.")
    if config.blur_column and kind not in (SourceKind.LIST, SourceKind.SHARDS):
        raise ConfigError(f"only lists of picture URLs and shards have a blur_column; {source} is a {kind.value}.")
    key = ingest_key(source, config, source_digest)
    with disk_errors(output_dir):
        finish_rewrite(output_dir)
    hit = find_hit(output_dir, key)
    if hit is not None:
        num_shards, num_records = hit.counts["shards"], hit.counts["seen"]
    else:
        with disk_errors(output_dir):
            # A folder that takes the place of another must not bring back what was purged from that one.
            claim_folder(output_dir, key, on_conflict, inherited=(TOMBSTONES_NAME, PURGED_LIST_NAME))
            note = _planned(source, kind, config, output_dir, on_progress)
            _forget_outage(output_dir, note)
        num_shards, num_records = note.num_parts, note.num_records
    return IngestPlan(
        source=source,
        config=config,
        output_dir=output_dir,
        key=key,
        num_shards=num_shards,
        num_records=num_records,
        stored=source if kind.holds_pictures else "",
        hit=hit,
        ends_at=ends_at,
    )


def _planned(
    source: str, kind: SourceKind, config: IngestConfig, output_dir: Path, on_progress: OnProgress
) -> PlanNote:
    """Give the plan that lies in the folder, or make it."""
    # From here on the folder is not finished, whatever it was before.
    (output_dir / MANIFEST_NAME).unlink(missing_ok=True)
    try:
        return read_note(output_dir) or _write_parts(source, kind, config, output_dir, on_progress)
    except T2IError:
        _release_folder(output_dir)
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


def _write_parts(
    source: str, kind: SourceKind, config: IngestConfig, output_dir: Path, on_progress: OnProgress
) -> PlanNote:
    writer = PartWriter(output_dir, config.samples_per_shard)
    scratch = output_dir / PARTS_DIR
    columns = config.url_column, config.caption_column
    with refinery(config.captions_from, config.filter, *columns, scratch) as refined, OrphanLog(output_dir) as orphans:
        job = _PlanJob(source, kind, config, writer, refined, on_progress, scratch)
        orphans.add_not_read(_not_read(source, kind))
        traffic: dict[str, Traffic] = {}
        if kind in (SourceKind.PAGE, SourceKind.PAGE_LIST):
            counts, traffic = run_to_end(_crawl(job))
        elif kind in (SourceKind.ARCHIVES, SourceKind.SAVED_PAGES):
            counts = run_to_end(_read_stored_pages(job))
        else:
            counts = {}
            _read_local(job, orphans)
        if "pages" in counts and not writer.num_records:
            raise DataError(f"no pictures on the {counts['pages']} pages read from {source}.{unlisted_note(counts)}")
        counts |= dict(sorted(orphans.counts.items()))
        return writer.finish(source, counts | refined.finish(), traffic)


def _not_read(source: str, kind: SourceKind) -> Iterator[tuple[str, str]]:
    """Give what a local source holds and no reader of it ever opens: links, pipes, devices."""
    if kind is SourceKind.SHARDS:
        from t2i_core.data.sources.shards import shards_not_read

        return shards_not_read(Path(source))
    if kind in (SourceKind.FOLDER, SourceKind.SAVED_PAGES):
        from t2i_core.data.sources.folder import entries_not_read

        return entries_not_read(Path(source))
    return iter(()) if kind is SourceKind.PAGE else lists_not_read(source)


@dataclass(frozen=True, slots=True)
class _PlanJob:
    """What every way of planning needs."""

    source: str
    kind: SourceKind
    config: IngestConfig
    writer: PartWriter
    refinery: Refinery
    on_progress: OnProgress
    scratch: Path

    def add(self, record: SourceRecord) -> None:
        self.writer.add(self.refinery.refine(record))

    def tell_pages(self, counts: "CrawlCounts") -> None:
        fields = {"pictures": self.writer.num_records}
        self.on_progress(Progress(step="ingest pages", done=counts.read, total=None, unit="pages", fields=fields))

    def tell_records(self, done: int) -> None:
        self.on_progress(Progress(step="ingest archives", done=done, total=None, unit="records"))


def _read_local(job: _PlanJob, orphans: OrphanLog) -> None:
    """Write what lies on disk into parts, and note what belongs to nothing there."""
    told = monotonic()
    with _local_records(job, orphans) as records:
        for record in records:
            job.add(record)
            if monotonic() - told >= SECONDS_BETWEEN_REPORTS:
                told = monotonic()
                done = job.writer.num_records
                job.on_progress(Progress(step="ingest plan", done=done, total=None, unit="sources"))


@contextmanager
def _local_records(job: _PlanJob, orphans: OrphanLog) -> Iterator[Iterator[SourceRecord]]:
    config = job.config
    if job.kind is SourceKind.SHARDS:
        from t2i_core.data.sources.shards import read_shards

        yield read_shards(Path(job.source), orphans)
    elif job.kind is SourceKind.FOLDER:
        from t2i_core.data.sources.folder import FolderReader

        with SideTable(job.scratch / "_metadata.sqlite") as rows:
            yield FolderReader(Path(job.source), config.caption_column, rows, orphans).records()
    else:
        names = config.url_column, config.caption_column, config.hash_column, config.blur_column
        yield read_list(job.source, *names)


async def _read_stored_pages(job: _PlanJob) -> dict[str, int]:
    """Write the pictures of archived or saved pages into parts, and count the pages."""
    from t2i_core.data.crawling.page_reader import PageReader
    from t2i_core.data.sources.archive import ArchiveReader
    from t2i_core.data.sources.saved_pages import saved_pictures
    from t2i_core.data.sources.stored import StoredPages

    config, counts = job.config, Counter[str]()
    async with PageReader() as reader:
        pages = StoredPages(
            reader,
            config.denied(),
            offline=config.offline,
            keep_undescribed=config.keep_undescribed,
            on_page=job.tell_pages,
        )
        if job.kind is SourceKind.ARCHIVES:
            archives = ArchiveReader(job.source, job.scratch, pages, config.max_bytes, job.tell_records)
            counts, pictures = archives.counts, archives.pictures()
        else:
            pictures = saved_pictures(Path(job.source), pages, config.max_bytes)
        async with aclosing(pictures):
            async for record in pictures:
                job.add(record)
    return _page_counts(pages.counts) | dict(sorted(counts.items()))


async def _crawl(job: _PlanJob) -> tuple[dict[str, int], dict[str, Traffic]]:
    """Write the pictures of all pages into parts, and count the pages and the traffic by host."""
    from t2i_core.data.crawling.crawl import Crawler, CrawlLimits

    source, config = job.source, job.config
    starts: Iterable[str] = [source]
    if job.kind is SourceKind.PAGE_LIST:
        starts = (record.url for record in read_list(source, config.url_column, ""))
    limits = CrawlLimits(
        max_pages=config.max_pages,
        max_depth=config.max_depth,
        max_seconds=config.crawl_seconds(),
        sitemaps=config.sitemaps,
        keep_undescribed=config.keep_undescribed,
    )
    async with Fetcher(config.fetching()) as fetcher:
        crawler = Crawler(fetcher, limits, pages_ahead=PAGES_AHEAD, on_page=job.tell_pages, scratch=job.scratch)
        async with aclosing(crawler.pictures(starts)) as pictures:
            async for record in pictures:
                job.add(record)
        traffic = fetcher.take_traffic()
    return _page_counts(crawler.counts), traffic


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
