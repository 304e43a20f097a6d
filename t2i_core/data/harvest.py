"""From a plan's parts to shards: fetching and decoding overlap, order and bytes do not depend on who was faster."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from yarl import URL

from t2i_core.data.address import normalise_url
from t2i_core.data.checksum import has_checksum
from t2i_core.data.disk import disk_errors
from t2i_core.data.fetch import Fetched, Fetcher, FetchOptions
from t2i_core.data.hosts import Traffic
from t2i_core.data.image import ImageOptions, Picture, process_picture
from t2i_core.data.parts import Part, read_part
from t2i_core.data.picture_store import ReadStored
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shard import Attempt, ShardLayout, ShardReport, ShardWriter, read_report
from t2i_core.progress import OnProgress, Progress

# While the last pictures of one shard are slow, those of the next are already under way.
SHARDS_AT_ONCE = 2
BATCH_SIZE = 64
SECONDS_BETWEEN_REPORTS = 0.25


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
        output_dir: the data set's folder, which holds the plan's parts.
        layout: of its shards.
        fetching: how to ask.
        pictures: which pictures to take and how to store them.
        store: gives the pictures that the source itself holds, None when it holds none.
        move: set when the site has moved since it was planned.
    """

    output_dir: Path
    layout: ShardLayout
    fetching: FetchOptions
    pictures: ImageOptions
    store: ReadStored | None = None
    move: Move | None = None


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
        shard_ids: which.
        num_records: sources in all of them, for the progress.
        on_progress: told a few times a second.

    Raises:
        TransientError: the disk is full.
        DataError: a part of the plan is damaged.
    """
    tally = _Tally(num_records, on_progress)
    waiting = iter(shard_ids)
    reports: list[ShardReport] = []
    # Pillow releases the interpreter while it decodes; an executor of processes would fit here as well.
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as decoders:
        async with Fetcher(job.fetching) as fetcher:
            harvester = _Harvester(job, fetcher, decoders, tally)
            lines = [asyncio.create_task(_make_all(harvester, waiting, reports)) for _ in range(SHARDS_AT_ONCE)]
            try:
                await asyncio.gather(*lines)
            finally:
                await _cancel(lines)
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
    tally = _Tally(num_records, on_progress)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as decoders:
        async with Fetcher(job.fetching) as fetcher:
            harvester = _Harvester(job, fetcher, decoders, tally)
            for records in shards:
                tasks = [asyncio.create_task(harvester.attempt(record)) for record in records]
                try:
                    yield [await task for task in tasks], fetcher.take_traffic()
                finally:
                    await _cancel(tasks)
    tally.report()


async def _make_all(harvester: "_Harvester", waiting: Iterator[int], reports: list[ShardReport]) -> None:
    for shard_id in waiting:
        reports.append(await harvester.make_shard(shard_id))


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks and wait until they have cleaned up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Harvester:
    """Makes single shards with one fetcher and one pool of decoders."""

    def __init__(self, job: HarvestJob, fetcher: Fetcher, decoders: ThreadPoolExecutor, tally: "_Tally") -> None:
        self._job = job
        self._fetcher = fetcher
        self._decoders = decoders
        self._tally = tally
        self._local_reads = asyncio.Semaphore(job.fetching.connections)

    async def make_shard(self, shard_id: int) -> ShardReport:
        done = finished_report(self._job, shard_id)
        if done is not None:
            self._tally.add_report(done)
            return done
        part = read_part(self._job.output_dir, shard_id)
        with disk_errors(self._job.output_dir), ShardWriter(self._job.layout, shard_id, part.sha256) as writer:
            await self._fill(writer, part)
            # What was asked since the last shard was finished is told with this one, so that the sum is right.
            return await asyncio.to_thread(writer.finish, self._fetcher.take_traffic())

    async def _fill(self, writer: ShardWriter, part: Part) -> None:
        """Work on all sources at once, and hand them to the writer in their own order."""
        tasks = [asyncio.create_task(self.attempt(record)) for record in part.records]
        try:
            while tasks:
                attempts = [await task for task in tasks[:BATCH_SIZE]]
                # What is written need not stay in memory until the shard is full.
                del tasks[:BATCH_SIZE]
                await asyncio.to_thread(writer.add, attempts)
        finally:
            await _cancel(tasks)

    async def attempt(self, record: SourceRecord) -> Attempt:
        """Get one picture, or learn why there is none."""
        if record.reason:
            attempt = Attempt(record, Rejection(RejectReason(record.reason), record.detail))
        elif record.location:
            attempt = await self._read(record)
        else:
            attempt = await self._fetch(record)
        self._tally.add(attempt)
        return attempt

    async def _read(self, record: SourceRecord) -> Attempt:
        async with self._local_reads:
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(self._decoders, _process_local, self._job, record)
            return Attempt(record, outcome)

    async def _fetch(self, record: SourceRecord) -> Attempt:
        move = self._job.move
        url = move.to_current(record.url) if move else record.url
        async with self._fetcher.fetch(url) as answer:
            final_url = move.to_planned(answer.final_url) if move else answer.final_url
            if isinstance(answer, Rejection):
                return Attempt(record, answer, answer.http_status, final_url)
            outcome = await self._process(answer, record)
            return Attempt(record, outcome, answer.http_status, final_url)

    async def _process(self, answer: Fetched, record: SourceRecord) -> Picture | Rejection:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, _process_body, self._job, record, answer.body)


def _process_local(job: HarvestJob, record: SourceRecord) -> Picture | Rejection:
    if job.store is None:
        return Rejection(RejectReason.UNREADABLE)
    # Pictures of other shards still know where they came from.
    url = normalise_url(record.url)
    denied = job.fetching.deny_list.refusal(url) if isinstance(url, URL) else None
    if denied is not None:
        return denied
    answer = job.store(record, job.fetching.max_bytes)
    return answer if isinstance(answer, Rejection) else _process_body(job, record, answer.body)


def _process_body(job: HarvestJob, record: SourceRecord, body: bytes) -> Picture | Rejection:
    if denied := job.fetching.deny_list.refusal_of_bytes(body):
        return denied
    if record.checksum and not has_checksum(body, record.checksum):
        return Rejection(RejectReason.HASH_MISMATCH)
    return process_picture(body, job.pictures)


class _Tally:
    """Counts what is done and tells it a few times a second."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._total = total
        self._on_progress = on_progress
        self._kept = self._rejected = self._reused = 0
        self._started = self._told = monotonic()

    def add(self, attempt: Attempt) -> None:
        if isinstance(attempt.outcome, Picture):
            self._kept += 1
        else:
            self._rejected += 1
        self._tell()

    def add_report(self, report: ShardReport) -> None:
        """Count a shard that was there before."""
        self._kept += report.kept
        self._rejected += report.seen - report.kept
        self._reused += report.seen
        self._tell()

    def _tell(self) -> None:
        if monotonic() - self._told >= SECONDS_BETWEEN_REPORTS:
            self.report()

    def report(self) -> None:
        self._told = monotonic()
        done = self._kept + self._rejected
        rate = (done - self._reused) / max(self._told - self._started, 1e-9)
        fields = {"kept": self._kept, "rejected": self._rejected, "pictures/s": round(rate, 1)}
        self._on_progress(Progress(step="ingest", done=done, total=self._total, unit="pictures", fields=fields))
