"""From what a refresh found to a new version of the dataset: all of it takes its place at once, or nothing does.

Before that the version that was the newest is put beside the earlier ones, and what must not stay of anybody's pictures
is taken out of all of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath
from time import time

from t2i_core.data.attempt import Attempt
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.counts import Counts
from t2i_core.data.dataset.folder import (
    files_by_shard,
    finish_rewrite,
    read_planning,
    remove_leftovers,
    shard_outputs,
    write_dataset,
)
from t2i_core.data.dataset.history import OptOut, hold_version, read_opt_outs, write_opt_outs
from t2i_core.data.dataset.parts import PARTS_DIR, read_note, read_part, write_part
from t2i_core.data.dataset.purge import purge_folder
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.removal import Removal, remove_samples
from t2i_core.data.dataset.tombstone import url_sha256
from t2i_core.data.dataset.verify import require_whole
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import SHARDS_DIR, table_path
from t2i_core.data.shards.reader import read_rows
from t2i_core.data.shards.stats import ShardReport, finished_shard, noted_report
from t2i_core.data.shards.versions import Version, current_number, drop_versions, held_versions, read_log, write_log
from t2i_core.data.sources.orphans import ORPHANS_NAME
from t2i_core.door import is_file, move_files, remove_tree
from t2i_core.errors import DataError
from t2i_core.folders.claim import write_key
from t2i_core.folders.layout import REWRITE_DIR, VERSIONS_DIR
from t2i_core.folders.manifest import Manifest, OutputFile, StepRef, describe_file, read_manifest
from t2i_core.ingestion.config import BESIDE
from t2i_core.ingestion.planning import IngestPlan
from t2i_core.ingestion.refreshing.decisions import read_decisions
from t2i_core.ingestion.refreshing.earlier import Decision
from t2i_core.ingestion.refreshing.refresh import PLANNED_DIR, RefreshNote, read_refresh_note

# Of the counts of a manifest that tell how a version came about.
REFRESH_PREFIX = "refresh:"


def publish_version(plan: IngestPlan) -> StepRef:
    """Make the new version that a refresh has planned, if there is anything new.

    Args:
        plan: of the refresh, all shards of which are made.

    Returns:
        The dataset; a hit when it stays as it is.

    Raises:
        DataError: a shard is missing or damaged, the dataset was changed meanwhile, or too little would be left.
    """
    with disk_errors(plan.output_dir):
        manifest, note = read_manifest(plan.output_dir, "dataset"), read_refresh_note(plan.output_dir)
        if note is None or note.parent != manifest.digest:
            raise DataError(f"{plan.output_dir} was changed while it was refreshed. Run the same command again.")
        renewal = _Renewal(plan, manifest, note)
        return renewal.publish() if renewal.has_news else renewal.leave()


class _Renewal:
    """One step from a version to the next."""

    def __init__(self, plan: IngestPlan, manifest: Manifest, note: RefreshNote) -> None:
        self._plan, self._manifest, self._note = plan, manifest, note
        self._dataset_dir, self._work = plan.output_dir, plan.work_dir
        self._scratch = plan.work_dir / PLANNED_DIR
        self._appended = [finished_shard(self._work / SHARDS_DIR, shard_id) for shard_id in plan.shard_ids]
        self._removed: Counter[str] = Counter()
        self._opt_outs: list[OptOut] = []

    @property
    def has_news(self) -> bool:
        """Whether the new version would differ from the one before it."""
        is_other = self._note.key != self._manifest.key or any(report.kept for report in self._appended)
        return is_other or next(read_decisions(self._scratch), None) is not None

    def leave(self) -> StepRef:
        """Keep nothing but what servers said."""
        self._take_pages()
        parts = self._work / PARTS_DIR
        found = [*parts.glob("*_seen.parquet"), *parts.glob("pages.jsonl")]
        names = [path.relative_to(self._work) for path in found]
        move_files(self._work, self._dataset_dir, map(PurePosixPath, names), levels=2)
        remove_tree(self._work)
        counts = {name: n for name, n in self._manifest.counts.items() if not name.startswith(REFRESH_PREFIX)}
        ref = self._manifest.ref(self._dataset_dir)
        return ref.with_changes(hit=True, counts=counts | _prefixed(self._note.news))

    def _take_pages(self) -> None:
        """Put what was noted of pages beside the parts that stay."""
        pages = PARTS_DIR + "/pages.jsonl"
        if is_file(self._scratch / pages):
            move_files(self._scratch, self._work, [PurePosixPath(pages)], levels=3)

    def publish(self) -> StepRef:
        """Make it."""
        reports = self._all_reports(dict(self._changed_shards()))
        self._require_enough(reports)
        number = current_number(self._dataset_dir) + 1
        history = read_log(self._dataset_dir) or [_first_version(self._manifest)]
        version = self._version(number, sum(report.kept for report in reports.values()))
        self._hold(number - 1)
        self._take_pages()
        ref = self._write(reports, [*history, version])
        write_log(self._work, [*history, version.with_changes(digest=ref.digest)])
        write_opt_outs(self._work, [*read_opt_outs(self._dataset_dir), *self._opt_outs])
        write_key(self._work, self._plan.key)
        self._take_place()
        return ref.with_changes(path=self._dataset_dir)

    def _changed_shards(self) -> Iterator[tuple[int, ShardReport]]:
        """Write the new form of each shard that loses something, and give its report."""
        files = files_by_shard(self._manifest)
        for shard_id, decisions in groupby(read_decisions(self._scratch), key=attrgetter("shard")):
            require_whole(self._dataset_dir, shard_id, files[shard_id])
            yield shard_id, self._changed_shard(shard_id, {decision.place: decision for decision in decisions})

    def _changed_shard(self, shard_id: int, decisions: Mapping[int, Decision]) -> ShardReport:
        rows = read_rows(table_path(self._dataset_dir / SHARDS_DIR, shard_id), ["key", "uid", "url"])
        for place, decision in decisions.items():
            self._note_loss(rows[place], decision)
        removals = {place: _removal(decision) for place, decision in decisions.items()}
        part_sha256 = self._changed_part(shard_id, decisions)
        return remove_samples(self._dataset_dir, self._work, self._manifest, shard_id, removals, part_sha256)[1]

    def _note_loss(self, row: Mapping[str, str], decision: Decision) -> None:
        reason = decision.reason.reason if decision.reason else None
        if decision.was_kept and reason not in (None, RejectReason.REPLACED):
            self._removed[str(reason)] += 1
        if decision.refusal:
            told = {"key": row["key"], "uid": row["uid"], "url_sha256": url_sha256(row["url"])}
            number = current_number(self._dataset_dir) + 1
            self._opt_outs.append(OptOut(version=number, reason=decision.refusal, **told))

    def _changed_part(self, shard_id: int, decisions: Mapping[int, Decision]) -> str:
        """Note in the plan what a refill of the shard must not ask for any more, and give the part's digest."""
        part = read_part(self._dataset_dir, shard_id)
        records = list(part.records)
        for place, decision in decisions.items():
            told = decision.reason
            if told is not None and (told.reason.is_past or told.reason.is_refusal):
                records[place] = replace(records[place], reason=str(told.reason), detail=told.detail)
        if records == part.records:
            return part.sha256
        write_part(self._work, shard_id, records)
        return read_part(self._work, shard_id).sha256

    def _all_reports(self, changed: Mapping[int, ShardReport]) -> dict[int, ShardReport]:
        """Give the reports of all shards of the new version."""
        reports = dict(changed)
        for shard_id in range(self._plan.first_shard):
            if shard_id not in reports:
                report = noted_report(self._dataset_dir / SHARDS_DIR, shard_id)
                if report is None:
                    raise DataError(f"shard {shard_id} of {self._dataset_dir} is not finished. Run ingest again.")
                reports[shard_id] = report
        return dict(sorted({**reports, **{report.shard_id: report for report in self._appended}}.items()))

    def _require_enough(self, reports: Mapping[int, ShardReport]) -> None:
        """Refuse a version of which too little would be left, as when a host answers nonsense for a night."""
        kept, rejected = sum(report.kept for report in reports.values()), _rejected(reports)
        past = sum(number for reason, number in rejected.items() if RejectReason(reason).is_past)
        named, rate = kept + rejected.total() - past, self._plan.config.min_success_rate
        if kept < rate * named:
            remove_tree(self._work)
            raise DataError(
                f"only {kept:,} of the {named:,} pictures that {self._plan.source} names would be kept, less than the "
                f"min_success_rate of {rate:.1%}. {self._dataset_dir} stays as it is; look at the source, or run again "
                "with a lower rate."
            )

    def _version(self, number: int, kept: int) -> Version:
        changed, restated = (self._note.news.get(word, 0) for word in ("changed", "restated"))
        return Version(
            number=number,
            digest="",
            parent=self._manifest.digest,
            made_at=int(time()),
            kept=kept,
            added=sum(report.kept for report in self._appended) - changed - restated,
            changed=changed,
            restated=restated,
            removed=dict(sorted(self._removed.items())),
            erased=len(self._opt_outs) - self._num_opted_out,
        )

    def _hold(self, number: int) -> None:
        """Put the version that was the newest beside the earlier ones, and take out of all what must not stay."""
        held = [place for place in held_versions(self._dataset_dir).values() if place != self._dataset_dir]
        if self._plan.config.keep_versions:
            held.append(self._work / VERSIONS_DIR / str(number))
            remove_tree(held[-1])
            hold_version(self._dataset_dir, self._manifest, held[-1])
        urls = frozenset(opt_out.url_sha256 for opt_out in self._opt_outs)
        for folder in held if urls else ():
            purge_folder(folder, PurgeRequest(urls, frozenset(), frozenset()))

    def _write(self, reports: Mapping[int, ShardReport], history: list[Version]) -> StepRef:
        """Write the accounts and the manifest."""
        beside = {name: getattr(self._plan.config, name) for name in BESIDE}
        places = {shard_id: self._place(shard_id) for shard_id in reports}
        return write_dataset(
            self._work,
            key=self._plan.key,
            sources={"source": self._plan.source} | {name: path for name, path in beside.items() if path},
            counts=self._counts(reports, history[-1]),
            files=self._files(reports, places),
            places=places,
            planning=read_planning(self._work),
            history=history,
        )

    def _place(self, shard_id: int) -> Path:
        """Say where a shard lies until the new version takes its place."""
        anew = self._work / SHARDS_DIR
        return anew if noted_report(anew, shard_id) is not None else self._dataset_dir / SHARDS_DIR

    def _files(self, reports: Mapping[int, ShardReport], places: Mapping[int, Path]) -> list[OutputFile]:
        files = dict(self._manifest.files_by_path)
        for shard_id, place in places.items():
            if place.parent == self._work:
                files |= {file.path: file for file in shard_outputs(self._work, reports[shard_id])}
        files.pop(ORPHANS_NAME, None)
        if is_file(self._scratch / ORPHANS_NAME):
            move_files(self._scratch, self._work, [PurePosixPath(ORPHANS_NAME)], levels=2)
            files[ORPHANS_NAME] = describe_file(self._work, self._work / ORPHANS_NAME)
        return list(files.values())

    def _counts(self, reports: Mapping[int, ShardReport], version: Version) -> dict[str, int]:
        seen, kept = (sum(getattr(report, name) for report in reports.values()) for name in ("seen", "kept"))
        rejected, note = _rejected(reports), read_note(self._work)
        figures = {"seen": seen, "kept": kept, "rejected": rejected.total(), "shards": len(reports)}
        told = {"added": version.added, "removed": sum(version.removed.values()), "opted_out": len(self._opt_outs)}
        figures |= {"version": version.number, **_prefixed(self._note.news | told)}
        return Counts(figures | (note.counts if note else {}), rejected).noted()

    @cached_property
    def _num_opted_out(self) -> int:
        return sum(number for reason, number in self._removed.items() if RejectReason(reason).is_refusal)

    def _take_place(self) -> None:
        """Let all of it take its place, which is one step; then let go of what is not held any more."""
        has_orphans = is_file(self._work / ORPHANS_NAME)
        remove_leftovers(self._work)
        remove_tree(self._scratch)
        self._work.replace(self._dataset_dir / REWRITE_DIR)
        finish_rewrite(self._dataset_dir)
        if not has_orphans:
            (self._dataset_dir / ORPHANS_NAME).unlink(missing_ok=True)
        drop_versions(self._dataset_dir, self._plan.config.keep_versions)


def _first_version(manifest: Manifest) -> Version:
    return Version(number=1, digest=manifest.digest, kept=manifest.counts["kept"], added=manifest.counts["kept"])


def _rejected(reports: Mapping[int, ShardReport]) -> Counter[str]:
    rejected: Counter[str] = Counter()
    for report in reports.values():
        rejected.update(report.rejected)
    return rejected


def _removal(decision: Decision) -> Removal:
    told, erase = decision.reason, bool(decision.refusal)
    if told is None:
        return Removal(None, erase)
    record = SourceRecord(url="")
    return Removal(Attempt(record, told, told.http_status, told.final_url, told.signals), erase)


def _prefixed(figures: Mapping[str, int]) -> dict[str, int]:
    return {f"{REFRESH_PREFIX}{name}": number for name, number in sorted(figures.items())}
