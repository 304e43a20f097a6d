"""A plan and what is made with it: how a source is read into parts, and how shards are made of these.

What decides whether a folder is planned, planned anew or refreshed is in `plan.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from yarl import URL

from t2i_core.config import Config
from t2i_core.data.account.shortfall import CUT_BY_DEPTH, CUT_BY_PAGES, CUT_BY_TIME, unlisted_note
from t2i_core.data.address import origin_of
from t2i_core.data.dataset.parts import PARTS_DIR, PartWriter, PlanNote, read_note, rules_name
from t2i_core.data.dataset.tombstone import Purged, read_purged_list
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.record import SourceRecord
from t2i_core.data.shards.layout import SHARDS_DIR, ShardLayout
from t2i_core.data.sources.open import open_source
from t2i_core.data.sources.orphans import OrphanLog
from t2i_core.data.sources.source import Planning, Source
from t2i_core.data.tables.cell_types import column_type
from t2i_core.data.tables.list_files import is_remote
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.layout import REFRESH_DIR
from t2i_core.folders.manifest import StepKey, StepRef
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.harvest import HarvestJob, Move
from t2i_core.ingestion.refine import Refinery, refinery
from t2i_core.ingestion.tally import SECONDS_BETWEEN_REPORTS
from t2i_core.progress import OnProgress, Progress

if TYPE_CHECKING:
    from t2i_core.data.crawling.crawl import CrawlCounts
    from t2i_core.data.crawling.memory import Evidence

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
        first_shard: number of the first one to make; those before it are there.
        is_refresh: they are for a new version of a finished dataset.
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
    first_shard: int = 0
    is_refresh: bool = False
    ends_at: float | None = None

    @property
    def shard_ids(self) -> range:
        """The numbers of the shards to make."""
        return range(self.first_shard, self.first_shard + self.num_shards)

    @property
    def rules_file(self) -> Path:
        """What sites say of who may ask, for all parts of this run."""
        return self.work_dir / PARTS_DIR / rules_name(self.token)

    @property
    def work_dir(self) -> Path:
        """Where they are made, beside their parts."""
        return self.output_dir / REFRESH_DIR if self.is_refresh else self.output_dir

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


@dataclass(frozen=True, slots=True)
class PlanJob:
    """What is planned, and where.

    Attributes:
        source: opened.
        config: as given.
        denied: what must not be taken.
        output_dir: gets the parts.
        on_progress: told how far it is.
        purged: from the dataset.
        rules_file: gets what sites say of who may ask.
        earlier: folder of what an earlier reading of the source noted, None for a first one.
    """

    source: Source
    config: IngestConfig
    denied: DenyList
    output_dir: Path
    on_progress: OnProgress
    purged: Purged
    rules_file: Path
    earlier: Path | None = None


def write_parts(job: PlanJob) -> "tuple[PlanNote, Evidence | None]":
    """Read the source and cut it into parts.

    Returns:
        What they hold, and what was learned of pages.
    """
    config, scratch = job.config, job.output_dir / PARTS_DIR
    writer = PartWriter(job.output_dir, config.samples_per_shard, job.purged)
    columns = config.url_column, config.caption_column
    with (
        refinery(config.captions_from, config.filter, *columns, scratch) as refined,
        OrphanLog(job.output_dir) as orphans,
    ):
        teller = _Teller(job.on_progress, writer)
        planning = Planning(
            scratch=scratch,
            orphans=orphans,
            fetching=replace(config.fetching(job.denied), rules_file=job.rules_file),
            on_pages=teller.tell_pages,
            on_records=teller.tell_records,
            on_wait=teller.tell_wait,
            earlier=job.earlier,
            vouched_seconds=config.vouched_days * 86_400,
        )
        records = job.source.records(planning)
        if isinstance(records, AsyncGenerator):
            run_to_end(_take_as_they_come(records, writer, refined))
        else:
            _take(records, writer, refined, teller)
        counts = (_page_counts(planning.pages) if planning.pages else {}) | dict(sorted(planning.counts.items()))
        if "pages" in counts and not writer.num_records and job.earlier is None:
            told = unlisted_note(counts)
            raise DataError(f"no pictures on the {counts['pages']} pages read from {job.source.name}.{told}")
        counts |= dict(sorted(orphans.counts.items()))
        return writer.finish(job.source.name, counts | refined.finish(), planning.traffic), planning.evidence


@dataclass(slots=True)
class _Teller:
    """Tells how far a plan is."""

    on_progress: OnProgress
    writer: PartWriter
    told: float = field(default_factory=monotonic)
    pages: int = 0
    pages_before: int = 0

    def tell_pages(self, counts: "CrawlCounts") -> None:
        self.pages = counts.read
        self._tell_pages()

    def tell_wait(self, whom: str) -> None:
        """Tell who is waited for, where no page was read since this was last called."""
        read, self.pages_before = self.pages - self.pages_before, self.pages
        if whom and not read:
            self._tell_pages(whom)

    def _tell_pages(self, waiting: str = "") -> None:
        fields = {"pictures": self.writer.num_records}
        self.on_progress(
            Progress(step="ingest pages", done=self.pages, total=None, unit="pages", fields=fields, waiting=waiting)
        )

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


def note_of(plan: IngestPlan) -> PlanNote:
    """Read what the parts of a plan hold.

    Raises:
        DataError: the plan on disk is gone or damaged.
    """
    note = read_note(plan.work_dir)
    if note is None:
        raise DataError(
            f"the plan in {plan.work_dir / PARTS_DIR} is gone, damaged, or on a disk that this worker does not see. "
            "Run ingest again."
        )
    return note


def job_of(planned: Planned, note: PlanNote) -> HarvestJob:
    """Say what to make shards from, and how.

    Args:
        planned: with what was opened for the plan.
        note: what its parts hold.
    """
    plan = planned.plan
    fetching = plan.config.fetching(planned.denied)
    denied = fetching.deny_list.joined(read_purged_list(plan.output_dir))
    return HarvestJob(
        output_dir=plan.work_dir,
        layout=ShardLayout(
            shards_dir=plan.work_dir / SHARDS_DIR,
            samples_per_shard=plan.config.samples_per_shard,
            encode_format=plan.config.encode_format,
            extra_columns=note.extra_columns,
            extra_types={name: column_type(kind) for name, kind in note.extra_kinds.items()},
            has_exif=plan.config.extract_exif,
        ),
        fetching=replace(fetching, deny_list=denied, rules_file=plan.rules_file),
        pictures=plan.config.pictures(),
        store=planned.source.store(),
        move=_move(note.source, plan.source),
        ends_at=plan.ends_at,
    )


def _move(planned: str, current: str) -> Move | None:
    """Tell whether a page's site has moved since the plan was made."""
    if planned == current or not all(source.startswith(("http://", "https://")) for source in (planned, current)):
        return None
    return Move(origin_of(URL(planned)), origin_of(URL(current)))


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
