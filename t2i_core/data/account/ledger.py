"""What each host was asked, and what it gave: the account that a site's owner can ask for."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from t2i_core.data.address import host_of
from t2i_core.data.traffic import Traffic

HOSTS_NAME = "hosts.json"
MAX_HOSTS = 10_000


class HostLedger:
    """Adds up shards: sources from their rows, traffic from their statistics."""

    def __init__(self) -> None:
        self._reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add_traffic(self, traffic: Mapping[str, Traffic]) -> None:
        """Add requests and bytes by host."""
        for host, sent in traffic.items():
            self._requests[host] += sent.requests
            self._bytes[host] += sent.bytes

    def add_table(self, table: pa.Table) -> None:
        """Add the rows of one shard, their columns url and reason; those without a host (local files) are under ""."""
        for url, reason in zip(table["url"].to_pylist(), table["reason"].to_pylist(), strict=True):
            self._reasons[host_of(url)][reason] += 1

    def entries(self) -> list[dict[str, Any]]:
        """Give one entry a host, those with the most sources and requests first; the many small ones share the last."""
        hosts = sorted({*self._reasons, *self._requests}, key=self._rank)
        entries = [{"host": host} | self._entry([host]) for host in hosts[:MAX_HOSTS]]
        rest = hosts[MAX_HOSTS:]
        return [*entries, {"host": "others", "num_hosts": len(rest)} | self._entry(rest)] if rest else entries

    def _rank(self, host: str) -> tuple[int, int, str]:
        return -self._reasons[host].total(), -self._requests[host], host

    def _entry(self, hosts: Iterable[str]) -> dict[str, Any]:
        reasons: Counter[str] = Counter()
        requests = num_bytes = 0
        for host in hosts:
            reasons.update(self._reasons[host])
            requests += self._requests[host]
            num_bytes += self._bytes[host]
        kept = reasons.pop("", 0)
        return {
            "sources": kept + reasons.total(),
            "kept": kept,
            "rejected": dict(sorted(reasons.items())),
            "requests": requests,
            "bytes": num_bytes,
        }


def hosts_json(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the account of all hosts."""
    return json.dumps({"hosts": entries}, indent=2).encode() + b"\n"
