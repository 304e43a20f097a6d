"""Looking at pictures again: asking for news alone, and decoding only what is not the picture that is there.

What cannot be had just now changes nothing; what its owner or its host does not give any more is a rejection.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from time import time

from t2i_core.data.answer import Fetched, Unchanged, Validators
from t2i_core.data.attempt import Attempt
from t2i_core.data.checksum import has_checksum
from t2i_core.data.dataset.sightings import Sighting
from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.traffic import Traffic
from t2i_core.data.web.verdict import Want
from t2i_core.ingestion.harvest import Harvester, HarvestJob, harvesting
from t2i_core.ingestion.refreshing.earlier import KEPT, Earlier

# Pictures looked at before the first of them is settled: enough to keep all connections busy.
LOOKS_AHEAD = 1000
# A second look may well find the picture, and no owner has said anything.
_MAY_BE_CHANCE = frozenset(
    {
        *(RejectReason.TRUNCATED, RejectReason.HTTP_OTHER, RejectReason.BAD_RESPONSE),
        *(RejectReason.TOO_MANY_REDIRECTS, RejectReason.UNREADABLE),
    }
)


class News(Enum):
    """What a look at a picture told."""

    SAME = auto()
    UNKNOWN = auto()
    OTHER = auto()
    NONE = auto()

    @property
    def word(self) -> str:
        """How it is counted."""
        return _WORDS[self]


_WORDS = {News.SAME: "same", News.UNKNOWN: "not_known", News.OTHER: "changed", News.NONE: "refused"}


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a picture after another look.

    Attributes:
        record: as its source names it now.
        row: as the dataset has it.
        news: SAME bytes; UNKNOWN, for it could not be had just now; OTHER picture; NONE any more.
        attempt: the new picture, or why there is none; None for no news.
        sighting: what the server said; None when it was not asked.
        is_new: the row is that of another source with the same URL.
    """

    record: SourceRecord
    row: Earlier
    news: News
    attempt: Attempt | None = None
    sighting: Sighting | None = None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A picture to look at.

    Attributes:
        record: as its source names it now.
        row: as the dataset has it.
        is_vouched: the source's own word is enough that its bytes are the same; its site's rules are looked at all
            the same.
        other_pixels: it is to be decoded whatever its bytes are.
        is_new: the row is that of another source with the same URL.
        is_lost: the source does not name it any more, and all to be asked is whether it may still be held.
    """

    record: SourceRecord
    row: Earlier
    is_vouched: bool = False
    other_pixels: bool = False
    is_new: bool = False
    is_lost: bool = False


class Rechecker:
    """Looks at pictures.

    Args:
        job: how to ask, and what to make of pictures.
        harvester: fetches and decodes.
    """

    def __init__(self, job: HarvestJob, harvester: Harvester) -> None:
        self._job = job
        self._harvester = harvester

    def take_traffic(self) -> dict[str, Traffic]:
        """Give what each host was asked since this was last taken."""
        return self._harvester.fetcher.take_traffic()

    async def look(self, question: Question) -> Look:
        """Look at one picture."""
        return replace(await self._look(question), is_new=question.is_new)

    async def _look(self, question: Question) -> Look:
        record, row = question.record, question.row
        denied = self._job.fetching.deny_list.refusal_of_sha256(row.sha256)
        if denied is not None:
            return _settled(record, row, Attempt(record, denied))
        if question.is_lost:
            return await self._listen(record, row)
        is_marked = bool(row.etag or row.last_modified)
        if record.location or question.other_pixels or not (row.state == KEPT or is_marked):
            return await self._take(record, row, has_other_pixels=question.other_pixels)
        url = self._current(record.url)
        if question.is_vouched:
            refusal = await self._harvester.fetcher.refusal(url, Want.PICTURE)
            told = Attempt(record, refusal) if refusal else None
            return _settled(record, row, told) if told else Look(record, row, News.SAME)
        return await self._ask(record, row, url)

    def _current(self, url: str) -> str:
        return self._job.move.to_current(url) if self._job.move else url

    async def _take(self, record: SourceRecord, row: Earlier, *, has_other_pixels: bool) -> Look:
        """Get a picture as if it were new."""
        if record.location and row.state == KEPT and not has_other_pixels:
            body = await self._harvester.read_bytes(record)
            if isinstance(body, Fetched) and _has_digest(body.body, row.sha256):
                return Look(record, row, News.SAME)
        attempt = await self._harvester.attempt(record)
        if has_other_pixels or row.state != KEPT:
            return _settled(record, row, attempt)
        is_same = isinstance(attempt.outcome, Picture) and attempt.outcome.sha256 == row.sha256
        return Look(record, row, News.SAME) if is_same else _settled(record, row, attempt)

    async def _ask(self, record: SourceRecord, row: Earlier, url: str) -> Look:
        known = Validators(self._current(row.final_url), row.etag, row.last_modified)
        if record.checksum != row.checksum or self._job.fetching.deny_list.md5:
            # Only its bytes can tell what the list asks.
            known = Validators("")
        async with self._harvester.fetcher.fetch_if_changed(url, Want.PICTURE, known) as answer:
            if isinstance(answer, Unchanged):
                return Look(record, row, News.SAME, sighting=Sighting(row.etag, row.last_modified, int(time())))
            if isinstance(answer, Rejection):
                attempt = self._harvester.rejected(record, answer)
                return _settled(record, row, attempt)
            seen = Sighting(answer.etag, answer.last_modified, int(time()))
            if _has_digest(answer.body, row.sha256) and self._is_acceptable(record, answer.body):
                return Look(record, row, News.SAME, sighting=seen)
            return _settled(record, row, await self._harvester.taken(record, answer))

    async def _listen(self, record: SourceRecord, row: Earlier) -> Look:
        """Ask of a picture that nobody needs any more whether its owner or its host has refused it since."""
        known = Validators(self._current(row.final_url), row.etag, row.last_modified)
        if record.location:
            return Look(record, row, News.UNKNOWN)
        async with self._harvester.fetcher.fetch_if_changed(self._current(record.url), Want.PICTURE, known) as answer:
            if isinstance(answer, Rejection) and answer.reason.is_refusal:
                return Look(record, row, News.NONE, self._harvester.rejected(record, answer))
        return Look(record, row, News.UNKNOWN)

    def _is_acceptable(self, record: SourceRecord, body: bytes) -> bool:
        """Tell whether neither the deny-list nor the source's checksum rules known bytes out."""
        if self._job.fetching.deny_list.refusal_of_bytes(body):
            return False
        return not record.checksum or has_checksum(body, record.checksum)


def _has_digest(body: bytes, sha256: str) -> bool:
    return hashlib.sha256(body).hexdigest() == sha256


def _settled(record: SourceRecord, row: Earlier, attempt: Attempt) -> Look:
    """Say what an attempt means for a picture that is there."""
    outcome = attempt.outcome
    if isinstance(outcome, Picture):
        seen = Sighting(attempt.etag, attempt.last_modified, attempt.fetched_at)
        return Look(record, row, News.OTHER, attempt, seen)
    if outcome.reason.is_outage or outcome.reason in _MAY_BE_CHANCE:
        return Look(record, row, News.UNKNOWN)
    return Look(record, row, News.NONE, attempt)


@asynccontextmanager
async def rechecking(job: HarvestJob) -> AsyncIterator["Rechecker"]:
    """Have what looks at pictures ready while the block runs."""
    async with harvesting(job) as harvester:
        yield Rechecker(job, harvester)


async def looks(
    rechecker: Rechecker, questions: Iterator[Question | SourceRecord]
) -> AsyncGenerator[Look | SourceRecord]:
    """Look at many pictures at once, and give what each look told in the order of the questions.

    Args:
        rechecker: looks.
        questions: what to look at; records among them come back as they are, in their place.
    """
    waiting = deque[asyncio.Task[Look] | SourceRecord]()
    try:
        while True:
            while len(waiting) < LOOKS_AHEAD and (question := next(questions, None)) is not None:
                waiting.append(
                    asyncio.create_task(rechecker.look(question)) if isinstance(question, Question) else question
                )
            if not waiting:
                return
            first = waiting[0]
            told = await first if isinstance(first, asyncio.Task) else first
            waiting.popleft()
            yield told
    finally:
        for task in waiting:
            if isinstance(task, asyncio.Task):
                task.cancel()
