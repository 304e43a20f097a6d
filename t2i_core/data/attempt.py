"""One source of a shard and what became of it."""

from dataclasses import dataclass

from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one source.

    Attributes:
        record: the source.
        outcome: the picture to store, or why there is none.
        http_status: of the last answer, 0 when there was none.
        final_url: where redirects led, "" when nothing was fetched.
        signals: opt-out signals and other directives of the last answer, sorted, separated by commas.
        fetched_at: when the last answer came, in whole seconds since 1970; None when there was none.
        etag: the server's mark of the form that came, "" when it gave none or nothing came.
        last_modified: when the server says that this last changed, likewise.
    """

    record: SourceRecord
    outcome: Picture | Rejection
    http_status: int = 0
    final_url: str = ""
    signals: str = ""
    fetched_at: int | None = None
    etag: str = ""
    last_modified: str = ""
