"""Planning an ingest: the source is read once and cut into parts on disk, so that a killed run goes on from there."""

import asyncio
import shutil
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any, Self, TypeVar

from t2i_core.config import Config
from t2i_core.data.crawl import CrawlCounts, Crawler, CrawlLimits
from t2i_core.data.dataset import finish_rewrite
from t2i_core.data.disk import disk_errors
from t2i_core.data.existing import read_shards
from t2i_core.data.fetch import Fetcher
from t2i_core.data.folder import read_folder
from t2i_core.data.harvest import SECONDS_BETWEEN_REPORTS
from t2i_core.data.hosts import Traffic
from t2i_core.data.ingest_config import IngestConfig, ingest_key
from t2i_core.data.parts import PARTS_DIR, PartWriter, PlanNote, read_note
from t2i_core.data.record import SourceRecord
from t2i_core.data.shard import SHARDS_DIR
from t2i_core.data.source import SourceKind, read_list, source_kind
from t2i_core.data.tombstone import purged_list_lines, read_tombstones, write_purged_list, write_tombstones
from t2i_core.errors import ConfigError, DataError, T2IError
from t2i_core.manifest import MANIFEST_NAME, OnConflict, StepKey, StepRef, claim_folder, find_hit
from t2i_core.progress import OnProgress, Progress, ignore_progress

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
        source_dir: the folder that local records lie in, None for sources of the web.
        hit: set when the data set is finished already and nothing is to be done.
    """

    source: str
    config: IngestConfig
    output_dir: Path
    key: StepKey
    num_shards: int
    num_records: int
    source_dir: Path | None = None
    hit: StepRef | None = None

    def from_anywhere(self) -> Self:
        """Give the same plan for processes with another working folder."""
        deny_list = self.config.deny_list and str(Path(self.config.deny_list).absolute())
        return self.with_changes(
            config=self.config.with_changes(deny_list=deny_list),
            output_dir=self.output_dir.absolute(),
            source_dir=self.source_dir and self.source_dir.absolute(),
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
    kind = source_kind(source, pages=config.pages)
    if config.hash_column and kind is not SourceKind.LIST:
        raise ConfigError(f"only a list of picture URLs has a hash_column; {source} is a {kind.value}. Leave it empty.")
    key = ingest_key(source, config, source_digest)
    with disk_errors(output_dir):
        finish_rewrite(output_dir)
    hit = find_hit(output_dir, key)
    if hit is not None:
        num_shards, num_records = hit.counts["shards"], hit.counts["seen"]
    else:
        with disk_errors(output_dir):
            tombstones, purged = read_tombstones(output_dir), purged_list_lines(output_dir)
            claim_folder(output_dir, key, on_conflict)
            # A folder that takes the place of another must not bring back what was purged from that one.
            if tombstones:
                write_tombstones(output_dir, tombstones)
            if purged:
                write_purged_list(output_dir, purged)
            note = _planned(source, kind, config, output_dir, on_progress)
        num_shards, num_records = note.num_parts, note.num_records
    return IngestPlan(
        source=source,
        config=config,
        output_dir=output_dir,
        key=key,
        num_shards=num_shards,
        num_records=num_records,
        source_dir=Path(source) if kind in (SourceKind.FOLDER, SourceKind.SHARDS) else None,
        hit=hit,
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
    shutil.rmtree(output_dir / PARTS_DIR, ignore_errors=True)
    (output_dir / "step.json").unlink(missing_ok=True)
    if not any(output_dir.iterdir()):
        output_dir.rmdir()


def _write_parts(
    source: str, kind: SourceKind, config: IngestConfig, output_dir: Path, on_progress: OnProgress
) -> PlanNote:
    writer = PartWriter(output_dir, config.samples_per_shard)
    if kind in (SourceKind.PAGE, SourceKind.PAGE_LIST):
        counts, traffic = run_to_end(_crawl(source, kind, config, writer, on_progress))
        if not writer.num_records:
            raise DataError(f"no pictures on the {counts['pages']} pages read from {source}.")
        return writer.finish(source, counts, traffic)
    told = monotonic()
    for record in _local_records(source, kind, config):
        writer.add(record)
        if monotonic() - told >= SECONDS_BETWEEN_REPORTS:
            told = monotonic()
            on_progress(Progress(step="ingest plan", done=writer.num_records, total=None, unit="sources"))
    return writer.finish(source, {})


def _local_records(source: str, kind: SourceKind, config: IngestConfig) -> Iterator[SourceRecord]:
    if kind is SourceKind.SHARDS:
        return read_shards(Path(source))
    if kind is SourceKind.FOLDER:
        return read_folder(Path(source), config.caption_column)
    return read_list(source, config.url_column, config.caption_column, config.hash_column)


async def _crawl(
    source: str, kind: SourceKind, config: IngestConfig, writer: PartWriter, on_progress: OnProgress
) -> tuple[dict[str, int], dict[str, Traffic]]:
    """Write the pictures of all pages into parts, and count the pages and the traffic by host."""

    def on_page(counts: CrawlCounts) -> None:
        fields = {"pictures": writer.num_records}
        on_progress(Progress(step="ingest pages", done=counts.read, total=None, unit="pages", fields=fields))

    starts = [source]
    if kind is SourceKind.PAGE_LIST:
        starts = [record.url for record in read_list(source, config.url_column, "")]
    limits = CrawlLimits(
        max_pages=config.max_pages,
        max_depth=config.max_depth,
        max_seconds=config.max_crawl_minutes * 60,
        sitemaps=config.sitemaps,
    )
    async with Fetcher(config.fetching()) as fetcher:
        crawler = Crawler(fetcher, limits, pages_ahead=PAGES_AHEAD, on_page=on_page)
        async with aclosing(crawler.pictures(starts)) as pictures:
            async for record in pictures:
                writer.add(record)
        traffic = fetcher.take_traffic()
    return _page_counts(crawler.counts), traffic


def _page_counts(counts: CrawlCounts) -> dict[str, int]:
    """Give the figures of a crawl by name; what an option adds is there only when it counted something."""
    rejected = {f"pages_rejected:{reason}": number for reason, number in sorted(counts.rejected.items())}
    further = {"pages_given_up": counts.given_up, "sitemaps": counts.sitemaps}
    return {"pages": counts.read, **rejected, **{name: number for name, number in further.items() if number}}


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, from a thread of its own where this one already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
