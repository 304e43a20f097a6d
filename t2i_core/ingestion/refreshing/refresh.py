"""Planning a new version of a dataset: its source is read again, and what is there is looked at again.

Everything is done in a folder of its own, `_refresh`. What has news goes into parts behind those that there are; what
is past is noted row by row. When all of it is known a note says so, and a killed refresh goes on from there.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from pydantic import Field

from t2i_core.config import Config
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.parts import PARTS_DIR, PlanNote, read_note, read_part, read_whole_note, write_note
from t2i_core.data.dataset.sightings import write_sightings
from t2i_core.data.dataset.tombstone import Purged
from t2i_core.data.tables.cells import join
from t2i_core.data.traffic import Traffic, joined
from t2i_core.door import read_file, remove_tree
from t2i_core.errors import ConfigError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import MAX_NOTE_BYTES, REFRESH_DIR
from t2i_core.folders.manifest import Manifest, StepKey, read_manifest
from t2i_core.ingestion.planning import IngestPlan, PlanJob, Planned, job_of, run_to_end, write_parts
from t2i_core.ingestion.refreshing.appended import Appended
from t2i_core.ingestion.refreshing.decisions import write_decisions
from t2i_core.ingestion.refreshing.earlier import EarlierRows
from t2i_core.ingestion.refreshing.judge import Judge
from t2i_core.ingestion.refreshing.recheck import looks, rechecking
from t2i_core.progress import OnProgress, Progress

if TYPE_CHECKING:
    from t2i_core.data.crawling.memory import Evidence

PLANNED_DIR, NOTE_NAME = "_planned", "refresh.json"
# A refresh that was begun so long ago is begun anew: what it learned may not hold any more.
MAX_AGE_SECONDS = 24 * 3600.0
SECONDS_BETWEEN_REPORTS = 0.25


class RefreshNote(Config):
    """What a refresh is to make, written when all that there is was looked at again.

    Attributes:
        parent: digest of the dataset as it is.
        key: that it is to have.
        planned_at: in seconds since 1970.
        first_shard: number of the first new shard.
        num_shards: new shards.
        num_records: sources in them.
        news: how many pictures were looked at, by what that told.
    """

    parent: str
    key: StepKey
    planned_at: float
    first_shard: int
    num_shards: int
    num_records: int
    news: dict[str, int] = Field(default_factory=dict)


def read_refresh_note(dataset_dir: Path) -> RefreshNote | None:
    """Read what a refresh under way is to make; None where nothing is under way, or not all of it is known."""
    path = dataset_dir / REFRESH_DIR / PLANNED_DIR / NOTE_NAME
    try:
        return RefreshNote.model_validate_json(read_file(path, MAX_NOTE_BYTES, levels=2))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def plan_refresh(planned: Planned, on_progress: OnProgress) -> IngestPlan:
    """Look at a source again, and at all that a dataset has of it.

    Args:
        planned: a plan for the dataset's folder, with what was opened for it.
        on_progress: told how far it is.

    Returns:
        The plan of the shards to make for a new version.

    Raises:
        ConfigError: the source or the folder cannot be used.
        TransientError: no page could be reached, or the disk is full.
        DataError: the dataset is damaged.
    """
    plan = planned.plan
    dataset_dir = plan.output_dir
    manifest = read_manifest(dataset_dir, "dataset")
    with disk_errors(dataset_dir):
        note = read_refresh_note(dataset_dir)
        if note is None or not _goes_on(note, plan, manifest):
            remove_tree(dataset_dir / REFRESH_DIR)
            note = _Refresh(planned, manifest, on_progress).run()
    return plan.with_changes(
        is_refresh=True, first_shard=note.first_shard, num_shards=note.num_shards, num_records=note.num_records
    )


def _goes_on(note: RefreshNote, plan: IngestPlan, manifest: Manifest) -> bool:
    """Tell whether a refresh that was begun is still the one that is wanted."""
    is_same = (note.parent, note.key) == (manifest.digest, plan.key)
    return is_same and 0 <= time() - note.planned_at < MAX_AGE_SECONDS and read_note(plan.work_dir) is not None


class _Refresh:
    """One look at everything.

    Args:
        planned: a plan for the dataset's folder, with what was opened for it.
        manifest: of the dataset.
        on_progress: told how far it is.
    """

    def __init__(self, planned: Planned, manifest: Manifest, on_progress: OnProgress) -> None:
        self._planned, self._manifest, self._on_progress = planned, manifest, on_progress
        self._plan = planned.plan.with_changes(is_refresh=True)
        self._dataset_dir, self._work = self._plan.output_dir, self._plan.work_dir
        self._scratch = self._work / PLANNED_DIR
        self._first_shard = len(files_by_shard(manifest))
        self._told_at = 0.0

    def run(self) -> RefreshNote:
        """Do it, and write down what is to be made.

        Raises:
            ConfigError: the plan of the dataset is gone.
        """
        earlier = read_whole_note(self._dataset_dir)
        if earlier is None or earlier.num_parts != self._first_shard:
            folder = self._dataset_dir / PARTS_DIR
            raise ConfigError(f"{folder} is gone or not whole, which a refresh goes by: ingest it anew with --replace.")
        self._scratch.mkdir(parents=True)
        read, evidence = self._read_source()
        config = self._plan.config
        appended = Appended(self._work, self._first_shard, config.samples_per_shard, config.pictures())
        with EarlierRows(self._scratch / "rows.sqlite", config.pictures().blur_column) as rows:
            rows.load(self._dataset_dir, self._first_shard)
            rows.load_held(self._dataset_dir)
            judge = Judge(rows, appended, self._dataset_dir, evidence, config.vouched_days * 86_400)
            traffic = run_to_end(self._look(read, judge))
            appended.close()
            rows.erase_alike()
            write_decisions(self._scratch, rows.removals())
            for shard_id, seen in rows.seen_shards():
                write_sightings(self._work, shard_id, seen)
        return self._write_notes(earlier, read, appended, judge.news, traffic)

    def _read_source(self) -> "tuple[PlanNote, Evidence | None]":
        job = PlanJob(
            source=self._planned.source,
            config=self._plan.config,
            denied=self._planned.denied,
            output_dir=self._scratch,
            on_progress=self._on_progress,
            purged=Purged(self._dataset_dir),
            rules_file=self._plan.rules_file,
            earlier=self._dataset_dir / PARTS_DIR,
        )
        return write_parts(job)

    async def _look(self, read: PlanNote, judge: Judge) -> dict[str, Traffic]:
        """Look at everything that the source names, in its order, then at what it named before.

        Returns:
            What that asked of each host.
        """
        job, done = job_of(replace(self._planned, plan=self._plan), read), 0
        records = (record for part in range(read.num_parts) for record in read_part(self._scratch, part).records)
        async with rechecking(job) as rechecker:
            async with aclosing(looks(rechecker, judge.questions(records))) as told:
                async for look in told:
                    judge.settle(look)
                    done += 1
                    self._tell(done, read.num_records, judge.news)
            judge.judge_unlisted()
            async with aclosing(looks(rechecker, judge.questions_of_lost())) as heard:
                async for look in heard:
                    judge.settle_lost(look)
            return rechecker.take_traffic()

    def _tell(self, done: int, total: int, news: Mapping[str, int]) -> None:
        if time() - self._told_at >= SECONDS_BETWEEN_REPORTS or done == total:
            self._told_at = time()
            fields = dict(sorted(news.items()))
            self._on_progress(Progress(step="ingest refresh", done=done, total=total, unit="pictures", fields=fields))

    def _write_notes(
        self,
        earlier: PlanNote,
        read: PlanNote,
        appended: Appended,
        news: Mapping[str, int],
        traffic: Mapping[str, Traffic],
    ) -> RefreshNote:
        """Write the note of the whole plan that the new version has, and then that of what is to be made."""
        kinds = dict(earlier.extra_kinds)
        for name, kind in read.extra_kinds.items():
            kinds[name] = join(kinds[name], kind) if name in kinds else kind
        whole = read.with_changes(
            num_parts=self._first_shard + appended.num_shards,
            num_records=earlier.num_records + appended.num_records,
            extra_columns=tuple(kinds),
            extra_kinds=kinds,
            traffic=joined(earlier.traffic, joined(read.traffic, traffic)),
        )
        write_note(self._work, whole)
        note = RefreshNote(
            parent=self._manifest.digest,
            key=self._plan.key,
            planned_at=time(),
            first_shard=self._first_shard,
            num_shards=appended.num_shards,
            num_records=appended.num_records,
            news=dict(news),
        )
        write_atomically(self._scratch / NOTE_NAME, note.model_dump_json(indent=2).encode())
        return note
