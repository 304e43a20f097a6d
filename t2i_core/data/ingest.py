"""The first step: web pages, URL lists, a folder of pictures or other shards become a data set.

Planning reads the source once and cuts it into parts on disk; each part becomes one shard, atomically; the manifest
comes last. So whatever ends a run, the next one goes on where it stopped, and deleting a shard makes only that anew.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from pydantic import Field
from yarl import URL

from t2i_core.config import Config
from t2i_core.data.address import origin_of
from t2i_core.data.crawl import CrawlCounts, Crawler, CrawlLimits
from t2i_core.data.dataset import finish_rewrite, shard_outputs, write_hosts
from t2i_core.data.denylist import NOTHING_DENIED, DenyList
from t2i_core.data.disk import disk_errors
from t2i_core.data.existing import read_shards
from t2i_core.data.fetch import Fetcher, FetchOptions
from t2i_core.data.folder import read_folder
from t2i_core.data.harvest import SECONDS_BETWEEN_REPORTS, HarvestJob, Move, harvest
from t2i_core.data.hosts import Traffic
from t2i_core.data.image import EncodeFormat, ImageOptions, ResizeMode
from t2i_core.data.parts import PARTS_DIR, PartWriter, PlanNote, read_note
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shard import SHARDS_DIR, ShardLayout, ShardReport, read_report, shard_name
from t2i_core.data.source import SourceKind, read_list, source_identity, source_kind
from t2i_core.data.tombstone import read_tombstones, write_tombstones
from t2i_core.errors import ConfigError, DataError, T2IError, TransientError
from t2i_core.manifest import (
    MANIFEST_NAME,
    OnConflict,
    StepKey,
    StepRef,
    claim_folder,
    find_hit,
    write_manifest,
)
from t2i_core.progress import OnProgress, Progress, ignore_progress

INGEST_VERSION = 2
PAGES_AHEAD = 32
# How fast and how patiently to ask does not decide what a data set holds.
_VOLATILE = frozenset(
    {
        "connections",
        "connections_per_host",
        "delay_seconds",
        "timeout_seconds",
        "retries",
        "contact",
        "min_success_rate",
    }
)
T = TypeVar("T")


class IngestConfig(Config):
    """What to take from a source, how to store it, and how to ask for it."""

    image_size: int = Field(256, ge=1, le=8192, description="side that the resize mode names, in pixels")
    resize_mode: ResizeMode = Field(
        "center_crop",
        description="border: fit the longest side, pad to a square; keep_ratio: fit the shortest side; "
        "keep_ratio_largest: fit the longest side; center_crop: fit the shortest side, cut a square; no: as it is",
    )
    resize_only_if_bigger: bool = Field(False, description="leave pictures alone that are smaller than the image size")
    encode_format: EncodeFormat = Field("jpg", description="format of the stored pictures; png is lossless")
    encode_quality: int = Field(95, ge=1, le=100, description="quality of jpg and webp, 1 to 100; png ignores it")
    samples_per_shard: int = Field(1000, ge=1, le=100_000, description="sources in one shard, rejected ones included")
    pages: bool = Field(False, description="the source is a list of page URLs, not of picture URLs")
    url_column: str = Field("url", min_length=1, description="column of a list that holds the URLs")
    caption_column: str = Field("caption", description="column of a list that holds the captions; empty for none")
    hash_column: str = Field(
        "",
        description="column of a list that holds md5, sha1, sha256 or sha512 of each picture's bytes, in hexadecimal; "
        "pictures with another are rejected, rows without one too; empty for none",
    )
    min_image_size: int = Field(16, ge=0, description="shortest side of a picture to keep, in pixels")
    max_aspect_ratio: float = Field(4.0, ge=1, allow_inf_nan=False, description="longest side over shortest, at most")
    max_pixels: int = Field(89_000_000, ge=1, le=89_000_000, description="width times height of a picture, at most")
    max_bytes: int = Field(20_000_000, ge=1000, le=1_000_000_000, description="size of one picture or page, in bytes")
    max_pages: int = Field(1000, ge=1, description="pages to read at most")
    max_depth: int = Field(1000, ge=0, description="links to follow away from a start page; 0 for none")
    max_crawl_minutes: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="time for reading pages, in minutes; 0 for no limit"
    )
    sitemaps: bool = Field(False, description="also start from the pages that the sites list in their sitemaps")
    allow_private: bool = Field(
        False, description="also ask hosts that are not on the public internet, such as this one"
    )
    connections: int = Field(64, ge=1, le=4096, description="requests in flight at once")
    connections_per_host: int = Field(8, ge=1, le=1024, description="requests in flight at once to one host")
    delay_seconds: float = Field(0.0, ge=0, le=3600, description="pause between two requests to one host, in seconds")
    timeout_seconds: float = Field(20.0, gt=0, le=3600, description="time for one picture or page, in seconds")
    retries: int = Field(2, ge=0, le=10, description="further tries when a host is busy or slow")
    deny_list: str = Field(
        "",
        description="text file, or folder of them, of what must not be taken: a domain, a URL prefix, or a sha256 or "
        "md5 of source bytes a line; empty for none",
    )
    opt_out_files: bool = Field(
        True,
        description="read each site's tdmrep.json and ai.txt too, two requests more to each host; only for lists whose "
        "owners' reservations were looked up before can it be left",
    )
    contact: str = Field("", pattern=r"^[!-~]*$", description="address or page for complaints, put into the user agent")
    min_success_rate: float = Field(
        0.0, ge=0, le=1, description="share of sources that must be kept, 0 to 1, or it fails"
    )

    def fetching(self) -> FetchOptions:
        """Give the part about asking."""
        names = set(FetchOptions.__dataclass_fields__) & set(type(self).model_fields)
        options = {name: getattr(self, name) for name in names}
        return FetchOptions(**options | {"deny_list": self.denied()})

    def denied(self) -> DenyList:
        """Read the deny-list.

        Raises:
            ConfigError: it cannot be read.
        """
        return DenyList.read(Path(self.deny_list)) if self.deny_list else NOTHING_DENIED

    def pictures(self) -> ImageOptions:
        """Give the part about pixels."""
        names = (*ImageOptions.__dataclass_fields__,)
        return ImageOptions(**{name: getattr(self, name) for name in names})


class IngestPlan(Config):
    """What is to be done, as a small record; the sources themselves lie in parts on disk.

    Attributes:
        source: as given.
        config: as given.
        output_dir: the data set's folder.
        key: what decides its content.
        num_shards: to make.
        num_records: sources over all shards.
        hit: set when the data set is finished already and nothing is to be done.
    """

    source: str
    config: IngestConfig
    output_dir: Path
    key: StepKey
    num_shards: int
    num_records: int
    hit: StepRef | None = None


def ingest_key(source: str, config: IngestConfig, source_digest: str | None = None) -> StepKey:
    """Say what decides the data set; nothing but remote lists is asked over the network, for their versions.

    Args:
        source: lists, a folder of pictures or shards, or an http(s) page.
        config: the options; those of speed and patience do not count.
        source_digest: stands for the content of a source that is known to be the same under another address.

    Raises:
        ConfigError: there is no such source, or the deny-list cannot be read.
    """
    options = config.model_dump(mode="json", exclude={*_VOLATILE, "deny_list"})
    inputs = {"source": source_digest or source_identity(source)}
    if config.deny_list:
        inputs["deny_list"] = config.denied().digest
    return StepKey(step="ingest", version=INGEST_VERSION, config=options, inputs=inputs)


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
            purged = read_tombstones(output_dir)
            claim_folder(output_dir, key, on_conflict)
            if purged:
                # A folder that takes the place of another must not bring back what was purged from that one.
                write_tombstones(output_dir, purged)
            note = _planned(source, kind, config, output_dir, on_progress)
        num_shards, num_records = note.num_parts, note.num_records
    return IngestPlan(
        source=source,
        config=config,
        output_dir=output_dir,
        key=key,
        num_shards=num_shards,
        num_records=num_records,
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
        counts, traffic = _run(_crawl(source, kind, config, writer, on_progress))
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


def ingest_shard(plan: IngestPlan, shard_id: int, *, on_progress: OnProgress = ignore_progress) -> ShardReport:
    """Make one shard, atomically; when it is done already, give its report at once.

    Raises:
        TransientError: the disk is full.
        DataError: the plan on disk is damaged.
    """
    size = plan.config.samples_per_shard
    num_records = min(size, plan.num_records - shard_id * size)
    return _run(harvest(_job(plan), [shard_id], num_records, on_progress))[0]


def _job(plan: IngestPlan) -> HarvestJob:
    note = read_note(plan.output_dir)
    if note is None:
        raise DataError(f"the plan in {plan.output_dir / PARTS_DIR} is gone or damaged. Run ingest again.")
    fetching = plan.config.fetching()
    if plan.config.deny_list and fetching.deny_list.digest != plan.key.inputs["deny_list"]:
        raise ConfigError(f"the deny-list {plan.config.deny_list} has changed since the plan was made. Run again.")
    is_folder = source_kind(plan.source) in (SourceKind.FOLDER, SourceKind.SHARDS)
    return HarvestJob(
        output_dir=plan.output_dir,
        layout=ShardLayout(
            shards_dir=plan.output_dir / SHARDS_DIR,
            samples_per_shard=plan.config.samples_per_shard,
            encode_format=plan.config.encode_format,
            extra_columns=note.extra_columns,
        ),
        fetching=fetching,
        pictures=plan.config.pictures(),
        source_dir=Path(plan.source) if is_folder else None,
        move=_move(note.source, plan.source),
    )


def _move(planned: str, current: str) -> Move | None:
    """Tell whether a page's site has moved since the plan was made."""
    if planned == current or not all(source.startswith(("http://", "https://")) for source in (planned, current)):
        return None
    return Move(origin_of(URL(planned)), origin_of(URL(current)))


def finish_ingest(plan: IngestPlan) -> StepRef:
    """Check that all shards are there, and write the manifest, which says that the data set is done.

    Raises:
        TransientError: not one source could be reached; the shards are given up so that a later run asks again.
        DataError: a shard is missing, or too few sources were kept.
    """
    if plan.hit is not None:
        return plan.hit
    shards_dir = plan.output_dir / SHARDS_DIR
    reports = [_finished(shards_dir, shard_id) for shard_id in range(plan.num_shards)]
    seen = sum(report.seen for report in reports)
    if seen != plan.num_records:
        raise DataError(
            f"{shards_dir} holds {seen:,} sources, its plan {plan.num_records:,}. Delete it and run ingest again."
        )
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    kept = sum(report.kept for report in reports)
    _check_yield(plan, kept, rejected)
    _remove_strays(shards_dir, plan.num_shards)
    note = read_note(plan.output_dir)
    counts = {
        "seen": seen,
        "kept": kept,
        "rejected": rejected.total(),
        "shards": plan.num_shards,
        **{f"rejected:{reason}": number for reason, number in sorted(rejected.items())},
        **(note.counts if note else {}),
    }
    with disk_errors(plan.output_dir):
        files = [file for report in reports for file in shard_outputs(plan.output_dir, report)]
        places = dict.fromkeys(range(plan.num_shards), shards_dir)
        files.append(write_hosts(plan.output_dir, places, note.traffic if note else {}))
        sources = {"source": plan.source} | ({"deny_list": plan.config.deny_list} if plan.config.deny_list else {})
        return write_manifest(
            plan.output_dir, kind="dataset", key=plan.key, sources=sources, counts=counts, files=files
        )


def _finished(shards_dir: Path, shard_id: int) -> ShardReport:
    report = read_report(shards_dir, shard_id)
    if report is None:
        raise DataError(
            f"shard {shard_name(shard_id)} in {shards_dir} is not finished. Run ingest again: only it is made."
        )
    return report


def _check_yield(plan: IngestPlan, kept: int, rejected: Counter[str]) -> None:
    seen = kept + rejected.total()
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in rejected.most_common(3))
    if not kept and rejected and all(RejectReason(reason).is_unreachable for reason in rejected):
        for shard_id in range(plan.num_shards):
            (plan.output_dir / SHARDS_DIR / f"{shard_name(shard_id)}_stats.json").unlink(missing_ok=True)
        raise TransientError(
            f"none of the {seen:,} pictures of {plan.source} could be reached ({reasons}). "
            "Check that the host is up and the network works, then run again."
        )
    if kept < plan.config.min_success_rate * seen:
        raise DataError(
            f"only {kept:,} of {seen:,} pictures were kept ({kept / seen:.1%}), less than the min_success_rate of "
            f"{plan.config.min_success_rate:.1%}; most were rejected as {reasons}. Nothing is lost: run again with a "
            "lower rate, or mend the source."
        )


def _remove_strays(shards_dir: Path, num_shards: int) -> None:
    """Remove shards of an earlier, longer plan."""
    for path in shards_dir.glob("*_stats.json"):
        number = path.name.removesuffix("_stats.json")
        if number.isdecimal() and int(number) >= num_shards:
            for ending in (".tar", ".parquet", "_stats.json"):
                path.with_name(number + ending).unlink(missing_ok=True)


def ingest(
    source: str,
    config: IngestConfig,
    output_dir: Path,
    *,
    source_digest: str | None = None,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Plan, make all shards, and finish: the whole step.

    Raises:
        ConfigError: the source or the folder cannot be used.
        TransientError: nothing could be reached, or the disk is full.
        DataError: too few pictures were kept, or something on disk is damaged.
    """
    plan = plan_ingest(
        source, config, output_dir, source_digest=source_digest, on_conflict=on_conflict, on_progress=on_progress
    )
    if plan.hit is None:
        _run(harvest(_job(plan), range(plan.num_shards), plan.num_records, on_progress))
    return finish_ingest(plan)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, from a thread of its own where this one already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
