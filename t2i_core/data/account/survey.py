"""All figures of a finished dataset, from one reading of the rows and statistics of its shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_core.data.account.figures import OTHER_TEXTS, DatasetFigures, columns_of
from t2i_core.data.account.ledger import HostLedger
from t2i_core.data.counts import Counts
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import shard_name, table_path
from t2i_core.data.shards.stats import read_traffic
from t2i_core.data.shards.versions import Version
from t2i_core.data.tables.table import read_schema, read_table
from t2i_core.data.traffic import Traffic
from t2i_core.folders.manifest import Manifest

REPORT_NAME = "report.html"
CROISSANT_NAME = "croissant.json"
README_NAME = "README.md"


@dataclass(frozen=True, slots=True)
class Overview:
    """All figures of a dataset.

    Attributes:
        manifest: the dataset's own, the files of its shards in it.
        figures: of the kept samples.
        hosts: the account of each host, the largest first.
        num_hosts: how many there are.
        num_requests: sent to all of them.
        num_bytes: received from all of them.
        places: the folder in which each shard lies, by its number.
        history: its versions, this one the last, whose digest is that of the manifest; none if it was never refreshed.
    """

    manifest: Manifest
    figures: DatasetFigures
    hosts: list[dict[str, Any]]
    num_hosts: int
    num_requests: int
    num_bytes: int
    places: Mapping[int, Path]
    history: Sequence[Version] = ()

    @property
    def version(self) -> int:
        """The number of this version."""
        return self.history[-1].number if self.history else 1

    @property
    def rejected(self) -> dict[str, int]:
        """Sources left out, by reason, the most frequent first."""
        return Counts.read(self.manifest.counts).ranked()

    @property
    def refusals(self) -> dict[str, int]:
        """Those of them that were not to be taken."""
        return {reason: number for reason, number in self.rejected.items() if RejectReason(reason).is_refusal}

    @property
    def licenses(self) -> list[tuple[str, int]]:
        """What licenses were stated, and for how many pictures, the most frequent first."""
        stated = ((text, number) for text, number in self.figures.licenses.items() if text)
        return sorted(stated, key=lambda item: (item[0] == OTHER_TEXTS, -item[1], item[0]))


def survey(
    manifest: Manifest, places: Mapping[int, Path], planning: Mapping[str, Traffic], history: Sequence[Version] = ()
) -> Overview:
    """Read the rows and statistics of all shards once, one after the other.

    Args:
        manifest: what the dataset holds.
        places: the folder in which each shard lies, by its number.
        planning: what each host was asked for pages.
        history: the versions of the dataset, this one the last.
    """
    ledger, figures = HostLedger(), DatasetFigures()
    ledger.add_traffic(planning)
    for shard_id, shards_dir in places.items():
        path = table_path(shards_dir, shard_id)
        figures.schema = figures.schema or read_schema(path)
        table = read_table(path, columns_of(figures.schema))
        ledger.add_table(table)
        ledger.add_traffic(read_traffic(shards_dir, shard_id))
        figures.add_table(shard_id, table)
        figures.add_times(shards_dir / f"{shard_name(shard_id)}_stats.json")
    hosts = ledger.entries()
    return Overview(
        manifest=manifest,
        figures=figures,
        hosts=hosts,
        num_hosts=sum(entry.get("num_hosts", 1) for entry in hosts if entry["host"]),
        num_requests=sum(entry["requests"] for entry in hosts),
        num_bytes=sum(entry["bytes"] for entry in hosts),
        places=places,
        history=history,
    )
