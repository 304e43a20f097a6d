"""From a plan's parts to shards: fetching and decoding overlap, order and bytes do not depend on who was faster."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from yarl import URL

from t2i_core.canonical import digest_of
from t2i_core.data.address import normalise_url
from t2i_core.data.answer import Fetched
from t2i_core.data.attempt import Attempt
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.checksum import has_checksum
from t2i_core.data.dataset.parts import Part, read_part
from t2i_core.data.dataset.sightings import Sighting, write_sightings
from t2i_core.data.manners.signals import signals_text
from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.decoders import Decoders
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shards.layout import ShardLayout
from t2i_core.data.shards.stats import ShardReport, read_report
from t2i_core.data.shards.writer import ShardWriter
from t2i_core.data.sources.source import ReadStored
from t2i_core.data.text import as_text
from t2i_core.data.traffic import Traffic
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.waits import telling
from t2i_core.ingestion.journal import Journal
from t2i_core.ingestion.tally import Tally
from t2i_core.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.data.manners.channel import CoordinatorAddress

# While the last pictures of one shard are slow, those of the next are already under way.
SHARDS_AT_ONCE = 2
# Where hosts keep all of those waiting, further ones are begun, up to so many shards or sources.
MAX_SHARDS_AT_ONCE = 16
MAX_SOURCES_AT_ONCE = 20_000
STALL_SECONDS = 2.0
BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Move:
    """A site that answers under another origin now than when it was planned (a restarted server, another port).

    Its pictures are asked for at the new one and noted under the old one, so that a resumed run gives the same bytes.
    """

    planned_origin: str
    current_origin: str

    def to_current(self, url: str) -> str:
        """Give the URL to ask for."""
        return _with_prefix(url, self.planned_origin, self.current_origin)

    def to_planned(self, url: str) -> str:
        """Give the URL to note."""
        return _with_prefix(url, self.current_origin, self.planned_origin)


def _with_prefix(url: str, old: str, new: str) -> str:
    return new + url.removeprefix(old) if url.startswith(f"{old}/") else url


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestJob:
    """What to make shards from, and how.

    Attributes:
        output_dir: the dataset's folder, which holds the plan's parts.
        layout: of its shards.
        fetching: how to ask.
        pictures: which pictures to take and how to store them.
        store: gives the pictures that the source itself holds, None when it holds none.
        move: set when the site has moved since it was planned.
        coordinator: keeps the manners of all who fetch for the same dataset, None when nobody else does.
        ends_at: when to stop asking the web, in seconds since 1970; None for never.
    """

    output_dir: Path
    layout: ShardLayout
    fetching: FetchOptions
    pictures: ImageOptions
    store: ReadStored | None = None
    move: Move | None = None
    coordinator: "CoordinatorAddress | None" = None
    ends_at: float | None = None


def made_of(part_sha256: str, pictures: ImageOptions) -> str:
    """Give what stands for the sources of a shard and for every option that decides what becomes of them."""
    return digest_of([part_sha256, asdict(pictures)])


def finished_report(job: HarvestJob, shard_id: int) -> ShardReport | None:
    """Give the report of a shard that was made from this plan's part and is still whole."""
    report = read_report(job.layout.shards_dir, shard_id)
    if report is None or report.part_sha256 != read_part(job.output_dir, shard_id).sha256:
        return None
    return report


async def harvest(
    job: HarvestJob, shard_ids: Iterable[int], num_records: int, on_progress: OnProgress
) -> list[ShardReport]:
    """Make shards; those that are done already are left as they are.

    Args:
        job: what to make them from.
        shard_ids: their numbers, from 0.
        num_records: sources in all of them, for the progress.
        on_progress: told a few times a second.

    Raises:
        TransientError: the disk is full, or the coordinator is gone.
        DataError: a part of the plan is damaged.
    """
    tally = Tally(num_records, on_progress)
    waiting = iter(shard_ids)
    reports: list[ShardReport] = []
    async with harvesting(job, tally) as harvester:
        await _make_side_by_side(harvester, waiting, reports)
    tally.report()
    return sorted(reports, key=lambda report: report.shard_id)


async def attempt_again(
    job: HarvestJob, shards: Iterable[Sequence[SourceRecord]], num_records: int, on_progress: OnProgress
) -> AsyncIterator[tuple[list[Attempt], dict[str, Traffic]]]:
    """Try sources of the web, and give what became of them, shard by shard and in their own order, and the traffic.

    Args:
        job: how to ask; its layout is not read.
        shards: the sources, those of one shard together.
        num_records: sources in all of them, for the progress.
        on_progress: told a few times a second.
    """
    tally = Tally(num_records, on_progress)
    async with harvesting(job, tally) as harvester:
        for records in shards:
            tasks = [asyncio.create_task(harvester.attempt(record)) for record in records]
            try:
                yield [await task for task in tasks], harvester.fetcher.take_traffic()
            finally:
                await _cancel(tasks)
    tally.report()


@asynccontextmanager
async def harvesting(job: HarvestJob, tally: Tally | None = None) -> AsyncIterator["Harvester"]:
    """Have what fetches and decodes ready while the block runs.

    Args:
        job: how to ask, and what to make of pictures.
        tally: counts what is done, None to count nothing; then there may be nothing to decode either.
    """
    counted = tally or Tally(0, ignore_progress)
    async with (
        Decoders(job.pictures, at_once=tally is not None) as decoders,
        _fetcher(job) as fetcher,
        telling(fetcher.waits, counted.wait_for),
    ):
        yield Harvester(job, fetcher, decoders, counted)


@asynccontextmanager
async def _fetcher(job: HarvestJob) -> AsyncIterator[Fetcher]:
    """Open a fetcher, with manners of its own or together with the job's other workers."""
    if job.coordinator is None:
        async with Fetcher(job.fetching, ends_at=job.ends_at) as fetcher:
            yield fetcher
        return
    # Few runs need it, and no run is to wait for what it does not use.
    from t2i_core.data.manners.shared import shared_manners

    async with (
        shared_manners(job.coordinator, job.fetching.host_limits) as manners,
        Fetcher(job.fetching, manners, ends_at=job.ends_at) as fetcher,
    ):
        yield fetcher


async def _make_side_by_side(harvester: "Harvester", waiting: Iterator[int], reports: list[ShardReport]) -> None:
    """Make shards, some at once, and more while those under way wait for slow hosts and little else is done."""
    lines = {asyncio.create_task(_make_all(harvester, waiting, reports)) for _ in range(SHARDS_AT_ONCE)}
    are_all_begun = False
    try:
        while lines:
            done, lines = await asyncio.wait(lines, timeout=STALL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for line in done:
                line.result()
            are_all_begun |= bool(done)
            if not are_all_begun and harvester.is_stalled(len(lines)):
                lines.add(asyncio.create_task(_make_all(harvester, waiting, reports)))
    finally:
        await _cancel(lines)


async def _make_all(harvester: "Harvester", waiting: Iterator[int], reports: list[ShardReport]) -> None:
    for shard_id in waiting:
        reports.append(await harvester.make_shard(shard_id))


async def _write_in_order(
    writer: ShardWriter, journal: Journal, tasks: Mapping[int, asyncio.Task[None]], num_records: int
) -> list[Sighting]:
    """Write what the tasks have noted in the journal, and what it held before; give what servers said of each."""
    seen = list[Sighting]()

    def noting(attempts: Iterator[Attempt]) -> Iterator[Attempt]:
        for attempt in attempts:
            seen.append(Sighting(attempt.etag, attempt.last_modified, attempt.fetched_at))
            yield attempt

    for start in range(0, num_records, BATCH_SIZE):
        batch = range(start, min(start + BATCH_SIZE, num_records))
        for index in batch:
            if index in tasks:
                await tasks[index]
        await asyncio.to_thread(writer.add, noting(journal.attempts(batch)))
    return seen


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks and wait until they have cleaned up."""
    left = [task for task in tasks if not task.done() or task.cancelled() or task.exception()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class Harvester:
    """Makes single shards, or gets single pictures, with one fetcher and one pool of decoders."""

    def __init__(self, job: HarvestJob, fetcher: Fetcher, decoders: Decoders, tally: Tally) -> None:
        self._job = job
        self.fetcher = fetcher
        self._decoders = decoders
        self._tally = tally
        self._num_attempts = self._num_before = 0
        self._local_reads = asyncio.Semaphore(job.fetching.connections)

    def is_stalled(self, num_shards: int) -> bool:
        """Tell whether next to nothing was done since this was last asked, and another shard can be under way."""
        done, self._num_before = self._num_attempts - self._num_before, self._num_attempts
        most = min(MAX_SHARDS_AT_ONCE, MAX_SOURCES_AT_ONCE // self._job.layout.samples_per_shard)
        return done <= 1 and num_shards < most and 8 * self.fetcher.num_busy <= self._job.fetching.connections

    async def make_shard(self, shard_id: int) -> ShardReport:
        """Make one shard; one that is done already is left as it is."""
        done = finished_report(self._job, shard_id)
        if done is not None:
            self._tally.add_reused(done.kept, done.rejected)
            return done
        part = read_part(self._job.output_dir, shard_id)
        made_with = made_of(part.sha256, self._job.pictures)
        with (
            disk_errors(self._job.output_dir),
            Journal(self._job.layout.shards_dir, shard_id, part.records, made_with) as journal,
            ShardWriter(self._job.layout, shard_id, part.sha256) as writer,
        ):
            self._tally.add_reused(journal.num_kept, journal.rejected)
            seen = await self._fill(writer, journal, part)
            # What was asked since the last shard was finished is told with this one, so that the sum is right.
            write_sightings(self._job.output_dir, shard_id, seen)
            report = await asyncio.to_thread(writer.finish, self.fetcher.take_traffic())
            journal.remove()
            return report

    async def _fill(self, writer: ShardWriter, journal: Journal, part: Part) -> list[Sighting]:
        """Work at once on all sources that the journal lacks, and hand all to the writer in their own order."""
        missing = [index for index in range(len(part.records)) if index not in journal]
        tasks = {index: asyncio.create_task(self._note(journal, index, part.records[index])) for index in missing}
        writing = asyncio.create_task(_write_in_order(writer, journal, tasks, len(part.records)))
        try:
            # The first that fails, in whatever order, is the end: what cannot be kept need not be asked for.
            await asyncio.gather(writing, *tasks.values())
            return writing.result()
        finally:
            await _cancel([writing, *tasks.values()])

    async def _note(self, journal: Journal, index: int, record: SourceRecord) -> None:
        journal.add(index, await self.attempt(record))

    async def attempt(self, record: SourceRecord) -> Attempt:
        """Get one picture, or learn why there is none."""
        if record.reason:
            attempt = Attempt(record, Rejection(RejectReason(record.reason), record.detail))
        elif record.location:
            attempt = await self._read(record)
        else:
            attempt = await self._fetch(record)
        self._tally.add(attempt)
        self._num_attempts += 1
        return attempt

    async def _read(self, record: SourceRecord) -> Attempt:
        async with self._reading(record) as answer:
            outcome = answer if isinstance(answer, Rejection) else await self._process(record, answer.body)
            return Attempt(record, outcome)

    async def read_bytes(self, record: SourceRecord) -> Fetched | Rejection:
        """Read a picture that its source holds, and make nothing of it."""
        async with self._reading(record) as answer:
            return answer

    @asynccontextmanager
    async def _reading(self, record: SourceRecord) -> AsyncIterator[Fetched | Rejection]:
        """Read a picture that its source holds, and keep its place in memory while the block runs."""
        most = self._job.fetching.max_bytes
        async with (
            self._local_reads,
            self.fetcher.budget.holding(min(record.size, most) if record.size else most) as claim,
        ):
            answer = await asyncio.to_thread(_read_local, self._job, record)
            if isinstance(answer, Fetched):
                claim.settle(len(answer.body))
            yield answer

    async def _fetch(self, record: SourceRecord) -> Attempt:
        url = self._job.move.to_current(record.url) if self._job.move else record.url
        async with self.fetcher.fetch(url) as answer:
            if isinstance(answer, Rejection):
                return self.rejected(record, answer)
            self._tally.add_body(len(answer.body))
            return await self.taken(record, answer)

    def rejected(self, record: SourceRecord, answer: Rejection) -> Attempt:
        """Say what became of a source that gave no picture."""
        fetched_at = int(time()) if answer.http_status else None
        return Attempt(record, answer, answer.http_status, self._noted(answer.final_url), answer.signals, fetched_at)

    async def taken(self, record: SourceRecord, answer: Fetched) -> Attempt:
        """Say what became of a source that gave something."""
        fetched_at = int(time())
        outcome = await self._process(record, answer.body)
        told = answer.http_status, self._noted(answer.final_url), signals_text(answer.directives)
        return Attempt(record, outcome, *told, fetched_at, answer.etag, answer.last_modified)

    def _noted(self, url: str) -> str:
        return self._job.move.to_planned(url) if self._job.move else url

    async def _process(self, record: SourceRecord, body: bytes) -> Picture | Rejection:
        if denied := self._job.fetching.deny_list.refusal_of_bytes(body):
            return denied
        if record.checksum and not has_checksum(body, record.checksum):
            return Rejection(RejectReason.HASH_MISMATCH)
        column = self._job.pictures.blur_column
        # A row that says nothing about boxes, not even that there are none, is not taken for one without.
        return await self._decoders.process(body, as_text(record.extra.get(column, "null")) if column else "")


def _read_local(job: HarvestJob, record: SourceRecord) -> Fetched | Rejection:
    if job.store is None:
        return Rejection(RejectReason.UNREADABLE)
    # Pictures of other shards still know where they came from.
    url = normalise_url(record.url)
    denied = job.fetching.deny_list.refusal(url) if isinstance(url, URL) else None
    return denied or job.store(record, job.fetching.max_bytes)
