"""What another look at a source means for each picture of a dataset: it stays, is appended anew, or is past.

A picture of which something else is said than before is appended with what is said now, and so is a picture that took
the place of another; both keep their old row, which says so. What could not be had just now changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from t2i_core.data.address import text_digest
from t2i_core.data.attempt import Attempt
from t2i_core.data.dataset.parts import read_part
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.ingestion.refreshing.appended import Appended
from t2i_core.ingestion.refreshing.earlier import KEPT, Earlier, EarlierRows, said_digest
from t2i_core.ingestion.refreshing.recheck import Look, News, Question
from t2i_core.ingestion.refreshing.stored import StoredPictures

if TYPE_CHECKING:
    from t2i_core.data.crawling.memory import Evidence


class Judge:
    """Asks about what is there, and settles what the answers mean.

    Args:
        rows: of the dataset.
        appended: gets what has news.
        dataset_dir: the dataset.
        evidence: what was learned of pages, None for a source without any.
        vouched_seconds: for so long after its server's last answer a picture is taken at its source's word.

    Attributes:
        news: how many pictures were looked at, by what that told.
    """

    def __init__(
        self,
        rows: EarlierRows,
        appended: Appended,
        dataset_dir: Path,
        evidence: "Evidence | None",
        vouched_seconds: float,
    ) -> None:
        self.news: Counter[str] = Counter()
        self._rows, self._appended, self._evidence = rows, appended, evidence
        self._dataset_dir = dataset_dir
        self._stored = StoredPictures(dataset_dir)
        self._fresh_after = time() - vouched_seconds

    def questions(self, records: Iterable[SourceRecord]) -> Iterator[Question | SourceRecord]:
        """Give what to ask of each source; the source itself where nothing is known that could be asked about."""
        for record in records:
            row = None if record.reason else self._rows.match(record)
            if row is not None:
                has_boxes = self._rows.boxes_digest(record) != row.boxes
                yield Question(record, row, self._is_vouched(record, row), other_pixels=has_boxes)
                continue
            alike = None if record.reason or record.location else self._rows.of_url(record)
            if alike is not None and alike.boxes == self._rows.boxes_digest(record):
                yield Question(record, alike, self._is_vouched(record, alike), is_new=True)
            else:
                yield record

    def _is_vouched(self, record: SourceRecord, row: Earlier) -> bool:
        """Tell whether the source itself says that a picture is as it was, and its server did so not long ago."""
        if row.asked_at is None or row.asked_at <= self._fresh_after:
            return False
        pages = self._evidence.vouched if self._evidence else ()
        by_page = bool(pages) and text_digest(record.page_url) in pages
        return by_page or bool(record.checksum and record.checksum == row.checksum)

    def settle(self, told: Look | SourceRecord) -> None:
        """Settle what one source is from now on.

        Raises:
            ShardError: the picture that it had cannot be read.
        """
        if isinstance(told, SourceRecord):
            self._settle_source(told)
            return
        if told.sighting is not None and told.news is News.SAME:
            self._rows.see(told.row, told.sighting)
        if told.is_new:
            self._settle_new(told)
        elif told.row.state == KEPT:
            self._settle_kept(told)
        else:
            self._settle_rejected(told)

    def _settle_source(self, record: SourceRecord) -> None:
        """Append a source that there was not; what stands for a purged one stays where it is."""
        if not record.reason or (record.reason != RejectReason.PURGED and not self._rows.knows(record)):
            self._appended.add(record)

    def _settle_new(self, told: Look) -> None:
        """Append a source that has the URL of another, with its picture if that is still the same."""
        same = told.news is News.SAME
        self._appended.add(told.record, self._stored.attempt(told.record, told.row) if same else told.attempt)

    def _settle_kept(self, told: Look) -> None:
        is_restated = told.news is News.SAME and told.row.said != said_digest(told.record)
        self.news["restated" if is_restated else told.news.word] += 1
        if told.news is News.NONE and told.attempt is not None:
            self._rows.remove(told.row, told.attempt)
        elif told.news is News.OTHER:
            self._replace(told, told.attempt)
        elif is_restated:
            self._replace(told, self._stored.attempt(told.record, told.row))

    def _replace(self, told: Look, attempt: Attempt | None) -> None:
        self._appended.add(told.record, attempt)
        self._rows.remove(told.row, Attempt(told.record, Rejection(RejectReason.REPLACED)))

    def _settle_rejected(self, told: Look) -> None:
        """Append what has become a picture; note who refuses now what just failed before."""
        if told.news is News.OTHER:
            self._replace(told, told.attempt)
        elif told.attempt is not None and _is_refusal(told.attempt) and not RejectReason(told.row.reason).is_refusal:
            self._rows.remove(told.row, told.attempt)

    def judge_unlisted(self) -> None:
        """Settle what the source does not name any more."""
        for row, reason in self._rows.unmatched():
            loss = reason or (self._evidence.loss(row.page) if self._evidence else Rejection(RejectReason.GONE))
            self.news["unlisted" if loss else News.UNKNOWN.word] += 1
            if loss is not None:
                self._rows.remove(row, Attempt(SourceRecord(url=""), loss))

    def questions_of_lost(self) -> Iterator[Question]:
        """Give what to ask of pictures that versions hold and the source does not name."""
        for shard_id, rows in groupby(self._rows.lost(), key=attrgetter("shard")):
            records = read_part(self._dataset_dir, shard_id).records
            yield from (Question(records[row.place], row, is_lost=True) for row in rows)

    def settle_lost(self, told: Look | SourceRecord) -> None:
        """Note who refuses what was taken from them before; what is only gone stays as it is."""
        if isinstance(told, Look) and told.attempt is not None:
            self._rows.remove(told.row, told.attempt)


def _is_refusal(attempt: Attempt) -> bool:
    return isinstance(attempt.outcome, Rejection) and attempt.outcome.reason.is_refusal
