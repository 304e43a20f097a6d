"""The samples that a new version of a dataset has behind those it had: cut into parts, as a first plan is.

What is known of them already, since they were looked at or are there, waits in the journal of their shard, so that only
the others are fetched when the shard is made.
"""

from pathlib import Path

from t2i_core.data.attempt import Attempt
from t2i_core.data.dataset.parts import read_part, write_part
from t2i_core.data.picture import ImageOptions
from t2i_core.data.record import SourceRecord
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.ingestion.harvest import made_of
from t2i_core.ingestion.journal import Journal


class Appended:
    """Writes the parts; `close` writes the last one.

    Args:
        work: gets them, and what is known of their sources.
        first_shard: number of the first one.
        samples_per_shard: sources in each.
        pictures: how they are stored.
    """

    def __init__(self, work: Path, first_shard: int, samples_per_shard: int, pictures: ImageOptions) -> None:
        self._work = work
        self._first_shard = first_shard
        self._samples_per_shard = samples_per_shard
        self._pictures = pictures
        self._waiting: list[SourceRecord] = []
        self._known: list[int] = []
        self._spool: Journal | None = None
        self.num_shards = self.num_records = 0

    def add(self, record: SourceRecord, attempt: Attempt | None = None) -> None:
        """Add a source.

        Args:
            record: the source.
            attempt: what became of it, None where it is to be asked for.

        Raises:
            OSError: the disk is full.
        """
        self._waiting.append(record)
        self.num_records += 1
        if attempt is not None:
            index = len(self._waiting) - 1
            self._open_spool().add(index, attempt)
            self._known.append(index)
        if len(self._waiting) == self._samples_per_shard:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._flush()

    @property
    def _shard_id(self) -> int:
        return self._first_shard + self.num_shards

    def _open_spool(self) -> Journal:
        if self._spool is None:
            # Of a part under way, which has no digest yet.
            spool = Journal(self._work / "_planned", self._shard_id, self._waiting, "spool")
            spool.__enter__()
            spool.clear()
            self._spool = spool
        return self._spool

    def _flush(self) -> None:
        write_part(self._work, self._shard_id, self._waiting)
        if self._spool is not None:
            made_with = made_of(read_part(self._work, self._shard_id).sha256, self._pictures)
            with Journal(self._work / SHARDS_DIR, self._shard_id, self._waiting, made_with) as journal:
                for index, attempt in zip(self._known, self._spool.attempts(self._known), strict=True):
                    journal.add(index, attempt)
            self._spool.__exit__(None, None, None)
            self._spool.remove()
        self._spool, self._waiting, self._known = None, [], []
        self.num_shards += 1
