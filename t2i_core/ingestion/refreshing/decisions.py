"""What is to become of the rows of a dataset, written down between the look at its source and the new version."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shards.columns import table_of
from t2i_core.data.tables.table import iter_table
from t2i_core.door import create_file
from t2i_core.errors import DataError
from t2i_core.ingestion.refreshing.earlier import Decision

NAME = "decisions.parquet"
_BATCH = 10_000
_OWN = ("shard", "place", "uid", "was_kept", "refusal")
_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("shard", "place", "http_status")),
        *((name, pa.string()) for name in ("uid", "refusal", "reason", "detail", "final_url", "signals")),
        ("was_kept", pa.bool_()),
    ]
)


def write_decisions(folder: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions in the order of the rows."""
    rows = map(_row, decisions)
    with create_file(folder / NAME) as file, pq.ParquetWriter(file, _SCHEMA) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(table_of(batch, _SCHEMA))


def _row(decision: Decision) -> dict[str, object]:
    told = decision.reason
    row = {name: getattr(decision, name) for name in _OWN}
    if told is None:
        return row | {"reason": ""}
    answer = {"http_status": told.http_status, "final_url": told.final_url, "signals": told.signals}
    return row | answer | {"reason": str(told.reason), "detail": told.detail}


def read_decisions(folder: Path) -> Iterator[Decision]:
    """Read them again.

    Raises:
        DataError: they are damaged.
    """
    path = folder / NAME
    try:
        for batch in iter_table(path, _SCHEMA.names, levels=2):
            for row in batch.to_pylist():
                told = {name: row[name] for name in _OWN}
                yield Decision(reason=_reason(row), **told)
    except (OSError, pa.ArrowException, ValueError, KeyError) as err:
        raise DataError(f"{path} is damaged ({err}). Delete {folder.parent} and refresh again.") from err


def _reason(row: dict[str, object]) -> Rejection | None:
    if not row["reason"]:
        return None
    told = {name: str(row[name] or "") for name in ("detail", "final_url", "signals")}
    return Rejection(RejectReason(str(row["reason"])), http_status=int(str(row["http_status"] or 0)), **told)
