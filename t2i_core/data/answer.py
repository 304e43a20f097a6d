"""What came back for a URL, before anyone has looked into it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body that arrived whole.

    Attributes:
        body: at most `max_bytes`.
        final_url: where redirects led.
        http_status: 200, or 0 for a local file.
        content_type: as the server named it, "" when it did not.
        directives: of X-Robots-Tag, as far as they concern this agent, and of the TDMRep header.
    """

    body: bytes
    final_url: str
    http_status: int
    content_type: str = ""
    directives: frozenset[str] = frozenset()


MAX_REDIRECTS = 5
