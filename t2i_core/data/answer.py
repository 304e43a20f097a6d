"""What came back for a URL, before anyone has looked into it."""

import re
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
        etag: the server's own mark of this form of it, "" when it gives none.
        last_modified: when the server says that it last changed, "" when it does not.
    """

    body: bytes
    final_url: str
    http_status: int
    content_type: str = ""
    directives: frozenset[str] = frozenset()
    etag: str = ""
    last_modified: str = ""

    @property
    def validators(self) -> "Validators":
        """What asks later whether it is still the same."""
        return Validators(self.final_url, self.etag, self.last_modified)


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of the form of something that is known, to be sent back to it.

    Attributes:
        url: that gave it, redirects followed; no other is asked by it.
        etag: the server's own mark of this form, "" for none.
        last_modified: when it last changed, in the server's own words, "" for none.
    """

    url: str
    etag: str = ""
    last_modified: str = ""

    def headers(self) -> list[str]:
        """Give the headers of a request for anything but this form; none when nothing usable is known."""
        told = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return [f"{name}: {value}" for name, value in told.items() if _SENDABLE.fullmatch(value)]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The word of a server that something is still as it is known.

    Attributes:
        final_url: where redirects led.
        directives: as in `Fetched`; servers may leave them out here.
    """

    final_url: str
    directives: frozenset[str] = frozenset()


# What servers say is sent back in one line, and no more of it than any of them means.
_SENDABLE = re.compile(r"[\x20-\x7e]{1,300}")
MAX_REDIRECTS = 5
