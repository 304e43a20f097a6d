"""What was asked of hosts and what came back, counted for each."""

from collections import Counter
from collections.abc import Mapping

from yarl import URL

from t2i_core.config import Config


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
