"""What each host was asked, and what it gave: the account that a site's owner can ask for."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
from yarl import URL

from t2i_core.config import Config
from t2i_core.data.address import normalise_url

HOSTS_NAME = "hosts.json"
MAX_HOSTS = 10_000


class Traffic(Config):
    """Requests sent to one host, and bytes of bodies that came back, as sent."""

    requests: int = 0
    bytes: int = 0


def joined(first: Mapping[str, Traffic], second: Mapping[str, Traffic]) -> dict[str, Traffic]:
    """Add up the traffic of two times of asking, by host."""
    none = Traffic()
    pairs = ((host, first.get(host, none), second.get(host, none)) for host in sorted({*first, *second}))
    return {host: Traffic(requests=a.requests + b.requests, bytes=a.bytes + b.bytes) for host, a, b in pairs}


class TrafficCounter:
    """Counts traffic by host until it is taken."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, url: URL, num_requests: int, num_bytes: int) -> None:
        """Count requests to a URL's host, and what they brought."""
        if not num_requests:
            return
        host = url.raw_host or ""
        self._requests[host] += num_requests
        self._bytes[host] += num_bytes

    def take(self) -> dict[str, Traffic]:
        """Give what was counted since it was last taken."""
        taken = {
            host: Traffic(requests=requests, bytes=self._bytes[host])
            for host, requests in sorted(self._requests.items())
        }
        self._requests.clear()
        self._bytes.clear()
        return taken


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


def host_of(text: str) -> str:
    """Give the host of a URL as rows have it, "" when it has none."""
    return _host_of_origin("/".join(text.split("/", 3)[:3]))


@lru_cache(maxsize=4096)
def _host_of_origin(origin: str) -> str:
    url = normalise_url(origin)
    return (url.raw_host or "") if isinstance(url, URL) else ""
